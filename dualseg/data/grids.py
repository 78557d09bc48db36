"""Bringing arrays to other grids over the same box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # here: the command line starts without torch
    from torch import Tensor


def resize(volume: Tensor, shape: Sequence[int]) -> Tensor:
    """Linear interpolation of a volume (C, X, Y, Z) to a grid of `shape` over the same box."""
    from torch.nn.functional import interpolate

    if tuple(volume.shape[1:]) == tuple(shape):
        return volume
    return interpolate(volume[None], size=tuple(shape), mode="trilinear", align_corners=False)[0]


def resampled_shape(
    shape: Sequence[int], spacing: Sequence[float], wanted: Sequence[float]
) -> tuple[int, int, int]:
    """The whole number of voxels along each axis whose sizes come nearest to the wanted ones.

    Parameters
    ----------
    shape : sequence of int
        Voxels along each axis of the volume.
    spacing, wanted : sequence of float
        Their size and the wanted size in mm. The size that voxels of the new grid really have is
        `shape * spacing / resampled_shape`.

    Returns
    -------
    tuple of three int
    """
    x, y, z = (
        max(round(n * have / want), 1) for n, have, want in zip(shape, spacing, wanted, strict=True)
    )
    return x, y, z


def shrink_image(image: np.ndarray, factor: int) -> np.ndarray:
    """The mean over blocks of factor^3 voxels.

    Voxel i of the small grid covers the full-grid voxels f*i to f*i + f-1; the border is repeated
    where a side is no multiple of the factor f.

    Parameters
    ----------
    image : ndarray (X, Y, Z) or (C, X, Y, Z)
    factor : int

    Returns
    -------
    ndarray (ceil(X/f), ceil(Y/f), ceil(Z/f)) float32, each channel by itself
    """
    if image.ndim == 4:
        return np.stack([shrink_image(channel, factor) for channel in image])
    return _blocks(image.astype(np.float32), factor).mean((1, 3, 5), dtype=np.float32)


def shrink_label(label: np.ndarray, factor: int, classes: int) -> np.ndarray:
    """The class with the largest share of each block, the lower number of two equal ones.

    Parameters and result are as in `shrink_image`; `label` (X, Y, Z) holds class numbers from 0 to
    `classes` - 1, and the result is uint8.
    """
    if factor == 1:
        return label.astype(np.uint8)
    shares = [_blocks(label == c, factor).mean((1, 3, 5), dtype=np.float32) for c in range(classes)]
    return np.argmax(shares, axis=0).astype(np.uint8)


def _blocks(volume: np.ndarray, factor: int) -> np.ndarray:
    padded = np.pad(volume, [(0, -side % factor) for side in volume.shape], mode="edge")
    x, y, z = (side // factor for side in padded.shape)
    return padded.reshape(x, factor, y, factor, z, factor)
