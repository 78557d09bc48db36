"""Finding raw files: what the finders of the known data sets share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .._util.files import NIFTI
from ..errors import DualsegError


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
            file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])
        )


def require_folder(folder: Path) -> None:
    """Raise DualsegError where there is no such folder."""
    if not folder.is_dir():
        raise DualsegError(f"{folder}: expected a folder, found none.")


def nifti_files(folder: Path) -> dict[str, Path]:
    """The NIfTI files of a folder, by their name without its ending, which becomes the case's id.

    Raises DualsegError for two files of one name, and for a name with spaces.
    """
    require_folder(folder)
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if not path.name.endswith(NIFTI) or path.name.startswith("."):
            continue
        case_id = name_of(path)
        if not case_id or any(c.isspace() for c in case_id):
            raise DualsegError(
                f"{path}: expected a name without spaces (it becomes the case's id)."
            )
        add_file(found, case_id, path)
    return found


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
    """NIfTI files whose names end so, at any depth, by what stands before the ending.

    Raises DualsegError as `files_by_folder`.
    """
    require_folder(root)
    found: dict[str, Path] = {}
    for path in sorted(root.rglob(f"*{ending}.nii*")):
        if path.name.endswith(NIFTI):
            add_file(found, name_of(path).removesuffix(ending), path)
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


def name_of(path: Path) -> str:
    """The name of a NIfTI file without its ending."""
    return path.name.removesuffix(next(s for s in NIFTI if path.name.endswith(s)))
