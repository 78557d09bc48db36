"""What memory this process has held, may take, and keeps; apart, as it needs no torch."""

from __future__ import annotations

import ctypes
import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import DualsegError

SHARE = 4  # a part of the machine's memory that one array from a file may take: a fourth

# Of mallopt, from glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4


def process_peak_mb() -> float:
    """Peak resident memory of this process so far, in MB."""
    try:
        import resource
    except ImportError:  # Windows has no such module
        import psutil

        return round(psutil.Process().memory_info().peak_wset / 1e6, 1)
    try:  # on Linux: the number below is never less than the starting process's memory was
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        peak = 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])
    except (OSError, TypeError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, else kB
        peak *= 1 if sys.platform == "darwin" else 1024
    return round(peak / 1e6, 1)


def machine_memory() -> int:
    """Bytes of memory that this machine has."""
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    import psutil

    return psutil.virtual_memory().total


def require_memory(shape: Sequence[int], itemsize: int, place: object) -> None:
    """Raise DualsegError if an array that a file claims to hold is too large for this machine.

    To be asked before anything is allocated: a header of a few bytes can claim any size.
    """
    wanted, limit = math.prod(int(side) for side in shape) * itemsize, machine_memory() / SHARE
    if wanted > limit:
        raise DualsegError(
            f"{place}: expected an array of at most {limit / 1e9:.1f} GB (a fourth of this "
            f"machine's memory), found {' x '.join(map(str, shape))} values, {wanted / 1e9:,.0f} "
            "GB; is its header damaged?"
        )


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Inside, freed memory stays with this process for the next tensor; at the end it goes back.

    By default the C library returns large blocks at once, and the system must clear their pages
    when they are taken anew: hundreds of thousands of page faults in a training step on the CPU.
    For glibc, the C library of most Linux systems; elsewhere nothing changes.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(library, "mallopt"):
        yield
        return
    library.mallopt(M_MMAP_MAX, 0)  # no block is mapped by itself, and returned when freed
    library.mallopt(M_TRIM_THRESHOLD, -1)  # nor is the heap's free end returned
    try:
        yield
    finally:
        # What glibc comes to by itself in a program with large arrays.
        library.mallopt(M_MMAP_MAX, 65536)
        library.mallopt(M_MMAP_THRESHOLD, 32 * 2**20)
        library.mallopt(M_TRIM_THRESHOLD, 64 * 2**20)
        library.malloc_trim(0)
