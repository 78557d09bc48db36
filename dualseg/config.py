"""Every choice of a run, as frozen dataclasses that refuse what cannot work.

A run is an `Experiment`. Its sizes (`TrainConfig`) follow from the data set and the profile
(`smoke`, `lesson`, `full`); any of them can be changed by name, and the whole experiment is written
into the run's folder. A profile sets sizes, schedule and augmentation; all profiles take the same
code paths.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .errors import DualsegError, require, require_one_of
from .loss_config import PRESETS, LossConfig, preset_losses
from .prepared import is_prepared, read_manifest

Profile = Literal["smoke", "lesson", "full"]
PROFILES: tuple[Profile, ...] = ("smoke", "lesson", "full")
RESOLUTIONS = {"full": 1, "half": 2, "quarter": 4}

_Triple = tuple[int, int, int]


@dataclass(frozen=True)
class TrainConfig:
    """Sizes, optimiser and schedule of one training."""

    resolution: Literal["full", "half", "quarter"] = "full"
    """Voxel grid to train on; metrics are always computed on the full grid."""
    patch: _Triple = (112, 112, 80)
    """Size of a training crop and of an inference window, in voxels of that grid."""
    stride: _Triple = (18, 18, 4)
    """Steps of the sliding window, in voxels of that grid."""
    filters: int = 16
    """Filters of the first level of both networks; all widths scale with it (the paper: 16)."""
    iterations: int = 6000
    """Training steps."""
    labeled_batch: int = 2
    """Labeled crops a step."""
    unlabeled_batch: int = 2
    """Unlabeled crops a step (for methods that use them)."""
    learning_rate: float = 0.01
    """Initial learning rate of SGD."""
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: float = 1e-4
    """Weight decay of SGD."""
    schedule: Literal["step", "poly"] = "step"
    """"step": a tenth at 2500/6000 and again at 5000/6000 of the training; "poly": (1 - t)^0.9."""
    normalise: Literal["zscore", "stored"] = "zscore"
    """"zscore": each volume to mean 0, standard deviation 1; "stored": intensities as filed."""
    flips: bool = False
    """Random quarter turns in the x-y plane and flips along x and y (the paper crops only)."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the networks' forward pass; "auto": bfloat16 on a GPU that has it, else float32."""
    checkpoint_every: int = 100
    """Steps between checkpoints."""

    def __post_init__(self) -> None:
        require_one_of("resolution", self.resolution, RESOLUTIONS)
        require_one_of("schedule", self.schedule, ("step", "poly"))
        require_one_of("normalise", self.normalise, ("zscore", "stored"))
        require_one_of("precision", self.precision, ("auto", "float32", "bfloat16"))
        for name in ("patch", "stride"):
            sides = tuple(getattr(self, name))
            whole = len(sides) == 3 and all(isinstance(side, int) and side > 0 for side in sides)
            require(whole, name, "three positive whole numbers", sides)
        gaps = all(s <= p for s, p in zip(self.stride, self.patch, strict=True))
        require(
            gaps, "stride", f"at most the patch {self.patch} (else voxels are skipped)", self.stride
        )
        for name in (
            "filters",
            "iterations",
            "labeled_batch",
            "unlabeled_batch",
            "checkpoint_every",
        ):
            value = getattr(self, name)
            require(isinstance(value, int) and value > 0, name, "a positive whole number", value)
        require(self.learning_rate > 0, "learning_rate", "a positive number", self.learning_rate)
        require(0 <= self.momentum < 1, "momentum", "a number from 0 to below 1", self.momentum)
        require(self.weight_decay >= 0, "weight_decay", "zero or more", self.weight_decay)

    @property
    def factor(self) -> int:
        """How many full-grid voxels lie along one side of a voxel of the training grid."""
        return RESOLUTIONS[self.resolution]

    def learning_rate_at(self, progress: Progress) -> float:
        """Learning rate of the step; the paper's section 4.2, scaled to any number of steps."""
        if self.schedule == "poly":
            return self.learning_rate * (1 - progress.fraction) ** 0.9
        # Whole numbers: in floats, step 2500 of 6000 could fall on the wrong side.
        return self.learning_rate * 0.1 ** (progress.step * 6000 // (2500 * progress.total))


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
class DatasetSpec:
    """What is known of a data set before any file of it is read."""

    name: str
    title: str
    classes: tuple[str, ...]
    spacing: tuple[float, float, float]
    """Voxel size in mm of the full grid."""
    orientation: str
    """Direction in which each array axis grows, e.g. "RAS" (right, anterior, superior)."""
    labeled: int
    """Number of labeled cases unless another is asked for."""
    profiles: dict[str, TrainConfig] = field(repr=False)
    channels: int = 1
    terms: str = ""
    """Where the data come from, under which terms, and what to cite."""


PHANTOM = DatasetSpec(
    name="phantom",
    title="synthetic left atrium",
    classes=("background", "left atrium"),
    spacing=(1.25, 1.25, 1.25),
    orientation="RAS",
    labeled=4,
    profiles={
        "smoke": TrainConfig(
            resolution="quarter",
            patch=(16, 16, 16),
            stride=(8, 8, 8),
            filters=4,
            iterations=6,
            checkpoint_every=2,
        ),
        "lesson": TrainConfig(
            resolution="half",
            patch=(48, 32, 32),
            stride=(24, 16, 16),
            filters=8,
            iterations=200,
            learning_rate=0.05,
            schedule="poly",
        ),
        "full": TrainConfig(patch=(96, 80, 64), stride=(48, 40, 32), checkpoint_every=500),
    },
    terms="Made by this package (dualseg.phantom); no patient, no download, MIT licence.",
)

LA = DatasetSpec(
    name="la",
    title="left atrium, late gadolinium-enhanced MR",
    classes=("background", "left atrium"),
    spacing=(0.625, 0.625, 0.625),
    orientation="LPS",
    labeled=8,
    profiles={
        "smoke": TrainConfig(
            resolution="quarter",
            patch=(32, 32, 16),
            stride=(16, 16, 8),
            filters=4,
            iterations=6,
            flips=True,
            checkpoint_every=2,
        ),
        "lesson": TrainConfig(
            resolution="quarter",
            patch=(48, 32, 32),
            stride=(24, 16, 16),
            filters=8,
            iterations=400,
            learning_rate=0.05,
            schedule="poly",
            flips=True,
        ),
        "full": TrainConfig(checkpoint_every=500),
    },
    terms=(
        "`dualseg data fetch la --root DIR` gets the files from the repository yulequan/UA-MT on "
        "GitHub (folder `data/2018LA_Seg_Training Set`) as DIR/<case>/mri_norm2.h5, 233 MB. "
        "2018 Atrial Segmentation Challenge (Xiong et al., Medical Image Analysis 67, 2021), "
        "normalised and cropped by the authors of UA-MT (Yu et al., MICCAI 2019), who ask to cite "
        "both; for research."
    ),
)

FOLDER = DatasetSpec(
    name="folder",
    title="your own data",
    classes=("background", "foreground"),  # these four are read from the folder's manifest
    spacing=(1.0, 1.0, 1.0),
    orientation="RAS",
    labeled=4,
    profiles={
        "smoke": TrainConfig(
            resolution="half",
            patch=(16, 16, 16),
            stride=(8, 8, 8),
            filters=4,
            iterations=6,
            checkpoint_every=2,
        ),
        "lesson": TrainConfig(
            resolution="half",
            patch=(48, 48, 32),
            stride=(24, 24, 16),
            filters=8,
            iterations=400,
            learning_rate=0.05,
            schedule="poly",
        ),
        "full": TrainConfig(patch=(96, 96, 96), stride=(48, 48, 48), checkpoint_every=500),
    },
    terms=(
        "NIfTI images and labels of your own: `dualseg data prepare folder --images DIR --labels "
        "DIR --out DATA`, then `--dataset DATA`."
    ),
)

SPECS = {spec.name: spec for spec in (PHANTOM, LA, FOLDER)}


def dataset_spec(name: str) -> DatasetSpec:
    """The spec of a named data set; raises DualsegError for an unknown name."""
    require_one_of("dataset", name, SPECS)
    return SPECS[name]


def resolve_dataset(dataset: str, root: str | None = None) -> tuple[str, str | None, DatasetSpec]:
    """Name, folder and spec of a named data set, or of a prepared folder given in its place.

    Raises DualsegError for what is neither.
    """
    if dataset not in SPECS and is_prepared(Path(dataset)):
        dataset, root = read_manifest(Path(dataset))["dataset"], dataset
    elif dataset not in SPECS and Path(dataset).is_dir():
        read_manifest(Path(dataset))  # says what is missing
    spec = dataset_spec(dataset)
    if root is not None and is_prepared(Path(root)):
        spec = prepared_spec(spec, read_manifest(Path(root)))
    return dataset, root, spec


def prepared_spec(spec: DatasetSpec, manifest: dict[str, Any]) -> DatasetSpec:
    """The spec with what a prepared folder's manifest (or a run's note of it) says."""
    return dataclasses.replace(
        spec,
        title=manifest["title"],
        classes=tuple(manifest["classes"]),
        spacing=tuple(manifest["spacing"]),
        orientation=manifest["orientation"],
        labeled=manifest["labeled"],
    )


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One run: which data, which method, how much of it is labeled, and every size."""

    dataset: str = "phantom"
    """Data set: a name (see `dualseg data list`), or a folder that `dualseg data prepare` made."""
    root: str | None = None
    """Folder with the data set's files (the phantom needs none)."""
    method: str = "dual"
    """"supervised" or "dual"."""
    preset: str = "paper"
    """Choices of the losses of "dual" to start from: "paper", "released", "improved", or a row of
    Table 4 as "cps"; `dualseg explain` lists them."""
    profile: str = "lesson"
    """Sizes to start from: "smoke" (seconds), "lesson" (minutes on a laptop), "full" (one GPU)."""
    labeled: int = 4
    """Labeled cases: the first so many of the training list; the rest is used without labels."""
    validation: int = 0
    """Hold out the last so many of the training list, to choose settings without the test set."""
    seed: int = 0
    """Of the initial weights, crops and dropout."""
    train: TrainConfig
    loss: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        dataset, root, _ = resolve_dataset(self.dataset, self.root)
        object.__setattr__(self, "dataset", dataset)
        object.__setattr__(self, "root", root)
        require_one_of("profile", self.profile, PROFILES)
        require_one_of("preset", self.preset, PRESETS)
        for name, least in (("labeled", 1), ("validation", 0), ("seed", 0)):
            value = getattr(self, name)
            require(
                isinstance(value, int) and value >= least,
                name,
                f"a whole number of at least {least}",
                value,
            )

    @classmethod
    def default(
        cls,
        dataset: str = "phantom",
        profile: str = "lesson",
        preset: str = "paper",
        **changes: Any,
    ) -> Experiment:
        """What (data set, profile, preset) stand for, with fields of it changed by name.

        `changes` may name fields of `Experiment`, `TrainConfig` and `LossConfig`; an unknown name
        raises DualsegError.
        """
        dataset, root, spec = resolve_dataset(dataset, changes.get("root"))
        require_one_of("profile", profile, PROFILES)
        base = cls(
            dataset=dataset,
            root=root,
            profile=profile,
            preset=preset,
            labeled=spec.labeled,
            train=spec.profiles[profile],
            loss=preset_losses(preset, dataset),
        )
        return base.replace(**changes)

    def replace(self, **changes: Any) -> Experiment:
        """A copy with fields changed by name, wherever in the experiment they live.

        Raises DualsegError for an unknown name, and for another data set, profile or preset: the
        other fields follow from them, so that is a new `Experiment.default`.
        """
        for name in ("dataset", "profile", "preset"):
            if changes.get(name, getattr(self, name)) != getattr(self, name):
                raise DualsegError(
                    f"{name}: expected {getattr(self, name)!r} as in this experiment, found "
                    f"{changes[name]!r}; other settings follow from it, so start from "
                    f"Experiment.default(..., {name}={changes[name]!r})."
                )
        own, train, loss = {}, {}, {}
        for name, value in changes.items():
            if name in _field_names(self.train):
                train[name] = value
            elif name in _field_names(self.loss):
                loss[name] = value
            elif name in _field_names(self) - {"train", "loss"}:
                own[name] = value
            else:
                known = ", ".join(sorted(self.flat()))
                raise DualsegError(f"unknown setting {name!r}: expected one of {known}.")
        # All changes of a part at once: a patch and its stride may only fit together.
        return dataclasses.replace(
            self,
            train=dataclasses.replace(self.train, **train),
            loss=dataclasses.replace(self.loss, **loss),
            **own,
        )

    def flat(self) -> dict[str, Any]:
        """All fields in one dictionary of plain values, as records hold them."""
        values = dataclasses.asdict(self)
        parts = values.pop("train"), values.pop("loss")
        return {**values, **parts[0], **parts[1]}

    @classmethod
    def from_flat(cls, values: dict[str, Any]) -> Experiment:
        """The inverse of `flat`."""
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}  # JSON
        return cls.default(values["dataset"], values["profile"], values["preset"]).replace(**values)


def _field_names(part: Any) -> set[str]:
    return {f.name for f in dataclasses.fields(part)}
