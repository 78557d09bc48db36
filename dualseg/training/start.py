"""Before a training: whether it can be done in this folder, and what run.json says of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .._util.environment import describe_device, pick_device, versions
from .._util.files import require_fields
from ..config.experiment import Experiment
from ..data.dataset import Dataset, Split
from ..data.spec import noted_spec
from ..errors import DualsegError
from ..methods import METHODS, Method
from ..networks._blocks import LEVEL_STRIDE
from ..runs.run import Run
from .distributed import Ranks


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
    # The data may have moved; that they are the same is checked by their fingerprint. Another
    # method has other settings: then its name says enough.
    shared = old.keys() & new.keys() - {"root"}
    changed = [name for name in new if name in shared and old[name] != new[name]]
    if changed:
        then, now = (
            ", ".join(f"{name} = {values[name]!r}" for name in changed) for values in (old, new)
        )
        raise DualsegError(
            f"{run.folder}: was started with {then}, now asked for {now}; resume with the same "
            "settings, or choose another --out."
        )


def with_method(experiment: Experiment, method: Method | type[Method]) -> Experiment:
    """The experiment with a method of one's own, entered in METHODS under its class's name.

    Raises DualsegError where another method has that name.
    """
    kind = method if isinstance(method, type) else type(method)
    name = next((name for name, known in METHODS.items() if known is kind), kind.__name__)
    # A class that is defined anew in a notebook takes the place of the earlier one.
    if METHODS.setdefault(name, kind).__module__ != kind.__module__:
        raise DualsegError(
            f"method: expected a class whose name no other method has, found {name!r}; rename it, "
            "or enter it by yourself: METHODS[another name] = the class."
        )
    METHODS[name] = kind
    experiment = experiment.replace(method=name)
    own = method.settings if isinstance(method, Method) else experiment.settings
    return experiment.replace(settings=own)


def with_dataset(experiment: Experiment, dataset: Dataset) -> Experiment:
    """The experiment with the folder of an open data set.

    Raises DualsegError where that is another data set, or on another grid.
    """
    config = experiment.train
    if (dataset.spec.name, dataset.factor) != (experiment.dataset, config.factor):
        raise DualsegError(
            f"dataset: expected the experiment's {experiment.dataset!r} at its resolution "
            f"{config.resolution!r}, found {dataset.spec.name!r} at one {dataset.factor} times "
            "coarser than the full grid; open it with the experiment's name and resolution."
        )
    return experiment.replace(root=getattr(dataset.source, "root", None))  # a phantom has none


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
    used = _used(split)
    then = {name: tuple(ids) for name, ids in data["split"].items()}
    if then != vars(split) or data["fingerprint"] != dataset.cache(used):
        raise DualsegError(
            f"{run.folder}: the data have changed since this run was started (other lists or "
            "another fingerprint); restore them, or start a new run in another --out."
        )


def check_batch(experiment: Experiment, method: Method, ranks: Ranks) -> None:
    """Raise DualsegError for a batch that cannot be shared, or batch-normalized."""
    config = experiment.train
    labeled, unlabeled = ranks.share("labeled_batch", config.labeled_batch), 0
    if method.uses_unlabeled:
        unlabeled = ranks.share("unlabeled_batch", config.unlabeled_batch)
    alone = method.smallest_pass(labeled, unlabeled) == 1
    if alone and all(side <= LEVEL_STRIDE for side in config.patch):
        raise DualsegError(
            f"patch: expected a side above {LEVEL_STRIDE} for a batch of one sample, found "
            f"{config.patch}: the deepest level would hold one value a channel, and batch "
            "normalization needs two; use a larger patch, --labeled-batch "
            f"{2 * config.labeled_batch} or --unlabeled-batch {2 * config.unlabeled_batch}."
        )


def check_precision(method: Method) -> None:
    """Raise DualsegError for a training in bfloat16 on a CPU.

    There oneDNN computes wrong gradients, without a word (torch 2.13): those of 3^3 convolutions of
    2^3 voxels, the deepest level of a 32^3 crop, are of any size up to NaN.
    """
    wrong = pick_device().type == "cpu" and torch.backends.mkldnn.enabled
    if wrong and method.precision_on("cpu") == "bfloat16":
        raise DualsegError(
            "precision: expected 'auto' or 'float32' for a training on a CPU, where torch computes "
            "wrong gradients in bfloat16, found 'bfloat16'; leave --precision out, or use a GPU."
        )


def run_info(
    run: Run, experiment: Experiment, dataset: Dataset, split: Split, method: Method, ranks: Ranks
) -> dict[str, Any]:
    """What run.json says at the start: of a new run all of it, else also where it goes on.

    Raises DualsegError where the data are not those that the run was started with.
    """
    info = _describe(experiment, dataset, split, method) | {"processes": ranks.size}
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
    require_fields(before, {"device": str, "versions": dict, "precision": str}, run.info_path)
    here = {name: info[name] for name in ("device", "versions", "precision", "processes")}
    sessions = before.get("sessions", [])
    last = {"processes": 1} | (sessions[-1] if sessions else before)  # not noted in older runs
    if any(last[name] != value for name, value in here.items()):
        sessions = [*sessions, here]
    return {**before, "sessions": sessions} if sessions else before


def _describe(
    experiment: Experiment, dataset: Dataset, split: Split, method: Method
) -> dict[str, Any]:
    used = _used(split)
    fingerprint = dataset.cache(used)
    shapes = np.array([dataset.case(case).image.shape[-3:] for case in used]) * dataset.factor
    device = pick_device()
    return {
        "config": experiment.flat(),
        "data": {
            "fingerprint": fingerprint,
            "largest_shape": shapes.max(0).tolist(),
            "lists": dataset.lists,
            "spec": noted_spec(dataset.spec),
            "split": {name: list(ids) for name, ids in vars(split).items()},
        },
        "versions": versions(),
        "device": describe_device(device),
        "precision": method.precision_on(device.type),
    }


def _used(split: Split) -> tuple[str, ...]:
    """The cases that a training may see, whose values its fingerprint stands for."""
    return split.labeled + split.unlabeled + split.validation
