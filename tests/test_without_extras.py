"""Without the extra packages every command works or ends in a sentence; help needs no PyTorch."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TEST
from fake_slurm import install

from dualseg.cli.main import GROUPS, main

HIDDEN = """
import contextlib, io, json, sys
sys.modules.update(dict.fromkeys(json.loads(sys.argv[1])))  # an import of None fails
from dualseg.cli.main import main
for words in json.loads(sys.argv[2]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(words)
        except SystemExit as stop:  # --help
            status = stop.code
    print(json.dumps([status, out.getvalue(), err.getvalue(), "torch" in sys.modules]))
"""
ROOT = Path(__file__).parents[1]
EXTRAS = {
    "notebooks": "IPython ipykernel ipywidgets jupyterlab nbclient nbconvert nbformat papermill",
    "sweep": "submitit",
    "tensorboard": "tensorboard",
}
SMALL = (
    "--profile smoke --labeled 2 --iterations 1 --filters 2 --resolution half --patch 16 16 16 "
    "--stride 16 16 16"
)
WORKING = (  # in this order: what one leaves, the next ones need
    "info",
    f"train --out first --dataset la --root la {SMALL}",
    "evaluate first",
    "data list",
    "data check la --root la",
    f"data export la {TEST[0]} --root la --out scan.nii.gz",
    "predict first scan.nii.gz --out mask.nii.gz",
    "watch . --once",
    "records publish first --to records",
    "records table --folder records",
    "records plot --dataset la --folder records --out scores.png",
    "records plot-steps --help",  # wants runs with several numbers of steps
    "records beside-paper --folder records --profile smoke",
    "data fetch pancreas --root there",
    "data prepare folder --help",
    "sweep --out many --profile smoke --dry-run",
    "compare --out ranked --profile smoke --dry-run",
    "demo --help",  # is train and evaluate
    "explain",
    "gradients",
    "networks",
    "paper table",
    f"paper claims --folder {ROOT / 'figures' / 'records'}",
    f"paper equations --notebooks {ROOT / 'notebooks'}",
)
REFUSED = {
    "notebooks list": "notebooks",
    "notebooks run 02": "notebooks",
    "notebooks record 02": "notebooks",
    "notebooks check": "notebooks",
    "notebooks exercises": "notebooks",
    "notebooks grade answers": "notebooks",
    "notebooks table": "notebooks",
    "sweep --out many --profile smoke --seeds 0 --cluster slurm": "sweep",
    "watch . --once --tensorboard events": "tensorboard",
}


def without(names: str, commands, folder) -> list[tuple[int, str, str, bool]]:
    """Status, output, errors of commands, and is PyTorch loaded, where packages are missing."""
    install(folder / "bin")  # else --cluster slurm asks for Slurm first
    path = os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])
    words = json.dumps([command.split() for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", HIDDEN, json.dumps(names.split()), words],
        env={**os.environ, "PATH": path},
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr  # a traceback
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def test_every_command_is_tried(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    names = re.search(r"{([^}]+)}", capsys.readouterr().out)[1].replace(" ", "").split(",")
    parts = {
        group: [f"{group} {name}" for name in commands] for group, (_, commands) in GROUPS.items()
    }
    assert {*GROUPS} < {*names}
    for command in (c for name in names for c in parts.get(name, [name])):
        assert any(line.startswith(command) for line in (*WORKING, *REFUSED)), command


@pytest.mark.slow
def test_without_extras_commands_work_or_name_the_install_command(tmp_path, la_root):
    la_root.rename(tmp_path / "la")
    names = " ".join(EXTRAS.values())
    results = without(names, [*WORKING, *REFUSED], tmp_path)
    for command, (status, _, err, _) in zip(WORKING, results, strict=False):
        assert status == 0, (command, err)
    for (command, extra), (status, _, err, _) in zip(
        REFUSED.items(), results[len(WORKING) :], strict=True
    ):
        assert status == 1, command
        sentence = err.strip().splitlines()[-1]  # a progress bar may stand before it
        assert sentence.startswith("dualseg: "), (command, err)
        assert f'pip install -c constraints.txt -e ".[{extra}]"' in sentence, (command, err)


def test_help_starts_without_torch(tmp_path):
    commands = ["--help", "info --help", "sweep --help", "watch --help", "evaluate --help"]
    commands += [f"{group} --help" for group in GROUPS]
    for status, out, err, torch_is_loaded in without("", commands, tmp_path):
        assert (status, out[:5], torch_is_loaded) == (0, "usage", False), err
