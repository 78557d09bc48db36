"""The course site: complete, without solutions, and with nothing that a network would have to give.

The site is built twice from the committed notebooks (they are not executed), with every warning an
error: for students, and for teachers.
"""

import functools
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


# Both in one process: what the pages' commands print, among it the costs of all methods, is
# computed once.
BUILD = """
import sys
from sphinx.cmd.build import build_main

for site in ("student", "teacher"):
    words = ["-t", "instructor"] if site == "teacher" else []
    words += ["-W", "-q", "-d", f"{sys.argv[1]}/{site}-doctrees", "docs", f"{sys.argv[1]}/{site}"]
    if status := build_main(words):
        sys.exit(status)
"""


@pytest.fixture(scope="module")
def sites(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sites")
    command = [sys.executable, "-c", BUILD, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def site(sites) -> Path:
    return sites / "student"


@pytest.fixture(scope="module")
def teachers_site(sites) -> Path:
    return sites / "teacher"


class Page(HTMLParser):
    """What a page asks a browser to load, its links, its pictures and its text."""

    def __init__(self, path: Path):
        super().__init__()
        self.assets, self.links, self.alts, self.classes = [], [], [], set()
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.classes |= set((values.get("class") or "").split())
        if tag in ("script", "img", "iframe", "source", "video") and values.get("src"):
            self.assets.append(values["src"])
        if tag == "link" and values.get("rel") not in ("index", "search", "next", "prev"):
            self.assets.append(values["href"])
        if tag == "a" and values.get("href"):
            self.links.append((values["href"], values.get("rel"), values.get("class") or ""))
        if tag == "img":
            self.alts.append(values.get("alt"))

    def handle_data(self, data):
        self.text += data


@functools.cache
def read(path: Path) -> Page:
    return Page(path)


def pages(site: Path) -> dict[str, Page]:
    found = site.rglob("*.html")
    return {
        path.relative_to(site).as_posix(): read(path)
        for path in found
        if "_static" not in str(path)
    }


def test_no_page_loads_anything_from_a_network(site):
    for name, page in pages(site).items():
        for asset in page.assets:
            assert not re.match(r"(https?:)?//", asset), (name, asset)
            if not asset.startswith("data:"):
                file = ((site / name).parent / asset.split("?")[0].split("#")[0]).resolve()
                assert file.is_file(), (name, asset)
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", text), style


def test_every_link_leads_to_a_page(site):
    for name, page in pages(site).items():
        for target, _, _ in page.links:
            if not re.match(r"(https?:|mailto:|#)", target):
                assert ((site / name).parent / target.split("#")[0].split("?")[0]).exists(), (
                    name,
                    target,
                )


def test_every_notebook_has_a_page_with_its_text_its_outputs_and_the_way_to_its_neighbors(site):
    assert len(NOTEBOOKS) > 10
    for before, path in zip([None, *NOTEBOOKS], NOTEBOOKS, strict=False):
        page = read(site / "notebooks" / f"{path.stem}.html")
        notebook = nbformat.read(path, as_version=4)
        title = notebook.cells[0].source.splitlines()[0].removeprefix("# ")
        assert title in page.text
        to = {target for target, _, kind in page.links if kind in ("left-prev", "right-next")}
        assert len(to) == 2
        assert before is None or f"{before.stem}.html" in to
        assert "search-button" in page.classes
        figures = [
            output.metadata["image/png"]["alt"]
            for cell in notebook.cells
            for output in cell.get("outputs", [])
            if "image/png" in output.get("data", {})
        ]
        assert [alt for alt in page.alts if alt in figures] == figures
        assert page.text.count("Figure " + path.name[:2]) >= len(figures)


def test_every_picture_has_an_alternative_text(site):
    for name, page in pages(site).items():
        assert all(page.alts), name


def solutions() -> list[tuple[Path, str]]:
    """The last line of each solution, where it is long and does not stand in the student copy."""
    found = []
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        student = nbformat.read(path.parent / "exercises" / path.name, as_version=4)
        given = "\n".join(cell.source for cell in student.cells)
        for cell in filter(is_solution, notebook.cells):
            line = cell.source.strip().splitlines()[-1].strip()
            if cell.cell_type == "code" and len(line) > 25 and line not in given:
                found.append((path, line))
    return found


def is_solution(cell) -> bool:
    return "solution" in cell.metadata.get("tags", [])


def test_solutions_and_notes_are_for_teachers_only(site, teachers_site):
    found = solutions()
    assert len(found) > 10
    for path, line in found:
        page = f"notebooks/{path.stem}.html"
        assert line not in read(site / page).text, (page, line)
        assert line in read(teachers_site / page).text, (page, line)
        source = site / "_sources" / "notebooks" / path.name
        assert "# solution" not in source.read_text(encoding="utf-8")
    notes = {path.stem for path in (ROOT / "notebooks" / "instructor").glob("*.md")}
    assert {p.stem for p in (teachers_site / "notebooks" / "instructor").glob("*.html")} == notes
    assert not list((site / "notebooks").glob("instructor/*"))
    assert "Notes for teachers" not in (site / "searchindex.js").read_text(encoding="utf-8")


def test_terms_are_linked_to_the_glossary_once_a_page(site):
    page = read(site / "notebooks" / "07_entropy_filtered_supervision.html")
    to = [target for target, _, _ in page.links if "glossary.html#term-" in target]
    assert len(to) > 5
    assert len(set(to)) == len(to)
    assert "../glossary.html#term-entropy" in to


def test_commands_and_results_are_those_of_the_package(site):
    commands = read(site / "commands.html").text
    for name in ("dualseg demo", "dualseg data prepare la", "dualseg notebooks record"):
        assert f"usage: {name}" in commands
    assert commands.index("what it does") < commands.index("usage: dualseg info")  # a table first
    results = read(site / "results.html").text
    records = list((ROOT / "figures" / "records" / "la").glob("*.json"))
    assert records and all(path.stem in results for path in records)


def test_teachers_find_the_time_of_each_notebook_and_its_outline(site, teachers_site):
    times = read(site / "teaching.html").text
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        first = notebook.cells[0].source
        assert re.search(r"Time in class \| (.+) \|", first)[1] in times
        page = read(teachers_site / "notebooks" / "instructor" / f"{path.stem[:2]}.html")
        shown = page.text.split("\nOutline#")[1]
        captions = set(re.findall(rf"Figure {path.name[:2]}-\d+\.", shown))
        images = [
            output
            for cell in notebook.cells
            for output in cell.get("outputs", [])
            if "alt" in output.get("metadata", {}).get("image/png", {})
        ]
        assert len(captions) == len(images)
