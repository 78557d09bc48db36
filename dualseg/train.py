"""Training: one loop for every method, that can be stopped anywhere and gives the same weights.

Every random choice of a step is drawn from (seed, step), so a checkpoint needs no generator state:
a killed run resumed gives bit-identical weights on the same CPU and thread count. (On a GPU the
backward pass of some 3D operations adds in changing order, so there it does not.)
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from .config import Experiment
from .datasets import Dataset, Split, open_dataset
from .distributed import Team, joined
from .environment import describe_device, peak_memory_mb, pick_device, versions
from .errors import DualsegError
from .files import remove_scraps, write_atomically, write_json
from .methods import Method, build_method
from .networks import LEVEL_STRIDE
from .runs import (
    Run,
    load_optimizer,
    load_weights,
    read_checkpoint,
    write_checkpoint,
)
from .sampling import BatchSampler
from .specs import noted
from .train_config import Progress


class Interrupted(KeyboardInterrupt):
    """The training was stopped by a signal, after its checkpoint was written."""


def fit(experiment: Experiment, out: str | Path, resume: bool = False) -> Run:
    """Train, and leave a finished run in the folder `out`.

    `resume` goes on with an interrupted run of the same experiment and data; without it an existing
    run is refused. A finished run is returned as it is. Of processes that torchrun started all call
    this alike; only rank 0 raises what follows, the others exit.

    Raises DualsegError for what the user can put right, and for a loss that is not finite (naming
    term and cases); `Interrupted` after Ctrl-C or SIGTERM, with the checkpoint written.
    """
    with joined() as team:
        return _fit(experiment, Run(Path(out)), resume, team)


def _fit(experiment: Experiment, run: Run, resume: bool, team: Team) -> Run:
    _check_folder(run, experiment, resume)
    if run.finished:
        team.meet()
        return run
    dataset = open_dataset(experiment.dataset, experiment.root, experiment.train.resolution)
    split = dataset.split(experiment.labeled, experiment.validation)
    method = build_method(experiment, dataset.spec)
    if method.uses_unlabeled and not split.unlabeled:
        raise DualsegError(
            f"labeled: the method {experiment.method!r} needs unlabeled cases, found none left of "
            f"{len(dataset.train)} with {experiment.labeled} labeled and {experiment.validation} "
            "for validation; use fewer labels, or the method 'supervised'."
        )
    _check_batch(experiment, method, team)
    info = _describe(experiment, dataset, split, method) | {"processes": team.size}
    if run.exists:
        info = _continued(run, info)
    team.meet()
    team.once(write_json, run.info_path, info)
    _Training(run, experiment, method, dataset, split, info, team).run_to_end()
    return run


def _check_folder(run: Run, experiment: Experiment, resume: bool) -> None:
    if not run.exists:
        return
    if not resume:
        if run.finished:
            raise DualsegError(
                f"{run.folder}: holds a finished run already; measure it with `dualseg evaluate "
                f"{run.folder}`, or choose another --out."
            )
        raise DualsegError(
            f"{run.folder}: holds an unfinished run already; go on with it (--resume, in Python "
            "resume=True), or choose another --out."
        )
    old, new = run.experiment().flat(), experiment.flat()
    # The data may have moved; that they are the same is checked by their fingerprint.
    changed = [name for name in new if old[name] != new[name] and name != "root"]
    if changed:
        name = changed[0]
        raise DualsegError(
            f"{run.folder}: was started with {name} = {old[name]!r}, now asked for {new[name]!r}; "
            "resume with the same settings, or choose another --out."
        )


def _check_batch(experiment: Experiment, method: Method, team: Team) -> None:
    config = experiment.train
    samples = team.share("labeled_batch", config.labeled_batch)
    if method.uses_unlabeled:
        samples += team.share("unlabeled_batch", config.unlabeled_batch)
    if samples == 1 and all(side <= LEVEL_STRIDE for side in config.patch):
        raise DualsegError(
            f"patch: expected a side above {LEVEL_STRIDE} for a batch of one sample, found "
            f"{config.patch}: the deepest level would hold one value a channel, and batch "
            f"normalisation needs two; use a larger patch or --labeled-batch {2 * team.size}."
        )


def _continued(run: Run, info: dict[str, Any]) -> dict[str, Any]:
    """The run's own info, and a line about where it goes on if that is elsewhere."""
    before = run.info()
    if before["data"]["fingerprint"] != info["data"]["fingerprint"]:
        raise DualsegError(
            f"{run.folder}: the data have changed since this run was started (other fingerprint); "
            "restore them, or start a new run in another --out."
        )
    here = {name: info[name] for name in ("device", "versions", "precision", "processes")}
    sessions = before.get("sessions", [])
    last = {"processes": 1} | (sessions[-1] if sessions else before)  # not noted in older runs
    if any(last[name] != value for name, value in here.items()):
        sessions = [*sessions, here]
    return {**before, "sessions": sessions} if sessions else before


