"""BCP: boxes are pasted between labeled and unlabeled scans, in both directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from .._util.settings import Range, Settings
from ..config.training import Progress, TrainConfig
from ..data.batches import Batch
from ..data.spec import DatasetSpec
from ..errors import DualsegError
from ..losses import pseudo_label
from .base import Equation, OneNetwork, Preset
from .parts.components import largest_component
from .parts.mixing import mixed_loss, paste, paste_box, region_loss
from .parts.published import PUBLISHED
from .parts.teacher import ema_update, frozen_copy

_Share = Annotated[float, Range(0, 1)]
_FOUR_AND_FOUR = {"labeled_batch": 4, "unlabeled_batch": 4}


@dataclass(frozen=True)
class BCPSettings(Settings):
    """Settings of "bcp"; the values are those of the released program for the left atrium."""

    pretraining: _Share = 2000 / 17000
    """Part of the training with labeled samples only (program: 2000 of 17000 steps)."""
    mixing: bool = True
    """Whether boxes are pasted; without them this is self-training with a mean teacher."""
    box_share: _Share = 2 / 3
    """The box's part of each side of a crop."""
    weight_pseudo: Annotated[float, Range(0)] = 0.5
    """Weight of the regions with pseudo-labels (program: u_weight)."""
    decay: _Share = 0.99
    """What the teacher keeps of itself in each step of self-training."""


class BCP(OneNetwork):
    """Bidirectional copy-paste: half labeled, half unlabeled volumes, and a mean teacher.

    A box of a labeled scan is pasted into an unlabeled one, and the other way round, so that both
    kinds of voxels come with the same surroundings. The labeled region of each mix learns its
    label, the other region the label that the teacher gives to its own, unmixed scan.

    A step takes two equal halves a, b of the labeled samples and u, v of the unlabeled ones.
    Pre-training: b's box is pasted into a, and the student learns the labels. Then optimizer and
    teacher start anew from the student, and in self-training the teacher, in training mode, labels
    u and v; of each class only the largest component is kept; the student learns a with u's box,
    and in a pass of its own v with b's box. The teacher follows as a moving average.

    - It needs even and equal numbers of samples: its usual preset takes 4 and 4 where others take 2
      and 2. An equal number of steps then shows it twice as many crops.
    - The program goes on from the pre-trained weights that were best on the test cases, we from
      the last ones: nothing is chosen on test cases.
    - All places of the box have the same probability; the program leaves out the last ones.
    - In a region without an object, the Dice of the object asks for none. Crops that are much
      smaller than the published 112 x 112 x 80 have many such regions.
    - Without mixing the losses keep their scale: each half has a pass and a loss of its own.
    """

    title = "BCP"
    citation = "bai2023bcp"
    settings_type = BCPSettings
    settings: BCPSettings
    uses_unlabeled = True
    presets: ClassVar = {
        "default": Preset(
            "the run's rate and schedule, with 4 labeled and 4 unlabeled samples a step",
            _FOUR_AND_FOUR,
        ),
        "own": Preset(
            "the published training: 2000 steps at the full rate, then 15000 with a tenth of it "
            "after every 2500",
            {**PUBLISHED, **_FOUR_AND_FOUR, "iterations": 17000, "schedule": "own"},
        ),
        "no_mixing": Preset(
            "no boxes are pasted: self-training with a mean teacher",
            {**_FOUR_AND_FOUR, "mixing": False},
        ),
    }
    equations: ClassVar = {
        "supervised": Equation(
            "Labeled regions",
            "Bai et al. 2023",
            "sum over both mixes of (CE + Dice) / 2 where the voxels are of a labeled sample",
        ),
        "pseudo": Equation(
            "Regions with pseudo-labels",
            "Bai et al. 2023",
            "sum over both mixes of (CE + Dice) / 2 where the voxels are of an unlabeled sample, "
            "to the teacher's largest component",
        ),
    }

    def __init__(self, settings: BCPSettings, config: TrainConfig, spec: DatasetSpec):
        super().__init__(settings, config, spec)
        self.teacher = frozen_copy(self.network)

    def loss(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        image, label = batch.image, batch.label
        sides = image.shape[-3:]
        half = batch.labeled // 2
        box = paste_box(sides, self.settings.box_share).to(image.device)
        whole = torch.ones_like(box)
        if self._pretraining(progress):
            if self.settings.mixing:
                (a, b), (label_a, label_b) = image[: 2 * half].split(half), label.split(half)
                image, label = paste(a, b, box), paste(label_a, label_b, box)
            supervised = region_loss(self(image[: len(label)]).logits, label, whole)
            return {"supervised": supervised, "pseudo": torch.zeros_like(supervised)}

        a, b, u, v = image.split(half)
        label_a, label_b = label.split(half)
        label_u, label_v = self._pseudo_label(u), self._pseudo_label(v)
        if not self.settings.mixing:
            halves = ((a, label_a), (b, label_b), (u, label_u), (v, label_v))
            losses = [region_loss(self(x).logits, y, whole) for x, y in halves]
            return {"supervised": losses[0] + losses[1], "pseudo": losses[2] + losses[3]}
        a_around, u_in_box = mixed_loss(self(paste(a, u, box)).logits, label_a, label_u, box)
        v_around, b_in_box = mixed_loss(self(paste(v, b, box)).logits, label_v, label_b, box)
        return {"supervised": a_around + b_in_box, "pseudo": u_in_box + v_around}

    @torch.no_grad()
    def _pseudo_label(self, image: Tensor) -> Tensor:
        """The largest component of each class that the teacher sees."""
        classes = pseudo_label(self.run(self.teacher, image).logits)
        label = torch.zeros_like(classes)
        for number in range(1, self.sizes["classes"]):
            label[largest_component(classes == number)] = number
        return label

    def weights(self, progress: Progress) -> dict[str, float]:
        pseudo = 0.0 if self._pretraining(progress) else self.settings.weight_pseudo
        return {"supervised": 1.0, "pseudo": pseudo}

    def smallest_pass(self, labeled: int, unlabeled: int) -> int:
        if labeled != unlabeled or labeled % 2:
            raise DualsegError(
                "labeled_batch: expected an even number, and the same of unlabeled_batch, as BCP "
                f"pastes between halves of them, found {labeled} and {unlabeled} in each process; "
                "use --labeled-batch 4 --unlabeled-batch 4."
            )
        return labeled // 2

    def own_rate(self, progress: Progress) -> float:
        first = self._boundary(progress)
        sixths = 6 * (progress.step - first) // max(progress.total - first, 1)
        return 0.1 ** max(sixths, 0)

    def starts_afresh(self, progress: Progress) -> bool:
        return progress.step == self._boundary(progress)

    def after_step(self, progress: Progress) -> None:
        if self._pretraining(progress):
            self.teacher.load_state_dict(self.network.state_dict())
        else:
            ema_update(self.teacher, self.network, self.settings.decay)

    def _boundary(self, progress: Progress) -> int:
        """The first step of self-training."""
        return round(self.settings.pretraining * progress.total)

    def _pretraining(self, progress: Progress) -> bool:
        return progress.step < self._boundary(progress)
