"""Time two ways of doing the same, in turn, in one run."""

from __future__ import annotations

import contextlib
import multiprocessing
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from typing import Any

import torch

from dualseg._util.environment import peak_memory_mb, pick_device

Side = Callable[[Any], AbstractContextManager[Callable[[], Any]]]


def compare(plain: Callable[[], Any], ours: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Median seconds of both and their ratio; the two take turns, after one turn to warm up."""
    sides = {"plain": plain, "ours": ours}
    return _medians(lambda name: timed(sides[name]), repeats)


def compare_apart(
    plain: Side, ours: Side, argument: Any, repeats: int
) -> tuple[dict[str, float], Any, Any]:
    """As `compare`, each side in a process of its own; also what the first call of each returned.

    So neither finds the other's settings (of the memory allocator, say), and the result tells how
    much memory each process has needed at most. `with side(argument) as run`, calls of `run` are
    timed; `side` must be known by its name to another process.
    """
    with _Process(plain, argument) as first, _Process(ours, argument) as second:
        sides = {"plain": first, "ours": second}
        result = _medians(lambda name: sides[name].turn(), repeats)
        result["plain_peak_memory_mb"] = first.peak_memory_mb
        result["peak_memory_mb"] = second.peak_memory_mb
        return result, first.value, second.value


def _medians(turn: Callable[[str], float], repeats: int) -> dict[str, float]:
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    for number in range(repeats + 1):
        for name, found in times.items():
            seconds = turn(name)
            if number:
                found.append(seconds)
    medians = {name: statistics.median(found) for name, found in times.items()}
    return {
        "ratio": medians["plain"] / medians["ours"],
        "plain_seconds": medians["plain"],
        "seconds": medians["ours"],
        "repeats": repeats,
    }


class _Process:
    """A side that waits for its turns."""

    def __init__(self, side: Side, argument: Any):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        words = (theirs, side, argument, torch.get_num_threads())
        self.process = context.Process(target=_serve, args=words, daemon=True)
        self.process.start()
        theirs.close()

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.pipe.close()
        self.process.join()

    def turn(self) -> float:
        """Seconds; raises EOFError if the process has failed (its own words are on stderr)."""
        self.pipe.send("run")
        seconds, self.value, self.peak_memory_mb = self.pipe.recv()
        return seconds


def _serve(pipe: Connection, side: Side, argument: Any, threads: int) -> None:
    torch.set_num_threads(threads)
    values: list[Any] = []
    with side(argument) as run, contextlib.suppress(EOFError):  # EOF: no more turns
        while pipe.recv():
            seconds = timed(lambda: values.append(run()))
            pipe.send((seconds, values[0], peak_memory_mb(pick_device())))


def timed(run: Callable[[], Any]) -> float:
    """Seconds of one call; on a GPU until it has done what it was asked to."""
    started = time.perf_counter()
    run()
    if pick_device().type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started
