"""Supervised segmentation: cross-entropy and soft Dice (section 3, eq. 2)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ._inputs import checked, class_maps, labels, lift, same_shape

SMOOTH = 1e-5


@checked(target=same_shape)
def soft_dice_loss(foreground_prob: Tensor, target: Tensor) -> Tensor:
    r"""One minus soft Dice with squared denominators, over the whole batch at once.

    $1 - (2 \sum p y + s) / (\sum p^2 + \sum y^2 + s)$ with $s = 10^{-5}$; the paper names the term
    (eq. 2) without its formula, this is the one of the programs it builds on (UA-MT, MCF).

    Parameters
    ----------
    foreground_prob : (B, X, Y, Z) in [0, 1]
    target : (B, X, Y, Z) of 0 and 1

    Returns
    -------
    Tensor
        Scalar, 0 where both are empty.
    """
    prob = lift(foreground_prob)
    target = target.to(prob)
    overlap = (prob * target).sum()
    size = prob.square().sum() + target.square().sum()
    return 1 - (2 * overlap + SMOOTH) / (size + SMOOTH)


@checked(logits=class_maps, target=labels)
def supervised_loss(logits: Tensor, target: Tensor) -> Tensor:
    r"""Cross-entropy plus soft Dice: eq. 2 without the consistency term.

    With more than two classes the Dice term is the mean over the foreground classes.

    Parameters
    ----------
    logits : (B, C, X, Y, Z)
    target : (B, X, Y, Z) int64 class numbers

    Returns
    -------
    Tensor
        Scalar.
    """
    logits = lift(logits)
    prob = logits.softmax(1)
    classes = range(1, logits.shape[1])
    dice = sum(soft_dice_loss(prob[:, c], target == c) for c in classes) / len(classes)
    return F.cross_entropy(logits, target) + dice
