"""Small networks on the features of single voxels, and a memory of their vectors (SS-Net)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def perceptron(inputs: int, outputs: int, width: int, activation: nn.Module) -> nn.Sequential:
    """Linear, batch norm, activation, linear: maps (N, inputs) to (N, outputs)."""
    return nn.Sequential(
        nn.Linear(inputs, width), nn.BatchNorm1d(width), activation, nn.Linear(width, outputs)
    )


class VoxelHeads(nn.Module):
    """Projection, prediction, and for each class two selectors that score vectors.

    With the defaults 8,452 parameters, as in the published program, which has selectors for the
    background as well, though these never learn.

    Parameters
    ----------
    features : channels of the maps
    classes : number of classes with selectors
    width : length of the vectors
    """

    def __init__(self, features: int = 16, classes: int = 2, width: int = 32):
        super().__init__()
        self.projection = perceptron(features, width, width, nn.ReLU())
        self.prediction = perceptron(width, width, width, nn.ReLU())
        self.voxel_selectors = self._selectors(classes, width)
        self.memory_selectors = self._selectors(classes, width)

    @staticmethod
    def _selectors(classes: int, width: int) -> nn.ModuleList:
        return nn.ModuleList(perceptron(width, 1, width, nn.LeakyReLU(0.2)) for _ in range(classes))


class TopMemory(nn.Module):
    """The lowest-scored vectors of each class, kept from step to step in buffers.

    Parameters
    ----------
    classes : number of classes
    size : most vectors of a class
    width : length of a vector
    """

    vectors: Tensor
    """(classes, size, width)"""
    filled: Tensor
    """(classes, size) bool, which of them there are."""

    def __init__(self, classes: int, size: int = 32, width: int = 32):
        super().__init__()
        self.register_buffer("vectors", torch.zeros(classes, size, width))
        self.register_buffer("filled", torch.zeros(classes, size, dtype=torch.bool))

    @torch.no_grad()
    def renew(self, number: int, vectors: Tensor, scores: Tensor, candidates: Tensor) -> None:
        """Replace the vectors of a class, if there is a candidate; else the old ones stay.

        Parameters
        ----------
        number : int
            Of the class.
        vectors : Tensor, shape (N, width)
        scores : Tensor, shape (N,)
        candidates : Tensor, shape (N,)
            bool.
        """
        size = self.filled.shape[1]
        lowest = torch.where(candidates, scores, torch.inf).topk(size, largest=False)
        found = lowest.values < torch.inf
        new = found.any()  # not asked with `if`: a GPU need not be waited for
        self.vectors[number] = torch.where(new, vectors[lowest.indices], self.vectors[number])
        self.filled[number] = torch.where(new, found, self.filled[number])
