"""Which runs a comparison of methods needs: the same budget for all, or each method's own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal

from ..config.experiment import Experiment, method_named
from ..config.training import TrainConfig
from ..data.known import resolve_dataset
from ..data.spec import DatasetSpec, Profile
from ..errors import require
from ..methods import METHODS, Method
from .sweep import Member, as_members, data_source, settings_given

Budget = Literal["common", "own"]
OWN = "own"
"""The preset of a method that has its published budget."""
BATCH = ("labeled_batch", "unlabeled_batch")
SCHEDULE = ("iterations", "learning_rate", "momentum", "weight_decay", "schedule")
AUGMENTATION = ("normalise", "flips")
COMMON = (*SCHEDULE, *AUGMENTATION)
"""What all runs of a common budget share; the batch is that of each method's preset."""


def plan_comparison(
    out: Path,
    methods: Sequence[str],
    dataset: str,
    labeled: int | None,
    seeds: Sequence[int],
    profile: Profile,
    budget: Budget = "common",
    scale: float = 1.0,
    settings: Sequence[str] = (),
) -> list[Member]:
    """List the runs of a comparison.

    Parameters
    ----------
    out : Path
        Folder of the runs.
    methods : sequence of str
        METHOD or METHOD:PRESET; where empty, every known method with its usual preset.
    dataset : str
        A name, NAME=FOLDER, or a folder that `dualseg data prepare` made.
    labeled : int or None
        Number of labeled cases; None for the data set's usual one.
    seeds : sequence of int
    profile : str
        Sizes of networks and crops.
    budget : str, optional
        "common": the profile's steps, rate, schedule and augmentation, and its batch unless a
        preset needs another. "own": those of each method's preset "own"; of a method without one,
        the paper's on these data (the profile "full").
    scale : float, optional
        Factor on the steps of every run.
    settings : sequence of str, optional
        Further settings of all runs, like "learning_rate=0.01".

    Returns
    -------
    list of Member

    Raises
    ------
    DualsegError
        For what does not exist, for fewer than two methods, and where the folder of a run holds
        another one.
    """
    words = list(dict.fromkeys(methods or METHODS))
    require(len(words) > 1, "methods", "at least two to compare", tuple(words))
    require(bool(seeds), "seeds", "at least one", tuple(seeds))
    require(0 < scale < math.inf, "budget-scale", "a number above 0", scale)
    name, root = data_source(dataset)
    spec = resolve_dataset(name, root)[2]
    runs = []
    for word, seed in product(words, seeds):
        method, _, preset = word.partition(":")
        kind = method_named(method)
        if budget == "common":
            require(preset != OWN, "methods", f"no preset {OWN!r} in a common budget", word)
            own = {field: getattr(spec.profiles[profile], field) for field in COMMON}
        else:
            own = own_budget(kind, spec)
            preset = preset or (OWN if OWN in kind.presets else "")
        own["iterations"] = scaled(own["iterations"], scale)
        changes: dict[str, Any] = {**own, "method": method, "seed": seed}
        changes |= {} if root is None else {"root": root}
        changes |= {} if labeled is None else {"labeled": labeled}
        experiment = Experiment(name, profile, preset or None, **changes)
        given = settings_given(settings, experiment)
        if budget == "own":
            fixed = sorted(given.keys() & own.keys())
            require(not fixed, "--set", "no part of a method's own budget", ", ".join(fixed))
        runs.append((name, experiment.replace(**given)))
    return as_members(out, runs)


def own_budget(kind: type[Method], spec: DatasetSpec) -> dict[str, Any]:
    """A method's published batch, steps, rate, schedule and augmentation.

    Parameters
    ----------
    kind : type of Method
    spec : DatasetSpec

    Returns
    -------
    dict of str to object
        Fields of `TrainConfig`: those of the preset "own", the others as in the profile "full".
    """
    full = spec.profiles.get("full", TrainConfig())
    own: Mapping[str, Any] = kind.presets[OWN].changes if OWN in kind.presets else {}
    return {field: own.get(field, getattr(full, field)) for field in (*BATCH, *COMMON)}


def scaled(steps: int, scale: float) -> int:
    """A number of steps times a factor, at least one."""
    return max(1, round(steps * scale))
