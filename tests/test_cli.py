"""The commands as a user types them: output, exit status, one sentence instead of a traceback."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from conftest import TEST, TRAIN
from PIL import Image

from dualseg.cli import main as cli
from dualseg.config.experiment import Experiment
from dualseg.data import dataset as datasets
from dualseg.data.dataset import open_dataset
from dualseg.errors import DualsegError
from dualseg.training import loop as training

SMALL = [
    "--profile",
    "smoke",
    "--labeled",
    "2",
    "--iterations",
    "3",
    "--filters",
    "2",
    "--resolution",
    "half",
    "--patch",
    "16",
    "16",
    "16",
    "--stride",
    "8",
    "8",
    "8",
]


def run(capsys, *words) -> tuple[int, str, str]:
    try:
        status = cli.main(list(map(str, words)))
    except SystemExit as stop:  # tyro's own errors and --help
        status = stop.code
    out = capsys.readouterr()
    return status, out.out, out.err


@pytest.mark.parametrize(
    "command",
    [
        "info",
        "demo",
        "train",
        "evaluate",
        "predict",
        "sweep",
        "explain",
        "gradients",
        "networks",
        "paper table",
        "paper claims",
        "paper equations",
        "data list",
        "data fetch",
        "data prepare",
        "data check",
        "data export",
        "records publish",
        "records table",
        "records plot",
        "records plot-steps",
    ],
)
def test_every_command_has_help_with_an_example(capsys, command):
    status, out, _ = run(capsys, *command.split(), "--help")
    assert status == 0
    assert f"Example: dualseg {command}" in " ".join(out.replace("│", " ").split())


def test_help_of_train_shows_the_values_it_would_use(capsys):
    _, out, _ = run(capsys, "train", "--dataset", "la", "--profile", "full", "--help")
    text = " ".join(out.replace("│", " ").split())
    assert "(default: 112 112 80)" in text
    assert "(default: 6000)" in text


def test_info_of_a_good_environment(capsys):
    status, out, _ = run(capsys, "info")
    assert status == 0
    assert "torch" in out
    assert "device" in out


def test_info_names_what_is_missing(capsys, monkeypatch):
    real = metadata.version

    def version(name):
        if name == "medpy":
            raise metadata.PackageNotFoundError(name)
        return "2.9.1" if name == "torch" else real(name)

    monkeypatch.setattr(metadata, "version", version)
    status, out, err = run(capsys, "info")
    assert status == 1
    rows = {line.split()[0]: line for line in out.splitlines()}
    assert "MISSING" in rows["medpy"]
    assert "TOO OLD" in rows["torch"]
    assert "2.9.1, needs 2.11" in rows["torch"]
    assert "ok" in rows["numpy"]
    assert "pip install" in err


def test_info_of_a_clone_that_is_not_installed(capsys, monkeypatch):
    def requires(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    status, out, err = run(capsys, "info")
    assert status == 1 and "pip install" in err
    assert "dualseg  MISSING  not installed" in out


def test_networks(capsys):
    status, out, _ = run(capsys, "networks")
    assert status == 0
    assert "27,379,220" in out


def test_data_list_names_sources(capsys):
    _, out, _ = run(capsys, "data", "list")
    assert "80 training and 20 test cases" in out
    assert "Xiong" in out
    assert "yulequan/UA-MT" in out
    assert "DIR/<case>/mri_norm2.h5" in out


def test_data_check_good_and_bad(capsys, la_root):
    status, out, _ = run(capsys, "data", "check", "la", "--root", la_root)
    assert (
        status,
        "no problem found; split: its own lists." in out,
    ) == (
        0,
        True,
    )
    (la_root / TRAIN[0] / "mri_norm2.h5").write_bytes(b"")
    status, out, err = run(capsys, "data", "check", "la", "--root", la_root)
    assert status == 1
    assert f"problem: {la_root / TRAIN[0]}" in out
    assert "1 problems found in 10 cases" in err


def test_train_evaluate_predict_publish(capsys, la_root, tmp_path):
    """The whole way on small data, by commands only."""
    out = tmp_path / "runs" / "first"
    status, text, _ = run(
        capsys, "train", "--dataset", "la", "--root", la_root, "--out", out, *SMALL
    )
    assert status == 0
    assert "finished, 3 steps" in text
    status, text, _ = run(
        capsys, "train", "--dataset", "la", "--root", la_root, "--out", out, *SMALL, "--resume"
    )
    assert (status, "nothing to do" in text) == (0, True)
    status, text, _ = run(capsys, "evaluate", out)
    assert status == 0
    assert "Dice A, B alone" in text
    case = open_dataset("la", la_root).read(TEST[0])
    scan, mask = tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz"
    nib.save(nib.Nifti1Image(case.image, np.diag([-0.625, -0.625, 0.625, 1])), scan)
    status, text, _ = run(capsys, "predict", out, scan, "--out", mask)
    assert status == 0
    assert "mask written. Not for clinical use." in text
    assert nib.load(mask).shape == case.image.shape
    records = tmp_path / "records"
    assert run(capsys, "records", "publish", out, "--to", records)[0] == 0
    status, text, _ = run(capsys, "records", "table", "--folder", records, "--markdown")
    assert "| first | la | 2 | smoke* | dual | paper | 0 |" in text
    picture = tmp_path / "scores.png"
    status, text, _ = run(capsys, "records", "plot", "--folder", records, "--out", picture)
    assert (status, picture.is_file()) == (0, True)
    status, _, err = run(
        capsys, "records", "plot", "--folder", records, "--out", picture, "--dataset", "phantom"
    )
    assert (status, "expected test records of 'phantom'" in err) == (1, True)


def test_plot_steps_of_the_kept_records_and_of_none(capsys, tmp_path):
    kept, picture = Path(__file__).parents[1] / "figures" / "records", tmp_path / "steps.png"
    draw = ("records", "plot-steps", "--out", picture, "--folders")
    assert run(capsys, *draw, kept / "rate", kept / "rate_6000")[0] == 0
    assert "la_paper_3000steps_rate0.01_seed0 73.6" in Image.open(picture).text["Description"]
    assert "found none" in run(capsys, *draw, kept / "phantom")[2]
    assert "several rates" in run(capsys, *draw, kept / "compare")[2]
    assert (
        "expected one head_dropout in all" in run(capsys, *draw, kept / "rate", kept / "cause")[2]
    )
    scores = ("records", "plot", "--out", picture, "--folder", kept / "validation")
    assert "expected test records of 'la', found none" in run(capsys, *scores)[2]
    assert "expected a folder" in run(capsys, *draw, kept / "nowhere")[2]


@pytest.mark.slow
def test_demo_on_the_phantom(capsys, tmp_path, monkeypatch):
    train, test = datasets.published_lists("phantom")
    monkeypatch.setattr(datasets, "published_lists", lambda name: (train[:8], test[:3]))
    status, out, _ = run(capsys, "demo", "--profile", "smoke", "--out", tmp_path / "demo")
    assert status == 0
    lines = out.splitlines()
    assert lines[0].split()[:6] == ["run", "data", "labels", "profile", "method", "losses"]
    assert [line.split()[4] for line in lines[1:3]] == ["supervised", "dual"]
    for method in ("supervised", "dual"):
        assert (tmp_path / "demo" / f"phantom_{method}_smoke" / "record.json").is_file()
    for picture in ("demo_cases_smoke.png", "demo_scores_smoke.png"):
        assert (tmp_path / "demo" / picture).stat().st_size > 10_000


NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
WRONG = {
    "unknown data set": (
        ["train", "--dataset", "heart"],
        "dataset: expected one of brats2019, folder, la",
    ),
    "unknown method": (["train", "--method", "magic"], "method: expected one of"),
    "unknown profile": (["train", "--profile", "huge"], "profile: expected one of full, lesson"),
    "no root": (["train", "--dataset", "la"], "give --root DIR"),
    "nothing to fetch": (
        ["data", "fetch", "phantom", "--root", "x"],
        "dataset: expected one of brats2019, la, la-challenge, pancreas, found 'phantom'",
    ),
    "missing root": (
        ["train", "--dataset", "la", "--root", "nowhere"],
        "found no folder 'nowhere'",
    ),
    "no labels": (["train", "--labeled", "0"], "labeled: expected a whole number of at least 1"),
    "many labels": (["train", "--labeled", "41"], "labeled: expected at most 40"),
    "zero steps": (["train", "--iterations", "0"], "iterations: expected a whole number of at"),
    "wide stride": (["train", "--stride", "99", "9", "9"], "stride: expected at most the patch"),
    "odd patch": (["train", "--patch", "0", "9", "9"], "patch: expected 3 values, each a whole"),
    "no rate": (["train", "--learning-rate", "0"], "learning_rate: expected a number above 0"),
    "ramp": (["train", "--ramp-up", "2"], "ramp_up: expected a finite number from 0"),
    "no preset": (["train", "--preset", "best"], "preset: expected one of cce, cps"),
    "a preset of nothing": (
        ["train", "--method", "supervised", "--preset", "paper"],
        "preset: expected one of default, which the method 'supervised' has, found 'paper'",
    ),
    "no preset to explain": (["explain", "--preset", "best"], "preset: expected one of cce, cps"),
    "no data set": (
        ["gradients", "--dataset", "moon"],
        "dataset: expected one of brats2019, folder",
    ),
    "no such time": (["explain", "--at", "2"], "at: expected t from 0 to 1, found 2"),
    "no table": (["paper", "table", "table9"], "table: expected one of ablation_components"),
    "not in table": (
        ["paper", "table", "comparison", "--dataset", "phantom"],
        "dataset: expected one of",
    ),
    "no run": (["evaluate", "nowhere"], "nowhere: expected the folder of a run"),
    "no records": (["records", "table", "--folder", "nowhere"], "nowhere: expected a folder"),
    "a file as a folder": (
        ["notebooks", "run", "02", "--folder", str(NOTEBOOKS), "--out", f"{__file__}/x"],
        "test_cli.py/x: Not a directory.",
    ),
    "one folder for two": (
        ["notebooks", "run", "02", "--folder", str(NOTEBOOKS), "--over", "data_dir", "a/b", "a-b"],
        "--over: expected values that make different folders, found 'data_dir_a-b'",
    ),
    "no run to publish": (["records", "publish", "nowhere"], "expected the folder of a run"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_get_one_sentence(capsys, tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    words, sentence = WRONG[case]
    extra = ["--out", "out"] if words[0] == "train" else []
    status, _, err = run(capsys, *words, *extra)
    assert status == 1
    assert err.startswith("dualseg: ")
    assert sentence in err
    assert len(err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []  # nothing was written


def test_a_setting_of_another_method_is_no_option(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "--method", "supervised", "--gamma", "90", "--out", "out"])
    assert "Unrecognized options: --gamma" in capsys.readouterr().err


def test_interrupt_says_how_to_go_on(capsys, monkeypatch):
    def stop(rows):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "columns", stop)
    status, _, err = run(capsys, "info")
    assert status == 130
    assert "with --resume" in err


def test_resume_without_a_run_starts_nothing(capsys, tmp_path):
    status, _, err = run(capsys, "train", "--out", tmp_path / "typo", "--resume")
    assert (status, "expected a run to go on with, found none" in err) == (1, True)
    assert not (tmp_path / "typo").exists()


def test_unknown_setting_by_name():
    with pytest.raises(DualsegError, match="unknown setting 'gama': expected one of"):
        Experiment("phantom", "smoke", gama=3)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes differ on Windows")
def test_closed_pipe_is_no_traceback():
    """The reader is gone before the command writes its first line."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-u", "-m", "dualseg", "data", "list"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, encoding="utf-8")
    os.close(write)
    assert done.returncode == 1
    assert done.stderr == ""


