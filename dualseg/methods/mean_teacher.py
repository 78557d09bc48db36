"""Mean teacher, and what the methods that are built on it share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from .._util.settings import Range, Settings
from ..config.training import Progress, TrainConfig
from ..data.batches import Batch
from ..data.spec import DatasetSpec
from ..losses import supervised_loss
from .base import Equation, OneNetwork, Preset
from .parts.published import PUBLISHED
from .parts.ramps import ramp
from .parts.teacher import early_decay, ema_update, frozen_copy, noisy


@dataclass(frozen=True)
class MeanTeacherSettings(Settings):
    """Settings of the methods with a mean teacher; the values are those of UA-MT's program."""

    weight_consistency: Annotated[float, Range(0)] = 0.1
    """Weight of the consistency with the teacher (UA-MT: 0.1)."""
    ramp_up: Annotated[float, Range(0, 1)] = 1.0
    """Part of the training over which that weight rises (UA-MT: all of it)."""
    decay: Annotated[float, Range(0, 1)] = 0.99
    """What the teacher keeps of itself in a step, after the first hundred (UA-MT: 0.99)."""


class MeanTeacher(OneNetwork):
    """A network that agrees with its own moving average on unlabeled samples with noise.

    The average of many networks is a better teacher than the last one, and it needs no labels.

    A step: the network sees all samples; the teacher, in training mode, the unlabeled ones with
    noise. The network learns the labels, and the squared difference of both predictions. Then the
    teacher moves. The network predicts, not the teacher.

    Noise, weights and teacher are those of UA-MT, which adds one thing to it: a mask.
    """

    title = "Mean teacher"
    citation = "tarvainen2017"
    settings_type = MeanTeacherSettings
    settings: MeanTeacherSettings
    presets: ClassVar = {
        "default": Preset("weights and noise as in UA-MT"),
        "own": Preset(
            "the budget of UA-MT's program",
            {**PUBLISHED, "iterations": 6000, "schedule": "step"},
        ),
    }
    equations: ClassVar = {
        "supervised": Equation(
            "Supervised loss", "Yu et al. 2019", "CE + soft Dice of the foreground, labeled samples"
        ),
        "consistency": Equation(
            "Consistency with the teacher",
            "Tarvainen and Valpola 2017",
            "mean (p - p_teacher)^2, unlabeled samples",
        ),
    }
    uses_unlabeled = True

    def __init__(self, settings: MeanTeacherSettings, config: TrainConfig, spec: DatasetSpec):
        super().__init__(settings, config, spec)
        self.teacher = frozen_copy(self.network)

    def loss(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        logits, unlabeled = self(batch.image).logits, batch.image[batch.labeled :]
        prob = logits[batch.labeled :].softmax(1)
        with torch.no_grad():
            target = self.teach(noisy(unlabeled)).softmax(1)
        return {
            "supervised": self.supervised(logits[: batch.labeled], batch.label),
            **self.consistency(prob, target, unlabeled, progress),
        }

    def teach(self, image: Tensor) -> Tensor:
        """The teacher's logits for an image."""
        return self.run(self.teacher, image).logits

    def supervised(self, logits: Tensor, label: Tensor) -> Tensor:
        """The supervised term."""
        return supervised_loss(logits, label)

    def consistency(
        self, prob: Tensor, target: Tensor, unlabeled: Tensor, progress: Progress
    ) -> dict[str, Tensor]:
        """Compute the term "consistency", and measurements.

        Parameters
        ----------
        prob, target : Tensor, shape (U, C, X, Y, Z)
            Softmax of network and teacher for the unlabeled samples.
        unlabeled : Tensor, shape (U, channels, X, Y, Z)
            These samples.
        progress : Progress

        Returns
        -------
        dict of str to Tensor
        """
        return {"consistency": (prob - target).square().mean()}

    def weights(self, progress: Progress) -> dict[str, float]:
        rise = ramp(progress, self.settings.ramp_up)
        return {"supervised": 0.5, "consistency": rise * self.settings.weight_consistency}

    def smallest_pass(self, labeled: int, unlabeled: int) -> int:
        return unlabeled  # the teacher's

    def after_step(self, progress: Progress) -> None:
        decay = early_decay(progress.step, self.settings.decay)
        ema_update(self.teacher, self.network, decay)
