"""A method in one file that asks of the training loop all that a method may ask.

A student learns from labeled samples, and from its teacher (a moving average of it) on the others;
a critic tells labeled predictions from unlabeled ones, which the student is to make alike. The
student has SGD, the critic Adam with a learning rate of its own. In the second half of the
training, the student begins with a fresh optimizer, and the teacher's term is switched on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from dualseg.config.training import Progress, TrainConfig
from dualseg.data.batches import Batch
from dualseg.data.spec import DatasetSpec
from dualseg.losses import supervised_loss
from dualseg.methods import Equation, Method, Preset, Range, Settings
from dualseg.methods.base import sgd


@dataclass(frozen=True)
class ToySettings(Settings):
    """Settings of the toy method."""

    decay: Annotated[float, Range(0, 1)] = 0.9
    """What the teacher keeps of itself in each step."""
    adversarial: bool = True
    """Whether the student is to fool the critic."""
    widths: tuple[int, ...] = (4,)
    """Channels of the hidden layers."""


def network(channels: int, out: int, widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Conv3d(channels, width, 3, padding=1), nn.BatchNorm3d(width), nn.ReLU()]
        layers.append(nn.Dropout3d(0.2))
        channels = width
    return nn.Sequential(*layers, nn.Conv3d(channels, out, 1))


class Toy(Method):
    """A student, its teacher and a critic."""

    settings_type = ToySettings
    settings: ToySettings
    presets = {  # noqa: RUF012
        "plain": Preset("without batches of its own"),
        "own": Preset(
            "with the method's own batches and schedule",
            {"labeled_batch": 4, "unlabeled_batch": 4, "schedule": "own", "decay": 0.5},
        ),
    }
    measurements = {"agreement": "share of voxels"}  # noqa: RUF012
    equations = {  # noqa: RUF012
        "teacher": Equation("Consistency with the teacher", "here", "mean (p - p_teacher)^2")
    }
    members = ("student",)
    uses_unlabeled = True

    def __init__(self, settings: ToySettings, config: TrainConfig, spec: DatasetSpec):
        super().__init__(settings, config, spec)
        classes = len(spec.classes)
        self.student = network(spec.channels, classes, settings.widths)
        self.teacher = network(spec.channels, classes, settings.widths).requires_grad_(False)
        self.teacher.load_state_dict(self.student.state_dict())
        self.critic = nn.Conv3d(classes, 1, 1)

    def loss(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        logits = self.student(batch.image)
        probabilities, labeled = logits.softmax(1), batch.labeled
        with torch.no_grad():
            taught = self.teacher(batch.image[labeled:]).softmax(1)
        seen = binary_cross_entropy_with_logits
        told = self.critic(probabilities.detach())  # this term teaches the critic alone
        truth = torch.zeros_like(told)
        truth[:labeled] = 1
        frozen = {name: p.detach() for name, p in self.critic.named_parameters()}
        fooled = torch.func.functional_call(self.critic, frozen, (probabilities[labeled:],))
        zero = logits.sum() * 0
        late = second_half(progress)
        return {
            "supervised": supervised_loss(logits[:labeled], batch.label),
            "teacher": mse_loss(probabilities[labeled:], taught) if late else zero,
            "critic": seen(told, truth),
            "fool": seen(fooled, torch.ones_like(fooled)) if self.settings.adversarial else zero,
            "agreement": (probabilities[labeled:].argmax(1) == taught.argmax(1)).float().mean()
            if late
            else zero.detach() * torch.nan,
        }

    def weights(self, progress: Progress) -> dict[str, float]:
        return {"supervised": 1.0, "teacher": 0.5, "critic": 1.0, "fool": 0.1}

    def smallest_pass(self, labeled: int, unlabeled: int) -> int:
        return unlabeled  # the teacher's, whose batch normalization is in training mode

    def optimizers(self, config: TrainConfig) -> dict[str, torch.optim.Optimizer]:
        own = {"params": self.critic.parameters(), "lr": 1e-3, "follows_schedule": False}
        return {"main": sgd(self.student, config), "critic": torch.optim.Adam([own])}

    def own_rate(self, progress: Progress) -> float:
        return 0.1 if second_half(progress) else 1.0

    def starts_afresh(self, progress: Progress) -> bool:
        return progress.step == progress.total // 2

    @torch.no_grad()
    def after_step(self, progress: Progress) -> None:
        for mine, its in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            mine.lerp_(its, 1 - self.settings.decay)

    def predict_members(self, patch: Tensor) -> Tensor:
        return self.student(patch).softmax(1)[None]


def second_half(progress: Progress) -> bool:
    return progress.step >= progress.total // 2
