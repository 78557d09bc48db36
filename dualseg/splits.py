"""Which cases train and which test: lists as published, as given, or drawn with a seed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from .errors import DualsegError, require_one_of

PROTOCOLS = {
    "phantom": "ours",
    "la": "UA-MT and every method after it",
    "pancreas/mcf0": "MCF, LUSEG and the paper, fold 1 of 4 of 82 cases",
    "pancreas/mcf1": "fold 2 of 4",
    "pancreas/mcf2": "fold 3 of 4",
    "pancreas/mcf3": "fold 4 of 4",
    "pancreas/mcnet": "MC-Net, ML-RPL, of 82 cases, shuffled",
    "pancreas/coranet": "CoraNet, BCP, without the withdrawn cases 0025 and 0070",
    "brats2019": "SSL4MIS, AC-MT and the paper",
}
"""The published lists, by name; the first of a data set is the one that the paper follows."""


@dataclass(frozen=True)
class Lists:
    """Ids that train (labeled ones first, the last `validation` held out by default) and test."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    validation: int = 0


def protocols(dataset: str) -> list[str]:
    """Names of a data set's published lists."""
    return [name for name in PROTOCOLS if name.split("/")[0] == dataset]


def published_lists(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Training and test ids as the field uses them, in the published order.

    `name` is a data set or one of `PROTOCOLS`. Validation ids stand at the end of the training ids.
    """
    name = name if name in PROTOCOLS else (protocols(name) or [name])[0]
    require_one_of("lists", name, PROTOCOLS)
    train, validation, test = (_resource(name, part) for part in ("train", "val", "test"))
    return train + validation, test


def published(name: str, cases: Collection[str]) -> Lists:
    """The published lists `name`, all of whose ids must be among `cases`.

    Raises DualsegError that names the protocol and the first missing id.
    """
    train, test = published_lists(name)
    missing = [case for case in train + test if case not in cases]
    if missing:
        raise DualsegError(
            f"lists: expected every case of the published lists {name!r} ({PROTOCOLS[name]}), "
            f"found no {missing[0]!r} ({len(missing)} of {len(train) + len(test)} are missing); "
            "get them, choose other --lists, or give --train-list and --test-list."
        )
    return Lists(train, test, len(_resource(name, "val")))


def drawn(labeled: Sequence[str], unlabeled: Sequence[str], test_share: float, seed: int) -> Lists:
    """A draw: `test_share` of the labeled cases tests, all others train.

    Raises DualsegError for fewer than two labeled cases.
    """
    if len(labeled) < 2:
        raise DualsegError(
            f"labels: expected at least 2 labeled cases (one to train, one to test), found "
            f"{len(labeled)}."
        )
    order = np.random.default_rng(seed).permutation(len(labeled))
    tests = min(max(1, round(test_share * len(labeled))), len(labeled) - 1)
    return Lists(
        tuple(labeled[i] for i in order[tests:]) + tuple(unlabeled),
        tuple(labeled[i] for i in order[:tests]),
    )


def given(
    train_list: Path | None,
    test_list: Path | None,
    cases: Collection[str],
    labeled: Collection[str],
) -> Lists:
    """Lists from two files with an id a line.

    Raises DualsegError naming the file for an id without image, an id twice, a test case or a whole
    training list without label.
    """
    if not train_list or not test_list:
        raise DualsegError("train_list and test_list: expected both or neither, found one.")
    train, test = (_read_list(path, cases) for path in (train_list, test_list))
    twice = [case for case in test if case in train or test.count(case) > 1]
    twice += [case for case in train if train.count(case) > 1]
    if twice:
        raise DualsegError(
            f"{test_list}: expected no id twice in the lists, found {twice[0]!r}; take one out."
        )
    bare = [case for case in test if case not in labeled]
    if bare:
        raise DualsegError(f"{test_list}: expected labeled cases, found {bare[0]!r} without label.")
    if not any(case in labeled for case in train):
        raise DualsegError(f"{train_list}: expected a labeled case, found none.")
    first = sorted(train, key=lambda case: case not in labeled)  # stable: labeled ones first
    return Lists(tuple(first), tuple(test))


def _read_list(path: Path, cases: Collection[str]) -> list[str]:
    try:
        ids = path.read_text(encoding="utf-8").split()
    except OSError as error:
        raise DualsegError(f"{path}: expected a list of ids, found no readable file.") from error
    strange = [case for case in ids if case not in cases]
    if strange or not ids:
        found = f"{strange[0]!r}, which has none" if strange else "no id"
        raise DualsegError(
            f"{path}: expected ids that have an image (as {min(cases)!r}), found {found}."
        )
    return ids


def _resource(name: str, part: str) -> tuple[str, ...]:
    path = resources.files("dualseg") / "resources" / "splits"
    for folder in name.split("/"):
        path = path / folder
    path = path / f"{part}.list"
    return tuple(path.read_text(encoding="utf-8").split()) if path.is_file() else ()
