"""One process at a time in a run's folder.

The lock is the operating system's: it ends with the process that holds it, however that ends, so
nothing has to be cleaned up after a kill. Who holds it is written into a file beside it.
"""

from __future__ import annotations

import errno
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from ..errors import DualsegError
from .files import read_text, write_atomically

LOCK, HOLDER = "run.lock", "run.holder"
_HERE = f" on {socket.gethostname()} since "
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)  # of some network drives

T = TypeVar("T")


class InUse(DualsegError):
    """Another process holds the folder; it may be waited for."""


@dataclass(frozen=True)
class Claim:
    """A folder that this process holds, and as whom."""

    folder: Path
    holder: str

    def check(self) -> None:
        """Raise DualsegError if the folder has been deleted, moved or replaced since."""
        if _holder(self.folder) != self.holder:
            raise DualsegError(
                f"{self.folder}: was deleted, moved or replaced while this process worked in it; "
                "stopped without writing anything there."
            )


@contextmanager
def held(folder: Path) -> Iterator[Claim]:
    """Hold a folder (made if missing) while the context lasts.

    Raises `InUse`, naming process and machine, where another process holds it. A file system
    without locks (some network drives) gives a warning instead.
    """
    lock = _lock(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0.2)  # patient: `is_held` takes it for a moment
    except Timeout as error:
        raise InUse(
            f"{folder}: is in use by {_holder(folder) or 'another process'}; wait for it or stop "
            "it, or work in another folder."
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise DualsegError(
                f"{folder / LOCK}: could not be written ({error.strerror or error}); choose a "
                "folder where you may write (a run can be copied there)."
            ) from error
        warnings.warn(
            f"{folder}: this file system has no locks ({error.strerror or error}); make sure that "
            "no other process uses the folder.",
            stacklevel=3,
        )
    try:
        claim = Claim(folder, f"process {os.getpid()}{_HERE}{datetime.now():%Y-%m-%d %H:%M:%S}")
        write_atomically(folder / HOLDER, lambda file: file.write(claim.holder.encode()))
        yield claim
    finally:
        lock.release()


def when_free(work: Callable[[], T], every: float = 5.0) -> T:
    """What `work` returns, tried again every so many seconds while it raises `InUse`."""
    while True:
        try:
            return work()
        except InUse as error:
            print(f"waiting: {error}", flush=True)
            time.sleep(every)


def is_held(folder: Path) -> bool | None:
    """Whether a process of this machine holds the folder; None where that cannot be told."""
    if _HERE not in _holder(folder):
        return None
    try:
        with _lock(folder).acquire(timeout=0):
            return False
    except OSError as error:
        return True if isinstance(error, Timeout) else None


def _lock(folder: Path) -> FileLock:
    return FileLock(folder / LOCK, preserve_lock_file=True)


def _holder(folder: Path) -> str:
    """Who was the last to hold the folder; empty where nobody has."""
    try:
        return read_text(folder / HOLDER, limit=200)
    except DualsegError:
        return ""
