"""Trainings that end as no training should, and what must not be unpickled.

Of its own, as processes that kill themselves are forked from one that has loaded just this.
"""

from __future__ import annotations

import io
import os
import signal
from itertools import count
from pathlib import Path

import pytest
import torch
import torch._dynamo  # which the first optimiser would load in each process

from dualseg._util import files
from dualseg.config.experiment import Experiment
from dualseg.runs.run import Run
from dualseg.training import loop as training


def train_until(experiment: Experiment, out: Path, places: Path, deadly: int | None) -> None:
    """Start or resume; die when the event number `deadly` comes, having noted its place."""
    torch.set_num_threads(1)
    numbers = count(1)

    def event(place: str) -> None:
        if next(numbers) == deadly:
            with places.open("a", encoding="utf-8") as file:
                file.write(f"{place}\n")
            os.kill(os.getpid(), signal.SIGKILL)

    class Torn(io.FileIO):
        """A file that is written in two halves."""

        def write(self, content) -> int:
            half = super().write(content[: len(content) // 2])
            event("inside the writing of a file")
            return half + super().write(content[half:])

    replace, flush, step = os.replace, training._Training._flush, training._Training.train_step

    def replace_between(old, new) -> None:
        event("before a file is put in place")
        replace(old, new)
        event("after a file was put in place")

    def flush_and(*arguments) -> None:
        flush(*arguments)
        event("between log and checkpoint")

    def step_and(self, progress):
        event("before a step")
        terms = step(self, progress)
        event("after a step")
        return terms

    files.os.replace, files.open = replace_between, Torn
    training._Training._flush, training._Training.train_step = flush_and, step_and
    training.fit(experiment, out, resume=True)


def stopping_at(step, then=None):
    """A `train_step` that breaks, or calls `then`, before it takes the given step."""
    real = training._Training.train_step

    def train_step(self, progress):
        if progress.step == step:
            if then is None:
                raise RuntimeError("power cut")
            then()
        return real(self, progress)

    return train_step


def stop_after_two_steps(experiment, out, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(training._Training, "train_step", stopping_at(2))
        with pytest.raises(RuntimeError, match="power cut"):
            training.fit(experiment, out)
    return Run(out)


class Bomb:
    """Unpickled, it would make a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")
