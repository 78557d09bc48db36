"""A reading copy of the course: HTML pages that need no network, no kernel and no script.

nbconvert makes the pages from the recorded notebooks. Its own pages load MathJax and other scripts
from the network; here formulas become MathML, which browsers draw themselves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import nbformat
from jinja2 import Template
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter

from ... import __version__
from ..._util.files import write_atomically
from ...errors import DualsegError
from .record import notebook_rows

INTRODUCTION = """# dualseg: the course

Two networks that teach each other to segment 3D medical images from few labels: a reading copy of
the notebooks, with all text, code, results and figures. To run and change them, open them in
JupyterLab.
"""


# Commands that the converter does not have, and what stands for them.
MISSING = {"arg": r"\operatorname{arg}", "lceil": "\u2308", "rceil": "\u2309"}
LINK = re.compile(r'<a href="(?!https?:|#)([^"#]*)(#[^"]*)?">(.*?)</a>', re.DOTALL)


@dataclass(frozen=True)
class Page:
    """One page of the copy: its file, its title, its content as HTML."""

    file: str
    title: str
    body: str


class _Renderer(IPythonRenderer):
    """Markdown to HTML with formulas as MathML."""

    def block_math(self, body: str) -> str:
        return _mathml(body, "block")

    def inline_math(self, body: str) -> str:
        return _mathml(body, "inline")


def write_reading_copy(notebooks: Path, out: Path) -> list[Path]:
    """Write a page for every notebook and Markdown file in `notebooks`, and an index.

    Raises DualsegError where there is no recorded notebook, or a formula cannot be converted.
    """
    paths = sorted(notebooks.glob("[0-9][0-9]_*.ipynb"))
    if not paths:
        raise DualsegError(f"{notebooks}: expected notebooks, found none.")
    pages = [_notebook_page(path) for path in paths]
    texts = [_text_page(path, notebooks) for path in sorted(notebooks.rglob("*.md"))]
    index = Page("index.html", "dualseg: the course", _markdown(_index(paths, pages, texts)))
    written = []
    for page in [index, *pages, *texts]:
        place = pages.index(page) if page in pages else None
        written.append(_write(page, out, pages, place))
    return written


def _notebook_page(path: Path) -> Page:
    notebook = nbformat.read(path, as_version=4)
    exporter = HTMLExporter(
        template_name="basic",
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    exporter.register_filter("markdown2html", _markdown)
    body, _ = exporter.from_notebook_node(notebook)
    return Page(path.with_suffix(".html").name, _heading(notebook.cells[0].source), body)


def _text_page(path: Path, notebooks: Path) -> Page:
    source = path.read_text(encoding="utf-8")
    file = "_".join(path.relative_to(notebooks).with_suffix(".html").parts)
    return Page(file, _heading(source), _markdown(source))


def _heading(source: str) -> str:
    return source.lstrip().splitlines()[0].lstrip("# ").strip()


def _markdown(source: str) -> str:
    return MarkdownWithMath(renderer=_Renderer(escape=False, exclude_anchor_links=True)).render(
        source
    )


def _mathml(formula: str, display: str) -> str:
    known = formula
    for command, other in MISSING.items():
        known = re.sub(rf"\\{command}\b", lambda _, other=other: other, known)
    try:
        mathml = convert(known, display=display)
    except Exception as error:  # the converter has a dozen of its own
        raise DualsegError(
            f"the formula {formula!r}: expected LaTeX that can become MathML, found an error "
            f"({type(error).__name__})."
        ) from error
    unknown = re.search(r">(\\[A-Za-z]+)<", mathml)  # left as it was
    if unknown:
        raise DualsegError(
            f"the formula {formula!r}: expected LaTeX that can become MathML, found the unknown "
            f"command {unknown[1]}; write it otherwise."
        )
    return mathml


def _index(paths: list[Path], pages: list[Page], texts: list[Page]) -> str:
    lines = [INTRODUCTION, "| notebook | question | time | memory |", "| --- | --- | --- | --- |"]
    for row, page in zip(notebook_rows(paths), pages, strict=True):
        link = f"[{page.title}]({page.file})"
        lines.append(f"| {link} | {row['question']} | {row['time']} | {row['memory']} |")
    lines += ["", "Time and memory are those of the recording, on the machine that its card names."]
    if texts:
        lines += ["", "## Beside the notebooks", ""]
        lines += [f"- [{page.title}]({page.file})" for page in texts]
    return "\n".join(lines)


def _page_link(link: re.Match[str]) -> str:
    """A link to another notebook or text as one to its page; to anything else, its words only."""
    target = link[1].removeprefix("../notebooks/")
    if not target.endswith((".ipynb", ".md", ".html")) or target.startswith(("../", "exercises/")):
        return link[3]
    file = re.sub(r"\.(ipynb|md)$", ".html", target).replace("/", "_")
    return f'<a href="{file}{link[2] or ""}">{link[3]}</a>'


def _write(page: Page, out: Path, pages: list[Page], place: int | None) -> Path:
    folder = resources.files("dualseg") / "resources" / "reading"
    dark = HtmlFormatter(style="github-dark").get_style_defs("pre")
    style = (
        (folder / "style.css").read_text(encoding="utf-8")
        + HtmlFormatter(style="default").get_style_defs("pre")
        + f"@media (prefers-color-scheme: dark) {{ {dark} }}"
        + "pre { background: var(--soft) !important; color: var(--text) !important; }"
    )
    # A wide table scrolls by itself.
    body = LINK.sub(_page_link, page.body)
    body = re.sub(r"<table.*?</table>", r'<div class="table">\g<0></div>', body, flags=re.DOTALL)
    text = Template((folder / "page.html").read_text(encoding="utf-8")).render(
        title=page.title,
        style=style,
        body=body,
        before=pages[place - 1] if place else None,
        after=pages[place + 1] if place is not None and place + 1 < len(pages) else None,
        version=__version__,
    )
    path = out / page.file
    write_atomically(path, lambda file: file.write(text.encode()))
    return path
