r"""Measure a predicted mask against the true one, by the rules the field publishes with.

That is the protocol of UA-MT (Yu et al., MICCAI 2019): medpy without a voxel spacing. The overlaps
are medpy's; its distances are computed here, the same in a fraction of the time (in voxels to the
last bit, in mm to rounding): medpy transforms every voxel of the volume, and again for each metric,
where only the nearest neighbours of the surface voxels are wanted, once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from medpy.metric import binary
from scipy.spatial import KDTree


class Metric(NamedTuple):
    r"""How to read one number: its key in a case, which direction is better, its unit."""

    key: str
    better: str  # "higher" or "lower"
    unit: str


METRICS = (
    Metric("dice", "higher", "%"),
    Metric("jaccard", "higher", "%"),
    Metric("hd95", "lower", "voxel"),
    Metric("asd", "lower", "voxel"),
    Metric("assd", "lower", "voxel"),
)
METRICS_MM = tuple(Metric(f"{m.key}_mm", m.better, "mm") for m in METRICS if m.unit == "voxel")


def compare_masks(
    prediction: np.ndarray, truth: np.ndarray, spacing: Sequence[float] | None = None
) -> dict[str, float | bool]:
    r"""Compare two masks of shape (X, Y, Z), boolean or integer 0/1; the order matters for `asd`.

    `dice` (Dice 1945) and `jaccard` are in percent. `hd95`, `asd` and `assd` are in voxels; with
    `spacing`, the three voxel edges in mm, `hd95_mm`, `asd_mm` and `assd_mm` are added.

    - `hd95`: 95th percentile of the surface distances of both directions *pooled*. Others, MONAI
      for one, take the larger of the two directed percentiles: do not mix the two in a table.
    - `asd`: mean distance from the prediction's surface to the truth's, one way, as the field
      publishes it. It does not see a part of the truth that the prediction missed.
    - `assd`: mean over the distances of both directions pooled, so the larger surface weighs
      more (medpy 0.5; this is not the mean of the two directed means).
    - `empty`: prediction or truth has no voxel. The distances are then NaN, never 0, which would
      reward a missed organ. Overlap is 0 if one of the two is empty and NaN if both are.

    Raises ValueError if a mask or the spacing is not as described.
    """
    prediction = _checked_mask("prediction", prediction)
    truth = _checked_mask("truth", truth)
    if prediction.shape != truth.shape:
        found = f"{truth.shape}, found {prediction.shape}"
        raise ValueError(f"prediction must have the shape of truth, {found}.")
    spacing = None if spacing is None else _checked_spacing(spacing)

    voxels = prediction.any(), truth.any()
    if not all(voxels):
        overlap = 0.0 if any(voxels) else math.nan
        metrics = METRICS if spacing is None else METRICS + METRICS_MM
        case = {metric.key: overlap if metric.unit == "%" else math.nan for metric in metrics}
        return {**case, "empty": True}

    box = _joint_box(prediction, truth)
    return {**_measure(prediction[box], truth[box], spacing), "empty": False}


def summarize(cases: Sequence[Mapping[str, object]]) -> dict[str, dict[str, float] | int]:
    r"""Mean, sample standard deviation and standard error of each metric that all cases have.

    `cases` are results of `compare_masks`; further keys, such as an identifier, are ignored. NaN
    is left out metric by metric: distances are over the cases where both masks have voxels, and
    `empties` counts the others. With n values used, the standard deviation divides by n - 1 and
    the standard error is it over sqrt(n). NaN: a mean of no value, a deviation of fewer than two.

    Raises ValueError if `cases` is empty.
    """
    if not cases:
        raise ValueError("cases must hold at least one case to summarize, found none.")
    summary = {"mean": {}, "standard_deviation": {}, "standard_error": {}}
    for key in (metric.key for metric in METRICS + METRICS_MM):
        if not all(key in case for case in cases):
            continue
        values = np.array([case[key] for case in cases], dtype=np.float64)
        values = values[~np.isnan(values)]
        n = values.size
        deviation = float(values.std(ddof=1)) if n >= 2 else math.nan
        summary["mean"][key] = float(values.mean()) if n else math.nan
        summary["standard_deviation"][key] = deviation
        summary["standard_error"][key] = deviation / math.sqrt(n) if n else math.nan
    empties = sum(bool(case["empty"]) for case in cases)
    return {**summary, "empties": empties, "cases": len(cases)}


def _measure(
    prediction: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...] | None
) -> dict[str, float]:
    r"""All metrics of two boolean masks (X, Y, Z) with at least one voxel each."""
    surfaces = _surface(prediction), _surface(truth)
    case = {
        "dice": 100.0 * float(binary.dc(prediction, truth)),
        "jaccard": 100.0 * float(binary.jc(prediction, truth)),
        **_distances(*surfaces),
    }
    if spacing is None:
        return case
    if len(set(spacing)) == 1:  # isotropic: one factor spares the search
        in_mm = {
            metric.key: case[metric.key] * spacing[0]
            for metric in METRICS
            if metric.unit == "voxel"
        }
    else:
        in_mm = _distances(*(surface * np.array(spacing) for surface in surfaces))
    return case | {f"{key}_mm": value for key, value in in_mm.items()}


def _surface(mask: np.ndarray) -> np.ndarray:
    r"""Voxels of the mask with one of their six neighbours outside it, or outside the volume."""
    padded, inside = np.pad(mask, 1), mask.copy()
    for axis in range(3):
        for first in (0, 2):  # of the neighbours on one side, and on the other
            neighbours = [slice(1, -1)] * 3
            neighbours[axis] = slice(first, first + mask.shape[axis])
            inside &= padded[tuple(neighbours)]
    return np.argwhere(mask & ~inside)


def _distances(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    r"""Distances of two surfaces, points (N, 3) and (M, 3); in the points' unit."""
    there, back = _nearest(prediction, truth), _nearest(truth, prediction)
    both = np.concatenate((there, back))
    return {
        "hd95": float(np.percentile(both, 95)),
        "asd": float(there.mean()),
        "assd": float(both.mean()),
    }


