"""Checkers of notebook 12: ablations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .core import exercise, expect, number, numbers, parts


@exercise
def exercise_1(effects_of: Callable[[str, dict[frozenset, float]], list[float]]) -> None:
    """Effects of a component in every context that the rows allow."""
    dice = {
        frozenset(): 70.0,
        frozenset("a"): 72.0,
        frozenset("b"): 69.0,
        frozenset("ab"): 74.0,
        frozenset("bc"): 60.0,
        frozenset("abc"): 59.0,
        frozenset("ad"): 80.0,
    }
    found = sorted(numbers(effects_of("a", dict(dice)), "a list of effects"))
    expect(
        len(found) != 4, "the row {a, d} has no partner {d}: there is no effect to be read from it"
    )
    expect(len(found) > 1, "there are several contexts: nothing, {b} and {b, c}")
    expect(
        len(found) == 3,
        "three contexts have both rows (nothing, {b} and {b, c}), so 3 effects are expected, found "
        f"{len(found)}",
    )
    expect(
        not np.allclose(found, [-5, -2, 1]),
        "the sign: the row with the component minus the row without it",
    )
    expect(np.allclose(found, [-1, 2, 5]), f"expected -1, 2 and 5 in any order, found {found}")
    none = parts(effects_of("e", dict(dice)), "a list of effects")
    expect(none == [], "no row has e, so it has no effect: []")


@exercise
def exercise_2(together: Callable[[float, float, float, float], tuple[float, float]]) -> None:
    """Score of two components if their effects added up, and their interaction."""
    found = together(70.0, 74.0, 73.0, 71.0)
    added, interaction = numbers(found, "two numbers (the added-up score, the interaction)", 2)
    expect(added != 147, "a + b counts the score of none twice: subtract it once")
    expect(added != 7, "7 is what both effects give together; add it to the score of none")
    expect(np.isclose(added, 77), f"70 + 4 + 3 is expected, found {added:g}")
    expect(
        not np.isclose(interaction, 6),
        "the sign: both together have less than the sum, so the interaction is negative",
    )
    expect(
        not np.isclose(interaction, 1),
        "that is the effect of both against none; the interaction is added to the sum of effects",
    )
    expect(np.isclose(interaction, -6), f"71 - 77 is expected, found {interaction:g}")


@exercise
def exercise_3(luck_of_the_best: Callable[[int, float, int], float]) -> None:
    """Dice points by which the best of k equally good candidates lies above their true value."""

    def luck(k: int, sigma: float, seeds: int) -> float:
        return number(luck_of_the_best(k, sigma, seeds), "one number of Dice points")

    # Of 20 000 draws the standard error is 1.0 % for two candidates and 0.3 % for nine.
    two, nine = luck(2, 1.0, 1), luck(9, 1.0, 1)
    expect(
        not np.isclose(two, 1 / np.sqrt(2), rtol=0.02),
        "0.71 is the lead over the mean of the two themselves, in units of their own scatter; "
        "asked is the lead over the true value, with the given sigma",
    )
    expect(
        np.isclose(two, 1 / np.sqrt(np.pi), rtol=0.04),
        f"for two candidates with sigma 1 and a seed each it is 0.56, found {two:.2f}; more draws?",
    )
    expect(
        np.isclose(nine, 1.485, rtol=0.03), f"for nine it is 1.49, found {nine:.2f}; more draws?"
    )
    one = luck(1, 1.0, 1)
    expect(
        abs(one) < 0.03,
        f"the best of one is that one: 0 on average, found {one:.2f}; more draws?",
    )
    expect(
        np.isclose(luck(9, 3.0, 1), 4.455, rtol=0.03),
        "three times the sigma is three times the luck",
    )
    four = luck(9, 1.0, 4)
    expect(not np.isclose(four, nine, rtol=0.03), "a mean of four seeds scatters less than one")
    expect(
        not np.isclose(four, nine / 4, rtol=0.03),
        "a mean of four seeds scatters half as much, not a quarter",
    )
    expect(
        np.isclose(four, nine / 2, rtol=0.03),
        f"with four seeds 0.74, found {four:.2f}; more draws?",
    )


@exercise
def exercise_4(hours: float) -> None:
    """Hours of all combinations of five components, three seeds, 8 minutes, two at a time."""
    hours = number(hours, "one number of hours")
    expect(not np.isclose(hours, 384), "384 are minutes")
    expect(not np.isclose(hours, 12.8), "two trainings go on at a time: half of that")
    expect(
        not np.isclose(hours, 6 * 3 * 8 / 2 / 60),
        "six runs are one component at a time; all combinations of five are 2 to the 5",
    )
    expect(not np.isclose(hours, 25 * 3 * 8 / 2 / 60), "2 to the 5 is 32, not 25")
    expect(
        not np.isclose(hours, 31 * 3 * 8 / 2 / 60),
        "the empty combination is a run, too: the supervised floor",
    )
    expect(np.isclose(hours, 6.4), f"32 x 3 x 8 minutes, two at a time; found {hours:g} hours")
