"""Calls as jobs of their own: processes of this machine, or jobs of a Slurm cluster (by submitit).

What a job does, and what it leaves behind to go on from, is up to its call.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from .._util.signals import Interrupted, end_with_parent, exit_status, stop_noted, stop_raised
from ..errors import DualsegError, require, require_one_of

POLL = 0.5  # seconds between two looks at the jobs
GRACE = 60.0  # seconds that Slurm's warning may take to follow its SIGTERM
WARNING = "SIGUSR1"  # Slurm warns with it before a kill; a training then writes a checkpoint
KILLED = "the job ended without a result: it was killed (for want of memory?), or could not start."
IN_QUEUE = ("PENDING", "RUNNING", "REQUEUED", "COMPLETING", "SUSPENDED")


@dataclass(frozen=True)
class Place:
    """Where jobs run, and with what."""

    cluster: Literal["local", "slurm"] = "local"
    """"local": processes of this machine; "slurm": jobs of a Slurm cluster (needs submitit)."""
    workers: int | None = None
    """Jobs at a time (local: one, unless given; slurm: all). Local ones share the cores."""
    partition: str | None = None
    """Slurm: the partition (other options of sbatch: SBATCH_ACCOUNT=... and so on)."""
    gpus: int = 0
    """Slurm: GPUs of a job. (Local jobs take the machine's GPUs in turn.)"""
    cpus: int = 4
    """Slurm: cores of a job."""
    memory_gb: int = 16
    """Slurm: main memory of a job."""
    hours: float = 4.0
    """Slurm: time limit; a job that reaches it is queued again, and a run goes on where it was."""

    def __post_init__(self) -> None:
        require_one_of("cluster", self.cluster, ("local", "slurm"))
        require(self.workers is None or self.workers > 0, "workers", "at least 1", self.workers)
        require(self.gpus >= 0, "gpus", "0 or more", self.gpus)
        require(self.cpus > 0, "cpus", "at least 1", self.cpus)
        require(self.memory_gb > 0, "memory_gb", "at least 1", self.memory_gb)
        require(self.hours >= 0.1, "hours", "at least 0.1", self.hours)
        if self.cluster == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
            raise DualsegError(
                "cluster: expected the Slurm commands sbatch and srun for 'slurm', found none; run "
                "this on a login node of the cluster, or with --cluster local."
            )


@dataclass(frozen=True)
class Failure:
    """Why a job did not come to its end, in a sentence, and where its output is."""

    reason: str
    log: Path


def run_jobs(
    calls: Mapping[str, Callable[[], object]], place: Place, folder: Path
) -> dict[str, Failure]:
    """Run named calls as jobs, to be called from the main thread.

    Slurm jobs of an earlier call that are still in the queue are waited for, not submitted again.

    Parameters
    ----------
    calls : mapping of str to callable
        What to do; each call can be pickled.
    place : Place
        Where the jobs run.
    folder : Path
        Files and output of a job are in `folder`/NAME.

    Returns
    -------
    dict of str to Failure
        What failed, by name.

    Raises
    ------
    Interrupted
        After Ctrl-C or SIGTERM: local jobs are asked to stop and waited for, Slurm jobs stay.
    """
    here = place.cluster == "local"
    environments = _environments(place.workers or 1) if here else [{}] * (place.workers or 1000)
    waiting, failed = dict(calls), {}
    running: dict[int, tuple[str, _Process | _SlurmJob]] = {}  # by worker
    with stop_noted() as stop, tqdm(total=len(calls), unit="job") as bar:
        while waiting or running:
            if stop.number is not None:
                _stop(place, [job for _, job in running.values()])
                raise Interrupted(stop.number, stop.heard)
            free = [worker for worker in range(len(environments)) if worker not in running]
            if waiting and free:
                name = next(iter(waiting))
                call, to = waiting.pop(name), folder / name
                job = (
                    _Process(call, to, environments[free[0]])
                    if here
                    else _SlurmJob(call, to, place)
                )
                running[free[0]] = name, job
                continue
            time.sleep(POLL)
            for worker, (name, job) in list(running.items()):
                if job.done():
                    del running[worker]
                    bar.update()
                    if reason := job.failure():
                        failed[name] = Failure(reason, job.log)
                        bar.write(f"{name}: failed: {reason}", file=sys.stderr)
    return failed


def _stop(place: Place, jobs: list[_Process | _SlurmJob]) -> None:
    here = [job.process for job in jobs if isinstance(job, _Process)]
    if place.cluster == "local":
        say = f"stopping {len(here)} jobs: waiting for what they save (Ctrl-C again: not waiting)."
    else:
        numbers = " ".join(job.job.job_id for job in jobs if isinstance(job, _SlurmJob))
        say = (
            f"{len(jobs)} jobs go on in the cluster, and the same command waits for them; to end "
            f"them: scancel {numbers}"
        )
    print(f"\n{say}", file=sys.stderr, flush=True)
    for process in here:
        process.terminate()
    for process in here:
        process.wait()


def _outcome(call: Callable[[], object]) -> str | None:
    """Do the call; None when it came to its end, else the sentence that says why not."""
    try:
        call()
    except Exception as error:
        traceback.print_exc()
        return str(error) if isinstance(error, DualsegError) else f"{type(error).__name__}: {error}"
    return None


class _Process:
    """A call in a process of this machine. It is stopped by SIGTERM, and when this one ends."""

    def __init__(self, call: Callable[[], object], folder: Path, environment: dict[str, str]):
        folder.mkdir(parents=True, exist_ok=True)
        self.log, self.result = folder / "log.txt", folder / "result.txt"
        self.result.unlink(missing_ok=True)
        with self.log.open("ab") as log, tempfile.TemporaryFile() as pickled:
            pickle.dump(call, pickled)
            pickled.seek(0)
            self.process = subprocess.Popen(
                [sys.executable, "-m", __name__, self.result],
                stdin=pickled,
                stdout=log,
                stderr=log,
                env=os.environ | environment,
                start_new_session=True,  # a terminal sends Ctrl-C to all of its session
            )

    def done(self) -> bool:
        return self.process.poll() is not None

    def failure(self) -> str | None:
        return self.result.read_text(encoding="utf-8") if self.result.is_file() else KILLED


def _environments(workers: int) -> list[dict[str, str]]:
    """The environment of each worker: they share the cores, and take the GPUs in turn."""
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, _cores() // workers)))
    usual = {"OMP_NUM_THREADS": threads, "TQDM_MININTERVAL": "10"}  # their output is a file
    gpus = _gpus()
    own = [{"CUDA_VISIBLE_DEVICES": gpus[k % len(gpus)]} if gpus else {} for k in range(workers)]
    return [usual | gpu for gpu in own]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _gpus() -> list[str]:
    """The GPUs to be seen from here, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    return named.split(",")[:count]


class _SlurmJob:
    """A call as a job of a Slurm cluster; one that is still in the queue is taken up again."""

    def __init__(self, call: Callable[[], object], folder: Path, place: Place):
        submitit = _submitit()
        earlier = [path.name.partition("_")[0] for path in folder.glob("*_submitted.pkl")]
        jobs = [submitit.SlurmJob(folder, number) for number in earlier]
        queued = [job for job in jobs if job.state.upper() in IN_QUEUE]
        self.job = queued[0] if queued else _executor(folder, place).submit(Requeued(call))
        self.log = self.job.paths.stdout

    def done(self) -> bool:
        return self.job.done()

    def failure(self) -> str | None:
        return self.job.result() if self.job.exception() is None else KILLED


@dataclass(frozen=True)
class Requeued:
    """A call that Slurm queues again after its warning; what was done is for the call to find."""

    call: Callable[[], object]

    def __call__(self) -> str | None:
        try:
            return _outcome(self.call)
        except Interrupted as stop:  # a training, which has written its checkpoint
            number = signal.Signals[WARNING]
            if number in stop.heard:
                signal.raise_signal(number)  # by now it is submitit's to answer: it queues again
            # A preemption begins with SIGTERM, and the warning follows; a cancellation has none.
            time.sleep(GRACE)
            raise

    def checkpoint(self):
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _executor(folder: Path, place: Place):
    exports = {
        "OMP_NUM_THREADS": place.cpus,
        "SRUN_CPUS_PER_TASK": place.cpus,  # since Slurm 22.05 srun asks for a number of its own
        "SUBMITIT_PREEMPT_SIGNAL": WARNING.removeprefix("SIG"),
        "TQDM_MININTERVAL": 10,
    }
    executor = _submitit().AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=50)
    executor.update_parameters(
        name=folder.name,
        timeout_min=round(60 * place.hours),
        cpus_per_task=place.cpus,
        mem_gb=place.memory_gb,
        gpus_per_node=place.gpus or None,
        stderr_to_stdout=True,
        slurm_partition=place.partition,
        slurm_setup=[f"export {key}={value}" for key, value in exports.items()],
        slurm_additional_parameters={"requeue": True, "signal": f"{WARNING[3:]}@90"},
    )
    return executor


def _submitit():
    try:
        import submitit
    except ImportError as error:
        raise DualsegError(
            f"cluster: expected the package submitit for 'slurm', found no {error.name}; in the "
            'project\'s folder, run `python -m pip install -c constraints.txt -e ".[sweep]"`.'
        ) from error
    return submitit


if __name__ == "__main__":  # a _Process: the call comes by stdin, the sentence goes to a file
    end_with_parent()
    try:
        with stop_raised():
            reason = _outcome(pickle.load(sys.stdin.buffer))
            Path(sys.argv[1]).write_text(reason or "", encoding="utf-8")
    except KeyboardInterrupt as stop:
        sys.exit(exit_status(stop))
