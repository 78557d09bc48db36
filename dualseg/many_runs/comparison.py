"""Kept records as a comparison: the runs of each method, and whether they may be compared.

Nothing is run here, so a ranking can be derived again from its records at any time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from statistics import mode
from typing import Any

import numpy as np

from ..data.known import dataset_spec, resolve_dataset
from ..data.spec import DatasetSpec, prepared_spec
from ..errors import DualsegError, require_one_of
from ..methods import METHODS
from ..runs.records import losses_of, require_same
from .compare import BATCH, COMMON, OWN, own_budget
from .ranking import PairedTest, Spread, holm, paired_test, probability_first, run_means, spread

SIZES = ("resolution", "patch", "stride", "filters", "head_dropout", "validation")
REFERENCES = (
    *("supervised", "vnet:default", "vnet:own"),  # the labels alone: two networks, a single V-Net
    *("dual:paper", "dual:improved", "dual:released"),
)
"""What the others are tested against, where it was run."""


@dataclass(frozen=True)
class Entry:
    """The runs of a method with the same settings, over seeds."""

    method: str
    losses: str
    """The preset, and what was changed in it; empty for a method with one preset."""
    records: tuple[dict[str, Any], ...]

    @property
    def key(self) -> str:
        """METHOD:PRESET, or METHOD where it has one preset."""
        return f"{self.method}:{self.losses}" if self.losses else self.method

    @property
    def config(self) -> dict[str, Any]:
        """The settings, which the runs have in common but for the seed."""
        return self.records[0]["config"]

    @property
    def usual(self) -> bool:
        """Whether this is the method as it is, with its usual settings or its own budget."""
        kind = METHODS.get(self.method)
        return kind is None or self.losses in ("", OWN, next(iter(kind.presets)))

    def values(self, measure: str) -> np.ndarray:
        """A measure of every case, (runs, cases), the cases in the order of their ids.

        NaN for a distance that does not exist.
        """
        rows = [{case["id"]: case[measure] for case in r["cases"]} for r in self.records]
        return np.array([[row[case] for case in sorted(row)] for row in rows], dtype=float)


class Comparison:
    """Methods ranked by their mean Dice, the best first.

    Parameters
    ----------
    entries : sequence of Entry
        Measured on the same cases.
    budget : str
        In words.
    """

    def __init__(self, entries: Sequence[Entry], budget: str):
        means = {entry.key: spread(entry.values("dice")).mean for entry in entries}
        self.entries = sorted(entries, key=lambda entry: -np.nan_to_num(means[entry.key]))
        self.budget = budget

    @property
    def config(self) -> dict[str, Any]:
        """Settings of one of the runs; all have the same data, labels and sizes."""
        return self.entries[0].config

    @property
    def cases(self) -> int:
        """Number of test cases."""
        return len(self.entries[0].records[0]["cases"])

    @cached_property
    def spreads(self) -> list[dict[str, Spread]]:
        """Of each entry: the spread of Dice and of 95HD."""
        names = ("dice", "hd95")
        return [{name: spread(entry.values(name)) for name in names} for entry in self.entries]

    @cached_property
    def seed_means(self) -> list[dict[str, np.ndarray]]:
        """Of each entry: the mean over cases of every run, for Dice and 95HD."""
        names = ("dice", "hd95")
        return [{name: run_means(entry.values(name)) for name in names} for entry in self.entries]

    @cached_property
    def first(self) -> np.ndarray:
        """Of each entry: the probability of having the highest Dice."""
        return probability_first([entry.values("dice") for entry in self.entries])

    @cached_property
    def usual(self) -> dict[str, str]:
        """By key of a variant: the key of its method as it is, where that was run, too."""
        usual = {entry.method: entry.key for entry in self.entries if entry.usual}
        variants = (entry for entry in self.entries if not entry.usual and entry.method in usual)
        return {entry.key: usual[entry.method] for entry in variants}

    @cached_property
    def tests(self) -> dict[tuple[str, str], tuple[PairedTest, float]]:
        """The paired test of Dice for (key, key of a reference), and p after Holm's correction.

        For a variant of a method, the method as it is (`usual`) is a reference, too. The correction
        counts every pair once.
        """
        values = {entry.key: entry.values("dice") for entry in self.entries}
        references = [key for key in REFERENCES if key in values]
        own = self.usual.items()
        pairs = [
            pair
            for pair in combinations(values, 2)
            if set(pair) & set(references) or pair in own or pair[::-1] in own
        ]
        tests = [paired_test(values[a], values[b]) for a, b in pairs]
        found: dict[tuple[str, str], tuple[PairedTest, float]] = {}
        for (a, b), test, p in zip(pairs, tests, holm([t.p for t in tests]), strict=True):
            found[a, b] = test, p
            found[b, a] = PairedTest(-test.difference, -test.t, test.degrees, test.p), p
        return {pair: test for pair, test in found.items() if pair[1] in references or pair in own}

    def label(self, entry: Entry) -> str:
        """The method's name in print, with the preset where that is not clear."""
        kind = METHODS.get(entry.method)
        name = kind.title if kind and kind.title else entry.method
        several = sum(other.method == entry.method for other in self.entries) > 1
        show = entry.losses and (several or not entry.usual)
        return f"{name}, {entry.losses}" if show else name


