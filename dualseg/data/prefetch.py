"""Making the next batch, or reading the next case, while this one is used."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from .batches import Batch, BatchSampler

Item = TypeVar("Item")
Result = TypeVar("Result")


def one_ahead(
    function: Callable[[Item], Result], items: Iterable[Item]
) -> Generator[Result, None, None]:
    """The function's result for each item, in order; a thread computes the next one meanwhile.

    What the function raises is raised when its result is asked for.
    """
    with ThreadPoolExecutor(1, "one ahead") as pool:
        due: Future[Result] | None = None
        for item in items:
            following = pool.submit(function, item)
            if due is not None:
                yield due.result()
            due = following
        if due is not None:
            yield due.result()


def prefetched(sampler: BatchSampler, steps: range, device: torch.device) -> Iterator[Batch]:
    """The batches of `steps` in order, on the device; the next one is always being made.

    A batch is drawn by NumPy in a thread of its own. For a GPU that thread also copies it, from
    page-locked memory and on a stream of its own, so that copying goes on beside the computation.
    """
    if device.type != "cuda":
        for batch in one_ahead(sampler.batch, steps):
            yield batch.to(device)
        return
    copying = torch.cuda.Stream(device)

    def copied(step: int) -> tuple[Batch, torch.cuda.Event]:
        pinned = sampler.batch(step).pin_memory()
        with torch.cuda.stream(copying):
            return pinned.to(device), copying.record_event()

    for batch, arrived in one_ahead(copied, steps):
        computing = torch.cuda.current_stream(device)
        computing.wait_event(arrived)  # the GPU waits, this process does not
        for tensor in (batch.image, batch.label):
            tensor.record_stream(computing)  # its memory is not taken again before it was used
        yield batch
