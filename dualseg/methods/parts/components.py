"""The largest connected component of a mask."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import label
from torch import Tensor


def largest_component(mask: Tensor) -> Tensor:
    """Keep the largest connected component of each sample.

    Voxels are connected where they share a face, an edge or a corner (26 neighbors).

    Parameters
    ----------
    mask : Tensor, shape (B, X, Y, Z)
        bool.

    Returns
    -------
    Tensor, shape (B, X, Y, Z)
        bool; an empty mask stays empty, and of equally large components the first is kept.
    """
    kept = np.stack([_largest(sample) for sample in mask.cpu().numpy()])
    return torch.from_numpy(kept).to(mask.device)


def _largest(mask: np.ndarray) -> np.ndarray:
    components, count = label(mask, np.ones((3, 3, 3)))
    if count == 0:
        return mask
    sizes = np.bincount(components[mask])
    return components == sizes.argmax()
