"""SS-Net: predictions that a small noise does not change, and features that gather by class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from .._util.settings import Range, Settings
from ..config.training import Progress, TrainConfig
from ..data.batches import Batch
from ..data.spec import DatasetSpec
from ..losses import pseudo_label
from .base import Equation, OneNetwork, Preset
from .parts.adversarial import quiet_statistics, virtual_adversarial
from .parts.compactness import ClassCompactness
from .parts.dice import dice_linear, soft_dice_linear
from .parts.published import PUBLISHED
from .parts.ramps import ramp

_Weight = Annotated[float, Range(0)]


@dataclass(frozen=True)
class SSNetSettings(Settings):
    """Settings of "ss_net"; the values are those of the released program."""

    weight_adversarial: _Weight = 1.0
    """Weight of the smoothness at the end of its ramp."""
    weight_contrast: _Weight = 0.1
    """Weight of the class compactness at the end of its ramp."""
    ramp_up: Annotated[float, Range(0, 1)] = 0.4
    """Part of the training over which both rise (program: 6000 of 15000 steps)."""
    noise: _Weight = 10.0
    """Euclidean length of the adversarial noise of a crop (program: magnitude)."""


class SSNet(OneNetwork):
    """Smoothness and separation: virtual adversarial training, and voxels near good examples.

    A prediction must not change under the small noise that would change it most. And the features
    of each object voxel are drawn to a memory of 32 feature vectors of labeled voxels of its class
    that the network gets right.

    A step: one pass over all samples, with Dice on the labeled ones. Labeled object voxels that are
    classified correctly are projected, scored, and the 32 with the lowest score replace the memory;
    without such a voxel the old memory stays. All voxels of the object, by label or by prediction,
    lose their mean cosine distance to the memory, both weighted by scores. Then two passes with
    noise (`virtual_adversarial`), in which batch norm remembers nothing.

    - A comment in the program speaks of the highest scores, but its sort keeps the lowest: so do
      we.
    - The background never enters the program's memory, so it has no contrast, but the sum is still
      divided by the number of classes: here too. We leave out its selectors, which never learn.
    - The noisy predictions are compared with that of the step's own pass; the program makes
      another one for it.
    - Each head sees all voxels and those of another class are masked, so that processes that train
      together never wait for each other. The program's selectors normalize over their class alone.
    - Always in float32: the noise is too small for bfloat16.
    """

    title = "SS-Net"
    citation = "wu2022ssnet"
    features = "dropped"
    settings_type = SSNetSettings
    settings: SSNetSettings
    uses_unlabeled = True
    presets: ClassVar = {
        "default": Preset("the run's batch, rate and schedule"),
        "own": Preset(
            "the published training: 15000 steps, a tenth of the rate after every 2500",
            {**PUBLISHED, "iterations": 15000, "schedule": "own"},
        ),
        "no_adversarial": Preset("without the adversarial noise", {"weight_adversarial": 0.0}),
    }
    equations: ClassVar = {
        "supervised": Equation(
            "Supervised loss",
            "Wu et al. 2022",
            "1 - 2 sum(p y) / (sum(p) + sum(y)), labeled samples",
        ),
        "adversarial": Equation(
            "Pixel-level smoothness",
            "Wu et al. 2022",
            "1 - mean(p(x) . p(x + r)), r: the noise of length 10 that changes p most; all samples",
        ),
        "contrast": Equation(
            "Class-level compactness",
            "Wu et al. 2022",
            "sum over object classes of mean(w_v w_m (1 - cos(z_v, m))) / classes, labeled samples "
            "plus unlabeled ones",
        ),
    }

    def __init__(self, settings: SSNetSettings, config: TrainConfig, spec: DatasetSpec):
        super().__init__(settings, config, spec)
        self.compactness = ClassCompactness(config.filters, len(spec.classes))

    def precision_on(self, device: str) -> str:
        return "float32"

    def loss(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        out, labeled = self(batch.image), batch.labeled
        prob, predicted = out.logits.softmax(1), pseudo_label(out.logits)
        known, unknown = out.features[:labeled], out.features[labeled:]
        self.compactness.remember(known, batch.label, predicted[:labeled])
        adversarial = prob.new_zeros(())
        if self.settings.weight_adversarial > 0:
            with quiet_statistics(self.network):
                adversarial = virtual_adversarial(
                    lambda image: self(image).logits.softmax(1),
                    batch.image,
                    prob,
                    soft_dice_linear,
                    epsilon=self.settings.noise,
                )
        return {
            "supervised": dice_linear(prob[:labeled], batch.label),
            "adversarial": adversarial,
            "contrast": self.compactness(known, batch.label)
            + self.compactness(unknown, predicted[labeled:]),
        }

    def weights(self, progress: Progress) -> dict[str, float]:
        rise = ramp(progress, self.settings.ramp_up)
        return {
            "supervised": 1.0,
            "adversarial": rise * self.settings.weight_adversarial,
            "contrast": rise * self.settings.weight_contrast,
        }

    def own_rate(self, progress: Progress) -> float:
        return 0.1 ** (6 * progress.step // progress.total)
