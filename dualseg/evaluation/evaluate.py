"""Measure a finished run on a split, on the full grid, and leave a record and pictures of it."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .._util.environment import versions
from .._util.files import read_json, remove_temporary_files, write_json
from .._util.lock import held
from ..data.case import Case
from ..data.dataset import Dataset, open_dataset
from ..data.prefetch import one_ahead
from ..data.spec import noted_spec
from ..errors import DualsegError, require_one_of
from ..plotting.charts import plot_curves
from ..plotting.slices import CasePicture, plot_cases
from ..plotting.style import save
from ..plotting.surfaces import plot_surfaces
from ..runs.folder import NO_TERMS
from ..runs.records import losses_of, shown
from ..runs.run import Run
from .metrics import compare_masks
from .predictions import SPLITS, predict_cases, predicted_mask
from .record import build_record
from .saved_masks import SavedMasks

KEPT = 2**29  # bytes of volumes that stay in memory, so that pictures need not read them again


def evaluate(
    run: Run | str | Path,
    split: str = "test",
    root: str | None = None,
    *,
    dataset: Dataset | None = None,
) -> dict[str, Any]:
    """Predict and measure every case of a split, and write the record into the run's folder.

    Masks are kept in the run's folder, so an interrupted evaluation goes on where it stopped. One
    process at a time may evaluate a run.

    Parameters
    ----------
    run
        A finished run, as `fit` returns it, or its folder.
    split
        "test", or "val" for the cases held out.
    root
        Where the data are now, if not where the run was trained.
    dataset
        The run's data set, if it is open already, on any grid.

    Returns
    -------
    dict
        The record: every choice of the run, and every case's result.

    Raises
    ------
    DualsegError
        For an unfinished run, an unknown or empty split, or unreadable data.
    """
    require_one_of("split", split, SPLITS)
    run = Run.open(run)
    experiment = run.experiment()
    if dataset is None:
        place = root or experiment.root
        dataset = open_dataset(experiment.dataset, place, experiment.train.resolution)
    elif dataset.factor != experiment.train.factor:  # the networks know one grid only
        dataset = dataclasses.replace(dataset, factor=experiment.train.factor, _known={})
    with held(run.folder):
        remove_temporary_files(run.folder)
        return _evaluate(run, split, dataset)


def _evaluate(run: Run, split: str, dataset: Dataset) -> dict[str, Any]:
    _require_same_data(run, dataset)
    cases = run.info()["data"]["split"][SPLITS[split]]
    if not cases:
        raise DualsegError(
            f"{run.folder}: expected cases in the split {split!r}, found none; train with "
            "--validation N to hold some out."
        )
    measured = _measure(run, dataset, cases, split)
    record = build_record(
        run,
        split,
        measured.results,
        evaluation={
            "device": "; ".join(sorted(set(measured.devices))),
            "versions": versions(),
            "fingerprint": dataset.cache(cases),
            "seconds_predicting": round(measured.seconds_predicting, 1),
            "seconds_measuring": round(measured.seconds_measuring, 1),
            "peak_memory_mb": measured.peak_memory_mb,
        },
    )
    write_json(run.record_path(split), record)
    draw(run, record, dataset, split, measured.kept)
    return record


def _require_same_data(run: Run, dataset: Dataset) -> None:
    """The data may have moved since the training, but not have been prepared otherwise."""
    then, now = run.info()["data"].get("spec", {}), noted_spec(dataset.spec)
    for name in ("classes", "modalities", "orientation", "recipe"):
        # Through JSON, where a tuple is a list.
        if name in then and then[name] != json.loads(json.dumps(now[name])):
            raise DualsegError(
                f"{dataset.source.where}: expected the data that the run was trained on, found "
                f"another {name} in the manifest; give --root the folder that was prepared as then."
            )


def require_same_test_cases(run: Run, dataset: Dataset) -> None:
    """Check that a measured run's test cases are those that it was measured on.

    Parameters
    ----------
    run : Run
        With a record of its test cases.
    dataset : Dataset
        The data set as it is now.

    Raises
    ------
    DualsegError
        If the volumes of a test case have changed.
    """
    record = read_json(run.record_path())
    cases = [case["id"] for case in record["cases"]]
    if record["evaluation"]["fingerprint"] != dataset.cache(cases):
        raise DualsegError(
            f"{run.folder}: the test cases have changed since this run was measured (another "
            f"fingerprint); restore them, or measure it again with `dualseg evaluate {run.folder}`."
        )


def draw(
    run: Run, record: dict[str, Any], dataset: Dataset, split: str, known: Mapping[str, Case]
) -> None:
    """Pictures of a run: best, median and worst case; the median's surfaces; the curves.

    Cases that are not among the `known` ones, by id, are read.
    """
    by_dice = sorted(record["cases"], key=lambda case: case["dice"] or 0.0)
    chosen = {"best": by_dice[-1], "median": by_dice[len(by_dice) // 2], "worst": by_dice[0]}
    dices = {rank: shown(result["dice"]) for rank, result in chosen.items()}
    rows = {}
    for rank, result in chosen.items():
        case = known.get(result["id"]) or dataset.both_grids(result["id"])[1]
        prediction = {record["config"]["method"]: predicted_mask(run, split, case.id)}
        title = f"{rank}: {case.id[:12]}, Dice {dices[rank]}"
        spacing = dataset.spacing(case.id)
        rows[rank] = CasePicture(title, case.picture, case.label > 0, prediction, spacing)
    orientation = dataset.spec.orientation
    ranks = ", ".join(f"{rank} {dice}" for rank, dice in dices.items())
    median = rows["median"]
    figures = {
        f"Slices of the best, median and worst {split} case by Dice ({ranks}) with the contours of "
        "the truth and of the prediction": plot_cases([*rows.values()], orientation=orientation),
        f"Surfaces of truth and prediction of the median case, Dice {dices['median']}, side by "
        "side": plot_surfaces(median.masks(), median.spacing, orientation),
    }
    if log := run.log():  # the numbers stand without it
        # A measurement may never have had anything to measure.
        terms = [name for name in log[0] if any(line[name] is not None for line in log)]
        total = f"{log[0]['loss']:.2f} to {log[-1]['loss']:.2f}"
        alt = f"Loss terms over {len(log)} training steps; the total goes from {total}"
        figures[alt] = plot_curves(log, [name for name in terms if name not in NO_TERMS])
    for path, (alt, figure) in zip(run.pictures(split), figures.items(), strict=False):
        save(figure, path, f"{alt}. {describe(record)}.")


def describe(record: dict[str, Any]) -> str:
    """One line about a record's run, for captions."""
    config = record["config"]
    losses = losses_of(config)
    return (
        f"{config['dataset']}, {config['method']}{losses and f' ({losses})'}, "
        f"{config['labeled']} labels, {config['profile']}, seed {config['seed']}"
    )