def _describe(
    experiment: Experiment, dataset: Dataset, split: Split, method: Method
) -> dict[str, Any]:
    used = split.labeled + split.unlabeled + split.validation
    fingerprint = dataset.cache(used)
    shapes = np.array([dataset.case(case).image.shape[-3:] for case in used]) * dataset.factor
    device = pick_device()
    return {
        "config": experiment.flat(),
        "data": {
            "fingerprint": fingerprint,
            "largest_shape": shapes.max(0).tolist(),
            "lists": dataset.lists,
            "spec": noted(dataset.spec),
            "split": {name: list(ids) for name, ids in vars(split).items()},
        },
        "versions": versions(),
        "device": describe_device(device),
        "precision": method.precision_on(device.type),
    }


@dataclass(frozen=True)
class _Step:
    """A step's terms, still on the device: read one step later, so that nothing waits for them."""

    number: int
    learning_rate: float
    weights: dict[str, float]
    terms: dict[str, Tensor]
    ids: tuple[str, ...]

    def read(self, team: Team) -> dict[str, float | None]:
        """The log line, means over the ranks. Raises DualsegError where a term is not finite."""
        own = torch.stack([t.detach() for t in self.terms.values()]).tolist()
        values, ids = zip(*team.gather((own, self.ids)), strict=True)
        terms: dict[str, float | None] = {}
        for name, *found in zip(self.terms, *values, strict=True):
            finite = [value for value in found if math.isfinite(value)]
            if name in self.weights and len(finite) < len(found):
                rank = next(rank for rank, value in enumerate(found) if not math.isfinite(value))
                raise DualsegError(
                    f"step {self.number}: the loss term {name!r} is {found[rank]} for the cases "
                    f"{', '.join(ids[rank])}; look at these volumes, or lower --learning-rate. The "
                    "last checkpoint is from before this step."
                )
            # None: a measurement without anything to measure; JSON has no NaN.
            terms[name] = sum(finite) / len(finite) if finite else None
        total = sum(weight * terms[name] for name, weight in self.weights.items())
        return {"step": self.number, "learning_rate": self.learning_rate, "loss": total, **terms}


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
        team: Team,
    ):
        self.run, self.info, self.team = run, info, team
        self.config, self.seed = experiment.train, experiment.seed
        self.device = pick_device()
        self.method = method.to(self.device)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self.optimizer = method.optimizer(self.config)
        self.sampler = BatchSampler(
            dataset, split, self.config, self.seed, method.uses_unlabeled, (team.rank, team.size)
        )
        self.step, self.seconds, self.peak_memory = 0, 0.0, 0.0
        if run.state_path.is_file():
            self._restore()
        self.loss = team.loss_of(self.method)
        team.once(remove_scraps, run.state_path)
        team.once(_cut_log, run, self.step)

    def run_to_end(self) -> None:
        total = self.config.iterations
        self.method.train()
        self.started = time.perf_counter() - self.seconds
        name, silent = f"training {self.run.folder.name}", not self.team.leads
        bar = tqdm(total=total, initial=self.step, desc=name, unit="step", disable=silent)
        late: _Step | None = None
        path = os.devnull if silent else self.run.log_path
        with bar, open(path, "ab", buffering=0) as log, _stop_signals() as stop:
            while self.step < total:
                if self.team.any(stop.is_set()):
                    self._flush(late, log, bar)
                    self.save()
                    raise Interrupted
                this = self.train_step(Progress(self.step, total))
                self.step += 1
                self._flush(late, log, bar)
                late = this
                if self.step % self.config.checkpoint_every == 0 and self.step < total:
                    self._flush(late, log, bar)
                    late = None
                    self.save()
                bar.update()
            self._flush(late, log, bar)
        self.team.once(self._finish)

    def train_step(self, progress: Progress) -> _Step:
        """One optimiser step; returns its terms without waiting for them."""
        rate = self.config.learning_rate_at(progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(_step_seed(self.seed, progress.step, self.team.rank))  # dropout
        batch = self.sampler.batch(progress.step).to(self.device)
        terms = self.loss(batch, progress)
        weights = self.method.weights(progress)
        self.optimizer.zero_grad()
        sum(weight * terms[name] for name, weight in weights.items()).backward()
        self.optimizer.step()
        self.method.after_step(progress)
        return _Step(progress.step + 1, rate, weights, terms, batch.ids)

    def save(self) -> None:
        state = self.run.state_path, self.method, self.optimizer, self._progress()
        self.team.once(write_checkpoint, *state)

    def _progress(self) -> dict[str, float]:
        self.peak_memory = max(self.peak_memory, peak_memory_mb(self.device))
        self.seconds = time.perf_counter() - self.started
        return {"step": self.step, "seconds": self.seconds, "peak_memory_mb": self.peak_memory}

    def _flush(self, late: _Step | None, log: Any, bar: tqdm) -> None:
        if late is None:
            return
        with self.team.together():
            line = late.read(self.team)
            try:
                log.write(f"{json.dumps(line)}\n".encode())
            except OSError as error:
                raise DualsegError(
                    f"{self.run.log_path}: could not be written ({error.strerror or error}); the "
                    "last checkpoint is unchanged. Free some space, then go on with --resume."
                ) from error
        bar.set_postfix(loss=f"{line['loss']:.3f}", refresh=False)

    def _restore(self) -> None:
        tensors, progress = read_checkpoint(self.run.state_path)
        load_weights(self.method, tensors, self.run.state_path)
        load_optimizer(self.optimizer, tensors)
        self.step = int(progress["step"])
        self.seconds = progress["seconds"]
        self.peak_memory = progress["peak_memory_mb"]

    def _finish(self) -> None:
        progress = self._progress()
        training = {name: round(value, 1) for name, value in progress.items()}
        write_json(self.run.info_path, {**self.info, "training": training})
        write_checkpoint(self.run.weights_path, self.method, None, progress)
        self.run.state_path.unlink(missing_ok=True)


def _step_seed(seed: int, step: int, rank: int) -> int:
    source = [seed, step, rank] if rank else [seed, step]  # rank 0 as a single process
    return int(np.random.SeedSequence(source).generate_state(1, np.uint64)[0] >> 1)


def _cut_log(run: Run, step: int) -> None:
    """Drop log lines of steps after the checkpoint: they will be taken again."""
    lines = [json.dumps(line) + "\n" for line in run.log() if line["step"] <= step]
    write_atomically(run.log_path, lambda file: file.write("".join(lines).encode()))


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Turn Ctrl-C and SIGTERM into an event that the loop looks at between steps.

    A second Ctrl-C stops at once, without a checkpoint. Only a main thread gets signals; elsewhere
    the event is never set.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    from .cli import main  # here, because the command line imports this module

    with joined():
        sys.exit(main(["train", *sys.argv[1:]]))
