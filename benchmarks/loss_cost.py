"""What part of a training step do the method's losses take?

`python -m benchmarks.loss_cost --profile full` times, in one run, a whole training step of "dual"
(both networks forward, losses, backward, optimiser) and the losses alone (forward and backward down
to logits and features), and prints the ratio for each preset. Random volumes: the time does not
depend on what is in them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import tyro

from dualseg._util.environment import describe_device, peak_memory_mb, pick_device, versions
from dualseg._util.files import write_json
from dualseg.config.experiment import Experiment
from dualseg.config.training import Progress
from dualseg.data.batches import Batch
from dualseg.data.known import dataset_spec
from dualseg.methods import build_method
from dualseg.methods.dual import dual_terms, dual_weights
from dualseg.networks import NetworkOutput

from .ratio import timed

PRESETS = ("paper", "released", "cps")


def main(
    profile: str = "full",
    dataset: str = "la",
    samples: int = 1,
    repeats: int = 3,
    out: Path | None = None,
) -> dict[str, Any]:
    """Print and perhaps save the share of the losses in a training step.

    Args:
        profile: Sizes of networks and patch, "lesson" or "full".
        dataset: Data set whose patch is taken.
        samples: Labeled samples, and as many unlabeled ones (the paper: 2; needs more memory).
        repeats: Measured repetitions of each, after one to warm up; the median counts.
        out: JSON to write.
    """
    experiment = Experiment(dataset, profile, labeled_batch=samples, unlabeled_batch=samples)
    device = pick_device()
    result = {
        "patch": list(experiment.train.patch),
        "filters": experiment.train.filters,
        "batch": 2 * samples,
        "repeats": repeats,
        "device": describe_device(device),
        "versions": versions(),
    }
    batch = _random_batch(experiment, samples).to(device)
    step, outputs = _measure_step(experiment, batch, device, repeats)
    result["step_seconds"] = step
    for preset in PRESETS:
        choices = Experiment(dataset, profile, preset).settings

        def losses(choices=choices) -> None:
            leaves = [NetworkOutput(*(t.detach().requires_grad_() for t in o)) for o in outputs]
            terms = dual_terms(*leaves, batch.label, choices)
            weights = dual_weights(choices, Progress(0, 1))
            sum(weight * terms[name] for name, weight in weights.items()).backward()

        seconds = _median_seconds(losses, repeats)
        result[preset] = {"loss_seconds": seconds, "share_of_step": seconds / step}
        print(f"{preset:10} losses {seconds:.3f} s of {step:.2f} s a step: {seconds / step:.1%}")
    result["peak_memory_mb"] = peak_memory_mb(device)
    if out:
        write_json(out, result)
        print(f"{out}: written.")
    return result


def _random_batch(experiment: Experiment, samples: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    patch = experiment.train.patch
    image = torch.randn(2 * samples, 1, *patch, generator=generator)
    label = torch.randint(0, 2, (samples, *patch), generator=generator)
    return Batch(image, label, ("random",) * 2 * samples)


def _measure_step(
    experiment: Experiment, batch: Batch, device: torch.device, repeats: int
) -> tuple[float, list[NetworkOutput]]:
    """Median seconds of a whole step with the preset "paper", and outputs of the networks."""
    method = build_method(experiment, dataset_spec(experiment.dataset)).to(device).train()
    [optimizer] = method.optimizers(experiment.train).values()
    now = Progress(0, 1)

    def step() -> None:
        terms = method.loss(batch, now)
        optimizer.zero_grad()
        sum(weight * terms[name] for name, weight in method.weights(now).items()).backward()
        optimizer.step()

    seconds = _median_seconds(step, repeats)
    with torch.no_grad():
        outputs = [NetworkOutput(*(t.clone() for t in out)) for out in method(batch.image)]
    return seconds, outputs


def _median_seconds(run: Callable[[], None], repeats: int) -> float:
    return statistics.median([timed(run) for _ in range(repeats + 1)][1:])


if __name__ == "__main__":
    tyro.cli(main)
