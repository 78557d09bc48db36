"""Statistics of a comparison of methods on the same cases: arrays in, numbers out.

Each method has an array (runs, cases): one measure of every case, a row for each seed. NaN stands
for a value that is not there (the distance of an empty prediction), and is left out.

What is resampled decides what an answer is about. The interval resamples the cases and keeps the
seeds: how the mean would move with other patients. The probability of being first resamples cases
and seeds: how stable the order is when both are others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

DRAWS = 5000
"""Resamples: the third digit of a probability is noise."""


@dataclass(frozen=True)
class Spread:
    """The mean of a measure, and how it spreads. NaN where there are too few values."""

    mean: float
    over_seeds: float
    """Sample standard deviation over runs of their means over cases."""
    over_cases: float
    """Sample standard deviation over cases of their means over runs."""
    low: float
    """Lower end of the 95% bootstrap interval of the mean, over cases."""
    high: float


@dataclass(frozen=True)
class PairedTest:
    """A two-sided paired t test over cases, the seeds of each method averaged in every case."""

    difference: float
    """Mean of first minus second."""
    t: float
    degrees: int
    """Degrees of freedom: the cases that both have a value for, minus 1."""
    p: float


def case_means(values: np.ndarray) -> np.ndarray:
    """Average the runs in each case, (runs, cases) to (cases,); NaN for a case without a value."""
    return _mean(values, axis=0)


def run_means(values: np.ndarray) -> np.ndarray:
    """Average the cases of each run, (runs, cases) to (runs,); NaN for a run without a value."""
    return _mean(values, axis=1)


def spread(values: np.ndarray, seed: int = 0) -> Spread:
    """Summarize a method's values.

    Parameters
    ----------
    values : np.ndarray, shape (runs, cases)
    seed : int, optional
        Of the resampling.

    Returns
    -------
    Spread
        The interval holds the middle 95% of the means of resampled cases (percentile bootstrap).
    """
    cases = case_means(values)
    cases = cases[~np.isnan(cases)]
    if not cases.size:
        return Spread(*[math.nan] * 5)
    drawn = np.random.default_rng(seed).integers(len(cases), size=(DRAWS, len(cases)))
    low, high = np.percentile(cases[drawn].mean(1), [2.5, 97.5])
    runs = run_means(values)
    deviations = _deviation(runs[~np.isnan(runs)]), _deviation(cases)
    return Spread(float(cases.mean()), *deviations, float(low), float(high))


def probability_first(methods: Sequence[np.ndarray], seed: int = 0) -> np.ndarray:
    """How often each method has the highest mean when cases and seeds are drawn anew.

    Every draw takes the same cases for all methods, and for each method as many runs as it has,
    both with replacement. Methods that share the highest mean share the draw.

    Parameters
    ----------
    methods : sequence of np.ndarray, each of shape (runs, cases)
        The numbers of runs may differ; the cases are the same.
    seed : int, optional
        Of the resampling.

    Returns
    -------
    np.ndarray, shape (methods,)
        Shares of the draws, whose sum is 1.
    """
    rng = np.random.default_rng(seed)
    cases = methods[0].shape[1]
    case_counts = rng.multinomial(cases, np.full(cases, 1 / cases), DRAWS)
    means = []
    for values in methods:
        runs = len(values)
        run_counts = rng.multinomial(runs, np.full(runs, 1 / runs), DRAWS)
        there = ~np.isnan(values)
        total, number = (
            np.einsum("dr,rc,dc->d", run_counts, part, case_counts)
            for part in (np.where(there, values, 0.0), there.astype(float))
        )
        means.append(np.divide(total, number, np.full(DRAWS, -np.inf), where=number > 0))
    # Sums of the same numbers in another order differ in the last bits: these are ties.
    rounded = np.round(means, 9)
    first = rounded == rounded.max(0)
    return (first / first.sum(0)).mean(1)


def paired_test(first: np.ndarray, second: np.ndarray) -> PairedTest:
    """Test whether two methods differ over the cases.

    Parameters
    ----------
    first, second : np.ndarray, shape (runs, cases)
        The numbers of runs may differ; the cases are the same, in the same order.

    Returns
    -------
    PairedTest
        Cases that one of the two has no value for are left out. Where all differences are the same
        number, t is infinite (or 0, p = 1, where that number is 0); NaN with fewer than two cases.
    """
    difference = case_means(first) - case_means(second)
    difference = difference[~np.isnan(difference)]
    n = len(difference)
    mean = float(difference.mean()) if n else math.nan
    if n < 2:
        return PairedTest(mean, math.nan, max(n - 1, 0), math.nan)
    error = _deviation(difference) / math.sqrt(n)
    if math.isclose(error, 0, abs_tol=1e-12):
        t = 0.0 if math.isclose(mean, 0, abs_tol=1e-12) else math.copysign(math.inf, mean)
    else:
        t = mean / error
    return PairedTest(mean, t, n - 1, float(2 * stats.t.sf(abs(t), n - 1)))


def holm(p: Sequence[float]) -> list[float]:
    """Correct p values for their number.

    The smallest of m values is multiplied by m, the next one by m - 1 and so on; no corrected value
    is below one before it in this order, or above 1.

    Parameters
    ----------
    p : sequence of float
        NaN (a test that could not be done) stays NaN, and does not count.

    Returns
    -------
    list of float
        In the order given.

    References
    ----------
    Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of
    Statistics 6, 1979.
    """
    corrected = [math.nan] * len(p)
    order = sorted((i for i, value in enumerate(p) if not math.isnan(value)), key=lambda i: p[i])
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p[i]))
        corrected[i] = largest
    return corrected


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """The mean without NaN; NaN, and no warning, where nothing is there."""
    there = ~np.isnan(values)
    total, number = np.where(there, values, 0.0).sum(axis), there.sum(axis)
    return np.divide(total, number, np.full(len(number), np.nan), where=number > 0)


def _deviation(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan
