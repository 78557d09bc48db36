"""Checkers of notebook 00: losses without labels, the gain seed by seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from .core import exercise, expect

LOSSES = {
    "supervised",
    "consistency",
    "cross_pseudo",
    "entropy_filtered",
    "uncertainty",
    "contrast",
}
WITH_TRUTH = {"supervised", "consistency"}


@exercise
def exercise_1(without_labels: set[str]) -> None:
    """The losses that can be computed without any label."""
    expect(
        isinstance(without_labels, set | frozenset | list | tuple),
        'expected a set of names, as {"supervised", "contrast"}',
    )
    named = set(without_labels)
    unknown = sorted(map(str, named - LOSSES))
    expect(not unknown, f"{', '.join(unknown)}: no such loss; the names are in the task")
    expect(
        "supervised" not in named,
        "the supervised loss compares with the truth, so without labels there is none",
    )
    expect(
        "consistency" not in named,
        "consistency asks the networks where to look, but compares with the truth there (eq. 6)",
    )
    missing = sorted(LOSSES - WITH_TRUTH - named)
    expect(
        not missing,
        f"{', '.join(missing)}: the arrow starts at a network, so no label is needed",
    )


@exercise
def exercise_2(gain: Callable[[Mapping[int, float], Mapping[int, float]], tuple]) -> None:
    """Mean and smallest gain over the seeds that both have."""
    method, baseline = {0: 80.0, 1: 70.0, 2: 90.0}, {1: 72.0, 0: 74.0}
    found = gain(method, baseline)
    expect(np.size(found) == 2, "expected two numbers: the mean gain and the smallest gain")
    mean, smallest = found
    expect(
        not np.isclose(mean, 7),
        "the mean still uses seed 2, which only one of the two has; subtract seed by seed",
    )
    expect(
        not np.isclose(smallest, -4),
        "the order of the seeds differs between the dictionaries; look up by seed, not by place",
    )
    expect(not np.isclose(mean, -2), "that is the baseline minus the method; a gain is positive")
    expect(np.isclose(mean, 2), f"gains are +6 and -2, so their mean is 2, found {mean:g}")
    expect(np.isclose(smallest, -2), f"the smallest gain is -2 (seed 1), found {smallest:g}")
