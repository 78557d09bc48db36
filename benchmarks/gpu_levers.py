"""What makes a training step fast on a GPU? Each lever by itself, in one run.

`python -m benchmarks.gpu_levers` takes steps of the preset "paper" with the paper's networks, patch
and batch: in float32, with the reduced float32 that torch allows a GPU's convolutions (TF32), in
bfloat16; with volumes contiguous and with channels last; with cuDNN's choice of convolutions and
with those that it finds fastest by trying (`cudnn.benchmark`). Steps a second, peak memory, and the
ratio to the first row. Runs on a CPU, too, as a rehearsal, where only precision and layout mean
anything.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import torch
import tyro

from dualseg.config import Experiment
from dualseg.data.known import dataset_spec
from dualseg.environment import describe_device, peak_memory_mb, pick_device, versions
from dualseg.files import write_json
from dualseg.methods import build_method
from dualseg.text import columns

from .ratio import timed
from .training_step import our_step, random_batch

WARM_UP = 3
LEVERS = {
    "float32": ("float32", False, "contiguous", False),
    "TF32": ("float32", True, "contiguous", False),
    "bfloat16": ("bfloat16", True, "contiguous", False),
    "bfloat16, trying": ("bfloat16", True, "contiguous", True),
    "bfloat16, channels last": ("bfloat16", True, "channels last", False),
    "bfloat16, channels last, trying": ("bfloat16", True, "channels last", True),
}
"""Precision, whether TF32 is allowed, layout, cudnn.benchmark; the last is how dualseg trains."""


def main(profile: str = "full", steps: int = 10, out: Path | None = None) -> dict[str, Any]:
    """Print, and perhaps save, steps a second with each lever.

    Args:
        profile: "full" (the paper's sizes) or "smoke".
        steps: Timed steps of each, after 3 to warm up; the median counts.
        out: JSON to write.
    """
    device = pick_device()
    result: dict[str, Any] = {
        "profile": profile,
        "steps": steps,
        "device": describe_device(device),
        "versions": versions(),
        "levers": {},
    }
    for name, lever in LEVERS.items():
        precision, tf32, layout, trying = lever
        with torch.backends.cudnn.flags(enabled=True, benchmark=trying, allow_tf32=tf32):
            result["levers"][name] = _measured(profile, steps, device, precision, layout)
    slowest = result["levers"]["float32"]["seconds"]
    rows = [["", "steps/s", "ratio", "peak MB", "loss"]]
    for name, found in result["levers"].items():
        rate, ratio = 1 / found["seconds"], slowest / found["seconds"]
        numbers = f"{rate:.2f}", f"{ratio:.1f}", f"{found['peak_memory_mb']:.0f}"
        rows.append([name, *numbers, f"{found['loss']:.4f}"])
    print(columns(rows))
    if out:
        write_json(out, result)
    return result


def _measured(
    profile: str,
    steps: int,
    device: torch.device,
    precision: str,
    layout: str,
) -> dict[str, float]:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    experiment = Experiment("la", profile, precision=precision)
    method = build_method(experiment, dataset_spec("la")).train().to(device)
    if layout == "contiguous":
        method.to(memory_format=torch.contiguous_format)
        method.memory_format = torch.contiguous_format
    batch = random_batch(experiment).to(device)
    losses: list[float] = []
    times = [
        timed(lambda: losses.append(float(our_step(method, experiment, batch))))
        for _ in range(WARM_UP + steps)
    ]
    return {
        "seconds": statistics.median(times[WARM_UP:]),
        "first_seconds": times[0],
        "peak_memory_mb": peak_memory_mb(device),
        "loss": losses[0],
    }


if __name__ == "__main__":
    tyro.cli(main)
