"""The main job in one call: the floor and the method on the phantom, measured and drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..config.experiment import Experiment
from ..data.dataset import open_dataset
from ..data.spec import Profile
from ..evaluation.evaluate import describe, evaluate
from ..evaluation.predictions import predicted_mask
from ..plotting.charts import plot_comparison
from ..plotting.slices import CasePicture, plot_cases
from ..plotting.style import save
from ..runs.records import table
from ..runs.run import Run
from ..training.loop import fit

RUNS = {"supervised": None, "dual": "improved"}
"""The methods to compare, and the preset of each."""
DATASET = "phantom"


def demo(profile: Profile, out: Path) -> str:
    """Train and evaluate both methods with the same labels, steps and seed; returns the table.

    Goes on where an interrupted demo stopped. Leaves runs, records and two pictures in `out`.
    """
    runs, records = {}, {}
    for method, preset in RUNS.items():
        experiment = Experiment(DATASET, profile, preset, method=method)
        runs[method] = fit(experiment, out / f"phantom_{method}_{profile}", resume=True)
        records[method] = evaluate(runs[method].folder)
    _draw_cases(runs, records, out / f"demo_cases_{profile}.png")
    save(
        plot_comparison(list(records.values())),
        out / f"demo_scores_{profile}.png",
        alt="Dice and 95HD of each test case under both methods: mean Dice "
        + ", ".join(f"{r['mean']['dice']:.1f} {m}" for m, r in records.items())
        + ".",
    )
    return table(records.values())


def _draw_cases(runs: dict[str, Run], records: dict[str, dict[str, Any]], path: Path) -> None:
    """The test cases where the second method gains most, gains the median, and gains least."""
    floor, method = RUNS
    gains = sorted(
        ((new["dice"] or 0.0) - (old["dice"] or 0.0), new["id"])
        for old, new in zip(records[floor]["cases"], records[method]["cases"], strict=True)
    )
    chosen = {
        "largest gain": gains[-1],
        "median gain": gains[len(gains) // 2],
        "smallest gain": gains[0],
    }
    dataset = open_dataset(DATASET)
    pictures = []
    for rank, (gain, case_id) in chosen.items():
        case = dataset.read(case_id)
        masks = {m: predicted_mask(run, "test", case_id) for m, run in runs.items()}
        title = f"{rank}: {case_id}, Dice {gain:+.1f}"
        pictures.append(CasePicture(title, case.picture, case.label > 0, masks))
    gained = "; ".join(f"{rank} {gain:+.1f}" for rank, (gain, _) in chosen.items())
    save(
        plot_cases(pictures, dataset.spec.spacing, dataset.spec.orientation),
        path,
        alt=f"Slices of three phantom test cases with the contours of truth, {floor} and {method} "
        f"prediction; Dice of {method} minus {floor}: {gained}. "
        f"{describe(records[method])}.",
    )
