"""How long does a training step of each method take, next to one of `supervised`?

`python -m benchmarks --only method_steps` takes steps of all methods in turn, in one run, with the
sizes and batches of a comparison with a common budget. Random volumes: of these methods, only those
that look at single voxels take longer for some volumes than for others.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dualseg._util.environment import pick_device
from dualseg._util.memory import freed_memory_kept
from dualseg.config.experiment import Experiment
from dualseg.config.training import Progress
from dualseg.data.known import dataset_spec
from dualseg.many_runs.compare import plan_comparison
from dualseg.many_runs.cost import random_batch
from dualseg.methods import build_method
from dualseg.methods.base import total_loss

from .ratio import timed

REFERENCE = "supervised"
FRACTION = 0.5  # of the training: BCP has left its first phase, and all weights have risen


def main(repeats: int = 5) -> dict[str, Any]:
    """Print and return the median seconds of each method's step, and the ratio to `supervised`.

    Parameters
    ----------
    repeats : int
        Timed steps of each method, after one to warm up.

    Returns
    -------
    dict
        "seconds" and "ratio_to_supervised", each by method; "patch" and "repeats".
    """
    planned = plan_comparison(Path("unused"), (), "phantom", None, [0], "lesson")
    experiments = {member.experiment.method: member.experiment for member in planned}
    steps = {name: _step(experiment) for name, experiment in experiments.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    with freed_memory_kept():
        for turn in range(repeats + 1):
            for name, step in steps.items():
                gc.collect()  # what the last method left is not this one's time
                seconds = timed(step)
                if turn:
                    times[name].append(seconds)
    medians = {name: statistics.median(found) for name, found in times.items()}
    ratios = {name: seconds / medians[REFERENCE] for name, seconds in medians.items()}
    for name, seconds in medians.items():
        print(f"a step of {name:22} {seconds:.3f} s, {ratios[name]:.2f} times {REFERENCE}")
    patch = list(experiments[REFERENCE].train.patch)
    return {"patch": patch, "repeats": repeats, "seconds": medians, "ratio_to_supervised": ratios}


def _step(experiment: Experiment) -> Callable[[], None]:
    """A whole step as the training loop takes it: loss, gradients, optimizers, teacher."""
    config, device = experiment.train, pick_device()
    now = Progress(round(FRACTION * config.iterations), config.iterations)
    torch.manual_seed(0)
    spec = dataset_spec(experiment.dataset)
    method = build_method(experiment, spec).to(device).train()
    optimizers = method.optimizers(config)
    batch = random_batch(config.patch, method, experiment, spec).to(device)

    def step() -> None:
        method.zero_grad()
        total_loss(method.loss(batch, now), method.weights(now)).backward()
        for optimizer in optimizers.values():
            optimizer.step()
        method.after_step(now)

    return step
