"""Bring the recorded notebooks of ../notebooks into the site, without executing them.

The student site shows no solutions: their cells become the stubs of the student copies. With the
tag `instructor` the solutions stay, and the notes for teachers are added, each with an outline.
"""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_output
from sphinx.application import Sphinx
from teaching import outline

from dualseg.course.authoring.student_copy import student_copy

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")


def copy_course(app: Sphinx) -> None:
    """Write docs/notebooks (ignored by git); for teachers with their notes."""
    source, target = ROOT / "notebooks", Path(app.srcdir) / "notebooks"
    shutil.rmtree(target, ignore_errors=True)
    (target / "instructor").mkdir(parents=True)
    for path in sorted(source.glob("[0-9][0-9]_*.ipynb")):
        page = site_notebook(path, with_solutions=app.tags.has("instructor"))
        nbformat.write(page, target / path.name)
    if app.tags.has("instructor"):
        for path in sorted((source / "instructor").glob("*.md")):
            text = site_links(path.read_text(encoding="utf-8"), path.parent)
            for of_lesson in source.glob(f"{path.stem}_*.ipynb"):  # other notes have no notebook
                text += f"\n{outline(nbformat.read(of_lesson, as_version=4))}\n"
            (target / "instructor" / path.name).write_text(text, encoding="utf-8")


def site_notebook(path: Path, with_solutions: bool) -> NotebookNode:
    """One notebook as the site shows it: figures with alternative texts and wrapped captions."""
    notebook = nbformat.read(path, as_version=4)
    if not with_solutions:
        notebook = _without_solutions(notebook, path.name)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = site_links(cell.source, path.parent)
        else:
            _prepare_figure(cell)
    return notebook


def _without_solutions(notebook: NotebookNode, name: str) -> NotebookNode:
    """The sources of the student copy, with the recorded outputs of all but the exercises."""
    recorded = {cell.id: cell for cell in notebook.cells}
    student = student_copy(notebook, name)
    for cell in student.cells:
        if cell.cell_type == "markdown":
            cell.source = recorded[cell.id].source
        elif "solution" not in cell.metadata.get("tags", []) and ".exercise_" not in cell.source:
            cell.outputs = recorded[cell.id].outputs
    return student


def _prepare_figure(cell: NotebookNode) -> None:
    """Hand the alternative text to myst-nb, and make the printed caption a paragraph."""
    outputs = []
    for output in cell.outputs:
        image = "image/png" in output.get("data", {})
        if image:
            alt = output.metadata.get("image/png", {}).get("alt", "")
            cell.metadata["mystnb"] = {"image": {"alt": alt}}
        caption, _, rest = output.get("text", "").partition("\n")
        if re.match(r"Figure \d\d-\d+\. ", caption):
            text = f'<p class="figure-caption">{html.escape(caption)}</p>'
            outputs.append(new_output("display_data", {"text/html": text}))
            output.text = rest
        if output.get("text") != "":
            outputs.append(output)
    cell.outputs = outputs


def site_links(text: str, folder: Path) -> str:
    """Relative links as the site needs them; of a link to what has no page, the words only."""
    text = text.replace("](../figures/", "](../../figures/")  # the site's copy is one folder deeper

    def rewrite(link: re.Match[str]) -> str:
        words, target, anchor = link[1], (folder / link[2]).resolve(), link[3] or ""
        if target.is_relative_to(ROOT / "docs"):
            return f"[{words}](/{target.relative_to(ROOT / 'docs').as_posix()}{anchor})"
        if target.parent == ROOT / "notebooks":
            return f"[{words}](/notebooks/{target.name}{anchor})"
        return words

    return LINK.sub(rewrite, text)


def link_pages(app: Sphinx, page: str, source: list[str]) -> None:
    """A page of docs/ links to ../notebooks, as a reader of the repository needs it."""
    source[0] = source[0].replace("](../notebooks/", "](/notebooks/")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", copy_course)
    app.connect("source-read", link_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
