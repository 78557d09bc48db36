"""Reading scans as they come: NIfTI, NRRD, MetaImage, or a DICOM series."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from .._util.memory import require_memory
from ..errors import DualsegError
from .nifti import read_nifti
from .raw_files import ENDINGS
from .volume import LPS_TO_RAS, Volume, require_place, require_right_angles, silence_itk

_PAIRS = (".hdr", ".img")  # NIfTI in two files
_DETACHED = (".nhdr", ".mhd")
_NRRD_MM = {"mm": 1.0, "m": 1e3, "um": 1e-3, "\N{MICRO SIGN}m": 1e-3, "micron": 1e-3, "cm": 10.0}
SKEW = 1e-3  # largest cosine between two axes; some files give directions by few digits
NO_SPACE = "the header names no space: its axes were taken as LPS, which may be wrong"
NO_SIZE = (
    "the header does not say how large the voxels are: 1 mm was taken along each axis, which may "
    "be wrong"
)


def read_volume(path: Path) -> Volume:
    """Read one scan.

    Parameters
    ----------
    path : Path
        A .nii, .nii.gz, .nrrd or .mha file, or a folder with the files of one DICOM series.

    Returns
    -------
    Volume
        As it is stored: no axis is turned, no value interpolated.

    Raises
    ------
    DualsegError
        For anything else, values that are not finite, or a header that does not say where the
        voxels lie; names the file.
    """
    require_present(path)
    folder, lower = path.is_dir(), path.name.lower()
    if not folder and lower.endswith((".nii.gz", ".nii", *_PAIRS)):
        volume = read_nifti(path)
    elif not folder and lower.endswith((".nrrd", ".mha")):
        volume = _read_itk(path)
    elif folder or _is_dicom(path):
        from .dicom import read_dicom  # here: only those who have DICOM files wait for its package

        volume = read_dicom(path)
    else:
        raise DualsegError(f"{path}: {_other_format(lower)}")
    require_place(volume.affine, path)
    bad = int(volume.values.size - np.isfinite(volume.values).sum())
    if bad:
        raise DualsegError(f"{path}: expected finite intensities, found {bad} that are not.")
    return volume


def oriented(path: Path, code: str) -> tuple[np.ndarray, np.ndarray]:
    """Read a volume with its axes along an orientation code; no value is interpolated.

    Parameters
    ----------
    path : Path
        As for `read_volume`.
    code : str
        The direction in which each axis grows, as "RAS".

    Returns
    -------
    values : ndarray (X, Y, Z) float32
    affine : ndarray (4, 4)
        From voxels to mm in RAS.
    """
    volume = read_volume(path).turned(code)
    return volume.values, volume.affine


def require_present(path: Path) -> None:
    """Raise DualsegError for a file or folder that is not there, or a link to nothing."""
    if path.exists():
        return
    if path.is_symlink():
        raise DualsegError(
            f"{path}: is a link to a file that is not here; get it first (`datalad get` or "
            "`git annex get`, if the data came so)."
        )
    raise DualsegError(f"{path}: no such file.")


def _other_format(lower: str) -> str:
    found, advice = "another format", "convert it"
    if lower.endswith(_DETACHED):
        found, advice = "a header whose voxels lie in a second file", "save both as one file"
    elif lower.endswith((".bz2", ".xz", ".zip", ".zst")):
        found, advice = "a packed file", "unpack it"
    return (
        f"expected a file that ends in {', '.join(ENDINGS)}, or the folder of a DICOM series, "
        f"found {found}; {advice} first."
    )


def _is_dicom(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def _read_itk(path: Path) -> Volume:
    import SimpleITK as sitk

    header, start = _text_header(path)
    name = "NRRD" if path.suffix.lower() == ".nrrd" else "MetaImage"
    detached = header.get("data file") or header.get("datafile")
    if detached or header.get("elementdatafile", "local").lower() != "local":
        raise DualsegError(
            f"{path}: expected the voxels in the file itself, found a reference to another file; "
            "save the volume in one file first."
        )
    try:
        silence_itk()
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        parts, axes = reader.GetNumberOfComponents(), reader.GetDimension()
        # 8 bytes a voxel, the largest there are
        require_memory([*reader.GetSize(), parts], 8, path)
        if axes == 3 and parts == 1:
            _require_checksum(path, header, start)
            image = reader.Execute()
    except (RuntimeError, zlib.error) as error:
        raise DualsegError(
            f"{path}: expected a readable {name} file, found a damaged file or something else; get "
            "it again."
        ) from error
    if axes != 3 or parts != 1:
        raise DualsegError(
            f"{path}: expected one volume with three axes, found {axes} axes and {parts} values a "
            "voxel; save one volume of it as a file of its own."
        )
    values = sitk.GetArrayFromImage(image).transpose(2, 1, 0)  # ITK's arrays are z, y, x
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = direction * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    affine = np.diag([*[_unit(header, path)] * 3, 1.0]) @ LPS_TO_RAS @ affine
    require_right_angles(affine, path, SKEW)
    remarks = [NO_SPACE] if name == "NRRD" and "space" not in header else []
    remarks += [] if _says_voxel_size(header) else [NO_SIZE]
    return Volume(values.astype(np.float32), affine, None, tuple(remarks))


def _text_header(path: Path) -> tuple[dict[str, str], int]:
    """The fields of an NRRD or MetaImage header, lines of text, and where the voxels begin."""
    fields = {}
    with open(path, "rb") as file:
        while file.tell() < 2**16 and (raw := file.readline(2**16)):
            line = raw.decode("utf-8", "replace").strip()
            if not line:  # the end of an NRRD header
                break
            key, _, value = line.replace("=", ":", 1).partition(":")
            fields[key.strip().lower()] = value.lstrip("=").strip()
            if key.strip() == "ElementDataFile":
                break
        return fields, file.tell()


def _says_voxel_size(header: dict[str, str]) -> bool:
    directions = header.get("space directions", header.get("spacings", "none")).lower()
    of_nrrd = "none" not in directions and "nan" not in directions
    return of_nrrd or "elementspacing" in header or "elementsize" in header


def _require_checksum(path: Path, header: dict[str, str], start: int) -> None:
    """Raise zlib.error for compressed voxels that are damaged: ITK compares no checksum."""
    compressed = header.get("compresseddata", "").lower() == "true"
    if not compressed and header.get("encoding", "").lower() not in ("gzip", "gz"):
        return
    unpack = zlib.decompressobj(wbits=32 + zlib.MAX_WBITS)  # gzip or zlib, whichever it is
    with open(path, "rb") as file:
        file.seek(start)
        while not unpack.eof:
            part = file.read(2**20)
            if not part:
                raise zlib.error("the compressed voxels end too early")
            while part:
                unpack.decompress(part, 2**24)
                part = unpack.unconsumed_tail


def _unit(header: dict[str, str], path: Path) -> float:
    """Millimeters in the unit of an NRRD file; ITK reads all as if it were mm."""
    units = set(header.get("space units", '"mm"').replace('"', " ").split())
    if len(units) != 1 or not units <= set(_NRRD_MM):
        raise DualsegError(
            f"{path}: expected space units of {', '.join(_NRRD_MM)} for all axes, found "
            f"{header['space units']}; rewrite the header in mm."
        )
    return _NRRD_MM[units.pop()]
