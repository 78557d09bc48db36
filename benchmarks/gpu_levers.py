"""What makes a training fast on a GPU? Each lever by itself, in one run.

`python -m benchmarks.gpu_levers` trains with the preset "paper" and the sizes of LA for some steps,
by `dualseg.fit` itself, with its loop, log and prefetching: in float32, with the reduced float32
that torch allows a GPU's convolutions (TF32), in bfloat16; with volumes contiguous and with
channels last; with cuDNN's choice of convolutions and with those that it finds fastest by trying
(`cudnn.benchmark`); and compiled. Steps a second, peak memory, and the ratio to the first row. Runs
on a CPU, too, as a rehearsal, where only precision, layout and compiling mean anything.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
import tyro

from dualseg._util.environment import describe_device, peak_memory_mb, pick_device, versions
from dualseg._util.files import write_json
from dualseg._util.tables import columns
from dualseg.config.experiment import Experiment
from dualseg.data.known import dataset_spec
from dualseg.methods.base import TwoNetworks
from dualseg.training import loop as train

WARM_UP = 3


class Lever(NamedTuple):
    """How a training is run."""

    precision: str
    tf32: bool = True
    layout: torch.memory_format = torch.contiguous_format
    trying: bool = False
    """cudnn.benchmark."""
    compile: bool = False


LAST = torch.channels_last_3d
LEVERS = {
    "float32": Lever("float32", tf32=False),
    "TF32": Lever("float32"),
    "bfloat16": Lever("bfloat16"),
    "bfloat16, trying": Lever("bfloat16", trying=True),
    "bfloat16, channels last": Lever("bfloat16", layout=LAST),
    "bfloat16, channels last, trying": Lever("bfloat16", layout=LAST, trying=True),
    "the same, compiled": Lever("bfloat16", layout=LAST, trying=True, compile=True),
}
"""The last but one is how dualseg trains."""


def main(
    profile: str = "full",
    steps: int = 10,
    root: Path | None = None,
    only: tuple[str, ...] = tuple(LEVERS),
    out: Path | None = None,
) -> dict[str, Any]:
    """Print, and perhaps save, steps a second with each lever.

    Args:
        profile: "full" (the paper's sizes) or "smoke".
        steps: Timed steps of each, after 3 to warm up.
        root: Folder of the LA data; without it, phantoms are padded to LA's patch.
        only: Names of the levers to try.
        out: JSON to write.
    """
    device = pick_device()
    result: dict[str, Any] = {
        "profile": profile,
        "steps": steps,
        "device": describe_device(device),
        "versions": versions(),
        "levers": {name: _measured(LEVERS[name], profile, steps, root) for name in only},
    }
    slowest = result["levers"][only[0]]["seconds"]
    rows = [["", "steps/s", "ratio", "peak MB", "loss"]]
    for name, found in result["levers"].items():
        rate, ratio = 1 / found["seconds"], slowest / found["seconds"]
        numbers = f"{rate:.2f}", f"{ratio:.1f}", f"{found['peak_memory_mb']:.0f}"
        rows.append([name, *numbers, f"{found['loss']:.4f}"])
    print(columns(rows))
    if out:
        write_json(out, result)
    return result


def _measured(lever: Lever, profile: str, steps: int, root: Path | None) -> dict[str, float]:
    sizes = dataset_spec("la").profiles[profile]
    experiment = Experiment(
        "la" if root else "phantom",
        profile,
        root=str(root) if root else None,
        labeled=4,
        patch=sizes.patch,
        stride=sizes.stride,
        iterations=WARM_UP + steps,
        checkpoint_every=WARM_UP + steps,
        precision=lever.precision,
        compile=lever.compile,
    )
    device = pick_device()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(train, "ready_device", pick_device),  # which would switch on the trying
        patch.object(TwoNetworks, "memory_format", lever.layout),
        torch.backends.cudnn.flags(enabled=True, benchmark=lever.trying, allow_tf32=lever.tf32),
    ):
        log = train.fit(experiment, Path(folder) / "run").log()
    # The host is at most a step ahead of a GPU, so over many steps its clock is the GPU's.
    return {
        "seconds": (log[-1]["seconds"] - log[WARM_UP - 1]["seconds"]) / steps,
        "first_seconds": log[0]["seconds"],
        "peak_memory_mb": peak_memory_mb(device),
        "loss": log[0]["loss"],
    }


if __name__ == "__main__":
    tyro.cli(main)
