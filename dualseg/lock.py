"""One process at a time in a run's folder.

The lock is the operating system's, on an open file: it ends with the process that holds it, however
that ends, so nothing is left to be cleaned up after a kill.
"""

from __future__ import annotations

import errno
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from .errors import DualsegError

NAME = "run.lock"
_HERE = f" on {socket.gethostname()}"
_HELD = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_FAR = 2**30  # Windows keeps others from reading a locked byte, so lock one behind the text


class InUse(DualsegError):
    """Another process holds the folder; it may be waited for."""


@dataclass(frozen=True)
class Claim:
    """A folder that this process holds."""

    folder: Path
    file: BinaryIO

    def check(self) -> None:
        """Raise DualsegError if the folder has been deleted, moved or replaced since."""
        try:
            if os.path.samestat(os.fstat(self.file.fileno()), (self.folder / NAME).stat()):
                return
        except OSError:
            pass
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
    path = folder / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b", buffering=0)
    except OSError as error:
        raise DualsegError(
            f"{path}: could not be written ({error.strerror or error}); choose a folder where "
            "you may write (a run can be copied there)."
        ) from error
    with file:
        try:
            _lock(file, patience=0.2)
        except OSError as error:
            if error.errno in _HELD:
                file.seek(0)
                holder = file.read(200).decode("utf-8", "replace") or "another process"
                raise InUse(
                    f"{folder}: is in use by {holder}; wait for it or stop it, or work in "
                    "another folder."
                ) from error
            warnings.warn(
                f"{folder}: this file system has no locks ({error.strerror or error}); make sure "
                "that no other process uses the folder.",
                stacklevel=3,
            )
        with suppress(OSError):  # a full disk: the lock holds without the name
            file.truncate(0)
            file.write(f"process {os.getpid()}{_HERE}".encode())
        yield Claim(folder, file)


T = TypeVar("T")


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
    try:
        with (folder / NAME).open("rb") as file:
            if not file.read(200).decode("utf-8", "replace").endswith(_HERE):
                return None
            _lock(file)  # for a moment; `held` is patient
    except OSError as error:
        return True if error.errno in _HELD else None
    return False


def _lock(file: BinaryIO, patience: float = 0.0) -> None:
    """Lock an open file or, after `patience` seconds, raise OSError.

    Closing the file or the process's end unlocks.
    """
    until = time.monotonic() + patience
    while True:
        try:
            return _try_to_lock(file)
        except OSError as error:
            if error.errno not in _HELD or time.monotonic() >= until:
                raise
        time.sleep(0.02)


def _try_to_lock(file: BinaryIO) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        file.seek(_FAR)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        return
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
