"""A comparison as a picture, and the picture in words."""

from __future__ import annotations

from matplotlib.figure import Figure

from ..plotting.intervals import IntervalRow, MeanInterval, plot_intervals
from .comparison import Comparison
from .comparison_table import printed_for

PANELS = {"dice": "Dice (%), higher is better", "hd95": "95HD (voxel), lower is better"}
LEGEND = ("mean and 95% interval over cases", "a seed", "the paper's value, at full size")


def plot_ranking(comparison: Comparison) -> Figure:
    """Dice and 95HD of every method with their intervals, the highest Dice on top.

    Parameters
    ----------
    comparison : Comparison

    Returns
    -------
    Figure
        Not yet saved; see `dualseg.plotting.save`.
    """
    rows = []
    for entry, spreads, seeds in zip(
        comparison.entries, comparison.spreads, comparison.seed_means, strict=True
    ):
        paper = printed_for(comparison, entry).paper
        dots = {
            name: MeanInterval(
                spreads[name].mean,
                spreads[name].low,
                spreads[name].high,
                seeds[name].tolist(),
                paper[name] if paper else None,
            )
            for name in PANELS
        }
        rows.append(IntervalRow(comparison.label(entry), entry.method, dots))
    return plot_intervals(rows, PANELS, LEGEND)


def describe_comparison(comparison: Comparison) -> str:
    """The picture in words: the methods in their order, each with its mean Dice and interval."""
    parts = [
        f"{comparison.label(entry)} {both['dice'].mean:.1f} "
        f"({both['dice'].low:.1f} to {both['dice'].high:.1f})"
        for entry, both in zip(comparison.entries, comparison.spreads, strict=True)
    ]
    config = comparison.config
    return (
        f"Dots with bars for the mean Dice and 95HD of {len(parts)} methods on {config['dataset']} "
        f"with {config['labeled']} labels, small dots for the seeds. Mean Dice and 95% interval "
        f"over cases, from the best: {'; '.join(parts)}."
    )
