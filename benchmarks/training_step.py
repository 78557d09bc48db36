"""How long does a training step take, how long as the field's programs write it, and at best?

`python -m benchmarks.training_step` times a whole step (both networks forward, losses of the preset
"paper", backward, SGD): plainly (float32, contiguous memory, each loss by itself, percentiles by
NumPy on the host; see `plain`) and as `dualseg train` does it, from the same weights, on the same
random batch. "roof" is the time that its multiply-accumulates would take at the rate of a large
float32 matrix product on the same threads: no float32 step without tricks can be faster. On a CPU
it also tells which part of our step passes in the convolutions of the library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import tyro
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from dualseg._util.environment import pick_device
from dualseg._util.memory import freed_memory_kept
from dualseg.config.experiment import Experiment
from dualseg.config.training import Progress
from dualseg.data.batches import Batch
from dualseg.data.known import dataset_spec
from dualseg.methods import Method, build_method
from dualseg.networks import ResNet34, VNet
from dualseg.paper.complexity import count_macs

from . import plain
from .ratio import compare_apart, timed

SIZES = {
    "full": {"profile": "full", "patch": (64, 64, 48), "stride": (16, 16, 16)},
    "lesson": {"profile": "lesson"},
    "paper": {"profile": "full"},  # its own patch: for a GPU
}
NOW = Progress(1, 2)


def main(sizes: str = "lesson", repeats: int = 5) -> dict[str, Any]:
    """Print the ratio, the roof and the memory of a step.

    Args:
        sizes: "full" (the paper's networks, patch 64 x 64 x 48), "lesson", or "paper" (with the
            paper's patch, for a GPU).
        repeats: Timed steps of each; the median counts.
    """
    experiment = _experiment(sizes)
    config, device = experiment.train, pick_device()
    rate = matmul_rate(device)  # and again below: the machine's best counts
    result, loss_plain, loss_ours = compare_apart(plain_steps, our_steps, sizes, repeats)
    gigamacs = step_macs(experiment) / 1e9
    rate = max(rate, matmul_rate(device))
    result |= {
        "patch": list(config.patch),
        "filters": config.filters,
        "batch": config.labeled_batch + config.unlabeled_batch,
        "precision": _built(experiment).precision_on(device.type),
        "loss_relative_difference": abs(loss_plain - loss_ours) / abs(loss_plain),
        "gigamacs": gigamacs,
        "matmul_gigamacs_per_second": rate,
        "roof_seconds": gigamacs / rate,
        "of_roof": gigamacs / rate / result["seconds"],
        "highest_possible_ratio": result["plain_seconds"] / (gigamacs / rate),
    }
    if device.type == "cpu":  # on a GPU the profiler's times are of launching kernels
        result["share_of_convolutions"] = share_of_convolutions(sizes)
    print(
        f"training step, {sizes} (patch {config.patch}, {config.filters} "
        f"filters, batch {result['batch']}): plain {result['plain_seconds']:.2f} s, ours "
        f"{result['seconds']:.2f} s, ratio {result['ratio']:.2f}; at the roof "
        f"{result['roof_seconds']:.2f} s, so at most {result['highest_possible_ratio']:.2f}; peak "
        f"memory {result['plain_peak_memory_mb']:.0f} and {result['peak_memory_mb']:.0f} MB"
    )
    return result


def _experiment(sizes: str) -> Experiment:
    return Experiment("la", **SIZES[sizes])


def _built(experiment: Experiment) -> Method:
    return build_method(experiment, dataset_spec(experiment.dataset)).train()


def random_batch(experiment: Experiment) -> Batch:
    """Noise: the time of a step does not depend on what is in the volumes."""
    config = experiment.train
    generator = torch.Generator().manual_seed(0)
    count = config.labeled_batch + config.unlabeled_batch
    image = torch.randn(count, 1, *config.patch, generator=generator)
    label = torch.randint(0, 2, (config.labeled_batch, *config.patch), generator=generator)
    return Batch(image, label, ("random",) * count)


@contextmanager
def plain_steps(sizes: str) -> Iterator[Callable[[], float]]:
    """The field's side: a function that takes a step and returns the loss before it."""
    experiment, device = _experiment(sizes), pick_device()
    method = _built(experiment).to(device, memory_format=torch.contiguous_format)
    networks, batch = list(method.children()), random_batch(experiment).to(device)
    yield lambda: float(plain_step(networks, experiment, batch))


@contextmanager
def our_steps(sizes: str) -> Iterator[Callable[[], float]]:
    """Our side of the same; memory is kept from step to step, as in `dualseg.training.loop`."""
    experiment, device = _experiment(sizes), pick_device()
    method, batch = _built(experiment).to(device), random_batch(experiment).to(device)
    with freed_memory_kept():
        yield lambda: float(our_step(method, experiment, batch))


def plain_step(networks: list[nn.Module], experiment: Experiment, batch: Batch) -> Tensor:
    """One step as the field's programs take it; returns the loss before it."""
    torch.manual_seed(0)
    parameters = [p for net in networks for p in net.parameters()]
    config = experiment.train
    optimizer = torch.optim.SGD(
        parameters, config.learning_rate, config.momentum, weight_decay=config.weight_decay
    )
    loss = plain.total_loss(networks, batch, experiment.settings, NOW.fraction)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def our_step(method: Method, experiment: Experiment, batch: Batch) -> Tensor:
    """One step as the training loop takes it; returns the loss before it."""
    torch.manual_seed(0)
    [optimizer] = method.optimizers(experiment.train).values()
    terms = method.loss(batch, NOW)
    loss = sum(weight * terms[name] for name, weight in method.weights(NOW).items())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def step_macs(experiment: Experiment) -> int:
    """Multiply-accumulates of a step: forward, and twice that backward.

    Only what the convolutions need; the first one of each network needs no gradient of its input.
    """
    config = experiment.train
    total = 0
    with torch.device("meta"):
        for build in (ResNet34, VNet):
            network = build(filters=config.filters)
            first = next(m for m in network.modules() if isinstance(m, nn.Conv3d))
            voxels = torch.Size(config.patch).numel()
            total += 3 * count_macs(network, config.patch) - voxels * first.weight.numel()
    return total * (config.labeled_batch + config.unlabeled_batch)


def share_of_convolutions(sizes: str) -> float:
    """The part of our step that passes in convolutions, forward and both gradients: the library's.

    By its profiler, which sees each operation's own time on the CPU.
    """
    with our_steps(sizes) as step:
        step()
        with profile(activities=[ProfilerActivity.CPU]) as found:
            step()
    times = {event.key: event.self_cpu_time_total for event in found.key_averages()}
    inside = sum(time for name, time in times.items() if "convolution" in name.lower())
    return inside / sum(times.values())


def matmul_rate(device: torch.device, side: int = 2048) -> float:
    """Giga multiply-accumulates a second of a float32 matrix product, the best of ten."""
    a = torch.randn(side, side, device=device)
    return side**3 / 1e9 / min(timed(lambda: a @ a) for _ in range(10))


if __name__ == "__main__":
    tyro.cli(main)
