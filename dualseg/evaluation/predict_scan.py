"""Segment a NIfTI scan with a trained run: same shape and affine out as in.

The scan is turned to the training data's orientation by its affine, brought to their voxel size,
normalised by the run's recipe, segmented by the sliding window, and brought back.
"""

from __future__ import annotations

import dataclasses
import gzip
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
import torch.nn.functional as F
from nibabel import orientations
from torch import Tensor

from .._util.environment import pick_device
from .._util.files import write_atomically
from .._util.memory import require_memory
from ..data.cache import shrink_image
from ..data.dataset import Dataset
from ..data.recipe import Box
from ..data.spec import DatasetSpec
from ..errors import DualsegError
from ..plotting.slices import CasePicture, plot_cases
from ..plotting.style import save
from ..runs.run import Run
from .sliding_window import predict_volume, require_finite

SAME_SPACING = 0.01  # voxel sizes that differ by less are taken as equal
FAR_LARGER = 1.5  # warn where a side is so many times longer than any training volume's


def predict_nifti(
    folder: str | Path,
    images: str | Path | Sequence[str | Path],
    out: str | Path,
    picture: str | Path | None = None,
    probabilities: bool = False,
) -> list[str]:
    """Write the mask (and, if asked, a picture and the foreground probabilities) of one scan.

    `images` is one file, or one for each modality that the run was trained on, in their order.

    The mask is uint8 class numbers; the probabilities go to `out` with `_probability` in the name,
    float32. Returns remarks that the user should read (a scan unlike the training data).

    Raises DualsegError for an unfinished run, a file that is no 3D NIfTI image of finite numbers,
    modalities on different grids, or an `out` that does not end in .nii or .nii.gz.
    """
    images = [Path(p) for p in ([images] if isinstance(images, str | Path) else images)]
    out = Path(out)
    _stem(out)
    if picture and Path(picture).suffix != ".png":
        raise DualsegError(f"{picture}: expected a name that ends in .png for the picture.")
    for target in (out, _probability_path(out)):
        if target.resolve() in [image.resolve() for image in images]:
            raise DualsegError(
                f"{target}: is the scan itself; give the mask another name with --out."
            )
    run = Run.open(folder)
    experiment = run.experiment()
    spec = run.spec()
    method = run.load_method(pick_device())
    scan, intensities = _read_modalities(images, spec)
    turned, spacing, back = _turn(scan, intensities, spec)
    box, prepared = _by_recipe(turned, spec, images[0])
    shape = prepared.shape[1:]
    remarks = _misplaced(images, spec)
    remarks += _remarks(scan, shape, spacing, run.info()["data"]["largest_shape"], spec)
    grid = _common_grid(shape, spacing, spec)
    require_memory(grid, 4 * len(spec.classes), images[0])  # a wrong voxel size can ask for any
    coarse = shrink_image(resize(torch.from_numpy(prepared), grid).numpy(), experiment.train.factor)
    inside = predict_volume(method, coarse, experiment.train, grid).mean(0)
    inside = resize(require_finite(inside), shape).cpu().numpy()
    prediction = np.zeros((len(inside), *turned.shape[1:]), np.float32)
    prediction[0] = 1  # background outside the box
    prediction[(slice(None), *box)] = inside
    mask = prediction.argmax(0).astype(np.uint8)
    _write(out, scan, orientations.apply_orientation(mask, back))
    if probabilities:
        foreground = orientations.apply_orientation(1 - prediction[0], back).astype(np.float32)
        _write(_probability_path(out), scan, foreground)
    if picture:
        share = 100 * float((mask > 0).mean())
        case = CasePicture(images[0].name, turned[0], None, {experiment.method: mask > 0})
        save(
            plot_cases([case], spacing, spec.orientation),
            Path(picture),
            alt=f"Slices of {images[0].name} with the contour of the predicted mask, which fills "
            f"{share:.1f} % of the scan.",
        )
    if not mask.any():
        remarks.append("no foreground was found: the mask is empty")
    return remarks


