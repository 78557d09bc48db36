"""Which cases train and which test: lists as published, as given, or drawn with a seed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from unicodedata import normalize

import numpy as np

from .._util.files import read_text
from ..errors import DualsegError, require_one_of
from .raw_files import RawCase


@dataclass(frozen=True)
class CaseLists:
    """Ids that train and ids that test, in the order of their lists."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    validation: int = 0
    """How many at the end of `train` the publishers of the lists hold out."""


def read_published(name: str) -> CaseLists:
    """The lists in `resources/splits/NAME`; validation ids stand at the end of `train`."""
    train, validation, test = (_resource(name, part) for part in ("train", "val", "test"))
    return CaseLists(train + validation, test, len(validation))


def choose_lists(
    published: Mapping[str, str],
    name: str,
    cases: Sequence[RawCase],
    train_list: Path | None,
    test_list: Path | None,
) -> CaseLists:
    """The lists of two files where they are given, else the published ones called `name`.

    Raises DualsegError for a name that is not among `published`, for the first published id without
    a case, and as `lists_of_files`.
    """
    if train_list or test_list:
        return lists_of_files(train_list, test_list, cases)
    short = [known.rpartition("/")[2] for known in published]
    require_one_of("lists", name.rpartition("/")[2], short)
    lists, there = read_published(name), {case.id for case in cases}
    missing = [case for case in lists.train + lists.test if case not in there]
    if missing:
        raise DualsegError(
            f"lists: expected every case of the published lists {name!r} ({published[name]}), "
            f"found no {missing[0]!r} ({len(missing)} of {len(lists.train + lists.test)} are "
            "missing); get them, choose other --lists, or give --train-list and --test-list."
        )
    return lists


def draw_lists(
    cases: Sequence[RawCase],
    test_share: float,
    seed: int,
    former: CaseLists | None = None,
) -> CaseLists:
    """A draw: `test_share` of the labeled cases tests, all others train.

    What trained or tested in the `former` lists goes on doing so; of the new labeled cases, so many
    are drawn for testing that `test_share` is reached. All are drawn anew where no labeled case of
    the former training or test list is left.

    Raises DualsegError for fewer than two labeled cases.
    """
    ids = [case.id for case in cases]
    labeled = [case.id for case in cases if case.label]
    if len(labeled) < 2:
        raise DualsegError(
            f"labels: expected at least 2 labeled cases (one to train, one to test), found "
            f"{len(labeled)}."
        )
    train = [case for case in former.train if case in ids] if former else []
    test = [case for case in former.test if case in labeled] if former else []
    if not test or not any(case in labeled for case in train):
        train, test = [], []
    new = [case for case in labeled if case not in train + test]
    order = np.random.default_rng(seed).permutation(len(new))
    wanted = min(max(1, round(test_share * len(labeled))), len(labeled) - 1)
    more = max(wanted - len(test), 0)
    train += [new[i] for i in order[more:]]
    test += [new[i] for i in order[:more]]
    train += [case for case in ids if case not in train + test]
    return CaseLists(tuple(train), tuple(test))


def lists_of_files(
    train_list: Path | None, test_list: Path | None, cases: Sequence[RawCase]
) -> CaseLists:
    """Lists from two files with an id a line, in the order of the files.

    Raises DualsegError naming the file for an id without image, an id twice, a test case or a whole
    training list without label.
    """
    if not train_list or not test_list:
        raise DualsegError("train_list and test_list: expected both or neither, found one.")
    labeled = {case.id for case in cases if case.label}
    train, test = (_read_list(path, {c.id for c in cases}) for path in (train_list, test_list))
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
    return CaseLists(tuple(train), tuple(test))


def _read_list(path: Path, cases: Collection[str]) -> list[str]:
    ids = normalize("NFC", read_text(path)).split()  # as `volumes_by_case` names them
    strange = [case for case in ids if case not in cases]
    if strange or not ids:
        found = f"{strange[0]!r}, which has none" if strange else "no id"
        raise DualsegError(
            f"{path}: expected ids that have an image (as {min(cases)!r}), found {found}."
        )
    return ids


def _resource(name: str, part: str) -> tuple[str, ...]:
    folder = resources.files("dualseg.data").joinpath("resources", "splits", *name.split("/"))
    path = folder / f"{part}.list"
    return tuple(path.read_text(encoding="utf-8").split()) if path.is_file() else ()
