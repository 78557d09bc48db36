"""MC-Net and MC-Net+: decoders that learn each other's sharpened predictions."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from .._util.settings import Range, Settings
from ..config.training import Progress
from ..data.batches import Batch
from ..networks._blocks import Up
from .base import Equation, Preset
from .parts.published import PUBLISHED
from .parts.ramps import ramp
from .parts.several_decoders import SeveralDecoders
from .parts.sharpening import sharpen


@dataclass(frozen=True)
class MCNetSettings(Settings):
    """Settings of MC-Net and MC-Net+; the defaults are those of their program."""

    weight_consistency: Annotated[float, Range(0)] = 1.0
    """Weight of the mutual consistency (program: 1.0)."""
    ramp_up: Annotated[float, Range(0, 1)] = 0.4
    """Part of the training over which that weight rises (program: 6000 of 15000 steps)."""
    temperature: Annotated[float, Range(0.01, 1)] = 0.1
    """Temperature T of the sharpening p^(1/T) (program: 0.1)."""


class MCNet(SeveralDecoders):
    """Two decoders on one encoder, each of which learns the sharpened prediction of the other.

    They differ in their up-sampling alone. Where they differ in their prediction a voxel is hard;
    the sharpening also asks for sure predictions.

    A step is one pass over all samples. Each decoder learns the labels with soft Dice. On all
    samples, also the labeled ones, each probability goes to the sharpened probability of each other
    decoder; the gradient flows through both sides. The first decoder, that of a plain V-Net,
    predicts alone.

    The authors released one program for both of their papers, and call its MC-Net similar to that
    of the first. It keeps the learning rate constant for 15000 steps and takes the model that was
    best on the test cases; here the last model counts.
    """

    title = "MC-Net"
    citation = "wu2021mcnet"
    ups: ClassVar[tuple[Up, ...]] = ("transposed", "trilinear")
    settings_type = MCNetSettings
    settings: MCNetSettings
    presets: ClassVar = {
        "default": Preset("the released program's losses"),
        "own": Preset(
            "the published program's budget: 15000 steps, constant learning rate",
            {**PUBLISHED, "iterations": 15000, "schedule": "own"},
        ),
    }
    equations: ClassVar = {
        "supervised": Equation(
            "Supervised loss",
            "Wu et al. 2022",
            "sum over the decoders of 1 - 2 sum(p y) / (sum(p) + sum(y)), labeled samples",
        ),
        "consistency": Equation(
            "Mutual consistency",
            "Wu et al. 2022",
            "sum over ordered pairs of mean (p_i - s(p_j))^2, s(p) = p^(1/T) / sum p^(1/T), all "
            "samples",
        ),
    }

    def loss(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        outputs = self(batch.image)
        probs = [out.logits.softmax(1) for out in outputs]
        return {
            "supervised": self.supervised(outputs, batch.label),
            "consistency": mutual_consistency(probs, self.settings.temperature),
        }

    def weights(self, progress: Progress) -> dict[str, float]:
        rise = ramp(progress, self.settings.ramp_up)
        return {"supervised": 0.5, "consistency": rise * self.settings.weight_consistency}


class MCNetPlus(MCNet):
    """MC-Net with a third decoder, whose up-sampling is "nearest": six ordered pairs.

    Everything else is as in `MCNet`.
    """

    title = "MC-Net+"
    citation = "wu2022mcnetplus"
    ups: ClassVar[tuple[Up, ...]] = ("transposed", "trilinear", "nearest")


def mutual_consistency(probs: list[Tensor], temperature: float) -> Tensor:
    """Squared difference of each map to each other one sharpened, the sum over ordered pairs.

    It is 0 for equal maps only where they are one-hot.

    Parameters
    ----------
    probs : list of Tensor, shape (B, C, X, Y, Z)
        Softmax of each decoder; the gradient reaches all, also through the sharpening.
    temperature : float

    Returns
    -------
    Tensor
        Scalar.
    """
    pairs = permutations(zip(probs, [sharpen(prob, temperature) for prob in probs], strict=True), 2)
    return torch.stack([(p - sharp).square().mean() for (p, _), (_, sharp) in pairs]).sum()
