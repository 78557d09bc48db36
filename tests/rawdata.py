"""Small volumes in the true raw layouts, with a planted landmark, for the tests of `prepare`."""

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from nibabel import orientations

CODES = [
    "".join(axis[side] for axis, side in zip(order, sides, strict=True))
    for order in itertools.permutations(("LR", "PA", "IS"))
    for sides in itertools.product((0, 1), repeat=3)
]
SHAPE, SPACING = (20, 24, 18), (1.2, 1.0, 1.5)
LANDMARK = (4, 17, 6)  # in voxels along R, A, S


def volumes(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """An image with one bright landmark in a box that is labeled 1, with a core of 2 (RAS)."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 0.1, SHAPE).astype(np.float32)
    label = np.zeros(SHAPE, np.uint8)
    label[2:9, 12:20, 3:10] = 1
    label[LANDMARK] = 2
    image[label > 0] += 1
    image[LANDMARK] = 9
    return image, label


def turned(
    values: np.ndarray, code: str, affine: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """RAS values with axes in another order and direction, and the affine of the same place."""
    affine = np.diag([*SPACING, 1.0]) if affine is None else affine
    turn = orientations.ornt_transform(
        orientations.axcodes2ornt("RAS"), orientations.axcodes2ornt(code)
    )
    moved = affine @ orientations.inv_ornt_aff(turn, values.shape)
    return orientations.apply_orientation(values, turn), moved


def save_as(path: Path, values: np.ndarray, code: str = "RAS", affine: np.ndarray | None = None):
    """Write NIfTI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(*turned(values, code, affine)), path)


def save_nrrd(path: Path, values: np.ndarray, code: str = "RAS", affine: np.ndarray | None = None):
    """Write NRRD; its millimetres are LPS."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(_itk(*turned(values, code, affine)), str(path), useCompression=True)


def save_dicom(
    folder: Path, values: np.ndarray, code: str = "RAS", affine: np.ndarray | None = None
):
    """Write a CT series, a file a slice, in an order of files that says nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    volume = _itk(*turned(values.astype(np.int16), code, affine))
    direction = volume.GetDirection()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for i in range(volume.GetDepth()):
        image = volume[:, :, i]
        tags = {
            "0008|0060": "CT",
            "0008|0018": f"1.2.826.0.1.3680043.2.1125.1.{i + 1}",
            "0020|000d": "1.2.826.0.1.3680043.2.1125.2",
            "0020|000e": "1.2.826.0.1.3680043.2.1125.3",
            "0020|0013": str(i + 1),
            "0020|0032": "\\".join(map(str, volume.TransformIndexToPhysicalPoint((0, 0, i)))),
            "0020|0037": "\\".join(str(direction[k]) for k in (0, 3, 6, 1, 4, 7)),
            "0028|1052": "-1024",
            "0028|1053": "1",
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{(i * 7) % 100:02d}-{i}.dcm"))
        writer.Execute(image)


def _itk(values: np.ndarray, affine: np.ndarray) -> sitk.Image:
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0)))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image