def export_case(
    dataset: Dataset, case_id: str, out: str | Path, label: str | Path | None = None
) -> None:
    """Write a case's image (and label) as NIfTI, for a viewer or to try `predict_nifti` on.

    The affine has the data set's voxel size and orientation; its origin is the volume's middle.
    Raises DualsegError for an unknown case or a name that does not end in .nii or .nii.gz.
    """
    known = dataset.train + dataset.test
    if case_id not in known:
        raise DualsegError(
            f"case: expected one of the {len(known)} ids of {dataset.spec.name} (`dualseg data "
            f"check` lists them), found {case_id!r}."
        )
    wanted = [(Path(out), "image")] + ([(Path(label), "label")] if label else [])
    for path, _ in wanted:
        _stem(path)
    if label and not dataset.has_label(case_id):
        raise DualsegError(f"case {case_id}: expected a label to export, found none.")
    case = dataset.read(case_id)
    there = orientations.axcodes2ornt(dataset.spec.orientation)
    turn = orientations.inv_ornt_aff(there, case.label.shape)
    affine = np.diag([*(dataset.spacing(case_id)), 1.0])
    # The array's axes as they lie in the body; then each of them as long as its voxels.
    affine = np.linalg.inv(turn) @ affine
    affine[:3, 3] = -affine[:3, :3] @ (np.array(case.label.shape) - 1) / 2
    volumes = {"image": np.moveaxis(case.image, 0, -1) if case.image.ndim == 4 else case.image}
    volumes["label"] = case.label
    for path, kind in wanted:
        image = nib.Nifti1Image(volumes[kind], affine)
        image.header.set_xyzt_units("mm")
        _write_image(path, image)


def read_nifti(path: Path) -> tuple[nib.Nifti1Image, np.ndarray]:
    """The image, and its intensities (X, Y, Z) float32."""
    scan = _opened(path, lambda: nib.load(path))
    if not isinstance(scan, nib.Nifti1Pair):
        raise DualsegError(
            f"{path}: expected a NIfTI image (.nii or .nii.gz), found another format; convert it."
        )
    # Before anything is read: a header of some bytes can claim any size, and gzip hides a bomb.
    require_memory(scan.shape, max(scan.get_data_dtype().itemsize, 4), path)
    intensities = _opened(path, lambda: np.asarray(scan.dataobj, dtype=np.float32))
    if intensities.ndim == 4 and intensities.shape[3] == 1:
        intensities = intensities[..., 0]
    if intensities.ndim != 3:
        raise DualsegError(
            f"{path}: expected one volume with three axes, found shape {intensities.shape}; save "
            "one volume of it as a file of its own."
        )
    bad = int(intensities.size - np.isfinite(intensities).sum())
    if bad:
        raise DualsegError(f"{path}: expected finite intensities, found {bad} that are not.")
    return scan, intensities


