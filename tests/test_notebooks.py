"""Running, recording and checking notebooks, each with notebooks that must be refused."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_output
from notebook_builder import ANSWER, FIGURE, PARAMETERS, SOLUTION, code, small_notebook, write

from dualseg.cli.main import main
from dualseg.course import settings as lessons
from dualseg.course.authoring import check as notebook_check
from dualseg.course.authoring.check import check_notebook
from dualseg.course.authoring.notebook_files import (
    given_parameters,
    parameters,
    read_notebook,
    run_notebook,
)
from dualseg.course.authoring.record import record
from dualseg.course.authoring.student_copy import student_copy, student_path, write_student_copy
from dualseg.errors import DualsegError

SANITIZE = Path(__file__).parent / "nbval_sanitize.cfg"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A good notebook, recorded once: its file, its notebook, the folder of its figures."""
    folder = tmp_path_factory.mktemp("recorded")
    path = write(small_notebook(), folder / "notebooks")
    record(path, out=folder / "runs", figures=folder / "figures")
    return path, read_notebook(path), folder / "figures"


def problems_of(notebook, folder: Path) -> list[str]:
    path = write(notebook, folder)
    write_student_copy(path)
    return check_notebook(path)[0]


# Parameters


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ({"seed": "3", "profile": "smoke"}, {"seed": 3, "profile": "smoke"}),
        ({"radius": "4"}, {"radius": 4.0}),
        ({"radius": 4}, {"radius": 4.0}),
        ({"data_dir": "3"}, {"data_dir": "3"}),
    ],
)
def test_given_values_take_the_type_of_the_default(given, values):
    found = given_parameters(small_notebook(), "nb", given)
    assert found == values
    assert [type(v) for v in found.values()] == [type(v) for v in values.values()]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"raduis": "4"}, "'raduis' is unknown; expected one of profile = 'lesson'"),
        ({"seed": "3.5"}, "parameter seed: expected a value of type int"),
        ({"seed": "True"}, "parameter seed: expected a value of type int"),
        ({"seed": "x"}, "found 'x'"),
        ({"profile": 3}, "expected a value of type str"),
        ({"profile": "huge"}, "profile: expected one of smoke, lesson, full, found 'huge'"),
        ({"seed": "-1"}, "seed: expected a whole number from 0"),
    ],
)
def test_unknown_names_and_other_types_stop_a_run(given, words):
    with pytest.raises(DualsegError, match=words):
        given_parameters(small_notebook(), "nb", given)


@pytest.mark.parametrize("count", [0, 2])
def test_there_must_be_one_parameters_cell(count):
    notebook = small_notebook()
    notebook.cells[3:4] = [code(PARAMETERS, "parameters") for _ in range(count)]
    with pytest.raises(DualsegError, match=f"exactly one code cell tagged.*found {count}"):
        parameters(notebook, "nb")


@pytest.mark.parametrize(
    "line", ["seed = 1 + 1", "seed = None", "a, b = 1, 2", "seed: int = 0", "print(3)", "a = b = 1"]
)
def test_parameters_are_plain_literals(line):
    notebook = small_notebook()
    notebook.cells[3].source = line
    with pytest.raises(DualsegError, match="plain literals"):
        parameters(notebook, "nb")


@pytest.mark.parametrize(
    "source",
    [
        "seed = 1",
        "seed += 1",
        "for seed in range(3): pass",
        "import numpy as seed",
        "with open('x') as seed: pass",
        "print(seed := 3)",
        "def seed(): pass",
        "def change():\n    global seed\n    seed = 3",
        "%time seed = 3\nseed = 3",
        "a, (b, seed) = 1, (2, 3)",
    ],
)
def test_a_later_assignment_to_a_parameter_stops_a_run(source):
    notebook = small_notebook()
    notebook.cells[7].source = source
    with pytest.raises(DualsegError, match=r"code cell 6 .* assigns the parameter 'seed' again"):
        given_parameters(notebook, "nb", {})


