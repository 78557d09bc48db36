"""Writing files so that a crash, a kill or a full disk never leaves half of one."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from .errors import DualsegError


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call `write` on a temporary file in the same folder, then put it in `path`'s place.

    Raises DualsegError if that fails (a full disk, no permission); what stood at `path` before is
    then still there, unchanged.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files that only their owner reads
        os.replace(temporary, path)
    except BaseException as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise DualsegError(
            f"{path}: could not be written ({error.strerror or error}); what stood there before is "
            "unchanged. Free some space or choose another folder."
        ) from error


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write atomically, indented, strictly JSON (no NaN)."""
    text = json.dumps(values, indent=1, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def remove_scraps(path: Path) -> None:
    """Remove what processes that were killed while writing `path` left beside it."""
    for scrap in path.parent.glob(f".{path.name}.*"):
        scrap.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
