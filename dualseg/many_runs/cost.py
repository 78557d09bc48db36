"""What a method costs: the parameters it uses, and the multiply-accumulates of a step and a window.

Both are counted while a real step and a real prediction are computed, so that a network that is
only trained with, a second pass, or a teacher is counted as often as it is used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from .._util.environment import torch_state_restored
from ..config.experiment import Experiment
from ..config.training import Progress
from ..data.batches import Batch
from ..data.spec import DatasetSpec
from ..methods import Method, build_method
from ..methods.base import total_loss
from ..networks._blocks import LEVEL_STRIDE

SIDE = 2 * LEVEL_STRIDE
"""Longest side of the crop that is computed."""


@dataclass(frozen=True)
class Cost:
    """Parameters, and multiply-accumulates of convolutions and matrix products."""

    trained: int
    """Parameters that get a gradient."""
    predicting: int
    """Parameters of the layers that a prediction runs through."""
    step: float
    """Multiply-accumulates of a training step: all passes over the batch, forward and backward."""
    window: float
    """Multiply-accumulates of the prediction of one window."""


def cost_of(experiment: Experiment, spec: DatasetSpec) -> Cost:
    """Count on random volumes what a run costs, in the middle of its training.

    Crops are at most 32 voxels long in each direction; the counts are scaled up with the number of
    voxels, which is exact for convolutions (sides are padded to multiples of 16, as in training),
    and nearly so for work on chosen voxels.

    Parameters
    ----------
    experiment : Experiment
    spec : DatasetSpec
        The data set: its channels and classes.

    Returns
    -------
    Cost
    """
    config = experiment.train
    x, y, z = (min(side, SIDE) for side in config.patch)
    train = replace(config, patch=(x, y, z), stride=(1, 1, 1), precision="float32", compile=False)
    with torch_state_restored():
        torch.manual_seed(0)
        method = build_method(experiment.replace(train=train), spec).train()
        batch = random_batch(train.patch, method, experiment, spec)
        progress = Progress(config.iterations // 2, config.iterations)
        with _Counter() as in_step:
            total_loss(method.loss(batch, progress), method.weights(progress)).backward()
        trained = sum(p.numel() for p in method.parameters() if p.grad is not None)
        used: set[nn.Parameter] = set()
        for module in method.modules():
            module.register_forward_hook(lambda m, *_: used.update(m.parameters(recurse=False)))
        with torch.no_grad(), _Counter() as in_window:
            method.eval().predict(batch.image[:1])
    scale = _computed(config.patch) / _computed(train.patch)
    counts = (scale * counter.operations / 2 for counter in (in_step, in_window))
    return Cost(trained, sum(p.numel() for p in used), *counts)


class _Counter(TorchDispatchMode):
    """Floating-point operations by torch's own formulas, two for each multiply-accumulate.

    Torch's FlopCounterMode also follows the modules, which fails where a method runs a layer
    without gradient on an input that has one.
    """

    operations = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func._overloadpacket):
            self.operations += count(*args, **(kwargs or {}), out_val=out)
        return out


def _computed(patch: tuple[int, int, int]) -> int:
    """Voxels that a network computes for a patch."""
    return math.prod(math.ceil(side / LEVEL_STRIDE) * LEVEL_STRIDE for side in patch)


def random_batch(
    patch: tuple[int, int, int], method: Method, experiment: Experiment, spec: DatasetSpec
) -> Batch:
    """Noise of the size `patch`, with a box of each class in every labeled crop."""
    config = experiment.train
    labeled = config.labeled_batch
    samples = labeled + (config.unlabeled_batch if method.uses_unlabeled else 0)
    label: Tensor = torch.zeros(labeled, *patch, dtype=torch.int64)
    classes = len(spec.classes)
    for number in range(1, classes):
        middle = slice(patch[0] // 4, patch[0] // 4 * 3)
        part = slice(patch[1] * number // (classes + 1), patch[1] * (number + 1) // (classes + 1))
        label[:, middle, part, patch[2] // 4 : patch[2] // 4 * 3] = number
    image = torch.randn(samples, spec.channels, *patch)
    return Batch(image, label, ("",) * samples)
