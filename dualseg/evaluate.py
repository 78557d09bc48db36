"""Measure a finished run on a split, on the full grid, and leave a record and pictures of it."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from .charts import plot_curves
from .config import Experiment
from .datasets import Dataset, open_dataset
from .environment import describe_device, peak_memory_mb, pick_device, versions
from .errors import DualsegError
from .files import write_atomically
from .inference import masks_of, predict_volume
from .metrics import compare_masks
from .plotting import CasePicture, plot_cases, plot_surfaces, save
from .records import build_record
from .runs import Run, write_json

SPLITS = {"test": "test", "val": "validation"}


def evaluate(folder: str | Path, split: str = "test", root: str | None = None) -> dict[str, Any]:
    """Predict and measure every case of "test" or "val"; returns the record, written to the run.

    Masks are kept in the run's folder, so an interrupted evaluation goes on where it stopped.
    `root` is where the data are now, if not where the run was trained.

    Raises DualsegError for an unfinished run, an unknown or empty split, or unreadable data.
    """
    if split not in SPLITS:
        raise DualsegError(f"split: expected one of {', '.join(SPLITS)}, found {split!r}.")
    run = Run.open(folder)
    experiment = run.experiment()
    dataset = open_dataset(experiment.dataset, root or experiment.root, experiment.train.resolution)
    cases = run.info()["data"]["split"][SPLITS[split]]
    if not cases:
        raise DualsegError(
            f"{run.folder}: expected cases in the split {split!r}, found none; train with "
            "--validation N to hold some out."
        )
    device = pick_device()
    started = time.perf_counter()
    _predict_missing(run, experiment, dataset, cases, split, device)
    predicted = time.perf_counter()
    results = _measure(run, dataset, cases, split)
    record = build_record(
        run,
        split,
        results,
        evaluation={
            "device": describe_device(device),
            "versions": versions(),
            "fingerprint": dataset.cache(cases),
            "seconds_predicting": round(predicted - started, 1),
            "seconds_measuring": round(time.perf_counter() - predicted, 1),
            "peak_memory_mb": peak_memory_mb(device),
        },
    )
    write_json(run.record_path(split), record)
    draw(run, record, dataset, split)
    return record


def load_masks(run: Run, split: str, case_id: str) -> dict[str, np.ndarray]:
    """The predicted masks of an evaluated case: "mean" and one for each network, (X, Y, Z) bool."""
    with np.load(_mask_path(run, split, case_id), allow_pickle=False) as file:
        shape = tuple(file["shape"])
        count = int(np.prod(shape))
        return {
            name: np.unpackbits(file[name], count=count).reshape(shape).astype(bool)
            for name in file.files
            if name != "shape"
        }


def draw(run: Run, record: dict[str, Any], dataset: Dataset, split: str) -> list[Path]:
    """Pictures of a run: best, median and worst case; the median's surfaces; the curves."""
    by_dice = sorted(record["cases"], key=lambda case: case["dice"] or 0.0)
    chosen = {"best": by_dice[-1], "median": by_dice[len(by_dice) // 2], "worst": by_dice[0]}
    pictures = {}
    for rank, result in chosen.items():
        case = dataset.read(result["id"])
        prediction = {record["config"]["method"]: load_masks(run, split, case.id)["mean"]}
        title = f"{rank}: {case.id[:12]}, Dice {result['dice']:.1f}"
        pictures[rank] = CasePicture(title, case.image, case.label > 0, prediction)
    about = describe(record)
    dices = ", ".join(f"{rank} {result['dice']:.1f}" for rank, result in chosen.items())
    paths = run.pictures(split)
    spec = dataset.spec
    save(
        plot_cases(list(pictures.values()), spec.spacing, spec.orientation),
        paths[0],
        alt=f"Slices of the best, median and worst {split} case by Dice ({dices}) with the "
        f"contours of the truth and of the prediction. {about}.",
    )
    median = pictures["median"]
    surfaces = {"truth": median.truth, **median.predictions}
    save(
        plot_surfaces(surfaces, spec.spacing, spec.orientation),
        paths[1],
        alt=f"Surfaces of truth and prediction of the median case, Dice "
        f"{chosen['median']['dice']:.1f}, side by side. {about}.",
    )
    log = run.log()
    terms = [name for name in log[0] if name not in ("step", "learning_rate")]
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
    return (
        f"{config['dataset']}, {config['method']}, {config['labeled']} labels, "
        f"{config['profile']}, seed {config['seed']}"
    )


def _predict_missing(
    run: Run,
    experiment: Experiment,
    dataset: Dataset,
    cases: list[str],
    split: str,
    device: torch.device,
) -> None:
    missing = [case for case in cases if not _mask_path(run, split, case).is_file()]
    if not missing:
        run.load_method(torch.device("cpu"))  # refuse an unfinished or damaged run all the same
        return
    method = run.load_method(device)
    dataset.cache(missing)
    for case_id in tqdm(missing, desc=f"predicting {split}", unit="case"):
        full_shape = dataset.read(case_id).image.shape
        probabilities = predict_volume(
            method, dataset.case(case_id).image, experiment.train, full_shape
        )
        masks = masks_of(method, probabilities)
        _save_masks(_mask_path(run, split, case_id), masks)


def _save_masks(path: Path, masks: dict[str, np.ndarray]) -> None:
    """One bit a voxel, compressed; a case takes some tens of kB."""
    shape = np.array(next(iter(masks.values())).shape)
    packed = {name: np.packbits(mask > 0) for name, mask in masks.items()}
    content = io.BytesIO()
    np.savez_compressed(content, shape=shape, **packed)
    write_atomically(path, lambda file: file.write(content.getvalue()))


def _measure(run: Run, dataset: Dataset, cases: list[str], split: str) -> dict[str, list[dict]]:
    """For the mean prediction and each network: a line of metrics for each case."""
    results: dict[str, list[dict]] = {}
    for case_id in tqdm(cases, desc=f"measuring {split}", unit="case"):
        truth = dataset.read(case_id).label > 0
        for name, mask in load_masks(run, split, case_id).items():
            line = {"id": case_id, **compare_masks(mask, truth, dataset.spec.spacing)}
            results.setdefault(name, []).append(line)
    return results


def _mask_path(run: Run, split: str, case_id: str) -> Path:
    return run.folder / "predictions" / split / f"{case_id}.npz"
