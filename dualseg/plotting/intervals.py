"""A chart of means with their intervals, a line for each method."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .style import ROLES, WIDTH

FLOOR, FLOOR_LINE = "supervised", (0, (4, 3))


@dataclass(frozen=True)
class MeanInterval:
    """A mean with its interval."""

    mean: float
    low: float
    high: float
    singles: Sequence[float] = ()
    """The values that the mean is of."""
    printed: float | None = None
    """The value that is printed elsewhere."""


@dataclass(frozen=True)
class IntervalRow:
    """A method: its name, and a dot for each panel."""

    name: str
    role: str
    """A name in `ROLES` for its color; any other is that of A."""
    dots: Mapping[str, MeanInterval] = field(default_factory=dict)
    """By the name of the panel."""


def plot_intervals(
    rows: Sequence[IntervalRow],
    panels: Mapping[str, str],
    legend: tuple[str, str, str],
) -> Figure:
    """Means with intervals in the order of the rows, the first on top.

    The mean of a row with the role "supervised" is drawn through all rows.

    Parameters
    ----------
    rows : sequence of IntervalRow
    panels : mapping of str to str
        The axis label, with its unit, of each panel by its name.
    legend : tuple of str
        What the large dot with its bar, the small dots and the open mark are.

    Returns
    -------
    Figure
        Not yet saved; see `save`.

    Raises
    ------
    ValueError
        For no rows.
    """
    if not rows:
        raise ValueError("plot_intervals needs at least one row, found none.")
    figure = Figure(figsize=(WIDTH, 1.8 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (panel, label) in zip(axes, panels.items(), strict=True):
        for place, row in enumerate(rows):
            color = ROLES.get(row.role, ROLES["A"])["color"]
            dot = row.dots[panel]
            if math.isnan(dot.mean):
                axis.text(0.02, place, "none", va="center", transform=axis.get_yaxis_transform())
                continue
            axis.plot([dot.low, dot.high], [place] * 2, color=color, lw=2.5, zorder=2)
            axis.plot(dot.mean, place, "o", color=color, ms=9, zorder=3, gid="mean")
            if row.role == FLOOR:
                axis.axvline(dot.mean, color=color, ls=FLOOR_LINE, lw=1.2, zorder=1, gid="floor")
            # Below the bar, so that they are seen where they lie close to the mean.
            below = [place + 0.28] * len(dot.singles)
            axis.plot(dot.singles, below, "o", color=color, ms=3.5, ls="", gid="singles")
            if dot.printed is not None:
                axis.plot(dot.printed, place, "D", mfc="none", mec="black", ms=7, gid="printed")
        axis.set_xlabel(label)
        axis.grid(axis="x", alpha=0.4)
        axis.set_axisbelow(True)
    names = ["\n".join(textwrap.wrap(row.name, 26)) for row in rows]
    axes[0].set_yticks(range(len(rows)), names)
    axes[0].set_ylim(len(rows) - 0.4, -0.6)
    figure.legend(handles=_legend(legend, rows), loc="outside lower center", ncols=2)
    return figure


def _legend(texts: tuple[str, str, str], rows: Sequence[IntervalRow]) -> list[Line2D]:
    looks: list[dict[str, Any]] = [
        {"marker": "o", "ms": 9, "lw": 2.5, "label": texts[0]},
        {"marker": "o", "ms": 3.5, "ls": "", "label": texts[1]},
    ]
    if any(dot.printed is not None for row in rows for dot in row.dots.values()):
        looks.append({"marker": "D", "ms": 7, "ls": "", "mfc": "none", "label": texts[2]})
    if any(row.role == FLOOR for row in rows):
        color = ROLES[FLOOR]["color"]
        looks.append({"color": color, "ls": FLOOR_LINE, "lw": 1.2, "label": f"mean of {FLOOR}"})
    return [Line2D([], [], **{"color": "black", **look}) for look in looks]
