"""A term of the released code that the paper does not have."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ._inputs import checked, class_maps, lift


@checked(prob_a=class_maps, prob_b=class_maps)
def cosine_consistency(prob_a: Tensor, prob_b: Tensor) -> Tensor:
    r"""One minus the cosine of both networks' probabilities: $1 - p^A p^B / (|p^A| |p^B|)$.

    Not in the paper; in the released program it is all that the V-Net learns from unlabeled
    volumes. The gradient reaches both networks.

    Parameters
    ----------
    prob_a, prob_b : (B, C, X, Y, Z), softmax of each network

    Returns
    -------
    Tensor
        Scalar, the mean over voxels.
    """
    return 1 - F.cosine_similarity(lift(prob_a), lift(prob_b), dim=1).mean()