@pytest.mark.parametrize(
    "source", ["def f(seed=seed):\n    seed = 3", "[seed for seed in (1, 2)]", "print(seed == 3)"]
)
def test_a_local_name_is_no_assignment(source):
    notebook = small_notebook()
    notebook.cells[7].source = source
    assert given_parameters(notebook, "nb", {}) == {}


# Running


@pytest.mark.slow
def test_the_command_runs_with_parameters_and_names_the_failing_cell(tmp_path, capfd):
    notebook = small_notebook()
    notebook.cells[12].source = "print('radius', radius)\nassert radius > 4, 'too small'"
    folder = write(notebook, tmp_path / "notebooks").parent
    arguments = ["notebooks", "run", "02", "--folder", str(folder), "--out", str(tmp_path / "out")]
    assert main([*arguments, "-p", "radius", "5", "--profile", "smoke"]) == 0
    out, error = capfd.readouterr()
    assert "02_small.ipynb: 10 code cells" in out
    assert "without encryption" not in error  # which the kernel says at every start
    done = read_notebook(tmp_path / "out" / "02_small.ipynb")
    assert done.cells[-2].outputs[0].text == "radius 5.0\n"
    assert "profile  smoke" in done.cells[5].outputs[0].text
    assert not student_path(folder / "02_small.ipynb").exists()

    assert main(arguments) == 1
    error = capfd.readouterr().err
    assert "code cell 9" in error
    assert "failed with AssertionError: too small" in error
    assert main([*arguments, "-p", "raduis", "5"]) == 1
    assert "'raduis' is unknown" in capfd.readouterr().err


def test_a_notebook_without_code_did_not_run(tmp_path):
    notebook = small_notebook()
    notebook.cells = [notebook.cells[3]]
    path = write(notebook, tmp_path)
    notebook.cells[0].source = "profile = 'lesson'"
    with pytest.raises(DualsegError, match="choose another --out"):
        run_notebook(path, {}, tmp_path)


def test_unknown_notebooks_are_refused(tmp_path, capsys):
    assert main(["notebooks", "list", "--folder", str(tmp_path)]) == 1
    assert "expected notebooks like 02_name.ipynb" in capsys.readouterr().err
    write(small_notebook(), tmp_path)
    assert main(["notebooks", "run", "03", "--folder", str(tmp_path)]) == 1
    assert "notebook '03': expected one of 02" in capsys.readouterr().err
    (tmp_path / "04_broken.ipynb").write_text("{}")
    assert main(["notebooks", "check", "04", "--folder", str(tmp_path)]) == 1
    assert "expected a readable notebook" in capsys.readouterr().err


# Recording


@pytest.mark.slow
def test_a_recording_is_clean_stamped_and_complete(recorded):
    path, notebook, figures = recorded
    assert check_notebook(path) == ([], [])
    stamp = notebook.metadata.dualseg
    assert stamp.parameters == {
        "profile": "lesson",
        "dataset": "phantom",
        "data_dir": "",
        "seed": 0,
        "radius": 3.0,
    }
    assert 50 < stamp.peak_memory_mb < 5000
    assert stamp.seconds > 0.5
    assert {"dualseg", "python", "torch", "matplotlib", "medpy"} <= set(stamp.versions)
    assert f"{stamp.peak_memory_mb} MB" in notebook.cells[0].source
    assert sorted(p.name for p in figures.iterdir()) == ["02-1-line.png", "02-2-slopes.png"]
    assert len(notebook.cells) == len(small_notebook().cells)
    assert [c.id for c in notebook.cells] == [c.id for c in small_notebook().cells]
    for cell, before in zip(notebook.cells, small_notebook().cells, strict=True):
        hidden = {"solution", "hide-input"} & set(before.metadata.get("tags", []))
        fold = before.cell_type == "code" and hidden
        folded = {"jupyter": {"source_hidden": True}} if fold else {}
        assert cell.metadata == before.metadata | folded
    assert "papermill" not in json.dumps(notebook)
    assert "widget" not in json.dumps(notebook.metadata)


