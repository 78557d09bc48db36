"""The baseline: the same two networks, trained on the labeled samples only."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..config.training import Progress
from ..losses import supervised_loss
from ..networks._blocks import NetworkOutput
from .base import SUPERVISED_EQUATION, TwoNetworks


class Supervised(TwoNetworks):
    """Cross-entropy + Dice for each network (eq. 2); neither sees the other's output."""

    uses_unlabeled = False
    equations: ClassVar = {"supervised": SUPERVISED_EQUATION}

    def terms(self, out_a: NetworkOutput, out_b: NetworkOutput, label: Tensor) -> dict[str, Tensor]:
        return {
            "supervised_a": supervised_loss(out_a.logits[: len(label)], label),
            "supervised_b": supervised_loss(out_b.logits[: len(label)], label),
        }

    def weights(self, progress: Progress) -> dict[str, float]:
        return {"supervised_a": 1.0, "supervised_b": 1.0}
