"""One volume from a DICOM series: a folder with a file a slice, or one enhanced multi-frame file.

pydicom reads the headers, so that each slice's own position can be checked; SimpleITK reads the
voxels of slices, as it decodes what scanners compress.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom

from .._util.memory import require_memory
from ..errors import DualsegError
from .volume import LPS_TO_RAS, Volume, silence_itk

# How far, in voxels, a slice may lie from its position on a regular grid.
ALONG, ACROSS = 0.1, 0.25
CONVERT = "`dcm2niix FOLDER` (a program of its own) writes NIfTI files that can be used instead"
COPIES = "slices whose file is there twice, with the same bytes, were taken once"


@dataclass(frozen=True)
class _Slice:
    """Position and size of one slice, by its own header; lengths in mm, directions in LPS."""

    path: Path
    frame: int | None  # its number in a multi-frame file
    shape: tuple[int, int]
    position: np.ndarray  # (3,), of the middle of its first voxel
    axes: np.ndarray  # (2, 3), directions of columns and of rows
    pixel: tuple[float, float]  # distance between columns, and between rows
    rescale: tuple[float, float] = (1.0, 0.0)  # slope and intercept of a frame

    @property
    def normal(self) -> np.ndarray:
        return np.cross(*self.axes)

    @property
    def name(self) -> str:
        return self.path.name if self.frame is None else f"frame {self.frame + 1}"


def read_dicom(path: Path) -> Volume:
    """Read the one DICOM series in a folder (at any depth), or in a multi-frame file.

    Raises
    ------
    DualsegError
        Where there is another number of series than one, or where its slices are not one volume
        at equal distances along their normal; the message says which it was.
    """
    headers = _the_series(path)
    slices = [piece for file, header in headers for piece in _slices(file, header)]
    slices, remarks = _without_copies(slices)
    _require_one_stack(path, slices)
    normal = slices[0].normal
    slices.sort(key=lambda piece: piece.position @ normal)
    _require_one_slice_a_place(path, slices)
    step = _regular_step(path, slices)
    require_memory([len(slices), *slices[0].shape], 8, path)
    values = _frames(path, slices) if slices[0].frame is not None else _files(path, slices)
    affine = np.eye(4)
    columns = [*slices[0].axes * np.array(slices[0].pixel)[:, None], step * normal]
    affine[:3, :3] = np.transpose(columns)
    affine[:3, 3] = slices[0].position
    return Volume(values.transpose(2, 1, 0).astype(np.float32), LPS_TO_RAS @ affine, None, remarks)


def _the_series(path: Path) -> list[tuple[Path, pydicom.Dataset]]:
    """Files and headers of the one series of images below a folder."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if not p.is_dir())
    series: dict[str, list[tuple[Path, pydicom.Dataset]]] = {}
    for file in files:
        if file.is_symlink() and not file.exists():
            raise DualsegError(
                f"{file}: is a link to a file that is not here; get it first (`datalad get`)."
            )
        header = _image_header(file)
        if header is not None:
            series.setdefault(str(header.get("SeriesInstanceUID", "")), []).append((file, header))
    if len(series) != 1:
        listed = "; ".join(
            f"{uid} ({len(found)} files in {found[0][0].parent}, "
            f"{found[0][1].get('SeriesDescription', 'no description')!r})"
            for uid, found in sorted(series.items())[:5]
        )
        raise DualsegError(
            f"{path}: expected the files of one DICOM series, found {len(series)} series"
            + (f": {listed}; give the folder of one of them, or make one." if series else ".")
        )
    return next(iter(series.values()))


