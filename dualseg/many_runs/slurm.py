"""A call as a job of a Slurm cluster, by submitit, which also queues it again."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._util.signals import Interrupted
from ..errors import DualsegError

GRACE = 60.0  # seconds within which Slurm's warning follows the SIGTERM of a preemption
KILLED = "the job ended without a result: it was killed (for want of memory?), or could not start."
IN_QUEUE = ("PENDING", "RUNNING", "REQUEUED", "COMPLETING", "SUSPENDED")


class SlurmJob:
    """A job that is submitted, or taken up again where an earlier one is still in the queue."""

    def __init__(
        self, call: Callable[[], str | None], folder: Path, gpus: int, cpus: int, hours: float
    ):
        try:
            import submitit

            executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=50)
        except (ImportError, RuntimeError) as error:
            raise DualsegError(
                f"cluster: expected Slurm's commands and the package submitit for 'slurm', found "
                f"none ({error}); run this on a login node of the cluster, after `python -m pip "
                'install -c constraints.txt -e ".[sweep]"` in the project\'s folder.'
            ) from error
        earlier = [path.name.partition("_")[0] for path in folder.glob("*_submitted.pkl")]
        jobs: list[Any] = [submitit.SlurmJob(folder, number) for number in earlier]
        queued = [job for job in jobs if job.state.upper() in IN_QUEUE]
        # Since Slurm 22.05 srun asks for a number of cores of its own.
        exports = [f"{name}={cpus}" for name in ("OMP_NUM_THREADS", "SRUN_CPUS_PER_TASK")]
        exports += ["SUBMITIT_PREEMPT_SIGNAL=USR1", "TQDM_MININTERVAL=10"]
        executor.update_parameters(
            name=folder.name,
            timeout_min=round(60 * hours),
            cpus_per_task=cpus,
            gpus_per_node=gpus or None,
            stderr_to_stdout=True,
            slurm_setup=[f"export {setting}" for setting in exports],
            # Slurm warns with SIGUSR1 before it kills; a training then writes a checkpoint.
            slurm_additional_parameters={"requeue": True, "signal": "USR1@90"},
        )
        self.job = queued[0] if queued else executor.submit(Requeued(call))
        self.log: Path = self.job.paths.stdout

    def done(self) -> bool:
        return self.job.done()

    def failure(self) -> str | None:
        return self.job.result() if self.job.exception() is None else KILLED


@dataclass(frozen=True)
class Requeued:
    """A call that submitit queues again after Slurm's warning."""

    call: Callable[[], str | None]

    def __call__(self) -> str | None:
        try:
            return self.call()
        except Interrupted as stop:  # a training, which has written its checkpoint
            if signal.SIGUSR1 in stop.received:
                signal.raise_signal(signal.SIGUSR1)  # now submitit answers it: it queues again
            # A preemption begins with SIGTERM, and the warning follows; a cancellation has none.
            time.sleep(GRACE)
            raise

    def checkpoint(self) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
