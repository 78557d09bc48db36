"""The committed notebooks: checked, run at smoke with their student copies, their numbers kept."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell
from papermill.engines import NotebookExecutionManager

from dualseg.course.authoring.check import check_notebook
from dualseg.course.authoring.form import text_of
from dualseg.course.authoring.notebook_files import (
    code_cells,
    parameter_cell,
    parameters,
    read_notebook,
    run_notebook,
    tags,
)
from dualseg.course.authoring.student_copy import solution_cells, student_path
from dualseg.course.checkers import Hint
from dualseg.course.settings import LA_DIR, PARAMETERS, REAL_IF_HERE, check_parameters

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
SANITIZE = Path(__file__).parent / "nbval_sanitize.cfg"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
QUICK_SECONDS = 30  # of CPU time: recordings up to this are run again by nbval
SMOKE_SECONDS, CELL_SECONDS = 480, 120  # a busy laptop's; an idle one takes a tenth


def is_quick(path: Path) -> bool:
    notebook = read_notebook(path)
    cells = code_cells(notebook)
    tagged = any("nbval-check-output" in tags(cell) for cell in cells)
    # In a new clone the networks that `half_trained` looks at are trained first, for a minute.
    trains = any("half_trained(" in cell.source for cell in cells)
    stamp = notebook.metadata.get("dualseg", {"cpu_seconds": float("inf")})
    real = stamp.get("parameters", {}).get("dataset") == REAL_IF_HERE
    here = not real or LA_DIR in os.environ
    return tagged and not trains and here and stamp["cpu_seconds"] <= QUICK_SECONDS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_form_outputs_stamp_and_student_copy(path):
    problems, _ = check_notebook(path)
    assert problems == []


def with_student_copy(path: Path) -> NotebookNode:
    """A notebook, then its student copy from the first exercise on.

    Up to there the two are the same (see `check_notebook`), and need not be run twice. In between,
    all names get back the values that they had before the first exercise.
    """
    both, copy = read_notebook(path), read_notebook(student_path(path)).cells
    first = next(n for n, cell in enumerate(both.cells) if "solution" in tags(cell))
    begun = next(n for n, cell in enumerate(copy) if "solution" in tags(cell))
    for number, cell in enumerate(copy):
        cell.id = f"student-{number}"
    given = "_given = {name: value for name, value in globals().items() if name[0] != '_'}"
    both.cells.insert(first, new_code_cell(given))
    forgotten = (
        "for _name in [name for name in globals() if name[0] != '_']:\n    del globals()[_name]\n"
        "globals().update(_given)"
    )
    both.cells += [new_markdown_cell("# The student copy"), new_code_cell(forgotten), *copy[begun:]]
    return both


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_at_smoke_and_the_checkers_say_what_they_should(path, tmp_path, monkeypatch):
    # Papermill writes the file before and after each cell, too: as long as half of the cells take.
    monkeypatch.setattr(NotebookExecutionManager, "save", lambda self, **_: None)
    monkeypatch.delenv(LA_DIR, raising=False)  # the same everywhere, and no real scans to read
    notebook = with_student_copy(path)
    nbformat.write(notebook, tmp_path / path.name)
    given = {"profile": "smoke"}
    run = run_notebook(tmp_path / path.name, given, tmp_path / "out", cell_seconds=CELL_SECONDS)
    assert run.cells >= len(code_cells(notebook))
    assert run.seconds < SMOKE_SECONDS
    text = "\n".join(
        text_of(output) for cell in code_cells(run.notebook) for output in cell.outputs
    )
    said = re.findall(r"^Exercise \d+: (right|not yet)", text, re.MULTILINE)
    exercises = len(solution_cells(read_notebook(path)))
    assert said == ["right"] * exercises + ["not yet"] * exercises


@pytest.mark.parametrize("path", [p for p in NOTEBOOKS if is_quick(p)], ids=lambda p: p.stem)
def test_quoted_numbers_are_found_again(path):
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "--nbval-lax"]
    command += ["-p", "no:cacheprovider", "--nbval-current-env"]
    command += ["--nbval-sanitize-with", str(SANITIZE), str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=600)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_exercise_has_a_checker_that_knows_wrong_answers(path):
    """WRONG in tests/wrong_answers/nbNN.py: exercise -> (answers, words of the hint) pairs."""
    name = f"nb{path.stem[:2]}"
    source = "\n".join(cell.source for cell in code_cells(read_notebook(path)))
    called = re.findall(rf"\b{name}\.(exercise_\d+)\(", source)
    assert len(solution_cells(read_notebook(path))) == len(called) == len(set(called))
    checkers = importlib.import_module(f"dualseg.course.checkers.{name}")
    wrong = importlib.import_module(f"wrong_answers.{name}").WRONG
    assert set(called) == set(wrong)
    assert set(called) == {n for n in vars(checkers) if re.fullmatch(r"exercise_\d+", n)}
    for exercise, pairs in wrong.items():
        assert len(pairs) >= 2
        for answers, words in pairs:
            with pytest.raises(Hint, match=words):
                getattr(checkers, exercise)(*answers)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_parameter_is_checked_and_says_its_range(path):
    notebook = read_notebook(path)
    values = parameters(notebook, path.name)
    assert set(values) <= set(PARAMETERS)
    check_parameters(**values)
    lines = {
        line.split(" = ")[0]: line for line in parameter_cell(notebook, "").source.splitlines()
    }
    for name in {"seed", "draw", "gamma"} & set(values):
        expected, _ = PARAMETERS[name]
        low, high = re.findall(r"\d+", expected)
        assert re.search(rf"# (whole )?number, {low} to {high};", lines[name]), lines[name]


@pytest.mark.parametrize("preset", ["cr", "pgl"])  # with the fewest terms
def test_one_step_is_taken_apart_with_any_preset(preset, tmp_path):
    (path,) = [path for path in NOTEBOOKS if path.stem.startswith("10_")]
    given = {"profile": "smoke", "preset": preset}
    assert run_notebook(path, given, tmp_path, cell_seconds=CELL_SECONDS).cells > 20


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_has_notes_for_teachers(path):
    notes = ROOT / "notebooks" / "instructor" / f"{path.stem[:2]}.md"
    assert "45 minutes" in notes.read_text(encoding="utf-8")
