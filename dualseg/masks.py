"""Predicted masks on disk: one small file a case, that knows which weights and scan it is from."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .files import write_atomically


@dataclass(frozen=True)
class SavedMasks:
    """The masks of one case: "mean" and one for each network, each (X, Y, Z) bool."""

    masks: dict[str, np.ndarray]
    stamp: str
    """Changes with the weights and with the scan."""
    seconds: float
    """Time that predicting them took."""


def save_masks(path: Path, saved: SavedMasks) -> None:
    """Write atomically, one bit a voxel, compressed: some tens of kB."""
    shape = np.array(next(iter(saved.masks.values())).shape)
    packed = {f"mask {name}": np.packbits(mask) for name, mask in saved.masks.items()}
    content = io.BytesIO()
    np.savez_compressed(
        content, shape=shape, stamp=np.array(saved.stamp), seconds=np.array(saved.seconds), **packed
    )
    write_atomically(path, lambda file: file.write(content.getvalue()))


def load_masks(path: Path) -> SavedMasks | None:
    """The saved masks, or None where there is no readable file (the case is predicted anew)."""
    try:
        with np.load(path, allow_pickle=False) as file:
            shape = tuple(file["shape"])
            masks = {
                name.removeprefix("mask "): np.unpackbits(file[name], count=int(np.prod(shape)))
                .reshape(shape)
                .astype(bool)
                for name in file.files
                if name.startswith("mask ")
            }
            return SavedMasks(masks, str(file["stamp"]), float(file["seconds"]))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
