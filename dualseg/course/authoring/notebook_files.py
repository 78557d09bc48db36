"""Find, read and run notebooks; a run is refused where its parameters would not take effect."""

from __future__ import annotations

import ast
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

from ..._util.literals import read_as
from ...errors import DualsegError
from ..settings import check_parameters

FOLDER = Path("notebooks")
FOLDED = {"hide-input", "solution"}  # tags of a figure's code, and of the answer to an exercise
PLAIN = (bool, int, float, str, list)


@dataclass(frozen=True)
class NotebookRun:
    """An executed notebook, with papermill's additions, and what the run took."""

    notebook: NotebookNode
    path: Path
    cells: int
    seconds: float


def notebook_paths(folder: Path = FOLDER, names: Sequence[str] = ()) -> list[Path]:
    """Find the notebooks of a folder.

    Parameters
    ----------
    folder : Path
        Holds files like 02_name.ipynb.
    names : sequence of str
        Numbers or file names; all notebooks without.

    Returns
    -------
    list of Path
        In the order of `names`, or of their numbers.

    Raises
    ------
    DualsegError
        For a name without a notebook, or a folder without any.
    """
    paths = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not paths:
        raise DualsegError(
            f"{folder}: expected notebooks like 02_name.ipynb, found none; run this in the "
            "project's folder, or give --folder."
        )
    if not names:
        return paths
    found = []
    for name in names:
        stem = Path(name).stem
        matches = [p for p in paths if p.stem == stem or p.stem.startswith(f"{stem}_")]
        if not matches:
            known = ", ".join(path.stem[:2] for path in paths)
            raise DualsegError(f"notebook {name!r}: expected one of {known}, found none such.")
        found += matches
    return found


def read_notebook(path: Path) -> NotebookNode:
    """Read a notebook file; raises DualsegError if it is none."""
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        return notebook
    except (OSError, ValueError, nbformat.ValidationError) as error:
        raise DualsegError(
            f"{path}: expected a readable notebook of nbformat 4, found: {str(error)[:200]}"
        ) from error


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Code cells with any code, in order; "code cell 3" of a message is the third of them."""
    return [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return cell.metadata.get("tags", [])


def cell_name(notebook: NotebookNode, cell: NotebookNode) -> str:
    """How messages name a cell: its number among the code cells and its first line."""
    if cell.cell_type != "code":
        return f"text cell {[c.id for c in notebook.cells].index(cell.id) + 1} of all cells"
    number = [c.id for c in code_cells(notebook)].index(cell.id) + 1
    return f"code cell {number} ({cell.source.strip().splitlines()[0][:50]!r})"


def parse(source: str) -> ast.Module:
    """The syntax tree of a cell, with IPython's magics turned into calls."""
    return ast.parse(TransformerManager().transform_cell(source))


def parameter_cell(notebook: NotebookNode, place: str) -> NotebookNode:
    """The one code cell tagged "parameters"; raises DualsegError if there is none or another."""
    cells = [cell for cell in code_cells(notebook) if "parameters" in tags(cell)]
    if len(cells) != 1:
        raise DualsegError(
            f"{place}: expected exactly one code cell tagged 'parameters', found {len(cells)}; "
            "without it given values would not take effect."
        )
    return cells[0]


def parameters(notebook: NotebookNode, place: str) -> dict[str, Any]:
    """Names and default values of a notebook's parameters.

    Parameters
    ----------
    notebook : NotebookNode
        Has one code cell tagged "parameters".
    place : str
        What messages call the notebook.

    Returns
    -------
    dict
        By name, in the order of the cell.

    Raises
    ------
    DualsegError
        Unless the cell assigns plain literals (text, numbers, True/False, lists) to names.
    """
    found = {}
    for statement in parse(parameter_cell(notebook, place).source).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=expression):
                with suppress(ValueError):
                    value = ast.literal_eval(expression)
                    if type(value) in PLAIN:
                        found[name] = value
                        continue
        raise DualsegError(
            f"{place}: expected lines like `seed = 0  # meaning` with plain literals in the "
            f"parameters cell, found `{ast.unparse(statement)}`."
        )
    return found


