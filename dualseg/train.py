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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from .config import Experiment
from .datasets import Dataset, Split, open_dataset
from .environment import describe_device, peak_memory_mb, pick_device, versions
from .errors import DualsegError
from .files import remove_scraps, write_atomically, write_json
from .lock import Claim, held
from .methods import Method, build_method
from .networks import LEVEL_STRIDE
from .runs import (
    Run,
    checked_progress,
    load_optimizer,
    load_weights,
    read_checkpoint,
    write_checkpoint,
)
from .sampling import BatchSampler
from .signals import Interrupted, stop_noted
from .specs import noted
from .train_config import Progress


def fit(experiment: Experiment, out: str | Path, resume: bool = False) -> Run:
    """Train, and leave a finished run in the folder `out`.

    `resume` goes on with an interrupted run of the same experiment and data; without it an existing
    run is refused, and always one that another process holds. A finished run is returned as it is.

    Raises DualsegError for what the user can put right, and for a loss that is not finite (naming
    term and cases); `Interrupted` after Ctrl-C, SIGTERM or SIGUSR1, with the checkpoint written.
    """
    run = Run(Path(out))
    check_folder(run, experiment, resume)
    if run.finished:
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
    _check_batch(experiment, method)
    with held(run.folder) as claim:
        check_folder(run, experiment, resume)  # again: another process may just have been here
        if run.finished:
            return run
        info = _describe(experiment, dataset, split, method)
        if run.exists:
            info = _continued(run, info)
        elif run.state_path.exists():
            raise DualsegError(
                f"{run.state_path}: expected no checkpoint where there is no run.json, found one; "
                "put the run.json back beside it, or choose another --out."
            )
        write_json(run.info_path, info)
        _Training(run, experiment, method, dataset, split, info, claim).run_to_end()
    return run


def check_folder(run: Run, experiment: Experiment, resume: bool) -> None:
    """Raise DualsegError where `fit` would: another run is there, or one not to be resumed."""
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


def _check_batch(experiment: Experiment, method: Method) -> None:
    config = experiment.train
    samples = config.labeled_batch + method.uses_unlabeled * config.unlabeled_batch
    if samples == 1 and all(side <= LEVEL_STRIDE for side in config.patch):
        raise DualsegError(
            f"patch: expected a side above {LEVEL_STRIDE} for a batch of one sample, found "
            f"{config.patch}: the deepest level would hold one value a channel, and batch "
            "normalisation needs two; use a larger patch or --labeled-batch 2."
        )


