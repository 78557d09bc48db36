"""The cache: each case's arrays on the training grid, uncompressed, to be memory-mapped."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

    def is_fresh(self) -> bool:
        """Whether the entry is whole and from the source as it is now."""
        return self._note().get("stamp") == self.stamp

    def sha256(self) -> str | None:
        """Of the full-grid arrays that the entry was made from; None where it is not whole."""
        return self._note().get("sha256")

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Image and label, memory-mapped; raises OSError or ValueError where they are damaged."""
        image, label = self._file("image.npy"), self._file("label.npy")
        return np.load(image, mmap_mode="r"), np.load(label, mmap_mode="r")

    def _file(self, ending: str) -> Path:
        return self.stem.with_name(f"{self.stem.name}.{ending}")

    def _note(self) -> dict[str, Any]:
        """The note; empty where the entry is not whole."""
        if not (self._file("image.npy").is_file() and self._file("label.npy").is_file()):
            return {}
        try:
            return read_json(self._file("json"))
        except DualsegError:
            return {}

    def write(self, case: Case, factor: int, classes: int) -> None:
        """Make the entry anew from the case on its full grid."""
        remove_temporary_files(self.stem.parent, older_than=DAY)
        sha256 = fingerprint(case.image, case.label)
        note = json.dumps({"stamp": self.stamp, "sha256": sha256}).encode()
        image, label = shrink_image(case.image, factor), shrink_label(case.label, factor, classes)
        try:
            write_atomically(self._file("image.npy"), _npy(image))
            write_atomically(self._file("label.npy"), _npy(label))
            write_atomically(self._file("json"), note)
        except DualsegError as error:
            raise DualsegError(f"{error} DUALSEG_CACHE says where this cache is.") from error


def _npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()
