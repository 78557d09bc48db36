"""Measure a finished run on a split, on the full grid, and leave a record and pictures of it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .charts import plot_curves
from .data.spec import noted_spec
from .datasets import Dataset, open_dataset
from .environment import versions
from .errors import DualsegError
from .files import remove_scraps, write_json
from .lock import held
from .masks import load_masks
from .metrics import compare_masks
from .plotting import CasePicture, plot_cases, plot_surfaces, save
from .predictions import SPLITS, mask_path, predict_cases, predicted_mask
from .records import build_record, losses_of, shown
from .run_folder import NO_TERMS
from .runs import Run


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
        The run's data set, if it is open already.

    Returns
    -------
    dict
        The record: every choice of the run, and every case's result.

    Raises
    ------
    DualsegError
        For an unfinished run, an unknown or empty split, or unreadable data.
    """
    if split not in SPLITS:
        raise DualsegError(f"split: expected one of {', '.join(SPLITS)}, found {split!r}.")
    run = Run.open(run)
    if dataset is None:
        experiment = run.experiment()
        place = root or experiment.root
        dataset = open_dataset(experiment.dataset, place, experiment.train.resolution)
    with held(run.folder):
        remove_scraps(run.folder)
        return _evaluate(run, split, dataset)


def _evaluate(run: Run, split: str, dataset: Dataset) -> dict[str, Any]:
    _require_same_data(run, dataset)
    cases = run.info()["data"]["split"][SPLITS[split]]
    if not cases:
        raise DualsegError(
            f"{run.folder}: expected cases in the split {split!r}, found none; train with "
            "--validation N to hold some out."
        )
    predicted = predict_cases(run, dataset, cases, split)
    started = time.perf_counter()
    results = _measure(run, dataset, cases, split)
    record = build_record(
        run,
        split,
        results,
        evaluation={
            "device": "; ".join(sorted({masks.device for masks in predicted})),
            "versions": versions(),
            "fingerprint": dataset.cache(cases),
            "seconds_predicting": round(sum(masks.seconds for masks in predicted), 1),
            "seconds_measuring": round(time.perf_counter() - started, 1),
            "peak_memory_mb": max(masks.peak_memory_mb for masks in predicted),
        },
    )
    write_json(run.record_path(split), record)
    draw(run, record, dataset, split)
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


def draw(run: Run, record: dict[str, Any], dataset: Dataset, split: str) -> list[Path]:
    """Pictures of a run: best, median and worst case; the median's surfaces; the curves."""
    by_dice = sorted(record["cases"], key=lambda case: case["dice"] or 0.0)
    chosen = {"best": by_dice[-1], "median": by_dice[len(by_dice) // 2], "worst": by_dice[0]}
    pictures = {}
    for rank, result in chosen.items():
        case = dataset.read(result["id"])
        prediction = {record["config"]["method"]: predicted_mask(run, split, case.id)}
        title = f"{rank}: {case.id[:12]}, Dice {shown(result['dice'])}"
        pictures[rank] = CasePicture(
            title, case.picture, case.label > 0, prediction, dataset.spacing(case.id)
        )
    about = describe(record)
    dices = ", ".join(f"{rank} {shown(result['dice'])}" for rank, result in chosen.items())
    paths = run.pictures(split)
    orientation = dataset.spec.orientation
    save(
        plot_cases(list(pictures.values()), orientation=orientation),
        paths[0],
        alt=f"Slices of the best, median and worst {split} case by Dice ({dices}) with the "
        f"contours of the truth and of the prediction. {about}.",
    )
    median = pictures["median"]
    surfaces = {"truth": median.truth, **median.predictions}
    save(
        plot_surfaces(surfaces, median.spacing, orientation),
        paths[1],
        alt=f"Surfaces of truth and prediction of the median case, Dice "
        f"{shown(chosen['median']['dice'])}, side by side. {about}.",
    )
    log = run.log()
    if not log:  # the numbers stand without it
        return paths[:2]
    # A measurement may never have had anything to measure.
    terms = [name for name in log[0] if any(line[name] is not None for line in log)]
    terms = [name for name in terms if name not in NO_TERMS]
    save(
        plot_curves(log, terms),
        paths[2],
        alt=f"Loss terms over {len(log)} training steps; the total goes from "
        f"{log[0]['loss']:.2f} to {log[-1]['loss']:.2f}. {about}.",
    )
    return paths


def describe(record: dict[str, Any]) -> str:
    """One line about a record's run, for captions."""
    config = record["config"]
    losses = f" ({losses_of(config)})" if losses_of(config) else ""
    return (
        f"{config['dataset']}, {config['method']}{losses}, {config['labeled']} labels, "
        f"{config['profile']}, seed {config['seed']}"
    )


def _measure(run: Run, dataset: Dataset, cases: list[str], split: str) -> dict[str, list[dict]]:
    """A line of metrics for each case, of the mean prediction and of each network.

    That is for all classes but the background as one; where there are several, the mean prediction
    is also measured class by class ("class NAME").
    """
    results: dict[str, list[dict]] = {}
    several = len(dataset.spec.classes) > 2
    for case_id in tqdm(cases, desc=f"measuring {split}", unit="case"):
        label = dataset.read(case_id).label
        spacing = dataset.spacing(case_id)
        masks = load_masks(mask_path(run, split, case_id)).masks
        pairs = {name: (mask > 0, label > 0) for name, mask in masks.items()}
        for number, name in enumerate(dataset.spec.classes[1:] if several else (), start=1):
            pairs[f"class {name}"] = (masks["mean"] == number, label == number)
        for name, (mask, truth) in pairs.items():
            line = {"id": case_id, **compare_masks(mask, truth, spacing)}
            results.setdefault(name, []).append(line)
    return results