def _continued(run: Run, info: dict[str, Any]) -> dict[str, Any]:
    """The run's own info, and a line about where it goes on if that is elsewhere."""
    before = run.info()
    if before["data"]["fingerprint"] != info["data"]["fingerprint"]:
        raise DualsegError(
            f"{run.folder}: the data have changed since this run was started (other fingerprint); "
            "restore them, or start a new run in another --out."
        )
    here = {name: info[name] for name in ("device", "versions", "precision")}
    sessions = before.get("sessions", [])
    if here != (sessions[-1] if sessions else {name: before[name] for name in here}):
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
    seconds: float  # of training so far

    def read(self) -> dict[str, float | None]:
        """The log line. Raises DualsegError where a term is not finite."""
        values = torch.stack([t.detach() for t in self.terms.values()]).tolist()
        terms: dict[str, float | None] = dict(zip(self.terms, values, strict=True))
        for name, value in terms.items():
            if not math.isfinite(value) and name not in self.weights:
                terms[name] = None  # a measurement without anything to measure; JSON has no NaN
            elif not math.isfinite(value):
                raise DualsegError(
                    f"step {self.number}: the loss term {name!r} is {value} for the cases "
                    f"{', '.join(self.ids)}; look at these volumes, or lower --learning-rate. The "
                    "last checkpoint is from before this step."
                )
        total = sum(weight * terms[name] for name, weight in self.weights.items())
        when = {"step": self.number, "seconds": round(self.seconds, 3)}
        return {**when, "learning_rate": self.learning_rate, "loss": total, **terms}


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
        claim: Claim,
    ):
        self.run, self.info, self.claim = run, info, claim
        self.config, self.seed = experiment.train, experiment.seed
        self.device = pick_device()
        self.method = method.to(self.device)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self.optimizer = method.optimizer(self.config)
        self.sampler = BatchSampler(
            dataset, split, self.config, experiment.seed, method.uses_unlabeled
        )
        self.step, self.seconds, self.peak_memory = 0, 0.0, 0.0
        if run.state_path.is_file():
            self._restore()
        remove_scraps(run.folder)
        _cut_log(run, self.step)

    def run_to_end(self) -> None:
        total = self.config.iterations
        self.method.train()
        self.started = time.perf_counter() - self.seconds
        bar = tqdm(
            total=total, initial=self.step, desc=f"training {self.run.folder.name}", unit="step"
        )
        late: _Step | None = None
        with bar, self.run.log_path.open("ab", buffering=0) as log, stop_noted() as stop:
            while self.step < total:
                if stop.number is not None:
                    self._flush(late, log, bar)
                    self.save(log)
                    raise Interrupted(stop.number)
                this = self.train_step(Progress(self.step, total))
                self.step += 1
                self._flush(late, log, bar)
                late = this
                if self.step % self.config.checkpoint_every == 0 and self.step < total:
                    self._flush(late, log, bar)
                    late = None
                    self.save(log)
                bar.update()
            self._flush(late, log, bar)
        self._finish()

    def train_step(self, progress: Progress) -> _Step:
        """One optimiser step; returns its terms without waiting for them."""
        rate = self.config.learning_rate_at(progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(_step_seed(self.seed, progress.step))  # dropout
        batch = self.sampler.batch(progress.step).to(self.device)
        terms = self.method.loss(batch, progress)
        weights = self.method.weights(progress)
        self.optimizer.zero_grad()
        sum(weight * terms[name] for name, weight in weights.items()).backward()
        self.optimizer.step()
        self.method.after_step(progress)
        seconds = time.perf_counter() - self.started
        return _Step(progress.step + 1, rate, weights, terms, batch.ids, seconds)

    def save(self, log: Any) -> None:
        self.claim.check()
        os.fsync(log.fileno())  # so that after a power cut the log is not behind the checkpoint
        write_checkpoint(self.run.state_path, self.method, self.optimizer, self._progress())

    def _progress(self) -> dict[str, float]:
        self.peak_memory = max(self.peak_memory, peak_memory_mb(self.device))
        self.seconds = time.perf_counter() - self.started
        return {"step": self.step, "seconds": self.seconds, "peak_memory_mb": self.peak_memory}

    def _flush(self, late: _Step | None, log: Any, bar: tqdm) -> None:
        if late is None:
            return
        line = late.read()
        try:
            log.write(f"{json.dumps(line)}\n".encode())
        except OSError as error:
            raise DualsegError(
                f"{self.run.log_path}: could not be written ({error.strerror or error}); the last "
                "checkpoint is unchanged. Free some space, then go on with --resume."
            ) from error
        bar.set_postfix(loss=f"{line['loss']:.3f}", refresh=False)

    def _restore(self) -> None:
        tensors, progress = read_checkpoint(self.run.state_path)
        progress = checked_progress(progress, self.config.iterations, self.run.state_path)
        load_weights(self.method, tensors, self.run.state_path)
        load_optimizer(self.optimizer, tensors, self.run.state_path)
        self.step = int(progress["step"])
        self.seconds = progress["seconds"]
        self.peak_memory = progress["peak_memory_mb"]

    def _finish(self) -> None:
        self.claim.check()
        progress = self._progress()
        training = {name: round(value, 1) for name, value in progress.items()}
        write_json(self.run.info_path, {**self.info, "training": training})
        write_checkpoint(self.run.weights_path, self.method, None, progress)
        self.run.state_path.unlink(missing_ok=True)


def _step_seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)


def _cut_log(run: Run, step: int) -> None:
    """Drop log lines of steps after the checkpoint: they will be taken again."""
    lines = [json.dumps(line) + "\n" for line in run.log() if line["step"] <= step]
    write_atomically(run.log_path, lambda file: file.write("".join(lines).encode()))