LEAK = "import warnings\nwarnings.warn('old')\nprint('/home/someone/file')"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("1 / 0", ["code cell 2 ('1 / 0') failed with ZeroDivisionError"]),
        (LEAK, ["code cell 2", "names a path of a machine (/home/)", "wrote a warning"]),
    ],
)
def test_a_bad_run_is_not_recorded(tmp_path, source, words):
    notebook = small_notebook()
    notebook.cells = [notebook.cells[3], code(source)]
    path = write(notebook, tmp_path / "notebooks")
    before = path.read_bytes()
    figures = tmp_path / "figures"
    with pytest.raises(DualsegError) as error:
        record(path, out=tmp_path / "runs", figures=figures)
    assert all(word in str(error.value) for word in words)
    assert path.read_bytes() == before
    assert not figures.exists()


def test_recordings_are_made_with_lesson(tmp_path):
    notebook = small_notebook()
    notebook.cells[3].source = PARAMETERS.replace('"lesson"', '"smoke"')
    path = write(notebook, tmp_path)
    with pytest.raises(DualsegError, match="profile = 'lesson' by default, found 'smoke'"):
        record(path, out=tmp_path / "runs")


# Checking: a good recording with one thing broken


def output(text: str, name: str = "stdout"):
    return new_output("stream", text=text, name=name)


def set_cell(index: int, **fields):
    def change(notebook):
        notebook.cells[index].update(fields)

    return change


def no_alt(notebook):
    del notebook.cells[5].outputs[0].metadata["image/png"]["alt"]


def widgets(notebook):
    notebook.metadata["widgets"] = {}


def no_stamp(notebook):
    del notebook.metadata["dualseg"]


def smoke_stamp(notebook):
    notebook.metadata["dualseg"]["profile"] = "smoke"


def another_time(notebook):
    notebook.metadata["dualseg"]["seconds"] += 100


def remove(index: int):
    def change(notebook):
        del notebook.cells[index]

    return change


def retitle(old: str, new: str):
    def change(notebook):
        for cell in notebook.cells:
            cell.source = cell.source.replace(old, new)

    return change


def many_cells(notebook):
    notebook.cells[7:7] = [code("print(1)") for _ in range(25)]


def long_cells(notebook):
    for cell in notebook.cells[2:8]:
        cell.source += "\nprint(1)" * 9


def widget_view(notebook):
    data = {"application/vnd.jupyter.widget-view+json": {"model_id": "a"}}
    notebook.cells[7].outputs.append(new_output("display_data", data=data))


def huge(notebook):
    notebook.cells[5].outputs[0]["data"]["image/png"] += "A" * 1_500_000


