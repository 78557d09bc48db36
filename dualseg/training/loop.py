"""Training: one loop for every method, that can be stopped anywhere and gives the same weights.

Every random choice of a step is drawn from (seed, step), so a checkpoint needs no generator state:
a killed run resumed gives bit-identical weights on the same CPU and thread count. (On a GPU the
backward pass of some 3D operations adds in changing order, so there it does not.)
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from .._util.environment import peak_memory_mb, ready_device, torch_state_restored
from .._util.files import remove_temporary_files, write_atomically, write_json
from .._util.lock import held
from .._util.memory import freed_memory_kept
from .._util.signals import Interrupted, stop_noted
from ..config.experiment import Experiment
from ..config.training import Progress
from ..data.batches import BatchSampler
from ..data.dataset import Dataset, Split, open_dataset
from ..data.prefetch import prefetched
from ..errors import DualsegError, require
from ..methods import Method, build_method
from ..methods.base import total_loss
from ..runs.checkpoints import (
    checked_progress,
    load_optimizers,
    load_weights,
    read_checkpoint,
    write_checkpoint,
)
from ..runs.folder import NO_TERMS
from ..runs.run import Run
from .compiled import compile_networks, require_compiler
from .distributed import Ranks, joined
from .start import (
    check_batch,
    check_folder,
    check_precision,
    require_same_data,
    run_info,
    with_dataset,
    with_method,
)
from .terms import StepTerms, sent_to_host


def fit(
    experiment: Experiment,
    out: str | Path,
    resume: bool = False,
    *,
    dataset: Dataset | None = None,
    method: Method | type[Method] | None = None,
    max_minutes: float | None = None,
) -> Run:
    """Train, and leave a finished run in the folder `out`.

    All processes that torchrun started call this in the same way. Where it raises an error, rank 0
    raises it and the others exit. Torch's random state and settings are at the end as before.

    Parameters
    ----------
    experiment : Experiment
        What to train, on what, and how.
    out : str or Path
        Folder of the run.
    resume : bool, optional
        Go on with an interrupted run of the same experiment and data; a finished one is returned as
        it is. Without it, an existing run is refused. A run that another process holds always is.
    dataset : Dataset, optional
        The experiment's data set if it is open already, on the training's grid.
    method : Method or type of Method, optional
        A method of one's own in place of the experiment's: its class, or an object, whose weights
        are then the first. It is entered in METHODS under the name of its class.
    max_minutes : float, optional
        Stop after so many minutes of this call, and at least one step, with a checkpoint to resume
        from.

    Returns
    -------
    Run
        The finished run, or after `max_minutes` the unfinished one.

    Raises
    ------
    DualsegError
        For what the user can put right, and for a loss that is not finite (naming term and cases).
    Interrupted
        After Ctrl-C, SIGTERM or SIGUSR1, with the checkpoint written, or in the last step the
        finished run.
    """
    if method is not None:
        experiment = with_method(experiment, method)
    if dataset is not None:
        experiment = with_dataset(experiment, dataset)
    given = method if isinstance(method, Method) else None
    with joined() as ranks, torch_state_restored():
        deadline = _deadline(max_minutes)
        return _fit(experiment, Run(Path(out)), resume, ranks, dataset, given, deadline)


def _deadline(max_minutes: float | None) -> float:
    """When the time of a call is up, by the monotonic clock."""
    if max_minutes is None:
        return math.inf
    good = isinstance(max_minutes, Real) and max_minutes > 0
    require(good, "max_minutes", "a number of minutes above 0", max_minutes)
    return time.monotonic() + 60 * max_minutes


def _fit(
    experiment: Experiment,
    run: Run,
    resume: bool,
    ranks: Ranks,
    dataset: Dataset | None,
    method: Method | None,
    deadline: float,
) -> Run:
    check_folder(run, experiment, resume)
    if dataset is None:
        dataset = open_dataset(experiment.dataset, experiment.root, experiment.train.resolution)
    if run.finished:
        require_same_data(run, dataset)
        ranks.barrier()
        return run
    split = dataset.split(experiment.labeled, experiment.validation)
    if method is None:
        method = build_method(experiment, dataset.spec)
    if method.uses_unlabeled and not split.unlabeled:
        raise DualsegError(
            f"labeled: the method {experiment.method!r} needs unlabeled cases, found none left of "
            f"{len(dataset.train)} with {experiment.labeled} labeled and {experiment.validation} "
            "for validation; use fewer labels, or the method 'supervised'."
        )
    check_batch(experiment, method, ranks)
    check_precision(method)
    if experiment.train.compile:
        require_compiler()
    with held(run.folder) if ranks.is_main else nullcontext(lambda: None) as check_held:
        check_folder(run, experiment, resume)  # again: another process may just have been here
        if not run.finished:
            info = run_info(run, experiment, dataset, split, method, ranks)
            ranks.barrier()
            ranks.on_main(write_json, run.info_path, info)
            parts = (run, experiment, method, dataset, split, info, ranks, check_held, deadline)
            _Training(*parts).run_to_end()
    return run


class _Training:
    """The loop and what it holds."""

    def __init__(
        self,
        run: Run,
        experiment: Experiment,
        method: Method,
        dataset: Dataset,
        split: Split,
        info: dict[str, Any],
        ranks: Ranks,
        check_held: Callable[[], None],
        deadline: float,
    ):
        self.run, self.info, self.ranks = run, info, ranks
        self.check_held, self.deadline = check_held, deadline
        self.config, self.seed = experiment.train, experiment.seed
        self.device = ready_device()
        self.method = method.to(self.device)
        self.optimizers = method.optimizers(self.config)
        self.names: set[str] = set()  # of the terms, once they are known
        self.sampler = BatchSampler(
            dataset, split, self.config, self.seed, method.uses_unlabeled, (ranks.rank, ranks.size)
        )
        self.step, self.seconds, self.peak_memory = 0, 0.0, 0.0
        if run.state_path.is_file():
            self._restore()
        self.loss = ranks.loss_of(self.method)
        if self.config.compile:
            compile_networks(self.method)
        ranks.on_main(remove_temporary_files, run.folder)
        ranks.on_main(self._cut_log)

    def run_to_end(self) -> None:
        """Train until the last step, or with a checkpoint until the deadline or a signal."""
        first, total = self.step, self.config.iterations
        self.method.train()
        self.started = time.perf_counter() - self.seconds
        name, silent = f"training {self.run.folder.name}", not self.ranks.is_main
        bar = tqdm(total=total, initial=self.step, desc=name, unit="step", disable=silent)
        unread: StepTerms | None = None
        path = os.devnull if silent else self.run.log_path
        batches: Any = prefetched(self.sampler, range(self.step, total), self.device)
        with (
            bar,
            freed_memory_kept(),
            open(path, "ab", buffering=0) as log,
            closing(batches) as self.batches,
            stop_noted() as received,
        ):
            while self.step < total:
                asked, time_is_up = self._stop_requested(received)
                if asked is not None or (time_is_up and self.step > first):
                    self._flush(unread, log, bar)
                    self.save(log)
                    if asked is None:
                        return
                    raise Interrupted(asked, received)
                this = self.train_step(Progress(self.step, total))
                self.step += 1
                self._flush(unread, log, bar)
                unread = this
                if self.step % self.config.checkpoint_every == 0 and self.step < total:
                    self._flush(unread, log, bar)
                    unread = None
                    self.save(log)
                bar.update()
            self._flush(unread, log, bar)
        self.ranks.on_main(self._finish)
        asked, _ = self._stop_requested(received)
        if asked is not None:  # in the last step: what follows must know
            raise Interrupted(asked, received)

    def _stop_requested(self, received: list[int]) -> tuple[int | None, bool]:
        """The signal that has asked any rank to stop, and whether rank 0's time is up."""
        told = self.ranks.gather((next(iter(received), None), time.monotonic() >= self.deadline))
        return next((n for n, _ in told if n is not None), None), told[0][1]

    def train_step(self, progress: Progress) -> StepTerms:
        """One optimizer step; returns its terms without waiting for them."""
        if self.method.starts_afresh(progress):
            self.optimizers = self.method.optimizers(self.config)
        rate = self._set_rate(progress)
        torch.manual_seed(_step_seed(self.seed, progress.step, self.ranks.rank))  # dropout
        batch = next(self.batches)
        terms = self.loss(batch, progress)
        weights = self.method.weights(progress)
        self.method.zero_grad()
        total_loss(terms, weights).backward()
        for optimizer in self.optimizers.values():
            optimizer.step()
        self.method.after_step(progress)
        seconds = time.perf_counter() - self.started
        sent = sent_to_host(list(terms.values()))
        return StepTerms(progress.step + 1, rate, weights, tuple(terms), *sent, batch.ids, seconds)

    def _set_rate(self, progress: Progress) -> float:
        """Set the learning rate of the step where it follows the schedule; returns it."""
        rate = self.config.learning_rate_at(progress)
        if self.config.schedule == "own":
            rate *= self.method.own_rate(progress)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                if group.get("follows_schedule", True):
                    group["lr"] = rate
        return rate

    def save(self, log: Any) -> None:
        self.ranks.on_main(self._write_state, log, self._progress())

    def _write_state(self, log: Any, progress: dict[str, float]) -> None:
        self.check_held()
        with self._log_errors():
            os.fsync(log.fileno())  # so that after a power cut the log is not behind the checkpoint
        write_checkpoint(self.run.state_path, self.method, self.optimizers, progress)

    def _progress(self) -> dict[str, float]:
        self.peak_memory = max(self.peak_memory, peak_memory_mb(self.device))
        self.seconds = time.perf_counter() - self.started
        return {"step": self.step, "seconds": self.seconds, "peak_memory_mb": self.peak_memory}

    def _flush(self, unread: StepTerms | None, log: Any, bar: tqdm) -> None:
        if unread is None:
            return
        with self.ranks.errors_shared():
            self._require_same_names(unread)
            line = unread.log_line(self.ranks)
            with self._log_errors():
                log.write(f"{json.dumps(line)}\n".encode())
        bar.set_postfix(loss=f"{line['loss']:.3f}", refresh=False)

    @contextmanager
    def _log_errors(self) -> Iterator[None]:
        """What the disk refuses while the log is written is one sentence."""
        try:
            yield
        except OSError as error:
            raise DualsegError(
                f"{self.run.log_path}: could not be written ({error.strerror or error}); the "
                "last checkpoint is unchanged. Free some space, then go on with --resume."
            ) from error

    def _require_same_names(self, unread: StepTerms) -> None:
        """The log has one column for each term, from its first line to its last.

        Rank 0 also knows the names in the log that it goes on with.
        """
        self.names = self.names or set(unread.names)
        if different := self.names ^ set(unread.names):
            raise DualsegError(
                f"step {unread.step}: expected the same terms of the loss as in the steps before, "
                f"found a difference in {', '.join(sorted(different))}; a method returns the same "
                "names in every step (0 for a term, NaN for a measurement that is not there)."
            )

    def _cut_log(self) -> None:
        """Drop log lines of steps after the checkpoint: they will be taken again."""
        lines = [line for line in self.run.log() if line["step"] <= self.step]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        write_atomically(self.run.log_path, text.encode())
        if lines:
            self.names = set(lines[-1]) - {*NO_TERMS, "loss"}

    def _restore(self) -> None:
        tensors, progress = read_checkpoint(self.run.state_path)
        progress = checked_progress(progress, self.config.iterations, self.run.state_path)
        load_weights(self.method, tensors, self.run.state_path)
        load_optimizers(self.optimizers, tensors, self.run.state_path)
        self.step = int(progress["step"])
        self.seconds = progress["seconds"]
        self.peak_memory = progress["peak_memory_mb"]

    def _finish(self) -> None:
        self.check_held()
        progress = self._progress()
        training = {name: round(value, 1) for name, value in progress.items()}
        write_json(self.run.info_path, {**self.info, "training": training})
        write_checkpoint(self.run.weights_path, self.method, {}, progress)
        self.run.state_path.unlink(missing_ok=True)


def _step_seed(seed: int, step: int, rank: int) -> int:
    source = [seed, step, rank] if rank else [seed, step]  # rank 0 as a single process
    return int(np.random.SeedSequence(source).generate_state(1, np.uint64)[0] >> 1)
