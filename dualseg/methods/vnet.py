"""V-Net on the labeled samples alone, the baseline of the compared methods."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..config.training import Progress
from ..data.batches import Batch
from ..losses import supervised_loss
from .base import Equation, OneNetwork, Preset
from .parts.published import PUBLISHED


class SupervisedVNet(OneNetwork):
    """A V-Net that learns from the labeled samples with cross-entropy and soft Dice.

    Every compared method adds something to it, so it shows what that is worth. A step is one pass
    over the labeled samples.

    The batch is a choice: UA-MT's program gives this baseline four labeled samples a step (preset
    "own"), twice as many as a semi-supervised method sees with 2 + 2. With the run's
    `labeled_batch` of 2 the labels are seen equally often, and it is another baseline. Reports do
    not always say which one they print; their Dice on the left atrium with 8 labels is between 75
    and 83.
    """

    title = "V-Net"
    citation = "milletari2016vnet"
    presets: ClassVar = {
        "default": Preset("the loss of UA-MT's program, with the run's batch"),
        "own": Preset(
            "as in UA-MT's program: 6000 steps of four labeled samples",
            {**PUBLISHED, "iterations": 6000, "labeled_batch": 4, "schedule": "step"},
        ),
    }
    equations: ClassVar = {
        "supervised": Equation(
            "Supervised loss",
            "Yu et al. 2019",
            "CE(f, y) + 1 - 2 sum(p y) / (sum(p^2) + sum(y^2)), labeled samples",
        )
    }
    uses_unlabeled = False

    def loss(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        return {"supervised": supervised_loss(self(batch.image).logits, batch.label)}

    def weights(self, progress: Progress) -> dict[str, float]:
        return {"supervised": 0.5}
