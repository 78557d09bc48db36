"""Consistency regularization: correct what one network alone is sure of (section 3.1, eqs. 4-6)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from ._inputs import checked, class_maps, lift, mask, one_of, voxels, where

LEAST_PROBABILITY = 1e-7


@checked(
    prob_a=where(
        lambda shape: len(shape) == 5 and shape[1] == 2,
        "shape (B, 2, X, Y, Z), as eq. 5 knows one foreground class (take each class against the "
        "rest)",
    ),
    prob_b=class_maps,
    threshold=where(lambda value: 0 <= value <= 1, "a probability from 0 to 1"),
    combine=one_of("xor", "or"),
)
def disagreement_mask(
    prob_a: Tensor, prob_b: Tensor, threshold: float = 0.6, combine: Literal["xor", "or"] = "xor"
) -> Tensor:
    r"""Voxels that one network confidently calls foreground and the other does not (eqs. 4-5).

    $M = v^A \oplus v^B$ with the vote $v = [p_f > p_b] \wedge [p_f \ge \lambda]$ of each network.
    The paper puts $\lambda$ against the logits; a probability of 0.6 is meant.

    Parameters
    ----------
    prob_a, prob_b : (B, 2, X, Y, Z), softmax of each network
    threshold : the paper's $\lambda$
    combine : "xor" keeps voxels with one vote, which is the printed symbol and the stated purpose;
        "or" keeps those with one or two votes, which is the sentence below eq. 5

    Returns
    -------
    Tensor
        (B, X, Y, Z) bool.
    """
    vote_a, vote_b = (
        (prob[:, 1] > prob[:, 0]) & (prob[:, 1] >= threshold) for prob in (prob_a, prob_b)
    )
    return vote_a ^ vote_b if combine == "xor" else vote_a | vote_b


@checked(foreground_prob=voxels, target=voxels, mask=mask, distance=one_of("mse", "kl"))
def consistency_loss(
    foreground_prob: Tensor, target: Tensor, mask: Tensor, distance: Literal["mse", "kl"] = "mse"
) -> Tensor:
    r"""Mean distance to the ground truth over the mask (eq. 6): $\sum M (p - y)^2 / \sum M$.

    The name and the prose say network against network; eq. 6 and the released code say network
    against ground truth, which is followed here. The denominator, a map in print, is its sum.

    Parameters
    ----------
    foreground_prob : (B, X, Y, Z), one class of a network's softmax
    target : (B, X, Y, Z) of 0 and 1, the ground truth
    mask : (B, X, Y, Z) bool, the voxels that count
    distance : "mse" as in eq. 6; "kl" (Table 5), the KL divergence from a one-hot target, which is
        $-\log p$ of the true class, with p clamped at 1e-7 (below that it has no gradient)

    Returns
    -------
    Tensor
        Scalar, 0 where the mask is empty.
    """
    prob = lift(foreground_prob)
    target = target.to(prob)
    if distance == "mse":
        loss = (prob - target).square()
    else:
        loss = -(target * prob + (1 - target) * (1 - prob)).clamp_min(LEAST_PROBABILITY).log()
    return (loss * mask).sum() / mask.sum().clamp_min(1)
