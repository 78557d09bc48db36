"""Directives that run a command while the site is built, so that no output is kept by hand.

`{command} dualseg data list` shows what the command prints; with the option `:markdown:` the output
is a part of the page. `{command-table}` lists every command, and `{all-commands}` shows the help of
each.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import runpy
import shlex
import sys
from pathlib import Path
from unittest.mock import patch

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parents[2]


@functools.cache
def output(command: str) -> str:
    """What a command of this project (`dualseg ...` or `benchmarks ...`) prints."""
    words = shlex.split(command)
    printed = io.StringIO()
    with (
        contextlib.chdir(ROOT),
        contextlib.redirect_stdout(printed),
        patch.dict(os.environ, COLUMNS="80"),
        patch.object(sys, "argv", words),
        patch.object(sys, "path", [str(ROOT), *sys.path]),
    ):
        try:
            runpy.run_module(words[0], run_name="__main__", alter_sys=True)
        except SystemExit as end:
            if end.code:
                raise ValueError(f"`{command}` ended with {end.code}") from end
    return printed.getvalue().rstrip()


def leaf_commands(command: str = "dualseg") -> list[tuple[str, str]]:
    """Every command without subcommands, and its help, in the order of the command line."""
    text = output(f"{command} --help")
    groups = re.match(r"usage: [^{]*\[-h\]\s+\{([^}]+)\}", text)
    if not groups:
        return [(command, text)]
    names = re.sub(r"\s", "", groups[1]).split(",")
    return [leaf for name in names for leaf in leaf_commands(f"{command} {name}")]


class Command(SphinxDirective):
    """The output of one command."""

    required_arguments = 1
    final_argument_whitespace = True
    option_spec = {"markdown": directives.flag}  # noqa: RUF012 (docutils' way)

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        text = output(self.arguments[0])
        if "markdown" in self.options:
            return self.parse_text_to_nodes(text)
        shown = f"$ {self.arguments[0]}\n{text}"
        return [nodes.literal_block(shown, shown, language="text")]


class CommandTable(SphinxDirective):
    """A table of all commands, with links to the sections of `AllCommands`."""

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        lines = ["| command | what it does |", "| --- | --- |"]
        for name, text in leaf_commands():
            lines.append(f"| [`{name}`](#{name.replace(' ', '-')}) | {_summary(text)} |")
        return self.parse_text_to_nodes("\n".join(lines))


class AllCommands(SphinxDirective):
    """A section with the help of each command."""

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        parts = [f"## {name}\n\n```text\n{text}\n```" for name, text in leaf_commands()]
        return self.parse_text_to_nodes("\n\n".join(parts), allow_section_headings=True)


def _summary(text: str) -> str:
    """The first paragraph of a help text after its usage line."""
    paragraph = text.split("\n\n")[1].replace("\n", " ")
    return paragraph.replace("|", "\\|").replace("<", "\\<")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("command", Command)
    app.add_directive("command-table", CommandTable)
    app.add_directive("all-commands", AllCommands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
