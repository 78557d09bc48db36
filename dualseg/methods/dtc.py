"""DTC: one network draws the mask and the distance to its surface, and the two are to agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor
from torch.nn.functional import mse_loss

from .._util.settings import Range, Settings
from ..config.training import Progress
from ..data.batches import Batch
from .base import Equation, Preset
from .parts.mask_and_distance import SUPERVISED_EQUATIONS, MaskAndDistance
from .parts.published import PUBLISHED
from .parts.ramps import ramp

_Weight = Annotated[float, Range(0)]


@dataclass(frozen=True)
class DTCSettings(Settings):
    """Settings of "dtc"; the values are those of the released program."""

    weight_distance: _Weight = 0.3
    """Weight of the distance map's error on labeled samples."""
    weight_consistency: _Weight = 1.0
    """Weight of the agreement of the two tasks at the end of its ramp."""
    slope: Annotated[float, Range(0)] = 1500.0
    """How steeply a distance becomes a mask (paper and program: k = 1500)."""
    ramp_up: Annotated[float, Range(0, 1)] = 1.0
    """Part of the training over which that weight rises (program: 6000 of 6000 steps)."""


class DTC(MaskAndDistance):
    """Dual-task consistency: a mask, a signed distance map, and their agreement everywhere.

    A network that draws the object's mask also estimates each voxel's distance to its surface. Both
    describe the same shape, so the mask that follows from the distances must agree with the mask
    itself, which needs no label.

    A step: one pass over all samples; on the labeled ones the Dice of the mask and the squared
    error of the distances; on all samples the squared difference of the two masks, whose gradient
    reaches both outputs.

    - The program also computes the mask's cross-entropy, but trains with the Dice alone: so do we.
    - The target's distance is 0 on the surface, which the steep slope makes a mask of 0.5: a
      difference of 0.25 remains there even for perfect outputs.
    - With a slope of 1500 only distances below about 0.005 have a gradient from the agreement.
    - The published numbers are of the last iteration, after removing all but the largest component.
    """

    title = "DTC"
    citation = "luo2021dtc"
    settings_type = DTCSettings
    settings: DTCSettings
    uses_unlabeled = True
    presets: ClassVar = {
        "default": Preset("the run's batch, rate and schedule"),
        "own": Preset(
            "the published training: 6000 steps, a tenth of the rate at 2500 and 5000",
            {**PUBLISHED, "iterations": 6000, "schedule": "step"},
        ),
        "no_distance": Preset(
            "without the second task: the Dice of the mask on labeled samples alone",
            {"weight_distance": 0.0, "weight_consistency": 0.0},
        ),
    }
    equations: ClassVar = {
        **SUPERVISED_EQUATIONS,
        "consistency": Equation(
            "Dual-task consistency",
            "Luo et al. 2021",
            "mean (sigmoid(-k z) - p)^2, all samples, gradient to both outputs",
        ),
    }

    def loss(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        out = self(batch.image)
        from_distance = (-self.settings.slope * out.distance).sigmoid()
        terms = self.supervised_terms(out, batch.label)
        return terms | {"consistency": mse_loss(from_distance, out.mask.sigmoid())}

    def weights(self, progress: Progress) -> dict[str, float]:
        rise = ramp(progress, self.settings.ramp_up)
        return {
            "supervised": 1.0,
            "distance": self.settings.weight_distance,
            "consistency": rise * self.settings.weight_consistency,
        }
