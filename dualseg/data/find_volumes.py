"""Finding the files of cases where people keep them: in a folder, or by a pattern."""

from __future__ import annotations

import glob
import re
import unicodedata
from pathlib import Path

from ..errors import DualsegError

ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")
"""Of files that hold one volume, in any case (`.NII.GZ`)."""


def volume_stem(path: Path) -> str | None:
    """A volume file's name without its ending; None for other files and hidden ones."""
    lower = path.name.lower()
    ending = next((ending for ending in ENDINGS if lower.endswith(ending)), None)
    return None if ending is None or lower.startswith(".") else path.name[: -len(ending)]


def volumes_by_case(place: Path) -> tuple[dict[str, Path], list[Path]]:
    """The volumes of cases, by the cases' ids.

    Parameters
    ----------
    place : a folder, whose volume files are named by their cases; or a pattern as
        `cases/*/image.nii.gz`, whose last `*` stands for the case's id

    Returns
    -------
    The files (or folders with DICOM series, where the pattern names folders), and those files of a
    folder that are no volumes.

    Raises
    ------
    DualsegError
        Where there is no folder, or no volume; for two files of one case, or an id with spaces.
    """
    names = _matching(place) if "*" in str(place) else _inside(place)
    volumes = {path: name for path, name in names.items() if name is not None}
    if not volumes:
        raise DualsegError(
            f"{place}: expected volumes ({', '.join(ENDINGS)}), found none; check the path, or, "
            "where each case has a folder of its own, give a pattern as 'cases/*/image.nii.gz'."
        )
    found: dict[str, Path] = {}
    for path, name in volumes.items():
        case_id = unicodedata.normalize("NFC", name)  # as some systems store an umlaut as two signs
        if not case_id or any(c.isspace() for c in case_id):
            raise DualsegError(
                f"{path}: expected a name without spaces (it becomes the case's id), found "
                f"{case_id!r}; rename it."
            )
        there = found.setdefault(case_id, path)
        if there != path:
            raise DualsegError(
                f"{path}: has the same name as {there}, {case_id}; keep one, or let the last * of "
                "the pattern stand for what differs."
            )
    return found, [path for path in names if path not in volumes]


def _inside(folder: Path) -> dict[Path, str | None]:
    """The files of a folder that are not hidden, and the volumes' names."""
    if not folder.is_dir():
        raise DualsegError(f"{folder}: expected a folder, found none.")
    files = [path for path in sorted(folder.iterdir()) if not path.is_dir()]
    return {path: volume_stem(path) for path in files if not path.name.startswith(".")}


def _matching(pattern: Path) -> dict[Path, str | None]:
    """What a pattern finds, and what its last star stands for there."""
    text = pattern.expanduser().as_posix()
    literal = text.replace("[", "[[]").replace("?", "[?]")  # only stars are special
    parts = re.compile("([^/]*)".join(map(re.escape, re.split(r"\*+", text))))
    names: dict[Path, str | None] = {}
    for path in sorted(Path(found) for found in glob.glob(literal)):
        star = parts.fullmatch(path.as_posix())[parts.groups]
        names[path] = volume_stem(Path(star)) or star  # of a pattern that ends in a star
    return names


def unused_note(place: Path, unused: list[Path]) -> str:
    """What should be said of a folder's files that are no volumes."""
    files = "1 file was" if len(unused) == 1 else f"{len(unused)} files were"
    return (
        f"{files} not used in {place}: {', '.join(path.name for path in unused[:5])}"
        f"{', ...' if len(unused) > 5 else ''} (volumes end in {', '.join(ENDINGS)})"
    )
