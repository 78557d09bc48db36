"""Many runs of one question: which they are, what of them is missing, and what came out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from .._util.files import read_json
from .._util.literals import read_as
from .._util.lock import when_free
from .._util.tables import columns
from ..config.experiment import Experiment
from ..data.dataset import Dataset, open_dataset
from ..data.known import DATASETS
from ..data.prepared_folder import is_prepared
from ..data.spec import Profile
from ..errors import DualsegError, require, require_one_of
from ..evaluation.evaluate import evaluate, require_same_test_cases
from ..methods import METHODS
from ..runs.records import MEASURES, mean_of_runs
from ..runs.run import Run
from ..runs.status import WatchedRun
from ..training.loop import fit
from ..training.start import check_folder, require_same_data
from .jobs import Failure, Resources, run_jobs

NAMED = ("dataset", "root", "method", "preset", "profile", "labeled", "seed")
"""What an option of its own says, and the name of a run's folder shows."""


@dataclass(frozen=True)
class Member:
    """One run of a sweep."""

    data: str
    """The data set as the sweep names it: two prepared folders are two."""
    experiment: Experiment
    run: Run

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.run.folder.name

    @property
    def finished(self) -> bool:
        """Whether it is trained and measured."""
        return self.run.finished and self.run.record_path().is_file()

    @property
    def group(self) -> tuple[str, str, str, int]:
        """Data set, method, preset and labels, which the runs of several seeds have in common."""
        experiment = self.experiment
        return self.data, experiment.method, preset_of(experiment), experiment.labeled

    def progress(self) -> str:
        """Describe in words how far it is, or what is to be done next."""
        if not self.run.exists:
            return "to be trained"
        status = WatchedRun(self.name, self.run.folder).status(time.time())
        if status.state in ("finished", "evaluated", "damaged"):
            words = {"finished": "trained, to be measured", "evaluated": "finished"}
            return words.get(status.state, status.state)
        return f"step {status.step}/{status.total}"


def preset_of(experiment: Experiment) -> str:
    """The preset where the method has several, else nothing."""
    return experiment.preset if len(METHODS[experiment.method].presets) > 1 else ""


def plan(
    out: Path,
    datasets: Sequence[str],
    methods: Sequence[str],
    presets: Sequence[str],
    labeled: Sequence[int],
    seeds: Sequence[int],
    profile: Profile,
    settings: Sequence[str] = (),
) -> list[Member]:
    """List the runs of a sweep, each once: a method without presets is not repeated for each.

    Parameters
    ----------
    out : Path
        Folder of the runs.
    datasets : sequence of str
        Names, NAME=FOLDER, or folders that `dualseg data prepare` made.
    methods, presets : sequence of str
        Their names; without presets, each method's usual one.
    labeled : sequence of int
        Numbers of labeled cases; where empty, each data set's usual number.
    seeds : sequence of int
    profile : str
    settings : sequence of str, optional
        Further settings of all runs, like "iterations=200".

    Returns
    -------
    list of Member

    Raises
    ------
    DualsegError
        For what does not exist, and where the folder of a run holds another one.
    """
    for name, values in (("dataset", datasets), ("methods", methods), ("seeds", seeds)):
        require(bool(values), name, "at least one", tuple(values))
    for method in methods:
        require_one_of("methods", method, METHODS)
    runs = []
    for dataset, labels, method, preset, seed in product(
        datasets, labeled or (None,), methods, presets or (None,), seeds
    ):
        name, root = data_source(dataset)
        changes: dict[str, Any] = {"method": method, "seed": seed}
        changes |= {} if root is None else {"root": root}  # a prepared folder is its own root
        changes |= {} if labels is None else {"labeled": labels}
        several = len(METHODS[method].presets) > 1
        experiment = Experiment(name, profile, preset if several else None, **changes)
        runs.append((name, experiment.replace(**settings_given(settings, experiment))))
    return as_members(out, runs)


def as_members(out: Path, runs: Iterable[tuple[str, Experiment]]) -> list[Member]:
    """Give every run its folder in `out`; a run that is asked for twice is one.

    Parameters
    ----------
    out : Path
    runs : iterable of (str, Experiment)
        The data set as it was named, and the run.

    Returns
    -------
    list of Member

    Raises
    ------
    DualsegError
        Where two runs would share a folder, or the folder of a run holds another one.
    """
    members: dict[str, Member] = {}
    for name, experiment in runs:
        data = name if name in DATASETS else Path(name).resolve().name
        member = _member(out, data, experiment)
        if member.name in members and members[member.name] != member:
            raise DualsegError(
                f"dataset: expected names that differ, found two data sets named {data!r}; rename "
                "a folder."
            )
        members[member.name] = member
    for member in members.values():
        check_folder(member.run, member.experiment, resume=True)
    return list(members.values())


