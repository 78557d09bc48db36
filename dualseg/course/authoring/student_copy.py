"""Student copies: a notebook without its solutions and outputs, made from the notebook itself."""

from __future__ import annotations

import ast
import copy
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from ..._util.files import write_atomically
from ...errors import DualsegError
from .notebook_files import cell_name, code_cells, parse, read_notebook, tags

MARK = re.compile(r"^([ \t]*)# solution[ \t]*$", re.MULTILINE)


def student_path(path: Path) -> Path:
    """Where the student copy of a notebook stands."""
    return path.parent / "exercises" / path.name


def solution_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The code cells tagged "solution"."""
    return [cell for cell in code_cells(notebook) if "solution" in tags(cell)]


def student_copy(notebook: NotebookNode, name: str) -> NotebookNode:
    """Make the student copy of a notebook.

    In code cells tagged "solution" everything after the line `# solution` gives way to `...`: in a
    function, its body; elsewhere, `answer = ...` for each name that the solution assigns. Text
    cells tagged "solution" are left out.

    Parameters
    ----------
    notebook : NotebookNode
        Stays as it is.
    name : str
        The notebook's file name.

    Returns
    -------
    NotebookNode
        The copy.

    Raises
    ------
    DualsegError
        For a cell whose solution cannot be cut out.
    """
    made = copy.deepcopy(notebook)
    made.metadata.pop("dualseg", None)
    made.cells = [c for c in made.cells if c.cell_type == "code" or "solution" not in tags(c)]
    for cell in made.cells:
        if cell.cell_type == "code":
            if "solution" in tags(cell):
                cell.source = _stub(cell.source, f"{name}: {cell_name(notebook, cell)}")
                cell.metadata.pop("jupyter", None)  # which folds the solution
            cell.outputs, cell.execution_count = [], None
        else:
            cell.source = cell.source.replace("](../", "](../../")  # it stands one folder deeper
    if made.cells and made.cells[0].cell_type == "markdown":
        made.cells[0].source += (
            f'\n\n*Student copy: replace each `...` marked "your answer" and run the cell below '
            f"it. Solutions: [{name}](../{name}).*"
        )
    return made


def _stub(source: str, place: str) -> str:
    """The source of a solution's cell with `...` in place of the solution."""
    mark = MARK.search(source)
    if not mark:
        raise DualsegError(f"{place} is tagged 'solution': expected a line `# solution` in it.")
    above, indent, solution = source[: mark.start()], mark[1], source[mark.end() :]
    if indent:
        if not all(line.startswith(indent) for line in solution.splitlines() if line.strip()):
            raise DualsegError(
                f"{place}: expected the cell to end with the indented solution, found code after "
                "it; move that to the next cell."
            )
        return f"{above}{indent}...  # your answer"
    names = [
        target.id
        for statement in parse(solution).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    ]
    if not names:
        raise DualsegError(
            f"{place}: expected the solution to assign a name, or `# solution` to stand inside a "
            "function; else the checker has nothing to look at."
        )
    return above + "\n".join(f"{name} = ...  # your answer" for name in dict.fromkeys(names))


def write_student_copy(path: Path) -> Path:
    """Write the student copy of a notebook file; returns its path."""
    target = student_path(path)
    text = nbformat.writes(student_copy(read_notebook(path), path.name)) + "\n"
    write_atomically(target, text.encode())
    return target


def is_stale(path: Path, notebook: NotebookNode) -> bool:
    """Whether the student copy that stands there is not the one of this notebook."""
    target = student_path(path)
    if not target.is_file():
        return True
    return read_notebook(target) != student_copy(notebook, path.name)