def compare_records(
    records: Iterable[dict[str, Any]],
    dataset: str,
    labeled: int | None,
    profile: str,
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (),
) -> Comparison:
    """Group records by method, and check that they may be compared.

    Parameters
    ----------
    records : iterable of dict
        As `load_records` returns them. Those of test cases, the data set, the number of labels and
        the profile count.
    dataset : str
        A name, or the folder of prepared data.
    labeled : int or None
        None for the data set's usual number.
    profile : str
    methods : sequence of str, optional
        METHOD (as it is) or METHOD:PRESET; by default all that have records.
    seeds : sequence of int, optional
        By default all that have records.

    Returns
    -------
    Comparison

    Raises
    ------
    DualsegError
        For fewer than two methods, one without records, a run that is there twice, other test
        cases, other sizes, and for budgets that are neither the same nor each method's own.
    """
    dataset, _, spec = resolve_dataset(dataset)
    wanted = (dataset, spec.labeled if labeled is None else labeled, profile, "test")
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in records:
        config = record["config"]
        facts = (config["dataset"], config["labeled"], config["profile"], record["split"])
        if facts == wanted and (not seeds or config["seed"] in seeds):
            groups.setdefault((config["method"], losses_of(config)), []).append(record)
    if methods:
        groups = _chosen(groups, methods)
    if len(groups) < 2:
        found = ", ".join(" ".join(key).strip() for key in groups) or "none"
        raise DualsegError(
            f"records: expected test records of at least two methods on {dataset!r} with "
            f"{wanted[1]} labels at {profile!r}, found {found}; run more of them, or give another "
            "folder, --dataset, --labeled or --profile."
        )
    entries = [
        Entry(*key, tuple(sorted(group, key=lambda record: record["config"]["seed"])))
        for key, group in groups.items()
    ]
    for entry in entries:
        _require_other_seeds(entry)
    every = [record for entry in entries for record in entry.records]
    _require_same_cases(every)
    require_same(every, SIZES)
    return Comparison(entries, _budget(entries))


def spec_of(entry: Entry) -> DatasetSpec:
    """The data set of an entry, as its runs found it."""
    noted = entry.records[0]["data"].get("spec", {})
    return prepared_spec(dataset_spec(entry.config["dataset"]), noted)


def _chosen(
    groups: dict[tuple[str, str], list[dict[str, Any]]], methods: Sequence[str]
) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The groups of the named methods."""
    names = {Entry(*key, ()).key: key for key in groups}
    names |= {key[0]: key for key in groups if Entry(*key, ()).usual}
    for name in methods:
        require_one_of("methods", name, names)
    return {names[name]: groups[names[name]] for name in methods}


def _require_other_seeds(entry: Entry) -> None:
    require_same(entry.records, (*COMMON, *BATCH))
    for one, other in zip(entry.records, entry.records[1:], strict=False):
        if one["config"]["seed"] == other["config"]["seed"]:
            raise DualsegError(
                f"records: expected each seed of {entry.key} once, found seed "
                f"{one['config']['seed']} in {one['name']} and {other['name']}; leave one of them "
                "out."
            )


def _require_same_cases(records: Sequence[dict[str, Any]]) -> None:
    first, *others = records
    cases = {case["id"] for case in first["cases"]}
    for other in others:
        if different := cases ^ {case["id"] for case in other["cases"]}:
            raise DualsegError(
                f"records: expected the same test cases in all, found {sorted(different)[0]} in "
                f"only one of {first['name']} and {other['name']} ({len(different)} such cases); "
                "measure all runs on the same lists."
            )


def _budget(entries: Sequence[Entry]) -> str:
    """The budget in words; raises DualsegError where it is neither common nor each method's own."""
    every = [record for entry in entries for record in entry.records]
    scale = _own_scale(entries)
    try:
        require_same(every, COMMON)
    except DualsegError:
        if scale is None:
            raise
        return "each method's own budget" + ("" if scale == 1 else f", its steps times {scale:g}")
    config = entries[0].config
    return (
        f"the same budget for all: {config['iterations']} steps, learning rate "
        f"{config['learning_rate']:g}, schedule {config['schedule']!r}{_other_batches(entries)}"
    )


def _other_batches(entries: Sequence[Entry]) -> str:
    """In words, which entries take another batch than most."""
    batches = {entry.key: tuple(entry.config[name] for name in BATCH) for entry in entries}
    most = mode(batches.values())
    others = [f"{key} {a}+{b}" for key, (a, b) in batches.items() if (a, b) != most]
    return f"; another batch: {', '.join(others)}" if others else ""


def _own_scale(entries: Sequence[Entry]) -> float | None:
    """The factor on the steps with which every method has its own budget; None if there is none."""
    low, high = 0.0, math.inf
    for entry in entries:
        kind = METHODS.get(entry.method)
        if kind is None:
            return None
        own = own_budget(kind, spec_of(entry))
        for record in entry.records:
            config = record["config"]
            steps = own["iterations"]
            if any(
                config.get(name, own[name]) != own[name] for name in own.keys() - {"iterations"}
            ):
                return None
            # The factors that round to this number of steps.
            low = max(low, (config["iterations"] - 0.5) / steps if config["iterations"] > 1 else 0)
            high = min(high, (config["iterations"] + 0.5) / steps)
    shortest = (float(f"{(low + high) / 2:.{digits}g}") for digits in range(1, 9))
    return next((scale for scale in shortest if low <= scale <= high), None)
