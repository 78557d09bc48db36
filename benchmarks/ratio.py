"""Time two ways of doing the same, in turn, in one run."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from dualseg.environment import peak_memory_mb, pick_device


def compare(plain: Callable[[], Any], ours: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Median seconds of both and their ratio; the two take turns, after one turn to warm up."""
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    for turn in range(repeats + 1):
        for name, run in (("plain", plain), ("ours", ours)):
            seconds = timed(run)
            if turn:
                times[name].append(seconds)
    medians = {name: statistics.median(found) for name, found in times.items()}
    return {
        "ratio": medians["plain"] / medians["ours"],
        "plain_seconds": medians["plain"],
        "seconds": medians["ours"],
        "repeats": repeats,
    }


def timed(run: Callable[[], Any]) -> float:
    """Seconds of one call; on a GPU until it has done what it was asked to."""
    started = time.perf_counter()
    run()
    if pick_device().type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def peak_of(function: Callable[..., Any], *arguments: Any) -> float:
    """Most memory in MB that a process needs which does nothing but call the function."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (function, arguments, torch.get_num_threads()))


def _peak(function: Callable[..., Any], arguments: tuple, threads: int) -> float:
    torch.set_num_threads(threads)
    function(*arguments)
    return peak_memory_mb(pick_device())
