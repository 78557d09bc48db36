"""Finding raw files: what the finders of the known data sets share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import DualsegError
from .find_volumes import volume_stem


@dataclass(frozen=True)
class RawCase:
    """Where one case's files lie."""

    id: str
    images: tuple[Path, ...]
    """One for each channel: a file, or the folder of a DICOM series."""
    label: Path | None

    def sources(self) -> tuple[Path, ...]:
        """All files; of a series, its folder's."""
        paths = self.images + ((self.label,) if self.label else ())
        return tuple(
            file
            for path in paths
            for file in (sorted(path.rglob("*")) if path.is_dir() else [path])
            if not file.is_dir()
        )


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
    found: dict[str, Path] = {}
    for path in sorted(root.rglob(name)):
        add_file(found, path.parent.name, path)
    return _require_any(found, root, expected)


def files_by_ending(root: Path, ending: str, expected: str | None = None) -> dict[str, Path]:
    """Volume files whose names end so, at any depth, by what stands before the ending.

    Raises DualsegError as `files_by_folder`.
    """
    require_folder(root)
    found: dict[str, Path] = {}
    for path in sorted(root.rglob(f"*{ending}.*")):
        stem = volume_stem(path)
        if stem is not None and stem.endswith(ending):
            add_file(found, stem.removesuffix(ending), path)
    return _require_any(found, root, expected)


def _require_any(found: dict[str, Path], root: Path, expected: str | None) -> dict[str, Path]:
    if expected and not found:
        raise DualsegError(f"{root}: expected {expected}, found none.")
    return found


def add_file(found: dict[str, Path], case_id: str, path: Path) -> None:
    """Note a case's file; raises DualsegError where the case has one already."""
    there = found.setdefault(case_id, path)
    if there != path:
        raise DualsegError(f"{path}: has the same name as {there}; keep one.")


def same_case(found: dict[str, Path], case_id: str, folder: Path, image: Path) -> Path:
    """The file in `found` that belongs to an image; raises DualsegError where there is none."""
    if case_id not in found:
        raise DualsegError(
            f"{image}: expected a file of the same case {case_id} in {folder}, found none."
        )
    return found[case_id]
