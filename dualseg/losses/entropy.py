"""Entropy-filtered supervision: learn only where both are sure (section 3.2.2, eqs. 9-12)."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import require, require_one_of
from ._inputs import lift, require_labels, require_logits, require_masks, require_voxels

IGNORED = -100  # a class number that cross_entropy leaves out


def entropy_bits(prob: Tensor) -> Tensor:
    r"""Entropy of each voxel's class probabilities in bits (eq. 9): $-\sum_c p_c \log_2 p_c$.

    Of the softmax, not of the logits. 0 log 0 counts as 0, and its gradient is finite.

    Shapes: prob (B, C, X, Y, Z), any C >= 2 -> (B, X, Y, Z), from 0 to log2 C.
    """
    require_logits(prob=prob)
    prob = lift(prob)
    return -(prob * prob.clamp_min(torch.finfo(prob.dtype).tiny).log2()).sum(1)


def entropy_threshold(entropy: Tensor, percentile: float) -> Tensor:
    """The given percentile of all entropies together (below eq. 10), one network at a time.

    Linear interpolation between the two nearest values, as `numpy.percentile`. Computed on the
    tensor's device; a constant for the gradient.

    Shapes: entropy of any shape, percentile from 0 to 100 -> scalar.
    """
    require(0 <= percentile <= 100, "percentile", "a number from 0 to 100", percentile)
    require(entropy.numel() > 0, "entropy", "at least one value", tuple(entropy.shape))
    values = lift(entropy.detach()).flatten()
    rank = percentile / 100 * (len(values) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(values) - 1)
    # torch.quantile sorts, too slow on a CPU, and takes no more than 16 million values.
    if values.is_cuda:
        ordered = values.sort().values
        below, above = ordered[low], ordered[high]
    else:
        below, above = values.kthvalue(low + 1).values, values.kthvalue(high + 1).values
    return torch.lerp(below, above, rank - low)


def class_thresholds(
    entropy: Tensor, label: Tensor, percentile: float, num_classes: int = 2
) -> Tensor:
    """The percentile of the entropies of each class apart, at each voxel that of its class.

    Not in the paper: where the object is small and less sure than the background, the percentile of
    all voxels ignores all of it; within its class the filter (eq. 10) always keeps a share of it.
    Reliability (eq. 16) wants strictly less, which nothing is where most entropies of a class are
    one and the same value (features that a ReLU made zero).

    Shapes: entropy (B, X, Y, Z), label (B, X, Y, Z) int64, the network's own argmax
    -> (B, X, Y, Z). A constant for the gradient.
    """
    require(0 <= percentile <= 100, "percentile", "a number from 0 to 100", percentile)
    require_labels(entropy, label=label)
    classes = label.flatten()
    ordered, order = lift(entropy.detach()).flatten().sort()
    ordered_classes = classes[order]
    thresholds = []
    for c in range(num_classes):
        # How many of the class come up to each place of the order: all stays on the device.
        members = (ordered_classes == c).cumsum(0)
        last = (members[-1] - 1).clamp_min(0)
        rank = percentile / 100 * last.to(ordered)
        low = rank.floor().long()
        ranks = torch.stack([low, torch.minimum(low + 1, last)])
        places = torch.searchsorted(members, ranks + 1).clamp_max(len(ordered) - 1)
        below, above = ordered[places]
        thresholds.append(torch.where(rank == low, below, torch.lerp(below, above, rank - low)))
    return torch.stack(thresholds)[classes].view_as(entropy)


def confident_mask(
    entropy_a: Tensor, entropy_b: Tensor, percentile: float, combine: Literal["or", "and"] = "or"
) -> Tensor:
    """Voxels that are kept (eq. 10): each network's entropy against its own percentile (gamma).

    "or", as printed: a voxel is ignored if either entropy is above its threshold. "and", as the
    prose and Fig. 3: only if both are.

    Shapes: entropies (B, X, Y, Z) -> (B, X, Y, Z) bool, True = kept.
    """
    require_voxels(entropy_a, entropy_b=entropy_b)
    thresholds = [entropy_threshold(entropy, percentile) for entropy in (entropy_a, entropy_b)]
    return keep_below(entropy_a, entropy_b, *thresholds, combine)


def keep_below(
    entropy_a: Tensor,
    entropy_b: Tensor,
    threshold_a: Tensor,
    threshold_b: Tensor,
    combine: Literal["or", "and"] = "or",
) -> Tensor:
    """`confident_mask` with thresholds that are known already, (B, X, Y, Z) bool."""
    require_one_of("combine", combine, ("or", "and"))
    above_a, above_b = entropy_a > threshold_a, entropy_b > threshold_b
    return ~(above_a | above_b) if combine == "or" else ~(above_a & above_b)


def entropy_filtered_loss(logits: Tensor, pseudo_label: Tensor, keep: Tensor) -> Tensor:
    """Cross-entropy against the pseudo-label, mean over kept voxels, 0 where none is (eq. 11).

    Eq. 11 prints the indicator "not ignored" in the label's place; read so, it would drive sure
    background to foreground. The label is a constant for the gradient, whoever gave it.

    Shapes: logits (B, C, X, Y, Z), any C >= 2, pseudo_label (B, X, Y, Z) int64, keep (B, X, Y, Z)
    bool -> scalar.
    """
    require_logits(logits=logits)
    require_labels(logits, pseudo_label=pseudo_label)
    require_masks(logits, keep=keep)
    label = pseudo_label.masked_fill(~keep, IGNORED)
    total = F.cross_entropy(lift(logits), label, ignore_index=IGNORED, reduction="sum")
    return total / keep.sum().clamp_min(1)
