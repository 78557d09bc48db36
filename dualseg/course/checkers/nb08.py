"""Checkers of notebook 08: uncertainty estimation."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .core import exercise, expect, number


def _random_logits(*shape: int) -> tuple[Tensor, Tensor]:
    """Student's and teacher's, float64."""
    draws = torch.Generator().manual_seed(8)
    return tuple(2 * torch.randn(2, *shape, generator=draws, dtype=torch.float64))


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) over dimension 1."""
    return (log_p.exp() * (log_p - log_q)).sum(1)


@exercise
def exercise_1(stable_kl: Callable[[Tensor, Tensor], Tensor]) -> None:
    """KL(teacher || student) from logits."""
    student, teacher = _random_logits(6, 3)
    found = stable_kl(student, teacher)
    expect(
        isinstance(found, Tensor) and found.shape == (6,),
        "expected one number a row: sum over the classes, dimension 1, and over nothing else",
    )
    want = _kl(teacher.log_softmax(1), student.log_softmax(1))
    swapped = _kl(student.log_softmax(1), teacher.log_softmax(1))
    expect(
        not torch.allclose(found, swapped),
        "that is KL(student || teacher); the probability before the log is the teacher's",
    )
    expect(
        not torch.allclose(found, want / 3),
        "that is the mean over the classes; a divergence is their sum",
    )
    expect(not torch.allclose(found, -want), "the sign: log t - log s, so that it is not negative")
    expect(
        not torch.allclose(found, want / math.log(2)), "that is in bits; nats want the natural log"
    )
    expect(
        torch.allclose(found, want),
        f"the first row is {want[0]:.4f} nats, found {found[0]:.4f}; are both logits through a "
        "softmax over dimension 1?",
    )
    sure = torch.tensor([[100.0, -100.0]])
    for teacher, value in ((-sure, 200.0), (sure, 0.0)):
        found = stable_kl(sure, teacher)
        expect(
            torch.isfinite(found).all(),
            f"right for small logits, but {found.item()} for logits of 100: never take the log of "
            "a softmax, use log_softmax",
        )
        expect(
            abs(found.item() - value) < 1e-3,
            f"for logits of 100 expected {value:g} nats, found {found.item():.4g}; adding a small "
            "number to a probability, or clamping it, changes the answer",
        )


@exercise
def exercise_2(weight_of_voxel: float, loss_of_voxel: float) -> None:
    """Weight and loss for a perfectly sure teacher and a student of 0.2."""
    weight_of_voxel = number(weight_of_voxel, "a weight, one number")
    loss_of_voxel = number(loss_of_voxel, "a loss, one number")
    nats = math.log(5)
    expect(
        abs(weight_of_voxel - nats) > 0.02,
        "that is D itself, log 5; the weight is e to the minus D",
    )
    expect(
        abs(weight_of_voxel - 0.8) > 0.01,
        "that is how far the student is away; the weight is e^(-log(1/s))",
    )
    expect(0 < weight_of_voxel <= 1, "a weight lies above 0 and is at most 1")
    expect(
        abs(weight_of_voxel - 0.2) < 0.01,
        f"D = log(1/0.2), and e to the minus that is no {weight_of_voxel:g}; what undoes a log?",
    )
    expect(
        abs(loss_of_voxel - 0.2 * nats) > 0.01,
        "the weight is right; the loss lacks the + D of eq. 14",
    )
    expect(
        abs(loss_of_voxel - 2 * nats) > 0.02, "the weight is right; L_p is to be multiplied by it"
    )
    expect(
        abs(loss_of_voxel - 1.2 * nats) < 0.02,
        f"the weight is right; with t = 1 both L_p and D are log 5, found a loss of "
        f"{loss_of_voxel:g}",
    )


@exercise
def exercise_3(une_of_a: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Eq. 14 for network A, with B as teacher."""
    a, b = (logits.requires_grad_() for logits in _random_logits(2, 2, 3, 3, 3))
    found = une_of_a(a, b)
    expect(isinstance(found, Tensor) and found.ndim == 0, "expected one number, the mean")
    expect(found.requires_grad, "no gradient at all: A is to learn, and only B is to be detached")
    grad_a, grad_b = torch.autograd.grad(found, (a, b), allow_unused=True)
    expect(
        grad_b is None or not grad_b.any(),
        "a gradient reaches B, the teacher: it is still in the student's place, or not detached",
    )
    log_s, log_t = a.log_softmax(1), b.detach().log_softmax(1)
    ahead, back = _kl(log_t, log_s), _kl(log_s, log_t)
    cross = {T: -((b.detach() / T).softmax(1) * log_s).sum(1) for T in (0.5, 1, 2)}

    weight, temperature = (-ahead).exp(), "divide the teacher's logits by 0.5"
    before_log = "the probability before the log is the teacher's"
    for wrong, hint in (
        ((-back).exp() * cross[0.5] + ahead, "the weight still takes KL(A || B); A is the student"),
        (
            weight * cross[0.5],
            "the + D of eq. 14 is gone; without it a student lowers its loss by disagreeing",
        ),
        (weight * cross[1] + ahead, f"the target has lost its temperature: {temperature}"),
        (weight * cross[2] + ahead, f"the target's temperature is upside down: {temperature}"),
        ((-back).exp() * cross[0.5] + back, f"D is KL(student || teacher) here; {before_log}"),
    ):
        expect(not torch.isclose(found, wrong.mean()), hint)
    want = (weight * cross[0.5] + ahead).mean()
    expect(
        torch.isclose(found, want),
        f"expected {want:.4f} on a random input, found {found.item():.4f}",
    )
    expect(
        grad_a is not None and grad_a.any(),
        "the value is right, but A gets no gradient: only B is to be detached",
    )
    expect(
        torch.allclose(grad_a, torch.autograd.grad(want, a)[0]),
        "the value is right, but not the gradient: eq. 14 detaches neither the weight nor D, only "
        "B, the teacher",
    )


@exercise
def exercise_4(turn_alone: float, turn_detached: float, turn_eq14: float) -> None:
    """Where students of a perfectly sure teacher begin to be pushed away."""
    turn_alone, turn_detached, turn_eq14 = (
        number(turn, "a probability, or 0, for each of the three")
        for turn in (turn_alone, turn_detached, turn_eq14)
    )
    expect(
        abs(turn_alone - math.exp(-2)) > 0.002,
        "first answer: the slope is smallest there; its sign changes earlier",
    )
    expect(
        abs(turn_alone - 1) > 0.002,
        "first answer: that is D, not s; the turn is at D = 1, so at which s?",
    )
    expect(
        abs(turn_alone) > 0.002,
        "first answer: -s log s falls back to 0 for small s, so it has a top; where?",
    )
    expect(
        abs(turn_alone - math.exp(-1)) < 0.002,
        f"first answer: the top of -s log s is where log s + 1 = 0, found {turn_alone:g}",
    )
    expect(
        abs(turn_detached) < 0.002,
        "second answer: with the factor constant the slope is weight * d(-log s)/ds, which never "
        "changes its sign",
    )
    expect(
        abs(turn_eq14) < 0.002,
        "third answer: D (1 + e^-D) has the slope 1 + (1 - D) e^-D, at least 1 - e^-2",
    )
