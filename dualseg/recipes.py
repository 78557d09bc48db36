"""How raw files become a data set: every constant of the preparation, as named settings."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import require


@dataclass(frozen=True)
class FolderRecipe:
    """How a folder of images and labels becomes a data set."""

    spacing: tuple[float, float, float] | None = None
    """Voxel size in mm to resample to; None keeps each scan's own."""
    values: tuple[int, ...] = ()
    """Label values that become classes 1, 2, ...; the others become background. Empty: all values
    but 0 are one foreground."""
    test_share: float = 0.2
    """Part of the labeled cases that is drawn for testing."""
    seed: int = 0
    """Of that draw."""

    def __post_init__(self) -> None:
        if self.spacing is not None:
            good = len(self.spacing) == 3 and all(0 < s < float("inf") for s in self.spacing)
            require(good, "spacing", "three sizes in mm above 0", self.spacing)
        good = 0 not in self.values and len(set(self.values)) == len(self.values)
        require(good, "values", "different label values other than 0", self.values)
        require(0 < self.test_share < 1, "test_share", "a number between 0 and 1", self.test_share)
        require(self.seed >= 0, "seed", "0 or more", self.seed)
