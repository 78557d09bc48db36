"""Segment a scan with a trained run; the mask lies where the scan lies, in every program.

The scan is turned to the training data's orientation by its affine, prepared as they were,
segmented by the sliding window, and brought back to its own grid.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from .._util.environment import pick_device
from .._util.memory import require_memory
from ..data.grids import resampled_shape, resize, shrink_image
from ..data.nifti import nifti_stem, write_nifti
from ..data.recipe import Box, Recipe
from ..data.spec import DatasetSpec
from ..data.volume import Volume, require_same_grid, turned
from ..data.volume_files import read_volume
from ..errors import DualsegError
from ..plotting.slices import CasePicture, plot_cases
from ..plotting.style import save
from ..runs.run import Run
from .sliding_window import predict_volume, require_finite

FAR = 1.5  # a scan is remarked on from so many times the training data's size or voxel size


def predict_scan(
    folder: str | Path,
    images: str | Path | Sequence[str | Path],
    out: str | Path,
    picture: str | Path | None = None,
    probabilities: bool = False,
) -> list[str]:
    """Write the mask of one scan as NIfTI, on the scan's own grid.

    Parameters
    ----------
    folder : the run
    images : a file or a folder with one DICOM series, or one for each modality that the run was
        trained on, in their order
    out : the mask to write, uint8 class numbers; ends in .nii or .nii.gz
    picture : a PNG to write, slices with the mask's contour
    probabilities : also write the foreground probability, float32, with `_probability` in the name

    Returns
    -------
    Remarks that the user should read (a scan unlike the training data).

    Raises
    ------
    DualsegError
        For an unfinished run, a file that is no volume of finite numbers, modalities on different
        grids, or an output's name that does not fit.
    """
    paths = [Path(p) for p in ([images] if isinstance(images, str | Path) else images)]
    _require_outputs(paths, Path(out), picture)
    run = Run.open(folder)
    spec = run.spec()
    scans = _read_modalities(paths, spec)
    in_training_order = [scan.turned(spec.orientation) for scan in scans]
    intensities = np.stack([scan.values for scan in in_training_order])
    box, prepared = _by_recipe(intensities, spec, paths[0])
    spacing = in_training_order[0].spacing
    grid = _grid(prepared.shape[1:], spacing, spec)
    remarks = [f"{p.name}: {r}" for p, s in zip(paths, scans, strict=True) for r in s.remarks]
    remarks += _misplaced(paths, spec)
    remarks += _unlike_training(prepared.shape[1:], spacing, grid, run)
    inside = _probabilities(run, prepared, grid, paths[0])
    whole = np.zeros((len(inside), *intensities.shape[1:]), np.float32)
    whole[0] = 1  # background outside the box
    whole[:, *box] = inside
    mask = whole.argmax(0).astype(np.uint8)
    _write(Path(out), mask, scans[0], spec)
    if probabilities:
        _write(_probability_path(Path(out)), 1 - whole[0], scans[0], spec)
    if picture:
        prediction = {run.experiment().method: mask > 0}
        case = CasePicture(paths[0].name, intensities[0], None, prediction, spacing)
        alt = f"Slices of {case.title} with the contour of the predicted mask, which fills "
        alt += f"{100 * float((mask > 0).mean()):.1f} % of the scan."
        save(plot_cases([case], orientation=spec.orientation), picture, alt)
    if not mask.any():
        remarks.append("no foreground was found: the mask is empty")
    return remarks


def _require_outputs(images: Sequence[Path], out: Path, picture: str | Path | None) -> None:
    nifti_stem(out)
    if picture and Path(picture).suffix != ".png":
        raise DualsegError(f"{picture}: expected a name that ends in .png for the picture.")
    for target in (out, _probability_path(out)):
        if target.resolve() in [image.resolve() for image in images]:
            raise DualsegError(
                f"{target}: is the scan itself; give the mask another name with --out."
            )


def _probability_path(out: Path) -> Path:
    stem, ending = nifti_stem(out)
    return out.with_name(f"{stem}_probability{ending}")


def _read_modalities(images: Sequence[Path], spec: DatasetSpec) -> list[Volume]:
    """All modalities as they are stored; they must share the first one's grid."""
    if len(images) != spec.channels:
        raise DualsegError(
            f"image: expected {spec.channels} scans, as this run was trained with "
            f"({', '.join(spec.modalities)}, in this order), found {len(images)}."
        )
    scans = [read_volume(path) for path in images]
    code = spec.orientation
    for path, scan in zip(images[1:], scans[1:], strict=True):
        require_same_grid(path, scan.turned(code), images[0], scans[0].turned(code))
    return scans


