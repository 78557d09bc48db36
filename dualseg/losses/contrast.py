"""Prototype-guided contrast: uncertain voxels go to sure ones (section 3.4, eqs. 16-20)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ..config.training import Progress
from ..errors import require, require_one_of
from ._inputs import lift, require_labels, require_logits, require_masks
from .entropy import entropy_bits, entropy_threshold

ThirdTerm = Literal["attract", "repel", "none"]
THIRD_TERMS: dict[str, float] = {"attract": 1.0, "repel": -1.0, "none": 0.0}


def reliable_mask(logits_a: Tensor, logits_b: Tensor, percentile: float) -> Tensor:
    """Voxels where both networks agree and both are sure (eq. 16): the set S^r of eq. 17.

    Sure: the network's entropy is strictly below its own percentile (gamma).

    Shapes: logits (B, C, X, Y, Z), any C >= 2 -> (B, X, Y, Z) bool. A constant for the gradient.
    """
    require_logits(logits_a=logits_a, logits_b=logits_b)
    agree = logits_a.argmax(1) == logits_b.argmax(1)
    entropies = [entropy_bits(lift(logits.detach()).softmax(1)) for logits in (logits_a, logits_b)]
    return agree_below(agree, *entropies, *(entropy_threshold(e, percentile) for e in entropies))


def agree_below(
    agree: Tensor, entropy_a: Tensor, entropy_b: Tensor, threshold_a: Tensor, threshold_b: Tensor
) -> Tensor:
    """`reliable_mask` with entropies and thresholds that are known already, (B, X, Y, Z) bool."""
    return agree & (entropy_a < threshold_a) & (entropy_b < threshold_b)


def class_prototypes(
    features: Tensor, labels: Tensor, reliable: Tensor, num_classes: int = 2
) -> tuple[Tensor, Tensor]:
    """Mean raw feature of each class's reliable voxels (eqs. 18-19), and which classes have any.

    Shapes: features (B, F, X, Y, Z), labels (B, X, Y, Z) int64, reliable (B, X, Y, Z) bool
    -> prototypes (C, F), exists (C,) bool. A class without reliable voxels has prototype 0.
    """
    require(features.dim() == 5, "features", "shape (B, F, X, Y, Z)", tuple(features.shape))
    require_labels(features, labels=labels)
    require_masks(features, reliable=reliable)
    require(num_classes >= 2, "num_classes", "at least 2", num_classes)
    members = _members(labels, num_classes) & reliable.flatten(1).unsqueeze(1)
    count, vectors = members.sum((0, 2)), lift(features).flatten(2)
    sums = torch.einsum("bcn,bfn->cf", members.to(vectors), vectors)
    return sums / count.clamp_min(1).unsqueeze(1), count > 0


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

    For foreground and background the mean (in print: the sum) of the Euclidean distances of the
    class's uncertain voxels, those not in `reliable`, to its prototype; plus, minus or without the
    distance $d(c_f, c_b)$ of the prototypes. "attract" is the printed plus, which pulls the classes
    together; the prose wants them apart, "repel". `normalise` compares unit vectors (prototypes are
    normalised after the mean); a zero vector stays zero. The gradient also flows through the
    prototypes unless `detach_prototypes`.

    A class without reliable voxels has no prototype: its term and its $d(c_f, c_b)$ are left out.
    With more classes: the mean over the foreground classes, each against the background.

    Shapes: features (B, F, X, Y, Z), labels (B, X, Y, Z) int64, reliable (B, X, Y, Z) bool
    -> scalar.
    """
    require_one_of("third_term", third_term, THIRD_TERMS)
    require_one_of("reduction", reduction, ("mean", "sum"))
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


def contrast_weight(progress: Progress | float, shape: Literal["rise", "fall"] = "rise") -> float:
    r"""lambda_c of section 4.2 at t = step / total steps: "rise" $0.1 e^{-4 (1 - t)^2}$.

    "fall" is the printed $0.1 e^{+4 (1 - t)^2}$, from 5.46 down to 0.1: very probably a misprint of
    the usual ramp-up. `progress` may be t itself.
    """
    require_one_of("shape", shape, ("rise", "fall"))
    t = progress.fraction if isinstance(progress, Progress) else progress
    require(0 <= t <= 1, "progress", "t from 0 to 1", t)
    return 0.1 * math.exp((4 if shape == "fall" else -4) * (1 - t) ** 2)


TINY = 1e-12  # squared lengths below this count as zero, and have no gradient


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
