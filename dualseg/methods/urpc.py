"""URPC: a network's predictions at four scales are to agree, most where they nearly do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from .._util.settings import Range, Settings
from ..config.training import Progress, TrainConfig
from ..data.batches import Batch
from ..data.spec import DatasetSpec
from ..errors import DualsegError
from ..networks._blocks import LEVEL_STRIDE
from ..networks.pyramid_unet import PyramidUNet
from .base import Equation, OneNetwork, Preset
from .parts.dice import cross_entropy_and_dice
from .parts.published import PUBLISHED
from .parts.ramps import ramp


@dataclass(frozen=True)
class URPCSettings(Settings):
    """Settings of "urpc"; the values are those of the released program (SSL4MIS)."""

    weight_consistency: Annotated[float, Range(0)] = 0.1
    """Weight of the agreement of the scales at the end of its ramp."""
    ramp_up: Annotated[float, Range(0, 1)] = 1.0
    """Part of the training over which that weight rises (program: 60000 of 60000 steps)."""
    rectified: bool = True
    """Whether voxels count less where a scale deviates (paper: uncertainty rectifying)."""


class URPC(OneNetwork):
    """Uncertainty-rectified pyramid consistency: one U-Net, four scales, each pulled to their mean.

    A U-Net predicts at four scales. On unlabeled scans each scale learns the mean of all four, and
    where a scale is far from the mean, by the Kullback-Leibler divergence, it counts less there.

    A step: one pass over all samples, four predictions at full size; on the labeled ones the mean
    of their cross-entropies and Dice losses; on the others the agreement, whose gradient flows
    through mean and weight too.

    - The published program ramps up over 60000 steps, all of its training; so it is here in any
      budget.
    - Its learning rate is 0.1, ten times that of the other compared methods.
    - Instance norm needs more than one value: crops have sides of 32 or more.
    """

    title = "URPC"
    citation = "luo2022urpc"
    settings_type = URPCSettings
    settings: URPCSettings
    uses_unlabeled = True
    presets: ClassVar = {
        "default": Preset("the run's batch, rate and schedule"),
        "own": Preset(
            "the published training: 60000 steps with the rate 0.1 and polynomial decay",
            {**PUBLISHED, "iterations": 60000, "schedule": "poly", "learning_rate": 0.1},
        ),
        "no_rectifying": Preset("all voxels of all scales count the same", {"rectified": False}),
    }
    equations: ClassVar = {
        "supervised": Equation(
            "Supervised loss of all scales",
            "Luo et al. 2022",
            "mean over the scales of (CE + Dice over all classes) / 2, labeled samples",
        ),
        "consistency": Equation(
            "Uncertainty-rectified pyramid consistency",
            "Luo et al. 2022",
            "mean over s of sum(w (m - p_s)^2) / sum(w) + mean D_s, w = e^-D_s, D_s = KL(m || p_s)",
        ),
    }

    def __init__(self, settings: URPCSettings, config: TrainConfig, spec: DatasetSpec):
        least = 2 * LEVEL_STRIDE
        if min(config.patch) < least:
            raise DualsegError(
                f"patch: expected sides of at least {least}, as URPC normalizes each sample by "
                f"itself {LEVEL_STRIDE} times coarser, found {config.patch}; use --patch {least} "
                f"{least} {least} with a --stride that is no larger."
            )
        super().__init__(settings, config, spec)

    def build_network(self) -> nn.Module:
        return self.build(PyramidUNet)

    def loss(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        scales = self(batch.image)
        labeled = batch.labeled
        supervised = torch.stack([cross_entropy_and_dice(s[:labeled], batch.label) for s in scales])
        unlabeled = [s[labeled:] for s in scales]
        return {
            "supervised": supervised.mean() / 2,
            "consistency": pyramid_consistency(unlabeled, self.settings.rectified),
        }

    def weights(self, progress: Progress) -> dict[str, float]:
        rise = ramp(progress, self.settings.ramp_up)
        return {"supervised": 1.0, "consistency": rise * self.settings.weight_consistency}

    def predict_members(self, patch: Tensor) -> Tensor:
        return self(patch)[0].softmax(1)[None]


def pyramid_consistency(scales: Sequence[Tensor], rectified: bool = True) -> Tensor:
    """How far predictions at several scales are from their mean.

    Parameters
    ----------
    scales : sequence of Tensor, shape (B, C, X, Y, Z)
        Logits.
    rectified : bool
        Whether a voxel counts e^-D, and the mean divergence D is added; else all count the same.

    Returns
    -------
    Tensor
        Scalar, 0 for equal scales; the gradient reaches all of them.

    References
    ----------
    Luo et al., URPC, 2022.
    """
    logs = torch.stack([logits.log_softmax(1) for logits in scales])
    log_mean = logs.logsumexp(0) - math.log(len(scales))
    mean = log_mean.exp()
    apart = (mean - logs.exp()).square().mean(2)  # (scales, B, X, Y, Z), over the classes
    if not rectified:
        return apart.mean()
    divergence = (mean * (log_mean - logs)).sum(2)
    weight = (-divergence).exp()
    voxels = (1, 2, 3, 4)
    weighted = (apart * weight).mean(voxels) / weight.mean(voxels)
    return (weighted + divergence.mean(voxels)).mean()
