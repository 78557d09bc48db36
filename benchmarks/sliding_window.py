"""How long does a prediction take, window by window as in the field, and as `evaluate` does it?

`python -m benchmarks.sliding_window` predicts a phantom volume with both networks: plainly (one
window at a time, contiguous memory, sums on the host) and with
`dualseg.evaluation.sliding_window`, from the same weights. The labels must be the same, voxel by
voxel but for ties within rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import tyro

from dualseg._util.environment import pick_device
from dualseg.config.experiment import Experiment
from dualseg.data.grids import shrink_image
from dualseg.data.known import dataset_spec
from dualseg.data.phantom import make_case
from dualseg.evaluation.sliding_window import sliding_window
from dualseg.methods import Method, build_method

from . import plain
from .ratio import compare_apart
from .training_step import our_step, random_batch

# Networks and windows of LA; a volume that takes a few of the paper's windows, or a lesson's.
VOLUMES = {"lesson": (48, 36, 32), "paper": (130, 112, 84)}

Setting = tuple[Experiment, Method, np.ndarray]


def main(sizes: str = "lesson", repeats: int = 5) -> dict[str, Any]:
    """Print the ratio, and how many labels differ.

    Args:
        sizes: "lesson", or "paper" (its networks, patch and strides).
        repeats: Timed predictions of each; the median counts.
    """
    setting = _setting(sizes)
    config = setting[0].train
    result, labels_plain, labels = compare_apart(plain_prediction, our_prediction, setting, repeats)
    result |= {
        "patch": list(config.patch),
        "stride": list(config.stride),
        "filters": config.filters,
        "volume": list(labels.shape),
        "voxels_that_differ": int((labels_plain != labels).sum()),
        "foreground_share": float(labels.mean()),
    }
    print(
        f"sliding window, {sizes} (volume {labels.shape}, patch {config.patch}): plain "
        f"{result['plain_seconds']:.2f} s, ours {result['seconds']:.2f} s, ratio "
        f"{result['ratio']:.2f}; {result['voxels_that_differ']} of {labels.size} labels differ"
    )
    return result


def _setting(sizes: str) -> Setting:
    experiment = Experiment("la", "full" if sizes == "paper" else sizes)
    method = build_method(experiment, dataset_spec("la")).train()
    small = experiment.replace(patch=(32, 32, 32), stride=(16, 16, 16))
    for _ in range(3):  # so that the batch normalisation has statistics
        our_step(method, small, random_batch(small))
    image, _ = make_case(0)
    image = shrink_image(image, 2 if sizes == "lesson" else 1)
    shape = VOLUMES[sizes]
    grown = np.pad(
        image, [(0, max(w - s, 0)) for w, s in zip(shape, image.shape, strict=True)], mode="reflect"
    )
    image = grown[tuple(slice(side) for side in shape)]
    method.eval()
    middle = [slice((side - 32) // 2, (side + 32) // 2) for side in shape]
    crop = torch.from_numpy(np.ascontiguousarray(image[tuple(middle)]))[None, None]
    with torch.no_grad():  # shift the logits so that there is about as much of both classes
        for network, output in zip(method.children(), method(crop), strict=True):
            gap = output.logits[:, 1] - output.logits[:, 0]
            network.decoder.head.bias[0] += gap.median()
    return experiment, method, image


@contextmanager
def plain_prediction(setting: Setting) -> Iterator[Callable[[], np.ndarray]]:
    """The field's side: a function that predicts the labels."""
    experiment, method, image = setting
    method = method.to(pick_device(), memory_format=torch.contiguous_format)
    networks, config = list(method.children()), experiment.train
    yield lambda: plain.window_labels(networks, image, config.patch, config.stride)


@contextmanager
def our_prediction(setting: Setting) -> Iterator[Callable[[], np.ndarray]]:
    """Our side of the same."""
    experiment, method, image = setting
    method, config = method.to(pick_device()), experiment.train
    scan = torch.from_numpy(image)[None].to(pick_device())

    def run() -> np.ndarray:
        found = sliding_window(method.predict_members, scan, config.patch, config.stride)
        return found.mean(0).argmax(0).cpu().numpy()

    yield run


if __name__ == "__main__":
    tyro.cli(main)
