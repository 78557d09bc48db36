"""Sizes, optimizer and schedule of a training, and where in it one stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from .._util.settings import Range, Settings
from ..errors import require

RESOLUTIONS = {"full": 1, "half": 2, "quarter": 4}

_Count = Annotated[int, Range(1)]
# Beyond these, networks and crops fit no machine: a slip, or a damaged run.json.
_Side = Annotated[int, Range(1, 1024)]
_Filters = Annotated[int, Range(1, 128)]


@dataclass(frozen=True)
class Progress:
    """Where a training stands: `step` counts from 0 to `total - 1`."""

    step: int
    total: int

    @property
    def fraction(self) -> float:
        """t = step / total, as in the paper's schedules."""
        return self.step / self.total


@dataclass(frozen=True)
class TrainConfig(Settings):
    """Sizes, optimizer and schedule of one training."""

    resolution: Literal["full", "half", "quarter"] = "full"
    """Voxel grid to train on; metrics are always computed on the full grid."""
    patch: tuple[_Side, _Side, _Side] = (112, 112, 80)
    """Size of a training crop and of an inference window, in voxels of that grid."""
    stride: tuple[_Side, _Side, _Side] = (18, 18, 4)
    """Steps of the sliding window, in voxels of that grid."""
    filters: _Filters = 16
    """Filters of the first level of both networks; all widths scale with it (the paper: 16)."""
    head_dropout: Annotated[float, Range(0, 1)] = 0.5
    """Share of the last feature channels that are dropped in training before the head of a decoder
    (the published programs: 0.5 of 16 channels)."""
    iterations: _Count = 6000
    """Training steps."""
    labeled_batch: _Count = 2
    """Labeled crops a step."""
    unlabeled_batch: _Count = 2
    """Unlabeled crops a step (for methods that use them)."""
    learning_rate: float = 0.01
    """Initial learning rate of SGD."""
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: Annotated[float, Range(0)] = 1e-4
    """Weight decay of SGD."""
    schedule: Literal["step", "poly", "own"] = "step"
    """"step": a tenth at 2500/6000 and again at 5000/6000 of the training; "poly": (1 - t)^0.9;
    "own": the method's own (constant, if it has none)."""
    normalise: Literal["zscore", "stored"] = "zscore"
    """"zscore": each volume to mean 0, standard deviation 1; "stored": the files' intensities."""
    flips: bool = False
    """Random quarter turns in the x-y plane and flips along x and y (the paper crops only)."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the forward pass; "auto": bfloat16 on a GPU that has it, else float32. A CPU
    trains in float32 only."""
    checkpoint_every: _Count = 100
    """Steps between checkpoints."""
    compile: bool = False
    """Networks through torch.compile: the first step takes minutes, the others may be faster."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            all(s <= p for s, p in zip(self.stride, self.patch, strict=True)),
            "stride",
            f"at most the patch {self.patch} (else voxels are skipped)",
            self.stride,
        )
        require(self.learning_rate > 0, "learning_rate", "a number above 0", self.learning_rate)
        require(self.head_dropout < 1, "head_dropout", "below 1", self.head_dropout)
        require(0 <= self.momentum < 1, "momentum", "a number from 0 to below 1", self.momentum)

    @property
    def factor(self) -> int:
        """How many full-grid voxels lie along one side of a voxel of the training grid."""
        return RESOLUTIONS[self.resolution]

    def learning_rate_at(self, progress: Progress) -> float:
        """Compute the learning rate of a step.

        Parameters
        ----------
        progress : Progress
            Which step this is.

        Returns
        -------
        float
            With the schedule "own" the initial rate, which the method multiplies by its factor.

        References
        ----------
        Section 4.2 of the paper, scaled to any number of steps.
        """
        if self.schedule == "own":
            return self.learning_rate
        if self.schedule == "poly":
            return self.learning_rate * (1 - progress.fraction) ** 0.9
        # Whole numbers: in floats, step 2500 of 6000 could fall on the wrong side.
        return self.learning_rate * 0.1 ** (progress.step * 6000 // (2500 * progress.total))