def _image_header(path: Path) -> pydicom.Dataset | None:
    """The header of a DICOM image; None for other files, which often lie among slices."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        kind = header.file_meta.get("MediaStorageSOPClassUID", pydicom.uid.UID(""))
    except pydicom.errors.InvalidDicomError:
        return None
    except Exception as error:  # a header that is cut off or garbled
        raise DualsegError(
            f"{path}: expected a readable DICOM file, found a damaged one; get it again."
        ) from error
    if "Rows" in header:
        return header
    if "Image Storage" in kind.name:
        raise DualsegError(
            f"{path}: expected a whole DICOM image, found a damaged header; get it again."
        )
    return None  # a directory, a report, a structure set


def _slices(path: Path, header: pydicom.Dataset) -> Iterator[_Slice]:
    """The one slice of a file, or each frame of a multi-frame file."""
    if header.get("SamplesPerPixel", 1) != 1:
        raise DualsegError(f"{path}: expected gray values, found colors; choose another series.")
    if "MOSAIC" in header.get("ImageType", ()):
        raise DualsegError(
            f"{path}: expected one slice a file, found a mosaic of many slices; {CONVERT}."
        )
    shape = int(header.Rows), int(header.Columns)
    try:
        if "PerFrameFunctionalGroupsSequence" not in header:
            yield _Slice(path, None, shape, *_geometry(header, header, header))
            return
        shared = header.SharedFunctionalGroupsSequence[0]
        for number, frame in enumerate(header.PerFrameFunctionalGroupsSequence):
            position, axes, pixel, rescale = (
                (frame if name in frame else shared).get(name, [None])[0]
                for name in (
                    "PlanePositionSequence",
                    "PlaneOrientationSequence",
                    "PixelMeasuresSequence",
                    "PixelValueTransformationSequence",
                )
            )
            scale = (1.0, 0.0)
            if rescale is not None:
                scale = float(rescale.RescaleSlope), float(rescale.RescaleIntercept)
            yield _Slice(path, number, shape, *_geometry(position, axes, pixel), scale)
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise DualsegError(
            f"{path}: expected a header that says where each slice lies (position, orientation, "
            f"pixel spacing), found none; choose a series of slices, or else {CONVERT}."
        ) from error


def _geometry(
    position_of: pydicom.Dataset, axes_of: pydicom.Dataset, pixel_of: pydicom.Dataset
) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """Position, axes and pixel size of a slice; ValueError or AttributeError if there are none."""
    rows, columns = map(float, pixel_of.PixelSpacing)
    position = np.array(position_of.ImagePositionPatient, dtype=np.float64)
    axes = np.array(axes_of.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    if position.shape != (3,) or not np.isfinite([*position, *axes.ravel()]).all():
        raise ValueError("no finite position and axes")
    return position, axes, (columns, rows)


def _without_copies(slices: list[_Slice]) -> tuple[list[_Slice], tuple[str, ...]]:
    """Each slice once, where the same file lies there twice."""
    places: dict[tuple[float, ...], list[_Slice]] = {}
    for piece in slices:
        places.setdefault(tuple(piece.position), []).append(piece)
    kept: list[_Slice] = []
    for pieces in places.values():
        different: dict[bytes, _Slice] = {}
        if len(pieces) > 1 and pieces[0].frame is None:
            for piece in pieces:
                different.setdefault(hashlib.sha256(piece.path.read_bytes()).digest(), piece)
        kept += list(different.values()) or pieces
    return kept, (COPIES,) if len(kept) < len(slices) else ()


def _require_one_stack(path: Path, slices: Sequence[_Slice]) -> None:
    """Refuse a single slice, and slices that differ in size or direction."""
    first = slices[0]
    if len(slices) == 1:
        raise DualsegError(
            f"{path}: expected the slices of one volume, found one slice; give the folder with all "
            "files of its series."
        )
    for piece in slices:
        if piece.shape != first.shape or not np.allclose(piece.pixel, first.pixel, rtol=1e-3):
            raise DualsegError(
                f"{path}: expected slices of one size, found {first.name} and {piece.name} of "
                f"{first.shape} and {piece.shape} pixels of {first.pixel} and {piece.pixel} mm; "
                "put the files of one volume into a folder of their own."
            )
        if not np.allclose(piece.axes, first.axes, atol=1e-3):
            raise DualsegError(
                f"{path}: expected parallel slices, found {first.name} and {piece.name} at an "
                "angle, as in a localizer; choose another series, or put the parallel slices into "
                "a folder of their own."
            )


def _require_one_slice_a_place(path: Path, slices: Sequence[_Slice]) -> None:
    """Refuse several slices at one place; `slices` are sorted along their normal."""
    along = np.array([piece.position @ slices[0].normal for piece in slices])
    steps = np.diff(along)
    repeated = steps < max(1e-3, ALONG * np.median(steps))
    places = 1 + int((~repeated).sum())
    if places == 1:
        raise DualsegError(
            f"{path}: expected slices side by side, found all {len(slices)} at one place (a time "
            f"series, or no volume); choose another series, or else {CONVERT}."
        )
    if repeated.sum() > 0.4 * places:
        raise DualsegError(
            f"{path}: expected one slice at each place, found {len(slices)} slices at {places} "
            f"places: several volumes (phases or echoes) in one series; {CONVERT}, one a volume."
        )
    if repeated.any():
        at = int(repeated.argmax())
        raise DualsegError(
            f"{path}: expected one slice at each place, found {slices[at].name} and "
            f"{slices[at + 1].name} at the same one with different contents; take one of the two "
            "away."
        )


def _regular_step(path: Path, slices: Sequence[_Slice]) -> float:
    """The distance between slices, which must be the same everywhere, and along their normal."""
    axes = np.stack([*slices[0].axes, slices[0].normal])
    offsets = (np.array([piece.position for piece in slices]) - slices[0].position) @ axes.T
    number = np.arange(len(slices))
    step = offsets[-1, 2] / number[-1]
    if np.abs(offsets[:, 2] - step * number).max() > ALONG * step:
        raise DualsegError(
            f"{path}: expected slices at equal distances, found " + _unequal(np.diff(offsets[:, 2]))
        )
    across, pixel = offsets[:, :2], ACROSS * np.array(slices[0].pixel)
    if (np.abs(across).max(0) <= pixel).all():
        return float(step)
    moved = np.abs(across - np.outer(number / number[-1], across[-1])).max(1)
    if (moved > pixel.min()).any():
        raise DualsegError(
            f"{path}: expected slices above each other, found {slices[moved.argmax()].name} moved "
            f"sideways by {moved.max():.1f} mm; choose another series, or resample this one."
        )
    lean = np.degrees(np.arctan2(np.linalg.norm(across[-1]), offsets[-1, 2]))
    raise DualsegError(
        f"{path}: expected slices that follow each other along their normal, found steps that "
        f"lean {lean:.1f} degrees away from it (a tilted gantry); {CONVERT}, with the tilt "
        "corrected."
    )


def _unequal(steps: np.ndarray) -> str:
    """What was found in the place of equal steps."""
    usual = float(np.median(steps))
    wide = np.flatnonzero(steps > 1.5 * usual)
    regular = np.abs(np.delete(steps, wide) - usual).max(initial=0) < ALONG * usual
    if not regular or not 0 < len(wide) <= max(1, len(steps) // 8):
        return f"steps from {steps.min():.2f} to {steps.max():.2f} mm; {CONVERT}, resampled."
    where = ", ".join(str(gap + 1) for gap in wide)
    return (
        f"{steps[wide[0]]:.2f} mm instead of {usual:.2f} mm after slice {where} of "
        f"{len(steps) + 1}; files seem to be missing, get them."
    )


def _files(path: Path, slices: Sequence[_Slice]) -> np.ndarray:
    """Values (Z, Y, X) of slices in files of their own."""
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(piece.path) for piece in slices])
    # Else all are cut to the first slice's kind of number, which may be a whole one.
    reader.SetOutputPixelType(sitk.sitkFloat64)
    try:
        silence_itk()
        return sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise DualsegError(
            f"{path}: expected readable slices of one DICOM series, found a damaged one; get the "
            "series again."
        ) from error


def _frames(path: Path, slices: Sequence[_Slice]) -> np.ndarray:
    """Values (Z, Y, X) of slices that are frames of one or several files."""
    values = np.empty((len(slices), *slices[0].shape))
    stored: dict[Path, np.ndarray] = {}
    for k, piece in enumerate(slices):
        if piece.path not in stored:
            try:
                pixels = pydicom.dcmread(piece.path).pixel_array
            except Exception as error:  # each decoder raises its own
                raise DualsegError(
                    f"{piece.path}: expected readable, uncompressed frames, found others; "
                    f"{CONVERT}."
                ) from error
            stored[piece.path] = pixels.reshape(-1, *piece.shape)
        slope, intercept = piece.rescale
        values[k] = stored[piece.path][piece.frame] * slope + intercept
    return values
