"""AC-MT: a mean teacher that is followed only where the network is in doubt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from .._util.settings import Range
from ..config.training import Progress
from ..losses import entropy_bits
from .base import Equation, Preset
from .mean_teacher import MeanTeacher, MeanTeacherSettings
from .parts.dice import cross_entropy_and_dice
from .parts.masked import masked_mean
from .parts.published import PUBLISHED
from .parts.ramps import rising


@dataclass(frozen=True)
class ACMTSettings(MeanTeacherSettings):
    """Settings of AC-MT; the defaults are those of its program "Ent" for the left atrium."""

    ramp_up: Annotated[float, Range(0, 1)] = 0.75
    """Part of the training over which the consistency's weight rises (program: 6000 of 8000)."""
    threshold_start: Annotated[float, Range(0, 1)] = 0.75
    """Threshold on the entropy at the start, as a part of the largest entropy (program: 0.75)."""
    threshold_end: Annotated[float, Range(0, 1)] = 0.95
    """Threshold at the end (program: 0.95)."""


class ACMT(MeanTeacher):
    """A mean teacher that matters only on ambiguous voxels, where its pupil's entropy is high.

    It is the mirror image of UA-MT: where the network is sure anyway, agreement teaches nothing.

    A step is that of `MeanTeacher`; the squared difference is averaged over the voxels where the
    entropy of the network's own prediction is at least a rising threshold. The Dice loss has the
    background as a class, too.

    The authors released four ways to choose these voxels, and the paper of this course does not say
    which one it took; this is "Ent", the simplest. A threshold that falls is commented out
    in the program; the one that runs, and is taken here, rises. The program also passes the samples
    without noise through the teacher and uses nothing of it; this pass is left out.
    """

    title = "AC-MT"
    citation = "xu2023acmt"
    settings_type = ACMTSettings
    settings: ACMTSettings
    measurements: ClassVar = {"kept": "share of voxels"}
    presets: ClassVar = {
        "default": Preset("the released program's losses"),
        "own": Preset(
            "the published program's budget: 8000 steps, polynomial decay",
            {**PUBLISHED, "iterations": 8000, "schedule": "poly"},
        ),
    }
    equations: ClassVar = {
        "supervised": Equation(
            "Supervised loss", "Xu et al. 2023", "CE + soft Dice of all classes, labeled samples"
        ),
        "consistency": Equation(
            "Consistency where the network is in doubt",
            "Xu et al. 2023",
            "mean (p - p_teacher)^2 over voxels whose entropy of p is at least the threshold, "
            "unlabeled samples",
        ),
    }

    def supervised(self, logits: Tensor, label: Tensor) -> Tensor:
        return cross_entropy_and_dice(logits, label)

    def consistency(
        self, prob: Tensor, target: Tensor, unlabeled: Tensor, progress: Progress
    ) -> dict[str, Tensor]:
        choices = self.settings
        share = rising(progress, choices.threshold_start, choices.threshold_end)
        ambiguous = entropy_bits(prob.detach()) >= share * math.log2(prob.shape[1])
        return {
            "consistency": masked_mean((prob - target).square().mean(1), ambiguous),
            "kept": ambiguous.float().mean(),
        }
