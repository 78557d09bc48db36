"""Entropy minimization: predictions of unlabeled samples are to be sure, whatever they say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from .._util.settings import Range, Settings
from ..config.training import Progress
from ..data.batches import Batch
from ..losses import entropy_bits
from .base import Equation, OneNetwork, Preset
from .parts.dice import cross_entropy_and_dice
from .parts.published import PUBLISHED
from .parts.ramps import ramp


@dataclass(frozen=True)
class EntropyMinimizationSettings(Settings):
    """Settings of entropy minimization; the defaults are those of SSL4MIS's program."""

    weight_entropy: Annotated[float, Range(0)] = 0.1
    """Weight of the entropy (program: 0.1)."""
    ramp_up: Annotated[float, Range(0, 1)] = 1.0
    """Part of the training over which that weight rises (program: all of its 30000 steps)."""


class EntropyMinimization(OneNetwork):
    """A network that is to be sure everywhere, the simplest use of samples without labels.

    Classes are thought to lie apart, so a boundary between them belongs where few samples are. A
    step is one pass over all samples: cross-entropy and Dice of the labeled ones, and the mean
    entropy of all predictions, as a part of the largest entropy. As in the program, the labeled
    samples count in it, too; it trains a U-Net on BraTS 2019, here it is a V-Net.
    """

    title = "Entropy minimization"
    citation = "grandvalet2004"
    settings_type = EntropyMinimizationSettings
    settings: EntropyMinimizationSettings
    presets: ClassVar = {
        "default": Preset("the losses of SSL4MIS's program"),
        "own": Preset(
            "the budget of SSL4MIS's program: 30000 steps, polynomial decay",
            {**PUBLISHED, "iterations": 30000, "schedule": "poly"},
        ),
    }
    equations: ClassVar = {
        "supervised": Equation(
            "Supervised loss", "SSL4MIS", "CE + soft Dice of all classes, labeled samples"
        ),
        "entropy": Equation(
            "Entropy", "Grandvalet and Bengio 2004", "mean -sum_c p_c log p_c / log C, all samples"
        ),
    }
    uses_unlabeled = True

    def loss(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        logits = self(batch.image).logits
        largest = math.log2(logits.shape[1])
        return {
            "supervised": cross_entropy_and_dice(logits[: batch.labeled], batch.label),
            "entropy": entropy_bits(logits.softmax(1)).mean() / largest,
        }

    def weights(self, progress: Progress) -> dict[str, float]:
        rise = ramp(progress, self.settings.ramp_up)
        return {"supervised": 0.5, "entropy": rise * self.settings.weight_entropy}
