"""How raw files become a data set: every constant of the preparation, as named settings."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from ..errors import DualsegError, require, require_one_of

VERSION = 3  # raise when the arrays of a recipe would come out differently

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Recipe:
    """What is done to a scan, in this order: window, crop, clip and normalise, resample."""

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
    """"label": round the ground truth, as the published LA and Pancreas crops (a network sees where
    the organ is, in test scans too); "nonzero": round all voxels other than 0; "centre": the
    middle, by `size`. The last two do not look at the label."""
    margin: tuple[int, int] = (0, 0)
    """Voxels kept on each side of the box of "label" or "nonzero", drawn between these two."""
    axes: Literal["xyz", "xy"] = "xyz"
    """Axes that are cropped."""
    size: tuple[int, int, int] = (1, 1, 1)
    """Sides in voxels: of the "centre" crop; a smaller box of "label" or "nonzero" is widened to
    them before the margin is added. All as far as the scan reaches."""
    spacing: tuple[float, float, float] | None = None
    """Voxel size in mm to resample to; None keeps each scan's own."""
    test_share: float = 0.2
    """Part of the labeled cases drawn for testing, where no lists are published or given."""
    seed: int = 0
    """Of that draw, and of the margins."""

    def __post_init__(self) -> None:
        good = 0 not in self.values and len(set(self.values)) == len(self.values)
        require(good, "values", "different label values other than 0", self.values)
        if self.window is not None:
            good = len(self.window) == 2 and self.window[0] < self.window[1]
            require(good, "window", "two intensities, the lower one first", self.window)
        good = 0 < self.clip_percentile <= 100
        require(good, "clip_percentile", "a number above 0, up to 100", self.clip_percentile)
        require_one_of("normalise", self.normalise, ("none", "zscore", "zscore_nonzero"))
        require_one_of("statistics", self.statistics, ("scan", "crop"))
        require_one_of("crop", self.crop, ("none", "label", "nonzero", "centre"))
        require_one_of("axes", self.axes, ("xyz", "xy"))
        good = len(self.margin) == 2 and 0 <= self.margin[0] <= self.margin[1]
        require(good, "margin", "two numbers of voxels, the smaller one first", self.margin)
        good = len(self.size) == 3 and all(s >= 1 for s in self.size)
        require(good, "size", "three numbers of voxels of at least 1", self.size)
        if self.spacing is not None:
            good = len(self.spacing) == 3 and all(0 < s < float("inf") for s in self.spacing)
            require(good, "spacing", "three sizes in mm above 0", self.spacing)
        require(0 < self.test_share < 1, "test_share", "a number between 0 and 1", self.test_share)
        require(self.seed >= 0, "seed", "0 or more", self.seed)

    @classmethod
    def of(cls, values: dict[str, Any]) -> Recipe:
        """From a manifest's entry; what is no setting (name, version) is left out."""
        values = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    def of_arrays(self) -> dict[str, Any]:
        """The settings that make the arrays (the others make the split)."""
        drawn = self.margin[0] < self.margin[1]  # else the seed is of the split only
        idle = {"test_share"} if drawn else {"test_share", "seed"}
        return {name: value for name, value in asdict(self).items() if name not in idle}

    def box(
        self, image: np.ndarray, label: np.ndarray | None, rng: np.random.Generator, place: str
    ) -> Box:
        """The part of a scan to keep. Shapes: image (C, X, Y, Z), label (X, Y, Z) or None.

        Raises DualsegError, naming the file `place`, where the crop has nothing to go by (no label,
        an empty one, an image of zeros).
        """
        shape = image.shape[1:]
        cropped = [axis in self.axes for axis in "xyz"]
        if self.crop == "none":
            return tuple(slice(0, side) for side in shape)
        if self.crop == "centre":
            return tuple(
                slice(max((side - want) // 2, 0), max((side - want) // 2, 0) + min(side, want))
                if crop
                else slice(0, side)
                for side, want, crop in zip(shape, self.size, cropped, strict=True)
            )
        inside = (image != 0).any(0) if self.crop == "nonzero" else label
        if inside is None or not inside.any():
            what = "an intensity other than 0" if self.crop == "nonzero" else "a labeled voxel"
            raise DualsegError(
                f"{place}: expected {what} to crop round (--crop {self.crop}), found none; choose "
                "--crop centre or --crop none."
            )
        box = []
        for axis, (side, want, crop) in enumerate(zip(shape, self.size, cropped, strict=True)):
            if not crop:
                box.append(slice(0, side))
                continue
            others = tuple(k for k in range(3) if k != axis)
            places = np.flatnonzero(inside.any(axis=others))
            first, end = int(places[0]), int(places[-1]) + 1
            widen = max(want - (end - first), 0)
            below, above = rng.integers(self.margin[0], self.margin[1] + 1, size=2).tolist()
            first, end = first - below - widen // 2, end + above + (widen - widen // 2)
            box.append(slice(max(first, 0), min(end, side)))
        return tuple(box)

    def intensities(self, image: np.ndarray, box: Box) -> np.ndarray:
        """The intensities to store: the box of `image`, through window, clip and normalisation.

        Shapes: image (C, X, Y, Z) float32 -> (C, x, y, z) float32. Each channel by itself.
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
