"""The terms of a step on their way from the device to the log."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import DualsegError
from .distributed import Ranks


@dataclass(frozen=True)
class StepTerms:
    """The terms of a step, to be read after the next step was started, so that no GPU waits."""

    step: int
    learning_rate: float
    weights: dict[str, float]
    names: tuple[str, ...]
    values: Tensor
    """On the host, valid after the event `copied`."""
    copied: torch.cuda.Event | None
    """None where the values were on the host already."""
    ids: tuple[str, ...]
    """Cases of the batch."""
    seconds: float
    """Of training until this step."""

    def log_line(self, ranks: Ranks) -> dict[str, float | None]:
        """Means over the ranks; raises DualsegError where a term of the loss is not finite."""
        if self.copied is not None:
            self.copied.synchronize()
        values, ids = zip(*ranks.gather((self.values.tolist(), self.ids)), strict=True)
        means: dict[str, float] = {}
        for name, *found in zip(self.names, *values, strict=True):
            finite = [value for value in found if math.isfinite(value)]
            if name in self.weights and len(finite) < len(found):
                rank = next(rank for rank, value in enumerate(found) if not math.isfinite(value))
                raise DualsegError(
                    f"step {self.step}: the loss term {name!r} is {found[rank]} for the cases "
                    f"{', '.join(ids[rank])}; look at these volumes, or lower --learning-rate. The "
                    "last checkpoint is from before this step."
                )
            if finite:
                means[name] = sum(finite) / len(finite)
        total = sum(weight * means[name] for name, weight in self.weights.items())
        line = {"step": self.step, "seconds": round(self.seconds, 3)}
        line |= {"learning_rate": self.learning_rate, "loss": total}
        # None: a measurement without anything to measure; JSON has no NaN.
        return {**line, **{name: means.get(name) for name in self.names}}


def sent_to_host(terms: list[Tensor]) -> tuple[Tensor, torch.cuda.Event | None]:
    """A copy on the host, and the event after which it holds the values; nothing waits here."""
    values = torch.stack([term.detach() for term in terms])
    host = torch.empty_like(values, device="cpu", pin_memory=values.is_cuda)
    host.copy_(values, non_blocking=True)
    return host, torch.cuda.current_stream().record_event() if values.is_cuda else None
