"""Write a case of a data set as NIfTI, for a viewer, or to try `predict_scan` on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from nibabel import orientations

from .._util.files import require_file_name
from ..data.dataset import Dataset
from ..data.nifti import nifti_stem, write_nifti
from ..errors import DualsegError


def export_case(
    dataset: Dataset, case_id: str, out: str | Path, label: str | Path | None = None
) -> list[Path]:
    """Write a case's image and, if asked, its label.

    Parameters
    ----------
    dataset, case_id : the case
    out : the file to write; of several modalities each goes to a file of its own, with
        the modality's name at the end of the file's
    label : the file for the label

    Returns
    -------
    The images' files, in the order in which `predict_scan` takes them. Their affine has the data
    set's voxel size and orientation; its origin is the volume's middle.

    Raises
    ------
    DualsegError
        For an unknown case, a missing label, one file for both, or a name that does not end in .nii
        or .nii.gz.
    """
    known = dataset.train + dataset.test
    if case_id not in known:
        raise DualsegError(
            f"case: expected one of the {len(known)} ids of {dataset.spec.name} (`dualseg data "
            f"check` lists them), found {case_id!r}."
        )
    if label and not dataset.has_label(case_id):
        raise DualsegError(f"case {case_id}: expected a label to export, found none.")
    paths = _image_paths(Path(out), dataset.spec.modalities)
    if label:
        nifti_stem(Path(label))
        if Path(label).resolve() in [path.resolve() for path in paths]:
            raise DualsegError(f"label: expected another file than the image's, found {label}.")
    case = dataset.read(case_id)
    affine = _affine(case.label.shape, dataset.spacing(case_id), dataset.spec.orientation)
    for path, channel in zip(paths, case.channels, strict=True):
        write_nifti(path, channel, affine)
    if label:
        write_nifti(Path(label), case.label, affine)
    return paths


def _image_paths(out: Path, modalities: tuple[str, ...]) -> list[Path]:
    stem, ending = nifti_stem(out)
    if len(modalities) == 1:
        return [out]
    return [out.with_name(f"{stem}_{require_file_name(m, out)}{ending}") for m in modalities]


def _affine(shape: tuple[int, ...], spacing: tuple[float, ...], orientation: str) -> np.ndarray:
    """The array's axes as they lie in the body, each as long as its voxels."""
    turn = orientations.inv_ornt_aff(orientations.axcodes2ornt(orientation), shape)
    affine = np.linalg.inv(turn) @ np.diag([*spacing, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    return affine
