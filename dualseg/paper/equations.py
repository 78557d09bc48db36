"""The equation map: from each numbered equation to its function, its test and its notebook cell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._util.files import read_json
from .._util.tables import as_markdown, columns
from ..errors import DualsegError
from .tables import read_toml

NOTEBOOKS = Path("notebooks")


@dataclass(frozen=True)
class MappedEquation:
    """Where one equation of the paper is computed, tested and shown."""

    number: int
    what: str
    function: str
    """Its dotted name."""
    test: str
    """File and name of the test, as pytest takes them."""
    notebook: str
    """Number of the notebook."""
    cell: str
    """Id of the cell."""


def equation_map() -> list[MappedEquation]:
    """All numbered equations of the paper, in their order.

    Returns
    -------
    list of MappedEquation
        Function, test and notebook cell of each.
    """
    return [MappedEquation(**entry) for entry in read_toml("equations.toml")["equation"]]


def section_of(equation: MappedEquation, folder: Path = NOTEBOOKS) -> tuple[str, str]:
    """Find the notebook of an equation, and the section that its cell stands in.

    Parameters
    ----------
    equation : whose cell is looked for
    folder : of the notebooks

    Returns
    -------
    file, section : str
        Name of the notebook's file, and the heading of the section.

    Raises
    ------
    DualsegError
        Where the folder has no such notebook, or the notebook no such cell.
    """
    paths = list(folder.glob(f"{equation.notebook}_*.ipynb"))
    if len(paths) != 1:
        raise DualsegError(
            f"{folder}: expected one notebook {equation.notebook}_*.ipynb, found {len(paths)}; "
            "give the folder `notebooks` of a clone of the project."
        )
    heading = ""
    for cell in read_json(paths[0])["cells"]:
        if cell["cell_type"] == "markdown":
            found = re.findall(r"^## (.+)$", _text(cell), re.MULTILINE)
            heading = found[-1] if found else heading
        if cell["id"] == equation.cell:
            return paths[0].name, heading
    raise DualsegError(
        f"{paths[0]}: expected a cell with the id {equation.cell!r}, found none; put the cell that "
        f"shows equation {equation.number} into equations.toml."
    )


def _text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def equations_table(
    found: Sequence[MappedEquation], folder: Path = NOTEBOOKS, markdown: bool = False
) -> str:
    """The map as a table.

    Parameters
    ----------
    found : as `equation_map` returns them
    folder : of the notebooks
    markdown : for a page of docs/ on the site, with links to all three; not for the terminal

    Returns
    -------
    str
        The table.

    Raises
    ------
    DualsegError
        As `section_of`.
    """
    rows: list[tuple[str, ...]] = [("eq.", "what", "function", "test", "notebook")]
    for equation in found:
        file, section = section_of(equation, folder)
        test_file, test = equation.test.split("::")
        places = equation.function, equation.test, f"{equation.notebook}: {section}"
        if markdown:
            places = (
                f"{{py:obj}}`{equation.function}`",
                f"[`{test}`](../{test_file})",
                f"[{places[2]}](/notebooks/{file}#{_anchor(section)})",
            )
        rows.append((str(equation.number), equation.what, *places))
    return as_markdown(rows) if markdown else columns(rows)


def _anchor(heading: str) -> str:
    """The anchor that the site gives a heading, which is GitHub's."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
