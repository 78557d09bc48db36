"""The data sets: what is known of each before any file of it is read, and its sizes by profile."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .errors import DualsegError, require, require_one_of
from .prepared import SPEC_FIELDS, is_prepared, read_manifest, require_spacing
from .recipes import Recipe
from .train_config import TrainConfig

Profile = Literal["smoke", "lesson", "full"]
PROFILES: tuple[Profile, ...] = ("smoke", "lesson", "full")


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
    modalities: tuple[str, ...] = ("scan",)
    """Images of a case, the channels of the networks' input, in their order."""
    validation: int = 0
    """Number of cases at the end of the training list that are held out by default."""
    recipe: Recipe | None = None
    """What was done to the raw scans, where the package did it; prediction does the same."""
    settings: Mapping[str, Mapping[str, float]] = field(default_factory=dict, repr=False)
    """What differs from a method's usual settings for these data, by the method's name."""
    terms: str = ""
    """Where the data come from, under which terms, and what to cite."""

    def __post_init__(self) -> None:
        for name, least in (("classes", 2), ("modalities", 1)):
            words = getattr(self, name)
            good = isinstance(words, tuple) and all(isinstance(word, str) for word in words)
            require(good and least <= len(words) <= 256, name, f"{least} to 256 names", words)
        code = self.orientation
        axes = ["LR", "PA", "SI"]
        good = isinstance(code, str) and len(code) == 3
        good = good and all(sum(way in axis for way in code) == 1 for axis in axes)
        require(good, "orientation", "a code like 'RAS'", code)
        require(isinstance(self.spacing, tuple), "spacing", "three sizes in mm", self.spacing)
        require_spacing(self.spacing, "spacing")
        for name in ("labeled", "validation"):
            number = getattr(self, name)
            require(isinstance(number, int) and number >= 0, name, "0 or more", number)

    @property
    def channels(self) -> int:
        """Channels of the networks' input."""
        return len(self.modalities)


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

PANCREAS = DatasetSpec(
    name="pancreas",
    title="pancreas, abdominal CT",
    classes=("background", "pancreas"),
    spacing=(0.86, 0.86, 1.0),
    orientation="RAS",
    labeled=6,
    profiles={
        "smoke": TrainConfig(
            resolution="quarter",
            patch=(32, 32, 16),
            stride=(16, 16, 8),
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
        "full": TrainConfig(patch=(96, 96, 96), stride=(16, 16, 16), checkpoint_every=500),
    },
    settings={"dual": {"alpha": 0.6, "gamma": 80.0}},  # section 4.4
    terms=(
        "NIH Pancreas-CT, from The Cancer Imaging Archive (see `dualseg data fetch pancreas`). "
        "Roth et al., MICCAI 2015; Clark et al., Journal of Digital Imaging 26, 2013; terms on its "
        "page."
    ),
)

BRATS2019 = DatasetSpec(
    name="brats2019",
    title="brain tumour, MR",
    classes=("background", "whole tumour"),
    spacing=(1.0, 1.0, 1.0),
    orientation="RAS",
    modalities=("flair",),
    labeled=25,
    validation=25,
    profiles={
        "smoke": TrainConfig(
            resolution="quarter",
            patch=(32, 32, 32),
            stride=(16, 16, 16),
            filters=4,
            iterations=6,
            flips=True,
            checkpoint_every=2,
        ),
        "lesson": TrainConfig(
            resolution="quarter",
            patch=(32, 32, 32),
            stride=(16, 16, 16),
            filters=8,
            iterations=400,
            learning_rate=0.05,
            schedule="poly",
            flips=True,
        ),
        "full": TrainConfig(
            patch=(96, 96, 96),
            stride=(64, 64, 64),
            iterations=20000,
            schedule="poly",
            flips=True,
            checkpoint_every=500,
        ),
    },
    settings={"dual": {"gamma": 30.0}},  # section 4.4
    terms=(
        "BraTS 2019 training data, for registered users (see `dualseg data fetch brats2019`). "
        "Menze et al., IEEE Transactions on Medical Imaging 34, 2015; Bakas et al., Scientific "
        "Data 4, 2017; Bakas et al., arXiv:1811.02629; for research."
    ),
)

FOLDER = DatasetSpec(
    name="folder",
    title="your own data",
    classes=("background", "foreground"),  # like spacing and labeled, read from the manifest
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

SPECS = {spec.name: spec for spec in (PHANTOM, LA, PANCREAS, BRATS2019, FOLDER)}


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
    elif dataset not in SPECS:
        known = ", ".join(sorted(SPECS))
        raise DualsegError(
            f"dataset: expected one of {known}, or a folder that `dualseg data prepare` made, "
            f"found {dataset!r}, which is neither."
        )
    spec = dataset_spec(dataset)
    if root is not None and is_prepared(Path(root)):
        spec = prepared_spec(spec, read_manifest(Path(root)))
    return dataset, root, spec


def prepared_spec(spec: DatasetSpec, manifest: dict[str, Any]) -> DatasetSpec:
    """The spec with what a prepared folder's manifest (or a run's note of it) says."""
    said = {name: manifest[name] for name in SPEC_FIELDS if name in manifest}
    said = {name: tuple(v) if isinstance(v, list) else v for name, v in said.items()}
    if said.get("recipe"):
        try:
            said["recipe"] = Recipe.of(said["recipe"])
        except TypeError as error:
            raise DualsegError(
                f"recipe: expected settings, found other types ({error})."
            ) from error
    return dataclasses.replace(spec, **said)


def noted(spec: DatasetSpec) -> dict[str, Any]:
    """The inverse of `prepared_spec`, as plain values for a run's note."""
    values = {name: getattr(spec, name) for name in SPEC_FIELDS}
    return values | {"recipe": dataclasses.asdict(spec.recipe) if spec.recipe else None}
