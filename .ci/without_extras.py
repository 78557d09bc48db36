"""The installed package, without its extras and away from the clone: does every command answer?

A command answers with status 0, or with status 1 or 2 and no traceback: what is missing, in a
sentence. Then one run at `smoke`: from training to a mask.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import dualseg

COMMANDS = """
info
paper
paper comparison
networks
explain
gradients
data list
data fetch pancreas --root raw
data prepare folder --images nowhere --out data
data check nowhere
watch runs --once
watch runs --once --tensorboard mirror
sweep --out sweep --dry-run
sweep --out sweep --cluster slurm --hours 1
records table
records plot --out scores.png
notebooks list
notebooks run 00
notebooks check
notebooks exercises
notebooks table
notebooks record 00
notebooks grade nowhere
"""


def dualseg_command(*words: str) -> tuple[int, str]:
    run = subprocess.run(
        [sys.executable, "-m", "dualseg", *words], capture_output=True, text=True, check=False
    )
    said = run.stdout + run.stderr
    assert "Traceback" not in said, f"dualseg {' '.join(words)}:\n{said}"
    return run.returncode, run.stderr


def main() -> None:
    assert "torch" not in sys.modules, "`import dualseg` is to load nothing heavy"
    assert Path(dualseg.__file__).parents[1] not in Path(__file__).parents, "a clone, no wheel"
    for line in COMMANDS.strip().splitlines():
        status, error = dualseg_command(*line.split())
        assert status in (0, 1, 2), f"dualseg {line}: status {status}\n{error}"
        print(f"dualseg {line}: {error.strip().splitlines()[-1] if status else 'good'}")
    for line in (
        "train --profile smoke --method supervised --out runs/one",
        "evaluate runs/one",
        "data export phantom phantom_040 --out scan.nii.gz",
        "predict runs/one scan.nii.gz --out mask.nii.gz",
    ):
        status, error = dualseg_command(*line.split())
        assert status == 0, f"dualseg {line}: status {status}\n{error}"
    assert Path("mask.nii.gz").is_file()
    print(f"dualseg {dualseg.__version__}: from training to a mask")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        main()
