"""A mean teacher: a network that is a moving average of the one that learns.

Tarvainen and Valpola, Mean teachers are better role models, NeurIPS 2017. As in the published
programs it predicts in training mode: with dropout, and with the statistics of its own batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def frozen_copy(network: Network) -> Network:
    """A copy with the same weights, whose parameters require no gradient.

    The programs give a teacher random weights of its own, which the first step overwrites; a copy
    spares that step a target from an unrelated network.
    """
    return copy.deepcopy(network).requires_grad_(False)


@torch.no_grad()
def ema_update(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """Move the teacher's parameters: teacher = decay teacher + (1 - decay) student.

    The running statistics of batch normalization are no parameters: the teacher's follow from its
    own passes.

    Parameters
    ----------
    teacher, student : nn.Module
        Of the same kind.
    decay : float
        What the teacher keeps of itself; 0 copies the student.
    """
    for mine, its in zip(teacher.parameters(), student.parameters(), strict=True):
        mine.lerp_(its, 1 - decay)


def early_decay(step: int, limit: float = 0.99) -> float:
    """Decay that lets a young teacher follow fast: min(1 - 1 / (step + 1), limit).

    Parameters
    ----------
    step : int
        From 0, after which the teacher is a copy of the student.
    limit : float

    Returns
    -------
    float
    """
    return min(1 - 1 / (step + 1), limit)


def noisy(image: Tensor, sd: float = 0.1, limit: float = 0.2) -> Tensor:
    """The image with normal noise, clipped, that is drawn from torch's generator.

    Parameters
    ----------
    image : Tensor
    sd : float
        Standard deviation of the noise before clipping.
    limit : float
        Largest size of the noise.

    Returns
    -------
    Tensor
        Of the same shape.
    """
    return image + (sd * torch.randn_like(image)).clamp(-limit, limit)


@torch.no_grad()
def mean_prediction(predict: Callable[[Tensor], Tensor], image: Tensor, passes: int) -> Tensor:
    """Mean probability over passes with noise and dropout (Monte-Carlo dropout, as in UA-MT).

    Each pass takes two noisy copies of the image, so it averages 2 `passes` predictions.

    Parameters
    ----------
    predict : callable
        Maps an image to logits.
    image : Tensor, shape (B, channels, X, Y, Z)
    passes : int

    Returns
    -------
    Tensor, shape (B, C, X, Y, Z)
        Without a gradient.
    """
    twice = torch.cat([image, image])
    predictions = (predict(noisy(twice)).softmax(1).unflatten(0, (2, -1)) for _ in range(passes))
    return torch.stack([prediction.mean(0) for prediction in predictions]).mean(0)
