"""Bringing arrays to other grids over the same box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # here: the command line starts without torch
    from torch import Tensor


def resize(volume: Tensor, shape: Sequence[int]) -> Tensor:
    """Linear interpolation of (C, X, Y, Z) to another grid over the same box."""
    from torch.nn.functional import interpolate

    if tuple(volume.shape[1:]) == tuple(shape):
        return volume
    return interpolate(volume[None], size=tuple(shape), mode="trilinear", align_corners=False)[0]


def resampled_shape(
    shape: Sequence[int], spacing: Sequence[float], wanted: Sequence[float]
) -> tuple[int, int, int]:
    """Voxels along each axis of a box, once they are as near to `wanted` mm as fits into it.

    The voxel size that they then have is `shape * spacing / resampled_shape`, not quite `wanted`.
    """
    return tuple(
        max(round(n * have / want), 1) for n, have, want in zip(shape, spacing, wanted, strict=True)
    )


def shrink_image(image: np.ndarray, factor: int) -> np.ndarray:
    """Mean over blocks of factor^3 voxels; (X, Y, Z) -> (ceil(X/f), ceil(Y/f), ceil(Z/f)) float32.

    Each channel of (C, X, Y, Z) by itself.

    Voxel i of the small grid covers the full-grid voxels f*i to f*i + f-1; the border is repeated
    where a side is no multiple of the factor.
    """
    if image.ndim == 4:
        return np.stack([shrink_image(channel, factor) for channel in image])
    return _blocks(image.astype(np.float32), factor).mean((1, 3, 5), dtype=np.float32)


def shrink_label(label: np.ndarray, factor: int, classes: int) -> np.ndarray:
    """The class with the largest share of each block (the lower number of equals), as uint8."""
    if factor == 1:
        return label.astype(np.uint8)
    shares = [_blocks(label == c, factor).mean((1, 3, 5), dtype=np.float32) for c in range(classes)]
    return np.argmax(shares, axis=0).astype(np.uint8)


def _blocks(volume: np.ndarray, factor: int) -> np.ndarray:
    padded = np.pad(volume, [(0, -side % factor) for side in volume.shape], mode="edge")
    x, y, z = (side // factor for side in padded.shape)
    return padded.reshape(x, factor, y, factor, z, factor)
