"""NIfTI files: values, both transforms of the header, and units, read and written."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy

from .._util.files import write_atomically
from .._util.memory import require_memory
from ..errors import DualsegError
from .volume import TWO_FORMS, Volume, corners_apart, require_right_angles

MM = {"meter": 1e3, "mm": 1.0, "micron": 1e-3}  # the unit "unknown" is taken as mm, as usual
SKEW = 1e-4  # cosine between two axes from which on ITK may refuse a transform
# What says where the voxels lie, and in which unit.
_POSITION = ["pixdim", "xyzt_units", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z"]
_POSITION += ["quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"]
_PACKED = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip", b"(\xb5/\xfd": "zstd"}


def read_nifti(path: Path) -> Volume:
    """Read a NIfTI file with one volume of real numbers; its affine is in mm, whatever the unit.

    Raises
    ------
    DualsegError
        For anything else, a damaged file, or a transform that other programs cannot follow.
    """
    image = _opened(path, lambda: nib.load(path))
    if not isinstance(image, nib.Nifti1Pair):
        raise DualsegError(
            f"{path}: expected a NIfTI image (.nii or .nii.gz), found another format; convert it."
        )
    header, stored = image.header, image.dataobj
    assert isinstance(stored, ArrayProxy)  # it was loaded from a file
    dtype = header.get_data_dtype()
    if dtype.kind not in "fiu":
        kind = "complex numbers" if dtype.kind == "c" else "colors (RGB)"
        raise DualsegError(
            f"{path}: expected one real number a voxel, found {kind}; save a gray-value image."
        )
    # Before anything is read: a header of some bytes can claim any size, and gzip hides a bomb.
    require_memory(image.shape, max(dtype.itemsize, 4), path)
    if header["magic"] in (b"n+1", b"n+2") and stored.offset < header.single_vox_offset:
        raise DualsegError(
            f"{path}: expected the voxels after the header, found them to begin in it (vox_offset "
            f"{stored.offset}); repair the header first."
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused as not finite
        values = _opened(path, lambda: np.asarray(stored, dtype=np.float32))
    for holder in image.file_map.values():
        if str(holder.filename).lower().endswith(".gz"):
            _opened(path, partial(_read_to_the_end, str(holder.filename)))
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 3 or not values.size:
        raise DualsegError(
            f"{path}: expected one volume with three axes, found shape {values.shape}; save "
            "one volume of it as a file of its own."
        )
    remarks = _opened(path, lambda: _remarks(image, values.shape))
    return Volume(values, _affine(image, path), header, remarks)


def _affine(image: nib.Nifti1Pair, path: Path) -> np.ndarray:
    header = image.header
    affine = np.array(image.affine)
    if header["sform_code"] and not header["qform_code"]:
        require_right_angles(affine, path, SKEW)
    try:
        mm = MM.get(header.get_xyzt_units()[0], 1.0)
    except KeyError:  # a code that the format does not know
        mm = 1.0
    return np.diag([mm, mm, mm, 1.0]) @ affine


def _remarks(image: nib.Nifti1Pair, shape: tuple[int, ...]) -> tuple[str, ...]:
    header = image.header
    if not header["sform_code"] and not header["qform_code"]:
        axes = "".join(map(str, nib.aff2axcodes(image.affine)))
        return (
            "the header does not say how the scan lies in the body (sform and qform codes are 0): "
            f"its axes were taken as {axes}, which may be wrong",
        )
    if not header["sform_code"] or not header["qform_code"]:
        return ()
    apart = corners_apart(header.get_sform(), header.get_qform(), shape)
    alike = apart <= 0.1 * np.abs(header["pixdim"][1:4]).min()  # no number is not alike
    return () if alike else (TWO_FORMS,)


def write_nifti(
    path: Path, values: np.ndarray, affine: np.ndarray, like: nib.Nifti1Header | None = None
) -> None:
    """Write a volume as NIfTI, so that it lies where a scan lies.

    Parameters
    ----------
    path : Path
        Ends in .nii or .nii.gz.
    values : ndarray (X, Y, Z)
    affine : ndarray (4, 4)
        From voxels to mm in RAS.
    like : nibabel.Nifti1Header, optional
        The scan's header, where it is NIfTI; both transforms, their codes and the unit are taken
        over as they are, so that every program puts the mask on the scan.
    """
    if like is None:
        image = nib.Nifti1Image(values, affine)
        image.set_sform(affine, code="scanner")
        image.set_qform(affine, code="scanner")
        image.header.set_xyzt_units("mm")
    else:
        header = nib.Nifti1Header()  # NIfTI-2 has the same fields, but few programs read it
        for name in _POSITION:
            header[name] = like[name]
        header.set_data_dtype(values.dtype)
        image = nib.Nifti1Image(values, None, header)
    content = image.to_bytes()
    if nifti_stem(path)[1].endswith(".gz"):
        content = gzip.compress(content, mtime=0)
    write_atomically(path, content)


def nifti_stem(path: Path) -> tuple[str, str]:
    """The name of a file to write, and its ending; raises DualsegError for other endings."""
    for ending in (".nii.gz", ".nii"):
        if path.name.endswith(ending):
            return path.name.removesuffix(ending), ending
    raise DualsegError(f"{path}: expected a name that ends in .nii or .nii.gz.")


def _read_to_the_end(name: str) -> None:
    """Only there does gzip compare its checksum, and nibabel stops at the last voxel."""
    with gzip.open(name) as file:
        while file.read(2**20):
            pass


def _opened(path: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception as error:  # nibabel, gzip and zlib each raise their own
        found = f"a damaged file or something else ({' '.join(str(error).split())[:200]})"
        advice = "get it again"
        with suppress(OSError), open(path, "rb") as file:
            start = file.read(8)
            for magic, name in _PACKED.items():
                if start.startswith(magic):
                    found = f"a file packed with {name}"
                    advice = "unpack it, and compress it with gzip if it is to be small"
        raise DualsegError(
            f"{path}: expected a readable NIfTI image (.nii or .nii.gz), found {found}; {advice}."
        ) from error
