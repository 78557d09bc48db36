"""What this machine offers: the device, versions, memory, and whether that is enough."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from importlib import metadata

import torch

from .datasets import cache_folder

PACKAGES = {  # import name -> what fails without it
    "torch": "everything",
    "numpy": "everything",
    "h5py": "reading the LA files",
    "safetensors": "checkpoints",
    "medpy": "`dualseg evaluate`",
    "nibabel": "`dualseg predict`",
    "matplotlib": "pictures",
    "skimage": "pictures of surfaces",
}


def pick_device() -> torch.device:
    """The CUDA device where there is one (hide it with CUDA_VISIBLE_DEVICES=""), else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def describe_device(device: torch.device) -> str:
    """The device in words, for records."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    if sys.platform == "linux":
        with open("/proc/cpuinfo") as file:
            names = [
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            ]
        name = names[0] if names else name
    return f"{name}, {torch.get_num_threads()} threads"


def versions() -> dict[str, str]:
    """Versions that decide a result, for records."""
    from . import __version__

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
    try:
        import resource
    except ImportError:  # Windows has no such module
        import psutil

        return round(psutil.Process().memory_info().peak_wset / 1e6, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)  # bytes there, kB on Linux


def report() -> tuple[list[tuple[str, str, str]], bool]:
    """Rows of (what, verdict, detail), and whether everything needed is there."""
    rows = [
        _check("python", sys.version_info >= (3, 11), platform.python_version(), "3.11 or newer")
    ]
    for name, needed_for in PACKAGES.items():
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            rows.append((name, "MISSING", f"needed for {needed_for}: {error}"))
            continue
        version = str(getattr(module, "__version__", "installed"))
        if name == "torch":
            enough = tuple(int(p) for p in version.split("+")[0].split(".")[:2]) >= (2, 11)
            rows.append(_check(name, enough, version, "2.11 or newer"))
        else:
            rows.append((name, "ok", version))
    device = pick_device()
    rows.append(("device", "ok", describe_device(device)))
    cores = os.cpu_count() or 1
    note = (
        ""
        if cores >= 2 or device.type == "cuda"
        else " (trainings will take twice the stated time)"
    )
    rows.append(("cores", "ok", f"{cores}{note}"))
    rows.append(("cache", "ok", f"{cache_folder()} (prepared volumes; may be deleted any time)"))
    return rows, all(verdict == "ok" for _, verdict, _ in rows)


def _check(name: str, good: bool, found: str, expected: str) -> tuple[str, str, str]:
    return (name, "ok", found) if good else (name, "TOO OLD", f"{found}, expected {expected}")
