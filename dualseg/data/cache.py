"""The cache: each case's arrays on the training grid, uncompressed, to be memory-mapped."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs

from .._util.files import DAY, read_json, remove_scraps, write_atomically
from ..errors import DualsegError
from .case import Case, fingerprint

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
        remove_scraps(self.stem.parent, older_than=DAY)
        sha256 = fingerprint(case.image, case.label)
        note = json.dumps({"stamp": self.stamp, "sha256": sha256}).encode()
        image, label = shrink_image(case.image, factor), shrink_label(case.label, factor, classes)
        try:
            write_atomically(self.image, lambda file: np.save(file, image))
            write_atomically(self.label, lambda file: np.save(file, label))
            write_atomically(self.note, lambda file: file.write(note))
        except DualsegError as error:
            raise DualsegError(f"{error} DUALSEG_CACHE says where this cache is.") from error


def cache_folder() -> Path:
    """Where prepared volumes are kept: `DUALSEG_CACHE`, else the user's cache folder."""
    default = platformdirs.user_cache_path("dualseg", appauthor=False)
    return Path(os.environ.get("DUALSEG_CACHE") or default)


def shrink_image(image: np.ndarray, factor: int) -> np.ndarray:
    """Mean over blocks of factor^3 voxels; (X, Y, Z) -> (ceil(X/f), ceil(Y/f), ceil(Z/f)) float32.

    Each channel of (C, X, Y, Z) by itself.

    Voxel i of the small grid covers the full-grid voxels f*i to f*i + f-1; the border is repeated
    where a side is no multiple of the factor.
    """
    if image.ndim == 4:
        return np.stack([shrink_image(channel, factor) for channel in image])
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
