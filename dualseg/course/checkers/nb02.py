"""Checkers of notebook 02: overlap and distance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .core import exercise, expect, number, numbers, whole


@exercise
def exercise_1(jaccard_from_dice: Callable[[float], float]) -> None:
    """Jaccard in percent from Dice in percent."""
    found = number(jaccard_from_dice(200 / 3), "one number")
    expect(
        not np.isclose(found, 0.5),
        "the result is a fraction; it is to be in percent, so multiply by 100",
    )
    expect(
        not np.isclose(found, (200 / 3) / (2 - 200 / 3)),
        "J = D / (2 - D) holds for fractions, your Dice is in percent; divide it by 100 first",
    )
    expect(
        not np.isclose(found, 80),
        "that is the other direction, Dice from Jaccard; Jaccard is never larger than Dice",
    )
    expect(np.isclose(found, 50), f"Dice 66.67 % belongs to Jaccard 50 %, found {found:.4g}")
    for dice, jaccard in ((0, 0), (100, 100), (80, 200 / 3)):
        found = number(jaccard_from_dice(dice), "one number")
        expect(
            np.isclose(found, jaccard),
            f"right for 66.67 %, but Dice {dice} % belongs to Jaccard {jaccard:.4g} %, found "
            f"{found:.4g}",
        )


def _bars(*lengths: int) -> list[np.ndarray]:
    """Bars of so many voxels, one thick, that start at the same voxel."""
    return [np.arange(24).reshape(24, 1, 1) < length for length in lengths]


@exercise
def exercise_2(hd95_larger_of_two: Callable[[np.ndarray, np.ndarray], float]) -> None:
    """95HD as the larger of the two directed percentiles."""
    short, long = _bars(2, 4)  # distances 0 0 one way, 0 0 1 2 the other
    found, swapped = (
        number(hd95_larger_of_two(*pair), "one number, not a list of distances")
        for pair in ((short, long), (long, short))
    )
    expect(
        not np.isclose(found, 1.75),
        "that is the pooled percentile; take the percentile of each direction, then the larger one",
    )
    expect(
        not (np.isclose(found, 0) or np.isclose(swapped, 0)),
        "only one direction is looked at; a missed part is seen from the truth to the prediction",
    )
    expect(
        not np.isclose(found, 2), "that is the maximum; 95HD is the 95th percentile, np.percentile"
    )
    expect(
        not np.isclose(found, 1.85 / 2),
        "that is the mean of the two directions; take the larger one",
    )
    expect(np.isclose(found, 1.85), f"the toy 'half' has 1.85, found {found:.4g}")
    expect(np.isclose(swapped, 1.85), f"swapping the masks must not matter, found {swapped:.4g}")


@exercise
def exercise_3(smallest_radius: int) -> None:
    """Radius of a ball that keeps 95 % Dice under a shift of half a voxel."""
    radius = whole(smallest_radius, "a whole number of voxels, like 5")
    expect(radius > 0, f"a radius is at least 1 voxel, found {radius}")
    expect(
        radius != 15, "15 is right for a shift of a whole voxel; here it is half a voxel, s = 0.5"
    )
    expect(radius != 4, "did you take 90 %? For 95 %, 3s / 4r must be at most 0.05")
    dice = 100 * (1 - 3 * 0.5 / (4 * radius) + 0.5**3 / (16 * radius**3))
    expect(dice >= 95, f"too small: the formula gives Dice {dice:.1f} % for this radius")
    expect(radius == 8, f"large enough (Dice {dice:.1f} %), but not the smallest")


@exercise
def exercise_4(fair_means: Callable[[np.ndarray, np.ndarray], tuple]) -> None:
    """Means over the cases in which both methods have a distance."""
    first = np.array([2.0, 4.0, 30.0, 6.0, np.nan])
    second = np.array([3.0, 5.0, np.nan, np.nan, np.nan])  # the last case is empty in both
    what = "three numbers (two means, the number left out)"
    one, two, left_out = numbers(fair_means(first.copy(), second.copy()), what, 3)
    expect(
        not np.isclose(one, 10.5),
        "the first mean still uses cases in which the second method has no distance",
    )
    expect(
        not np.isclose(two, (2, 8 / 5)).any(),
        "NaN became 0, and so a missed organ a perfect surface; leave the case out for both",
    )
    expect(np.isclose(one, 3) and np.isclose(two, 4), f"expected means 3 and 4, found {one}, {two}")
    expect(left_out != 4, "a case that is empty in both methods is one case; do not count it twice")
    expect(
        left_out == 3,
        f"3 cases have no distance in one method or in both, found {left_out:g} left out",
    )
    again = numbers(fair_means(second, first), what, 3)
    expect(
        np.allclose(again, (4, 3, 3)),
        "with the methods swapped the means must swap; is NaN looked for in both arrays?",
    )
