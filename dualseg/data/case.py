"""One case: its arrays, read from its file and checked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._util.memory import require_memory
from ..errors import DualsegError


@dataclass(frozen=True)
class Case:
    """One volume on some grid.

    Parameters
    ----------
    id : str
        Its name in the data set's lists.
    image : ndarray (X, Y, Z), or (C, X, Y, Z) with several modalities; float32
    label : ndarray (X, Y, Z) uint8
        Class numbers; zeros where the case has no label.
    """

    id: str
    image: np.ndarray
    label: np.ndarray

    @property
    def channels(self) -> np.ndarray:
        """The image as (C, X, Y, Z), however many modalities there are."""
        return self.image if self.image.ndim == 4 else self.image[None]

    @property
    def picture(self) -> np.ndarray:
        """The first modality (X, Y, Z), for pictures."""
        return self.channels[0]


def fingerprint(image: np.ndarray, label: np.ndarray | None) -> str:
    """SHA-256 over shapes and values of a case's arrays, whatever its file's format.

    The shapes are those of `Case`; no label counts as a label of zeros.
    """
    if label is None:
        label = np.zeros(image.shape[-3:], np.uint8)
    digest = hashlib.sha256(repr((image.shape, label.shape)).encode())
    digest.update(np.ascontiguousarray(image, np.float32).tobytes())
    digest.update(np.ascontiguousarray(label, np.uint8).tobytes())
    return digest.hexdigest()


def read_h5(path: Path, labeled: bool) -> tuple[np.ndarray, np.ndarray]:
    """Image and label of an HDF5 file; where it is not `labeled`, the label is zeros."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            image = _array(file, "image", path)
            if not labeled:
                return image, np.zeros(image.shape[-3:], np.uint8)
            return image, _array(file, "label", path)
    except FileNotFoundError as error:
        raise DualsegError(f"{path}: no such file.") from error
    except KeyError as error:
        raise DualsegError(
            f"{path}: expected the data sets 'image' and 'label', found {error.args[0]}."
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise DualsegError(
            f"{path}: expected a readable HDF5 file, found a damaged or truncated one "
            f"({error}); fetch it again."
        ) from error


def _array(file: Any, name: str, path: Path) -> np.ndarray:
    """An array that is stored in the file itself, of numbers, and not too large."""
    import h5py

    link = file.get(name, getlink=True)
    if link is not None and not isinstance(link, h5py.HardLink):
        raise DualsegError(f"{path}: expected {name!r} in the file itself, found a link.")
    data = file[name]
    if not isinstance(data, h5py.Dataset) or data.dtype.kind not in "fiub":
        raise DualsegError(f"{path}: expected {name!r} to be an array of numbers, found {data}.")
    if data.external or data.is_virtual:
        raise DualsegError(
            f"{path}: expected {name!r} in the file itself, found a reference to other files."
        )
    require_memory(data.shape, data.dtype.itemsize, path)
    return data[:]


def checked_case(
    case_id: str, image: np.ndarray, label: np.ndarray, place: str, classes: int, channels: int = 1
) -> Case:
    """The case of arrays that were read; raises DualsegError, naming `place`, if they do not fit.

    They must have the shapes of `Case`, finite intensities, and labels from 0 to `classes` - 1.
    """
    several = channels > 1
    if image.ndim != 3 + several or (several and len(image) != channels):
        axes = f"{channels} channels and three axes" if several else "three axes"
        raise DualsegError(f"{place}: expected an image of {axes}, found shape {image.shape}.")
    if label.shape != image.shape[-3:]:
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
