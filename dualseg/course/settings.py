"""What the first cells of every notebook call: checked settings, the data set, the sizes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..config.experiment import Experiment
from ..config.training import TrainConfig
from ..data.dataset import Dataset, open_dataset
from ..data.known import DATASETS
from ..data.spec import PROFILES, Profile
from ..errors import DualsegError, require
from ..methods.dual_settings import DUAL_PRESETS

T = TypeVar("T")
REAL_IF_HERE = "la or phantom"
LA_DIR = "DUALSEG_LA_DIR"  # the environment variable with the folder of the left-atrium files
LARGEST = 2**32 - 1  # of seeds: torch takes 64 bits, and notebooks count on from here


TEXT = ("a text", lambda v: isinstance(v, str))
WHOLE = (
    f"a whole number from 0 to {LARGEST}",
    lambda v: type(v) is int and 0 <= v <= LARGEST,  # True is an int, too
)
PARAMETERS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "profile": (f"one of {', '.join(PROFILES)}", lambda v: v in PROFILES),
    "dataset": TEXT,
    "data_dir": TEXT,
    "seed": WHOLE,
    "preset": (f"one of {', '.join(DUAL_PRESETS)}", lambda v: v in list(DUAL_PRESETS)),
    "gamma": ("a percentile from 0 to 100", lambda v: type(v) in (int, float) and 0 <= v <= 100),
    "draw": WHOLE,
    "trained": (
        "the folder of a finished run, or nothing",
        lambda v: isinstance(v, str) and (not v or (Path(v) / "run.json").is_file()),
    ),
}
"""What each parameter of a notebook may be, in words and as a test."""


@dataclass(frozen=True)
class NotebookSettings:
    """A notebook's parameters, checked, and what follows from them. See `notebook_settings`."""

    profile: Profile
    seed: int
    dataset: Dataset
    """On the training grid of the profile; `dataset.read(case_id)` reads the full grid."""
    data_dir: str | None

    @property
    def train(self) -> TrainConfig:
        """Patch, stride, filters and steps of (data set, profile)."""
        return self.dataset.spec.profiles[self.profile]

    def choose(self, *, smoke: T, lesson: T, full: T) -> T:
        """The size that belongs to the profile; profiles change sizes, never what is done."""
        return {"smoke": smoke, "lesson": lesson, "full": full}[self.profile]

    def experiment(self, **changes: Any) -> Experiment:
        """An experiment on this data set with this profile and seed.

        Parameters
        ----------
        **changes
            Other settings by name, as `Experiment` takes them.
        """
        usual = {"root": self.data_dir, "seed": self.seed}
        return Experiment(self.dataset.spec.name, self.profile, **usual | changes)


def notebook_settings(
    *, profile: Profile, dataset: str, data_dir: str, seed: int, **others: Any
) -> NotebookSettings:
    """Check a notebook's parameters, open its data set and print the resolved settings.

    Parameters
    ----------
    profile : {"smoke", "lesson", "full"}
        Sets all sizes.
    dataset : str
        Name of a data set, a prepared folder, or "la or phantom": the left atrium where its files
        are here, else the phantom, which is then said.
    data_dir : str
        Folder of the files; empty for the phantom and for a prepared folder. If it is empty for
        the left atrium, the environment variable DUALSEG_LA_DIR names the folder.
    seed : int
        Of the initial weights and the crops.
    **others
        Further parameters of the notebook, which are printed with the rest.

    Returns
    -------
    NotebookSettings
        The parameters, the opened data set, and the sizes that follow.

    Raises
    ------
    DualsegError
        For a value that cannot work.
    """
    check_parameters(profile=profile, dataset=dataset, data_dir=data_dir, seed=seed, **others)
    instead = ""
    if dataset == REAL_IF_HERE:
        dataset, instead = REAL_IF_HERE.split(" or ")
    variable = f"DUALSEG_{dataset.upper()}_DIR"
    if dataset in DATASETS and not DATASETS[dataset].generated:
        data_dir = data_dir or os.environ.get(variable, "")
        if instead and not data_dir:
            print(
                f"The files of {dataset} are not here: data_dir is empty, and the environment "
                f"variable {variable} is not set.\nThe {instead} takes their place: its pictures "
                "and numbers differ from those that the text describes."
            )
            dataset = instead
    named = DATASETS.get(dataset)
    if named and named.generated:
        require(not data_dir, "data_dir", f"nothing, since the {dataset} is made here", data_dir)
    elif named is None:
        require(not data_dir, "data_dir", "nothing, since dataset is a folder itself", data_dir)
    elif not (data_dir and Path(data_dir).expanduser().is_dir()):
        raise DualsegError(
            f"data_dir: expected the folder with the files of the data set {dataset!r}, found "
            f"{f'no folder {data_dir!r}' if data_dir else 'none'}; set the parameter data_dir "
            f"or the environment variable {variable} (`dualseg data list` says where the files "
            "come from)."
        )
    root = data_dir or None
    resolution = open_dataset(dataset, root).spec.profiles[profile].resolution
    opened = open_dataset(dataset, root, resolution)
    settings = NotebookSettings(profile, seed, opened, root or (None if named else dataset))
    _print(settings, others)
    return settings


def check_parameters(**values: Any) -> None:
    """Raise DualsegError for a parameter of a notebook that is of another type or out of range."""
    for name, value in values.items():
        if name in PARAMETERS:  # a notebook of your own may have others
            expected, is_right = PARAMETERS[name]
            require(is_right(value), name, expected, value)


def project_folder() -> Path:
    """The folder of the clone with its notebooks and figures, wherever a notebook runs.

    Raises
    ------
    DualsegError
        Where the package was installed without a clone.
    """
    folder = Path(__file__).parents[2]
    if not (folder / "figures" / "records").is_dir():
        raise DualsegError(
            f"{folder}: expected the project's folder with figures/records, found none; notebooks "
            'need a clone of the project, installed with `python -m pip install -e ".[notebooks]"`.'
        )
    return folder


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
