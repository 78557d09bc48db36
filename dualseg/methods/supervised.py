"""The floor to compare with: the same two networks, trained on the labeled samples only."""

from __future__ import annotations

from torch import Tensor

from ..losses import supervised_loss
from ..sampling import Batch
from ..train_config import Progress
from .base import TwoNetworks


class Supervised(TwoNetworks):
    """Cross-entropy + Dice for each network (eq. 2); the networks never hear of each other."""

    uses_unlabeled = False

    def loss(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        out_a, out_b = self(batch.image)
        return {
            "supervised_a": supervised_loss(out_a.logits, batch.label),
            "supervised_b": supervised_loss(out_b.logits, batch.label),
        }

    def weights(self, progress: Progress) -> dict[str, float]:
        return {"supervised_a": 1.0, "supervised_b": 1.0}
