"""The signed distance map of a mask: the target of a network's distance head (SASSNet, DTC)."""

from __future__ import annotations

import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor


def signed_distance(mask: Tensor) -> Tensor:
    """Distance of each voxel to the surface: negative inside, 0 on it, positive outside.

    Both sides are divided by their own largest distance, so the map lies within -1 and 1. The
    surface is made of the object's voxels that share a face with the background: those whose
    distance to it is 1. What lies beyond the crop's border is not seen.

    Parameters
    ----------
    mask : Tensor, shape (B, X, Y, Z)
        True inside.

    Returns
    -------
    Tensor, shape (B, X, Y, Z)
        float32; zero everywhere for a sample without an object, or without a background (there the
        published programs divide 0 by 0).

    References
    ----------
    Li et al., SASSNet, 2020; Luo et al., DTC, 2021 (the same program).
    """
    return torch.stack([_signed_distance(sample) for sample in mask])


def _signed_distance(mask: Tensor) -> Tensor:
    if mask.all() or not mask.any():
        return torch.zeros_like(mask, dtype=torch.float32)
    transform = by_axis if mask.is_cuda else by_scipy
    inside, outside = transform(mask), transform(~mask)
    inside = torch.where(inside == 1, 0, inside / inside.max())
    return outside / outside.max() - inside


def by_scipy(mask: Tensor) -> Tensor:
    """Distance of each true voxel of (X, Y, Z) to the nearest false one, on the CPU."""
    return torch.from_numpy(distance_transform_edt(mask.numpy())).float()


def by_axis(mask: Tensor) -> Tensor:
    """As `by_scipy`, by comparing all pairs of voxels of a line: much work, but quick on a GPU.

    The square of a distance is a sum over the axes, so one axis is done after the other
    (Felzenszwalb and Huttenlocher, Distance transforms of sampled functions, 2012).
    """
    squared = torch.where(mask, torch.inf, 0.0)
    for axis in range(3):
        place = torch.arange(mask.shape[axis], device=mask.device)
        along = (place[:, None] - place).square()
        lines = squared.movedim(axis, -1)
        squared = (lines[..., None, :] + along).amin(-1).movedim(-1, axis)
    return squared.sqrt()
