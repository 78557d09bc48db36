"""Checkers of notebook 13: compared methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product

import numpy as np
from scipy.stats import t

from .core import exercise, expect, numbers, parts


@exercise
def exercise_1(follow: Callable[[dict, dict, float, int], dict]) -> None:
    """A mean teacher after some steps behind a student that does not change."""
    teacher = {"first": np.array([0.0, 8.0]), "last": np.array([[4.0]])}
    student = {"first": np.array([1.0, 0.0]), "last": np.array([[8.0]])}

    def after(alpha: float, steps: int) -> dict[str, np.ndarray]:
        old, new = (
            {name: array.copy() for name, array in part.items()} for part in (teacher, student)
        )
        found = follow(old, new, alpha, steps)
        expect(isinstance(found, Mapping), "return a dictionary from names to arrays")
        for before, now, who in ((teacher, old, "teacher"), (student, new, "student")):
            same = all(name in now and np.array_equal(before[name], now[name]) for name in before)
            expect(same, f"the {who} that was given has changed; build new arrays")
        expect(found.keys() == teacher.keys(), "every layer of the teacher by its name, no other")
        arrays = {name: np.asarray(found[name], dtype=float) for name in teacher}
        for name, array in arrays.items():
            expect(array.shape == teacher[name].shape, f"{name} has another shape than before")
        return arrays

    one = after(0.75, 1)["first"]
    expect(
        not np.allclose(one, [0.75, 2]),
        "the teacher keeps alpha of ITSELF and takes 1 - alpha of the student",
    )
    expect(np.allclose(one, [0.25, 6]), f"after one step 0.25 and 6 are expected, found {one}")
    two = after(0.75, 2)
    expect(
        not np.allclose(two["first"], one), "after two steps it has moved further than after one"
    )
    expect(
        not np.allclose(two["first"], [0.5, 4]),
        "the second step takes its part of what is left, not of the first distance: alpha^n",
    )
    expect(
        np.allclose(two["first"], [0.4375, 4.5]) and np.allclose(two["last"], 5.75),
        f"after two steps 0.4375 and 4.5 are expected in the first layer, found {two['first']}",
    )
    expect(np.allclose(after(0.75, 0)["first"], [0, 8]), "after no step it is where it was")


@exercise
def exercise_2(mix: Callable[[tuple, tuple, np.ndarray, float], tuple]) -> None:
    """Copy-paste of a box between two cases, with the weight of each voxel."""
    rng = np.random.default_rng(0)
    outside, inside = ((rng.normal(size=(4, 4, 4)), rng.integers(2, size=(4, 4, 4))) for _ in "ab")
    box = np.zeros((4, 4, 4), bool)
    box[1:3, 0:2, 2:4] = True
    copies = [part.copy() for part in (*outside, *inside)]
    found = mix(outside, inside, box.copy(), 0.5)
    image, label, weight = (
        np.asarray(part) for part in parts(found, "three arrays (image, label, weight)", 3)
    )
    same = all(map(np.array_equal, copies, (*outside, *inside)))
    expect(same, "an array that was given has changed; build new ones (np.where does)")
    for name, part in (("image", image), ("label", label), ("weight", weight)):
        expect(part.shape == box.shape, f"the {name} has the shape {part.shape}, not {box.shape}")
    expect(
        not np.array_equal(image, np.where(box, outside[0], inside[0])),
        "the other way round: `inside` belongs into the box, `outside` around it",
    )
    expect(
        np.array_equal(image, np.where(box, inside[0], outside[0])), "the image is not mixed right"
    )
    expect(
        not any(np.array_equal(label, case[1]) for case in (outside, inside)),
        "the label is mixed with the same box as the image",
    )
    expect(
        np.array_equal(label, np.where(box, inside[1], outside[1])), "the label is not mixed right"
    )
    expect(
        not np.allclose(weight, np.where(box, 1, 0.5)),
        "the weight is below 1 where the label is a pseudo-label: in the box",
    )
    expect(
        not np.allclose(weight, np.where(box, 0.5, 0)), "true labels count, too: weight 1 around"
    )
    expect(
        np.allclose(weight, np.where(box, 0.5, 1)),
        "the weight is 1 around the box and the number that was given in it",
    )
    less = np.asarray(parts(mix(outside, inside, box, 0.25), "three arrays", 3)[2])
    expect(np.allclose(less, np.where(box, 0.25, 1)), "use the weight that was given, not 0.5")


@exercise
def exercise_3(paired_interval: Callable[[np.ndarray, np.ndarray], tuple[float, float]]) -> None:
    """The 95 % bootstrap interval of a paired difference over cases."""

    def ends(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        found = paired_interval(first.copy(), second.copy())
        return np.array(numbers(found, "two numbers (low, high)", 2))

    rng = np.random.default_rng(3)
    # How far the ends are from the right ones, in units of the right width.
    off: list[np.ndarray] = []
    for cases in range(7, 17):
        first, second = _two_methods(cases, rng)
        gain = first.mean(0) - second.mean(0)
        means = gain[rng.integers(cases, size=(50_000, cases))].mean(1)
        right = np.percentile(means, [2.5, 97.5])
        if not off:
            one_seed = (x.mean(0, keepdims=True) for x in (first, second))
            _one_seed_is_right(ends(*one_seed), gain, means)
        off.append((ends(first, second) - right) / np.ptp(right))
        expect(
            np.abs(off[-1]).max() < 0.5,
            "right with one seed of each method, and not with several that lie apart: average the "
            "seeds in each case, and draw cases, not seeds",
        )
    # The root mean square is about 0.018 with 2000 draws, twice as much with 500.
    expect(
        np.sqrt(np.mean(np.square(off))) < 0.027,
        "near, but further off than 2000 draws of the cases allow: take at least so many, and the "
        "percentiles 2.5 and 97.5 of their means",
    )


def _two_methods(cases: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Dice (seeds, cases) of two methods; the seeds lie apart, and a few cases gain much."""
    hard = rng.normal(70, 12, cases)  # what both methods share
    gains = hard + rng.exponential(4, cases)
    return [
        dice + shift + rng.normal(0, 1, (len(shift), cases))
        for dice, shift in ((gains, np.array([[-6], [6]])), (hard, np.array([[-6], [0], [6]])))
    ]


