"""Measure a predicted mask against the true one, by the rules the field publishes with.

That is the protocol of UA-MT (Yu et al., MICCAI 2019): medpy without a voxel spacing. The overlaps
are medpy's; its distances are computed here, the same in a fraction of the time (in voxels to the
last bit, in mm to rounding): medpy transforms every voxel of the volume, and again for each metric,
where only the nearest neighbors of the surface voxels are wanted, once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from medpy.metric import binary
from scipy.ndimage import find_objects
from scipy.spatial import KDTree

OVERLAPS = ("dice", "jaccard")
DISTANCES = ("hd95", "asd", "assd")
DISTANCES_MM = ("hd95_mm", "asd_mm", "assd_mm")


def compare_masks(
    prediction: np.ndarray, truth: np.ndarray, spacing: Sequence[float] | None = None
) -> dict[str, float | bool]:
    """Overlap of two masks and distances of their surfaces; the order matters for `asd`.

    Parameters
    ----------
    prediction, truth : (X, Y, Z), boolean or integer 0 and 1
    spacing : the three voxel edges in mm

    Returns
    -------
    dict
        `dice` (Dice 1945) and `jaccard` in percent; `hd95`, `asd` and `assd` in voxels; with a
        `spacing` also `hd95_mm`, `asd_mm` and `assd_mm`; and `empty`.

    Raises
    ------
    ValueError
        If a mask or the spacing is not as described.

    Notes
    -----
    - `hd95`: 95th percentile of the surface distances of both directions *pooled*. Others, MONAI
      for one, take the larger of the two directed percentiles: do not mix the two in a table.
    - `asd`: mean distance from the prediction's surface to the truth's, one way, as the field
      publishes it. It does not see a part of the truth that the prediction missed.
    - `assd`: mean over the distances of both directions pooled, so the larger surface weighs
      more (medpy 0.5; this is not the mean of the two directed means).
    - `empty`: prediction or truth has no voxel. The distances are then NaN, never 0, which would
      reward a missed organ. Overlap is 0 if one of the two is empty and NaN if both are.
    """
    prediction = _checked_mask("prediction", prediction)
    truth = _checked_mask("truth", truth)
    if prediction.shape != truth.shape:
        found = f"{truth.shape}, found {prediction.shape}"
        raise ValueError(f"prediction must have the shape of truth, {found}.")
    spacing = None if spacing is None else _checked_spacing(spacing)

    voxels = prediction.any(), truth.any()
    if not all(voxels):
        overlaps = dict.fromkeys(OVERLAPS, 0.0 if any(voxels) else math.nan)
        distances = DISTANCES + (() if spacing is None else DISTANCES_MM)
        return {**overlaps, **dict.fromkeys(distances, math.nan), "empty": True}

    box = _joint_box(prediction, truth)
    return {**_measure(prediction[box], truth[box], spacing), "empty": False}


def summarize(cases: Sequence[Mapping[str, object]]) -> dict[str, dict[str, float] | int]:
    """Mean, sample standard deviation and standard error of each metric that all cases have.

    NaN is left out metric by metric: distances are over the cases where both masks have voxels.
    With n values used, the standard deviation divides by n - 1 and the standard error is it over
    sqrt(n). NaN: a mean of no value, a deviation of fewer than two.

    Parameters
    ----------
    cases : results of `compare_masks`; further keys, such as an identifier, are ignored

    Returns
    -------
    dict
        "mean", "standard_deviation" and "standard_error" by metric; "empties", the number of cases
        with an empty mask; "cases", the number of all.

    Raises
    ------
    ValueError
        If there are no cases.
    """
    if not cases:
        raise ValueError("cases must hold at least one case to summarize, found none.")
    summary: dict[str, dict[str, float]]
    summary = {"mean": {}, "standard_deviation": {}, "standard_error": {}}
    for key in OVERLAPS + DISTANCES + DISTANCES_MM:
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
    """All metrics of two boolean masks (X, Y, Z) with at least one voxel each."""
    surfaces = _surface(prediction), _surface(truth)
    distances = _distances(*surfaces)
    case = {
        "dice": 100.0 * float(binary.dc(prediction, truth)),
        "jaccard": 100.0 * float(binary.jc(prediction, truth)),
        **distances,
    }
    if spacing is None:
        return case
    if len(set(spacing)) == 1:  # isotropic: one factor spares the search
        in_mm = {key: distance * spacing[0] for key, distance in distances.items()}
    else:
        in_mm = _distances(*(surface * np.array(spacing) for surface in surfaces))
    return case | {f"{key}_mm": distance for key, distance in in_mm.items()}


def _surface(mask: np.ndarray) -> np.ndarray:
    """Voxels of the mask with one of their six neighbors outside it, or outside the volume."""
    padded, inside = np.pad(mask, 1), mask.copy()
    for axis in range(3):
        for first in (0, 2):  # of the neighbors on one side, and on the other
            neighbors = [slice(1, -1)] * 3
            neighbors[axis] = slice(first, first + mask.shape[axis])
            inside &= padded[tuple(neighbors)]
    return np.argwhere(mask & ~inside)


def _distances(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Distances of two surfaces, points (N, 3) and (M, 3); in the points' unit."""
    there, back = _nearest(prediction, truth), _nearest(truth, prediction)
    both = np.concatenate((there, back))
    return {
        "hd95": float(np.percentile(both, 95)),
        "asd": float(there.mean()),
        "assd": float(both.mean()),
    }


def _nearest(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distance of each point to the nearest of the others."""
    # Points of a grid: balancing the tree costs more than it saves.
    tree = KDTree(others, leafsize=16, balanced_tree=False, compact_nodes=False)
    distances, _ = tree.query(points, workers=-1)
    return np.asarray(distances)


def _joint_box(prediction: np.ndarray, truth: np.ndarray) -> tuple[slice, ...]:
    """Smallest box around both masks plus one voxel, clipped to the volume.

    Far background need not be looked at. Each mask voxel keeps its neighbors and each volume
    border stays one: the same surfaces, the same distances, bit by bit.
    """
    (box,) = find_objects((prediction | truth).view(np.uint8))
    # A slice may stop past the end but must not start below 0, which would count from the end.
    return tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)


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
