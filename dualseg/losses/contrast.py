"""Prototype-guided contrast: uncertain voxels go to sure ones (section 3.4, eqs. 16-20)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ..config.training import Progress
from ..errors import require
from ._inputs import checked, class_maps, labels, lift, mask, one_of, where
from .cross_pseudo import pseudo_label
from .entropy import entropy_bits, entropy_threshold

ThirdTerm = Literal["attract", "repel", "none"]
THIRD_TERMS: dict[str, float] = {"attract": 1.0, "repel": -1.0, "none": 0.0}
TINY = 1e-12  # squared lengths below this count as zero, and have no gradient


@checked(logits_a=class_maps, logits_b=class_maps)
def reliable_mask(logits_a: Tensor, logits_b: Tensor, percentile: float) -> Tensor:
    r"""Voxels where both networks agree and both are sure (eq. 16): the set $S^r$ of eq. 17.

    $R = [\hat y^A = \hat y^B] \wedge [H^A < \tau^A] \wedge [H^B < \tau^B]$, where $\tau$ is the
    percentile of the network's own entropies. A constant for the gradient.

    Parameters
    ----------
    logits_a, logits_b : (B, C, X, Y, Z)
    percentile : the paper's $\gamma$, from 0 to 100

    Returns
    -------
    Tensor
        (B, X, Y, Z) bool.
    """
    entropy_a, entropy_b = (
        entropy_bits(lift(logits.detach()).softmax(1)) for logits in (logits_a, logits_b)
    )
    threshold_a = entropy_threshold(entropy_a, percentile)
    threshold_b = entropy_threshold(entropy_b, percentile)
    agree = pseudo_label(logits_a) == pseudo_label(logits_b)
    return agree_below(agree, entropy_a, entropy_b, threshold_a, threshold_b)


def agree_below(
    agree: Tensor, entropy_a: Tensor, entropy_b: Tensor, threshold_a: Tensor, threshold_b: Tensor
) -> Tensor:
    """`reliable_mask` with entropies and thresholds that are known already, (B, X, Y, Z) bool."""
    return agree & (entropy_a < threshold_a) & (entropy_b < threshold_b)


@checked(
    features=where(lambda shape: len(shape) == 5, "shape (B, F, X, Y, Z)"),
    labels=labels,
    reliable=mask,
    num_classes=where(lambda value: value >= 2, "at least 2"),
)
def class_prototypes(
    features: Tensor, labels: Tensor, reliable: Tensor, num_classes: int = 2
) -> tuple[Tensor, Tensor]:
    r"""Mean raw feature of each class's reliable voxels: $c_k = \frac{1}{|S_k^r|} \sum f_i$.

    Parameters
    ----------
    features : (B, F, X, Y, Z)
    labels : (B, X, Y, Z) int64, the class of each voxel
    reliable : (B, X, Y, Z) bool
    num_classes : C

    Returns
    -------
    prototypes : Tensor
        (C, F); 0 for a class without reliable voxels.
    exists : Tensor
        (C,) bool, whether a class has reliable voxels.

    References
    ----------
    Eqs. 18-19.
    """
    members = _members(labels, num_classes) & reliable.flatten(1).unsqueeze(1)
    count, vectors = members.sum((0, 2)), lift(features).flatten(2)
    sums = torch.einsum("bcn,bfn->cf", members.to(vectors), vectors)
    return sums / count.clamp_min(1).unsqueeze(1), count > 0


@checked(third_term=one_of(*THIRD_TERMS), reduction=one_of("mean", "sum"))
def prototype_contrast(
    features: Tensor,
    labels: Tensor,
    reliable: Tensor,
    third_term: ThirdTerm = "attract",
    reduction: Literal["mean", "sum"] = "mean",
    normalise: bool = True,
    num_classes: int = 2,
    detach_prototypes: bool = False,
) -> Tensor:
    r"""Distance of the uncertain voxels to the prototype of their class (eq. 20).

    $\sum_{i \in S_f^u} d(f_i, c_f) + \sum_{i \in S_b^u} d(f_i, c_b) + d(c_f, c_b)$ with the
    Euclidean distance d; the uncertain voxels $S^u$ are those that are not reliable. A class
    without reliable voxels has no prototype: its term and its $d(c_f, c_b)$ are left out. With more
    classes: the mean over the foreground classes, each against the background.

    Parameters
    ----------
    features : (B, F, X, Y, Z)
    labels : (B, X, Y, Z) int64, the class of each voxel
    reliable : (B, X, Y, Z) bool
    third_term : "attract" is the printed $+d(c_f, c_b)$, which pulls the classes together; the
        prose wants them apart, "repel"; "none" leaves the term out
    reduction : "mean" or, as printed, "sum" over a class's uncertain voxels
    normalise : compare unit vectors (the prototypes after their mean); a zero vector stays zero
    num_classes : C
    detach_prototypes : no gradient flows through the prototypes

    Returns
    -------
    Tensor
        Scalar.
    """
    prototypes, exists = class_prototypes(features, labels, reliable, num_classes)
    if detach_prototypes:
        prototypes = prototypes.detach()
    vectors = lift(features).flatten(2)
    squares = vectors.square().sum(1, keepdim=True)
    if normalise:
        prototypes = prototypes * _inverse_length(prototypes.square().sum(1, keepdim=True))
    # |f - c|^2 = |f|^2 + |c|^2 - 2 f.c, so that no array of voxels x features is made.
    products = torch.einsum("cf,bfn->bcn", prototypes, vectors)
    if normalise:
        products, squares = products * _inverse_length(squares), squares.gt(TINY).to(squares)
    sizes = squares + prototypes.square().sum(1).unsqueeze(1)
    rounding = 4 * torch.finfo(sizes.dtype).eps * sizes.detach()
    distances = _root(sizes - 2 * products, rounding)
    uncertain = _members(labels, num_classes) & ~reliable.flatten(1).unsqueeze(1)
    terms = (distances * uncertain).sum((0, 2))
    if reduction == "mean":
        terms = terms / uncertain.sum((0, 2)).clamp_min(1)
    between = _root((prototypes[1:] - prototypes[0]).square().sum(1), TINY)
    terms, both = terms * exists, exists[1:] & exists[0]
    return terms[0] + (terms[1:] + THIRD_TERMS[third_term] * between * both).mean()


@checked(shape=one_of("rise", "fall"))
def contrast_weight(progress: Progress | float, shape: Literal["rise", "fall"] = "rise") -> float:
    r"""The weight $\lambda_c = 0.1 e^{-4 (1 - t)^2}$ of section 4.2, with t = step / total steps.

    Parameters
    ----------
    progress : of the training, or t itself
    shape : "rise" as above; "fall" is the printed $0.1 e^{+4 (1 - t)^2}$, from 5.46 down to 0.1:
        very probably a misprint of the usual ramp-up

    Returns
    -------
    float
        At most 0.1 with "rise".
    """
    t = progress.fraction if isinstance(progress, Progress) else progress
    require(0 <= t <= 1, "progress", "t from 0 to 1", t)
    return 0.1 * math.exp((4 if shape == "fall" else -4) * (1 - t) ** 2)


def _members(labels: Tensor, num_classes: int) -> Tensor:
    """(B, X, Y, Z) -> (B, C, N) bool: which voxels are of a class."""
    classes = torch.arange(num_classes, device=labels.device).view(1, -1, 1)
    return labels.flatten(1).unsqueeze(1) == classes


def _inverse_length(squares: Tensor) -> Tensor:
    """1 / sqrt, and 0 with a gradient of 0 for a vector of no length."""
    return torch.where(squares <= TINY, 0, squares.clamp_min(TINY).rsqrt())  # NaN stays NaN


def _root(squares: Tensor, rounding: Tensor | float) -> Tensor:
    """Square root, and 0 with a gradient of 0 for what is no more than rounding."""
    nothing = squares <= rounding  # so that NaN stays NaN
    return torch.where(nothing, 0, torch.where(nothing, 1, squares).sqrt())
