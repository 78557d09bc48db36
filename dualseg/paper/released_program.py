"""The unlabeled losses of the released program, re-created from a description of its behavior.

It computes a pseudo-label loss of each network, meant to be filtered by entropy, and a contrast,
and adds them to the total, yet no weight ever moves by them: the first is taken of detached
outputs, the second without gradient; and the entropy is taken of logits, so that percentile and
contrast are NaN. It has no loss like eq. 8, in which each network learns the other's label. This
module shows that on any input (`dualseg gradients`); nothing trains with it. What that program does
optimize is the preset "released".
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..losses import pseudo_label
from ..networks._blocks import NetworkOutput

IGNORED = 2
PERCENTILE = 20


def released_unlabeled_terms(
    out_a: NetworkOutput, out_b: NetworkOutput, repaired: bool = False
) -> dict[str, Tensor]:
    """The losses as the released program computes them, of the same unlabeled samples.

    Parameters
    ----------
    out_a, out_b : logits (B, 2, X, Y, Z) and features (B, F, X, Y, Z) of each network
    repaired : take the entropy of the softmax, so that both losses are numbers; there is still no
        gradient

    Returns
    -------
    dict
        "entropy_filtered": cross-entropy of each network's detached softmax (taken for logits)
        against the union of both labels, where not both "entropies" are above their 20th
        percentile. "contrast": distance of what that filter ignores to the mean features of the
        rest, under no_grad.
    """
    soft_a, soft_b = (out.logits.softmax(1).clone().detach() for out in (out_a, out_b))
    label_a, label_b = pseudo_label(soft_a), pseudo_label(soft_b)
    asked = (soft_a, soft_b) if repaired else (out_a.logits.detach(), out_b.logits.detach())
    high_a, high_b = (_above_percentile(_entropy_formula(each)) for each in asked)
    target = label_a | label_b
    target[high_a & high_b] = IGNORED
    kept = (target != IGNORED).sum()
    filtered = [F.cross_entropy(soft, target, ignore_index=IGNORED) for soft in (soft_a, soft_b)]
    with torch.no_grad():
        contrast = _contrast(out_a.features, target, label_a)
    return {
        "entropy_filtered": sum(filtered) * target.numel() / kept,
        "contrast": contrast,
    }


def _entropy_formula(values: Tensor) -> Tensor:
    """An entropy of probabilities; of logits NaN wherever one of them is negative."""
    return -(values * (values + 1e-10).log()).sum(1)


def _above_percentile(values: Tensor) -> Tensor:
    return values >= torch.quantile(values, PERCENTILE / 100)  # NaN in, NaN out: never true


def _contrast(features: Tensor, target: Tensor, label: Tensor) -> Tensor:
    vectors = features.movedim(1, -1)
    total = torch.zeros(())
    for c in (0, 1):
        prototype = F.normalize(vectors[target == c].mean(0), dim=0)
        candidates = F.normalize(vectors[(target == IGNORED) & (label == c)], dim=1)
        total = total + (candidates - prototype).norm(dim=1).mean()  # of nothing: NaN
    return total
