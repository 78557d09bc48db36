"""What training and prediction know of a method, and what methods of two networks share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from .._util.settings import Settings
from ..config.training import Progress, TrainConfig
from ..data.batches import Batch
from ..data.spec import DatasetSpec
from ..errors import DualsegError
from ..networks._blocks import Decoder, Features, NetworkOutput
from ..networks.resnet34 import ResNet34
from ..networks.vnet import VNet


@dataclass(frozen=True)
class Preset:
    """A named set of changes to a method's usual settings, and to sizes and schedule if need be."""

    about: str
    changes: Mapping[str, Any] = field(default_factory=dict)


class Equation(NamedTuple):
    """A term of a loss in words: its title, where it is defined, and its formula."""

    title: str
    where: str
    formula: str


SUPERVISED_EQUATION = Equation(
    "Supervised loss",
    "eq. 2",
    "CE(f, y) + 1 - 2 sum(p y) / (sum(p^2) + sum(y^2)), labeled samples",
)


class Method(nn.Module):
    """A training method: its networks, its losses, its prediction.

    A subclass names the networks that predict (`members`), says whether it wants unlabeled samples,
    and implements `loss`, `weights` and `predict_members`. Everything else has a default.

    A step of the training is: learning rate, `loss`, the weighted sum of the terms, one backward
    pass, a step of every optimizer, `after_step`.

    - All randomness is drawn from torch's generator, which is seeded anew in each step, and
      whatever lives longer than a step is a parameter or a buffer. So a resumed run goes on exactly
      where it stopped.
    - A teacher is a submodule whose parameters require no gradient; it follows in `after_step`.
    - An adversary has an optimizer of its own in `optimizers`, and learns from the same backward
      pass: its own term sees detached predictions, and the term that is to fool it calls it with
      detached parameters (`torch.func.functional_call`). So each term reaches its own side only.

    Parameters
    ----------
    settings : Settings
        An instance of the class's `settings_type`.
    config : TrainConfig
        Sizes of the training.
    spec : DatasetSpec
        The data set: its channels and classes.
    """

    title: ClassVar[str] = ""
    """The method's name in print, as "UA-MT"; empty: its name in `METHODS`."""
    citation: ClassVar[str] = ""
    """The key of its publication in docs/references.bib."""
    settings_type: ClassVar[type[Settings]] = Settings
    """Dataclass of the method's own settings; the base class has none."""
    presets: ClassVar[Mapping[str, Preset]] = {"default": Preset("the method as it is")}
    """Named starting points; the first is the usual one."""
    measurements: ClassVar[Mapping[str, str]] = {}
    """Unit of each measurement in the log, by name."""
    equations: ClassVar[Mapping[str, Equation]] = {}
    """The terms in words, by their name without a last "_a" or "_b"."""
    members: tuple[str, ...]
    """Names of the predictions whose mean is the method's prediction."""
    uses_unlabeled: bool
    """Whether a batch holds unlabeled samples after the labeled ones."""

    def __init__(self, settings: Settings, config: TrainConfig, spec: DatasetSpec):
        super().__init__()
        self.settings = settings

    def loss(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Compute the terms of the loss.

        Parameters
        ----------
        batch : Batch
            Labeled samples, then unlabeled ones where the method uses them.
        progress : Progress
            Which step this is.

        Returns
        -------
        dict of str to Tensor
            Unweighted scalars by name, with the same names in every step: a term that does not
            exist yet is 0. A name without a weight is a measurement: it is logged, and is no part
            of the loss. A measurement without anything to measure is NaN.
        """
        raise NotImplementedError

    def weights(self, progress: Progress) -> dict[str, float]:
        """The weight of each term now; the total loss is the sum of the products."""
        raise NotImplementedError

    def predict_members(self, patch: Tensor) -> Tensor:
        """Predict with each member.

        Parameters
        ----------
        patch : Tensor, shape (B, channels, X, Y, Z)

        Returns
        -------
        Tensor, shape (members, B, classes, X, Y, Z)
            Probabilities.
        """
        raise NotImplementedError

    def predict(self, patch: Tensor) -> Tensor:
        """The method's probabilities, (B, classes, X, Y, Z): the mean of the members'."""
        return self.predict_members(patch).mean(0)

    def precision_on(self, device: str) -> str:
        """Precision of the forward pass on a device type: "float32" or "bfloat16"."""
        return "float32"

    def smallest_pass(self, labeled: int, unlabeled: int) -> int:
        """Count the samples in the smallest forward pass of a step, for batch normalization.

        It needs more than one value a channel.

        Parameters
        ----------
        labeled, unlabeled : int
            Samples of each kind in a batch.

        Returns
        -------
        int

        Raises
        ------
        DualsegError
            If the method cannot take batches of these sizes.
        """
        return labeled + unlabeled

    def optimizers(self, config: TrainConfig) -> dict[str, torch.optim.Optimizer]:
        """Build the optimizers; all take a step after one backward pass.

        Returns
        -------
        dict of str to torch.optim.Optimizer
            By name, with disjoint parameters. The training sets the learning rate in each step,
            except of parameter groups with `"follows_schedule": False`.
        """
        return {"main": sgd(self, config)}

    def own_rate(self, progress: Progress) -> float:
        """Factor on the initial learning rate now, where the schedule is "own"."""
        return 1.0

    def starts_afresh(self, progress: Progress) -> bool:
        """Whether the optimizers are built anew, without memory, before this step."""
        return False

    def after_step(self, progress: Progress) -> None:
        """Called after each step of the optimizers (for a teacher's moving average, say)."""


def total_loss(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The weighted sum of the terms that have a weight.

    Raises DualsegError for a weight without its term.
    """
    if missing := sorted(weights.keys() - terms.keys()):
        raise DualsegError(
            f"weights: expected names of terms of the loss ({', '.join(terms)}), found "
            f"{', '.join(missing)}; the method's `loss` and `weights` do not fit together."
        )
    return reduce(add, (weight * terms[name] for name, weight in weights.items()))


def sgd(module: nn.Module, config: TrainConfig) -> torch.optim.SGD:
    """The configured SGD for what is trained of a module."""
    return torch.optim.SGD(
        [parameter for parameter in module.parameters() if parameter.requires_grad],
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        # All parameters in a few kernels: else launching them takes longer than the work.
        fused=next(module.parameters()).is_cuda,
    )


class NetworkMethod(Method):
    """A method of 3D networks: their sizes, their memory layout and their precision.

    A subclass builds its networks with `build` and calls them with `run`.
    """

    memory_format = torch.channels_last_3d
    """Of volumes and weights: so the 3D convolutions run faster, on CPUs too."""

    def __init__(self, settings: Settings, config: TrainConfig, spec: DatasetSpec):
        super().__init__(settings, config, spec)
        self.sizes = {
            "in_channels": spec.channels,
            "classes": len(spec.classes),
            "filters": config.filters,
        }
        self.head_dropout = config.head_dropout
        self.precision = config.precision

    def build(self, kind: Callable[..., nn.Module], **arguments: Any) -> nn.Module:
        """A network with the run's channels, classes, filters and dropout before the head."""
        network = kind(**self.sizes, **arguments)
        for part in network.modules():
            if isinstance(part, Decoder):
                part.dropout.p = self.head_dropout
        # Torch's types lack this argument.
        return network.to(memory_format=self.memory_format)  # type: ignore[call-overload]

    def run(self, network: Callable[[Tensor], Any], image: Tensor) -> Any:
        """Call a network in the run's precision.

        Parameters
        ----------
        network : callable
        image : Tensor, shape (B, channels, X, Y, Z)

        Returns
        -------
        Tensor, or tuple of Tensor, or of such tuples
            What the network returns, in float32 but for `features`, which are large.
        """
        image = image.contiguous(memory_format=self.memory_format)
        device = image.device.type
        half = self.precision_on(device) == "bfloat16"
        with torch.autocast(device, torch.bfloat16, enabled=half):
            output = network(image)
        return _in_float32(output)

    def precision_on(self, device: str) -> str:
        if self.precision != "auto":
            return self.precision
        # Most CPUs have no bfloat16 units and would emulate it, slowly.
        pays = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return "bfloat16" if pays else "float32"


def _in_float32(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.float()
    if hasattr(output, "_asdict"):
        large = ("features",)
        parts = {n: _in_float32(v) for n, v in output._asdict().items() if n not in large}
        return output._replace(**parts)
    return tuple(map(_in_float32, output))


class OneNetwork(NetworkMethod):
    """A method that predicts with one network, called `network`; the usual one is a V-Net.

    A subclass implements `loss` and `weights`. One with another network overrides `build_network`,
    and where that returns no `NetworkOutput` also `predict_members`.
    """

    members = ("network",)
    features: ClassVar[Features] = "last"
    """Which maps the network gives beside the logits (see `networks.VNet`)."""

    def __init__(self, settings: Settings, config: TrainConfig, spec: DatasetSpec):
        super().__init__(settings, config, spec)
        self.network = self.build_network()

    def build_network(self) -> nn.Module:
        """The network, with the run's sizes and its first weights."""
        # The published programs of one V-Net leave its weights as PyTorch draws them.
        return self.build(VNet, initialization="default", features=self.features)

    def forward(self, image: Tensor) -> Any:
        """The network's output for an image (B, channels, X, Y, Z), with float32 logits."""
        return self.run(self.network, image)

    def predict_members(self, patch: Tensor) -> Tensor:
        return self(patch).logits.softmax(1)[None]


class TwoNetworks(NetworkMethod):
    """The paper's pair: `a` (ResNet34) and `b` (V-Net), predicting by the mean of their softmax.

    A subclass implements `terms` and `weights`.
    """

    members = ("A", "B")
    features: ClassVar[Features] = "last"
    """Which maps the networks give beside the logits (see `networks.ResNet34`)."""

    def __init__(self, settings: Settings, config: TrainConfig, spec: DatasetSpec):
        super().__init__(settings, config, spec)
        self.a = self.build(ResNet34, features=self.features)
        self.b = self.build(VNet, features=self.features)

    def terms(self, out_a: NetworkOutput, out_b: NetworkOutput, label: Tensor) -> dict[str, Tensor]:
        """Compute the terms of `loss` from the outputs of both networks.

        Parameters
        ----------
        out_a, out_b : NetworkOutput
            Of all samples of a batch, the labeled ones first.
        label : Tensor, shape (L, X, Y, Z)
            Classes of the labeled samples.

        Returns
        -------
        dict of str to Tensor
            As `loss`.
        """
        raise NotImplementedError

    def loss(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        out_a, out_b = self(batch.image)
        return self.terms(out_a, out_b, batch.label)

    def forward(self, image: Tensor) -> tuple[NetworkOutput, NetworkOutput]:
        """Outputs of A and B, with float32 logits, for an image (B, channels, X, Y, Z)."""
        return self.run(self.a, image), self.run(self.b, image)

    def predict_members(self, patch: Tensor) -> Tensor:
        return torch.stack([out.logits.softmax(1) for out in self(patch)])