def check_data(members: Iterable[Member]) -> None:
    """Check that the data of every run are there, and for started runs that they are the same.

    Parameters
    ----------
    members : iterable of Member
        The runs.

    Raises
    ------
    DualsegError
        If data or labels are missing, or have changed since a run was started or measured.
    """
    opened: dict[tuple, Dataset] = {}  # its fingerprint is the same for all runs of a data set
    for member in members:
        experiment = member.experiment
        source = experiment.dataset, experiment.root, experiment.train.resolution
        dataset = opened[source] = opened.get(source) or open_dataset(*source)
        dataset.split(experiment.labeled, experiment.validation)
        if member.run.exists:
            require_same_data(member.run, dataset)
        if member.finished:
            require_same_test_cases(member.run, dataset)


def _member(out: Path, data: str, experiment: Experiment) -> Member:
    parts = [data, experiment.method, preset_of(experiment), f"{experiment.labeled}labels"]
    parts += [experiment.profile, f"seed{experiment.seed}"]
    return Member(data, experiment, Run(out / "_".join(part for part in parts if part)))


def data_source(given: str) -> tuple[str, str | None]:
    """The name of a data set and its folder, as NAME, NAME=FOLDER or FOLDER gives them."""
    name, _, root = given.partition("=")
    if Path(given).is_dir() and given not in DATASETS and not is_prepared(Path(given)):
        raise DualsegError(
            f"dataset: expected a name, NAME=FOLDER or a folder that `dualseg data prepare` made, "
            f"found the folder {given!r} without a manifest; if it holds the files of la, say "
            f"la={given}."
        )
    return (name, root) if name in DATASETS and root else (given, None)


def settings_given(given: Iterable[str], usual: Experiment) -> dict[str, Any]:
    """Settings that are given as NAME=VALUE, as values of the types that an experiment has."""
    known = {name: value for name, value in usual.flat().items() if name not in NAMED}
    found = {}
    for word in given:
        name, _, text = word.partition("=")
        if name not in known or not text:
            raise DualsegError(
                f"--set: expected NAME=VALUE with one of {', '.join(known)}, found {word!r}."
            )
        found[name] = read_as(known[name], text, f"--set {name}")
    return found


def train_and_measure(experiment: Experiment, folder: Path) -> None:
    """Do what is missing of a run: the rest of its training, its record.

    Where another process works on it (of an earlier sweep that was killed), this waits for it.
    """
    run = when_free(lambda: fit(experiment, folder, resume=True))
    if not run.record_path().is_file():
        when_free(lambda: evaluate(run.folder, root=experiment.root))


def run_sweep(members: Sequence[Member], resources: Resources, folder: Path) -> dict[str, Failure]:
    """Do what is missing as jobs, whose output is in `folder`; returns what failed, by name."""
    calls = {
        member.name: partial(train_and_measure, member.experiment, member.run.folder)
        for member in members
        if not member.finished
    }
    return run_jobs(calls, resources, folder)


def require_done(members: Sequence[Member], failed: dict[str, Failure]) -> None:
    """Raise DualsegError with the reason and the log of every run that failed."""
    if failed:
        logs = "".join(f"\n  {name}: {why.reason}\n    {why.log}" for name, why in failed.items())
        raise DualsegError(
            f"{len(failed)} of {len(members)} runs failed; the same command tries them again:{logs}"
        )


def progress_of(members: Sequence[Member]) -> str:
    """A line for each run with how far it is, and how many are to be done."""
    done = sum(member.finished for member in members)
    lines = columns([(member.name, member.progress()) for member in members])
    return f"{lines}\n{len(members)} runs, {done} finished, {len(members) - done} to do."


def records_of(members: Iterable[Member]) -> list[dict[str, Any]]:
    """The records of the finished runs, in order."""
    return [read_json(member.run.record_path()) for member in members if member.finished]


def over_seeds(members: Iterable[Member]) -> str:
    """A line for each group of finished runs: mean and sample standard deviation over seeds."""
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for member in members:
        if member.finished:
            groups.setdefault(member.group, []).append(read_json(member.run.record_path()))
    rows = [["data", "method", "preset", "labels", "n seeds", *MEASURES]]
    for group, records in groups.items():
        cells = [mean_of_runs(records, key) for key in MEASURES.values()]
        rows.append([*map(str, group), str(len(records)), *cells])
    return columns(rows)
