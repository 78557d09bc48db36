"""What is known of a data set before any file of it is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..config.training import TrainConfig
from ..errors import require
from .case_sources import CaseFiles, CaseSource
from .prepared_folder import SPEC_FIELDS, require_spacing
from .recipe import Recipe

Profile = Literal["smoke", "lesson", "full"]
PROFILES: tuple[Profile, ...] = ("smoke", "lesson", "full")
# What the small profiles of all data sets have in common; each has a grid and sizes of its own.
SMOKE = TrainConfig(filters=4, iterations=6, checkpoint_every=2)
LESSON = TrainConfig(
    filters=8,
    head_dropout=0.0,  # of 8 channels it would leave none in 1 of 256 samples
    iterations=800,
    learning_rate=0.05,
    schedule="poly",
)


@dataclass(frozen=True)
class DatasetSpec:
    """Facts, sizes and files of one data set. Those that the package knows are in `data.known`."""

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
    source_and_terms: str = ""
    """Where the data come from, under which terms, and what to cite."""
    settings: Mapping[str, Mapping[str, float]] = field(default_factory=dict, repr=False)
    """By name of a method: the paper's values of its settings on these data, where they differ."""
    lists: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Who uses each of the published lists of cases, by the lists' folder in `resources/splits`;
    the first one is the paper's."""
    generated: CaseSource | None = field(default=None, repr=False)
    """The cases, where they are computed and not read from files."""
    published_files: Callable[[Path], CaseFiles] | None = field(default=None, repr=False)
    """Reads a folder of files as they are published; None where files must be prepared first."""
    download: str = field(default="", repr=False)
    """Base address of `published_files`, where a program may fetch them."""
    instructions: Mapping[str, str] = field(default_factory=dict, repr=False)
    """How to get files that no program may fetch, by the name that `dualseg data fetch` knows;
    {root} is where the user wants them."""
    usual_recipe: Recipe | None = field(default=None, repr=False)
    """What `prepare` does unless told otherwise; `classes` are named after its label values."""
    prepare: Callable[..., list[str]] | None = field(default=None, repr=False)
    """Prepares raw files; its signature and docstring are those of `dualseg data prepare NAME`.
    Returns remarks that the user should read."""

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


def prepared_spec(spec: DatasetSpec, manifest: Mapping[str, Any]) -> DatasetSpec:
    """The spec with what a prepared folder's manifest (or a run's note of it) says.

    Raises DualsegError for entries of other types.
    """
    said = {name: manifest[name] for name in SPEC_FIELDS if name in manifest}
    said = {name: tuple(v) if isinstance(v, list) else v for name, v in said.items()}
    if said.get("recipe"):
        require(isinstance(said["recipe"], dict), "recipe", "settings", said["recipe"])
        said["recipe"] = Recipe.of(said["recipe"])
    return dataclasses.replace(spec, **said)


def noted_spec(spec: DatasetSpec) -> dict[str, Any]:
    """The inverse of `prepared_spec`, as plain values for a manifest or a run's note."""
    values = {name: getattr(spec, name) for name in SPEC_FIELDS}
    return values | {"recipe": dataclasses.asdict(spec.recipe) if spec.recipe else None}
