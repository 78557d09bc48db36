"""Finding the raw files of cases: by name at any depth, in a folder, or by a pattern."""

from __future__ import annotations

import glob
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import DualsegError

ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")
"""Of files that hold one volume, in upper or lower case."""


@dataclass(frozen=True)
class RawCase:
    """Where one case's files lie."""

    id: str
    images: tuple[Path, ...]
    """One for each channel: a file, or the folder of a DICOM series."""
    label: Path | None

    def sources(self) -> list[Path]:
        """All files; of a series, those in its folder."""
        paths = [*self.images, *([self.label] if self.label else [])]
        files = (sorted(path.rglob("*")) if path.is_dir() else [path] for path in paths)
        return [file for some in files for file in some if not file.is_dir()]


def volume_stem(path: Path) -> str | None:
    """A volume file's name without its ending; None for other files and hidden ones."""
    lower = path.name.lower()
    ending = next((ending for ending in ENDINGS if lower.endswith(ending)), None)
    return None if ending is None or lower.startswith(".") else path.name[: -len(ending)]


def require_folder(folder: Path) -> None:
    """Raise DualsegError where there is no such folder."""
    if not folder.is_dir():
        raise DualsegError(f"{folder}: expected a folder, found none.")


def files_by_folder(root: Path, name: str, expected: str | None = None) -> dict[str, Path]:
    """Files of that name at any depth, by the name of the folder they lie in.

    Raises DualsegError for two folders of one name, and, where `expected` says what there should
    be, for no file.
    """
    require_folder(root)
    named = ((path.parent.name, path) for path in sorted(root.rglob(name)))
    return _one_file_a_case(named, root, expected)


def files_by_ending(root: Path, ending: str, expected: str | None = None) -> dict[str, Path]:
    """Volume files whose names end so, at any depth, by what stands before the ending.

    Raises DualsegError as `files_by_folder`.
    """
    require_folder(root)
    stems = ((volume_stem(path) or "", path) for path in sorted(root.rglob(f"*{ending}.*")))
    named = ((stem.removesuffix(ending), path) for stem, path in stems if stem.endswith(ending))
    return _one_file_a_case(named, root, expected)


def _one_file_a_case(
    named: Iterable[tuple[str, Path]], root: Path, expected: str | None
) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for case_id, path in named:
        add_file(found, case_id, path)
    if expected and not found:
        raise DualsegError(f"{root}: expected {expected}, found none.")
    return found


def add_file(found: dict[str, Path], case_id: str, path: Path) -> None:
    """Note a case's file; raises DualsegError where the case has one already."""
    there = found.setdefault(case_id, path)
    if there != path:
        raise DualsegError(
            f"{path}: has the same name as {there}, {case_id}; keep one, or let the last * of a "
            "pattern stand for what differs."
        )


def same_case(found: dict[str, Path], case_id: str, folder: Path, image: Path) -> Path:
    """The file in `found` that belongs to an image; raises DualsegError where there is none."""
    if case_id not in found:
        raise DualsegError(
            f"{image}: expected a file of the same case {case_id} in {folder}, found none."
        )
    return found[case_id]


def volumes_by_case(place: Path) -> tuple[dict[str, Path], list[Path]]:
    """The volumes of cases, by the cases' ids.

    Parameters
    ----------
    place : Path
        A folder, whose volume files are named after their cases; or a pattern as
        `cases/*/image.nii.gz`, whose last `*` stands for the case's id.

    Returns
    -------
    volumes : dict of str to Path
        Files, or folders with DICOM series, where the pattern names folders.
    unused : list of Path
        The files of the folder that are no volumes.

    Raises
    ------
    DualsegError
        Where there is no folder, or no volume; for two files of one case, or an id with spaces.
    """
    names = _matching(place) if "*" in str(place) else _inside(place)
    found: dict[str, Path] = {}
    for path, name in names.items():
        if name is None:
            continue
        case_id = unicodedata.normalize("NFC", name)  # some systems store an umlaut as two signs
        if not case_id or any(c.isspace() for c in case_id):
            raise DualsegError(
                f"{path}: expected a name without spaces (it becomes the case's id), found "
                f"{case_id!r}; rename it."
            )
        add_file(found, case_id, path)
    if not found:
        raise DualsegError(
            f"{place}: expected volumes ({', '.join(ENDINGS)}), found none; check the path, or, "
            "where each case has a folder of its own, give a pattern as 'cases/*/image.nii.gz'."
        )
    return found, [path for path, name in names.items() if name is None]


def _inside(folder: Path) -> dict[Path, str | None]:
    """The files of a folder that are not hidden, and the volumes' names."""
    require_folder(folder)
    files = [path for path in sorted(folder.iterdir()) if not path.is_dir()]
    return {path: volume_stem(path) for path in files if not path.name.startswith(".")}


def _matching(pattern: Path) -> dict[Path, str | None]:
    """What a pattern finds, and what its last star stands for there."""
    text = pattern.expanduser().as_posix()
    literal = text.replace("[", "[[]").replace("?", "[?]")  # only stars are special
    literals = map(re.escape, re.split(r"\*+", text))
    parts = re.compile("([^/]*)".join(literals), re.IGNORECASE)  # as glob does on Windows
    names: dict[Path, str | None] = {}
    for path in sorted(Path(found) for found in glob.glob(literal)):
        match = parts.fullmatch(path.as_posix())
        assert match is not None  # it was found by the same pattern
        star = match[parts.groups]
        names[path] = volume_stem(Path(star)) or star  # of a pattern that ends in a star
    return names


def unused_note(place: Path, unused: list[Path]) -> str:
    """What should be said of a folder's files that are no volumes."""
    files = "1 file was" if len(unused) == 1 else f"{len(unused)} files were"
    return (
        f"{files} not used in {place}: {', '.join(path.name for path in unused[:5])}"
        f"{', ...' if len(unused) > 5 else ''} (volumes end in {', '.join(ENDINGS)})"
    )
