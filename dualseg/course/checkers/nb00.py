"""Checkers of notebook 00: losses without labels, the gain seed by seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from .core import Hint, exercise, expect, names, numbers

LOSSES = (
    "supervised",
    "consistency",
    "cross_pseudo",
    "entropy_filtered",
    "uncertainty",
    "contrast",
)
WITH_TRUTH = {"supervised", "consistency"}


@exercise
def exercise_1(without_labels: set[str]) -> None:
    """The losses that can be computed without any label."""
    named = names(without_labels, LOSSES)
    expect(
        "supervised" not in named,
        "the supervised loss compares with the truth, so without labels there is none",
    )
    expect(
        "consistency" not in named,
        "consistency asks the networks where to look, but compares with the truth there (eq. 6)",
    )
    missing = sorted({*LOSSES} - WITH_TRUTH - named)
    expect(
        not missing, f"{', '.join(missing)}: the arrow starts at a network, so no label is needed"
    )


@exercise
def exercise_2(gain: Callable[[Mapping[int, float], Mapping[int, float]], tuple]) -> None:
    """Mean and smallest gain over the seeds that both have."""
    method = {0: 82.0, 1: 69.0, 3: 76.5, 2: 90.0}
    baseline = {1: 72.0, 0: 74.0, 3: 75.5}  # gains +8, -3, +1
    mean, smallest = _gains(gain, method, baseline)
    apart = np.mean(list(method.values())) - np.mean(list(baseline.values()))
    expect(
        not np.isclose(mean, apart),
        "the mean still uses seed 2, which only one of the two has; subtract seed by seed",
    )
    expect(
        not np.isclose(smallest, -5),
        "the order of the seeds differs between the dictionaries; look up by seed, not by place",
    )
    expect(not np.isclose(mean, -2), "that is the baseline minus the method; a gain is positive")
    expect(np.isclose(mean, 2), f"gains are +8, -3 and +1, so their mean is 2, found {mean:g}")
    expect(
        not np.isclose(smallest, 1),
        "1 is the smallest change; the smallest gain is the lowest number, and it may be negative",
    )
    expect(np.isclose(smallest, -3), f"the smallest gain is -3 (seed 1), found {smallest:g}")
    mean, smallest = _gains(gain, {0: 81.0, 4: 50.0}, {0: 80.0, 5: 60.0})
    expect(
        np.isclose(mean, 1) and np.isclose(smallest, 1),
        "seeds that only the baseline has do not count either: take those that both have",
    )


def _gains(gain: Callable, method: Mapping, baseline: Mapping) -> list[float]:
    try:
        found = gain(dict(method), dict(baseline))
    except KeyError as seed:
        raise Hint(
            f"there is no seed {seed} in one of the two; take the seeds that both have"
        ) from None
    return numbers(found, "two numbers (the mean gain, the smallest gain)", 2)
