"""What students typically write in notebook 12, and words of the hint that it must get."""

import numpy as np


def effects(component, dice, sign=1, missing=None):
    without = [s - {component} for s in dice if component in s]
    there = [s for s in without if s in dice or missing is not None]
    return [sign * (dice[s | {component}] - dice.get(s, missing)) for s in there]


def best(k, own=False):
    draws = np.random.default_rng(1).normal(size=(100_000, k))
    if own:  # over the candidates' own mean, in units of their own scatter
        draws = (draws - draws.mean(1, keepdims=True)) / draws.std(1, ddof=1, keepdims=True)
    return draws.max(1).mean()


def without_a_look(component, dice):
    return [dice[s] - dice[s - {component}] for s in dice if component in s]


WRONG = {
    "exercise_1": [
        ((lambda c, dice: effects(c, dice, missing=0.0),), "no partner"),
        ((lambda c, dice: effects(c, dice)[:1],), "several contexts"),
        ((lambda c, dice: effects(c, dice, sign=-1),), "the sign"),
        ((lambda c, dice: [-1.0, 2.0, 5.0, 0, 0, 0, 0],), "3 effects are expected, found 7"),
        ((lambda c, dice: [1.0] * 12,), "3 effects are expected, found 12"),
        ((lambda c, dice: 2.0,), "a list of effects"),
        ((without_a_look,), "Exercise 1: your function stopped with KeyError: frozenset.*dice"),
        ((lambda c, dice: [1.0, 2.0, 3.0],), "-1, 2 and 5"),
        ((lambda c, dice: effects("a", dice),), "no row has e"),
    ],
    "exercise_2": [
        ((lambda none, a, b, both: (a + b, both - a - b),), "counts the score of none twice"),
        ((lambda none, a, b, both: (a + b - 2 * none, 0.0),), "add it to the score of none"),
        ((lambda none, a, b, both: (a + b - none, a + b - none - both),), "the sign"),
        ((lambda none, a, b, both: (a + b - none, both - none),), "added to the sum"),
        ((lambda none, a, b, both: both,), "two numbers"),
        ((lambda none, a, b, both: (a + b - none, 0.0),), "71 - 77"),
    ],
    "exercise_3": [
        ((lambda k, sigma, seeds: best(k, own=True) * sigma,), "the mean of the two themselves"),
        ((lambda k, sigma, seeds: np.sqrt(2 * np.log(k)) * sigma,), "it is 0.56"),
        ((lambda k, sigma, seeds: {1: 0.0, 2: 0.56}.get(k, 1.3) * sigma,), "for nine"),
        ((lambda k, sigma, seeds: max(best(k), 0.1) * sigma,), "the best of one"),
        ((lambda k, sigma, seeds: best(k),), "three times the luck"),
        ((lambda k, sigma, seeds: best(k) * sigma,), "scatters less than one"),
        ((lambda k, sigma, seeds: best(k) * sigma / seeds,), "not a quarter"),
        ((lambda k, sigma, seeds: best(k) * sigma / seeds**0.25,), "with four seeds 0.74"),
        ((lambda k, sigma, seeds: [best(k)],), "one number of Dice points"),
    ],
    "exercise_4": [
        ((384,), "minutes"),
        (("6.4",), "one number of hours, found '6.4'"),
        ((12.8,), "half of that"),
        ((1.2,), "2 to the 5"),
        ((5.0,), "not 25"),
        ((6.2,), "the supervised floor"),
        ((7,), "two at a time"),
    ],
}
