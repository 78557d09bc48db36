"""From a volume of any size to probabilities on its own grid: the field's sliding window.

Zero padding up to the patch, windows at regular steps, a uniform average of the softmax, the mean
of both networks (as in UA-MT, MCF and the programs built on them).
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .._util.memory import freed_memory_kept
from ..config.training import TrainConfig
from ..data.batches import IntensityScale
from ..errors import DualsegError
from ..methods import Method

Predict = Callable[[Tensor], Tensor]

# Voxels of windows to be predicted at a time. On two CPU cores 4 windows of 48 x 32 x 32 together
# take a fourth of the time that they take one by one, and of 112 x 112 x 80 the same time.
BUSY, BUSY_CUDA = 2**18, 2**22


def window_starts(size: int, patch: int, stride: int) -> list[int]:
    """Where the windows along one axis begin; the last one ends at the border.

    Parameters
    ----------
    size, patch, stride : of the axis, of a window, and from one window to the next, in voxels

    Returns
    -------
    list of int
        The first voxel of each window.
    """
    count = math.ceil((size - patch) / stride) + 1
    return [min(i * stride, size - patch) for i in range(count)]


@freed_memory_kept()
@torch.inference_mode()
def sliding_window(
    predict: Predict,
    image: Tensor,
    patch: tuple[int, int, int],
    stride: tuple[int, int, int],
    window_batch: int | None = None,
) -> Tensor:
    """Average the predictions of overlapping windows.

    A side smaller than the patch is zero-padded on both ends (the odd voxel at the far one) and
    cropped again. Where memory is short it goes on with fewer windows at a time, or sums in the
    computer's memory instead of the GPU's, and says so in a warning.

    Parameters
    ----------
    predict : maps (B, C, *patch) to (M, B, classes, *patch), for M networks
    image : (C, X, Y, Z)
    patch, stride : of a window, and from one window to the next, in voxels
    window_batch : how many windows at a time; by default as many as keep the device busy, small
        windows together and large ones one by one

    Returns
    -------
    Tensor
        (M, classes, X, Y, Z), on the image's device if it fits.

    Raises
    ------
    DualsegError
        Where not even one window fits into the memory.
    """
    if window_batch is None:
        busy = BUSY_CUDA if image.device.type == "cuda" else BUSY
        window_batch = max(1, busy // math.prod(patch))
    image, inside = _padded(image, patch)
    sides = image.shape[1:]
    starts = [window_starts(s, p, t) for s, p, t in zip(sides, patch, stride, strict=True)]
    windows = [
        tuple(slice(s, s + p) for s, p in zip(at, patch, strict=True))
        for at in itertools.product(*starts)
    ]

    def predicted(part: list[tuple[slice, ...]]) -> Tensor:
        return predict(torch.stack([image[:, *window] for window in part]))

    total: Tensor | None = None
    done = 0
    while done < len(windows):
        part = windows[done : done + window_batch]
        probabilities = _unless_memory_is_short(predicted, part)
        if probabilities is None:
            window_batch = _smaller(window_batch, patch, image.device)
            continue
        if total is None:
            members, _, classes = probabilities.shape[:3]
            total = _zeros((members, classes, *sides), image.device)
        for i, window in enumerate(part):
            total[:, :, *window] += probabilities[:, i].to(total.device)
        done += len(part)
    assert total is not None  # there is a window at least
    # The windows form a grid, so a voxel lies in as many as the product of three counts.
    x, y, z = map(_windows_over, sides, patch, starts)
    total /= (x[:, None, None] * y[:, None] * z).to(total.device)
    return total[:, :, *inside]


def _padded(image: Tensor, patch: tuple[int, int, int]) -> tuple[Tensor, tuple[slice, ...]]:
    """The image, at least as large as the patch, and where in it the original lies."""
    sides = image.shape[1:]
    missing = [max(p - s, 0) for s, p in zip(sides, patch, strict=True)]
    pads = [p for m in reversed(missing) for p in (m // 2, m - m // 2)]
    inside = tuple(slice(m // 2, m // 2 + s) for m, s in zip(missing, sides, strict=True))
    return F.pad(image, pads), inside


def _windows_over(size: int, patch: int, starts: list[int]) -> Tensor:
    """How many windows lie over each place along one axis, (size,) float32."""
    count = torch.zeros(size)
    for start in starts:
        count[start : start + patch] += 1
    return count


def _unless_memory_is_short(
    compute: Callable[..., Tensor], *args: Any, **kwargs: Any
) -> Tensor | None:
    """What `compute` returns, or None where the memory did not suffice."""
    try:
        return compute(*args, **kwargs)
    except RuntimeError as error:
        # On a GPU torch has a class for it, on a CPU only words.
        short = isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
        if not short:
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def _smaller(window_batch: int, patch: tuple[int, int, int], device: torch.device) -> int:
    if window_batch == 1:
        raise DualsegError(
            f"patch: one window of {patch} does not fit into the memory of {device}; close other "
            "programs, use a machine with more memory, or a run with a smaller patch or fewer "
            "filters."
        )
    half = window_batch // 2
    warnings.warn(
        f"{window_batch} windows at a time do not fit into the memory of {device}; going on with "
        f"{half}, more slowly.",
        stacklevel=3,
    )
    return half


def _zeros(shape: tuple[int, ...], device: torch.device) -> Tensor:
    zeros = _unless_memory_is_short(torch.zeros, shape, device=device)
    if zeros is not None:
        return zeros
    warnings.warn(
        f"the sums of a volume {shape} do not fit into the memory of {device}; they are kept on "
        "the CPU, more slowly.",
        stacklevel=3,
    )
    return torch.zeros(shape)


def predict_volume(
    method: Method, image: np.ndarray, config: TrainConfig, full_shape: tuple[int, int, int]
) -> Tensor:
    """Probabilities of each of a method's M networks on the full grid.

    Coarse probabilities are interpolated linearly, each coarse voxel being the block of full-grid
    voxels that `data.grids.shrink_image` averaged.

    Parameters
    ----------
    method : trained
    image : (C, X, Y, Z) on the run's training grid, as stored
    config : of the training: patch, stride, and how intensities are normalized
    full_shape : (X, Y, Z) of the full grid

    Returns
    -------
    Tensor
        (M, classes, *full_shape) float32, on the method's device.
    """
    device = next(method.parameters()).device
    scaled = IntensityScale.of(image, config.normalise).apply(np.asarray(image))
    volume = torch.from_numpy(scaled).to(device)
    probabilities = sliding_window(method.predict_members, volume, config.patch, config.stride)
    if config.factor > 1:
        probabilities = F.interpolate(
            probabilities, scale_factor=config.factor, mode="trilinear", align_corners=False
        )
    x, y, z = full_shape
    return probabilities[..., :x, :y, :z]


def require_finite(probabilities: Tensor) -> Tensor:
    """The probabilities; raises DualsegError if one is NaN: it would be called background."""
    # One pass and no array of its own: a sum is finite only if everything in it is.
    if not probabilities.sum().isfinite():
        raise DualsegError(
            "the networks' output is not finite: the weights are damaged or the intensities "
            "overflow; look at the run's log and at the scan's intensity range."
        )
    return probabilities


def masks_of(method: Method, probabilities: Tensor) -> dict[str, np.ndarray]:
    """The masks of the mean prediction and of each network.

    They are found where the probabilities are, and only they are copied to the host.

    Parameters
    ----------
    method : that gave the probabilities
    probabilities : (M, classes, X, Y, Z)

    Returns
    -------
    dict
        (X, Y, Z) uint8 class numbers: "mean" and, of several networks, each by its name.

    Raises
    ------
    DualsegError
        If a probability is NaN.
    """
    masks = {"mean": require_finite(probabilities).mean(0)}
    if len(method.members) > 1:
        masks |= dict(zip(method.members, probabilities, strict=True))
    return {name: most_probable(prob).cpu().numpy() for name, prob in masks.items()}


def most_probable(probabilities: Tensor) -> Tensor:
    """The number of the most probable class, the lower one of equals.

    As `argmax(0)`, which on a CPU takes twenty times as long and makes numbers of eight bytes.

    Shapes: probabilities (classes, X, Y, Z) -> (X, Y, Z) uint8.
    """
    highest = probabilities[0]
    found = torch.zeros_like(highest, dtype=torch.uint8)
    for number, prob in enumerate(probabilities[1:], start=1):
        found.masked_fill_(prob > highest, number)
        highest = torch.maximum(highest, prob)
    return found
