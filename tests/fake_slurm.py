"""Stand-ins for Slurm's commands: a "cluster" of this machine, whose files are in $FAKE_SLURM.

`install` writes sbatch, srun, sacct, scancel and scontrol; each calls this file with its name.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def install(folder: Path) -> None:
    folder.mkdir()
    for name in ("sbatch", "srun", "sacct", "scancel", "scontrol"):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{__file__}" {name} "$@"\n')
        script.chmod(0o755)


def note(number: str, kind: str) -> Path:
    return Path(os.environ["FAKE_SLURM"]) / f"{number}.{kind}"


def sbatch(script: str) -> None:
    number = str(100 + len(list(Path(os.environ["FAKE_SLURM"]).glob("*.state"))))
    note(number, "state").write_text("PENDING")
    note(number, "script").write_text(Path(script).read_text(encoding="utf-8"))
    command = [sys.executable, "-S", __file__, "run", number]
    nowhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.Popen(command, start_new_session=True, **nowhere)
    print(f"Submitted batch job {number}")


def run(number: str) -> None:
    environment = os.environ | {"SLURM_JOB_ID": number, "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}
    while True:
        note(number, "state").write_text("RUNNING")
        code = subprocess.call(["bash", str(note(number, "script"))], env=environment)
        if not note(number, "requeue").exists():
            break
        note(number, "requeue").unlink()
        note(number, "state").write_text("REQUEUED")
    note(number, "state").write_text("FAILED" if code else "COMPLETED")


def srun(*words: str) -> None:
    assert words[:2] == ("--unbuffered", "--output"), words
    number = os.environ["SLURM_JOB_ID"]
    output = words[2].replace("%j", number).replace("%t", "0")
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    note(number, "pid").write_text(str(os.getpid()))
    os.execvp(words[3], words[3:])


def sacct(*words: str) -> None:
    print("JobID|State|NodeList")
    for number in (word for word in words if word.isdigit()):
        print(f"{number}|{note(number, 'state').read_text(encoding='utf-8')}|here")


def scancel(number: str, _: str = "--signal", name: str = "TERM") -> None:
    number_of = getattr(signal, "SIG" + name.removeprefix("SIG"))
    os.kill(int(note(number, "pid").read_text(encoding="utf-8")), number_of)


def scontrol(what: str, number: str) -> None:
    assert what == "requeue"
    note(number, "requeue").touch()
    scancel(number)  # Slurm ends the job itself
    time.sleep(0.05)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
