"""Data sets: which cases there are, who is in which split, and their volumes.

`open_dataset` gives a `Dataset`. Its volumes are read from their source once, checked, brought to
the training grid and kept uncompressed in a cache folder (environment variable `DUALSEG_CACHE`,
else the user's cache folder), from where they are memory-mapped: a training step reads only the
crop it needs, and nothing is inflated twice.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import numpy as np
import platformdirs
from tqdm import tqdm

from . import phantom
from .config import RESOLUTIONS, DatasetSpec, resolve_dataset
from .errors import DualsegError
from .files import write_atomically
from .prepared import MANIFEST, is_prepared, read_manifest, sha256_of

CACHE_VERSION = 1  # raise when the cached arrays would come out differently

Read = Callable[[str], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Case:
    """One volume on some grid. image (X, Y, Z) float32, label (X, Y, Z) uint8 class numbers."""

    id: str
    image: np.ndarray
    label: np.ndarray


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

    def has_label(self, case_id: str) -> bool:
        """Whether a case has a label (only prepared folders have cases without)."""
        return not self.records or self.records[case_id]["label_voxels"] is not None

    def spacing(self, case_id: str) -> tuple[float, ...]:
        """Voxel size of a case's full grid in mm."""
        return tuple(self.records[case_id]["spacing"]) if self.records else self.spec.spacing

    @property
    def lists(self) -> str:
        """Where the lists of ids are from: "published", or the "folder" itself."""
        if self.records:
            return "folder"
        published = (self.train, self.test) == published_lists(self.spec.name)
        return "published" if published else "folder"

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
            place = str(self._path(case_id))
            image, label = _read_h5(Path(place), self.has_label(case_id))
        return _checked_case(case_id, image, label, place, len(self.spec.classes))

    def case(self, case_id: str) -> Case:
        """The case on this grid, memory-mapped from the cache (written on first use)."""
        entry = self._cached(case_id)
        image, label = (np.load(path, mmap_mode="r") for path in (entry.image, entry.label))
        return Case(case_id, image, label)

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
        hashes = sorted(f"{case} {self.sha256(case)}" for case in case_ids)
        return hashlib.sha256("\n".join(hashes).encode()).hexdigest()

    def sha256(self, case_id: str) -> str:
        """Of the case's full-grid arrays."""
        return self._cached(case_id).sha256()

    def _path(self, case_id: str) -> Path:
        return self.root / (
            self.records[case_id]["file"] if self.records else f"{case_id}/mri_norm2.h5"
        )

    def _cached(self, case_id: str) -> _CacheEntry:
        entry = self._cache_entry(case_id)
        if not entry.is_fresh():
            entry.write(self.read(case_id), self.factor, len(self.spec.classes))
        return entry

    def _cache_entry(self, case_id: str) -> _CacheEntry:
        source = "generated" if self.root is None else str(self.root.resolve())
        key = hashlib.sha256(f"{source} {CACHE_VERSION}".encode()).hexdigest()[:12]
        folder = cache_folder() / f"{self.spec.name}-{key}" / f"grid{self.factor}"
        stamp = f"phantom {phantom.VERSION}"
        if self.root is not None:
            path = self._path(case_id)
            try:
                status = path.stat()
            except OSError as error:
                raise DualsegError(
                    f"{path}: expected the image and label of case {case_id}, found no such file; "
                    f"check --root, or see `dualseg data list` for where the files come from."
                ) from error
            stamp = f"{status.st_size} {status.st_mtime_ns}"
        return _CacheEntry(folder / case_id, stamp)


@dataclass(frozen=True)
class _CacheEntry:
    """Three files of one case: image, label, and a note that is written last."""

    stem: Path
    stamp: str
    """Changes when the source changes; an entry with another stamp is written anew."""

    @property
    def image(self) -> Path:
        return self.stem.with_name(self.stem.name + ".image.npy")

    @property
    def label(self) -> Path:
        return self.stem.with_name(self.stem.name + ".label.npy")

    @property
    def note(self) -> Path:
        return self.stem.with_name(self.stem.name + ".json")

    def is_fresh(self) -> bool:
        try:
            noted = json.loads(self.note.read_text(encoding="utf-8"))["stamp"]
        except (OSError, ValueError):
            return False
        return noted == self.stamp and self.image.is_file() and self.label.is_file()

    def sha256(self) -> str:
        return json.loads(self.note.read_text(encoding="utf-8"))["sha256"]

    def write(self, case: Case, factor: int, classes: int) -> None:
        digest = hashlib.sha256(repr((case.image.shape, case.label.shape)).encode())
        digest.update(np.ascontiguousarray(case.image).tobytes())
        digest.update(np.ascontiguousarray(case.label).tobytes())
        for path, array in (
            (self.image, shrink_image(case.image, factor)),
            (self.label, shrink_label(case.label, factor, classes)),
        ):
            write_atomically(path, lambda file, array=array: np.save(file, array))
        note = json.dumps({"stamp": self.stamp, "sha256": digest.hexdigest()}).encode()
        write_atomically(self.note, lambda file: file.write(note))


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
    train, test = _lists(root, name)
    Split(train, (), (), test)  # no id twice
    records = read_manifest(root)["cases"] if is_prepared(root) else {}
    unknown = [case for case in train + test if records and case not in records]
    if unknown:
        raise DualsegError(
            f"{root / MANIFEST}: expected every id of train.list and test.list, found no "
            f"{unknown[0]!r}; prepare the data again, or take the id out of the list."
        )
    return Dataset(spec, root, train, test, factor, records)


