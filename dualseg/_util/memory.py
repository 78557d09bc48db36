"""Memory of this process and this machine, without torch; and fewer page faults on the CPU."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import DualsegError

SHARE = 4  # an array from a file may take a fourth of the machine's memory

# Parameters of mallopt, from glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4


def process_peak_mb() -> float:
    """Peak resident memory of this process so far, in MB."""
    if sys.platform == "win32":
        import psutil

        return round(psutil.Process().memory_info().peak_wset / 1e6, 1)
    if sys.platform == "linux":  # getrusage would also count what the parent had before exec
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        kb = next((line.split()[1] for line in status.splitlines() if "VmHWM" in line), None)
        if kb:
            return round(int(kb) * 1024 / 1e6, 1)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)


def machine_memory() -> int:
    """Bytes of memory that this machine has."""
    if sys.platform == "win32":
        import psutil

        return psutil.virtual_memory().total
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


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
    """Within the context, malloc keeps freed memory for the next tensor (glibc only).

    By default glibc returns large blocks to the system at once, which must clear their pages when
    they are taken anew: hundreds of thousands of page faults in a training step on the CPU. With
    networks of full size this saves about 12 % of a step's CPU time, with small ones nothing.

    At the end the freed memory goes back, and the thresholds are set to what glibc itself would
    have reached in a program with large arrays. It has no way to ask what they were.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        yield
        return
    mallopt(M_MMAP_MAX, 0)  # no block is mapped by itself, and returned when freed
    mallopt(M_TRIM_THRESHOLD, -1)  # nor is the heap's free end returned
    try:
        yield
    finally:
        mallopt(M_MMAP_MAX, 65536)
        mallopt(M_MMAP_THRESHOLD, 32 * 2**20)
        mallopt(M_TRIM_THRESHOLD, 64 * 2**20)
        ctypes.CDLL(None).malloc_trim(0)
