"""What teachers plan with: times that add up, a container that installs what README says."""

import json
import re
import tomllib
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).parent.parent
TEACHING = (ROOT / "docs" / "teaching.md").read_text(encoding="utf-8")
UNITS = {"core": 45, "all": 90}  # minutes of a lesson; votes and discussion fill the second


def table(heading: str) -> list[list[str]]:
    """The rows of the table below a heading, without its head."""
    section = TEACHING.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines[2:]]


def card(number: str) -> str:
    """What a notebook's card says about the time in class."""
    (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    text = nbformat.read(path, as_version=4).cells[0].source
    return re.search(r"^\| Time in class \| (.+) \|$", text, re.MULTILINE)[1]


def minutes_of(clock: str) -> int:
    hours, minutes = clock.split(":")
    return 60 * int(hours) + int(minutes)


def test_the_lesson_takes_as_long_as_it_says():
    *parts, (_, total) = table("One lesson of 90 minutes")
    assert sum(int(minutes) for _, minutes in parts) == int(total) == 90
    notes = (ROOT / "notebooks" / "instructor" / "00.md").read_text(encoding="utf-8")
    longer = re.findall(r"^\|.*\| (\d+) \|$", notes, re.MULTILINE)  # the column for 90 minutes
    assert [minutes for _, minutes in parts] == longer


def test_the_day_has_no_gaps():
    rows = table("One day")
    for (start, what, minutes), (following, *_) in pairwise(rows):
        assert minutes_of(start) + int(minutes) == minutes_of(following), what
        if number := re.match(r"(\d\d) [A-Z]", what):
            assert f"{minutes} minutes for the core" in card(number[1])


def test_the_term_adds_up():
    *weeks, total = table("A term of 12 weeks")
    assert [week[0] for week in weeks] == [str(number) for number in range(1, 13)]
    for week, what, minutes, at_home, exercises in weeks:
        taught = re.findall(r"(\d\d) (core|all)", what)
        projects = re.findall(r"(\d\d) minutes for the projects", what)
        assert sum(UNITS[part] for _, part in taught) + sum(map(int, projects)) == int(minutes)
        assert [number for number, _ in taught] == re.findall(r"\d\d", at_home)
        cards = [card(number) for number, _ in taught]
        for (_, part), text in zip(taught, cards, strict=True):
            core, both = re.search(r"(\d+) minutes for the core, (\d+) minutes with", text).groups()
            assert int(core if part == "core" else both) <= UNITS[part]
            assert part == "all" or int(core) == UNITS[part]
        found = sum(int(re.search(r"exercises (\d+) minutes", text)[1]) for text in cards)
        assert found == int(exercises), week
    for column in (2, 4):
        assert sum(int(week[column]) for week in weeks) == int(total[column])


def test_the_outline_names_the_minutes_of_sections_and_extra_parts(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs" / "_ext")
    from teaching import outline

    cells = [
        new_markdown_cell("## 1. Idea\n\n*Core, 8 minutes.*\n\n## Why\ntext"),
        new_code_cell("", outputs=[new_output("stream", text="Figure 00-1. A case.\n")]),
        new_markdown_cell("### A part of it\n*Core, 3 minutes.*"),
        new_markdown_cell("text\n\n### More\n*Extra, 1 minute.*\n\n### No minutes\n\ntext"),
    ]
    lines = outline(new_notebook(cells=cells)).splitlines()
    assert lines[4:] == [
        "- **1. Idea** (Core, 8 minutes)",
        "- **Why**",
        "  - Figure 00-1. A case.",
        "- **More** (Extra, 1 minute)",
    ]


@pytest.fixture(scope="module")
def container() -> dict:
    return json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))


def test_the_container_installs_what_readme_says(container):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    torch, *installs = container["postCreateCommand"].split(" && ")
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    name = re.fullmatch(r"python -m pip install (torch==\S+) --index-url \S+/whl/cpu", torch)[1]
    assert name in pinned
    assert f"the CPU build of {name.replace('==', ' ')} first" in " ".join(readme.split())
    assert len(installs) == 2
    assert all(f"\n{command} && " in readme for command in installs)


def test_the_container_has_all_that_the_conda_environment_has(container):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = re.findall(r"\.\[(\w+)\]", container["postCreateCommand"])
    lines = project["dependencies"] + [
        line for extra in extras for line in project["optional-dependencies"][extra]
    ]
    listed = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    conda = [line for line in listed if isinstance(line, str)]
    conda += next(line["pip"] for line in listed if isinstance(line, dict))
    names = {re.match(r"[\w-]+", line)[0] for line in conda if not line.startswith("-e")}
    installed = {re.match(r"[\w-]+", line)[0].lower() for line in lines}
    assert names - {"python", "pip", "pytorch"} == installed - {"torch"}
    python = re.fullmatch(r"\S+/python:(\d\.\d+)", container["image"])[1]
    assert project["requires-python"] == f">={python}"
    assert f"Python {python} or newer" in (ROOT / "README.md").read_text(encoding="utf-8")
