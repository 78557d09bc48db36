"""Checkers of notebook 06: cross pseudo supervision."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...losses import cross_pseudo_loss
from .core import exercise, expect, numbers, whole, word

Loss = Callable[[Tensor, Tensor], Tensor]


def _logits(classes: int = 2) -> tuple[Tensor, Tensor]:
    """Random float64 logits (2, classes, 3, 3, 3) of two networks that often disagree."""
    generator = torch.Generator().manual_seed(6)
    shape = (2, classes, 3, 3, 3)
    a, b = (torch.randn(shape, generator=generator, dtype=torch.double) for _ in range(2))
    return a.requires_grad_(), b.requires_grad_()


def _one_way(student: Tensor, teacher: Tensor) -> Tensor:
    return F.cross_entropy(student, teacher.detach().argmax(1))


@exercise
def exercise_1(my_cross_pseudo_loss: Loss) -> None:
    """Eqs. 7-8."""
    a, b = _logits()
    found, want = my_cross_pseudo_loss(a, b), cross_pseudo_loss(a, b)
    scalar = isinstance(found, Tensor) and found.ndim == 0
    expect(scalar, "expected one number, as a tensor: a mean")

    def is_(value: Tensor) -> bool:
        return bool(torch.isclose(found.detach(), value.detach()))

    expect(
        not is_(_one_way(a, a) + _one_way(b, b)),
        "each network learns its own label here; swap the labels",
    )
    expect(
        not (is_(_one_way(a, b)) or is_(_one_way(b, a))),
        "that is one direction only; A learns from B, and B from A",
    )
    expect(not is_(want / 2), "that is the mean of both directions; eq. 8 adds them")
    expect(
        not is_(want * a[:, 0].numel()),
        "that is the sum over the voxels; eq. 7 is their mean, the default reduction",
    )
    expect(not is_(2 * want), "that is twice the loss: each direction counts once")
    expect(
        not is_(cross_pseudo_loss(a.softmax(1), b.softmax(1))),
        "F.cross_entropy applies a softmax itself: give it the logits, not probabilities",
    )
    soft = F.cross_entropy(a, b.softmax(1)) + F.cross_entropy(b, a.softmax(1))
    expect(not is_(soft), "the labels are soft; eq. 7 takes the argmax")
    expect(is_(want), f"expected {want:.4f} on a random input, found {found:.4f}")
    expect(found.requires_grad, "right number, but no gradient: nobody would learn from it")
    grads = torch.autograd.grad(found, (a, b), allow_unused=True)
    for name, grad in zip("AB", grads, strict=True):
        expect(grad is not None, f"right number, but network {name} gets no gradient")
    a, b = _logits(classes=3)
    expect(
        torch.isclose(my_cross_pseudo_loss(a, b), cross_pseudo_loss(a, b)),
        "right for two classes, not for three; use argmax over the class axis",
    )


def _dead(a: Tensor, b: Tensor) -> Tensor:
    return cross_pseudo_loss(a.clone().detach(), b.clone().detach())


def _zero_for_a(a: Tensor, b: Tensor) -> Tensor:
    return _one_way(b, a) + 0 * a.sum()  # A has a gradient, and it is 0


SUSPECTS = (
    ("both", cross_pseudo_loss, "cross_pseudo_loss"),
    ("none", _dead, "a loss of detached outputs"),
    ("A", _one_way, "a loss in which A learns from B alone"),
    ("B", lambda a, b: _one_way(b, a), "a loss in which B learns from A alone"),
    ("B", _zero_for_a, "a loss whose gradient to A is 0 everywhere"),
)


@exercise
def exercise_2(who_learns: Callable[[Loss, Tensor, Tensor], str]) -> None:
    """Which network gets a gradient."""
    for want, loss, words in SUSPECTS:
        try:
            found = who_learns(loss, *_logits())
        except RuntimeError as error:
            expect(want != "none", f"{words}: {error}; look at loss.requires_grad first")
            raise
        found = word(found, ("both", "A", "B", "none"))
        if want == "none":
            hint = "look at loss.requires_grad first"
        else:
            hint = "a gradient can be None, or 0 everywhere: both mean that nothing is learned"
        expect(found == want, f"{words}: expected {want!r}, found {found!r}; {hint}")


@exercise
def exercise_3(predicted: Sequence[float]) -> None:
    """The loss of one voxel at three moments."""
    found = np.array(numbers(predicted, "a list of three numbers", 3))
    want = np.array([-np.log(0.1 * 0.2), -np.log(0.9 * 0.8), -2 * np.log(0.99)])

    def near(values: np.ndarray, places: slice = slice(None)) -> bool:
        return np.allclose(found[places], values[places], rtol=0, atol=0.006)

    own = np.array([-np.log(0.9 * 0.8), want[1], want[2]])
    first = slice(0, 1)
    expect(
        not near(own, first),
        "moment 1: each network pays for the label of the other one; A is told 0, B is told 1",
    )
    expect(
        not near(want / np.log(10), slice(0, 2)) and not near(want / np.log(2), slice(0, 2)),
        "use the natural logarithm",
    )
    expect(not near(want / 2, slice(0, 2)), "the two directions are added, not averaged")
    expect(
        abs(found[2] + 2 * np.log(0.01)) > 0.02,
        "moment 3: the truth plays no part; both are told background, to which both give 0.99",
    )
    expect(
        abs(found[2] + np.log(0.99)) > 0.006,
        "moment 3: that is what one network pays; add what the other one pays",
    )
    for k in range(3):
        expect(
            near(want, slice(k, k + 1)),
            f"moment {k + 1}: expected {want[k]:.2f}, found {found[k]:.2f}",
        )


@exercise
def exercise_4(better_pair: int, telling_curve: str) -> None:
    """Agreement against accuracy, from curves."""
    better_pair = whole(better_pair, "a pair as the first answer, 0 or 1")
    telling_curve = word(telling_curve, ("disagreement", "CPS loss", "supervised loss"))
    expect(
        telling_curve == "supervised loss",
        f"the {telling_curve} compares the networks with each other: two that call everything "
        "background would look perfect; which curve has seen a true label?",
    )
    expect(better_pair in (0, 1), "the first answer is a pair, 0 or 1")
    expect(
        better_pair == 1,
        "no disagreement, but a higher supervised loss: at step 64 these two agree on background",
    )