def check(
    name: str, root: str | os.PathLike | None = None
) -> tuple[list[tuple[str, ...]], list[str]]:
    """Read every case: a table (header first) of what was found, and a list of problems."""
    dataset = open_dataset(name, root)
    rows: list[tuple[str, ...]] = [("case", "split", "shape", "intensities", "foreground")]
    problems: list[str] = []
    seen: dict[str, str] = {}
    cases = [(case, "train") for case in dataset.train] + [(case, "test") for case in dataset.test]
    for case_id, part in tqdm(cases, desc=f"checking {name}", unit="case"):
        try:
            case = dataset.read(case_id)
        except DualsegError as error:
            rows.append((case_id, part, "", "", ""))
            problems.append(str(error))
            continue
        low, high, share = case.image.min(), case.image.max(), (case.label > 0).mean()
        shape = " x ".join(map(str, case.image.shape))
        known = dataset.has_label(case_id)
        foreground = f"{100 * share:.2f} %" if known else "no label"
        rows.append((case_id, part, shape, f"{low:.2f} to {high:.2f}", foreground))
        if dataset.records:
            now = sha256_of(case.image, case.label if known else None)
            if now != dataset.records[case_id]["sha256"]:
                problems.append(
                    f"case {case_id}: expected the voxels that the manifest describes, found "
                    "others; prepare the data again."
                )
        if known and share == 0:
            problems.append(f"case {case_id}: expected a labeled foreground, found none.")
        twin = seen.setdefault(hashlib.sha256(case.image.tobytes()).hexdigest(), case_id)
        if twin != case_id:
            problems.append(
                f"cases {twin} and {case_id}: expected two scans, found the same voxels."
            )
    return rows, problems


def cache_folder() -> Path:
    """Where prepared volumes are kept: `DUALSEG_CACHE`, else the user's cache folder."""
    default = platformdirs.user_cache_path("dualseg", appauthor=False)
    return Path(os.environ.get("DUALSEG_CACHE") or default)


def shrink_image(image: np.ndarray, factor: int) -> np.ndarray:
    """Mean over blocks of factor^3 voxels; (X, Y, Z) -> (ceil(X/f), ceil(Y/f), ceil(Z/f)) float32.

    Voxel i of the small grid covers the full-grid voxels f*i to f*i + f-1; the border is repeated
    where a side is no multiple of the factor.
    """
    return _blocks(image.astype(np.float32), factor).mean((1, 3, 5), dtype=np.float32)


def shrink_label(label: np.ndarray, factor: int, classes: int) -> np.ndarray:
    """The class with the largest share of each block (the lower number of equals), as uint8."""
    if factor == 1:
        return label.astype(np.uint8)
    shares = [_blocks(label == c, factor).mean((1, 3, 5), dtype=np.float32) for c in range(classes)]
    return np.argmax(shares, axis=0).astype(np.uint8)


def _blocks(volume: np.ndarray, factor: int) -> np.ndarray:
    padded = np.pad(volume, [(0, -side % factor) for side in volume.shape], mode="edge")
    x, y, z = (side // factor for side in padded.shape)
    return padded.reshape(x, factor, y, factor, z, factor)


def _existing_root(root: str | os.PathLike | None, spec: DatasetSpec) -> Path:
    if root is None:
        raise DualsegError(
            f"root: the data set {spec.name!r} needs the folder with its files; give --root DIR."
        )
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DualsegError(
            f"root: expected a folder with <case>/mri_norm2.h5, found no folder {str(root)!r}; "
            "see `dualseg data list` for where the files come from."
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
        return tuple(tuple(path.read_text(encoding="utf-8").split()) for path in own)
    return published_lists(name)


def published_lists(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Training and test ids as the field uses them, in the published order."""
    folder = resources.files("dualseg") / "resources" / "splits" / name
    return tuple(
        tuple((folder / f"{part}.list").read_text(encoding="utf-8").split())
        for part in ("train", "test")
    )


def _read_h5(path: Path, labeled: bool) -> tuple[np.ndarray, np.ndarray]:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            image = file["image"][:]
            return image, file["label"][:] if labeled else np.zeros(image.shape, np.uint8)
    except FileNotFoundError as error:
        raise DualsegError(f"{path}: no such file.") from error
    except KeyError as error:
        raise DualsegError(
            f"{path}: expected the data sets 'image' and 'label', found {error.args[0]}."
        ) from error
    except OSError as error:
        raise DualsegError(
            f"{path}: expected a readable HDF5 file, found a damaged or truncated one "
            f"({error}); fetch it again."
        ) from error


def _checked_case(
    case_id: str, image: np.ndarray, label: np.ndarray, place: str, classes: int
) -> Case:
    if image.ndim != 3:
        raise DualsegError(f"{place}: expected an image of three axes, found shape {image.shape}.")
    if label.shape != image.shape:
        raise DualsegError(
            f"{place}: expected image and label of one shape, found {image.shape} and "
            f"{label.shape}."
        )
    bad = int(np.size(image) - np.isfinite(image).sum())
    if bad:
        raise DualsegError(
            f"{place}: expected finite intensities, found {bad} voxels that are NaN or infinite; "
            "repair or leave out the case."
        )
    values = np.unique(label)
    strange = [v for v in values.tolist() if v not in range(classes)]
    if strange:
        raise DualsegError(
            f"{place}: expected labels 0 to {classes - 1}, found {strange[:5]}; "
            "map the label values to class numbers first."
        )
    return Case(case_id, image.astype(np.float32, copy=False), label.astype(np.uint8, copy=False))
