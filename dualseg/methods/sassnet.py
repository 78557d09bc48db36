"""SASSNet: distance maps of unlabeled scans are to look like those of labeled ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from .._util.settings import Range, Settings
from ..config.training import Progress, TrainConfig
from ..data.batches import Batch
from ..data.spec import DatasetSpec
from ..errors import require
from ..networks._blocks import LEVEL_STRIDE
from ..networks.discriminator import VolumeDiscriminator
from .base import Equation, Preset, sgd
from .parts.adversarial import in_mode, reach_only_input
from .parts.mask_and_distance import SUPERVISED_EQUATIONS, MaskAndDistance
from .parts.published import PUBLISHED
from .parts.ramps import ramp

_Weight = Annotated[float, Range(0)]


@dataclass(frozen=True)
class SASSNetSettings(Settings):
    """Settings of "sassnet"; the values are those of the released program."""

    weight_distance: _Weight = 0.3
    """Weight of the distance map's error on labeled samples."""
    weight_adversarial: _Weight = 0.015
    """Weight of the adversarial term at the end of its ramp (README: 0.015 with 8 labeled scans,
    0.01 with 16)."""
    ramp_up: Annotated[float, Range(0, 1)] = 1.0
    """Part of the training over which that weight rises (program: 6000 of 6000 steps)."""
    discriminator_rate: Annotated[float, Range(0, 1)] = 1e-4
    """Constant learning rate of the discriminator's Adam, whose betas are 0.9 and 0.99."""


class SASSNet(MaskAndDistance):
    """Shape-aware segmentation: an adversary compares distance maps of both kinds of scans.

    A network draws the object's mask and its signed distance map. A discriminator learns to tell
    the maps of labeled scans from those of unlabeled ones, and the network learns to make them
    alike, so that unlabeled scans get distance maps of plausible shapes.

    A step: one pass over all samples; on the labeled ones the Dice of the mask and the squared
    error of the distances; the discriminator, without dropout, is to take the unlabeled maps for
    labeled ones, which teaches the network alone; then the network, without dropout and with its
    running statistics, makes maps of all samples, from which the discriminator alone learns.

    - The program updates the discriminator after the network. Here one backward pass serves both,
      so the discriminator sees maps of the network before this step's update.
    - The discriminator's average pool of 7 x 7 x 5 fits crops of 112 x 112 x 80; a global one,
      the same there, fits all. Its width is 4 times the networks' (64 of 16).
    - The mask learns nothing from the adversarial term, except by what it shares with the map.
    """

    title = "SASSNet"
    citation = "li2020sassnet"
    settings_type = SASSNetSettings
    settings: SASSNetSettings
    uses_unlabeled = True
    presets: ClassVar = {
        "default": Preset("the run's batch, rate and schedule"),
        "own": Preset(
            "the published training: 6000 steps, a tenth of the rate at 2500 and 5000",
            {**PUBLISHED, "iterations": 6000, "schedule": "step"},
        ),
        "no_adversarial": Preset("without the adversary", {"weight_adversarial": 0.0}),
    }
    equations: ClassVar = {
        **SUPERVISED_EQUATIONS,
        "adversarial": Equation(
            "Adversarial term",
            "Li et al. 2020",
            "CE(D(z, x), labeled), unlabeled samples; the gradient reaches z, not D",
        ),
        "discriminator": Equation(
            "Discriminator",
            "Li et al. 2020",
            "CE(D(z, x), labeled or unlabeled), all samples; the gradient reaches D, not z",
        ),
    }

    def __init__(self, settings: SASSNetSettings, config: TrainConfig, spec: DatasetSpec):
        sides = f"sides of at least {LEVEL_STRIDE}, which the discriminator of SASSNet halves"
        require(min(config.patch) >= LEVEL_STRIDE, "patch", f"{sides} four times", config.patch)
        super().__init__(settings, config, spec)
        self.discriminator = VolumeDiscriminator(spec.channels, filters=4 * config.filters)

    def loss(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        image, labeled = batch.image, batch.labeled
        out = self(image)
        is_labeled = torch.zeros(len(image), dtype=torch.int64, device=image.device)
        is_labeled[:labeled] = 1
        unlabeled_map = out.distance[labeled:, None]
        with in_mode(self.discriminator, training=False):
            taken_for = reach_only_input(self.discriminator, unlabeled_map, image[labeled:])
        with torch.no_grad(), in_mode(self.network, training=False):
            maps = self(image).distance[:, None]
        told = self.discriminator(maps, image)
        return self.supervised_terms(out, batch.label) | {
            "adversarial": cross_entropy(taken_for, torch.ones_like(is_labeled[labeled:])),
            "discriminator": cross_entropy(told, is_labeled),
        }

    def weights(self, progress: Progress) -> dict[str, float]:
        rise = ramp(progress, self.settings.ramp_up)
        return {
            "supervised": 1.0,
            "distance": self.settings.weight_distance,
            "adversarial": rise * self.settings.weight_adversarial,
            "discriminator": 1.0,
        }

    def optimizers(self, config: TrainConfig) -> dict[str, torch.optim.Optimizer]:
        own = {
            "params": self.discriminator.parameters(),
            "lr": self.settings.discriminator_rate,
            "follows_schedule": False,
        }
        adam = torch.optim.Adam([own], betas=(0.9, 0.99))
        return {"main": sgd(self.network, config), "discriminator": adam}
