"""How many minutes of training does a Dice take, with the former lesson and with today's?

`python -m benchmarks.time_to_dice --root LA` trains preset `improved` with 8 labels on the settings
of each lesson, one after the other, and measures the held-out cases (the last of the training list,
never test cases) on the way. The minutes are those of training alone. The machine must have nothing
else to do, since both are compared in minutes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import tyro
from matplotlib.figure import Figure

from dualseg import Experiment
from dualseg._util.environment import describe_device, pick_device, versions
from dualseg._util.files import write_json
from dualseg._util.tables import as_markdown
from dualseg.data.dataset import Dataset
from dualseg.errors import DualsegError
from dualseg.methods import Method
from dualseg.plotting.style import WIDTH, save, styles

from .measured_training import dice, measured_training, predicted, recorded

OUT = Path("figures/records/benchmarks/time_to_dice.json")
LABELED, HELD_OUT, EVERY = 8, 8, 50
LESSONS: dict[str, dict[str, Any]] = {
    "former lesson": {"iterations": 400, "flips": True, "head_dropout": 0.5},
    "lesson": {"iterations": 800, "flips": False, "head_dropout": 0.0},
}
GOALS = (60, 70, 75)  # Dice in percent


def main(
    root: Path | None = None,
    seed: int = 0,
    runs: Path = Path("runs/time_to_dice"),
    out: Path = OUT,
    figure: Path | None = None,
    markdown: bool = False,
) -> None:
    """Train with both lessons, and write the record.

    Args:
        root: Folder of the LA data.
        seed: Of the trainings.
        runs: Folder of the runs.
        out: The record, a JSON.
        figure: Draw the record there, a PNG.
        markdown: Only print the table of the record there (and draw it).
    """
    if not markdown:
        lessons = {name: train(name, root, seed, runs) for name in LESSONS}
        machine = {"device": describe_device(pick_device()), "versions": versions()}
        write_json(out, {"lessons": [{"name": n, **v} for n, v in lessons.items()], **machine})
    lines = recorded(out, "lessons")
    if figure is not None and lines:
        save(draw(lines), figure, describe(lines))
    print(table(lines))


def train(name: str, root: Path | None, seed: int, runs: Path) -> dict[str, Any]:
    """Train with the settings of a lesson; returns them with the measured steps."""
    sizes = {"labeled": LABELED, "validation": HELD_OUT, "seed": seed, **LESSONS[name]}
    experiment = Experiment("la", "lesson", "improved", root=root and str(root), **sizes)

    def measure(method: Method, dataset: Dataset) -> dict[str, Any]:
        cases = dataset.split(LABELED, HELD_OUT).validation
        found = predicted(method, dataset, cases, experiment.train)
        return {"dice": {case: dice(mask, truth) for case, mask, truth in found}}

    points = measured_training(experiment, runs / name, EVERY, measure)
    return {"config": experiment.flat() | {"root": None}, "points": points}


def curve(lesson: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Minutes of training, and the mean Dice over the held-out cases."""
    points = lesson["points"]
    return [p["seconds"] / 60 for p in points], [fmean(p["dice"].values()) for p in points]


def minutes_to(goal: float, lesson: dict[str, Any]) -> float | None:
    """Minutes until the mean Dice is at least the goal from then on; None if it never is."""
    minutes, means = curve(lesson)
    below = [k for k, mean in enumerate(means) if mean < goal]
    first = below[-1] + 1 if below else 0
    return minutes[first] if first < len(minutes) else None


def table(lessons: list[dict[str, Any]]) -> str:
    """A line a lesson, as Markdown."""
    if not lessons:
        return "no trainings"
    lines = [["settings", "steps", "minutes", "Dice", *(f"minutes to {goal}" for goal in GOALS)]]
    for lesson in lessons:
        minutes, means = curve(lesson)
        to = [minutes_to(goal, lesson) for goal in GOALS]
        cells = [f"{minutes[-1]:.1f}", f"{means[-1]:.1f}"]
        cells += ["not reached" if value is None else f"{value:.1f}" for value in to]
        lines.append([lesson["name"], str(lesson["config"]["iterations"]), *cells])
    return as_markdown(lines)


def draw(lessons: list[dict[str, Any]]) -> Figure:
    """Mean Dice over minutes of training, a line a lesson."""
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axis = figure.subplots()
    look = styles([lesson["name"] for lesson in lessons])
    for lesson in lessons:
        axis.plot(*curve(lesson), label=lesson["name"], marker="o", ms=4, **look[lesson["name"]])
    axis.set(xlabel="training (minutes)", ylabel="Dice of held-out cases (%)", ylim=(0, 100))
    axis.grid(alpha=0.4)
    axis.legend(loc="lower right")
    return figure


def describe(lessons: list[dict[str, Any]]) -> str:
    """The picture in words."""
    ends = []
    for lesson in lessons:
        minutes, means = curve(lesson)
        ends.append(f"{lesson['name']}: {means[-1]:.0f} after {minutes[-1]:.1f} minutes")
    return f"Mean Dice of held-out cases over minutes of training; {'; '.join(ends)}."


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except DualsegError as error:
        sys.exit(f"time_to_dice: {error}")
