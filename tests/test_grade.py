"""Grading a class: what an answer needs, whose file is whose, and a class of made-up students."""

import contextlib
import csv
import io
import os
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from dualseg.cli.main import main
from dualseg.course.authoring.answers import Exercise, exercises, sources_for
from dualseg.course.authoring.grade import grade_files, handed_in, verdict_of
from dualseg.course.authoring.notebook_files import code_cells, read_notebook, tags
from dualseg.course.authoring.student_copy import student_path
from dualseg.errors import DualsegError

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
START = ROOT / "notebooks" / "00_start_here.ipynb"
TASK = Exercise("02", "exercise_1", "nb02.exercise_1(answer)")


def notebook_of(*sources: str):
    return new_notebook(cells=[new_code_cell(source) for source in sources])


# What an answer needs


@pytest.mark.parametrize(
    ("cells", "needed"),
    [
        (["a = 1", "b = a", "c = 2", "answer = b"], [0, 1, 3]),
        (["answer = 1", "a = 2", "answer = 3"], [0, 2]),  # the last one counts
        (["import numpy as np", "k = 3", "def answer(k):\n    return np.sum(k)"], [0, 2]),
        (["k = 3", "answer = [k for k in range(3)]"], [1]),
        (["k = 3", "def answer():\n    k = 1\n    return lambda: k"], [1]),
        (["k = 3", "def answer():\n    return lambda: k"], [0, 1]),
        (["answer = 1", "while True: pass", "nb02.exercise_1(answer)", "1 / 0"], [0]),
        (["x = 1", "answer = (x"], [1]),  # it does not parse: running it says so
        (["%time k = 3", "answer = k"], [0, 1]),
    ],
)
def test_an_answer_needs_the_cells_that_bind_what_it_uses(cells, needed):
    *found, checker = sources_for(TASK, notebook_of(*cells))
    assert found == [cells[i] for i in needed]
    assert checker == "from dualseg.course.checkers import nb02\nnb02.exercise_1(answer)"


def test_the_smallest_profile_takes_the_place_of_the_parameters():
    cells = ['profile = "full"\nseed = 3\ndata_dir = "LA"', "answer = profile, seed, data_dir"]
    *found, _ = sources_for(TASK, notebook_of(*cells))
    names: dict = {}
    exec("\n".join(found), names)
    assert names["answer"] == ("smoke", 3, "")


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_needed_cells_are_enough_for_every_exercise(path):
    solved, student = read_notebook(path), read_notebook(student_path(path))
    asked = exercises(solved)
    assert len(asked) == sum("solution" in tags(cell) for cell in code_cells(solved))
    for notebook, words in ((solved, "right"), (student, "not yet")):
        for exercise in asked:
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                exec("\n\n".join(sources_for(exercise, notebook)), {})
            title = exercise.title.replace("_", " ").capitalize()
            assert f"{title}: {words}" in said.getvalue()


# Whose file is whose


COURSE = [Path(f"notebooks/{name}.ipynb") for name in ("00_start_here", "01_data")]


