"""Entropy-filtered supervision: learn only where both are sure (section 3.2.2, eqs. 9-12)."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ._inputs import checked, class_maps, labels, lift, mask, one_of, percent, voxels, where

IGNORED = -100  # a class number that cross_entropy leaves out


@checked(prob=class_maps)
def entropy_bits(prob: Tensor) -> Tensor:
    r"""Entropy of each voxel's class probabilities in bits (eq. 9): $-\sum_c p_c \log_2 p_c$.

    Of the softmax, not of the logits. 0 log 0 counts as 0, and its gradient is finite.

    Parameters
    ----------
    prob : (B, C, X, Y, Z), softmax

    Returns
    -------
    Tensor
        (B, X, Y, Z), from 0 to log2 C.
    """
    prob = lift(prob)
    return -(prob * prob.clamp_min(torch.finfo(prob.dtype).tiny).log2()).sum(1)


@checked(
    percentile=percent, entropy=where(lambda shape: math.prod(shape) > 0, "at least one value")
)
def entropy_threshold(entropy: Tensor, percentile: float) -> Tensor:
    r"""The percentile $\gamma$ of all entropies together (below eq. 10), one network at a time.

    Linear interpolation between the two nearest values, as `numpy.percentile`. Computed on the
    tensor's device; a constant for the gradient.

    Parameters
    ----------
    entropy : of any shape
    percentile : from 0 to 100

    Returns
    -------
    Tensor
        Scalar.
    """
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


@checked(percentile=percent, label=labels)
def class_thresholds(
    entropy: Tensor, label: Tensor, percentile: float, num_classes: int = 2
) -> Tensor:
    """The percentile of the entropies of each class apart, at each voxel that of its class.

    Not in the paper: where the object is small and less sure than the background, the percentile of
    all voxels ignores all of it; within its class the filter (eq. 10) always keeps a share of it.
    Reliability (eq. 16) wants strictly less, which nothing is where most entropies of a class are
    one and the same value (features that a ReLU made zero). A constant for the gradient.

    Parameters
    ----------
    entropy : (B, X, Y, Z)
    label : (B, X, Y, Z) int64, the network's own argmax
    percentile : from 0 to 100
    num_classes : C

    Returns
    -------
    Tensor
        (B, X, Y, Z).
    """
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


@checked(entropy_b=voxels)
def confident_mask(
    entropy_a: Tensor, entropy_b: Tensor, percentile: float, combine: Literal["or", "and"] = "or"
) -> Tensor:
    r"""Voxels that are kept (eq. 10): $\neg ([H^A > \tau^A] \vee [H^B > \tau^B])$.

    Each network has its own threshold $\tau$, the percentile of its entropies.

    Parameters
    ----------
    entropy_a, entropy_b : (B, X, Y, Z)
    percentile : the paper's $\gamma$, from 0 to 100
    combine : "or", as printed: a voxel is ignored if either entropy is above its threshold; "and",
        as the prose and Fig. 3: only if both are

    Returns
    -------
    Tensor
        (B, X, Y, Z) bool, True = kept.
    """
    threshold_a = entropy_threshold(entropy_a, percentile)
    threshold_b = entropy_threshold(entropy_b, percentile)
    return keep_below(entropy_a, entropy_b, threshold_a, threshold_b, combine)


@checked(combine=one_of("or", "and"))
def keep_below(
    entropy_a: Tensor,
    entropy_b: Tensor,
    threshold_a: Tensor,
    threshold_b: Tensor,
    combine: Literal["or", "and"] = "or",
) -> Tensor:
    """`confident_mask` with thresholds that are known already.

    Parameters
    ----------
    entropy_a, entropy_b : (B, X, Y, Z)
    threshold_a, threshold_b : scalars, or (B, X, Y, Z) as of `class_thresholds`
    combine : as for `confident_mask`

    Returns
    -------
    Tensor
        (B, X, Y, Z) bool, True = kept.
    """
    above_a, above_b = entropy_a > threshold_a, entropy_b > threshold_b
    return ~(above_a | above_b) if combine == "or" else ~(above_a & above_b)


@checked(logits=class_maps, pseudo_label=labels, keep=mask)
def entropy_filtered_loss(logits: Tensor, pseudo_label: Tensor, keep: Tensor) -> Tensor:
    r"""Cross-entropy against the pseudo-label, mean over kept voxels (eq. 11).

    $\sum K \cdot CE(\ell, \hat y) / \sum K$. Eq. 11 prints the indicator "not ignored" in the
    label's place; read so, it would drive sure background to foreground. The label is a constant
    for the gradient, whoever gave it.

    Parameters
    ----------
    logits : (B, C, X, Y, Z)
    pseudo_label : (B, X, Y, Z) int64
    keep : (B, X, Y, Z) bool

    Returns
    -------
    Tensor
        Scalar, 0 where no voxel is kept.
    """
    label = pseudo_label.masked_fill(~keep, IGNORED)
    total = F.cross_entropy(lift(logits), label, ignore_index=IGNORED, reduction="sum")
    return total / keep.sum().clamp_min(1)
