"""The paper's method: two networks that teach each other on unlabeled volumes."""

from __future__ import annotations

import math

from torch import Tensor

from ..config import DatasetSpec, Experiment, Progress
from ..losses import cross_pseudo_loss, supervised_loss
from ..sampling import Batch
from .base import TwoNetworks


class Dual(TwoNetworks):
    """Supervised loss on the labeled samples, cross pseudo supervision on the unlabeled ones.

    One forward pass over both kinds of samples together, so batch normalisation sees both.
    """

    uses_unlabeled = True

    def __init__(self, experiment: Experiment, spec: DatasetSpec):
        super().__init__(experiment, spec)
        self.ramp_up = experiment.loss.ramp_up

    def loss(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        out_a, out_b = self(batch.image)
        labeled, unlabeled = slice(None, batch.labeled), slice(batch.labeled, None)
        return {
            "supervised_a": supervised_loss(out_a.logits[labeled], batch.label),
            "supervised_b": supervised_loss(out_b.logits[labeled], batch.label),
            "cross_pseudo": cross_pseudo_loss(out_a.logits[unlabeled], out_b.logits[unlabeled]),
        }

    def weights(self, progress: Progress) -> dict[str, float]:
        return {"supervised_a": 1.0, "supervised_b": 1.0, "cross_pseudo": self._rise(progress)}

    def _rise(self, progress: Progress) -> float:
        if progress.fraction >= self.ramp_up:
            return 1.0
        return math.exp(-5 * (1 - progress.fraction / self.ramp_up) ** 2)
