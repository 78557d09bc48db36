"""Checkers of notebook 11: budgets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .core import agrees, exercise, expect, number, word


@exercise
def exercise_1(of_labeled: float, of_unlabeled: float) -> None:
    """Visits of a labeled and an unlabeled case: 6000 steps, 2 + 2 crops, 6 of 62 cases labeled."""
    of_labeled, of_unlabeled = (
        number(visits, "a number for each kind of case") for visits in (of_labeled, of_unlabeled)
    )
    expect(of_labeled != 1000, "a step draws 2 crops of labeled cases, not 1")
    expect(of_labeled != 4000, "of the 4 crops a step only 2 are of labeled cases")
    expect(np.isclose(of_labeled, 2000), f"6000 x 2 / 6 for a labeled case, found {of_labeled:g}")
    expect(
        not np.isclose(of_unlabeled, 6000 * 2 / 62),
        "62 are all training cases; the unlabeled ones are those that are left",
    )
    expect(
        np.isclose(of_unlabeled, 6000 * 2 / 56, atol=0.5),
        f"56 cases share 12000 unlabeled crops, found {of_unlabeled:g} for each",
    )


@exercise
def exercise_2(seconds_left: Callable[[list[dict], int], float]) -> None:
    """Seconds that a training still takes, by its log."""
    # Steps of 1 to 3 seconds, 2 by mean and median; the first took 30, and in the sixth the machine
    # slept for an hour.
    times = [30, 33, 34, 36, 37.8, 3639.8, 3641.3, 3644]
    log = [{"step": step, "seconds": float(time)} for step, time in enumerate(times, 1)]
    found = number(seconds_left([*log], 108), "one number of seconds")
    expect(
        not np.isclose(found, times[-1] / 8 * 100),
        "the last time divided by the steps counts the slow first step and the sleep",
    )
    expect(
        not np.isclose(found, (times[-1] - times[0]) / 7 * 100),
        "a mean of the differences takes the hour of sleep for work: the median does not",
    )
    expect(not np.isclose(found, 2 * 108), "8 of the 108 steps are done already")
    expect(
        not np.isclose(found, (300, 270, 100)).any(),
        "that is one step's time, the first, the last or the shortest; take the median of all",
    )
    expect(
        not np.isclose(found, 235),
        "the 30 seconds of the slow first step are among your differences; begin with the second",
    )
    expect(np.isclose(found, 200), f"100 steps of 2 seconds are left: 200 seconds, found {found:g}")
    for place, line in enumerate(log):  # a training that went on: its log begins later
        line["step"] = 301 + place
    found = number(seconds_left(log, 408), "one number of seconds")
    expect(
        np.isclose(found, 200),
        'a log may begin later: count the steps that are left by the last line\'s "step"',
    )


@exercise
def exercise_3(rate: float) -> None:
    """First learning rate of a training of 1000 steps that begins at step 400."""
    rate = number(rate, "one learning rate")
    expect(rate != 0, "0 is where her finished training ended; the new one is at 400 of 1000")
    expect(
        not np.isclose(rate, 0.05, atol=1e-4),
        "0.05 is the rate of step 0; at step 400 four tenths of the training are done",
    )
    expect(not np.isclose(rate, 0.05 * 0.6, atol=1e-4), "that is linear; the power 0.9 is missing")
    expect(
        not np.isclose(rate, 0.05 * 0.4**0.9, atol=1e-4),
        "0.4 is the fraction that is done; the rate goes with the fraction that is left",
    )
    expect(
        not agrees(rate, 0.05 * 0.599**0.9, 4),
        "that is step 401, or it is cut off: her first step is at 400 of 1000; round to three "
        "significant digits",
    )
    expect(
        agrees(rate, 0.05 * 0.6**0.9, 4),
        f"0.05 x 0.6^0.9 to at least three significant digits, found {rate:g}",
    )


def _step_down(before: float, last: float) -> np.ndarray:
    """A curve that rests at `before`, and at `last` for its last quarter."""
    return np.r_[np.full(60, before), np.full(20, last)]


@exercise
def exercise_4(judge: Callable[[np.ndarray, float], str]) -> None:
    """Slow, high or done, by a curve and the loss that the same networks can reach."""
    falling, high, low = np.linspace(2, 0.5, 80), np.full(80, 0.7), np.full(80, 0.25)
    plunge = np.r_[np.linspace(3, 0.5, 40), np.full(40, 0.5)]  # fell in the first half only
    noisy = np.r_[np.full(79, 0.7), 0.2]  # a lucky last step
    halting = np.r_[np.full(75, 1.0), np.full(5, 0.5)]
    for values, floor, wanted, why in (
        (falling, 0.2, "slow", "the loss falls to the end, however high it is"),
        (high, 0.2, "high", "it rests at 0.7, far above 0.2"),
        (low, 0.2, "done", "0.25 is less than one and a half times 0.2"),
        (high, 0.6, "done", "0.7 is near what these networks can reach, 0.6"),
        (plunge, 0.2, "high", "it fell in the first half only; the last two quarters are equal"),
        (_step_down(1, 0.96), 0.2, "high", "4 % lower is less than a twentieth: it rests"),
        (_step_down(1, 0.94), 0.2, "slow", "6 % lower is more than a twentieth"),
        (_step_down(0.4, 0.37), 0.2, "slow", "0.37 is 7 % lower than 0.4, a twentieth is 5 %"),
        (_step_down(2, 1.92), 0.2, "high", "1.92 is 4 % lower than 2, a twentieth is 5 %"),
        (noisy, 0.2, "high", "one lucky step is no quarter of a training"),
        (halting, 0.2, "slow", "the last quarter's mean is 12 % lower, though its median is not"),
        (np.full(80, 0.34), 0.2, "high", "0.34 is 1.7 times 0.2"),
        (np.full(80, 0.28), 0.2, "done", "0.28 is 1.4 times 0.2"),
    ):
        found = word(judge(values.copy(), floor), ("slow", "high", "done"))
        expect(found == wanted, f"{why}, so {wanted!r} is expected, found {found!r}")
