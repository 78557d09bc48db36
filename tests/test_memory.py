"""What the package asks of the C library; in a process of its own, as it is for the whole of it."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import numpy as np
from dualseg._util.memory import freed_memory_kept

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 1e6

def cleared():  # page faults of ten arrays of 100 MB, one after the other
    before = faults()
    for _ in range(10):
        np.full(100_000_000, 1, np.uint8)
    return faults() - before

before = resident_mb()
print(cleared())
with freed_memory_kept():
    cleared()
    print(cleared())
    print(resident_mb() - before)
print(resident_mb() - before)
print(cleared())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs Linux with glibc")
def test_freed_memory_is_kept_inside_and_given_back_at_the_end():
    command = [sys.executable, "-c", PROGRAM]
    found = subprocess.run(command, capture_output=True, check=True, encoding="utf-8").stdout
    by_default, inside, kept_mb, left_mb, afterwards = map(float, found.split())
    assert by_default > 400  # 4 kB or, with huge pages, 2 MB a fault
    assert inside < by_default / 100
    assert kept_mb > 90
    assert left_mb < 10
    assert afterwards > by_default / 2
