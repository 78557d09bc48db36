"""The soft Dice losses of the published programs, which are not interchangeable.

They differ in the denominator (squares or plain sums), in the classes (foreground only, or the
background too) and in what is averaged (per class over the whole batch, or per sample and class).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...losses import soft_dice_loss
from ...losses._inputs import checked, class_maps, labels, lift, same_shape

LINEAR_SMOOTH = 1e-8
EACH_SMOOTH = 1e-5


@checked(prob=class_maps, label=labels)
def dice_squared(prob: Tensor, label: Tensor) -> Tensor:
    """`losses.soft_dice_loss`, the mean over the foreground classes (UA-MT, MCF).

    Parameters
    ----------
    prob : (B, C, X, Y, Z), softmax
    label : (B, X, Y, Z) int64

    Returns
    -------
    Tensor
        Scalar.
    """
    classes = range(1, prob.shape[1])
    return torch.stack([soft_dice_loss(prob[:, c], label == c) for c in classes]).mean()


@checked(prob=class_maps, label=labels)
def dice_classes(prob: Tensor, label: Tensor) -> Tensor:
    """`losses.soft_dice_loss`, the mean over all classes, also the background (URPC, CPCL, AC-MT).

    Parameters
    ----------
    prob : (B, C, X, Y, Z), softmax
    label : (B, X, Y, Z) int64

    Returns
    -------
    Tensor
        Scalar.
    """
    classes = range(prob.shape[1])
    return torch.stack([soft_dice_loss(prob[:, c], label == c) for c in classes]).mean()


@checked(prob=class_maps, label=labels)
def dice_linear(prob: Tensor, label: Tensor) -> Tensor:
    """`soft_dice_linear` to the labels, the mean over the foreground classes (MC-Net, SS-Net).

    Parameters
    ----------
    prob : (B, C, X, Y, Z), softmax
    label : (B, X, Y, Z) int64

    Returns
    -------
    Tensor
        Scalar.
    """
    classes = range(1, prob.shape[1])
    return torch.stack([soft_dice_linear(prob[:, c], label == c) for c in classes]).mean()


@checked(target=same_shape)
def soft_dice_linear(prob: Tensor, target: Tensor) -> Tensor:
    r"""One minus soft Dice with plain denominators, over all values at once.

    $1 - (2 \sum p q + s) / (\sum p + \sum q + s)$ with $s = 10^{-8}$. The target may be soft. Of
    two softmax maps with all their classes it is one minus their mean product, which for equal maps
    is 0 only where they are one-hot.

    Parameters
    ----------
    prob : (B, X, Y, Z) of one class, or (B, C, X, Y, Z)
    target : of the same shape, in [0, 1]; the gradient reaches it

    Returns
    -------
    Tensor
        Scalar.
    """
    prob = lift(prob)
    target = target.to(prob.dtype)
    size = prob.sum() + target.sum()
    return 1 - (2 * (prob * target).sum() + LINEAR_SMOOTH) / (size + LINEAR_SMOOTH)


@checked(prob=class_maps, label=labels)
def dice_each(prob: Tensor, label: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""Soft Dice loss with plain denominators of each sample and class, then the mean (BCP).

    $1 - (2 \sum m p y + s) / (\sum m p + \sum m y + s)$ with $s = 10^{-5}$, the background too.

    Parameters
    ----------
    prob : (B, C, X, Y, Z), softmax
    label : (B, X, Y, Z) int64
    mask : (B, X, Y, Z) or (X, Y, Z) bool, the voxels m that count; None: all

    Returns
    -------
    Tensor
        Scalar.
    """
    prob = lift(prob)
    target = F.one_hot(label, prob.shape[1]).movedim(-1, 1).to(prob.dtype)
    if mask is not None:
        counted = mask.unsqueeze(-4).to(prob.dtype)
        prob, target = prob * counted, target * counted
    overlap = (prob * target).sum((2, 3, 4))
    size = (prob + target).sum((2, 3, 4))
    return (1 - (2 * overlap + EACH_SMOOTH) / (size + EACH_SMOOTH)).mean()


def cross_entropy_and_dice(logits: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy plus `dice_classes`: the supervised loss of URPC, CPCL and AC-MT.

    Parameters
    ----------
    logits : (B, C, X, Y, Z)
    label : (B, X, Y, Z) int64

    Returns
    -------
    Tensor
        Scalar.
    """
    return F.cross_entropy(lift(logits), label) + dice_classes(lift(logits).softmax(1), label)
