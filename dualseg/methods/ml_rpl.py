"""ML-RPL: two decoders teach each other where the teacher is the surer one, and reliable."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from .._util.settings import Range, Settings
from ..config.training import Progress
from ..data.batches import Batch
from ..losses import entropy_bits, pseudo_label
from ..networks._blocks import NetworkOutput, Up
from .base import Equation, Preset
from .parts.masked import masked_mean
from .parts.prototypes import cosine_map, sample_prototypes
from .parts.published import PUBLISHED
from .parts.ramps import ramp
from .parts.several_decoders import SeveralDecoders


@dataclass(frozen=True)
class MLRPLSettings(Settings):
    """Settings of ML-RPL; the defaults are those of its program."""

    weight_mutual: Annotated[float, Range(0)] = 1.0
    """Weight of the mutual learning (program: 1.0)."""
    ramp_up: Annotated[float, Range(0, 1)] = 0.4
    """Part of the training over which that weight rises (program: 6000 of 15000 steps)."""


class MLRPL(SeveralDecoders):
    """One encoder, two decoders that learn each other's labels where the other one is surer.

    Each label counts as much as the teacher's probabilities agree with its prototypes: a voxel that
    looks like the mean of its class in the volume is probably labeled well.

    A step is one pass over all samples. Both decoders learn the labels with soft Dice, and on all
    samples each learns the other's argmax with a weighted cross-entropy, at the voxels where its
    own entropy is the higher one. The first decoder, that of a plain V-Net, predicts alone.

    Until October 2024 the program gave its cross-entropy probabilities in place of logits; here it
    has logits, as in the program of today. A weight is the mean over the classes of
    1 - (similarity - probability)^2, and as similarities begin at -1 it may be negative; it is left
    so. The paper of this course counts three decoders for the method; it has two.
    """

    title = "ML-RPL"
    citation = "su2024mlrpl"
    ups: ClassVar[tuple[Up, ...]] = ("transposed", "nearest")
    features = "dropped"
    settings_type = MLRPLSettings
    settings: MLRPLSettings
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
            "Su et al. 2024",
            "sum over the decoders of 1 - 2 sum(p y) / (sum(p) + sum(y)), labeled samples",
        ),
        "mutual": Equation(
            "Mutual learning with reliable labels",
            "Su et al. 2024",
            "both ways, mean of r CE(f, argmax p_teacher) over voxels where H(p) > H(p_teacher); "
            "r = mean over c of 1 - (cos(features, prototype_c) - p_teacher,c)^2; all samples",
        ),
    }

    def loss(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        outputs = self(batch.image)
        losses = [learned_from(student, teacher) for student, teacher in permutations(outputs, 2)]
        return {
            "supervised": self.supervised(outputs, batch.label),
            "mutual": torch.stack(losses).sum(),
        }

    def weights(self, progress: Progress) -> dict[str, float]:
        rise = ramp(progress, self.settings.ramp_up)
        return {"supervised": 0.5, "mutual": rise * self.settings.weight_mutual}


def learned_from(student: NetworkOutput, teacher: NetworkOutput) -> Tensor:
    """Cross-entropy of a decoder to the other's labels, where that one is surer, by reliability.

    Parameters
    ----------
    student, teacher : NetworkOutput
        Of the same samples; no gradient reaches the teacher.

    Returns
    -------
    Tensor
        Scalar, 0 where the teacher is nowhere surer.
    """
    with torch.no_grad():
        prob = teacher.logits.softmax(1)
        label = pseudo_label(prob)
        surer = entropy_bits(student.logits.softmax(1)) > entropy_bits(prob)
        weight = reliability(teacher.features, prob, label)
    cross_entropy = F.cross_entropy(student.logits, label, reduction="none")
    return masked_mean(weight * cross_entropy, surer)


def reliability(features: Tensor, prob: Tensor, label: Tensor) -> Tensor:
    """How well probabilities agree with the similarity to each class's prototype in the sample.

    Parameters
    ----------
    features : Tensor, shape (B, F, X, Y, Z)
    prob : Tensor, shape (B, C, X, Y, Z)
    label : Tensor, shape (B, X, Y, Z), int64
        The classes whose mean features are the prototypes; one without voxels has similarity 0.

    Returns
    -------
    Tensor, shape (B, X, Y, Z)
        At most 1.
    """
    prototypes = sample_prototypes(features, F.one_hot(label, prob.shape[1]).movedim(-1, 1))
    return (1 - (cosine_map(features, prototypes) - prob).square()).mean(1)