def given_parameters(
    notebook: NotebookNode, place: str, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Check the values that a notebook is to run with.

    Parameters
    ----------
    notebook : NotebookNode
        Has one code cell tagged "parameters".
    place : str
        What messages call the notebook.
    given : mapping
        Values by name; text is read as the type that the parameter's default has.

    Returns
    -------
    dict
        The given values by name.

    Raises
    ------
    DualsegError
        For an unknown name, a value of another type or out of range, or a notebook that would
        assign a parameter again in a later cell.
    """
    defaults = parameters(notebook, place)
    for name in given:
        if name not in defaults:
            known = ", ".join(f"{n} = {v!r}" for n, v in defaults.items())
            raise DualsegError(f"{place}: parameter {name!r} is unknown; expected one of {known}.")
    for cell, name in reassigned(notebook, place):
        raise DualsegError(
            f"{place}: {cell_name(notebook, cell)} assigns the parameter {name!r} again, so that a "
            "given value would not take effect; use another name there."
        )
    found = {
        name: read_as(defaults[name], value, f"{place}: parameter {name}")
        for name, value in given.items()
    }
    check_parameters(**found)
    return found


def reassigned(notebook: NotebookNode, place: str) -> Iterator[tuple[NotebookNode, str]]:
    """Cells after the parameters cell that bind a parameter's name anew, with that name."""
    names = set(parameters(notebook, place))
    cells = code_cells(notebook)
    start = cells.index(parameter_cell(notebook, place))
    for cell in cells[start + 1 :]:
        for name in sorted(names & set(bound_names(parse(cell.source)))):
            yield cell, name


def bound_names(node: ast.AST) -> Iterator[str]:
    """Names that running `node` binds in the notebook; what is local to a function is not."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
        yield from (n for g in ast.walk(node) if isinstance(g, ast.Global) for n in g.names)
        return
    if isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        return
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    if isinstance(node, ast.alias):
        yield (node.asname or node.name).split(".")[0]
    for child in ast.iter_child_nodes(node):
        yield from bound_names(child)


def run_notebook(
    path: Path,
    given: Mapping[str, Any],
    out: Path,
    *,
    epilogue: str = "",
    figures: Path | None = None,
    progress: bool = False,
    cell_seconds: int | None = None,
) -> NotebookRun:
    """Run a notebook with parameters by papermill.

    Parameters
    ----------
    path : Path
        The notebook, which stays as it is.
    given : mapping
        Parameters that differ from the defaults, by name.
    out : Path
        Folder of the executed copy.
    epilogue : str
        Code for a further cell at the end.
    figures : Path, optional
        A folder to which `dualseg.course.show` also saves the figures.
    progress : bool
        Show a progress bar.
    cell_seconds : int, optional
        The most that one cell may take.

    Returns
    -------
    NotebookRun
        The executed notebook, its path, number of cells and seconds.

    Raises
    ------
    DualsegError
        Where parameters do not fit, a cell fails (it is named) or nothing was executed.
    """
    notebook = read_notebook(path)
    values = given_parameters(notebook, path.name, given)
    if epilogue:
        notebook.cells.append(nbformat.v4.new_code_cell(epilogue))
    target = out / path.name
    if target.resolve() == path.resolve():
        raise DualsegError(f"{path}: would be overwritten by its run; choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with quiet_kernel(figures):
        done = _execute(notebook, target, values, progress, cell_seconds)
    cells = sum(cell.execution_count is not None for cell in code_cells(done))
    if not cells:
        raise DualsegError(f"{path.name}: expected cells to run, found that none was executed.")
    return NotebookRun(done, target, cells, time.perf_counter() - start)


def _execute(
    notebook: NotebookNode,
    target: Path,
    values: dict[str, Any],
    progress: bool,
    cell_seconds: int | None,
) -> NotebookNode:
    import papermill  # here, because it takes seconds
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    try:
        return papermill.execute_notebook(
            notebook,
            target,
            values,
            progress_bar=progress and {"desc": target.stem, "leave": False},
            execution_timeout=cell_seconds,
            # At every start the kernel warns that it listens on TCP, though only locally.
            extra_arguments=["--log-level=ERROR"],
        )
    except PapermillExecutionError as error:
        failed = [cell for cell in code_cells(notebook) if cell.source == error.source]
        name = cell_name(notebook, failed[0]) if failed else "the cell with the given parameters"
        plain = re.sub(r"\x1b\[[\d;]*m", "", error.evalue)  # without colors
        raise DualsegError(
            f"{target.name}: {name} failed with {error.ename}: {plain} (what ran stands in "
            f"{target})."
        ) from error
    except (CellTimeoutError, DeadKernelError) as error:
        raise DualsegError(f"{target.name}: stopped: {str(error).strip()[:300]}") from error


@contextmanager
def quiet_kernel(figures: Path | None = None) -> Iterator[None]:
    """The environment of a kernel that nobody sits at."""
    before = dict(os.environ)
    os.environ.pop("JPY_SESSION_NAME", None)  # inherited where this itself runs in a notebook
    os.environ.pop("DUALSEG_FIGURES", None)
    if figures:
        os.environ["DUALSEG_FIGURES"] = str(figures.resolve())
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
