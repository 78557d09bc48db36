"""Checkers of notebook 09: prototypes and contrast."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .core import exercise, expect, number, parts


@exercise
def exercise_1(prototypes: Callable[[Tensor, Tensor, Tensor], tuple]) -> None:
    """Mean feature of each class's reliable voxels, also of a class that has none."""
    features = torch.tensor([[0.0, 3.0], [0.0, 5.0], [9.0, 9.0], [8.0, 4.0], [6.0, 0.0]])
    labels = torch.tensor([0, 0, 0, 1, 1])
    reliable = torch.tensor([True, True, False, True, False])
    what = "two answers (the prototypes, which of them exist)"
    found = parts(prototypes(features, labels, reliable), what, 2)
    means, exists = (torch.as_tensor(part) for part in found)
    expect(
        (means.shape, exists.shape) != ((2,), (2, 2)),
        "the order: first the prototypes, then which of them exist",
    )
    expect(means.shape == (2, 2), f"expected prototypes of shape (2, 2), found {means.shape}")
    expect(
        not torch.allclose(means[0], torch.tensor([3.0, 17 / 3])),
        "the background's prototype holds an uncertain voxel; take the reliable ones only",
    )
    expect(
        not torch.allclose(means[0], torch.tensor([0.0, 1.6])),
        "divide by the number of the class's reliable voxels, not by all voxels",
    )
    expect(
        not torch.allclose(means[0], torch.tensor([0.0, 1.0])),
        "eq. 19 has the mean of raw features; unit length comes later, in the distance",
    )
    want = torch.tensor([[0.0, 4.0], [8.0, 4.0]])
    expect(torch.allclose(means, want), f"expected {want.tolist()}, found {means.tolist()}")
    expect(exists.tolist() == [True, True], "both classes have a reliable voxel here")
    means, exists = parts(prototypes(features, labels, reliable & (labels == 0)), what, 2)
    expect(
        bool(torch.as_tensor(means).isfinite().all()),
        "a class without reliable voxels gives NaN: the count that you divide by is 0",
    )
    expect(
        torch.as_tensor(exists).tolist() == [True, False],
        "without a reliable organ voxel only the background's prototype exists",
    )
    expect(not torch.as_tensor(means)[1].any(), "a class without reliable voxels has prototype 0")


@exercise
def exercise_2(by_hand: float) -> None:
    """Mean, raw features, plus: 5 + 6 + 5."""
    hints = {
        11: "the third term is missing; the prototypes are 5 apart, and it is added",
        6: "the third term has the printed plus here: it is added",
        10: "voxel 5 is uncertain, too: the networks do not agree about it",
        5 + math.sqrt(52): "voxel 5 is uncertain, so it is no part of the organ's prototype",
    }
    by_hand = number(by_hand)
    for wrong, hint in hints.items():
        expect(not math.isclose(by_hand, wrong, rel_tol=1e-2), hint)
    expect(
        math.isclose(by_hand, 16),
        f"expected one distance for each uncertain voxel (3 and 5) and the third term, "
        f"found {by_hand:g}; draw the five points",
    )


def _three_voxels() -> tuple[Tensor, Tensor, Tensor]:
    """Features, labels and reliable mask of two background voxels and one of the organ."""
    features = torch.tensor([[0.0, 3.0], [0.0, 5.0], [8.0, 4.0]]).T.reshape(1, 2, 3, 1, 1)
    labels = torch.tensor([0, 0, 1]).reshape(1, 3, 1, 1)
    return features, labels, torch.ones_like(labels, dtype=torch.bool)


@exercise
def exercise_3(widening: Callable[..., float]) -> None:
    """The change of the prototypes' distance by one descent step, with each third term."""
    features, labels, reliable = _three_voxels()
    # Only reliable voxels: c_f moves by the step, c_b by half of it (two voxels share it).

    def change(sign: str, step: float) -> float:
        answer = widening(sign, features.clone(), labels, reliable, step=step)
        return number(answer, "one number, the change of the distance")

    found = {sign: change(sign, 0.1) for sign in ("attract", "none", "repel")}
    expect(
        not math.isnan(found["none"])
        and not math.isclose(found["repel"], 0.15 / math.sqrt(1.5), rel_tol=1e-3),
        "do not divide the gradient by its length (with third term 'none' it is 0, so NaN): the "
        "features move by step times the gradient",
    )
    expect(
        found["attract"] <= 0 or found["repel"] >= 0,
        "attract and repel are exchanged: descent subtracts the gradient, and 'apart' is plus",
    )
    expect(
        not math.isclose(found["attract"], 8, abs_tol=0.5),
        "that is the distance itself; return how much it changes",
    )
    expect(
        abs(found["none"]) < 1e-5,
        f"without uncertain voxels and without third term nothing moves, found {found['none']:g}",
    )
    for sign, want in (("attract", -0.15), ("repel", 0.15)):
        expect(
            math.isclose(found[sign], want, rel_tol=1e-3),
            f"{sign}: with step 0.1 the organ's prototype moves by 0.1 and the background's by "
            f"0.05 (two voxels share its gradient), so {want:+} is expected, found "
            f"{found[sign]:+.4g}",
        )
    twice = change("repel", 0.2)
    expect(
        math.isclose(twice, 0.3, rel_tol=1e-3),
        f"right for step 0.1, but for 0.2 it is +0.3, found {twice:+.4g}; is step used?",
    )


@exercise
def exercise_4(distance: Callable[[Tensor, Tensor], Tensor]) -> None:
    """The Euclidean distance, with a finite gradient where it is 0."""
    place = torch.tensor([3.0, 4.0], requires_grad=True)
    far = distance(place, torch.zeros(2))
    expect(
        not math.isclose(far.item(), 25, rel_tol=1e-3), "that is the square; the root is missing"
    )
    expect(
        math.isclose(far.item(), 5, rel_tol=1e-4), f"(3, 4) is 5 from (0, 0), found {far.item():g}"
    )
    expect(far.requires_grad, "the gradient is gone; do not detach, compute in torch")
    slope = torch.autograd.grad(far, place)[0]
    expect(
        torch.allclose(slope, torch.tensor([0.6, 0.8]), atol=1e-3),
        f"away from 0 the gradient must stay (0.6, 0.8), found {slope.tolist()}",
    )
    place = torch.tensor([1.0, 2.0], requires_grad=True)
    near = distance(place, torch.tensor([1.0, 2.0]))
    expect(
        abs(near.item()) < 1e-4,
        f"a voxel on its prototype has distance 0, found {near.item():g}; what you add under the "
        "root is too large",
    )
    expect(near.requires_grad, "where the distance is 0 it must still be part of the graph")
    slope = torch.autograd.grad(near, place)[0]
    expect(
        bool(slope.isfinite().all()),
        "the gradient at distance 0 is still NaN: choose before the root, not after it, or "
        "0 times infinity flows back",
    )
    expect(not slope.any(), f"at distance 0 expected the gradient 0, found {slope.tolist()}")
