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

from . import phantom
from .cache import CACHE_VERSION, CacheEntry, cache_folder
from .cases import Case, checked_case, read_h5
from .errors import DualsegError
from .files import read_text, require_file_name
from .prepared import MANIFEST, is_prepared, read_manifest
from .specs import DatasetSpec, resolve_dataset
from .splits import protocols, published_lists
from .train_config import RESOLUTIONS


@dataclass(frozen=True)
class Split:
    """Case ids by use; no id is in two of them."""

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


@dataclass(frozen=True)
class Dataset:
    """A data set on one grid. Built by `open_dataset`."""

    spec: DatasetSpec
    root: Path | None
    train: tuple[str, ...]
    test: tuple[str, ...]
    factor: int
    """Full-grid voxels along one side of a voxel of this grid."""
    records: dict[str, dict] = field(default_factory=dict)
    """The manifest's record of each case, by id; empty where there is no manifest."""
    _known: dict[str, tuple[CacheEntry, str]] = field(
        default_factory=dict, compare=False, repr=False
    )
    """Cache entry and SHA-256 of the cases that `cache` has given a fingerprint of."""

    def has_label(self, case_id: str) -> bool:
        """Whether a case has a label (only prepared folders have cases without)."""
        return not self.records or self.records[case_id]["label_voxels"] is not None

    def spacing(self, case_id: str) -> tuple[float, ...]:
        """Voxel size of a case's full grid in mm."""
        return tuple(self.records[case_id]["spacing"]) if self.records else self.spec.spacing

    @property
    def lists(self) -> str:
        """Whose lists of ids these are: a name of `splits.PROTOCOLS`, or "folder", its own."""
        mine = (self.train, self.test)
        return next((n for n in protocols(self.spec.name) if published_lists(n) == mine), "folder")

    def split(self, labeled: int, validation: int = 0) -> Split:
        """The first `labeled` ids of the training list, the last `validation`, and those between.

        Raises DualsegError if the list is too short for both.
        """
        if labeled + validation > len(self.train):
            raise DualsegError(
                f"labeled: expected at most {len(self.train) - validation} (the training list has "
                f"{len(self.train)} cases, {validation} held out for validation), found {labeled}."
            )
        middle = len(self.train) - validation
        for case_id in self.train[:labeled] + self.train[middle:] + self.test:
            if not self.has_label(case_id):
                raise DualsegError(
                    f"case {case_id}: expected a label, as it is to be trained with, held out or "
                    "tested, found none; use fewer labels (--labeled) or no --validation."
                )
        return Split(
            labeled=self.train[:labeled],
            unlabeled=self.train[labeled:middle],
            validation=self.train[middle:],
            test=self.test,
        )

    def read(self, case_id: str) -> Case:
        """The case on the full grid, straight from its source, checked.

        Raises DualsegError naming the file where it is missing, damaged or does not fit the spec.
        """
        if self.root is None:
            place = f"{self.spec.name} case {case_id}"
            image, label = phantom.make_case(int(case_id.rsplit("_", 1)[1]))
        else:
            place = str(self.source_path(case_id))
            image, label = read_h5(Path(place), self.has_label(case_id))
        return checked_case(
            case_id, image, label, place, len(self.spec.classes), self.spec.channels
        )

    def case(self, case_id: str) -> Case:
        """The case on this grid, memory-mapped from the cache (written on first use).

        A case that `cache` has given a fingerprint of stays what it was: its source is not looked
        at while the cache has it. Raises DualsegError where it had to be read again and differs.
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
        """Fill the cache for these cases; returns their fingerprint.

        The fingerprint is a SHA-256 over ids and full-grid arrays, so it does not depend on the
        grid, the file format or the machine.
        """
        case_ids = list(case_ids)
        missing = [case for case in case_ids if not self._cache_entry(case).is_fresh()]
        for case in tqdm(
            missing, desc=f"reading {self.spec.name}", unit="case", disable=not missing
        ):
            self._cached(case)
        for case in case_ids:
            entry = self._cached(case)
            self._known[case] = entry, entry.sha256()
        hashes = sorted(f"{case} {self._known[case][1]}" for case in case_ids)
        return hashlib.sha256("\n".join(hashes).encode()).hexdigest()

    def sha256(self, case_id: str) -> str:
        """Of the case's full-grid arrays."""
        return self._cached(case_id).sha256()

    def source_path(self, case_id: str) -> Path:
        """The file that a case is read from; the phantom has none."""
        if self.records:
            return self.root / self.records[case_id]["file"]
        return self.root / require_file_name(case_id, self.root) / "mri_norm2.h5"

    def _cached(self, case_id: str) -> CacheEntry:
        entry = self._cache_entry(case_id)
        if not entry.is_fresh():
            self._write(case_id, entry)
        return entry

    def _write(self, case_id: str, entry: CacheEntry) -> None:
        entry.write(self.read(case_id), self.factor, len(self.spec.classes))

    def _cache_entry(self, case_id: str) -> CacheEntry:
        source = "generated" if self.root is None else str(self.root.resolve())
        key = hashlib.sha256(f"{source} {CACHE_VERSION}".encode()).hexdigest()[:12]
        folder = cache_folder() / f"{self.spec.name}-{key}" / f"grid{self.factor}"
        stamp = f"phantom {phantom.VERSION}"
        if self.root is not None:
            path = self.source_path(case_id)
            try:
                status = path.stat()
            except OSError as error:
                raise DualsegError(
                    f"{path}: expected the image and label of case {case_id}, found no such file; "
                    f"check --root, or see `dualseg data list` for where the files come from."
                ) from error
            # The change time, too: nobody can set it back (on Windows it is the creation time).
            stamp = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
        return CacheEntry(folder / require_file_name(case_id, self.root or "phantom"), stamp)