def class_of(folder: Path, *names: str) -> tuple[dict, dict]:
    """Who has how many files that may count, by number of the notebook; and what is left out."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    students, left_out = handed_in(folder, COURSE)
    counts = {
        student: {notebook.stem[:2]: len(files) for notebook, files in notebooks.items()}
        for student, notebooks in students.items()
    }
    reasons = {path.relative_to(folder).as_posix(): why for path, why in left_out.items()}
    return counts, reasons


def test_students_are_named_by_their_folder_or_their_file(tmp_path):
    counts, reasons = class_of(
        tmp_path,
        "alice/00_start_here.ipynb",
        "alice/week 2/01_data (1).ipynb",
        "alice/.ipynb_checkpoints/00_start_here-checkpoint.ipynb",
        "bob_00_START_HERE.ipynb",
        "01_data-Zoë Q.ipynb",
        "01_data-1234567.ipynb",
        "group-2_00_start_here.ipynb",
        "carol/00_start_here.ipynb",
        "carol/draft/00_start_here.ipynb",
        "carol/notes.ipynb",
    )
    assert counts == {
        "alice": {"00": 1, "01": 1},
        "bob": {"00": 1},
        "Zoë Q": {"01": 1},
        "1234567": {"01": 1},
        "group-2": {"00": 1},
        "carol": {"00": 2},  # nothing tells which one counts
    }
    assert reasons == {"carol/notes.ipynb": "its name contains the name of no notebook"}


def test_the_files_of_a_student_of_canvas_make_one_row(tmp_path):
    counts, reasons = class_of(
        tmp_path,
        "wrongbob_4711_99887_00_start_here.ipynb",
        "wrongbob_LATE_4711_99889_01_data-1.ipynb",
        "rightbob_4712_99890_bob_01_data_final.ipynb",
        "wrongbob_4713_99891_00_start_here.ipynb",  # another one of that name
        "group_1_2_00_start_here.ipynb",  # these are not Canvas's numbers
    )
    assert counts == {
        "wrongbob_4711": {"00": 1, "01": 1},
        "rightbob_4712": {"01": 1},
        "wrongbob_4713": {"00": 1},
        "group_1_2": {"00": 1},
    }
    assert reasons == {}


@pytest.mark.parametrize(
    ("student", "earlier", "last"),
    [
        ("bob_4711", "bob_4711_998_01_data.ipynb", "bob_LATE_4711_1002_01_data-1.ipynb"),
        ("bob_4711", "bob_4711_998_01_data-9.ipynb", "bob_4711_998_01_data-10.ipynb"),
        ("bob", "bob_01_data.ipynb", "bob_01_data-1.ipynb"),
        ("bob", "bob_01_data (1).ipynb", "bob_01_data (2).ipynb"),
        ("bob", "bob/01_data.ipynb", "bob/01_data (1).ipynb"),
    ],
)
def test_of_a_notebook_handed_in_twice_the_last_one_counts(tmp_path, student, earlier, last):
    counts, reasons = class_of(tmp_path, earlier, last)
    assert counts == {student: {"01": 1}}
    assert reasons == {earlier: f"{tmp_path / last} was handed in later"}


def test_other_files_are_named_where_a_student_has_no_notebook(tmp_path):
    counts, reasons = class_of(
        tmp_path,
        "alice/01_data.ipynb",
        "alice/figure.png",
        "bob/week_1/01_data.ipynb.txt",
        "carol_01_data.zip",
        ".DS_Store",
    )
    assert counts == {"alice": {"01": 1}}
    assert reasons == dict.fromkeys(
        ["bob/week_1/01_data.ipynb.txt", "carol_01_data.zip"], "it is no .ipynb file"
    )


def test_a_folder_without_notebooks_is_refused(tmp_path, capsys):
    with pytest.raises(DualsegError, match="alice/01_data.ipynb"):
        handed_in(tmp_path, [Path("01_data.ipynb")])
    command = ["notebooks", "grade", "--folder", str(START.parent)]
    assert main([*command, str(tmp_path / "nowhere")]) == 1
    assert "found no folder" in capsys.readouterr().err
    assert main([*command, str(tmp_path), "--seconds", "0"]) == 1
    assert "--seconds: expected more than 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("contents", "word"),
    [([], "missing"), (["{}", "{}"], "broken"), (["{"], "broken"), (["[]"], "broken")],
)
def test_no_file_two_files_and_a_broken_file(tmp_path, contents, word):
    files = [tmp_path / f"{i}.ipynb" for i in range(len(contents))]
    for file, text in zip(files, contents, strict=True):
        file.write_text(text)
    assert [verdict.word for verdict in grade_files(files, [TASK], 1).values()] == [word]


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ("Exercise 1: right.\n", "passed"),
        ("a line of the answer\nExercise 1: right.\n", "passed"),
        ("Exercise 1: right.\nExercise 1: not yet: replace the ...\n", "empty"),
        ("50 %\r100 %Exercise 1: right.\n", "passed"),  # an answer need not end its line
        ("Exercise 1: right. Exercise 1: not yet: replace the ...\n", "empty"),
        ("Exercise 1: right. Really.\n", "crashed"),
    ],
)
def test_the_checker_speaks_last(said, word):
    """An answer may print the words of the checker, but before it."""
    cell = new_code_cell("nb02.exercise_1(answer)", outputs=[new_output("stream", text=said)])
    assert verdict_of(TASK, [cell]).word == word


def test_a_checker_that_does_not_come_to_its_end_says_nothing():
    """An answer that ends the cell has the last word, which does not count."""
    for said in ("Exercise 1: right.\n", "Exercise 1: not yet: \n"):
        ended = new_output("error", ename="SystemExit", evalue="0", traceback=[])
        cell = new_code_cell("", outputs=[new_output("stream", text=said), ended])
        assert str(verdict_of(TASK, [cell])) == "crashed: SystemExit: 0"


# A class


def answers_of(kind: str, exercise: int, variant: int = 0) -> str:
    """A cell that answers with the stored right or wrong answers of the tests."""
    names = "without_labels" if exercise == 1 else "gain"
    stored = f"{kind.upper()}['exercise_{exercise}'][{variant}]"
    stored += "[0]" if kind == "wrong" else ""  # beside it are the words of the hint
    return f"from {kind}_answers.nb00 import {kind.upper()}\n({names},) = {stored}"


PRINTING = """
answer = gain
def gain(*values):
    print("a line without an end", end="")
    return answer(*values)
