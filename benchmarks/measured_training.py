"""What the benchmarks of accuracy share: a training measured on the way, and its Dice of cases."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from medpy.metric.binary import dc

from dualseg import Experiment, fit
from dualseg._util.files import read_json, require_fields
from dualseg.config.training import Progress, TrainConfig
from dualseg.data.dataset import Dataset, open_dataset
from dualseg.evaluation.sliding_window import masks_of, predict_volume
from dualseg.methods import Method, build_method

Measure = Callable[[Method, Dataset], dict[str, Any]]


def recorded(out: Path, name: str) -> list[dict[str, Any]]:
    """What a record holds under a name, a list; empty where there is no file."""
    if not out.is_file():
        return []
    record = read_json(out)
    require_fields(record, {name: list}, out)
    return record[name]


def measured_training(
    experiment: Experiment, folder: Path, every: int, measure: Measure
) -> list[dict[str, Any]]:
    """Train in a new folder, and measure after each `every`-th step and after the last.

    Returns
    -------
    list of dict
        "step", "seconds" of training until then (without measuring), and what `measure` returns.
    """
    dataset = open_dataset(experiment.dataset, experiment.root, experiment.train.resolution)
    method = build_method(experiment, dataset.spec)
    usual_after_step: Callable[[Progress], None] = method.after_step
    points: list[dict[str, Any]] = []
    begun, measuring = 0.0, 0.0

    def after_step(progress: Progress) -> None:
        nonlocal begun, measuring
        usual_after_step(progress)
        now, step = time.perf_counter(), progress.step + 1
        if step == 1:  # the first one warms up
            begun = now
        if step % every == 0 or step == progress.total:
            method.eval()
            seconds = round(now - begun - measuring, 2)
            points.append({"step": step, "seconds": seconds} | measure(method, dataset))
            method.train()
            measuring += time.perf_counter() - now

    method.after_step = after_step  # type: ignore[method-assign]
    shutil.rmtree(folder, ignore_errors=True)  # a stopped training has lost what it measured
    fit(experiment, folder, dataset=dataset, method=method)
    return points


@torch.inference_mode()
def predicted(
    method: Method, dataset: Dataset, cases: Sequence[str], config: TrainConfig
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Of each case: its id, the predicted and the true organ, (X, Y, Z) bool on the full grid."""
    for case in cases:
        coarse, full = dataset.both_grids(case)
        probabilities = predict_volume(method, coarse.channels, config, full.label.shape)
        yield case, masks_of(method, probabilities)["mean"] > 0, full.label > 0


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """Dice in percent, with two digits."""
    return round(100 * float(dc(mask, truth)), 2)
