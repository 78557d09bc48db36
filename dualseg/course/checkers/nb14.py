"""Checkers of notebook 14: the paper against the released program."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ...errors import brief
from .core import exercise, expect, number, numbers, parts


def _losses() -> tuple[dict[str, Tensor], list[Tensor]]:
    """Losses that are silent in four different ways, and two that are not; two inputs."""
    a = torch.tensor([1.0, 2.0], requires_grad=True)
    b = torch.tensor([3.0, -1.0], requires_grad=True)
    elsewhere = torch.tensor([1.0], requires_grad=True)
    terms = {
        "both": (a * b).sum(),
        "second only": (a.detach() - b).square().sum(),
        "detached": (a.detach() * 2).sum(),
        "not a number": a.detach().sum() * math.nan,
        "elsewhere": elsewhere.square().sum() + a.detach().sum(),
        "flat": (0 * a).sum() + b.relu()[1],
    }
    return terms, [a, b]


@exercise
def exercise_1(silent: Callable[[dict[str, Tensor], list[Tensor]], set[str]]) -> None:
    """Names of the losses that send no gradient to any input."""
    terms, inputs = _losses()
    found = silent(dict(terms), list(inputs))
    expect(isinstance(found, set | list | tuple), f"expected a set of names, found {brief(found)}")
    unknown = set(found) - set(terms)
    expect(not unknown, f"expected names of `terms`, found {brief(unknown)}")
    silent_ones = set(found)
    expect(
        not silent_ones & {"both"} or "detached" in silent_ones,
        "these are the losses that do send a gradient; asked are the others",
    )
    expect("both" not in silent_ones, "'both' moves each of the inputs")
    expect(
        "second only" not in silent_ones,
        "'second only' moves the second input: one input is enough",
    )
    expect("detached" in silent_ones, "'detached' has no graph: look at requires_grad first")
    expect(
        "not a number" in silent_ones,
        "'not a number' is NaN and a constant: NaN in the value is no gradient",
    )
    expect(
        "elsewhere" in silent_ones,
        "'elsewhere' has a graph, but to another tensor: requires_grad is not enough",
    )
    expect(
        "flat" in silent_ones,
        "'flat' has a gradient of zeros for both inputs: a gradient that is there may be 0",
    )


@exercise
def exercise_2(averages: Callable[[list[float | None]], tuple[float, float, int]]) -> None:
    """The mean with 0 for empty predictions, the mean without them, and their number."""
    what = "three numbers (mean with 0, mean of the others, number of empty predictions)"
    with_zero, others, empty = numbers(averages([6.0, None, 12.0, None]), what, 3)
    expect(empty != 0.5, "the third is the number of empty predictions, not their share")
    expect(empty == 2, f"2 of 4 are empty, found {empty:g}")
    expect(
        not (math.isclose(with_zero, 9) and math.isclose(others, 4.5)),
        "the order: first the mean with 0, then the mean of the others",
    )
    expect(not math.isclose(with_zero, 9), "the first mean divides by all 4 cases, not by 2")
    expect(math.isclose(with_zero, 4.5), f"(6 + 0 + 12 + 0) / 4 is 4.5, found {with_zero:g}")
    expect(not math.isclose(others, 4.5), "the second mean leaves the empty predictions out")
    expect(math.isclose(others, 9), f"(6 + 12) / 2 is 9, found {others:g}")
    with_zero, others, empty = numbers(averages([3.0, 0.0]), what, 3)
    expect(
        empty == 0 and math.isclose(others, 1.5),
        "a distance of 0 is a perfect surface and no empty prediction: ask for `is None`",
    )


@exercise
def exercise_3(second_best: Callable[[list[dict], str], tuple[str, float]]) -> None:
    """Name of the second best method by a measure, and the lead of the best."""
    table = [
        {"method": "P", "dice": 80.0, "jaccard": 70.0, "hd95": 9.5, "asd": 2.0},
        {"method": "Q", "dice": 90.0, "jaccard": 79.0, "hd95": 5.0, "asd": 3.0},
        {"method": "R", "dice": 88.5, "jaccard": 79.5, "hd95": 7.0, "asd": 1.75},
    ]
    what = "two answers (name of the second best, lead of the best)"

    def of(key: str) -> tuple[str, float]:
        name, lead = parts(second_best([dict(row) for row in table], key), what, 2)
        expect(isinstance(name, str), f"expected the name first, found {brief(name)}")
        return name, number(lead, "a lead as one number")

    name, lead = of("dice")
    expect(name != "Q", "Q is the best by dice; asked is the one after it")
    expect(name != "P", "P is the last by dice; the second from above is asked")
    expect(name == "R", f"R has 88.5 after Q's 90, found {brief(name)}")
    expect(lead > 0, "the lead is to be a positive number")
    expect(not math.isclose(lead, 10), "10 is the lead over the last method")
    expect(math.isclose(lead, 1.5), f"90 - 88.5 is 1.5, found {lead:g}")
    name, lead = of("hd95")
    expect(name == "R", f"by hd95 less is better (5, 7, 9.5): R is second, found {brief(name)}")
    expect(lead > 0, "for distances the best is the smaller one; the lead stays positive")
    expect(not math.isclose(lead, 2.5), "for hd95 the best is the smallest value, 5")
    expect(math.isclose(lead, 2), f"by hd95 the best (5) is 2 ahead of R (7), found {lead:g}")
    name, lead = of("asd")
    expect(name == "P", f"by asd R (1.75) is the best and P (2.0) second, found {brief(name)}")
    name, lead = of("jaccard")
    expect(
        name == "Q" and math.isclose(lead, 0.5),
        f"by jaccard R (79.5) is 0.5 ahead of Q, found {name} and {lead:g}; is `key` used?",
    )