def _opened(path: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except FileNotFoundError as error:
        raise DualsegError(f"{path}: no such file.") from error
    except Exception as error:  # nibabel, gzip and zlib each raise their own
        raise DualsegError(
            f"{path}: expected a readable NIfTI image (.nii or .nii.gz), found something else "
            f"({error})."
        ) from error


def _read_modalities(
    images: Sequence[Path], spec: DatasetSpec
) -> tuple[nib.Nifti1Image, np.ndarray]:
    """The first scan, and the intensities (C, X, Y, Z) of all, which must share its grid."""
    if len(images) != spec.channels:
        raise DualsegError(
            f"image: expected {spec.channels} scans, as this run was trained with "
            f"({', '.join(spec.modalities)}, in this order), found {len(images)}."
        )
    scans = [_read_scan(path) for path in images]
    first, intensities = scans[0]
    for path, (scan, values) in zip(images, scans, strict=True):
        near = np.allclose(scan.affine, first.affine, atol=0.1)
        if values.shape != intensities.shape or not near:
            raise DualsegError(
                f"{path}: expected the grid of {images[0]}, found another; resample it first."
            )
    return first, np.stack([values for _, values in scans])


def _read_scan(path: Path) -> tuple[nib.Nifti1Image, np.ndarray]:
    """As `read_nifti`, also from NRRD and DICOM."""
    if not path.is_dir() and path.suffix != ".nrrd":
        return read_nifti(path)
    from ..data.volume_files import read_volume  # which reads NIfTI by this module

    values, affine = read_volume(path)
    return nib.Nifti1Image(values, affine), values


def _misplaced(images: Sequence[Path], spec: DatasetSpec) -> list[str]:
    """Remarks on files whose name says another modality than their place."""
    remarks = []
    for path, name in zip(images, spec.modalities, strict=True):
        words = set(re.split(r"[^a-z0-9]+", path.name.lower()))
        others = words & set(spec.modalities) - {name}
        if others and name not in words:
            remarks.append(
                f"{path.name} stands in the place of {name}; the order is "
                + ", ".join(spec.modalities)
            )
    return remarks


def _by_recipe(image: np.ndarray, spec: DatasetSpec, place: Path) -> tuple[Box, np.ndarray]:
    """What the preparation of the training data does to a scan (C, X, Y, Z), without a label.

    The box that is kept, and its intensities.
    """
    if spec.recipe is None:
        return tuple(slice(0, side) for side in image.shape[1:]), image
    # A crop round the label, or to a fixed size, is left out: here is no label, and a larger scan
    # is no harm to a sliding window.
    crop = "nonzero" if spec.recipe.crop == "nonzero" else "none"
    recipe = dataclasses.replace(spec.recipe, crop=crop)
    box = recipe.box(image, None, np.random.default_rng(recipe.seed), str(place))
    return box, recipe.intensities(image, box)


def _turn(scan: nib.Nifti1Image, intensities: np.ndarray, spec: DatasetSpec) -> tuple:
    """Intensities (C, X, Y, Z) along the spec's axes, spacing in mm, orientation to turn back."""
    here = orientations.io_orientation(scan.affine)
    if np.isnan(here).any():
        raise DualsegError(
            "the scan's affine does not say how its axes lie in the body (a column of zeros); "
            "repair the file's header first."
        )
    there = orientations.axcodes2ornt(spec.orientation)
    forth = orientations.ornt_transform(here, there)
    turned = np.stack([orientations.apply_orientation(values, forth) for values in intensities])
    sizes = nib.affines.voxel_sizes(scan.affine)
    spacing = [0.0] * 3
    for axis, (target, _) in enumerate(forth):
        spacing[int(target)] = float(sizes[axis])
    return turned, tuple(spacing), orientations.ornt_transform(there, here)


def _remarks(
    scan: nib.Nifti1Image,
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    largest: list[int],
    spec: DatasetSpec,
) -> list[str]:
    remarks = []
    if scan.header["sform_code"] == 0 and scan.header["qform_code"] == 0:
        remarks.append(
            "the file does not say how the scan lies in the body (sform and qform codes are 0): "
            f"its axes were taken as {''.join(nib.aff2axcodes(scan.affine))}, which may be wrong"
        )
    if _resampling_needed(spacing, spec):
        sizes = " x ".join(f"{s:.3g}" for s in spacing)
        remarks.append(
            f"voxels of {sizes} mm were resampled to the training data's "
            + " x ".join(f"{s:.3g}" for s in spec.spacing)
            + " mm and the mask back"
        )
    extent = np.multiply(shape, spacing)
    known = np.multiply(largest, spec.spacing)
    if (extent > FAR_LARGER * known).any():
        remarks.append(
            "the scan is far larger ("
            + " x ".join(f"{e:.0f}" for e in extent)
            + " mm) than anything this run was trained on ("
            + " x ".join(f"{k:.0f}" for k in known)
            + " mm): expect false positives elsewhere; crop the scan round the organ first"
        )
    return remarks


def _resampling_needed(spacing: tuple[float, ...], spec: DatasetSpec) -> bool:
    return any(
        abs(have / want - 1) > SAME_SPACING
        for have, want in zip(spacing, spec.spacing, strict=True)
    )


def _common_grid(
    shape: tuple[int, ...], spacing: tuple[float, ...], spec: DatasetSpec
) -> tuple[int, ...]:
    if not _resampling_needed(spacing, spec):
        return tuple(shape)
    return tuple(
        max(round(n * have / want), 1)
        for n, have, want in zip(shape, spacing, spec.spacing, strict=True)
    )


def resize(volume: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Linear interpolation of (C, X, Y, Z) to another grid over the same box."""
    if tuple(volume.shape[1:]) == tuple(shape):
        return volume
    return F.interpolate(volume[None], size=tuple(shape), mode="trilinear", align_corners=False)[0]


def _write(path: Path, scan: nib.Nifti1Image, values: np.ndarray) -> None:
    image = nib.Nifti1Image(values, scan.affine)
    image.header.set_xyzt_units(*scan.header.get_xyzt_units())
    _write_image(path, image)


def _write_image(path: Path, image: nib.Nifti1Image) -> None:
    content = image.to_bytes()
    if path.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    write_atomically(path, lambda file: file.write(content))


def _probability_path(out: Path) -> Path:
    stem, suffix = _stem(out)
    return out.with_name(f"{stem}_probability{suffix}")


def _stem(path: Path) -> tuple[str, str]:
    for suffix in (".nii.gz", ".nii"):
        if path.name.endswith(suffix):
            return path.name.removesuffix(suffix), suffix
    raise DualsegError(f"{path}: expected a name that ends in .nii or .nii.gz.")
