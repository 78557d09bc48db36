"""Calls as jobs of their own: processes of this machine, or jobs of a Slurm cluster.

A job may be stopped and started again; its call must find by itself what was done before.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from tqdm import tqdm

from .._util.settings import Range, Settings
from .._util.signals import Interrupted, end_with_parent, exit_status, stop_noted, stop_raised
from ..errors import DualsegError
from .slurm import KILLED, SlurmJob

POLL = 0.5  # seconds between two looks at the jobs


@dataclass(frozen=True)
class Resources(Settings):
    """Where jobs run, and what each of them gets."""

    cluster: Literal["local", "slurm"] = "local"
    """"local": processes of this machine; "slurm": jobs of a Slurm cluster (needs submitit; other
    options of sbatch: SBATCH_PARTITION, SBATCH_MEM_PER_NODE and so on in the environment)."""
    workers: Annotated[int, Range(1)] | None = None
    """Jobs at a time (local: one, unless given; slurm: all). Local ones share the cores."""
    gpus: Annotated[int, Range(0)] = 0
    """Slurm: GPUs of a job. (Local jobs take the machine's GPUs in turn.)"""
    cpus: Annotated[int, Range(1)] = 4
    """Slurm: cores of a job."""
    hours: Annotated[float, Range(0.1)] = 4.0
    """Slurm: time limit; a job that reaches it is queued again, and a run goes on where it was."""


@dataclass(frozen=True)
class Failure:
    """Why a job failed, in a sentence, and where its output is."""

    reason: str
    log: Path


def run_jobs(
    calls: Mapping[str, Callable[[], object]], resources: Resources, folder: Path
) -> dict[str, Failure]:
    """Run named calls as jobs; to be called from the main thread.

    Parameters
    ----------
    calls : mapping of str to callable
        What to do; each call can be pickled.
    resources : Resources
        Where the jobs run. Slurm jobs that an earlier call has queued are waited for.
    folder : Path
        Files and output of a job are in `folder`/NAME.

    Returns
    -------
    dict of str to Failure
        What failed, by name.

    Raises
    ------
    Interrupted
        After Ctrl-C or SIGTERM: local jobs are asked to stop and waited for, Slurm jobs go on.
    """
    slurm = resources.cluster == "slurm"
    workers = resources.workers or (len(calls) if slurm else 1)
    waiting, free = deque(calls), deque(range(workers))
    running: dict[str, tuple[int, LocalJob | SlurmJob]] = {}
    failed: dict[str, Failure] = {}
    with stop_noted() as received, tqdm(total=len(calls), unit="job") as bar:
        while waiting or running:
            if received:
                _stop([job for _, job in running.values()])
                raise Interrupted(received[0], received)
            if waiting and free:
                name, worker = waiting.popleft(), free.popleft()
                call, to = partial(outcome, calls[name]), folder / name
                running[name] = (
                    worker,
                    (
                        SlurmJob(call, to, resources.gpus, resources.cpus, resources.hours)
                        if slurm
                        else LocalJob(call, to, worker, workers)
                    ),
                )
                continue
            time.sleep(POLL)
            for name in [name for name, (_, job) in running.items() if job.done()]:
                worker, job = running.pop(name)
                free.append(worker)
                bar.update()
                if reason := job.failure():
                    failed[name] = Failure(reason, job.log)
                    bar.write(f"{name}: failed: {reason}", file=sys.stderr)
    return failed


def _stop(jobs: list[LocalJob | SlurmJob]) -> None:
    say = "stopping: waiting for what the jobs save (Ctrl-C again: not waiting)."
    if any(isinstance(job, SlurmJob) for job in jobs):
        say = "the jobs go on in the cluster, and the same command waits for them."
    print(f"\n{say}", file=sys.stderr, flush=True)
    local = [job.process for job in jobs if isinstance(job, LocalJob)]
    for process in local:
        process.terminate()
    for process in local:
        process.wait()


def outcome(call: Callable[[], object]) -> str | None:
    """Do the call; None when it came to its end, else the sentence that says why not."""
    try:
        call()
    except Exception as error:
        traceback.print_exc()
        return str(error) if isinstance(error, DualsegError) else f"{type(error).__name__}: {error}"
    return None


class LocalJob:
    """A call in a process of this machine, which is also stopped when this process ends."""

    def __init__(self, call: Callable[[], str | None], folder: Path, worker: int, workers: int):
        folder.mkdir(parents=True, exist_ok=True)
        self.log, self.result = folder / "log.txt", folder / "result.txt"
        self.result.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", __name__, self.result],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=os.environ | _environment(worker, workers),
                start_new_session=True,  # a terminal sends Ctrl-C to all of its session
            )
        assert self.process.stdin is not None
        with self.process.stdin as stdin:
            stdin.write(pickle.dumps(call))

    def done(self) -> bool:
        return self.process.poll() is not None

    def failure(self) -> str | None:
        return self.result.read_text(encoding="utf-8") if self.result.is_file() else KILLED


def _environment(worker: int, workers: int) -> dict[str, str]:
    """What a worker finds in its environment: its share of the cores, and its GPU."""
    import torch

    found = {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // workers))}
    if count := torch.cuda.device_count():
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
        found["CUDA_VISIBLE_DEVICES"] = gpus.split(",")[worker % count]
    return found | {"TQDM_MININTERVAL": "10"}  # their output is a file


if __name__ == "__main__":  # a LocalJob: the call comes by stdin, the sentence goes to a file
    end_with_parent()
    try:
        with stop_raised():
            Path(sys.argv[1]).write_text(pickle.load(sys.stdin.buffer)() or "", encoding="utf-8")
    except KeyboardInterrupt as stop:
        sys.exit(exit_status(stop))
