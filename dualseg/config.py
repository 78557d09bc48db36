"""Every choice of a run, as frozen dataclasses that refuse what cannot work.

A run is an `Experiment`. Its sizes (`TrainConfig`) follow from the data set and the profile
(`smoke`, `lesson`, `full`); any of them can be changed by name, and the whole experiment is written
into the run's folder. A profile sets sizes, schedule and augmentation; all profiles take the same
code paths.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from .data.known import resolve_dataset
from .data.spec import PROFILES
from .errors import DualsegError, require, require_one_of
from .loss_config import PRESETS, LossConfig, preset_losses
from .train_config import TrainConfig


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
    """Labeled cases: the first so many of the training list that have a label; the others are used
    without labels."""
    validation: int = 0
    """Hold out the last so many of the training list that have a label, to choose settings without
    the test set."""
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
            validation=spec.validation,
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
