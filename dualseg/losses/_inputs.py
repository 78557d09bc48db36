"""What every loss does with its inputs first: a safe precision, and shapes that belong together."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import require


def lift(values: Tensor) -> Tensor:
    """At least float32: bfloat16 is too coarse for a logarithm or a sum over a million voxels."""
    return values if values.dtype == torch.float64 else values.float()


def require_logits(**tensors: Tensor) -> None:
    """Raise DualsegError unless all are (B, C, X, Y, Z) with C >= 2, and of one shape.

    Shapes that only broadcast would give a number, and a wrong one.
    """
    first = next(iter(tensors.values())).shape
    for name, tensor in tensors.items():
        shape = tuple(tensor.shape)
        require(len(shape) == 5 and shape[1] > 1, name, "shape (B, C >= 2, X, Y, Z)", shape)
        require(shape == first, name, f"shape {tuple(first)} like the first argument", shape)


def require_voxels(like: Tensor, **tensors: Tensor) -> None:
    """Raise DualsegError unless all are (B, X, Y, Z), the batch and voxels of `like`.

    `like` is (B, C, X, Y, Z) or (B, X, Y, Z).
    """
    shape = like.shape[:1] + like.shape[-3:]
    for name, tensor in tensors.items():
        require(tensor.shape == shape, name, f"shape {tuple(shape)}", tuple(tensor.shape))


def require_labels(like: Tensor, **labels: Tensor) -> None:
    """`require_voxels`, and int64 class numbers."""
    require_voxels(like, **labels)
    for name, label in labels.items():
        require(label.dtype == torch.int64, name, "class numbers of type int64", label.dtype)


def require_masks(like: Tensor, **masks: Tensor) -> None:
    """`require_voxels`, and type bool."""
    require_voxels(like, **masks)
    for name, mask in masks.items():
        require(mask.dtype == torch.bool, name, "a mask of type bool", mask.dtype)