def _by_recipe(image: np.ndarray, spec: DatasetSpec, place: Path) -> tuple[Box, np.ndarray]:
    """What the preparation of the training data does to a scan (C, X, Y, Z), without a label.

    The box that is kept, and its intensities.
    """
    recipe = spec.recipe or Recipe()
    # A crop round the label, or to a fixed size, is left out: here is no label, and a larger scan
    # is no harm to a sliding window.
    if recipe.crop != "nonzero":
        recipe = dataclasses.replace(recipe, crop="none")
    box = recipe.box(image, None, np.random.default_rng(recipe.seed), str(place))
    return box, recipe.intensities(image, box)


def _grid(
    shape: tuple[int, ...], spacing: tuple[float, ...], spec: DatasetSpec
) -> tuple[int, int, int]:
    """The grid to predict on: the one that the scan would have in the prepared data set.

    Where each training scan kept its own voxel size, so does this one; a data set that came
    prepared has one size for all.
    """
    wanted = spec.spacing if spec.recipe is None else spec.recipe.spacing
    x, y, z = shape if wanted is None else resampled_shape(shape, spacing, wanted)
    return x, y, z


def _probabilities(
    run: Run, prepared: np.ndarray, grid: tuple[int, int, int], place: Path
) -> np.ndarray:
    """Probabilities (classes, x, y, z) of a prepared scan (C, x, y, z), predicted on `grid`."""
    config = run.experiment().train
    require_memory(grid, 4 * len(run.spec().classes), place)  # a wrong voxel size can ask for any
    resampled = resize(torch.from_numpy(prepared), grid).numpy()
    method = run.load_method(pick_device())
    found = predict_volume(method, shrink_image(resampled, config.factor), config, grid).mean(0)
    return resize(require_finite(found), prepared.shape[1:]).cpu().numpy()


def _write(path: Path, values: np.ndarray, scan: Volume, spec: DatasetSpec) -> None:
    back = turned(values, spec.orientation, scan.orientation)
    write_nifti(path, back, scan.affine, scan.header)


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


def _unlike_training(
    shape: tuple[int, ...], spacing: tuple[float, ...], grid: tuple[int, ...], run: Run
) -> list[str]:
    remarks = []
    spec = run.spec()
    sizes, usual = (" x ".join(f"{s:.3g}" for s in mm) for mm in (spacing, spec.spacing))
    ratio = np.divide(spacing, spec.spacing)
    if grid != tuple(shape):
        remarks.append(
            f"voxels of {sizes} mm were resampled to the training data's {usual} mm and the mask "
            "back"
        )
    elif (np.maximum(ratio, 1 / ratio) > FAR).any():
        remarks.append(
            f"voxels of {sizes} mm are unlike those of the training data (median {usual} mm), and "
            "the networks see voxels, not mm: expect errors; data that are prepared with --spacing "
            "train networks for every voxel size"
        )
    largest = run.info()["data"]["largest_shape"]
    if (np.array(grid) > FAR * np.array(largest)).any():
        here, there = (" x ".join(map(str, sides)) for sides in (grid, largest))
        remarks.append(
            f"the scan is far larger ({here} voxels) than anything this run was trained on "
            f"({there} voxels): expect false positives elsewhere; crop the scan round the organ "
            "first"
        )
    return remarks
