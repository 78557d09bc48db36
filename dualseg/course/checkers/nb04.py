"""Checkers of notebook 04: floor, ceiling, spreads and windows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .core import exercise, expect, number, numbers, whole


@exercise
def exercise_1(windows: int) -> None:
    """Windows of a volume of 140 x 150 x 88, patch 112 x 112 x 80, stride 18 x 18 x 4."""
    windows = whole(windows, "a whole number: the axes are multiplied")
    expect(windows != 3 + 4 + 3, "that is the sum; each start along x goes with each along y and z")
    expect(windows != 2 * 3 * 2, "count the window at 0, too: plus one along each axis")
    expect(
        windows != 2 * 3 * 3,
        "rounded down, the last voxels are never visited: round up before adding one",
    )
    expect(
        windows != 8 * 9 * 22,
        "that is size / stride; the window has a width itself, so take size - patch",
    )
    one_off = {
        2 * 4 * 3: "one axis has 2 windows in your count; x and z take 3 each, y takes 4",
        3 * 3 * 3: "along y you have 3: 38 / 18 is rounded up to 3, and the window at 0 makes 4",
        3 * 4 * 4: "along z you have 4: 8 / 4 is 2 without a rest, and the window at 0 makes 3",
    }
    expect(windows not in one_off, one_off.get(windows, ""))
    expect(windows == 36, f"along x there are 3, found {windows} in all")


@exercise
def exercise_2(paired_gain: Callable[[np.ndarray, np.ndarray], tuple]) -> None:
    """Mean gain of one method over another, and its paired standard error over cases."""
    first = np.array([[10.0, 50, 80, 70], [14, 56, 84, 70]])
    second = np.array([[20.0, 60, 90, 70], [24, 62, 92, 76], [22, 64, 94, 76]])
    gains = np.array([10.0, 9, 10, 4])
    found = paired_gain(first.copy(), second.copy())
    mean, error = numbers(found, "two numbers (the mean gain, its standard error)", 2)
    expect(
        not np.isclose(mean, -gains.mean()),
        "the sign: the gain of the second over the first is second - first",
    )
    expect(np.isclose(mean, gains.mean()), f"expected a mean gain of {gains.mean()}, found {mean}")
    means = [method.mean(0) for method in (first, second)]
    unpaired = np.sqrt(sum(method.var(ddof=1) / 4 for method in means))
    expect(
        not np.isclose(error, unpaired),
        "that is unpaired: take the difference case by case before the standard deviation",
    )
    expect(
        not np.isclose(error, gains.std(ddof=1)),
        "that is the standard deviation over cases; divide it by the root of their number",
    )
    expect(
        not np.isclose(error, gains.std(ddof=1) / np.sqrt([2, 3, 5])).any(),
        "that is divided by the root of a number of seeds; the error is over the 4 cases",
    )
    expect(not np.isclose(error, gains.std() / 2), "divide by n - 1 in the deviation: std(ddof=1)")
    right = gains.std(ddof=1) / 2
    expect(np.isclose(error, right), f"expected a standard error of {right:.3f}, found {error:.3f}")


@exercise
def exercise_3(report: Callable[[np.ndarray, np.ndarray], float]) -> None:
    """Choose on validation cases, report on test cases."""
    validation = np.array([[90.0, 60, 72], [79, 66, 83], [70, 69, 84], [60, 61, 62]])
    test = np.array([[73.0, 74, 75], [70, 71, 75], [50, 50, 50], [75, 77, 79]])
    found = number(report(validation, test), "one number, a mean over test cases")
    expect(not np.isclose(found, 77), "that run was chosen on the test cases: 77 is the best there")
    expect(not np.isclose(found, 76), "that is the Dice on the cases it was chosen on: 76")
    expect(
        not np.isclose(found, test.mean()),
        "the mean over all runs is honest, too; but here one is to be chosen, by validation",
    )
    expect(
        not np.isclose(found, (74, 50)).any(),
        f"{found:g} is the test Dice of a run that leads at one validation case (the first, the "
        "last, or its best or worst one); choose by the mean over all of them",
    )
    expect(np.isclose(found, 72), f"the second run wins on validation; expected 72, found {found}")


@exercise
def exercise_4(enough: int) -> None:
    """Seeds of each method to see 10 points where seeds scatter by 4."""
    enough = whole(enough, "a whole number of seeds")
    expect(enough != 4, "four see it about two times in three; four in five are asked for")
    expect(enough > 4, f"{enough} seeds of each method see it less than every second time")
    expect(enough == 5, f"{enough} see it, but a smaller number does as well")
