"""Calls as jobs of their own, through submitit: processes here, or jobs of a Slurm cluster.

How many run at a time, how they are stopped, what became of them. What a job does, and what it
leaves behind to go on from, is its call's affair.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from .errors import DualsegError, require, require_one_of

Progress = Callable[[str], tuple[float, str]]
POLL = 0.5
"""Seconds between two looks at the jobs."""
AGAIN = 5.0
"""Seconds after which a job that was asked to stop is asked again."""
GRACE = 60.0
"""Seconds that submitit's signal may take to follow a SIGTERM of Slurm; if none does, the job was
cancelled."""
IN_QUEUE = ("PENDING", "RUNNING", "REQUEUED", "COMPLETING", "SUSPENDED")


@dataclass(frozen=True)
class Place:
    """Where jobs run, and with what."""

    cluster: Literal["local", "slurm"] = "local"
    """"local": processes on this machine (Linux, macOS); "slurm": jobs of a Slurm cluster."""
    workers: int | None = None
    """Jobs at a time (local: one, unless given; slurm: all). Local ones share the cores."""
    partition: str | None = None
    """Slurm: the partition; other options of sbatch are given as SBATCH_ACCOUNT=... and so on."""
    gpus: int = 0
    """Slurm: GPUs of a job. (Local jobs take the machine's GPUs in turn.)"""
    cpus: int = 4
    """Slurm: cores of a job."""
    memory_gb: int = 16
    """Slurm: main memory of a job."""
    hours: float = 4.0
    """Slurm: time limit. A job that reaches it is queued again: a run then goes on where it was, a
    notebook begins anew."""

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


@dataclass(frozen=True)
class Job:
    """A call as submitit wants it: it can be pickled, stopped by a signal, and queued again."""

    call: Callable[[], object]
    device: str | None = None
    """What CUDA_VISIBLE_DEVICES is to be, if not what it is."""

    def __call__(self) -> str | None:
        """None when the call came to its end; else the sentence that says why not.

        SIGTERM stops the call by a KeyboardInterrupt, or by the handler that the call put in
        place. So does submitit's own signal (time is up, or the job is preempted), after which the
        job is queued again.
        """
        import submitit

        number = getattr(signal, f"SIG{submitit.JobEnvironment.USR_SIG}")
        queue_again = signal.getsignal(number)
        asked = threading.Event()

        def stop(number: int, frame: object) -> None:
            raise KeyboardInterrupt

        def ask(number: int, frame: object) -> None:
            asked.set()
            signal.raise_signal(signal.SIGTERM)

        signal.signal(signal.SIGTERM, stop)
        signal.signal(number, ask)
        if self.device is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.device
        try:
            self.call()
            return None
        except KeyboardInterrupt as error:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if number in getattr(error, "heard", ()):  # the call heard submitit's signal itself
                asked.set()
            # Slurm announces a preemption by SIGTERM, then comes submitit's signal; after a
            # cancellation comes nothing but the end.
            if submitit.JobEnvironment().cluster == "slurm":
                asked.wait(GRACE)
            if not asked.is_set():
                raise
        except Exception as error:
            traceback.print_exc()
            if not asked.is_set():
                known = isinstance(error, DualsegError)
                return str(error) if known else f"{type(error).__name__}: {error}"
        queue_again(number, None)  # saves `checkpoint()`, asks for the requeue, leaves
        raise AssertionError("unreachable")

    def checkpoint(self):
        """What is queued again: the same; what was done already is for the call to find."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def run_jobs(
    calls: Mapping[str, Callable[[], object]],
    place: Place,
    folder: Path,
    progress: Progress = lambda name: (0.0, "running"),
) -> dict[str, Failure]:
    """Run named calls as jobs, with a bar over them; returns what failed, by name.

    `progress` tells of a job which part of it is done (0 to 1) and what it is at. Files and output
    of a job are in `folder`/NAME. Slurm jobs of an earlier call that are still in the queue are
    waited for, not submitted again.

    To be called from the main thread. Ctrl-C and SIGTERM stop local jobs, wait for them and raise
    KeyboardInterrupt; Slurm jobs are left in the queue.
    """
    _require_submitit()
    workers = place.workers or (1 if place.cluster == "local" else max(1, len(calls)))
    devices = _devices() if place.cluster == "local" else []
    waiting, running, failed = dict(calls), {}, {}
    slots = list(range(workers))
    bar = tqdm(
        total=len(calls),
        bar_format="{percentage:3.0f}% |{bar:20}| {n:.1f}/{total} [{elapsed}<{remaining}]{postfix}",
        mininterval=0.1 if sys.stderr.isatty() else 30,  # a file is to stay readable
    )
    parts = {name: progress(name)[0] for name in calls}
    bar.initial = bar.n = sum(parts.values())
    with bar, _stop_signals() as stop:
        while waiting or running:
            while waiting and slots and not stop.is_set():
                name = next(iter(waiting))
                slot = slots.pop()
                device = devices[slot % len(devices)] if devices else None
                job = _job_of(name, Job(waiting.pop(name), device), place, workers, folder / name)
                running[name] = job, slot
            stop.wait(POLL)
            if stop.is_set():
                _stop(place, {name: job for name, (job, _) in running.items()}, bar)
                raise KeyboardInterrupt
            words = []
            for name, (job, slot) in list(running.items()):
                parts[name], what = progress(name)
                words.append(f"{name}: {what}")
                if job.done():
                    del running[name]
                    slots.append(slot)
                    parts[name] = 1.0
                    problem = _problem(job)
                    if problem:
                        failed[name] = Failure(problem, job.paths.stdout)
                        bar.write(f"{name}: failed: {problem}", file=sys.stderr)
            bar.set_postfix_str("; ".join(words), refresh=False)
            bar.update(sum(parts.values()) - bar.n)
    return failed


def _job_of(name: str, job: Job, place: Place, workers: int, folder: Path):
    import submitit
    from submitit.core.utils import environment_variables

    if place.cluster == "slurm":
        for path in folder.glob("*_submitted.pkl"):
            earlier = submitit.SlurmJob(folder, path.name.removesuffix("_submitted.pkl"))
            if earlier.state.upper() in IN_QUEUE:
                return earlier
    for path in folder.glob("*.pkl*"):  # a job's number may come again: here it is a process's id
        path.unlink()
    quiet = {"TQDM_MININTERVAL": 10}  # the output of a job is a file
    if place.cluster == "slurm":
        executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=50)
        # Since Slurm 22.05 srun asks for its own number of cores.
        exports = {"OMP_NUM_THREADS": place.cpus, "SRUN_CPUS_PER_TASK": place.cpus, **quiet}
        executor.update_parameters(
            name=name,
            timeout_min=round(60 * place.hours),
            cpus_per_task=place.cpus,
            mem_gb=place.memory_gb,
            gpus_per_node=place.gpus or None,
            stderr_to_stdout=True,
            slurm_partition=place.partition,
            slurm_setup=[f"export {key}={value}" for key, value in exports.items()],
            slurm_additional_parameters={"requeue": True},
        )
        return executor.submit(job)
    executor = submitit.AutoExecutor(folder, cluster="local")
    executor.update_parameters(timeout_min=60 * 24 * 365, stderr_to_stdout=True)
    threads = os.environ.get("OMP_NUM_THREADS", max(1, _cores() // workers))
    with environment_variables(OMP_NUM_THREADS=threads, **quiet), _ctrl_c_kept_from_children():
        return executor.submit(job)


def _problem(job) -> str | None:
    error = job.exception()
    if error is None:
        return job.result()
    return (
        f"the job ended without a result (state {job.state}): it was killed, by hand or for want "
        "of memory, or could not start."
    )


def _stop(place: Place, running: dict, bar: tqdm) -> None:
    if place.cluster == "slurm":
        numbers = " ".join(job.job_id for job in running.values())
        bar.write(
            f"{len(running)} jobs go on in the cluster, and the same command waits for them; to "
            f"end them: scancel {numbers}",
            file=sys.stderr,
        )
        return
    bar.write(
        f"stopping {len(running)} jobs: waiting for what they save (Ctrl-C again: not waiting).",
        file=sys.stderr,
    )
    signal.signal(signal.SIGINT, signal.default_int_handler)
    since = 0.0
    while left := [job for job in running.values() if not job.done()]:
        if time.monotonic() - since > AGAIN:  # one that just starts may miss the first
            since = time.monotonic()
            for job in left:
                os.kill(int(job.job_id), signal.SIGTERM)  # submitit hands it on
        time.sleep(POLL / 5)


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM as an event, so that none of them falls between a job and its note."""
    stop = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _ctrl_c_kept_from_children() -> Iterator[None]:
    """Start processes that never get SIGINT: a terminal sends it to all, and submitit's local
    process would then kill its job after a second. They are stopped by SIGTERM."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _devices() -> list[str]:
    """The GPUs to be seen from here, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    return named.split(",")[:count]


def _require_submitit() -> None:
    if sys.platform == "win32":
        raise DualsegError(
            "jobs: expected Linux or macOS, found Windows, where submitit cannot start any; "
            "work in WSL (Windows Subsystem for Linux), or do one after the other."
        )
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise DualsegError(
            f"jobs: expected the package submitit, found no {error.name}; in the project's folder, "
            'run `python -m pip install -c constraints.txt -e ".[sweep]"`.'
        ) from error
