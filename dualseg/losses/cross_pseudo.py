"""Cross pseudo supervision (section 3.2.1, eqs. 7-8)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ._inputs import checked, class_maps, lift


@checked(logits=class_maps)
def pseudo_label(logits: Tensor) -> Tensor:
    r"""The hard label $\hat y$ of eq. 7: each voxel's most probable class, the lower one of equals.

    Parameters
    ----------
    logits : (B, C, X, Y, Z), or probabilities

    Returns
    -------
    Tensor
        (B, X, Y, Z) int64, a constant for the gradient.
    """
    # The same as argmax(1), which on a CPU takes up to twenty times as long.
    return logits.detach().max(1).indices


@checked(logits_a=class_maps, logits_b=class_maps)
def cross_pseudo_loss(logits_a: Tensor, logits_b: Tensor) -> Tensor:
    r"""Each network learns the other's hard label: $CE(A, \hat y^B) + CE(B, \hat y^A)$ (eqs. 7-8).

    Each direction is counted once (eq. 1, read literally, counts both twice). The labels are
    constants: no gradient flows through them. The paper's text also thresholds the pseudo-label at
    0.6; eq. 7, followed here, does not.

    Parameters
    ----------
    logits_a, logits_b : (B, C, X, Y, Z) of the same unlabeled samples

    Returns
    -------
    Tensor
        Scalar.
    """
    logits_a, logits_b = lift(logits_a), lift(logits_b)
    learned_by_a = F.cross_entropy(logits_a, pseudo_label(logits_b))
    return learned_by_a + F.cross_entropy(logits_b, pseudo_label(logits_a))
