"""Predicted masks on disk: one small file a case, which says what it was made from."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._util.files import write_atomically
from .._util.memory import require_memory
from ..errors import DualsegError


@dataclass(frozen=True)
class SavedMasks:
    """The masks of one case, and how they came about.

    Parameters
    ----------
    masks : (X, Y, Z) uint8 class numbers: "mean", and one by the name of each network
    stamp : changes with the weights, with the scan, and with the version of the package
    seconds : that predicting them took
    device : where that was
    peak_memory_mb : most memory in use there until then
    """

    masks: dict[str, np.ndarray]
    stamp: str
    seconds: float
    device: str
    peak_memory_mb: float


_NOTES: dict[str, Any] = {"stamp": str, "seconds": float, "device": str, "peak_memory_mb": float}


def save_masks(path: Path, saved: SavedMasks) -> None:
    """Write atomically, compressed: some tens of kB."""
    arrays: dict[str, Any] = {name: np.array(getattr(saved, name)) for name in _NOTES}
    arrays |= {f"mask {name}": mask for name, mask in saved.masks.items()}
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_atomically(path, content.getvalue())


def load_masks(path: Path) -> SavedMasks | None:
    """The saved masks, or None where there is no readable file (the case is predicted anew)."""
    try:
        with zipfile.ZipFile(path) as packed:
            require_memory([sum(part.file_size for part in packed.infolist())], 1, path)
        with np.load(path, allow_pickle=False) as file:
            masks = {
                name.removeprefix("mask "): file[name]
                for name in file.files
                if name.startswith("mask ")
            }
            notes = {name: kind(file[name]) for name, kind in _NOTES.items()}
            return SavedMasks(masks, **notes)
    except (OSError, ValueError, KeyError, MemoryError, zipfile.BadZipFile, DualsegError):
        return None
