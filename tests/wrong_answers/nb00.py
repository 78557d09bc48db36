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


WRONG = {
    "exercise_1": [
        (("cross_pseudo",), "a set of names"),
        (({"cps"},), "no such loss"),
        ((UNLABELED | {"supervised"},), "compares with the truth"),
        ((UNLABELED | {"consistency"},), "where to look"),
        ((UNLABELED - {"contrast"},), "contrast: the arrow starts"),
        ((set(),), "no label is needed"),
    ],
    "exercise_2": [
        ((means_apart,), "only one of the two has"),
        ((by_place,), "look up by seed"),
        ((reversed_sign,), "minus the method"),
        ((largest,), "the smallest gain is -2"),
        ((lambda method, baseline: method[0] - baseline[0],), "two numbers"),
    ],
}