"""
CLASS = {
    "right": [answers_of("right", 1), answers_of("right", 2)],
    "wrong": [answers_of("wrong", 1, 3), answers_of("wrong", 2)],
    "empty": [None, None],
    "crashing": [
        "without_labels = {no_such_name}",
        "def gain(*_):\n    import os\n    os._exit(1)",
    ],
    "leaving": [None, "def gain(*_):\n    print('Exercise 2: right.')\n    raise SystemExit"],
    "slow": [
        "while True:\n    print('on')\nwithout_labels = {1}",
        answers_of("right", 2) + PRINTING,
    ],
}


@pytest.mark.slow
def test_a_class_is_graded_by_one_command(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"), prepend=os.pathsep)
    folder = tmp_path / "class"
    for student, answers in CLASS.items():
        notebook = read_notebook(student_path(START))
        cells = [cell for cell in code_cells(notebook) if "solution" in tags(cell)]
        for cell, answer in zip(cells, answers, strict=True):
            cell.source = answer or cell.source
        (folder / student).mkdir(parents=True)
        nbformat.write(notebook, folder / student / START.name)
    (folder / f"{START.stem}_broken.ipynb").write_text("{")

    table = tmp_path / "grades.csv"
    command = ["notebooks", "grade", str(folder), "--csv", str(table), "--seconds", "10"]
    assert main([*command, "--folder", str(START.parent)]) == 0
    out, error = capfd.readouterr()
    assert error == ""
    words = {line.split("  ")[0]: line.split()[1:] for line in out.splitlines()}
    assert words["student"] == ["00.1", "00.2", "total"]
    assert words["right"] == ["passed", "passed", "2"]
    assert words["wrong"] == ["wrong", "wrong", "0"]
    assert words["slow"] == ["too", "slow", "passed", "1"]
    with open(table, encoding="utf-8-sig", newline="") as file:
        rows = {row.pop("student"): row for row in csv.DictReader(file)}
    assert list(rows) == sorted([*CLASS, "broken"])
    assert rows["right"] == {"00.1": "passed", "00.2": "passed", "total": "2"}
    assert rows["wrong"]["00.1"].startswith("wrong: the supervised loss compares with the truth")
    assert "only one of the two has" in rows["wrong"]["00.2"]
    assert rows["empty"] == {"00.1": "empty", "00.2": "empty", "total": "0"}
    assert rows["crashing"]["00.1"].startswith("crashed: NameError: name 'no_such_name'")
    assert rows["crashing"]["00.2"].startswith("crashed: the process ended")
    assert rows["leaving"]["00.2"].startswith("crashed: SystemExit")
    assert rows["slow"] == {"00.1": "too slow", "00.2": "passed", "total": "1"}
    assert rows["broken"]["00.1"].startswith("broken: ")
    assert rows["broken"]["total"] == "0"
