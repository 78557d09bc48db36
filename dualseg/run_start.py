"""Before a training: whether it can be done in this folder, and what run.json says of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .config import Experiment
from .datasets import Dataset, Split
from .distributed import Team
from .environment import describe_device, pick_device, versions
from .errors import DualsegError
from .methods import Method
from .networks import LEVEL_STRIDE
from .runs import Run
from .specs import noted


def check_folder(run: Run, experiment: Experiment, resume: bool) -> None:
    """Raise DualsegError where `fit` would: another run is there, or one not to be resumed."""
    if not run.exists:
        return
    if not resume:
        if run.finished:
            raise DualsegError(
                f"{run.folder}: holds a finished run already; measure it with `dualseg evaluate "
                f"{run.folder}`, or choose another --out."
            )
        raise DualsegError(
            f"{run.folder}: holds an unfinished run already; go on with it (--resume, in Python "
            "resume=True), or choose another --out."
        )
    old, new = run.experiment().flat(), experiment.flat()
    # The data may have moved; that they are the same is checked by their fingerprint.
    changed = [name for name in new if old[name] != new[name] and name != "root"]
    if changed:
        then, now = (
            ", ".join(f"{name} = {values[name]!r}" for name in changed) for values in (old, new)
        )
        raise DualsegError(
            f"{run.folder}: was started with {then}, now asked for {now}; resume with the same "
            "settings, or choose another --out."
        )


def require_same_data(run: Run, dataset: Dataset) -> None:
    """Check that a data set is the one that a run was started with.

    Parameters
    ----------
    run : Run
        A run that exists, finished or not.
    dataset : Dataset
        The data set as it is now; its cases are read once, if the cache does not have them.

    Raises
    ------
    DualsegError
        If the lists of cases, or the volumes of a training case, differ.
    """
    data, experiment = run.info()["data"], run.experiment()
    split = dataset.split(experiment.labeled, experiment.validation)
    used = split.labeled + split.unlabeled + split.validation
    then = {name: tuple(ids) for name, ids in data["split"].items()}
    if then != vars(split) or data["fingerprint"] != dataset.cache(used):
        raise DualsegError(
            f"{run.folder}: the data have changed since this run was started (other lists or "
            "another fingerprint); restore them, or start a new run in another --out."
        )


def check_batch(experiment: Experiment, method: Method, team: Team) -> None:
    """Raise DualsegError for a batch that cannot be shared, or batch-normalised."""
    config = experiment.train
    samples = team.share("labeled_batch", config.labeled_batch)
    if method.uses_unlabeled:
        samples += team.share("unlabeled_batch", config.unlabeled_batch)
    if samples == 1 and all(side <= LEVEL_STRIDE for side in config.patch):
        raise DualsegError(
            f"patch: expected a side above {LEVEL_STRIDE} for a batch of one sample, found "
            f"{config.patch}: the deepest level would hold one value a channel, and batch "
            f"normalisation needs two; use a larger patch or --labeled-batch {2 * team.size}."
        )


def run_info(
    run: Run, experiment: Experiment, dataset: Dataset, split: Split, method: Method, team: Team
) -> dict[str, Any]:
    """What run.json says at the start: of a new run all of it, else also where it goes on.

    Raises DualsegError where the data are not those that the run was started with.
    """
    info = _describe(experiment, dataset, split, method) | {"processes": team.size}
    if run.exists:
        require_same_data(run, dataset)
        return _continued(run, info)
    if run.state_path.exists():
        raise DualsegError(
            f"{run.state_path}: expected no checkpoint where there is no run.json, found one; put "
            "the run.json back beside it, or choose another --out."
        )
    return info


def _continued(run: Run, info: dict[str, Any]) -> dict[str, Any]:
    """The run's own info, and a line about where it goes on if that is elsewhere."""
    before = run.info()
    here = {name: info[name] for name in ("device", "versions", "precision", "processes")}
    sessions = before.get("sessions", [])
    last = {"processes": 1} | (sessions[-1] if sessions else before)  # not noted in older runs
    if any(last[name] != value for name, value in here.items()):
        sessions = [*sessions, here]
    return {**before, "sessions": sessions} if sessions else before


def _describe(
    experiment: Experiment, dataset: Dataset, split: Split, method: Method
) -> dict[str, Any]:
    used = split.labeled + split.unlabeled + split.validation
    fingerprint = dataset.cache(used)
    shapes = np.array([dataset.case(case).image.shape[-3:] for case in used]) * dataset.factor
    device = pick_device()
    return {
        "config": experiment.flat(),
        "data": {
            "fingerprint": fingerprint,
            "largest_shape": shapes.max(0).tolist(),
            "lists": dataset.lists,
            "spec": noted(dataset.spec),
            "split": {name: list(ids) for name, ids in vars(split).items()},
        },
        "versions": versions(),
        "device": describe_device(device),
        "precision": method.precision_on(device.type),
    }
