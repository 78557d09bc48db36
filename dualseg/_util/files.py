"""Writing files so that a crash, a kill or a full disk never leaves half of one; reading safely."""

from __future__ import annotations

import codecs
import json
import os
import secrets
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import platformdirs

from ..errors import DualsegError, brief

MAX_TEXT = 32 * 2**20  # bytes; parsed they take up to thirty times as much
_NEVER_IN_NAMES = set('/\\:*?"<>| ')
_TEMPORARY = ".tmp"
DAY = 24 * 3600.0  # seconds


def write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary file in the same folder, then put it in `path`'s place.

    Raises DualsegError if that fails (a full disk, no permission); what stood at `path` before is
    then still there, unchanged.
    """
    temporary = path.parent / f".{path.name}.{secrets.token_hex(8)}{_TEMPORARY}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not by `tempfile`, whose files only their owner may read: others may read the results.
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):  # there may be no such folder
            temporary.unlink()
        if not isinstance(error, OSError):
            raise
        raise DualsegError(
            f"{path}: could not be written ({error.strerror or error}); what stood there before is "
            "unchanged. Free some space or choose another folder."
        ) from error


def _replace(source: Path, target: Path) -> None:
    """As `os.replace`; Windows refuses it while a reader or a virus scanner has the target open."""
    for pause in (0.01, 0.1, 0.3, 1.0) if sys.platform == "win32" else ():
        with suppress(PermissionError):
            return os.replace(source, target)
        time.sleep(pause)
    os.replace(source, target)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write atomically, indented, strictly JSON (no NaN)."""
    text = json.dumps(values, indent=1, allow_nan=False) + "\n"
    write_atomically(path, text.encode())


def remove_temporary_files(folder: Path, older_than: float = 0.0) -> None:
    """Remove what processes that were killed while writing left in a folder and those below it.

    `older_than`, in seconds, spares what another process may just be writing.
    """
    for path in folder.rglob(f".*{_TEMPORARY}"):
        try:
            if time.time() - path.stat().st_mtime >= older_than:
                path.unlink()
        except OSError:  # gone already, or somebody else's
            continue


def read_text(path: Path, limit: int = MAX_TEXT) -> str:
    """A text file's contents; raises DualsegError if it is missing, no text, or too large."""
    try:
        if path.stat().st_size > limit:
            raise DualsegError(
                f"{path}: expected at most {limit / 1e6:.0f} MB, found "
                f"{path.stat().st_size / 1e6:.0f}; is it the right file?"
            )
        return _decoded(path.read_bytes())
    except FileNotFoundError as error:
        raise DualsegError(f"{path}: no such file.") from error
    except (OSError, ValueError) as error:
        raise DualsegError(
            f"{path}: expected a readable text file, found something else ({error})."
        ) from error


def _decoded(content: bytes) -> str:
    """Text in UTF-8, or in what its byte order mark says (PowerShell 5 writes UTF-16)."""
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if utf16 else "utf-8-sig")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; raises DualsegError if there is none, or not strictly JSON."""
    text = read_text(path)
    try:
        values = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise DualsegError(f"{path}: expected JSON, found something else ({error}).") from error
    if not isinstance(values, dict):
        raise DualsegError(f"{path}: expected a JSON object, found a {type(values).__name__}.")
    return values


def require_fields(
    values: Any, fields: Mapping[str, type | tuple[type, ...]], place: object
) -> None:
    """Raise DualsegError, naming the file, unless `values` has all `fields` with their types."""
    if not isinstance(values, dict):
        raise DualsegError(f"{place}: expected an object, found {brief(values)}.")
    for name, kind in fields.items():
        if name not in values:
            raise DualsegError(
                f"{place}: expected the key {name!r}, found none; the file is not one that dualseg "
                "wrote."
            )
        if not isinstance(values[name], kind):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            wanted = " or ".join(k.__name__ for k in kinds)
            raise DualsegError(
                f"{place}: expected {name!r} to be of type {wanted}, found {brief(values[name])}; "
                "the file is not one that dualseg wrote."
            )


def require_file_name(name: Any, place: object) -> str:
    """`name`, if it can only ever name a file or folder right where it is put, on any system.

    For ids that come out of files and become paths. Raises DualsegError naming the file `place`.
    """
    good = (
        isinstance(name, str)
        and 0 < len(name.encode("utf-8", "replace")) <= 200
        and name.isprintable()
        and not name.startswith(".")
        and not _NEVER_IN_NAMES & set(name)
    )
    if not good:
        raise DualsegError(
            f"{place}: expected ids that can be file names (no slash, colon or space, no dot in "
            f"front, at most 200 bytes), found {brief(name)}."
        )
    return name


def _no_number(name: str) -> None:
    raise ValueError(f"the number {name}")


def cache_folder() -> Path:
    """Where prepared volumes are kept: `DUALSEG_CACHE`, else the user's cache folder."""
    if os.environ.get("DUALSEG_CACHE"):
        return Path(os.path.expanduser(os.environ["DUALSEG_CACHE"]))
    try:
        return platformdirs.user_cache_path("dualseg", appauthor=False)
    except RuntimeError as error:  # as in a container without a user
        raise DualsegError(
            "DUALSEG_CACHE: expected a home folder to keep prepared volumes in, found none; set "
            "this environment variable to a folder of your own."
        ) from error
