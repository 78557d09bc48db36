"""Two processes that train together on the CPU (gloo), as torchrun starts them."""

from __future__ import annotations

import os
import socket

import torch

RANKS = 2


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def become(rank: int, port: int, threads: int = 1) -> None:
    """Set what torchrun tells each of its processes."""
    torch.set_num_threads(threads)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(RANKS)}
    os.environ |= {"TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1"}
    os.environ["MASTER_PORT"] = str(port)


def exit_codes(context, target, *arguments) -> list[int | None]:
    """Call `target(rank, *arguments)` in each of the processes, and wait until they end."""
    ranks = [context.Process(target=target, args=(rank, *arguments)) for rank in range(RANKS)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(timeout=300)
        process.kill()
    return [process.exitcode for process in ranks]
