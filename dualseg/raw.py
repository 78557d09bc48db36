"""Finding a data set's raw files as they come from where they are published."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import DualsegError, require_one_of
from .volumes import NIFTI

MODALITIES = ("flair", "t1", "t1ce", "t2")  # of BraTS


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


def find_folder(images: Path, labels: Path) -> list[RawCase]:
    """images/ID.nii[.gz] and labels/ID.nii[.gz]; an image without a label is an unlabeled case."""
    found, labeled = dict(_nifti_files(images)), dict(_nifti_files(labels))
    if not found:
        raise DualsegError(f"{images}: expected .nii or .nii.gz images, found none.")
    for case_id, path in labeled.items():
        if case_id not in found:
            raise DualsegError(
                f"{path}: expected an image of the same name in {images}, found none; rename one "
                "of them, or take the label away."
            )
    return [RawCase(i, (path,), labeled.get(i)) for i, path in sorted(found.items())]


def find_la(images: Path, labels: Path) -> list[RawCase]:
    """The 2018 challenge's ID/lgemri.nrrd and ID/laendo.nrrd, at any depth."""
    scans = _by_folder(images, "lgemri.nrrd")
    if not scans:
        raise DualsegError(
            f"{images}: expected <case>/lgemri.nrrd as the 2018 Atrial Segmentation Challenge "
            "gives them, found none."
        )
    masks = _by_folder(labels, "laendo.nrrd")
    return [RawCase(i, (path,), _needed(masks, i, labels, path)) for i, path in scans.items()]


def find_pancreas(images: Path, labels: Path) -> list[RawCase]:
    """PANCREAS_0001/.../*.dcm or a NIfTI file whose name ends in 0001; labels like label0001."""
    _require_folder(images)
    scans: dict[str, Path] = {}
    for path in sorted(images.rglob("*")):
        if path.suffix.lower() == ".dcm":
            numbered = [p for p in path.relative_to(images).parts[:-1] if _number(p)]
            _add(scans, numbered and _number(numbered[0]), path.parent)
        elif path.name.endswith(NIFTI) and not path.name.startswith("label"):
            _add(scans, _number(_stem(path)), path)
    if not scans:
        raise DualsegError(
            f"{images}: expected PANCREAS_0001 and so on with DICOM files, or NIfTI files whose "
            "names end in the case's four digits, found none."
        )
    _require_folder(labels)
    masks: dict[str, Path] = {}
    for path in sorted(labels.rglob("*")):
        if path.name.endswith(NIFTI) and (labels != images or path.name.startswith("label")):
            _add(masks, _number(_stem(path)), path)
    return [
        RawCase(f"PANCREAS_{n}", (path,), _needed(masks, n, labels, path))
        for n, path in sorted(scans.items())
    ]


def find_brats2019(
    images: Path, labels: Path, modalities: tuple[str, ...] = ("flair",)
) -> list[RawCase]:
    """<case>/<case>_flair.nii[.gz] and <case>_seg.nii[.gz] at any depth (HGG, LGG)."""
    for name in modalities or ("none",):
        require_one_of("modalities", name, MODALITIES)
    channels = [_by_ending(images, f"_{name}") for name in modalities]
    if not channels[0]:
        raise DualsegError(
            f"{images}: expected <case>_{modalities[0]}.nii.gz files as BraTS 2019 gives them, "
            "found none."
        )
    masks = _by_ending(labels, "_seg")
    return [
        RawCase(
            case_id,
            tuple(_needed(files, case_id, images, first) for files in channels),
            _needed(masks, case_id, labels, first),
        )
        for case_id, first in channels[0].items()
    ]


FINDERS = {
    "folder": find_folder,
    "la": find_la,
    "pancreas": find_pancreas,
    "brats2019": find_brats2019,
}


def _require_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise DualsegError(f"{folder}: expected a folder, found none.")


def _nifti_files(folder: Path) -> Iterator[tuple[str, Path]]:
    _require_folder(folder)
    seen: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if not path.name.endswith(NIFTI) or path.name.startswith("."):
            continue
        case_id = _stem(path)
        if not case_id or any(c.isspace() for c in case_id):
            raise DualsegError(
                f"{path}: expected a name without spaces (it becomes the case's id)."
            )
        _add(seen, case_id, path)
        yield case_id, path


def _by_folder(root: Path, name: str) -> dict[str, Path]:
    """Files of that name, by the name of the folder they lie in."""
    _require_folder(root)
    found: dict[str, Path] = {}
    for path in sorted(root.rglob(name)):
        _add(found, path.parent.name, path)
    return found


def _by_ending(root: Path, ending: str) -> dict[str, Path]:
    """NIfTI files whose names end so, by what stands before."""
    _require_folder(root)
    found: dict[str, Path] = {}
    for path in sorted(root.rglob(f"*{ending}.nii*")):
        if path.name.endswith(NIFTI):
            _add(found, _stem(path).removesuffix(ending), path)
    return found


def _add(found: dict[str, Path], case_id: str, path: Path) -> None:
    if not case_id:
        raise DualsegError(f"{path}: expected a name that ends in the case's four digits.")
    there = found.setdefault(case_id, path)
    if there != path:
        raise DualsegError(f"{path}: has the same name as {there}; keep one.")


def _needed(found: dict[str, Path], case_id: str, folder: Path, image: Path) -> Path:
    if case_id not in found:
        raise DualsegError(
            f"{image}: expected a file of the same case {case_id} in {folder}, found none."
        )
    return found[case_id]


def _number(name: str) -> str:
    match = re.search(r"\d{4}$", name)
    return match.group() if match else ""


def _stem(path: Path) -> str:
    return path.name.removesuffix(next(s for s in NIFTI if path.name.endswith(s)))
