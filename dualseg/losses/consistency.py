"""Consistency regularisation: correct what one network alone is sure of (section 3.1, eqs. 4-6)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from ..errors import require, require_one_of
from ._inputs import lift, require_logits, require_masks, require_voxels

LEAST_PROBABILITY = 1e-7


def disagreement_mask(
    prob_a: Tensor,
    prob_b: Tensor,
    threshold: float = 0.6,
    combine: Literal["xor", "or"] = "xor",
) -> Tensor:
    r"""Voxels that one network confidently calls foreground and the other does not (eqs. 4-5).

    A network's vote is: argmax is foreground and its foreground softmax is at least `threshold`
    (the paper's lambda). "xor" keeps voxels with one vote, which is the printed symbol and the
    stated purpose; "or" keeps those with one or two, which is the sentence below eq. 5. The paper
    puts lambda against the logits; a probability of 0.6 is meant.

    Shapes: prob_a and prob_b (B, 2, X, Y, Z), softmax -> (B, X, Y, Z) bool. Eq. 5 knows one
    foreground class: more than two classes raise DualsegError (give each class against the rest).
    """
    require_logits(prob_a=prob_a, prob_b=prob_b)
    require_one_of("combine", combine, ("xor", "or"))
    require(0 <= threshold <= 1, "threshold", "a probability from 0 to 1", threshold)
    require(
        prob_a.shape[1] == 2,
        "prob_a",
        "2 classes, as eq. 5 knows one foreground class (take each class against the rest)",
        prob_a.shape[1],
    )
    vote_a, vote_b = (
        (prob[:, 1] > prob[:, 0]) & (prob[:, 1] >= threshold) for prob in (prob_a, prob_b)
    )
    return vote_a ^ vote_b if combine == "xor" else vote_a | vote_b


def consistency_loss(
    foreground_prob: Tensor,
    target: Tensor,
    mask: Tensor,
    distance: Literal["mse", "kl"] = "mse",
) -> Tensor:
    r"""Mean distance to the ground truth over the mask (eq. 6), 0 where the mask is empty.

    "mse": $\sum M (p - y)^2 / \sum M$. The name and the prose say network against network; eq. 6
    and the released code say network against ground truth, followed here. "kl" (Table 5):
    the KL divergence from a one-hot target, $-\log p$ of the true class, with p clamped at 1e-7
    (below that no gradient). The denominator, a map in print, is its sum.

    Shapes: foreground_prob (B, X, Y, Z), target (B, X, Y, Z) of 0 and 1, mask (B, X, Y, Z) bool
    -> scalar.
    """
    require_one_of("distance", distance, ("mse", "kl"))
    shape = tuple(foreground_prob.shape)
    require(len(shape) == 4, "foreground_prob", "shape (B, X, Y, Z) of one class", shape)
    require_voxels(foreground_prob, target=target)
    require_masks(foreground_prob, mask=mask)
    prob = lift(foreground_prob)
    target = target.to(prob)
    if distance == "mse":
        loss = (prob - target).square()
    else:
        loss = -(target * prob + (1 - target) * (1 - prob)).clamp_min(LEAST_PROBABILITY).log()
    return (loss * mask).sum() / mask.sum().clamp_min(1)
