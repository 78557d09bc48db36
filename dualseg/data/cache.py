"""The cache: each case's arrays on the training grid, uncompressed, to be memory-mapped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .._util.files import DAY, read_json, remove_temporary_files, write_atomically
from ..errors import DualsegError
from .case import Case, fingerprint
from .grids import shrink_image, shrink_label

CACHE_VERSION = 1  # raise when the cached arrays would come out differently


@dataclass(frozen=True)
class CacheEntry:
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
        """Whether the entry is whole and from the source as it is now."""
        return self._noted("stamp") == self.stamp and self.sha256() is not None

    def sha256(self) -> str | None:
        """Of the full-grid arrays that the entry was made from; None where it is not whole."""
        return self._noted("sha256") if self.image.is_file() and self.label.is_file() else None

    def arrays(self) -> Sequence[np.ndarray]:
        """Image and label, memory-mapped; raises OSError or ValueError where they are damaged."""
        return [np.load(path, mmap_mode="r") for path in (self.image, self.label)]

    def _noted(self, name: str) -> str | None:
        try:
            return read_json(self.note).get(name)
        except DualsegError:
            return None

    def write(self, case: Case, factor: int, classes: int) -> None:
        remove_temporary_files(self.stem.parent, older_than=DAY)
        sha256 = fingerprint(case.image, case.label)
        note = json.dumps({"stamp": self.stamp, "sha256": sha256}).encode()
        image, label = shrink_image(case.image, factor), shrink_label(case.label, factor, classes)
        try:
            write_atomically(self.image, lambda file: np.save(file, image))
            write_atomically(self.label, lambda file: np.save(file, label))
            write_atomically(self.note, lambda file: file.write(note))
        except DualsegError as error:
            raise DualsegError(f"{error} DUALSEG_CACHE says where this cache is.") from error
