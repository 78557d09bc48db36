"""One case: its arrays, read from its file and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import DualsegError


@dataclass(frozen=True)
class Case:
    """One volume on some grid.

    image (X, Y, Z) float32, or (C, X, Y, Z) with several modalities; label (X, Y, Z) uint8 class
    numbers.
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
        """The first modality (X, Y, Z), to be looked at."""
        return self.channels[0]


def read_h5(path: Path, labeled: bool) -> tuple[np.ndarray, np.ndarray]:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            image = file["image"][:]
            return image, file["label"][:] if labeled else np.zeros(image.shape[-3:], np.uint8)
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


def checked_case(
    case_id: str,
    image: np.ndarray,
    label: np.ndarray,
    place: str,
    classes: int,
    channels: int = 1,
) -> Case:
    if image.ndim != 3 + (channels > 1):
        axes = f"three axes after {channels} channels" if channels > 1 else "three axes"
        raise DualsegError(f"{place}: expected an image of {axes}, found shape {image.shape}.")
    if channels > 1 and len(image) != channels:
        raise DualsegError(f"{place}: expected {channels} channels, found {len(image)}.")
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