def _nearest(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    r"""Distance of each point to the nearest of the others."""
    # Points of a grid: balancing the tree costs more than it saves.
    tree = KDTree(others, leafsize=16, balanced_tree=False, compact_nodes=False)
    return tree.query(points, workers=-1)[0]


def _joint_box(prediction: np.ndarray, truth: np.ndarray) -> tuple[slice, ...]:
    r"""Smallest box around both masks plus one voxel, clipped to the volume.

    Far background need not be looked at. Each mask voxel keeps its neighbours and each volume
    border stays one: the same surfaces, the same distances, bit by bit.
    """
    either = prediction | truth
    box = []
    for others in ((1, 2), (0, 2), (0, 1)):
        there = np.flatnonzero(either.any(axis=others))
        # A slice may stop past the end but must not start below 0, which would count from the end.
        box.append(slice(max(there[0] - 1, 0), there[-1] + 2))
    return tuple(box)


def _checked_mask(name: str, mask: np.ndarray) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.ndim != 3 or mask.size == 0:
        raise ValueError(f"{name} must be a 3D array with voxels, found shape {mask.shape}.")
    if mask.dtype.kind not in "bui":
        raise ValueError(f"{name} must be boolean or integer, found dtype {mask.dtype}.")
    if mask.min() < 0 or mask.max() > 1:
        found = f"values from {mask.min()} to {mask.max()}"
        raise ValueError(f"{name} must hold only 0 and 1, found {found}.")
    return mask.astype(bool, copy=False)


def _checked_spacing(spacing: Sequence[float]) -> tuple[float, ...]:
    try:
        edges = tuple(float(edge) for edge in spacing)
    except (TypeError, ValueError):
        edges = ()
    if len(edges) != 3 or not all(0 < edge < math.inf for edge in edges):
        raise ValueError(f"spacing must be three positive numbers in mm, found {spacing!r}.")
    return edges
