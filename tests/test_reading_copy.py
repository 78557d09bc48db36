"""The reading copy: every formula, picture and link there, and nothing from the network."""

import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from dualseg.cli.main import main
from dualseg.course.authoring.reading_copy import write_reading_copy
from dualseg.errors import DualsegError

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5"
    "ErkJggg=="
)


def notebook(number: str, *texts: str) -> nbformat.NotebookNode:
    picture = new_output(
        "display_data", {"image/png": PIXEL}, metadata={"image/png": {"alt": "a <blue> pixel"}}
    )
    printed = new_output("stream", name="stdout", text="Dice 80 < 90\n")
    return new_notebook(
        cells=[
            new_markdown_cell(f"# {number} Title of {number}\n*Why is it {number}?*"),
            *map(new_markdown_cell, texts),
            new_code_cell("a = '$x$'  # no formula", outputs=[printed, picture], execution_count=1),
        ]
    )


@pytest.fixture
def course(tmp_path):
    folder = tmp_path / "notebooks"
    (folder / "instructor").mkdir(parents=True)
    text = (
        "Inline $p_1 < p_2$ and `$not$`, see [the next](01_b.ipynb#2.-Two) and [web](https://x.y), "
        "[away](../README.md), [words](../notebooks/glossary.md), [notes](instructor/00.md).\n"
        "$$\\mathcal{L} = \\sum_i \\frac{1}{N} \\lVert f_i - c \\rVert^2$$\n"
        "```\nno $formula$ here\n```\n| a | b |\n| --- | --- |\n| $\\hat{y}^{(a)}$ | 2 |\n"
    )
    nbformat.write(notebook("00", text), folder / "00_a.ipynb")
    nbformat.write(notebook("01"), folder / "01_b.ipynb")
    (folder / "glossary.md").write_text("# Glossary\n\n**logit**: $z$, see [00](00_a.ipynb)\n")
    (folder / "instructor" / "00.md").write_text("# Notes 00\n")
    return folder


class Links(HTMLParser):
    """What a page asks a browser to get."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found += [(tag, n, v) for n, v in attributes if n in ("src", "href", "alt")]
        assert tag not in ("script", "link", "iframe")


def links(page) -> list:
    parser = Links()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser.found


def test_formulas_pictures_and_links(course, tmp_path):
    out = tmp_path / "out"
    pages = write_reading_copy(course, out)
    names = ["index.html", "00_a.html", "01_b.html", "glossary.html", "instructor_00.html"]
    assert sorted(page.name for page in pages) == sorted(names)
    text = (out / "00_a.html").read_text(encoding="utf-8")
    assert text.count("<math") == 3
    assert "<msup>" in text and "<mfrac>" in text
    assert "$not$" in text and "no $formula$ here" in text and "$x$" in text
    assert "\\mathcal" not in text
    assert "Dice 80 &lt; 90" in text
    assert text.count('<div class="table"><table>') == 1
    assert ("img", "alt", "a <blue> pixel") in links(out / "00_a.html")


def test_nothing_comes_from_the_network_and_every_link_leads_somewhere(course, tmp_path):
    out = tmp_path / "out"
    for page in write_reading_copy(course, out):
        for tag, name, value in links(page):
            if name == "alt" or (tag, value) == ("a", "https://x.y"):
                continue
            if name == "src":
                assert value.startswith("data:image/png;base64,")
                continue
            assert (out / value.partition("#")[0]).is_file(), value
        assert not re.search(r"url\(|@import", page.read_text(encoding="utf-8"))
    index = (out / "index.html").read_text(encoding="utf-8")
    assert "Why is it 01?" in index
    assert 'href="glossary.html"' in index
    follow = (out / "00_a.html").read_text(encoding="utf-8")
    assert 'rel="next">01 Title of 01 →' in follow and 'rel="prev"' not in follow


def test_the_course_itself(tmp_path):
    root = Path(__file__).parent.parent
    pages = write_reading_copy(root / "notebooks", tmp_path)
    assert len(pages) > 10
    for page in pages:
        for tag, name, value in links(page):
            if tag == "a" and not value.startswith(("https://", "#")):
                assert (tmp_path / value.partition("#")[0]).is_file(), (page.name, value)
            assert name != "src" or value.startswith("data:image/")
        pictures = page.read_text(encoding="utf-8").count("<img")
        assert sum(name == "alt" for _, name, _ in links(page)) == pictures


def test_bad_input(course, tmp_path, capsys):
    with pytest.raises(DualsegError, match=r"empty: expected notebooks, found none"):
        write_reading_copy(tmp_path / "empty", tmp_path / "out")
    command = ["notebooks", "html", "--folder", str(course), "--out", str(tmp_path / "out")]
    for formula, words in (("x_", "the formula 'x_'"), ("\\foo{x}", "unknown command \\foo")):
        nbformat.write(notebook("02", f"${formula}$"), course / "02_c.ipynb")
        assert main(command) == 1
        assert words in capsys.readouterr().err