BROKEN = {
    "error output": (
        set_cell(12, outputs=[new_output("error", ename="KeyError", evalue="", traceback=[])]),
        "ends in an error, KeyError",
    ),
    "missing alt": (no_alt, "a picture has no alternative text"),
    "changed code": (set_cell(12, source="print(radius + 1)"), "is not the code that was recorded"),
    "no stamp": (no_stamp, "has no stamp"),
    "smoke": (smoke_stamp, "expected a recording with the profile lesson, found smoke"),
    "card": (another_time, "its card does not say what its stamp says"),
    "order": (set_cell(12, execution_count=3), "execution counts 1 to 9 in order"),
    "not run": (set_cell(12, execution_count=None), "execution counts 1 to 9 in order"),
    "long output": (set_cell(12, outputs=[output("x\n" * 101)]), "at most 100 lines of output"),
    "home path": (set_cell(12, outputs=[output("/home/me/x")]), "path of a machine (/home/)"),
    "windows path": (set_cell(12, outputs=[output(r"C:\Users\me")]), "path of a machine (C:"),
    "warning": (set_cell(12, outputs=[output("old", "stderr")]), "warning or progress to stderr"),
    "not yet": (set_cell(12, outputs=[output("not yet: replace")]), "does not fill its answer"),
    "widget state": (widgets, "no widget state"),
    "widget": (widget_view, "stored a widget"),
    "huge": (huge, "expected at most 1500000 bytes"),
    "no caption": (set_cell(5, outputs=[]), "expected figures 02-1"),
    "stripped check": (set_cell(7, outputs=[]), "nbval-check-output without stored text"),
    "no parameters": (remove(3), "exactly one code cell tagged 'parameters', found 0"),
    "uncommented": (retitle("# of everything random", ""), "expected a comment behind `seed = 0"),
    "unread": (retitle(", radius=radius", ""), "found no radius"),
    "assigned again": (set_cell(12, source="radius = 2"), "assigns the parameter 'radius' again"),
    "late import": (set_cell(12, source="import math"), "imports belong in the first code cell"),
    "first cell": (set_cell(2, source="print(1)"), "expected imports alone in the first code cell"),
    "branch": (set_cell(12, source="settings.profile == 'smoke'"), "use settings.choose"),
    "stop": (set_cell(12, source="raise NotImplementedError"), "papermill stops here"),
    "long cell": (set_cell(12, source="print(1)\n" * 13), "at most 12 lines (tag a figure's code"),
    "long folded cell": (set_cell(5, source="print(1)\n" * 31), "at most 30 lines, found 31"),
    "changed output": (set_cell(7, outputs=[output("6\n")]), "outputs are not those that were"),
    "quiz": (
        retitle("What is a line?\n\n<details>", "What is a line?"),
        "expected '## Quiz' with 3",
    ),
    "no minutes": (retitle("*Core, 5 minutes.*", ""), "section '1. Lines': expected '*Core, 8"),
    "card minutes": (retitle("5 minutes for the core, 8 minutes", "8 minutes"), "'N minutes for"),
    "other minutes": (retitle("Extra, 3 minutes", "Extra, 4 minutes"), "found 5 and 9"),
    "long cells": (long_cells, "median of at most 8 lines"),
    "many cells": (many_cells, "at most 30 open code cells, found 31"),
    "syntax": (set_cell(12, source="print("), "a cell is no Python"),
    "title": (retitle("# 02 A", "# A"), "expected the title '# 02 ...'"),
    "question": (retitle("*What is the smallest notebook?*", ""), "the notebook's question"),
    "card row": (retitle("| Paper |", "| Papers |"), "expected a row '| Paper | ... |'"),
    "marks": (retitle("<!-- measured -->", ""), "expected <!-- measured -->"),
    "goals": (retitle("## Learning goals", "## Start"), "'## Learning goals' as the first section"),
    "exercises": (retitle("## Exercises", "## More"), "expected a section '## Exercises'"),
    "summary": (retitle("## Summary", "## End"), "'## Summary' as the last section"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_notebook_is_found(recorded, tmp_path, name):
    change, words = BROKEN[name]
    notebook = copy.deepcopy(recorded[1])
    change(notebook)
    found = problems_of(notebook, tmp_path)
    assert any(words in problem for problem in found), found
    assert all(problem.startswith("02_small.ipynb: ") for problem in found)
    assert all("\n" not in problem for problem in found)


def test_the_check_command_fails_on_any_problem(recorded, tmp_path, capsys, monkeypatch):
    path, notebook, _ = recorded
    arguments = ["notebooks", "check", "--folder"]
    assert main([*arguments, str(path.parent)]) == 0
    broken = copy.deepcopy(notebook)
    broken.cells[12].execution_count = 99
    write(broken, tmp_path)
    assert main([*arguments, str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "execution counts" in captured.out
    assert "its student copy is missing or old" in captured.out
    assert "2 problems found in 1 notebooks" in captured.err
    monkeypatch.setattr(notebook_check, "__version__", "99.0")
    assert main([*arguments, str(path.parent)]) == 0  # an older package is listed, not failed
    assert "this is 99.0 (note)" in capsys.readouterr().out


def test_the_table_is_read_from_the_stamps(recorded, capsys):
    path, notebook, _ = recorded
    assert main(["notebooks", "table", "--markdown", "--folder", str(path.parent)]) == 0
    row = capsys.readouterr().out.splitlines()[2]
    assert row == (
        "| [02 A small notebook](notebooks/02_small.ipynb) | What is the smallest notebook? | "
        f"{notebook.metadata.dualseg.seconds:.0f} s | {notebook.metadata.dualseg.peak_memory_mb} "
        "MB | 2 |"
    )
    assert main(["notebooks", "list", "--folder", str(path.parent)]) == 0
    assert "02 A small notebook" in capsys.readouterr().out


# Student copies


@pytest.mark.slow
def test_a_student_copy_has_the_task_and_not_the_solution(recorded):
    path, notebook, _ = recorded
    made = student_copy(notebook, path.name)
    sources = [cell.source for cell in made.cells]
    assert 'def double(x):\n    """Twice x."""\n    ...  # your answer' in sources
    assert "# How many corners has a cube?\ncorners = ...  # your answer" in sources
    assert "eight" not in "".join(sources)
    assert "Student copy" in sources[0]
    assert "](../../CONTRIBUTING.md)" in sources[1]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in made.cells)
    assert "dualseg" not in made.metadata
    collapsed = [cell for cell in notebook.cells if "jupyter" in cell.metadata]
    assert [cell.source for cell in collapsed] == [FIGURE, SOLUTION, ANSWER]
    assert [cell.source for cell in made.cells if "jupyter" in cell.metadata] == [FIGURE]
    for cell in made.cells:
        if cell.cell_type == "code":
            compile(cell.source, "cell", "exec")
    nbformat.validate(made)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("answer = 3", "expected a line `# solution`"),
        ("def f():\n    # solution\n    return 1\nprint(f())", "move that to the next cell"),
        ("# solution\nprint(3)", "expected the solution to assign a name"),
    ],
)
def test_a_solution_that_cannot_be_cut_is_refused(source, words):
    notebook = small_notebook()
    notebook.cells[10] = code(source, "solution")
    with pytest.raises(DualsegError, match=words):
        student_copy(notebook, "02_small.ipynb")


def test_a_changed_solution_makes_the_student_copy_old(recorded, tmp_path):
    notebook = copy.deepcopy(recorded[1])
    path = write(notebook, tmp_path)
    assert any("student copy is missing" in problem for problem in check_notebook(path)[0])
    write_student_copy(path)
    assert check_notebook(path)[0] == []
    notebook.cells[9].source = notebook.cells[9].source.replace("Twice x", "Two times x")
    assert any(
        "student copy is missing or old" in p for p in check_notebook(write(notebook, tmp_path))[0]
    )


# nbval


def nbval(path: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "--nbval-lax"]
    command += ["-p", "no:cacheprovider", "--nbval-current-env"]
    command += ["--nbval-sanitize-with", str(SANITIZE), str(path)]
    return subprocess.run(
        command, cwd=path.parent, capture_output=True, encoding="utf-8", timeout=300
    )


@pytest.mark.slow
def test_nbval_sees_a_changed_number_in_a_tagged_cell(recorded, tmp_path):
    notebook = copy.deepcopy(recorded[1])
    notebook.cells = [notebook.cells[7]]
    good = nbval(write(notebook, tmp_path, "02_good.ipynb"))
    assert good.returncode == 0, good.stdout
    notebook.cells[0].outputs[0].text = "6\n"
    bad = nbval(write(notebook, tmp_path, "02_bad.ipynb"))
    assert bad.returncode == 1, bad.stdout
    assert "Cell 0" in bad.stdout


# What the first cells call


def test_settings_open_the_data_and_say_what_they_are(capsys):
    settings = lessons.notebook_settings(
        profile="smoke", dataset="phantom", data_dir="", seed=3, radius=2.5
    )
    out = capsys.readouterr().out
    assert "profile  smoke: networks with 4 filters, 6 steps" in out
    assert "radius   2.5" in out
    assert settings.dataset.factor == 4
    assert settings.choose(smoke=1, lesson=2, full=3) == 1
    experiment = settings.experiment(method="supervised")
    assert (experiment.seed, experiment.profile, experiment.method) == (3, "smoke", "supervised")


def test_settings_of_real_files(la_root, capsys):
    settings = lessons.notebook_settings(
        profile="smoke", dataset="la", data_dir=str(la_root), seed=0
    )
    assert settings.experiment().root == str(la_root)
    assert settings.dataset.read(settings.dataset.test[0]).image.shape[1:] == (36, 22)
    assert str(la_root) not in capsys.readouterr().out


def test_real_scans_where_they_are_and_the_phantom_elsewhere(la_root, capsys, monkeypatch):
    given = {"profile": "smoke", "dataset": "la or phantom", "data_dir": "", "seed": 0}
    monkeypatch.delenv("DUALSEG_LA_DIR", raising=False)
    assert lessons.notebook_settings(**given).dataset.spec.name == "phantom"
    assert "The phantom takes their place" in capsys.readouterr().out
    assert lessons.notebook_settings(**given | {"data_dir": str(la_root)}).dataset.spec.name == "la"
    monkeypatch.setenv("DUALSEG_LA_DIR", str(la_root))
    for dataset in ("la or phantom", "la"):
        settings = lessons.notebook_settings(**given | {"dataset": dataset})
        assert settings.experiment().root == str(la_root)
    assert "phantom" not in capsys.readouterr().out


def test_a_recording_on_real_scans_needs_them(tmp_path, monkeypatch):
    monkeypatch.delenv("DUALSEG_LA_DIR", raising=False)
    notebook = small_notebook()
    notebook.cells[3].source = notebook.cells[3].source.replace('"phantom"', '"la or phantom"')
    path = write(notebook, tmp_path)
    with pytest.raises(DualsegError, match="02_small.ipynb: expected the folder of the left-atr"):
        record(path, out=tmp_path / "runs", figures=tmp_path / "figures")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"profile": "big"}, "profile: expected one of"),
        ({"seed": -1}, "seed: expected a whole number"),
        ({"seed": True}, "seed: expected a whole number"),
        ({"seed": 99999999999999999999}, "seed: expected a whole number from 0 to 4294967295"),
        ({"seed": 1.0}, "seed: expected a whole number"),
        ({"dataset": 3}, "dataset: expected a text, found 3"),
        ({"data_dir": 3}, "data_dir: expected a text, found 3"),
        ({"gamma": "70"}, "gamma: expected a percentile from 0 to 100, found '70'"),
        ({"gamma": 100.5}, "gamma: expected a percentile"),
        ({"gamma": float("nan")}, "gamma: expected a percentile"),
        ({"gamma": True}, "gamma: expected a percentile"),
        ({"draw": 1.5}, "draw: expected a whole number from 0 to 4294967295, found 1.5"),
        ({"draw": "seven"}, "draw: expected a whole number"),
        ({"draw": -20000}, "draw: expected a whole number"),
        ({"preset": "papier"}, "preset: expected one of paper, released, improved, .* 'papier'"),
        ({"preset": ["paper"]}, "preset: expected one of"),
        ({"trained": "no/run"}, "trained: expected the folder of a finished run, or nothing"),
        ({"dataset": "la"}, "data_dir: expected the folder with .* 'la', found none"),
        (
            {"dataset": "la", "data_dir": "no/folder"},
            "data_dir: expected the folder with .* 'la', found no folder 'no/folder'",
        ),
        ({"dataset": "moon"}, "dataset: expected one of"),
        ({"data_dir": "somewhere"}, "data_dir: expected nothing"),
    ],
)
def test_settings_refuse(change, words, monkeypatch):
    monkeypatch.delenv("DUALSEG_LA_DIR", raising=False)
    good = {"profile": "smoke", "dataset": "phantom", "data_dir": "", "seed": 0}
    with pytest.raises(DualsegError, match=words):
        lessons.notebook_settings(**good | change)


def test_the_project_folder_holds_the_records():
    assert (lessons.project_folder() / "figures" / "records").is_dir()
