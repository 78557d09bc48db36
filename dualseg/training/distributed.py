"""Several processes that train one run together, as `torchrun` starts them; alone nothing changes.

Each process ("rank") computes the loss of its share of a batch, and the gradients are averaged over
the ranks. Rank 0 goes first, and writes and speaks for all.
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


class Team:
    """The processes of one training: this one's `rank`, from 0, and how many they are, `size`."""

    def __init__(self, rank: int, size: int):
        self.rank, self.size = rank, size
        self._awaited = size > 1  # by the others: rank 0 has not met them yet

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which writes and speaks."""
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
        """What each rank gave here, by rank."""
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values

    def meet(self) -> None:
        """Wait until all ranks are here. To call once before rank 0 writes anything."""
        if self.leads and self._awaited:
            self._word(None)
        self.gather(None)

    @contextmanager
    def together(self) -> Iterator[None]:
        """A DualsegError of any rank in here ends all ranks, and rank 0 alone raises it."""
        mine = None
        try:
            yield
        except DualsegError as error:
            mine = error
        errors = [error for error in self.gather(mine) if error is not None]
        if errors:
            raise errors[0] if self.leads else SystemExit(1)

    def once(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call the function on rank 0 while the others wait; see `together` for its errors."""
        with self.together():
            if self.leads:
                function(*arguments)

    def loss_of(self, method: Method) -> Callable[[Batch, Progress], dict[str, Tensor]]:
        """`method.loss`, whose gradients become the mean of those of all ranks.

        Batch normalisation then takes the statistics of all ranks' samples on GPUs; on the CPU,
        where torch has no such layer, each rank those of its own, and rank 0's are kept.
        """
        if self.size == 1:
            return method.loss
        if next(method.parameters()).device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(method)  # in place: the parameters stay
        # Said of the 1^3 kernels, where the strides of sides of length 1 mean nothing.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        return DistributedDataParallel(_Loss(method))

    def _word(self, status: int | str | None) -> int | str | None:
        """Rank 0's word to the others, who wait for it: None to follow, else a status to exit."""
        word = [status]
        dist.broadcast_object_list(word, src=0)
        self._awaited = False
        return word[0]


class _Loss(nn.Module):
    """A method's loss as a forward pass, which is what DistributedDataParallel watches."""

    def __init__(self, method: Method):
        super().__init__()
        self.method = method

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        return self.method.loss(batch, progress)


_team: Team | None = None


@contextmanager
def joined() -> Iterator[Team]:
    """The processes that `torchrun` started, connected until the outermost such context ends.

    Rank 0 goes first: on entering the others wait for its `meet`, and exit as it does if it never
    comes there. So a wrong argument is said once, and a cache is filled by one process. The others'
    standard output is dropped.
    """
    global _team
    if not dist.is_torchelastic_launched() or os.environ["WORLD_SIZE"] == "1":
        yield Team(0, 1)
        return
    outermost = _team is None
    team = _team = _team or _connect()
    status: int | str | None = 1
    try:
        if team.leads:
            yield team
        else:
            if outermost and (word := team._word(None)) is not None:
                raise SystemExit(word)
            with redirect_stdout(None):
                yield team
        status = 0
    except SystemExit as end:
        status = end.code or 0
        raise
    except KeyboardInterrupt:
        if team.leads:
            raise
        raise SystemExit(130) from None
    except RuntimeError as error:
        if "gloo" not in str(error):
            raise
        if not team.leads:
            raise SystemExit(1) from None
        raise DualsegError(
            f"processes: one of the {team.size} ended before the training did (why stands above, "
            "or in torchrun's report below); the last checkpoint is unchanged, go on with --resume."
        ) from error
    finally:
        if outermost:
            if team.leads and team._awaited:
                with suppress(RuntimeError):  # nobody is left to hear it
                    team._word(status)
            dist.destroy_process_group()
            _team = None


def _connect() -> Team:
    gpus, local = torch.cuda.device_count(), int(os.environ["LOCAL_RANK"])
    if gpus and local >= gpus:
        raise DualsegError(
            f"processes: expected at most one for each of the {gpus} GPUs, found more; lower "
            '--nproc-per-node, or hide the GPUs with CUDA_VISIBLE_DEVICES="".'
        )
    if gpus:
        torch.cuda.set_device(local)
    end_with_parent()  # torchrun does not survive SIGUSR1, and hands on neither that nor SIGKILL
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo")
    return Team(dist.get_rank(), dist.get_world_size())
