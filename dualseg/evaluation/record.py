"""The record of an evaluation: one dictionary with every choice and every case's result."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any

from .._util.files import require_fields
from ..runs.folder import RunFolder
from .metrics import summarize

_COSTS = ("seconds", "peak_memory_mb")


def build_record(
    run: RunFolder, split: str, results: dict[str, list[dict]], evaluation: dict[str, Any]
) -> dict[str, Any]:
    """The record of a run on a split.

    Parameters
    ----------
    run : finished
    split : that was measured
    results : the metrics of every case, for "mean" (the method's prediction), for each network and,
        where there are several, for each class ("class NAME")
    evaluation : where, when and how it was measured

    Returns
    -------
    dict
        As it is written to record.json. NaN (a distance to an empty mask) is None there, because
        JSON has no NaN.

    Raises
    ------
    DualsegError
        If run.json lacks what belongs into the record.
    """
    info = run.info()
    require_fields(info, {"device": str, "versions": dict, "training": dict}, run.info_path)
    require_fields(info["training"], dict.fromkeys(_COSTS, (int, float)), run.info_path)
    classes = {n.removeprefix("class "): r for n, r in results.items() if n.startswith("class ")}
    networks = {n: r for n, r in results.items() if n != "mean" and not n.startswith("class ")}
    record = {
        "name": run.folder.resolve().name,
        "split": split,
        "config": info["config"] | {"root": None},  # a path of one machine is of no use elsewhere
        "device": info["device"],
        "versions": info["versions"],
        # One each, unless torchrun started more.
        **({"processes": info["processes"]} if info.get("processes", 1) > 1 else {}),
        "data": info["data"],
        "seconds": info["training"]["seconds"],
        "peak_memory_mb": info["training"]["peak_memory_mb"],
        "sessions": info.get("sessions", []),
        "curves": curves(run.log()),
        "evaluation": evaluation,
        **_statistics(results["mean"]),
        "networks": {name: _statistics(cases) for name, cases in networks.items()},
        "classes": {name: {**_statistics(c), "cases": c} for name, c in classes.items()},
        "cases": results["mean"],
    }
    return _without_nan(record)


def curves(log: Sequence[dict[str, Any]], points: int = 50) -> list[dict[str, float | None]]:
    """A training log, thinned: means over equal stretches of steps.

    Parameters
    ----------
    log : its lines
    points : at most so many remain

    Returns
    -------
    list of dict
        Lines without "seconds". "step" is the last of its stretch; a value that was never there in
        a stretch is None.
    """
    edges = [round(i * len(log) / points) for i in range(points + 1)]
    stretches = [log[a:b] for a, b in pairwise(edges) if b > a]
    return [
        {name: _mean(line[name] for line in stretch) for name in stretch[0] if name != "seconds"}
        | {"step": stretch[-1]["step"]}
        for stretch in stretches
    ]


def _mean(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(f"{fmean(there):.5g}") if there else None


def _statistics(cases: list[dict]) -> dict[str, Any]:
    """The summary without its number of cases, since a record's "cases" are the cases."""
    return {name: value for name, value in summarize(cases).items() if name != "cases"}


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
