"""How long does a prediction take, window by window as in the field, and as `evaluate` does it?

`python -m benchmarks.sliding_window` predicts a phantom volume with both networks: plainly (one
window at a time, contiguous memory, sums on the host) and with `dualseg.inference`, from the same
weights. The labels must be the same, voxel by voxel but for ties within rounding.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
import tyro

from dualseg.cache import shrink_image
from dualseg.config import Experiment
from dualseg.environment import pick_device
from dualseg.inference import sliding_window
from dualseg.methods import build_method
from dualseg.phantom import make_case
from dualseg.specs import dataset_spec

from . import plain
from .ratio import compare, peak_of
from .training_step import our_step, random_batch

# Networks and windows of LA; a volume that takes a few of the paper's windows, or a lesson's.
VOLUMES = {"lesson": (48, 36, 22), "paper": (130, 112, 84)}


def main(sizes: str = "lesson", repeats: int = 5) -> dict[str, Any]:
    """Print the ratio, and how many labels differ.

    Args:
        sizes: "lesson", or "paper" (its networks, patch and strides).
        repeats: Timed predictions of each; the median counts.
    """
    experiment, method, image = _setting(sizes)
    config = experiment.train
    device = next(method.parameters()).device
    networks = [
        copy.deepcopy(net).to(memory_format=torch.contiguous_format) for net in method.children()
    ]
    padded = np.pad(
        image, [(0, max(p - s, 0)) for p, s in zip(config.patch, image.shape, strict=True)]
    )
    scan = torch.from_numpy(padded)[None].to(device)
    labels: dict[str, np.ndarray] = {}

    def plainly() -> None:
        labels["plain"] = plain.window_labels(networks, padded, config.patch, config.stride)

    def ours() -> None:
        found = sliding_window(method.predict_members, scan, config.patch, config.stride)
        labels["ours"] = found.mean(0).argmax(0).cpu().numpy()

    result = compare(plainly, ours, repeats)
    result |= {
        "patch": list(config.patch),
        "stride": list(config.stride),
        "filters": config.filters,
        "volume": list(padded.shape),
        "voxels_that_differ": int((labels["plain"] != labels["ours"]).sum()),
        "foreground_share": float(labels["ours"].mean()),
        "plain_peak_memory_mb": peak_of(one_plain_prediction, sizes),
        "peak_memory_mb": peak_of(one_prediction, sizes),
    }
    print(
        f"sliding window, {sizes} (volume {padded.shape}, patch {config.patch}): plain "
        f"{result['plain_seconds']:.2f} s, ours {result['seconds']:.2f} s, ratio "
        f"{result['ratio']:.2f}; {result['voxels_that_differ']} of {padded.size} labels differ"
    )
    return result


def _setting(sizes: str) -> tuple[Experiment, Any, np.ndarray]:
    profile = "full" if sizes == "paper" else sizes
    experiment = Experiment.default("la", profile)
    method = build_method(experiment, dataset_spec("la")).to(pick_device()).train()
    small = experiment.replace(patch=(32, 32, 32), stride=(16, 16, 16))
    for _ in range(3):  # so that the batch normalisation has statistics
        our_step(method, small, random_batch(small).to(pick_device()))
    image, _ = make_case(0)
    image = shrink_image(image, 2 if sizes == "lesson" else 1)
    shape = VOLUMES[sizes]
    grown = np.pad(
        image, [(0, max(w - s, 0)) for w, s in zip(shape, image.shape, strict=True)], mode="reflect"
    )
    return experiment, method.eval(), grown[tuple(slice(side) for side in shape)]


def one_plain_prediction(sizes: str) -> None:
    experiment, method, image = _setting(sizes)
    networks = [net.to(memory_format=torch.contiguous_format) for net in method.children()]
    config = experiment.train
    wide = np.pad(
        image, [(0, max(p - s, 0)) for p, s in zip(config.patch, image.shape, strict=True)]
    )
    plain.window_labels(networks, wide, config.patch, config.stride)


def one_prediction(sizes: str) -> None:
    experiment, method, image = _setting(sizes)
    scan = torch.from_numpy(image)[None].to(pick_device())
    config = experiment.train
    sliding_window(method.predict_members, scan, config.patch, config.stride)


if __name__ == "__main__":
    tyro.cli(main)