def test_resume_takes_the_runs_own_settings(capsys, la_root, tmp_path, monkeypatch):
    """The advice that an unfinished run gives, `train --out RUN --resume`, is all it takes."""
    out = tmp_path / "first"

    def stopped(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training._Training, "run_to_end", stopped)
        words = ["train", "--dataset", "la", "--root", la_root, "--out", out, *SMALL]
        assert run(capsys, *words)[0] == 130
    status, text, _ = run(capsys, "train", "--out", out, "--resume")
    assert (status, "finished, 3 steps" in text) == (0, True)
    status, text, _ = run(capsys, "train", "--out", out, "--resume")
    assert (status, "nothing to do" in text) == (0, True)
    with h5py.File(la_root / TRAIN[0] / "mri_norm2.h5", "r+") as file:
        file["image"][0, 0, 0] += 1
    status, text, error = run(capsys, "train", "--out", out, "--resume")
    assert (status, "the data have changed since this run was started" in error) == (1, True)


def command_in(environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess:
    """`dualseg` in a process of its own, with other environment variables."""
    return subprocess.run(
        [sys.executable, "-m", "dualseg", *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def test_a_terminal_without_the_sign_gets_it_spelled_out(capsys):
    folder = Path(__file__).parents[1] / "figures" / "records"
    table = ("records", "table", "--folder", folder)
    _, plain, _ = run(capsys, *table)
    ascii_only = command_in({"PYTHONIOENCODING": "ascii"}, *table)
    assert ascii_only.returncode == 0, ascii_only.stderr
    assert "±" in plain
    assert "±" not in ascii_only.stdout
    assert ascii_only.stdout.split() == plain.replace("±", "+-").split()


@pytest.mark.skipif(sys.platform == "win32", reason="the home folder is found another way there")
@pytest.mark.slow
def test_without_a_home_folder_the_cache_variable_is_enough(tmp_path):
    nobody = "import os; os.path.expanduser = lambda path: path\n"
    (tmp_path / "sitecustomize.py").write_text(nobody)
    environment = {"PYTHONPATH": str(tmp_path), "DUALSEG_CACHE": "", "XDG_CACHE_HOME": ""}
    without = command_in(environment, "info")
    assert (without.returncode, without.stdout) == (1, "")
    assert without.stderr.startswith("dualseg: DUALSEG_CACHE: expected a home folder")
    assert without.stderr.count("\n") == 1
    told = command_in({**environment, "DUALSEG_CACHE": str(tmp_path / "cache")}, "info")
    assert str(tmp_path / "cache") in told.stdout
