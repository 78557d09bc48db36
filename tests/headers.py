"""NIfTI headers as scanners and programs write them, and what SimpleITK sees in them."""

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from rawdata import SPACING
from scipy.spatial.transform import Rotation

SHAPE = (9, 8, 7)


def nifti(path, sform=None, qform=None, codes=(1, 1), unit="mm", kind=nib.Nifti1Image, values=None):
    """Write a scan with each transform and code as given; voxel sizes as in the affines."""
    if values is None:
        values = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.int16)
    header = kind.header_class()
    header.set_data_dtype(values.dtype)
    header.set_data_shape(values.shape)
    sizes = next((nib.affines.voxel_sizes(a) for a in (qform, sform) if a is not None), (1, 1, 1))
    header["pixdim"][1:4] = sizes
    if qform is not None:
        header.set_qform(qform, codes[1], strip_shears=False)
    if sform is not None:
        header.set_sform(sform, codes[0])
    header["sform_code"] *= sform is not None
    header["qform_code"] *= qform is not None
    header.set_xyzt_units(unit)
    nib.save(kind(values, None, header), path)
    return path


def corners(path):
    """Where SimpleITK, which reads no line of ours, puts the corners of a file's volume; mm."""
    image = sitk.ReadImage(str(path))
    ends = np.array(list(np.ndindex(2, 2, 2))) * (np.array(image.GetSize()) - 1)
    return np.array([image.TransformIndexToPhysicalPoint(end.tolist()) for end in ends])


def rigid(angle=0.0, sizes=SPACING, origin=(-80.0, 30.0, 12.0), flip=1.0):
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", [angle, angle / 2, -angle], degrees=True).as_matrix()
    affine[:3, :3] = turn @ np.diag(sizes) @ np.diag([flip, 1, 1])
    affine[:3, 3] = origin
    return affine


STRAIGHT, OBLIQUE = rigid(), rigid(18.5)
SHEARED = OBLIQUE @ np.array([[1, 0.02, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
MOVED = rigid(5, origin=(-70, 44, 14))
HEADERS = {
    "equal forms": {"sform": STRAIGHT, "qform": STRAIGHT},
    "sform only": {"sform": STRAIGHT},
    "qform only": {"qform": STRAIGHT},
    "sheared sform, rigid qform": {"sform": SHEARED, "qform": OBLIQUE, "codes": (2, 1)},
    "co-registered": {"sform": MOVED, "qform": STRAIGHT, "codes": (2, 1)},
    "co-registered, both aligned": {"sform": MOVED, "qform": STRAIGHT, "codes": (2, 2)},
    "atlas": {"sform": rigid(2), "qform": STRAIGHT, "codes": (4, 1)},
    "codes 0": {"sform": STRAIGHT, "qform": STRAIGHT, "codes": (0, 0)},
    "micron": {"sform": 1000 * rigid(9), "qform": 1000 * rigid(9), "unit": "micron"},
    "meter": {"sform": 0.001 * rigid(9), "qform": 0.001 * rigid(9), "unit": "meter"},
    "oblique": {"sform": OBLIQUE, "qform": OBLIQUE},
    "negative determinant": {"sform": rigid(8, flip=-1), "qform": rigid(8, flip=-1)},
}
for _name in ("micron", "meter"):  # an affine's last row has no unit
    for _form in ("sform", "qform"):
        HEADERS[_name][_form] = HEADERS[_name][_form].copy()
        HEADERS[_name][_form][3] = (0, 0, 0, 1)
TWO_FORMS = (
    "sheared sform, rigid qform",
    "co-registered",
    "co-registered, both aligned",
    "atlas",
)
