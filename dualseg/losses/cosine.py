"""A term of the released code that the paper does not have."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ._inputs import lift, require_logits


def cosine_consistency(prob_a: Tensor, prob_b: Tensor) -> Tensor:
    """One minus the cosine of the two networks' class probabilities, mean over voxels.

    Not in the paper; in the released program it is all that the V-Net learns from unlabeled
    volumes. The gradient reaches both networks.

    Shapes: (B, C, X, Y, Z), softmax, any C >= 2 -> scalar.
    """
    require_logits(prob_a=prob_a, prob_b=prob_b)
    return 1 - F.cosine_similarity(lift(prob_a), lift(prob_b), dim=1).mean()
