"""Write one page of the API reference for each room of the package (docs/api, ignored by git)."""

from __future__ import annotations

import pkgutil
import re
import shutil
from itertools import groupby
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

import dualseg

NOT_SHOWN = ("_", "cli")  # private, or described by the page of the commands
STAR = re.compile(r"(`[^`]*`)|(?<![\\*])\*(?!\*)")  # code in backticks, or a star outside of it
COLON = "\ue000"  # stands for a colon while napoleon works


def modules() -> list[str]:
    """Every public module of the package, in alphabetical order."""
    found = pkgutil.walk_packages(dualseg.__path__, "dualseg.")
    names = (module.name for module in found)
    return sorted(name for name in names if not name.split(".")[1].startswith(NOT_SHOWN))


def write_api(app: Sphinx) -> None:
    """Write the pages of all rooms."""
    folder = Path(app.srcdir) / "api"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for room, names in groupby(modules(), key=lambda name: name.split(".")[1]):
        parts = [f"# {room}\n"]
        for name in names:
            parts.append(
                f"## {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n```\n"
            )
        (folder / f"{room}.md").write_text("\n".join(parts), encoding="utf-8")


def as_rst(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Commands describe their options below "Args:"; stars, as in (B, *patch), are no mark-up."""
    if "Args:" in lines:
        place = lines.index("Args:")
        lines[place:] = [re.sub(r"^ {4}(\w+): ", r":param \1: ", li) for li in lines[place + 1 :]]
    escaped = (STAR.sub(lambda found: found[1] or r"\*", line) for line in lines)
    lines[:] = [line.replace(COLON, ":") for line in escaped]


def hide_colons(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list) -> None:
    """Napoleon takes the words before a colon for an attribute's type; `as_rst` puts it back."""
    if what in ("attribute", "data", "property"):
        lines[:] = [line.replace(":", COLON) for line in lines]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write_api)
    app.connect("autodoc-process-docstring", hide_colons, priority=100)  # before napoleon
    app.connect("autodoc-process-docstring", as_rst, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
