"""Check committed notebooks: their form, their outputs, and that these belong to their code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nbformat import NotebookNode

from ... import __version__
from .form import MAX_BYTES, form_problems, output_problems
from .notebook_files import read_notebook
from .record import CARD, code_hash, measured, outputs_hash
from .student_copy import is_stale, solution_cells


def check_notebook(path: Path) -> tuple[list[str], list[str]]:
    """Check form, outputs, stamp and student copy of one notebook file.

    Parameters
    ----------
    path : Path
        The notebook.

    Returns
    -------
    tuple of two lists of str
        Problems and notes, each a line that names the notebook and the cell.
    """
    notebook = read_notebook(path)
    problems = form_problems(notebook, path.name) + output_problems(notebook, path.name)
    problems += [f"{path.name}: {problem}" for problem in _stamp(notebook, path)]
    stamp = notebook.metadata.get("dualseg", {})
    recorded = stamp.get("versions", {}).get("dualseg", __version__)
    note = f"{path.name}: recorded with dualseg {recorded}, this is {__version__}"
    return problems, [note] if recorded != __version__ else []


def _stamp(notebook: NotebookNode, path: Path) -> Iterator[str]:
    size = path.stat().st_size
    if size > MAX_BYTES:
        yield f"expected at most {MAX_BYTES} bytes, found {size}; show fewer or smaller figures"
    number = path.stem[:2]
    again = f"record it again: `dualseg notebooks record {number}`"
    stamp = notebook.metadata.get("dualseg")
    if not stamp:
        yield f"has no stamp, so nobody knows where its outputs come from; {again}"
        return
    if stamp["code_sha256"] != code_hash(notebook):
        yield f"its code is not the code that was recorded; {again}"
    if stamp.get("outputs_sha256") != outputs_hash(notebook):
        yield f"its outputs are not those that were recorded; {again}"
    if stamp["profile"] != "lesson":
        yield f"expected a recording with the profile lesson, found {stamp['profile']}; {again}"
    filled = CARD.search(notebook.cells[0].source)
    if filled and measured(stamp) not in filled[0]:
        yield f"its card does not say what its stamp says ({measured(stamp)}); {again}"
    if solution_cells(notebook) and is_stale(path, notebook):
        yield f"its student copy is missing or old; run `dualseg notebooks exercises {number}`"
