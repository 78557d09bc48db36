"""Charts of numbers: learning curves, cases of several runs side by side, Dice over the steps."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..methods import METHODS
from ..runs.records import name_of
from .style import ROLES, WIDTH, styles

SCHEDULES = {"poly": "(1 - t)^0.9", "step": "two drops to a tenth", "own": "the method's own"}
SCORES = {"dice": "Dice (%), higher is better", "hd95": "95HD (voxel), lower is better"}


def moving_average(values: np.ndarray, window: int) -> np.ndarray:
    """Centered mean over `window` values, over fewer at the ends.

    Parameters
    ----------
    values : (N,)
    window : how many

    Returns
    -------
    np.ndarray
        (N,).
    """
    kernel = np.ones(min(window, len(values)))
    total, number = (np.convolve(v, kernel, "same") for v in (values, np.ones(len(values))))
    return total / number


def _series(log: Sequence[dict], term: str) -> np.ndarray:
    """Steps and values (2, N) of the log lines that hold `term`."""
    pairs = [(line["step"], line[term]) for line in log if line.get(term) is not None]
    return np.array(pairs, dtype=float).reshape(-1, 2).T


def plot_curves(log: Sequence[dict], terms: Sequence[str], smooth: int | None = None) -> Figure:
    """Learning curves of a run: thin as logged, thick the moving average over `smooth` lines.

    Terms that differ only in a last "_a" or "_b" share a panel.

    Parameters
    ----------
    log : lines with "step", values by term and perhaps "learning_rate", which gets a panel
    terms : the names to draw
    smooth : lines; None for a thirtieth of the log

    Returns
    -------
    Figure
        Not yet saved; see `save`.

    Raises
    ------
    ValueError
        For no terms, a term that no line holds, or a `smooth` below 1.
    """
    series = {term: _series(log, term) for term in terms}
    missing = [term for term, values in series.items() if not values.size]
    smooth = len(log) // 30 | 1 if smooth is None else smooth  # odd, hence centered
    if not terms or missing or smooth < 1:
        raise ValueError(f"plot_curves needs smooth >= 1 and terms of the log, found no {missing}.")
    panels: dict[str, dict[str, str]] = {}
    for term in terms:
        stem, _, last = term.rpartition("_")
        panel, role = (stem, last.upper()) if last in ("a", "b") else (term, term)
        panels.setdefault(panel, {})[term] = role
    measured = (named for kind in METHODS.values() for named in kind.measurements.items())
    units = {re.sub("_[ab]$", "", name): unit for name, unit in measured}
    rates = _series(log, "learning_rate")
    count = len(panels) + bool(rates.size)
    columns = 1 if count <= 4 else 2
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(WIDTH, 1 + 2 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
    axes = list(grid.flat)[:count]
    for axis in list(grid.flat)[count:]:
        axis.remove()
    for axis, (panel, roles) in zip(axes, panels.items(), strict=False):
        for term, role in roles.items():
            steps, values = series[term]
            style = ROLES.get(role, {"color": "0.25", "lw": 1.8})
            axis.plot(steps, values, color=style["color"], lw=0.5, alpha=0.35)
            axis.plot(steps, moving_average(values, smooth), label=role, zorder=3, **style)
        axis.set_title(panel, loc="left", fontsize=11)
        axis.set_ylabel(units.get(panel, "loss (no unit)"))
        if len(roles) > 1:
            axis.legend(loc="upper right", handlelength=4)
    if rates.size:
        axes[-1].semilogy(*rates, color="black", lw=1.2)
        axes[-1].set_ylabel("learning rate")
    for axis in axes[-columns:]:
        axis.set_xlabel("training step")
        axis.tick_params(labelbottom=True)
    figure.supxlabel(f"thin: as logged; thick: mean of {smooth} logged values", fontsize=9)
    return figure


def plot_losses(logs: dict[str, Sequence[dict]]) -> Figure:
    """The total loss of several runs over their steps, each a moving average of its log.

    Raises ValueError for no runs or an empty log.
    """
    if not logs or not all(logs.values()):
        raise ValueError("plot_losses needs at least one log, each with a line, found none.")
    look = styles(logs)
    figure = Figure(figsize=(WIDTH, 4 + 0.2 * len(logs)), layout="constrained")
    axis = figure.subplots()
    for name, log in logs.items():
        steps, values = _series(log, "loss")
        axis.plot(steps, moving_average(values, len(log) // 30 | 1), label=name, **look[name])
    axis.set(xlabel="training step", ylabel="loss (no unit)")
    axis.grid(alpha=0.4)
    figure.legend(loc="outside lower left", ncols=2, handlelength=4)
    return figure


def plot_comparison(records: Sequence[dict]) -> Figure:
    """Dice and 95HD of every test case, run by run, with each run's mean and standard error.

    A run is named by `runs.name_of`. None and NaN are left out.

    Parameters
    ----------
    records : with "config", "cases" (results of `compare_masks`), "mean" and "standard_error"

    Returns
    -------
    Figure
        Not yet saved; see `save`.

    Raises
    ------
    ValueError
        For no records.
    """
    if not records:
        raise ValueError("plot_comparison needs at least one record, found none.")
    labels = [name_of(record["config"]) for record in records]
    look = styles(labels)
    words = [label.replace(",", "").split() for label in labels]
    longest = max(13, *(len(w) for ws in words for w in ws))  # 13 are in "0 of 20 empty"
    size = min(10, 1000 / (longest * len(records)))  # points, so that labels do not overlap
    figure = Figure(figsize=(WIDTH, 7.5), layout="constrained")
    axes = figure.subplots(len(SCORES), 1, sharex=True)
    for axis, (key, label) in zip(axes, SCORES.items(), strict=True):
        axis.set_ylabel(label)
        axis.grid(axis="y", alpha=0.4)
        for x, record in enumerate(records):
            values = np.array([case[key] for case in record["cases"]], dtype=float)
            # Spread by the golden ratio: a case has the same place in every run.
            spread = np.arange(len(values)) * 0.618 % 1 * 0.5 - 0.25
            color = look[labels[x]]["color"]
            axis.plot(x + spread, values, "o", mfc="none", mec=color, gid="cases")
            mean, error = np.array([record[k][key] for k in ("mean", "standard_error")], float)
            axis.plot([x - 0.35, x + 0.35], [mean, mean], color="black", lw=2, gid="mean")
            axis.errorbar(x, mean, error, ecolor="black", capsize=6)
            note = " ± ".join(f"{v:.1f}" for v in (mean, error) if np.isfinite(v)) or "none"
            axis.text(x, 1.02, note, size=size, ha="center", transform=axis.get_xaxis_transform())
    names = []
    for lines, record in zip(words, records, strict=True):
        empty = f"{sum(bool(c['empty']) for c in record['cases'])} of {len(record['cases'])} empty"
        names.append("\n".join([*lines, f"seed {record['config']['seed']}", empty]))
    axes[-1].set_xticks(range(len(records)), names, size=size)
    figure.supxlabel("dot: a test case; bar: mean; whisker: standard error of cases", fontsize=9)
    return figure


def plot_over_steps(records: Sequence[dict]) -> Figure:
    """Test Dice over the number of steps and over the learning rate, a line for each method.

    There is a panel for each learning rate with several numbers of steps, and for each number of
    steps with several learning rates; a way of training in neither has a panel of its own. Only
    methods that were trained in more than one way are drawn.

    Parameters
    ----------
    records : of one data set and number of labels

    Returns
    -------
    Figure
        Not yet saved; see `save`. Small marks are runs (seeds), the line goes through their means.

    Raises
    ------
    ValueError
        If no method was trained in two ways.
    """
    runs: dict[str, dict[Way, list[float]]] = {}
    for record in records:
        config = record["config"]
        way = Way(config["schedule"], config["learning_rate"], config["iterations"])
        found = runs.setdefault(name_of(config), {})
        found.setdefault(way, []).append(record["mean"]["dice"])
    runs = {name: found for name, found in runs.items() if len(found) > 1}
    if not runs:
        raise ValueError("plot_over_steps needs a method trained in two ways, found none.")
    look = styles(runs)
    panels = _panels({way for found in runs.values() for way in found})
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    widths = [len(ways) for _, _, ways in panels]
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False, width_ratios=widths)[0]
    for axis, (title, ticks, ways) in zip(axes, panels, strict=True):
        axis.set_title(title, fontsize=10)
        for n, (name, found) in enumerate(runs.items()):
            shift = 0.12 * (n - (len(runs) - 1) / 2)  # so that methods do not hide each other
            points = [(x + shift, found[way]) for x, way in enumerate(ways) if way in found]
            for x, dice in points:
                axis.plot([x] * len(dice), dice, "o", ms=4, color=look[name]["color"], gid="runs")
            if points:
                means = [(x, np.mean(dice)) for x, dice in points]
                axis.plot(*zip(*means, strict=True), marker="_", ms=12, gid="means", **look[name])
        axis.set_xticks(range(len(ways)), ticks)
        axis.set_xlim(-0.5, len(ways) - 0.5)
        axis.grid(axis="y", alpha=0.4)
    axes[0].set_ylabel("Dice of the test cases (%)")
    figure.supxlabel("dot: one run; line: mean of the runs", fontsize=9)
    handles = [Line2D([], [], **look[name]) for name in runs]
    figure.legend(handles, runs, loc="outside upper center", ncols=len(runs), handlelength=4)
    return figure


class Way(NamedTuple):
    """How a run was trained."""

    schedule: str
    rate: float
    steps: int


def _panels(ways: set[Way]) -> list[tuple[str, list[str], list[Way]]]:
    """Title, ticks and ways of each panel: over steps, over rates, then what is in neither."""
    over_steps, over_rates = [], []
    for schedule, rate in sorted({way[:2] for way in ways}):
        here = sorted(way for way in ways if way[:2] == (schedule, rate))
        if len(here) > 1:
            title = f"rate {rate:g},\n{SCHEDULES[schedule]}, over steps"
            over_steps.append((title, [f"{way.steps}" for way in here], here))
    for schedule, steps in sorted({(way.schedule, way.steps) for way in ways}):
        here = sorted(way for way in ways if (way.schedule, way.steps) == (schedule, steps))
        if len(here) > 1:
            title = f"{steps} steps,\n{SCHEDULES[schedule]}, over rates"
            over_rates.append((title, [f"{way.rate:g}" for way in here], here))
    shown = {way for _, _, here in over_steps + over_rates for way in here}
    alone = [
        (f"rate {way.rate:g},\n{SCHEDULES[way.schedule]}", [f"{way.steps} steps"], [way])
        for way in sorted(ways)
        if way not in shown
    ]
    return [*over_steps, *over_rates, *alone]
