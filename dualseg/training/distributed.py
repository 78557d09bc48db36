"""Several processes that train one run together, as `torchrun` starts them; alone nothing changes.

Each process ("rank") computes the loss of its share of a batch, and the gradients are averaged over
the ranks. Rank 0 is the main one: it starts first, and it alone writes files and shows messages.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .._util.signals import end_with_parent
from ..config.training import Progress
from ..data.batches import Batch
from ..errors import DualsegError
from ..methods import Method

T = TypeVar("T")


class Ranks:
    """The processes of one training: this one's `rank`, from 0, and their number, `size`."""

    def __init__(self, rank: int, size: int):
        self.rank, self.size = rank, size
        self.start_pending = size > 1  # rank 0 has not yet told the others to start

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which writes files and shows messages."""
        return self.rank == 0

    def share(self, name: str, whole: int) -> int:
        """A rank's part of the batch size `name`; raises DualsegError where it is no whole one."""
        if whole % self.size:
            raise DualsegError(
                f"{name}: expected a multiple of {self.size}, the number of processes, which take "
                f"equal shares of a step, found {whole}; choose another --{name.replace('_', '-')} "
                "or another --nproc-per-node."
            )
        return whole // self.size

    def gather(self, value: T) -> list[T]:
        """Collect the value that each rank passes, by rank."""
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        """Wait until all ranks are here. Rank 0 writes nothing before its first barrier."""
        if self.is_main and self.start_pending:
            self.broadcast_start(None)
        self.gather(None)

    def broadcast_start(self, status: int | str | None) -> int | str | None:
        """Send rank 0's status to the others: None tells them to start, another one to exit."""
        statuses = [status]
        dist.broadcast_object_list(statuses, src=0)
        self.start_pending = False
        return statuses[0]

    @contextmanager
    def errors_shared(self) -> Iterator[None]:
        """Within it, a DualsegError of any rank ends all ranks, and rank 0 alone raises it."""
        own = None
        try:
            yield
        except DualsegError as error:
            own = error
        errors = [error for error in self.gather(own) if error is not None]
        if errors:
            raise errors[0] if self.is_main else SystemExit(1)

    def on_main(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call the function on rank 0 while the others wait; its errors are shared."""
        with self.errors_shared():
            if self.is_main:
                function(*arguments)

    def loss_of(self, method: Method) -> Callable[[Batch, Progress], dict[str, Tensor]]:
        """`method.loss`, whose gradients become the mean of those of all ranks.

        On GPUs, batch normalization then takes the statistics over the samples of all ranks. Torch
        has no such layer for the CPU: there each rank takes its own, and those of rank 0 are kept.
        """
        if self.size == 1:
            return method.loss
        if next(method.parameters()).device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(method)  # in place: the parameters stay
        # Torch warns of kernels of size 1, where a stride over a side of length 1 has no meaning.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        return DistributedDataParallel(_Loss(method))


class _Loss(nn.Module):
    """A method's loss as a forward pass, which is what DistributedDataParallel watches."""

    def __init__(self, method: Method):
        super().__init__()
        self.method = method

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        return self.method.loss(batch, progress)


_connected: Ranks | None = None


@contextmanager
def joined() -> Iterator[Ranks]:
    """Connect the processes that `torchrun` started, until the outermost such context ends.

    Rank 0 starts first. On entering, the others wait for its first `barrier`; if it ends before,
    they exit with its status. So a wrong argument is reported once, and one process fills the
    cache. What the other ranks print is dropped.
    """
    global _connected
    if not dist.is_torchelastic_launched() or os.environ["WORLD_SIZE"] == "1":
        yield Ranks(0, 1)
        return
    outermost = _connected is None
    ranks = _connected = _connected or _connect()
    status: int | str | None = 1
    try:
        if ranks.is_main:
            yield ranks
        else:
            if outermost and (told := ranks.broadcast_start(None)) is not None:
                raise SystemExit(told)
            with redirect_stdout(None):
                yield ranks
        status = 0
    except SystemExit as end:
        status = end.code or 0
        raise
    except KeyboardInterrupt:
        if ranks.is_main:
            raise
        raise SystemExit(130) from None
    except RuntimeError as error:
        if "gloo" not in str(error):
            raise
        if not ranks.is_main:
            raise SystemExit(1) from None
        raise DualsegError(
            f"processes: one of the {ranks.size} ended before the training did (its message is "
            "above, or in torchrun's report below); the last checkpoint is unchanged, go on with "
            "--resume."
        ) from error
    finally:
        if outermost:
            if ranks.is_main and ranks.start_pending:
                with suppress(RuntimeError):  # the others may have ended
                    ranks.broadcast_start(status)
            dist.destroy_process_group()
            _connected = None


def _connect() -> Ranks:
    gpus, local = torch.cuda.device_count(), int(os.environ["LOCAL_RANK"])
    if gpus and local >= gpus:
        raise DualsegError(
            f"processes: expected at most one for each of the {gpus} GPUs, found more; lower "
            '--nproc-per-node, or hide the GPUs with CUDA_VISIBLE_DEVICES="".'
        )
    if gpus:
        torch.cuda.set_device(local)
    end_with_parent()  # torchrun does not survive SIGUSR1, and passes on neither it nor SIGKILL
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo")
    return Ranks(dist.get_rank(), dist.get_world_size())