@dataclass
class _Measured:
    """What an evaluation has found so far."""

    results: dict[str, list[dict]] = field(default_factory=dict)
    """A line of metrics for each case, of the mean prediction and of each network.

    That is for all classes but the background as one; where there are several, the mean prediction
    is also measured class by class ("class NAME").
    """
    devices: list[str] = field(default_factory=list)
    seconds_predicting: float = 0.0
    seconds_measuring: float = 0.0
    peak_memory_mb: float = 0.0
    kept: dict[str, Case] = field(default_factory=dict)
    """Cases on the full grid, for pictures; of a large data set only the first ones."""

    def add(self, dataset: Dataset, case: Case, masks: SavedMasks) -> None:
        started = time.perf_counter()
        for name, line in _lines(dataset, case, masks.masks).items():
            self.results.setdefault(name, []).append({"id": case.id, **line})
        self.seconds_measuring += time.perf_counter() - started
        self.seconds_predicting += masks.seconds
        self.devices.append(masks.device)
        self.peak_memory_mb = max(self.peak_memory_mb, masks.peak_memory_mb)
        held = sum(kept.image.nbytes + kept.label.nbytes for kept in self.kept.values())
        if held < KEPT:
            self.kept[case.id] = case


def _measure(run: Run, dataset: Dataset, cases: list[str], split: str) -> _Measured:
    """Predict and measure all cases, each of them in a thread while the next one is predicted."""
    measured = _Measured()
    with closing(predict_cases(run, dataset, cases, split)) as predicted:
        for _ in one_ahead(lambda found: measured.add(dataset, *found), predicted):
            pass
    return measured


def _lines(dataset: Dataset, case: Case, masks: dict[str, np.ndarray]) -> dict[str, dict]:
    """The metrics of one case, as in `_Measured.results`."""
    pairs = {name: (mask > 0, case.label > 0) for name, mask in masks.items()}
    several = len(dataset.spec.classes) > 2
    for number, name in enumerate(dataset.spec.classes[1:] if several else (), start=1):
        pairs[f"class {name}"] = (masks["mean"] == number, case.label == number)
    spacing = dataset.spacing(case.id)
    return {name: compare_masks(*pair, spacing) for name, pair in pairs.items()}
