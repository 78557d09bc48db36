"""One process at a time in a folder, by a lock that ends with the process, also if it is killed."""

from __future__ import annotations

import errno
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import DualsegError
from .files import read_text, write_atomically

LOCK, HOLDER = "run.lock", "run.holder"  # the second says who holds the first
_HERE = f" on {socket.gethostname()} since "
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)  # of some network drives


class InUse(DualsegError):
    """Another process holds the folder; it may be waited for."""


@contextmanager
def held(folder: Path) -> Iterator[Callable[[], None]]:
    """Hold a folder (made if missing) within the context; raises `InUse` where another one does.

    Yields a function that raises DualsegError if the folder is no longer the one that was locked.
    """
    lock = FileLock(folder / LOCK, timeout=0.2, preserve_lock_file=True)  # `is_held` is faster
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        by = _holder(folder) or "another process"
        say = f"{folder}: is in use by {by}; wait for it or stop it, or work in another folder."
        raise InUse(say) from error
    except OSError as error:
        what = error.strerror or error
        if error.errno not in _NO_LOCKS:
            say = f"could not be written ({what}); choose a folder where you may write"
            raise DualsegError(f"{folder / LOCK}: {say} (a run can be copied there).") from error
        say = f"this file system has no locks ({what}); use it from one process only."
        warnings.warn(f"{folder}: {say}", stacklevel=3)
    holder = f"process {os.getpid()}{_HERE}{time.strftime('%Y-%m-%d %H:%M:%S')}"

    def check() -> None:
        if _holder(folder) != holder:
            say = "was deleted, moved or replaced while this process worked in it; stopped without"
            raise DualsegError(f"{folder}: {say} writing anything there.")

    try:
        write_atomically(folder / HOLDER, holder.encode())
        yield check
    finally:
        lock.release()


def when_free(work: Callable[[], Any], every: float = 5.0) -> Any:
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
        with FileLock(folder / LOCK, timeout=0, preserve_lock_file=True):
            return False
    except OSError as error:
        return True if isinstance(error, Timeout) else None


def _holder(folder: Path) -> str:
    """Who was the last to hold the folder; empty where nobody has."""
    try:
        return read_text(folder / HOLDER, limit=200)
    except DualsegError:
        return ""
