"""What teachers' pages take from the notebooks: the time of each, and an outline of each lesson."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from docutils import nodes
from nbformat import NotebookNode
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
WORDS_A_MINUTE = 200


def reading_minutes(notebook: NotebookNode) -> int:
    """Minutes to read the text cells, at 200 words a minute."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    words = sum(len(text.split()) for text in texts)
    return round(words / WORDS_A_MINUTE)


def time_in_class(notebook: NotebookNode) -> str:
    """The line of a notebook's card."""
    found = re.search(r"^\| Time in class \| (.+?) \|$", notebook.cells[0].source, re.MULTILINE)
    assert found, "a notebook's card has a line 'Time in class'"
    return found[1]


class NotebookTimes(SphinxDirective):
    """A table: for each notebook its time in class, and how long its text takes to read."""

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        lines = ["| notebook | time in class | reading |", "| --- | --- | --- |"]
        for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
            notebook = nbformat.read(path, as_version=4)
            title = notebook.cells[0].source.splitlines()[0].removeprefix("# ")
            link = f"[{title}](/notebooks/{path.name})"
            minutes = f"{reading_minutes(notebook)} min"
            lines.append(f"| {link} | {time_in_class(notebook)} | {minutes} |")
        return self.parse_text_to_nodes("\n".join(lines))


def sections(text: str) -> list[str]:
    """Headings of a text cell, each with its minutes: sections, and extra parts of a section."""
    heading = re.compile(r"^(###?) (.+)$(?:\s+\*((?:Core|Extra), \d+ minutes?)\.\*$)?", re.M)
    return [
        f"**{title}**" + (f" ({minutes})" if minutes else "")
        for level, title, minutes in heading.findall(text)
        if level == "##" or minutes.startswith("Extra")
    ]


def outline(notebook: NotebookNode) -> str:
    """A lesson's outline as Markdown: its sections, and the figures that each of them shows."""
    lines = ["## Outline", "", "Sections and figures, in the order of the notebook.", ""]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            lines += [f"- {section}" for section in sections(cell.source)]
        for output in cell.get("outputs", []):
            captions = re.findall(r"^Figure .+$", output.get("text", ""), re.M)
            lines += [f"  - {caption}" for caption in captions]
    return "\n".join(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("notebook-times", NotebookTimes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
