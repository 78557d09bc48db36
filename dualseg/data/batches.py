"""Two-stream batches of random crops: labeled cases first, then unlabeled ones.

Every batch is a pure function of (seed, step). So nothing has to be saved to resume a training,
and a batch that went wrong can be drawn again to be looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..config.training import TrainConfig
from .case import Case
from .dataset import Dataset, Split

_LABELED, _UNLABELED, _CROP = range(3)  # separate random streams
OPEN_CASES = 64  # a mapped case keeps two files open, and macOS allows 256 to a process


@dataclass(frozen=True)
class Batch:
    """Crops to train with; the labeled ones stand first.

    Parameters
    ----------
    image : Tensor (B, C, X, Y, Z) float32
    label : Tensor (L, X, Y, Z) int64
        Class numbers of the first L samples.
    ids : tuple of str
        The case of each of the B samples.
    """

    image: Tensor
    label: Tensor
    ids: tuple[str, ...]

    @property
    def labeled(self) -> int:
        """Number of labeled samples."""
        return len(self.label)

    def to(self, device: torch.device) -> Batch:
        """A copy on the device; from page-locked memory the program does not wait for it."""
        image, label = (t.to(device, non_blocking=True) for t in (self.image, self.label))
        return Batch(image, label.long(), self.ids)

    def pin_memory(self) -> Batch:
        """A copy in page-locked memory, which a GPU reads by itself.

        Its label is uint8, an eighth of the bytes to send; `to` makes it int64 again.
        """
        return Batch(self.image.pin_memory(), self.label.byte().pin_memory(), self.ids)


class BatchSampler:
    """Draws the batch of a step.

    An epoch is one pass over the labeled cases in a new random order, as in the field's two-stream
    sampler; the unlabeled stream has passes of its own. (Yu et al., UA-MT, 2019, shuffle it anew
    at each labeled epoch instead, so that there most unlabeled cases are drawn with replacement.)

    Parameters
    ----------
    dataset : Dataset
        Gives the volumes.
    split : Split
        Says which cases are labeled and which unlabeled.
    config : TrainConfig
        Says the size of a crop and the number of crops in a batch.
    seed : int
        Together with the step it determines the batch.
    unlabeled : bool
        Whether the batch has unlabeled samples.
    ranks : tuple of int
        Number of this process, and number of processes. Of n processes each draws every n-th sample
        of both streams; together they draw what a single process would.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: Split,
        config: TrainConfig,
        seed: int,
        unlabeled: bool,
        ranks: tuple[int, int] = (0, 1),
    ):
        self.dataset = dataset
        self.config = config
        self.seed = seed
        self.labeled = split.labeled
        self.unlabeled = split.unlabeled if unlabeled else ()
        self.share = slice(ranks[0], None, ranks[1])
        self._case = lru_cache(OPEN_CASES)(dataset.case)
        self._scales: dict[str, IntensityScale] = {}

    def batch(self, step: int) -> Batch:
        """The batch of training step `step` (from 0), on the CPU."""
        ids = self._draw(self.labeled, self.config.labeled_batch, _LABELED, step)
        samples = list(enumerate(ids))[self.share]
        count = len(samples)
        if self.unlabeled:
            ids = self._draw(self.unlabeled, self.config.unlabeled_batch, _UNLABELED, step)
            samples += list(enumerate(ids, self.config.labeled_batch))[self.share]
        # Crops are views of the mapped files until they are written here, once.
        shape = (len(samples), self.dataset.spec.channels, *self.config.patch)
        images = np.empty(shape, np.float32)
        labels = np.empty((count, *self.config.patch), np.int64)
        for i, (number, case_id) in enumerate(samples):
            image, label, scale = self._crop(case_id, step, number)
            scale.apply(image, out=images[i])
            if i < count:
                labels[i] = label
        drawn = tuple(case_id for _, case_id in samples)
        return Batch(torch.from_numpy(images), torch.from_numpy(labels), drawn)

    def _draw(self, ids: tuple[str, ...], size: int, stream: int, step: int) -> list[str]:
        """`size` ids of the stream; no id twice in a batch while there are enough of them."""
        batches = max(len(ids) // size, 1)
        epoch, batch = divmod(step, batches)
        order = np.random.default_rng([self.seed, stream, epoch]).permutation(len(ids))
        return [ids[order[k % len(ids)]] for k in range(batch * size, (batch + 1) * size)]

    def _crop(
        self, case_id: str, step: int, number: int
    ) -> tuple[np.ndarray, np.ndarray, IntensityScale]:
        """The crop of the batch's sample `number` as stored, and the scale of its volume."""
        rng = np.random.default_rng([self.seed, _CROP, step, number])
        case, scale = self._open(case_id)
        patch, fill = self.config.patch, scale.center  # padding becomes 0
        image, label = random_crop(case.channels, case.label, patch, rng, fill)
        if self.config.flips:
            image, label = random_turn_and_flip(image, label, rng)
        return image, label, scale

    def _open(self, case_id: str) -> tuple[Case, IntensityScale]:
        case = self._case(case_id)  # mapped, not read
        if case_id not in self._scales:
            self._scales[case_id] = IntensityScale.of(case.channels, self.config.normalise)
        return case, self._scales[case_id]


@dataclass(frozen=True)
class IntensityScale:
    """How a volume's intensities become what the networks see: (image - center) / width.

    Parameters
    ----------
    center, width : ndarray (C, 1, 1, 1) float32
        Each channel has its own.
    """

    center: np.ndarray
    width: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray, recipe: str) -> IntensityScale:
        """The scale of a volume.

        The z-score undoes any brightness and contrast setting of a volume, so it gives the same for
        a raw scan and for one that was normalized before. A constant image becomes 0.

        Parameters
        ----------
        image : ndarray (C, X, Y, Z)
        recipe : str
            "zscore": mean and standard deviation of the whole volume; "stored": no change.

        Returns
        -------
        IntensityScale
        """
        if recipe == "stored":
            center, width = np.zeros(len(image)), np.ones(len(image))
        else:
            center = np.array([channel.mean(dtype=np.float64) for channel in image])
            width = np.array([channel.std(dtype=np.float64) or 1.0 for channel in image])
        return cls(*(v.astype(np.float32).reshape(-1, 1, 1, 1) for v in (center, width)))

    def apply(self, image: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The scaled image, float32, same shape; written to `out` if given."""
        out = np.subtract(image, self.center, out=out, dtype=np.float32)
        return np.divide(out, self.width, out=out)


def random_crop(
    image: np.ndarray,
    label: np.ndarray,
    patch: tuple[int, int, int],
    rng: np.random.Generator,
    fill: np.ndarray | float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """A crop at a uniformly random position, from a volume of any size.

    The field's padding rule (UA-MT): if any side is no larger than the patch, all sides are padded
    on both ends by max((patch - side) // 2 + 3, 0), the image with `fill`, the label with 0. Unlike
    there, the last position can be drawn too.

    Parameters
    ----------
    image : ndarray (..., X, Y, Z)
    label : ndarray (X, Y, Z)
    patch : tuple of int
        Sides (x, y, z) of the crop in voxels.
    rng : numpy.random.Generator
    fill : float or ndarray
        Intensity of the padding, of a shape that broadcasts to the image's.

    Returns
    -------
    image : ndarray (..., x, y, z)
    label : ndarray (x, y, z)
    """
    sides = list(zip(label.shape, patch, strict=True))
    if any(side <= size for side, size in sides):
        margins = [(max((size - side) // 2 + 3, 0),) * 2 for side, size in sides]
        inside = np.pad(np.ones(label.shape, bool), margins)
        image = np.where(inside, np.pad(image, [(0, 0)] * (image.ndim - 3) + margins), fill)
        label = np.pad(label, margins)
    starts = [rng.integers(side - size + 1) for side, size in zip(label.shape, patch, strict=True)]
    x, y, z = (slice(start, start + size) for start, size in zip(starts, patch, strict=True))
    return image[..., x, y, z], label[x, y, z]


def random_turn_and_flip(
    image: np.ndarray, label: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Random quarter turns in the x-y plane and flips in x and y, the same of image and label.

    Parameters
    ----------
    image : ndarray (..., X, Y, Z)
    label : ndarray (X, Y, Z)
        If it is not square in x and y, only half turns are drawn.
    rng : numpy.random.Generator

    Returns
    -------
    image, label : ndarray
        Views of the same shapes.
    """
    square = label.shape[0] == label.shape[1]
    turns = int(rng.integers(4) if square else 2 * rng.integers(2))
    axes = tuple(axis for axis in (-3, -2) if rng.random() < 0.5)
    image, label = (np.flip(np.rot90(v, turns, axes=(-3, -2)), axes) for v in (image, label))
    return image, label
