"""What the first cells of every notebook call: checked settings, the data set, the sizes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from .config import Experiment
from .datasets import Dataset, open_dataset
from .errors import DualsegError, require, require_one_of
from .specs import PROFILES, SPECS
from .train_config import TrainConfig

T = TypeVar("T")


@dataclass(frozen=True)
class NotebookSettings:
    """A notebook's parameters, checked, and what follows from them. See `notebook_settings`."""

    profile: str
    seed: int
    dataset: Dataset
    """On the training grid of the profile; `dataset.read(case_id)` reads the full grid."""
    data_dir: str | None

    @property
    def train(self) -> TrainConfig:
        """Patch, stride, filters and steps of (data set, profile)."""
        return self.dataset.spec.profiles[self.profile]

    def choose(self, *, smoke: T, lesson: T, full: T) -> T:
        """The size that belongs to the profile: profiles change sizes, never what is done."""
        return {"smoke": smoke, "lesson": lesson, "full": full}[self.profile]

    def experiment(self, **changes: Any) -> Experiment:
        """A run on this data set with this profile and seed; `changes` as `Experiment`."""
        name = self.dataset.spec.name
        return Experiment(
            name, self.profile, **{"root": self.data_dir, "seed": self.seed, **changes}
        )


def notebook_settings(
    *, profile: str, dataset: str, data_dir: str, seed: int, **others: Any
) -> NotebookSettings:
    """Check a notebook's parameters, open its data set and print the resolved settings.

    `data_dir` is the folder of the files, empty for the phantom; `others` are further parameters
    of the notebook, which are printed with the rest. Raises DualsegError for what cannot work.
    """
    require_one_of("profile", profile, PROFILES)
    require(type(seed) is int and seed >= 0, "seed", "a whole number of at least 0", seed)
    if dataset == "phantom":
        require(not data_dir, "data_dir", "nothing, since the phantom is made here", data_dir)
    elif dataset in SPECS and not data_dir:
        raise DualsegError(
            f"data_dir: the data set {dataset!r} needs the folder with its files, found none; "
            "set the parameter data_dir (`dualseg data list` says where the files come from)."
        )
    root = data_dir or None
    resolution = open_dataset(dataset, root).spec.profiles[profile].resolution
    opened = open_dataset(dataset, root, resolution)
    settings = NotebookSettings(profile, seed, opened, root or _folder(dataset))
    _print(settings, others)
    return settings


def project_folder() -> Path:
    """The clone that holds notebooks and figures, wherever the notebook runs.

    Raises DualsegError where the package was installed without it.
    """
    folder = Path(__file__).parent.parent
    if not (folder / "figures" / "records").is_dir():
        raise DualsegError(
            f"{folder}: expected the project's folder with figures/records, found none; notebooks "
            'need a clone of the project, installed with `python -m pip install -e ".[notebooks]"`.'
        )
    return folder


def _folder(dataset: str) -> str | None:
    """The folder, where a prepared one was given in place of a name."""
    return None if dataset in SPECS else dataset


def _print(settings: NotebookSettings, others: dict[str, Any]) -> None:
    """The settings as text, without any path, since committed outputs must not name a machine."""
    data, train = settings.dataset, settings.train
    millimetres = " x ".join(f"{edge:g}" for edge in data.spec.spacing)
    words = {
        "profile": f"{settings.profile}: networks with {train.filters} filters, "
        f"{train.iterations} steps, patch {' x '.join(map(str, train.patch))}",
        "dataset": f"{data.spec.name}: {data.spec.title}, {len(data.train)} training and "
        f"{len(data.test)} test cases",
        "grid": f"full grid of {millimetres} mm, trained on at {train.resolution} resolution",
        "seed": settings.seed,
        **others,
    }
    for name, value in words.items():
        print(f"{name:<8} {value}")