def _one_seed_is_right(found: np.ndarray, gain: np.ndarray, means: np.ndarray) -> None:
    """Compare an interval with that of a gain (cases,), given the means of many draws of it."""
    right, narrow = (np.percentile(means, ends) for ends in ([2.5, 97.5], [5, 95]))
    near = 0.15 * np.ptp(right)
    expect(found[0] <= found[1], "the lower end comes first")
    expect(
        found[0] < found[1],
        "with one seed of each method low and high are the same: draw cases, not seeds",
    )
    expect(
        not np.allclose(found, -right[::-1], rtol=0, atol=near),
        "the sign: first minus second",
    )
    for ddof, factor in product((0, 1), (1.96, t.ppf(0.975, len(gain) - 1))):
        error = gain.std(ddof=ddof) / np.sqrt(len(gain))
        expect(
            not np.allclose(found, gain.mean() + factor * error * np.array([-1, 1]), rtol=1e-3),
            f"that is the mean ± {factor:.2f} standard errors; a bootstrap draws the cases anew",
        )
    expect(
        not np.allclose(found, np.percentile(gain, [2.5, 97.5]), rtol=0, atol=near),
        "that is the spread of the cases, not of their mean: take the mean of each draw",
    )
    expect(
        not np.allclose(found, narrow, rtol=0, atol=near / 5),
        "a little too narrow: the middle 95 % lies between the percentiles 2.5 and 97.5",
    )
    expect(
        np.ptp(found) < 2 * np.ptp(right),
        "far too wide: the same drawn cases belong to both methods; draw the differences",
    )
    expect(
        np.allclose(found, right, rtol=0, atol=near),
        f"with one seed of each method about {right[0]:.1f} to {right[1]:.1f} is expected, found "
        f"{found[0]:.1f} to {found[1]:.1f}",
    )
