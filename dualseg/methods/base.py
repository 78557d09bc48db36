"""What training and inference know of a method, and the part that most methods share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..config import Experiment
from ..networks import NetworkOutput, ResNet34, VNet
from ..sampling import Batch
from ..specs import DatasetSpec
from ..train_config import Progress, TrainConfig


class Method(nn.Module):
    """A training method: its networks, its losses, its prediction.

    A subclass says which networks predict (`members`) and whether it wants unlabeled samples, and
    implements `loss` and `predict_members`.
    """

    members: tuple[str, ...]
    """Names of the predictions whose mean is the method's prediction."""
    uses_unlabeled: bool
    """Whether a batch holds unlabeled samples after the labeled ones."""

    def loss(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """The named terms of the loss, unweighted scalars.

        A name without a weight is a measurement: it is logged (NaN: nothing to measure), and is no
        part of the loss.
        """
        raise NotImplementedError

    def weights(self, progress: Progress) -> dict[str, float]:
        """The weight of each term now; the total loss is the sum of the products."""
        raise NotImplementedError

    def predict_members(self, patch: Tensor) -> Tensor:
        """Probabilities of each member: (B, channels, X, Y, Z) -> (M, B, classes, X, Y, Z)."""
        raise NotImplementedError

    def predict(self, patch: Tensor) -> Tensor:
        """The method's probabilities: (B, channels, X, Y, Z) -> (B, classes, X, Y, Z)."""
        return self.predict_members(patch).mean(0)

    def precision_on(self, device: str) -> str:
        """Precision of the forward pass on a device type: "float32" or "bfloat16"."""
        return "float32"

    def after_step(self, progress: Progress) -> None:
        """Called after each optimiser step (for a teacher's moving average, say)."""

    def optimizer(self, config: TrainConfig) -> torch.optim.Optimizer:
        """The optimiser; its learning rate is set anew in each step."""
        return torch.optim.SGD(
            self.parameters(),
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            # All parameters in a few kernels: else launching them takes longer than the work.
            fused=next(self.parameters()).is_cuda,
        )


class TwoNetworks(Method):
    """The paper's pair: `a` (ResNet34) and `b` (V-Net), predicting by the mean of their softmax."""

    members = ("A", "B")
    memory_format = torch.channels_last_3d
    """Of volumes and weights: so the 3D convolutions run faster, on CPUs too."""

    def __init__(self, experiment: Experiment, spec: DatasetSpec):
        super().__init__()
        sizes = {
            "in_channels": spec.channels,
            "classes": len(spec.classes),
            "filters": experiment.train.filters,
        }
        self.a = ResNet34(**sizes)
        self.b = VNet(**sizes)
        self.precision = experiment.train.precision
        self.to(memory_format=self.memory_format)

    def forward(self, image: Tensor) -> tuple[NetworkOutput, NetworkOutput]:
        """Outputs of A and B with float32 logits. Shapes: image (B, channels, X, Y, Z)."""
        image = image.contiguous(memory_format=self.memory_format)
        device = image.device.type
        half = self.precision_on(device) == "bfloat16"
        with torch.autocast(device, torch.bfloat16, enabled=half):
            outputs = self.a(image), self.b(image)
        return tuple(NetworkOutput(out.logits.float(), out.features) for out in outputs)

    def predict_members(self, patch: Tensor) -> Tensor:
        return torch.stack([out.logits.softmax(1) for out in self(patch)])

    def precision_on(self, device: str) -> str:
        if self.precision != "auto":
            return self.precision
        # Most CPUs have no bfloat16 units and would emulate it, slowly.
        pays = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return "bfloat16" if pays else "float32"
