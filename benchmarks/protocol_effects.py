"""What do common rules of reporting add to a Dice? One training, measured at many of its steps.

`python -m benchmarks.protocol_effects --root LA` trains each of `METHODS` once and measures the
test cases after every 100th step: as predicted, and with only the largest connected part of each
mask. So the last step can be held against the step that is best on the test cases, a choice that
some publications make. Nothing in dualseg is chosen by it. A training that is in the record already
is not repeated.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import tyro
from medpy.filter.binary import largest_connected_component

from dualseg import Experiment
from dualseg._util.environment import describe_device, pick_device, versions
from dualseg._util.files import write_json
from dualseg._util.tables import as_markdown
from dualseg.data.dataset import Dataset
from dualseg.errors import DualsegError
from dualseg.many_runs.sweep import settings_given
from dualseg.methods import Method

from .measured_training import dice, measured_training, predicted, recorded

OUT = Path("figures/records/benchmarks/protocol_effects.json")
METHODS = ("vnet", "dtc", "bcp")
EVERY = 100  # steps


def main(
    root: Path | None = None,
    methods: tuple[str, ...] = METHODS,
    labeled: int = 8,
    seed: int = 0,
    settings: tuple[str, ...] = (),
    runs: Path = Path("runs/protocol_effects"),
    out: Path = OUT,
    markdown: bool = False,
) -> None:
    """Train what the record lacks, and write each training into it as it ends.

    Args:
        root: Folder of the LA data.
        methods: METHOD or METHOD:PRESET.
        labeled: Number of labeled cases.
        seed: Of the trainings.
        settings: Settings of all runs as NAME=VALUE, as for `dualseg compare --set`.
        runs: Folder of the runs.
        out: The record, a JSON.
        markdown: Only print the table of the record there.
    """
    for word in () if markdown else methods:
        method, _, preset = word.partition(":")
        experiment = Experiment("la", "lesson", preset or None, method=method)
        experiment = experiment.replace(root=root and str(root))
        experiment = experiment.replace(labeled=labeled, seed=seed)
        experiment = experiment.replace(**settings_given(settings, experiment))
        config = json.loads(json.dumps(experiment.flat() | {"root": None}))  # as it is read back
        if all(run["config"] != config for run in recorded(out, "runs")):
            folder = runs / f"{word} seed {seed}".replace(":", " ")
            run = {"config": config, "checkpoints": train_and_measure(experiment, folder)}
            run |= {"device": describe_device(pick_device()), "versions": versions()}
            write_json(out, {"runs": [*recorded(out, "runs"), run]})
    print(table(recorded(out, "runs")))


def train_and_measure(experiment: Experiment, folder: Path) -> list[dict[str, Any]]:
    """Train in a new folder; return the measured steps."""

    def measure(method: Method, dataset: Dataset) -> dict[str, Any]:
        cases = dataset.split(experiment.labeled).test
        found: dict[str, dict[str, float]] = {"dice": {}, "dice_largest": {}}
        for case, mask, truth in predicted(method, dataset, cases, experiment.train):
            found["dice"][case] = dice(mask, truth)
            found["dice_largest"][case] = dice(largest_part(mask), truth)
        return found

    return measured_training(experiment, folder, EVERY, measure)


def largest_part(mask: np.ndarray) -> np.ndarray:
    """The largest part whose voxels are connected by faces; an empty mask stays empty."""
    return largest_connected_component(mask) if mask.any() else mask


def table(runs: list[dict[str, Any]]) -> str:
    """A line a training, as Markdown; means over the test cases."""
    if not runs:
        return "no trainings"
    lines = [["method", "seed", "last step", "best step on test", "last step, largest part"]]
    for run in runs:
        config, last = run["config"], run["checkpoints"][-1]
        best = max(run["checkpoints"], key=lambda checkpoint: fmean(checkpoint["dice"].values()))
        three = last["dice"], best["dice"], last["dice_largest"]
        means = [fmean(by_case.values()) for by_case in three]
        cells = [f"{mean:.1f}" for mean in means]
        cells[1] += f" (step {best['step']})"
        preset = "" if config["preset"] == "default" else f":{config['preset']}"
        lines.append([config["method"] + preset, str(config["seed"]), *cells])
    return as_markdown(lines)


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except DualsegError as error:
        sys.exit(f"protocol_effects: {error}")
