"""Copy-paste between two volumes, and the loss of a volume that is put together of two (BCP)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...losses._inputs import checked, class_maps, labels
from .dice import dice_each
from .masked import masked_mean


def paste_box(shape: Sequence[int], share: float = 2 / 3) -> Tensor:
    """A box at a random place of a crop.

    Parameters
    ----------
    shape : sequence of int
        The crop's three sides.
    share : float
        The box's part of each side, rounded down: 74 x 74 x 53 voxels of 112 x 112 x 80.

    Returns
    -------
    Tensor, shape (X, Y, Z)
        bool, true inside the box; each place has the same probability.
    """
    box = torch.zeros(*shape, dtype=torch.bool)
    sides = [int(side * share) for side in shape]
    starts = [
        int(torch.randint(side - part + 1, ())) for side, part in zip(shape, sides, strict=True)
    ]
    x, y, z = (slice(start, start + part) for start, part in zip(starts, sides, strict=True))
    box[x, y, z] = True
    return box


def paste(outside: Tensor, inside: Tensor, box: Tensor) -> Tensor:
    """The first of two images or labels (..., X, Y, Z), with the second one's in the box."""
    return torch.where(box, inside, outside)


@checked(logits=class_maps, outside=labels, inside=labels)
def mixed_loss(
    logits: Tensor, outside: Tensor, inside: Tensor, box: Tensor
) -> tuple[Tensor, Tensor]:
    """Cross-entropy and soft Dice of each of the two regions, halved.

    Parameters
    ----------
    logits : Tensor, shape (B, C, X, Y, Z)
        Of a volume that is of one case outside the box and of another inside.
    outside, inside : Tensor, shape (B, X, Y, Z)
        int64 labels of the two cases.
    box : Tensor, shape (X, Y, Z)
        bool, true inside.

    Returns
    -------
    tuple of Tensor
        Scalars: the loss outside the box, and the loss inside.

    References
    ----------
    Bai et al., BCP, 2023 (there weighted and summed).
    """
    return region_loss(logits, outside, ~box), region_loss(logits, inside, box)


def region_loss(logits: Tensor, label: Tensor, region: Tensor) -> Tensor:
    """(Cross-entropy + soft Dice) / 2 in a region (X, Y, Z): `mixed_loss` of one of the two."""
    entropy = F.cross_entropy(logits, label, reduction="none")
    dice = dice_each(logits.softmax(1), label, region)
    return (masked_mean(entropy, region.expand_as(entropy)) + dice) / 2
