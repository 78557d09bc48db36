"""A small good notebook, built in memory; tests break one thing of it at a time."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

CARD = """# 02 A small notebook
*What is the smallest notebook?*

| | |
| --- | --- |
| Before this | nothing |
| Time in class | 5 minutes for the core, 8 minutes with the extra parts; exercises 1 minute |
| Data | none |
| Paper | none |
| Measured | <!-- measured --><!-- end --> |"""
IMPORTS = """from matplotlib.figure import Figure

from dualseg.course.checkers import check_close
from dualseg.course.display import browse, show
from dualseg.course.settings import notebook_settings"""
PARAMETERS = """profile = "lesson"  # smoke | lesson | full
dataset = "phantom"  # phantom | la
data_dir = ""  # folder of the LA files
seed = 0  # of everything random
radius = 3.0  # voxels"""
SETTINGS = """settings = notebook_settings(
    profile=profile, dataset=dataset, data_dir=data_dir, seed=seed, radius=radius
)"""
FIGURE = """figure = Figure(figsize=(3, 2))
figure.subplots().plot([0, radius])
show(figure, name="02-1-line", alt="A line from 0 to 3.", caption="A line.")"""
BROWSE = """def draw(figure, value):
    figure.subplots().plot([0, value])

browse(draw, [1, 2, 3, 4], name="02-2-slopes", alt="Three rising lines, each steeper.",
       caption="Lines.", label="slope")"""
SECTION = """## 1. Lines

*Core, 5 minutes.*

A line has a slope.

### By hand

*Extra, 3 minutes.*"""
QUIZ = (
    "## Quiz\n"
    + 3
    * """
What is a line?

<details><summary>Answer</summary>

A straight curve.

</details>
"""
)
SOLUTION = """def double(x):
    \"\"\"Twice x.\"\"\"
    # solution
    return 2 * x"""
ANSWER = """# How many corners has a cube?
# solution
corners = 2**3"""


def code(source: str, *tags: str) -> NotebookNode:
    return new_code_cell(source, metadata={"tags": list(tags)} if tags else {})


def small_notebook() -> NotebookNode:
    """Cells 0 to 13; nothing was run yet."""
    notebook = new_notebook(
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
        }
    )
    notebook.cells = [
        new_markdown_cell(CARD),
        new_markdown_cell("## Learning goals\n\n1. see [the rules](../CONTRIBUTING.md)"),
        code(IMPORTS),
        code(PARAMETERS, "parameters"),
        code(SETTINGS),
        code(FIGURE, "hide-input"),
        code(BROWSE),
        code("print(2 + 3)", "nbval-check-output"),
        new_markdown_cell(f"{SECTION}\n\n{QUIZ}\n## Exercises"),
        code(SOLUTION, "solution"),
        code(ANSWER, "solution"),
        new_markdown_cell("The cube has eight.", metadata={"tags": ["solution"]}),
        code("print(radius)"),
        new_markdown_cell("## Summary"),
    ]
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i}"  # new_notebook draws random ones
    return notebook


def write(notebook: NotebookNode, folder: Path, name: str = "02_small.ipynb") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    nbformat.write(notebook, path)
    return path