def open_dataset(
    name: str, root: str | os.PathLike | None = None, resolution: str = "full"
) -> Dataset:
    """Open a data set by name, or a prepared folder; `resolution` is "full", "half" or "quarter".

    Raises DualsegError for an unknown name, a missing or damaged folder, or an id in two lists.
    """
    name, root, spec = resolve_dataset(name, None if root is None else str(root))
    factor = RESOLUTIONS[resolution]
    if name == "phantom":
        return Dataset(spec, None, *published_lists(name), factor)
    root = _existing_root(root, spec)
    if name != "la":  # the only one that others publish in a layout of its own
        read_manifest(root)
    train, test = _lists(root, name)
    Split(train, (), (), test)  # no id is in both
    records = read_manifest(root)["cases"] if is_prepared(root) else {}
    unknown = [case for case in train + test if records and case not in records]
    if unknown:
        raise DualsegError(
            f"{root / MANIFEST}: expected every id of train.list and test.list, found no "
            f"{unknown[0]!r}; prepare the data again, or take the id out of the list."
        )
    return Dataset(spec, root, train, test, factor, records)


def _existing_root(root: str | os.PathLike | None, spec: DatasetSpec) -> Path:
    if root is None:
        raise DualsegError(
            f"root: the data set {spec.name!r} needs the folder with its files; give --root DIR."
        )
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DualsegError(
            f"root: expected the folder with the files of {spec.name!r}, found no folder "
            f"{str(root)!r}; see `dualseg data list` for where the files come from."
        )
    return root


def _lists(root: Path, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The lists in `root` where it has both (a subset, other cases), else the published ones."""
    own = [root / "train.list", root / "test.list"]
    if all(path.is_file() for path in own) or is_prepared(root):
        missing = [path for path in own if not path.is_file()]
        if missing:
            raise DualsegError(
                f"{missing[0]}: expected the list of a prepared data set, found none."
            )
        lists = [read_text(path).split() for path in own]
        for path, ids in zip(own, lists, strict=True):
            for case_id in ids:
                require_file_name(case_id, path)
        return tuple(lists[0]), tuple(lists[1])
    return published_lists(name)
