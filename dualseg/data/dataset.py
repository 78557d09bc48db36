"""Data sets: which cases there are, who is in which split, and their volumes.

`open_dataset` gives a `Dataset`. Its volumes are read from their source once, checked, brought to
the training grid and kept uncompressed in a cache folder (environment variable `DUALSEG_CACHE`,
else the user's cache folder), from where they are memory-mapped: a training step reads only the
crop it needs, and nothing is inflated twice.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from .._util.files import cache_folder, require_file_name
from ..config.training import RESOLUTIONS
from ..errors import DualsegError, require, require_one_of
from .cache import CACHE_VERSION, CacheEntry
from .case import Case, checked_case
from .case_sources import CaseSource, PreparedCases
from .known import published_lists, resolve_dataset
from .prepared_folder import MANIFEST, has_lists, is_prepared, read_lists, read_manifest
from .spec import DatasetSpec


@dataclass(frozen=True)
class Split:
    """Case ids by use.

    Raises
    ------
    DualsegError
        For an id that stands twice.
    """

    labeled: tuple[str, ...]
    unlabeled: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        for name, ids in vars(self).items():
            for case in ids:
                if case in seen:
                    raise DualsegError(
                        f"case {case} stands twice in the lists (in {seen[case]} and {name}): "
                        "expected each id once; take one of them out."
                    )
                seen[case] = name


@dataclass(eq=False)
class Dataset:
    """A data set on one grid, as `open_dataset` gives it.

    Parameters
    ----------
    spec : DatasetSpec
        What is known of the data set: classes, voxel size, sizes of the networks.
    source : CaseSource
        Reads the cases.
    train, test : tuple of str
        Ids of the cases in the order of the lists.
    factor : int
        Full-grid voxels along one side of a voxel of this grid.
    """

    spec: DatasetSpec
    source: CaseSource
    train: tuple[str, ...]
    test: tuple[str, ...]
    factor: int
    _known: dict[str, tuple[CacheEntry, str | None]] = field(default_factory=dict, repr=False)
    """Cache entry and SHA-256 of the cases that `cache` has given a fingerprint of."""

    def has_label(self, case_id: str) -> bool:
        """Whether a case has a label (only prepared folders have cases without)."""
        return self.source.has_label(case_id)

    def spacing(self, case_id: str) -> tuple[float, ...]:
        """Voxel size of a case's full grid in mm."""
        return self.source.spacing(case_id) or self.spec.spacing

    @property
    def lists(self) -> str | None:
        """The name of the published lists that these ids are; None for lists of the user's own."""
        mine = (self.train, self.test)
        return next((name for name in self.spec.lists if published_lists(name) == mine), None)

    def split(self, labeled: int, validation: int = 0) -> Split:
        """Divide the training list by use.

        Parameters
        ----------
        labeled : int
            Number of cases to train with their labels: the first of the list that have one.
        validation : int
            Number of cases to hold out: the last of the list that have a label.

        Returns
        -------
        Split
            All other training cases are unlabeled ones, in the order of the list.

        Raises
        ------
        DualsegError
            For less than one labeled case, fewer than no held-out ones, and where too few cases of
            the list have a label.
        """
        require(labeled >= 1, "labeled", "at least 1", labeled)
        require(validation >= 0, "validation", "at least 0", validation)
        having = [case_id for case_id in self.train if self.has_label(case_id)]
        if labeled + validation > len(having):
            raise DualsegError(
                f"labeled: expected at most {len(having) - validation} (of {len(self.train)} "
                f"training cases {len(having)} have a label, and {validation} of these are held "
                f"out for validation), found {labeled}; use a smaller --labeled or --validation."
            )
        trained, held_out = having[:labeled], having[len(having) - validation :]
        used = {*trained, *held_out}
        return Split(
            labeled=tuple(trained),
            unlabeled=tuple(case_id for case_id in self.train if case_id not in used),
            validation=tuple(held_out),
            test=self.test,
        )

    def read(self, case_id: str) -> Case:
        """The case on the full grid, straight from its source, checked.

        Raises
        ------
        DualsegError
            Naming the file, where it is missing, damaged or does not fit the spec.
        """
        origin, classes = self.source.origin(case_id), len(self.spec.classes)
        return checked_case(
            case_id, *self.source.read(case_id), origin, classes, self.spec.channels
        )

    def case(self, case_id: str) -> Case:
        """The case on this grid, memory-mapped from the cache (written on first use).

        A case that `cache` has given a fingerprint of stays what it was: its source is not looked
        at while the cache has it.

        Raises
        ------
        DualsegError
            As `read`, and where the case had to be read again and differs.
        """
        entry, sha256 = self._known.get(case_id, (None, None))
        if entry is None or entry.sha256() != sha256:
            entry = self._cached(case_id)
        if sha256 not in (None, entry.sha256()):
            raise DualsegError(
                f"case {case_id}: has changed since this process began to use it; put the old file "
                "back and go on, or start anew."
            )
        try:
            arrays = entry.arrays()
        except (OSError, ValueError):  # damaged
            self._write(case_id, entry)
            arrays = entry.arrays()
        return Case(case_id, *arrays)

    def both_grids(self, case_id: str) -> tuple[Case, Case]:
        """The case on this grid, as `case` gives it, and on the full grid, as `read` does.

        Its file is read once, also where the cache is still to be filled; on the full grid only
        then.
        """
        if self.factor == 1:
            case = self.case(case_id)
            return case, case
        entry = self._cache_entry(case_id)  # with the stamp of the file as it is now
        full = self.read(case_id)
        if not entry.is_fresh():
            entry.write(full, self.factor, len(self.spec.classes))
        return self.case(case_id), full

    def cache(self, case_ids: Iterable[str]) -> str:
        """Fill the cache for these cases.

        Returns
        -------
        str
            Their fingerprint: a SHA-256 over ids and full-grid arrays, so that it does not depend
            on the grid, the file format or the machine.
        """
        case_ids = list(case_ids)
        filled = all(self._cache_entry(case).is_fresh() for case in case_ids)
        for case in tqdm(case_ids, f"reading {self.spec.name}", unit="case", disable=filled):
            entry = self._cached(case)
            self._known[case] = entry, entry.sha256()
        hashes = sorted(f"{case} {self._known[case][1]}" for case in case_ids)
        return hashlib.sha256("\n".join(hashes).encode()).hexdigest()

    def sha256(self, case_id: str) -> str:
        """Of the case's full-grid arrays."""
        sha256 = self._cached(case_id).sha256()
        assert sha256 is not None  # the entry is whole
        return sha256

    def _cached(self, case_id: str) -> CacheEntry:
        entry = self._cache_entry(case_id)
        if not entry.is_fresh():
            self._write(case_id, entry)
        return entry

    def _write(self, case_id: str, entry: CacheEntry) -> None:
        entry.write(self.read(case_id), self.factor, len(self.spec.classes))

    def _cache_entry(self, case_id: str) -> CacheEntry:
        key = hashlib.sha256(f"{self.source.where} {CACHE_VERSION}".encode()).hexdigest()[:12]
        folder = cache_folder() / f"{self.spec.name}-{key}" / f"grid{self.factor}"
        stem = folder / require_file_name(case_id, self.source.where)
        return CacheEntry(stem, self.source.stamp(case_id))


