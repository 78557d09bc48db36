"""What students typically write in notebook 00, and words of the hint that it must get."""

import numpy as np

UNLABELED = {"cross_pseudo", "entropy_filtered", "uncertainty", "contrast"}


def means_apart(method, baseline):
    gains = [method[s] - baseline[s] for s in baseline]
    return np.mean(list(method.values())) - np.mean(list(baseline.values())), min(gains)


def by_place(method, baseline):
    gains = [a - b for a, b in zip(method.values(), baseline.values(), strict=False)]
    return np.mean(gains), min(gains)


def reversed_sign(method, baseline):
    gains = [baseline[s] - method[s] for s in baseline]
    return np.mean(gains), min(gains)


def largest(method, baseline):
    gains = [method[s] - baseline[s] for s in baseline]
    return np.mean(gains), max(gains)


def smallest_change(method, baseline):
    gains = [method[s] - baseline[s] for s in baseline if s in method]
    return np.mean(gains), min(gains, key=abs)


def all_of_the_method(method, baseline):
    gains = [method[s] - baseline[s] for s in method]
    return np.mean(gains), min(gains)


def all_of_the_baseline(method, baseline):
    gains = [method.get(s, 0.0) - baseline[s] for s in baseline]
    return np.mean(gains), min(gains)


WRONG = {
    "exercise_1": [
        (("cross_pseudo",), "a set of names"),
        (({"cps"},), "expected one of supervised, .* found 'cps'"),
        (([1, 2],), "expected one of supervised, .* found 1"),
        ((UNLABELED | {"supervised"},), "compares with the truth"),
        ((UNLABELED | {"consistency"},), "where to look"),
        ((UNLABELED - {"contrast"},), "contrast: the arrow starts"),
        ((set(),), "no label is needed"),
    ],
    "exercise_2": [
        ((means_apart,), "only one of the two has"),
        ((by_place,), "look up by seed"),
        ((reversed_sign,), "minus the method"),
        ((largest,), "the smallest gain is -3"),
        ((smallest_change,), "may be negative"),
        ((all_of_the_method,), "no seed 2"),
        ((all_of_the_baseline,), "only the baseline has"),
        ((lambda method, baseline: method[0] - baseline[0],), "two numbers"),
        ((lambda method, baseline: (2.0, -3.0, 1),), "2 in all, found 3"),
        ((lambda method, baseline: ("2", "-3"),), "each a number, found '2'"),
        ((lambda method: 0,), "Exercise 2: the answer cannot be used"),
    ],
}
