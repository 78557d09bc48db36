"""What this machine offers: device, versions, peak memory; and whether it is enough."""

from __future__ import annotations

import os
import platform
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

import torch

from .files import cache_folder
from .memory import process_peak_mb


def pick_device() -> torch.device:
    """The CUDA device where there is one (hide it with CUDA_VISIBLE_DEVICES=""), else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def ready_device() -> torch.device:
    """Prepare the device of `pick_device` for long work on volumes of one shape.

    Peak memory counts from here.
    """
    device = pick_device()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        torch.backends.cudnn.benchmark = True  # the first volume tries which convolution is fastest
    return device


@contextmanager
def torch_state_restored() -> Iterator[None]:
    """At the end, torch's random state, its choice of convolutions and warnings are as before."""
    benchmark = torch.backends.cudnn.benchmark
    gpus = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with warnings.catch_warnings(), torch.random.fork_rng(gpus):
        try:
            yield
        finally:
            torch.backends.cudnn.benchmark = benchmark


def describe_device(device: torch.device) -> str:
    """The device in words, for records."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    if sys.platform == "linux":
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            ]
        name = names[0] if names else name
    return f"{name}, {torch.get_num_threads()} threads"


def versions() -> dict[str, str]:
    """Versions that decide a result, for records."""
    from .. import __version__

    return {
        "dualseg": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": metadata.version("numpy"),
        "system": platform.system(),
    }


def peak_memory_mb(device: torch.device) -> float:
    """Most memory in use so far, in MB: of the GPU (torch's own), else of this process."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e6, 1)
    return process_peak_mb()


def check_environment() -> tuple[list[tuple[str, str, str]], bool]:
    """Rows of (what, verdict, detail), and whether everything needed is there and new enough."""
    rows = [_version_row("python", platform.python_version(), "3.11")]
    try:
        requirements = metadata.requires("dualseg") or ()
    except metadata.PackageNotFoundError:  # run from a clone
        requirements = ()
        rows.append(("dualseg", "MISSING", "not installed"))
    for requirement in requirements:
        match = re.match(r"([\w-]+)>=([\d.]+)$", requirement)
        if match:  # others are extras, or for other systems
            try:
                rows.append(_version_row(match[1], metadata.version(match[1]), match[2]))
            except metadata.PackageNotFoundError:
                rows.append((match[1], "MISSING", f"{match[2]} or newer is needed"))
    device = pick_device()
    cores = os.cpu_count() or 1
    memory = "" if device.type == "cpu" else f", {torch.cuda.mem_get_info()[1] / 1e9:.0f} GB"
    rows += [
        ("device", "ok", describe_device(device) + memory),
        ("cores", "ok", f"{cores} (stated times are for 2)"),
        ("cache", "ok", f"{cache_folder()} (prepared volumes; may be deleted any time)"),
    ]
    return rows, all(verdict == "ok" for _, verdict, _ in rows)


def _version_row(name: str, found: str, least: str) -> tuple[str, str, str]:
    """(name, "ok" or "TOO OLD", detail) of a version that is to be `least` or newer."""
    have, want = ([int(n) for n in re.findall(r"\d+", v.split("+")[0])] for v in (found, least))
    return (name, "ok", found) if have >= want else (name, "TOO OLD", f"{found}, needs {least}")