def open_dataset(
    name: str, root: str | os.PathLike | None = None, resolution: str = "full"
) -> Dataset:
    """Open a known data set, or a prepared folder.

    Parameters
    ----------
    name : str
        Name of a data set (a key of `DATASETS`), or path of a prepared folder.
    root : path, optional
        Folder with the files of a named data set; the phantom needs none.
    resolution : str
        Grid of the volumes: "full", "half" or "quarter".

    Returns
    -------
    Dataset

    Raises
    ------
    DualsegError
        For an unknown name or resolution, a missing or damaged folder, a test case without a label,
        or an id in two lists.
    """
    require_one_of("resolution", resolution, RESOLUTIONS)
    name, root, spec = resolve_dataset(name, None if root is None else str(root))
    source, (train, test) = _opened(spec, root)
    Split(train, (), (), test)  # no id is in both
    bare = [case_id for case_id in test if not source.has_label(case_id)]
    if bare:
        raise DualsegError(
            f"case {bare[0]}: expected a label, as it is to be tested, found none; take it out of "
            "test.list, or prepare the data with its label."
        )
    return Dataset(spec, source, train, test, RESOLUTIONS[resolution])


def _opened(
    spec: DatasetSpec, given_root: str | None
) -> tuple[CaseSource, tuple[tuple[str, ...], tuple[str, ...]]]:
    """The source of the cases, and the training and test ids.

    The lists are those in the folder where it has both (a subset, other cases), else the published
    ones.
    """
    if spec.generated:
        return spec.generated, published_lists(spec.name)
    root = _existing_root(given_root, spec)
    if spec.published_files and not is_prepared(root):
        own = has_lists(root) or not spec.lists
        lists = read_lists(root) if own else published_lists(spec.name)
        return spec.published_files(root), lists
    records = read_manifest(root)["cases"]
    lists = read_lists(root)
    unknown = [case_id for ids in lists for case_id in ids if case_id not in records]
    if unknown:
        raise DualsegError(
            f"{root / MANIFEST}: expected every id of train.list and test.list, found no "
            f"{unknown[0]!r}; prepare the data again, or take the id out of the list."
        )
    return PreparedCases(root, records), lists


def _existing_root(root: str | None, spec: DatasetSpec) -> Path:
    if root is None:
        raise DualsegError(
            f"root: the data set {spec.name!r} needs the folder with its files; give --root DIR."
        )
    folder = Path(root)
    if not folder.is_dir():
        raise DualsegError(
            f"root: expected the folder with the files of {spec.name!r}, found no folder "
            f"{str(folder)!r}; see `dualseg data list` for where the files come from."
        )
    return folder
