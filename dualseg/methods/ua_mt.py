"""UA-MT: a mean teacher that is followed only where it is certain."""

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
from .parts.masked import masked_mean
from .parts.published import PUBLISHED
from .parts.ramps import rising
from .parts.teacher import mean_prediction


@dataclass(frozen=True)
class UAMTSettings(MeanTeacherSettings):
    """Settings of UA-MT; the defaults are those of its program for the left atrium."""

    uncertainty: bool = True
    """Whether the teacher's uncertainty chooses the voxels; without it, all count."""
    passes: Annotated[int, Range(1)] = 4
    """Passes of the teacher for the uncertainty, each with two noisy copies of every unlabeled
    sample: eight predictions (program: T = 8)."""
    threshold_start: Annotated[float, Range(0, 1)] = 0.75
    """Threshold on the entropy at the start, as a part of the largest entropy (program: 3/4)."""
    threshold_end: Annotated[float, Range(0, 1)] = 1.0
    """Threshold at the end: then nearly all voxels count (program: 1)."""


class UAMT(MeanTeacher):
    """A mean teacher whose prediction is a target only where Monte-Carlo dropout calls it certain.

    At first only the surest voxels count, at the end nearly all.

    A step is that of `MeanTeacher`. Besides, eight predictions of the teacher with fresh noise and
    dropout are averaged; voxels where the entropy of this mean is below a rising threshold (from
    0.521 to 0.693 nats with two classes) are kept, and the squared difference is averaged over
    these. The target is the single pass of the teacher, not the mean.

    The authors have two programs, with the consistency on all samples or on the unlabeled ones; the
    one that they tell to run takes the unlabeled ones, and so do we. It counts the ramps in steps
    of its 6000; here they are parts of the training, whatever its length. There the teacher begins
    with weights of its own and is a copy of the network after the first step; here it is a copy
    from the beginning.
    """

    title = "UA-MT"
    citation = "yu2019uamt"
    settings_type = UAMTSettings
    settings: UAMTSettings
    measurements: ClassVar = {"kept": "share of voxels"}
    presets: ClassVar = {
        "default": Preset("the released program's losses"),
        "own": Preset(
            "the published program's budget: 6000 steps",
            {**PUBLISHED, "iterations": 6000, "schedule": "step"},
        ),
        "no_uncertainty": Preset(
            "consistency on all voxels: a plain mean teacher", {"uncertainty": False}
        ),
    }
    equations: ClassVar = {
        "supervised": MeanTeacher.equations["supervised"],
        "consistency": Equation(
            "Consistency where the teacher is certain",
            "Yu et al. 2019",
            "mean (p - p_teacher)^2 over voxels whose entropy of the teacher's mean prediction is "
            "below the threshold, unlabeled samples",
        ),
    }

    def consistency(
        self, prob: Tensor, target: Tensor, unlabeled: Tensor, progress: Progress
    ) -> dict[str, Tensor]:
        if not self.settings.uncertainty:
            return super().consistency(prob, target, unlabeled, progress)
        mean = mean_prediction(self.teach, unlabeled, self.settings.passes)
        certain = entropy_bits(mean) < self.threshold_bits(progress, classes=prob.shape[1])
        difference = (prob - target).square().mean(1)
        return {
            "consistency": masked_mean(difference, certain),
            "kept": certain.float().mean(),
        }

    def threshold_bits(self, progress: Progress, classes: int) -> float:
        """The entropy in bits below which the teacher is certain."""
        choices = self.settings
        share = rising(progress, choices.threshold_start, choices.threshold_end)
        return share * math.log2(classes)
