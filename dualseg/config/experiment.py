"""Every choice of a run, in one object that refuses what cannot work.

A run is an `Experiment`. Its sizes (`TrainConfig`) follow from the data set and the profile
(`smoke`, `lesson`, `full`), its method's settings from the method, the preset and the data set. Any
of them can be changed by name, and the whole experiment is written into the run's folder. A profile
sets sizes, schedule and augmentation; all profiles take the same code paths.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from .._util.settings import Range, Settings
from ..data.known import dataset_spec, resolve_dataset
from ..data.spec import DatasetSpec, Profile
from ..errors import DualsegError, brief, require, require_one_of
from .training import TrainConfig

if TYPE_CHECKING:
    from ..methods import Method


@dataclass(frozen=True, init=False)
class Experiment(Settings):
    """One run: which data, which method, how much of it is labeled, and every size."""

    dataset: str
    """Data set: a name (see `dualseg data list`), or a folder that `dualseg data prepare` made."""
    root: str | None
    """Folder with the data set's files (the phantom needs none)."""
    method: str
    """The paper's "dual", "supervised" to compare with, or another name in METHODS."""
    preset: str
    """Settings of the method to start from; of "dual": "paper", "released", "improved", or a row of
    Table 4 as "cps" (`dualseg explain` lists them)."""
    profile: Profile
    """Sizes to start from: "smoke" (seconds), "lesson" (minutes on a laptop), "full" (one GPU)."""
    labeled: Annotated[int, Range(1)]
    """Number of labeled cases: the first of the training list that have a label; the others are
    used without labels."""
    validation: Annotated[int, Range(0)]
    """Number of cases to hold out: the last of the training list that have a label, to choose
    settings without the test set."""
    seed: Annotated[int, Range(0)]
    """Seed of the initial weights, crops and dropout."""
    train: TrainConfig
    settings: Settings

    def __init__(
        self,
        dataset: str | os.PathLike = "phantom",
        profile: Profile = "lesson",
        preset: str | None = None,
        *,
        method: str = "dual",
        root: str | os.PathLike | None = None,
        train: TrainConfig | None = None,
        settings: Settings | None = None,
        **changes: Any,
    ) -> None:
        """What (data set, profile, method, preset) stand for, with settings changed by name.

        Parameters
        ----------
        dataset, profile, preset, method, root
            As the fields of these names. Without a preset, the method's first.
        train, settings
            Sizes and the method's settings as a whole, in place of what would follow.
        changes
            Fields of `Experiment`, of `TrainConfig` and of the method's settings, by name.

        Raises
        ------
        DualsegError
            For an unknown name, and a value that cannot work.
        """
        root = None if root is None else _text("root", root)
        dataset, root, spec = resolve_dataset(_text("dataset", dataset), root)
        require_one_of("profile", profile, spec.profiles)
        kind = method_named(method)
        preset = next(iter(kind.presets)) if preset is None else preset
        sizes, usual = _preset(kind, method, preset, spec)
        parts = _sorted(changes, kind)
        if train is None:
            train, parts["train"] = spec.profiles[profile], {**sizes, **parts["train"]}
        if settings is None:
            settings = kind.settings_type(**usual)
        _require_type("train", train, TrainConfig)
        _require_type("settings", settings, kind.settings_type)
        values = {
            **{"dataset": dataset, "root": root, "profile": profile},
            **{"method": method, "preset": preset},
            **{"labeled": spec.labeled, "validation": spec.validation, "seed": 0},
            **parts["experiment"],
            # All changes of a part at once: a patch and its stride may only fit together.
            "train": dataclasses.replace(train, **parts["train"]),
            "settings": dataclasses.replace(settings, **parts["settings"]),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self.__post_init__()

    def replace(self, **changes: Any) -> Experiment:
        """Copy the experiment with other values of some settings.

        Parameters
        ----------
        changes
            Fields of `Experiment`, of `TrainConfig` and of the method's settings, by name. With
            another method, its settings start from its first preset, unless both methods have the
            same settings; sizes that the former preset asked for return to the profile's.

        Returns
        -------
        Experiment

        Raises
        ------
        DualsegError
            For an unknown name, and for another data set, profile or preset: other settings follow
            from these, so that is a new `Experiment`.
        """
        for name in ("dataset", "profile", "preset"):
            if changes.get(name, getattr(self, name)) != getattr(self, name):
                raise DualsegError(
                    f"{name}: expected {getattr(self, name)!r} as in this experiment, found "
                    f"{changes[name]!r}; other settings follow from it, so start from "
                    f"Experiment(..., {name}={changes[name]!r})."
                )
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        method = changes.get("method", self.method)
        kind = method_named(method)
        if kind.settings_type is not type(self.settings) or self.preset not in kind.presets:
            spec, former = dataset_spec(self.dataset), method_named(self.method)
            own |= {"settings": None, "preset": next(iter(kind.presets))}
            sizes, _ = _preset(kind, method, own["preset"], spec)
            # What the former preset asked for (BCP: 4 + 4 samples) goes with it.
            usual = spec.profiles[self.profile]
            left, _ = _preset(former, self.method, self.preset, spec)
            back = {
                n: getattr(usual, n) for n, was in left.items() if getattr(self.train, n) == was
            }
            changes = {**back, **sizes, **changes}
        return Experiment(**{**own, **changes})

    def flat(self) -> dict[str, Any]:
        """All settings in one dictionary of plain values, as records hold them."""
        values = dataclasses.asdict(self)
        parts = values.pop("train"), values.pop("settings")
        return {**values, **parts[0], **parts[1]}

    @classmethod
    def from_flat(cls, values: Mapping[str, Any]) -> Experiment:
        """Build the experiment that `flat` made these values of.

        Parameters
        ----------
        values : mapping of str to object
            Files of earlier versions hold the settings and a preset of "dual" with every method;
            for another method these are left out.

        Returns
        -------
        Experiment

        Raises
        ------
        KeyError
            Without data set, profile or method.
        DualsegError
            For an unknown name, and a value that cannot work.
        """
        from ..methods import METHODS

        values = {"preset": None, **values}
        named = {name: values[name] for name in ("dataset", "profile", "method")}
        kind = method_named(named["method"])
        others = {name for other in METHODS.values() for name in _names(other.settings_type)}
        meaningless = others - _owners(kind.settings_type).keys()
        if len(kind.presets) == 1:
            values["preset"] = None
        return cls(**{name: v for name, v in values.items() if name not in meaningless})


def method_named(name: str) -> type[Method]:
    """The class of a method; raises DualsegError for an unknown name."""
    from ..methods import METHODS  # here, as torch comes with it, which most commands do without

    if not isinstance(name, str) or name not in METHODS:
        raise DualsegError(
            f"method: expected one of {', '.join(sorted(METHODS))}, found {brief(name)}; a method "
            "of your own is known after METHODS[its name] = its class."
        )
    return METHODS[name]


def preset_settings(method: str, preset: str, dataset: str) -> Settings:
    """Build the settings that a preset of a method stands for on a data set.

    Parameters
    ----------
    method, preset, dataset : str
        Their names.

    Returns
    -------
    Settings
        An instance of the method's `settings_type`.

    Raises
    ------
    DualsegError
        For an unknown name.
    """
    kind = method_named(method)
    return kind.settings_type(**_preset(kind, method, preset, dataset_spec(dataset))[1])


def _preset(
    kind: type[Method], method: str, preset: str, spec: DatasetSpec
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a preset changes of the sizes, and of the method's settings on a data set."""
    require(
        preset in list(kind.presets),
        "preset",
        f"one of {', '.join(sorted(kind.presets))}, which the method {method!r} has",
        preset,
    )
    parts = _sorted({**spec.settings.get(method, {}), **kind.presets[preset].changes}, kind)
    return parts["train"], parts["settings"]


def _sorted(changes: Mapping[str, Any], kind: type[Method]) -> dict[str, dict[str, Any]]:
    """Changes by the part of an experiment that they belong to."""
    owners = _owners(kind.settings_type)
    parts: dict[str, dict[str, Any]] = {"experiment": {}, "train": {}, "settings": {}}
    for name, value in changes.items():
        if name not in owners:
            known = ", ".join(sorted(owners.keys() - parts.keys()))
            raise DualsegError(f"unknown setting {name!r}: expected one of {known}.")
        parts[owners[name]][name] = value
    return parts


def _owners(settings_type: type[Settings]) -> dict[str, str]:
    """The part of an experiment that holds each setting, by name."""
    owners: dict[str, str] = {}
    parts = {"experiment": Experiment, "train": TrainConfig, "settings": settings_type}
    for part, settings in parts.items():
        for name in _names(settings):
            if name in owners:
                raise DualsegError(
                    f"{name}: expected a name of its own for each setting, found it in "
                    f"{parts[owners[name]].__name__} and {settings.__name__}; rename the second."
                )
            owners[name] = part
    return owners


def _names(settings: type[Settings]) -> list[str]:
    return [field.name for field in dataclasses.fields(settings)]


def _require_type(name: str, part: Any, wanted: type[Settings]) -> None:
    require(type(part) is wanted, name, f"settings of the type {wanted.__name__}", part)


def _text(name: str, value: Any) -> str:
    """A name or a path as text."""
    require(isinstance(value, str | os.PathLike), name, "a text or a path", value)
    return os.fspath(value)
