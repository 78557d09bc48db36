"""Voxels of an object are drawn to good examples of it (SS-Net)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ...networks.voxel_heads import TopMemory, VoxelHeads
from .adversarial import in_mode

_SMALL = 1e-8  # in place of an empty sum


class ClassCompactness(nn.Module):
    """The small networks on voxels, the memory of each object class, and the distance to it.

    The published program has one for the background as well, whose memory stays empty.

    Parameters
    ----------
    features : int
        Channels of the maps.
    classes : int
        Number of classes, with the background.
    """

    def __init__(self, features: int, classes: int):
        super().__init__()
        self.classes = classes
        self.heads = VoxelHeads(features, classes - 1)
        self.memory = TopMemory(classes - 1)

    @torch.no_grad()
    def remember(self, features: Tensor, label: Tensor, predicted: Tensor) -> None:
        """Renew the memory from the voxels of an object that are classified correctly.

        Parameters
        ----------
        features : Tensor, shape (B, F, X, Y, Z)
        label, predicted : Tensor, shape (B, X, Y, Z)
            int64 classes.
        """
        with in_mode(self.heads.projection, training=False):
            projected = self.heads.projection(_rows(features))
        for number, selector in enumerate(self.heads.voxel_selectors):
            correct = (label == number + 1) & (predicted == label)
            scores = selector(projected)[:, 0]
            self.memory.renew(number, projected, scores, correct.flatten())

    def forward(self, features: Tensor, classes: Tensor) -> Tensor:
        """Weighted mean cosine distance of each object's voxels to its memory, over the classes.

        The program takes the mean over all pairs of a voxel v and a memory vector m of
        w_v w_m (1 - cos(v, m)), with weights w = n s / sum(s) of n scores s. These have the mean 1,
        so that is the weighted mean distance to one vector, the weighted mean of the memory.

        Parameters
        ----------
        features : Tensor, shape (B, F, X, Y, Z)
        classes : Tensor, shape (B, X, Y, Z)
            int64, by label or by prediction.

        Returns
        -------
        Tensor
            Scalar; a class without memory, or without a voxel, adds 0.
        """
        vectors = self.heads.prediction(self.heads.projection(_rows(features)))
        directions = normalize(vectors, dim=1)
        total = vectors.new_zeros(())
        for number in range(self.classes - 1):
            scores = self.heads.voxel_selectors[number](vectors.detach())[:, 0].sigmoid()
            weight = scores * (classes == number + 1).flatten()
            distance = 1 - directions @ self._center(number)
            mean = (weight * distance).sum() / weight.sum().clamp_min(_SMALL)
            # Multiplied by 0, and not left out, so that each head has a gradient in every step.
            total = total + mean * self.memory.filled[number].any()
        return total / self.classes

    def _center(self, number: int) -> Tensor:
        """Mean of a class's memory, of unit vectors and weighted by their scores: (width,)."""
        vectors = normalize(self.memory.vectors[number], dim=1)
        scores = self.heads.memory_selectors[number](vectors)[:, 0].sigmoid()
        scores = scores * self.memory.filled[number]
        return (scores @ vectors) / scores.sum().clamp_min(_SMALL)


def _rows(maps: Tensor) -> Tensor:
    """Maps (B, F, X, Y, Z) as one row of F values a voxel."""
    return maps.movedim(1, -1).flatten(0, 3)
