"""Two networks correct what only one of them takes for the object (MCF, LUSEG, the paper)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ...losses import consistency_loss, disagreement_mask


def difference_review(
    prob_a: Tensor,
    prob_b: Tensor,
    label: Tensor,
    threshold: float = 0.0,
    combine: Literal["xor", "or"] = "xor",
    distance: Literal["mse", "kl"] = "mse",
) -> tuple[Tensor, Tensor]:
    """Mean distance of each network to the ground truth where the two differ (eqs. 4-6).

    With more than two classes it is the mean over the foreground classes, each against the rest.

    Parameters
    ----------
    prob_a, prob_b : (L, C, X, Y, Z), softmax of each network for labeled samples
    label : (L, X, Y, Z) int64
    threshold, combine : of `losses.disagreement_mask`; with the threshold 0 a network's vote is its
        argmax
    distance : of `losses.consistency_loss`

    Returns
    -------
    loss_a, loss_b : Tensor
        Scalars, one for each network.
    """
    losses = []
    for c in range(1, prob_a.shape[1]):
        pair_a, pair_b = (torch.stack([1 - p[:, c], p[:, c]], 1) for p in (prob_a, prob_b))
        mask = disagreement_mask(pair_a, pair_b, threshold, combine)
        losses.append(
            [consistency_loss(p[:, c], label == c, mask, distance) for p in (prob_a, prob_b)]
        )
    loss_a, loss_b = (sum(each) / len(losses) for each in zip(*losses, strict=True))
    return loss_a, loss_b
