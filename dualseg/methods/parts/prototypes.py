"""Mean features of the classes in each sample, and how similar voxels are to them."""

from __future__ import annotations

import torch
from torch import Tensor

from ...losses._inputs import lift

LEAST_WEIGHT = 1e-5
LEAST_LENGTH = 1e-8


def sample_prototypes(features: Tensor, weight: Tensor) -> Tensor:
    r"""Weighted mean feature of each class in each sample: $\sum w_c f / \sum w_c$.

    `losses.class_prototypes` takes the mean over the whole batch.

    Parameters
    ----------
    features : (B, F, X, Y, Z)
    weight : (B, C, X, Y, Z), how much each voxel counts for each class

    Returns
    -------
    Tensor
        (B, C, F); 0 for a class that no voxel counts for.
    """
    vectors, shares = lift(features).flatten(2), weight.flatten(2)
    sums = torch.einsum("bcn,bfn->bcf", shares.to(vectors), vectors)
    return sums / shares.sum(2, keepdim=True).clamp_min(LEAST_WEIGHT)


def cosine_map(features: Tensor, prototypes: Tensor) -> Tensor:
    """Cosine of the angle between each voxel's feature and each class's prototype.

    Parameters
    ----------
    features : (B, F, X, Y, Z)
    prototypes : (B, C, F)

    Returns
    -------
    Tensor
        (B, C, X, Y, Z); 0 for a feature or a prototype without length.
    """
    vectors = lift(features)
    # Products first, so that no array of unit vectors is made.
    products = torch.einsum("bcf,bfxyz->bcxyz", prototypes, vectors)
    squares = vectors.square().sum(1, keepdim=True).clamp_min(LEAST_LENGTH**2)
    sizes = prototypes.square().sum(2).clamp_min(LEAST_LENGTH**2)
    return products * squares.rsqrt() * sizes.rsqrt()[:, :, None, None, None]
