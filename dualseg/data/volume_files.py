"""Reading scans as they come: NIfTI, NRRD, or a folder with one DICOM series."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel import orientations

from .._util.files import NIFTI
from .._util.memory import require_memory
from ..errors import DualsegError
from ..evaluation.predict_scan import read_nifti

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_volume(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Values (X, Y, Z) float32, and the affine (4, 4) from voxels to mm in RAS.

    `path` is a .nii, .nii.gz or .nrrd file, or a folder with the files of one DICOM series. Raises
    DualsegError naming it for anything else, and for values that are not finite.
    """
    if path.name.endswith(NIFTI):
        scan, values = read_nifti(path)
        return values, np.array(scan.affine)
    values, affine = _read_dicom(path) if path.is_dir() else _read_itk(path)
    bad = int(values.size - np.isfinite(values).sum())
    if bad:
        raise DualsegError(f"{path}: expected finite intensities, found {bad} that are not.")
    return values, affine


def says_orientation(path: Path) -> bool:
    """Whether the file says how its axes lie in the body (a NIfTI header may leave it open)."""
    if not path.name.endswith(NIFTI):
        return True
    header = nib.load(path).header
    return bool(header["sform_code"] or header["qform_code"])


def oriented(path: Path, code: str) -> tuple[np.ndarray, np.ndarray]:
    """The volume with axes along `code`, as "RAS", and the affine of that array.

    Only reorders and flips axes; no value is interpolated.
    """
    values, affine = read_volume(path)
    here = orientations.io_orientation(affine) if np.isfinite(affine).all() else np.full(1, np.nan)
    if np.isnan(here).any():
        raise DualsegError(
            f"{path}: expected an affine that says how the axes lie in the body, found a column of "
            "zeros or no numbers; repair the file's header first."
        )
    turn = orientations.ornt_transform(here, orientations.axcodes2ornt(code))
    turned = np.ascontiguousarray(orientations.apply_orientation(values, turn))
    return turned, affine @ orientations.inv_ornt_aff(turn, values.shape)


def require_same_grid(
    path: Path,
    first: Path,
    image: np.ndarray,
    affine: np.ndarray,
    other: np.ndarray,
    other_affine: np.ndarray,
    orientation: str,
) -> None:
    """Refuse a volume `other`, of the file `path`, that does not lie on the grid of its image.

    Raises DualsegError naming it for another shape, or corners further apart than half a voxel.
    """
    if image.shape != other.shape:
        raise DualsegError(
            f"{path}: expected the {image.shape} voxels of its image {first.name} (axes as "
            f"{orientation}), found {other.shape}; resample it to the image "
            "first, or look for missing slices."
        )
    # How far apart the two put the corners of the volume, in mm.
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(image.shape) - 1)
    apart = nib.affines.apply_affine(affine, corners) - nib.affines.apply_affine(
        other_affine, corners
    )
    distance = np.linalg.norm(apart, axis=1).max()
    half_voxel = nib.affines.voxel_sizes(affine).min() / 2
    if distance > half_voxel:
        raise DualsegError(
            f"{path}: expected to lie where its image {first.name} lies, found corners "
            f"{distance:.1f} mm apart by the affines; one of the two headers is wrong, or it needs "
            "resampling."
        )


def _read_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    import SimpleITK as sitk

    if not path.is_file():
        raise DualsegError(f"{path}: no such file.")
    try:
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        # 8 bytes a voxel, the largest there are
        require_memory([*reader.GetSize(), reader.GetNumberOfComponents()], 8, path)
        image = reader.Execute()
    except RuntimeError as error:
        raise DualsegError(
            f"{path}: expected a readable NRRD file, found something else; get it again."
        ) from error
    return _values_and_affine(path, image)


def _read_dicom(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    import SimpleITK as sitk

    found = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if len(found) != 1:
        raise DualsegError(
            f"{folder}: expected the files of one DICOM series, found {len(found)} series."
        )
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), found[0]))
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise DualsegError(
            f"{folder}: expected the readable slices of one DICOM series, found damaged or unequal "
            "ones; get it again."
        ) from error
    _require_every_slice(folder, reader)
    return _values_and_affine(folder, image)


def _require_every_slice(folder: Path, reader) -> None:
    """ITK reads over a gap between slices and stretches the volume; a missing file shows here."""
    import SimpleITK as sitk

    places = []
    for name in reader.GetFileNames():
        header = sitk.ImageFileReader()
        header.SetFileName(name)
        header.ReadImageInformation()
        places.append(header.GetOrigin())
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    if len(steps) and steps.max() > 1.1 * np.median(steps):
        gap = int(steps.argmax())
        raise DualsegError(
            f"{folder}: expected slices at equal distances, found {steps.max():.2f} mm instead of "
            f"{np.median(steps):.2f} mm after slice {gap + 1} of {len(places)}; a file is missing."
        )


def _values_and_affine(path: Path, image) -> tuple[np.ndarray, np.ndarray]:
    import SimpleITK as sitk

    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise DualsegError(
            f"{path}: expected one volume with three axes, found {image.GetDimension()} axes and "
            f"{image.GetNumberOfComponentsPerPixel()} values a voxel."
        )
    values = sitk.GetArrayFromImage(image).transpose(2, 1, 0)  # ITK's arrays are z, y, x
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = direction * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return values.astype(np.float32), _LPS_TO_RAS @ affine  # ITK's millimetres are LPS
