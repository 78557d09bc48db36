"""A scan in memory: its values, where they lie in the body, and what its reader should know."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel import orientations

from ..errors import DualsegError

SIZES = (1e-3, 1e3)  # mm; a voxel size outside them is a damaged header
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # from the millimeters of DICOM and ITK to NIfTI's


@dataclass(frozen=True)
class Volume:
    """One volume as its file holds it.

    Parameters
    ----------
    values : ndarray (X, Y, Z) float32
    affine : ndarray (4, 4)
        From voxels to mm in RAS.
    header : nibabel.Nifti1Header, optional
        The NIfTI header that it was read with, so that a mask can take over its transforms.
    remarks : tuple of str
        What a person should know about the file.
    """

    values: np.ndarray
    affine: np.ndarray
    header: nib.Nifti1Header | None = None
    remarks: tuple[str, ...] = ()

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along each axis of the array."""
        x, y, z = nib.affines.voxel_sizes(self.affine).tolist()
        return x, y, z

    @property
    def orientation(self) -> str:
        """Direction in which each axis of the array grows, as "RAS"."""
        return "".join(nib.aff2axcodes(self.affine))

    def turned(self, code: str) -> Volume:
        """The volume with axes along `code`; axes are reordered and flipped, nothing else."""
        turn = _turn(self.orientation, code)
        affine = self.affine @ orientations.inv_ornt_aff(turn, self.values.shape)
        values = turned(self.values, self.orientation, code)
        return replace(self, values=values, affine=affine, header=None)


def turned(values: np.ndarray, here: str, there: str) -> np.ndarray:
    """Reorder and flip the axes of an array (X, Y, Z) from one orientation code to another."""
    return np.ascontiguousarray(orientations.apply_orientation(values, _turn(here, there)))


def _turn(here: str, there: str) -> np.ndarray:
    codes = [orientations.axcodes2ornt(code) for code in (here, there)]
    return orientations.ornt_transform(*codes)


def require_place(affine: np.ndarray, path: Path) -> None:
    """Refuse an affine that does not say where the voxels lie, or how large they are.

    Raises
    ------
    DualsegError
        Names the file `path`.
    """
    finite = np.isfinite(affine).all()
    if not finite or np.isnan(orientations.io_orientation(affine)).any():
        raise DualsegError(
            f"{path}: expected an affine that says how the axes lie in the body, found a column of "
            "zeros or no numbers; repair the file's header first."
        )
    sizes = nib.affines.voxel_sizes(affine)
    if sizes.min() < SIZES[0] or sizes.max() > SIZES[1]:
        raise DualsegError(
            f"{path}: expected voxel sizes between {SIZES[0]:g} and {SIZES[1]:g} mm, found "
            + " x ".join(f"{size:.4g}" for size in sizes)
            + "; repair the sizes or the unit in the file's header first."
        )


def require_right_angles(affine: np.ndarray, path: Path, tolerance: float) -> None:
    """Refuse a sheared grid: programs built on ITK cannot place it, and a mask would lie elsewhere.

    `tolerance` is the largest cosine between two axes. Raises DualsegError naming the file.
    """
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    axes = affine[:3, :3] / np.where(lengths > 0, lengths, 1)
    cosines = np.abs(axes.T @ axes)[~np.eye(3, dtype=bool)]
    if cosines.max() > tolerance:
        raise DualsegError(
            f"{path}: expected axes at right angles, found a sheared grid (an angle of "
            f"{np.degrees(np.arccos(min(cosines.max(), 1))):.2f} degrees), which programs built on "
            "ITK cannot place; resample the scan to a grid without shear."
        )


def require_same_grid(path: Path, volume: Volume, first_path: Path, first: Volume) -> None:
    """Refuse a volume that does not lie on the grid of another one, the image of its case.

    Parameters
    ----------
    path, first_path : Path
        Files of the volume and of the image, for messages.
    volume, first : Volume
        The volume and the image, their axes in the same order.

    Raises
    ------
    DualsegError
        For another shape, or corners further apart than half a voxel.
    """
    if first.values.shape != volume.values.shape:
        raise DualsegError(
            f"{path}: expected the {first.values.shape} voxels of its image {first_path.name} "
            f"(axes as {first.orientation}), found {volume.values.shape}; resample it to the image "
            "first, or look for missing slices."
        )
    distance = corners_apart(volume.affine, first.affine, first.values.shape)
    if distance > min(first.spacing) / 2:
        cause = "one of the two headers is wrong, or it needs resampling"
        for name, one in ((path.name, volume), (first_path.name, first)):
            if TWO_FORMS in one.remarks:
                cause = (
                    f"the header of {name} holds two transforms that differ (sform and qform), and "
                    "the other file may follow its qform: set both to the one that is right"
                )
        raise DualsegError(
            f"{path}: expected to lie where its image {first_path.name} lies, found corners "
            f"{distance:.1f} mm apart by the affines; {cause}."
        )


def silence_itk() -> None:
    """ITK's warnings name places in its own source; what matters is said in our sentences.

    They stay off: the switch is one for all threads, of which several may be reading.
    """
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)


TWO_FORMS = (
    "the header holds two transforms that differ (sform and qform), and programs choose "
    "differently between them; the sform was used, and a mask carries both"
)


def corners_apart(one: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> float:
    """The largest distance in mm between the corners of a volume under two affines."""
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape) - 1)
    apart = nib.affines.apply_affine(one, corners) - nib.affines.apply_affine(other, corners)
    return float(np.linalg.norm(apart, axis=1).max())
