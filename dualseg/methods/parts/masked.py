"""Means over a part of the voxels."""

from __future__ import annotations

from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values where the mask is true, and 0 (without a gradient) where it is nowhere.

    Parameters
    ----------
    values : (B, X, Y, Z), or any shape
    mask : bool, of the same shape

    Returns
    -------
    Tensor
        Scalar.
    """
    return (values * mask).sum() / mask.sum().clamp_min(1)
