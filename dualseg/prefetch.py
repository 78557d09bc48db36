"""The next batch is drawn while the networks work on this one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch

from .sampling import Batch, BatchSampler


def prefetched(sampler: BatchSampler, steps: range, device: torch.device) -> Iterator[Batch]:
    """The batches of `steps` in order, on the device; one of them is always under way.

    Drawing is NumPy's work in one thread beside the training's own; on a GPU the copy, too, goes on
    beside the computation. What drawing raises is raised where its batch was due.
    """

    def draw(step: int) -> Batch:
        batch = sampler.batch(step)
        return batch.pin_memory() if device.type == "cuda" else batch

    with ThreadPoolExecutor(1, "batches") as pool:
        under_way = pool.submit(draw, steps[0]) if steps else None
        for step in steps:
            batch = under_way.result()
            if step + 1 in steps:
                under_way = pool.submit(draw, step + 1)
            yield batch.to(device)
