"""How raw files become a data set: every constant of the preparation, as named settings."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import numpy as np

from .._util.settings import Range, Settings
from ..errors import DualsegError, require

VERSION = 3  # raise when the arrays of a recipe would come out differently

Box = tuple[slice, slice, slice]
_Side = Annotated[int, Range(1)]
_Margin = Annotated[int, Range(0)]
_Millimeters = Annotated[float, Range(1e-3, 1e3)]


@dataclass(frozen=True)
class Recipe(Settings):
    """What is done to a scan, in this order: window, crop, clip and normalize, resample."""

    values: tuple[int, ...] = ()
    """Label values that become classes 1, 2, ...; the others become background. Empty: all values
    but 0 are one foreground."""
    window: tuple[float, float] | None = None
    """Intensities (CT: Hounsfield units) that become 0 and 1; those outside are clipped."""
    clip_percentile: float = 100.0
    """Intensities above this percentile are set to it."""
    normalise: Literal["none", "zscore", "zscore_nonzero"] = "none"
    """To mean 0 and standard deviation 1, of all voxels or of those above 0."""
    statistics: Literal["scan", "crop"] = "scan"
    """What percentile, mean and standard deviation are taken over."""
    crop: Literal["none", "label", "nonzero", "centre"] = "none"
    """"label": around the ground truth, as in the published LA and Pancreas crops (a network then
    sees where the organ is, in test scans too); "nonzero": around all voxels other than 0;
    "centre": the middle, by `size`. The last two do not look at the label."""
    margin: tuple[_Margin, _Margin] = (0, 0)
    """Voxels kept on each side of the box of "label" or "nonzero", drawn between these two."""
    axes: Literal["xyz", "xy"] = "xyz"
    """Axes that are cropped."""
    size: tuple[_Side, _Side, _Side] = (1, 1, 1)
    """Sides in voxels: of the "centre" crop; a smaller box of "label" or "nonzero" is widened to
    them before the margin is added. All as far as the scan reaches."""
    spacing: tuple[_Millimeters, _Millimeters, _Millimeters] | None = None
    """Voxel size in mm to resample to; None keeps each scan's own."""
    test_share: float = 0.2
    """Part of the labeled cases drawn for testing, where no lists are published or given."""
    seed: Annotated[int, Range(0)] = 0
    """Seed of that draw, and of the margins."""

    def __post_init__(self) -> None:
        super().__post_init__()
        good = 0 not in self.values and len(set(self.values)) == len(self.values)
        require(good, "values", "different label values other than 0", self.values)
        good = self.window is None or self.window[0] < self.window[1]
        require(good, "window", "two intensities, the lower one first", self.window)
        good = 0 < self.clip_percentile <= 100
        require(good, "clip_percentile", "a number above 0, up to 100", self.clip_percentile)
        good = self.margin[0] <= self.margin[1]
        require(good, "margin", "two numbers of voxels, the smaller one first", self.margin)
        sized = self.crop != "centre" or self.size != (1, 1, 1)
        require(sized, "size", 'the sides of the "centre" crop in voxels', self.size)
        require(0 < self.test_share < 1, "test_share", "a number between 0 and 1", self.test_share)

    @classmethod
    def of(cls, values: dict[str, Any]) -> Recipe:
        """The recipe of a manifest's entry, whose other keys (name, version) are left out."""
        return cls(**{name: values[name] for name in cls.__dataclass_fields__ if name in values})

    def of_arrays(self) -> dict[str, Any]:
        """The settings that make the arrays (the others make the split)."""
        drawn = self.margin[0] < self.margin[1]  # else the seed is of the split only
        idle = {"test_share"} if drawn else {"test_share", "seed"}
        return {name: value for name, value in asdict(self).items() if name not in idle}

    def box(
        self, image: np.ndarray, label: np.ndarray | None, rng: np.random.Generator, place: str
    ) -> Box:
        """The part of a scan to keep.

        Parameters
        ----------
        image : ndarray (C, X, Y, Z)
        label : ndarray (X, Y, Z) of class numbers, or None
        rng : numpy.random.Generator
            Draws the margins.
        place : str
            The file, for messages.

        Returns
        -------
        tuple of three slices

        Raises
        ------
        DualsegError
            Where there is nothing to crop around: no label, an empty one, an image of zeros.
        """
        inside = (image != 0).any(0) if self.crop == "nonzero" else label
        if self.crop in ("label", "nonzero") and (inside is None or not inside.any()):
            what = "an intensity other than 0" if self.crop == "nonzero" else "a labeled voxel"
            raise DualsegError(
                f"{place}: expected {what} to crop around (--crop {self.crop}), found none; choose "
                "--crop centre with --size, or --crop none."
            )
        sides = []
        for axis, side in enumerate(image.shape[1:]):
            start, stop = 0, side
            if self.crop == "none" or "xyz"[axis] not in self.axes:
                pass
            elif self.crop == "centre":
                start = max((side - self.size[axis]) // 2, 0)
                stop = min(start + self.size[axis], side)
            else:
                assert inside is not None
                others = tuple(other for other in range(3) if other != axis)
                occupied = np.asarray(inside.any(others))
                start, stop = self._around(occupied, self.size[axis], rng)
            sides.append(slice(start, stop))
        x, y, z = sides
        return x, y, z

    def _around(self, occupied: np.ndarray, want: int, rng: np.random.Generator) -> tuple[int, int]:
        """Start and stop along one axis: what is occupied, widened to `want`, and the margins."""
        places = np.flatnonzero(occupied)
        start, stop = int(places[0]), int(places[-1]) + 1
        widen = max(want - (stop - start), 0)
        below, above = rng.integers(self.margin[0], self.margin[1] + 1, size=2).tolist()
        start, stop = start - below - widen // 2, stop + above + (widen - widen // 2)
        return max(start, 0), min(stop, len(occupied))

    def intensities(self, image: np.ndarray, box: Box) -> np.ndarray:
        """The intensities to store: the box of `image`, through window, clip and normalization.

        Each channel (X, Y, Z) of `image` (C, X, Y, Z) float32 is taken by itself; the result is
        (C, x, y, z) float32.
        """
        if self.window is not None:
            low, high = self.window
            image = (np.clip(image, low, high) - low) / (high - low)
        return np.stack([self._channel(channel, channel[box]) for channel in image])

    def _channel(self, scan: np.ndarray, crop: np.ndarray) -> np.ndarray:
        basis = (scan if self.statistics == "scan" else crop).astype(np.float64)
        if self.clip_percentile < 100:
            top = np.percentile(basis, self.clip_percentile)
            basis, crop = np.minimum(basis, top), np.minimum(crop, top)
        if self.normalise == "zscore_nonzero":
            basis = basis[basis > 0]
        if self.normalise != "none":
            # A constant scan becomes 0.
            mean, deviation = (basis.mean(), basis.std() or 1.0) if basis.size else (0.0, 1.0)
            crop = (crop - mean) / deviation
        return crop.astype(np.float32)
