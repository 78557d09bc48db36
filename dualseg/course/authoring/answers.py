"""What has to be run to check one answer: the checker's call, and the cells that it needs."""

from __future__ import annotations

import ast
import re
import symtable
from collections.abc import Iterator
from dataclasses import dataclass

from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

from .notebook_files import bound_names, code_cells, parse

SMALLEST = {"profile": "smoke", "dataset": "phantom", "data_dir": ""}


@dataclass(frozen=True)
class Exercise:
    """One exercise of a notebook, and how its checker is called."""

    notebook: str
    """Two digits."""
    title: str
    """As `exercise_1`."""
    call: str
    """As `nb02.exercise_1(jaccard_from_dice)`."""

    @property
    def column(self) -> str:
        """As `02.1`."""
        return f"{self.notebook}.{self.title.removeprefix('exercise_')}"


def exercises(notebook: NotebookNode) -> list[Exercise]:
    """The exercises of a notebook of the course, in order: one for each call of a checker."""
    found = []
    for cell in code_cells(notebook):
        for statement in parse(cell.source).body:
            call = ast.unparse(statement)
            if match := re.match(r"nb(\d\d)\.(exercise_\d+)\(", call):
                found.append(Exercise(match[1], match[2], call))
    return found


def sources_for(exercise: Exercise, handed_in: NotebookNode) -> list[str]:
    """Sources of the cells that lead to the answers of an exercise, the checker's call the last.

    A cell is needed if it binds a name that the call or a needed cell below it uses. So an exercise
    costs no training unless its answer uses trained networks, and a cell that fails or never ends
    spoils only the answers that are built on it. The checker is called as the course calls it,
    whatever the handed-in notebook does. `SMALLEST` takes the place of the parameters' values.

    Parameters
    ----------
    exercise : Exercise
        Of the course's notebook.
    handed_in : NotebookNode
        A student's copy of it.

    Returns
    -------
    list of str
        In the order in which they are to be run.
    """
    checker = f"from dualseg.course.checkers import nb{exercise.notebook}\n{exercise.call}"
    needed, sources = _used_names(exercise.call), [checker]
    for cell in reversed(code_cells(handed_in)):
        bound, used = _names(cell.source)
        if bound & needed:
            needed |= used
            smallest = (
                f"\n{name} = {value!r}" for name, value in SMALLEST.items() if name in bound
            )
            sources.insert(0, cell.source + "".join(smallest))
    return sources


def _names(source: str) -> tuple[set[str], set[str]]:
    """Names that a cell binds, and names that it takes from outside."""
    source = re.sub(r"^%%?time\b", "", source, flags=re.MULTILINE)  # which hides what it times
    try:
        return set(bound_names(parse(source))), _used_names(source)
    except SyntaxError:  # when it is run, it says so; a name in it may be one that it was to bind
        return set(re.findall(r"\w+", source)), set()


def _used_names(source: str) -> set[str]:
    """Names that a source looks up in the notebook; those local to its functions are left out."""

    def walk(table: symtable.SymbolTable) -> Iterator[str]:
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (table.get_type() == "module" or symbol.is_global()):
                yield symbol.get_name()
        for child in table.get_children():
            yield from walk(child)

    return set(walk(symtable.symtable(TransformerManager().transform_cell(source), "", "exec")))
