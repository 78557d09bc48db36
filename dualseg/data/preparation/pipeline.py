"""From raw files to the prepared layout, every case checked on the way.

Image and label are turned to one orientation by their affines, compared voxel by voxel in space,
taken through the recipe, and written one by one; what is written is not written again, so an
interrupted preparation goes on where it stopped.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ..._util.files import DAY, remove_temporary_files
from ..._util.memory import require_memory
from ...errors import DualsegError
from ..grids import resampled_shape, resize
from ..prepared_folder import (
    is_prepared,
    read_case_record,
    read_manifest,
    write_case,
    write_manifest,
)
from ..raw_files import RawCase
from ..recipe import VERSION, Recipe
from ..spec import DatasetSpec
from ..splits import CaseLists
from ..volume import Volume, require_same_grid
from ..volume_files import read_volume, require_present
from .contact_sheet import draw_sheet


def prepare_cases(
    spec: DatasetSpec, cases: Sequence[RawCase], lists: CaseLists, out: Path, recipe: Recipe
) -> list[str]:
    """Prepare the raw files of those cases that are in the lists.

    Parameters
    ----------
    spec : DatasetSpec
        Of the data set, with the modalities that the cases' images are.
    cases : sequence of RawCase
        Where the files lie.
    lists : CaseLists
        The ids that train and test.
    out : Path
        Folder to make, in the prepared layout (see `dualseg.data.prepared_folder`).
    recipe : Recipe
        What is done to each scan.

    Returns
    -------
    list of str
        Remarks that the user should read.

    Raises
    ------
    DualsegError
        Naming the file for anything that does not fit. Cases that were finished before stay and are
        not done again.
    """
    _require_own_folder(out, spec, recipe)
    remove_temporary_files(out, older_than=DAY)
    listed = {*lists.train, *lists.test}
    cases = [case for case in cases if case.id in listed]
    records = _run(cases, out, recipe, spec.orientation)
    remarks = _remarks(cases, records, recipe)
    manifest = _manifest(spec, cases, recipe, records, lists)
    write_manifest(out, manifest, lists.train, lists.test)
    draw_sheet(out, manifest)
    return remarks


def _require_own_folder(out: Path, spec: DatasetSpec, recipe: Recipe) -> None:
    """Refuse to replace what runs may have been trained on, and files of somebody else."""
    if is_prepared(out):
        before = read_manifest(out)
        there = Recipe.of(before["recipe"]).of_arrays() if before["recipe"] else {}
        there["modalities"] = tuple(before["modalities"])
        wanted = {**recipe.of_arrays(), "modalities": spec.modalities}
        other = [name for name in wanted if there.get(name, wanted[name]) != wanted[name]]
        if before["dataset"] == spec.name and before["recipe"] and not other:
            return
        found = ", ".join(f"{name} {there[name]}" for name in other) or f"{before['title']!r}"
        raise DualsegError(
            f"{out}: expected a new folder or one of the same settings, found a data set prepared "
            f"otherwise ({found}); give another --out, or delete it."
        )
    if out.is_dir() and any(out.iterdir()) and not (out / "cases").is_dir():
        raise DualsegError(
            f"{out}: expected a new or empty folder, found other files in it; give another --out."
        )


def _run(
    cases: Sequence[RawCase], out: Path, recipe: Recipe, orientation: str
) -> dict[str, dict[str, Any]]:
    """Prepare all cases in parallel; returns their records by id."""
    records = {}
    bar = tqdm(total=len(cases), desc="preparing", unit="case")
    with bar, ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        tasks = {pool.submit(_prepare_case, c, out, recipe, orientation): c for c in cases}
        try:
            for task in as_completed(tasks):
                records[tasks[task].id] = task.result()
                bar.update()
        except BaseException:  # the first problem is told; cases not yet begun are left out
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {case.id: records[case.id] for case in cases}


def _stamp(case: RawCase, recipe: Recipe) -> str:
    """Changes when a source file or a setting of the recipe that makes the arrays changes."""
    sources = []
    for path in case.sources():
        require_present(path)
        status = path.stat()
        sources.append((path.name, status.st_size, status.st_mtime_ns))
    return repr((VERSION, recipe.of_arrays(), sources))


def _prepare_case(case: RawCase, out: Path, recipe: Recipe, orientation: str) -> dict[str, Any]:
    """Write one case into the prepared folder, unless that was done; returns its record."""
    stamp = _stamp(case, recipe)
    done = read_case_record(out, case.id, stamp)
    if done:
        return done
    volumes = _read_images(case, orientation)
    image = np.stack([volume.values for volume in volumes])
    label, values = _read_label(case, volumes[0], recipe)
    rng = np.random.default_rng([recipe.seed, *case.id.encode()])
    box = recipe.box(image, label, rng, str(case.label or case.images[0]))
    image = recipe.intensities(image, box)
    cut_off = 0
    if label is not None:
        cut_off = int((label > 0).sum() - (label[box] > 0).sum())
        label = label[box]
    spacing = volumes[0].spacing
    if recipe.spacing:
        image, label, spacing = _resample(image, label, spacing, recipe.spacing, case.images[0])
    about = {
        "orientation": orientation,
        "box": [[side.start, side.stop] for side in box],
        "values": values,
        "remarks": sorted({remark for volume in volumes for remark in volume.remarks}),
        "label_voxels_cut_off": cut_off,
        "source": {
            "images": [path.name for path in case.images],
            "label": case.label.name if case.label else None,
        },
        "stamp": stamp,
    }
    image = image[0] if len(image) == 1 else image
    return write_case(out, case.id, image, label, spacing, about)


def _read_images(case: RawCase, orientation: str) -> list[Volume]:
    """The volumes of all channels, on one grid."""
    volumes = [read_volume(path).turned(orientation) for path in case.images]
    for path, volume in zip(case.images[1:], volumes[1:], strict=True):
        require_same_grid(path, volume, case.images[0], volumes[0])
    return volumes


def _read_label(
    case: RawCase, image: Volume, recipe: Recipe
) -> tuple[np.ndarray | None, list[int]]:
    """The label's class numbers on the image's grid, and the values that were found."""
    if not case.label:
        return None, []
    label = read_volume(case.label).turned(image.orientation)
    require_same_grid(case.label, label, case.images[0], image)
    if np.array_equal(label.values, image.values):
        raise DualsegError(
            f"{case.label}: expected a label, found the same voxels as in its image "
            f"{case.images[0]}; give the folder of the labels."
        )
    classes, found = _classes(case.label, label.values, recipe)
    if recipe.crop == "label" and found and not classes.any():
        raise DualsegError(
            f"{case.label}: expected a voxel of the value {' or '.join(map(str, recipe.values))} "
            f"(--values) to crop around, found only {', '.join(map(str, found))}; give --values "
            f"{' '.join(map(str, found))}, if these are the structure."
        )
    return classes, found


def _resample(
    image: np.ndarray,
    label: np.ndarray | None,
    spacing: tuple[float, float, float],
    wanted: tuple[float, float, float],
    path: Path,
) -> tuple[np.ndarray, np.ndarray | None, tuple[float, float, float]]:
    """Image and label on a grid of about the wanted voxel size in mm, and its true voxel size."""
    before = image.shape[1:]
    shape = resampled_shape(before, spacing, wanted)
    # Image and label's shares, 4 bytes each: a slip in a voxel size can ask for a huge grid.
    classes = 0 if label is None else int(label.max()) + 1
    require_memory([len(image) + classes, *shape], 4, path)
    image = resize(torch.from_numpy(image), shape).numpy()
    label = None if label is None else _resize_label(label, shape)
    x, y, z = (n * have / m for n, have, m in zip(before, spacing, shape, strict=True))
    return image, label, (x, y, z)


def _classes(path: Path, label: np.ndarray, recipe: Recipe) -> tuple[np.ndarray, list[int]]:
    """Class numbers uint8, and the values other than 0 that were found."""
    values = np.unique(label)
    if (values != np.round(values)).any() or values.min() < 0:
        raise DualsegError(
            f"{path}: expected whole label values from 0 up, found {values[:5].tolist()}; was the "
            "label interpolated?"
        )
    if len(values) > 256:
        raise DualsegError(
            f"{path}: expected a label, found {len(values)} different values: is it an image?"
        )
    found = [int(v) for v in values if v]
    if not recipe.values:
        return (label > 0).astype(np.uint8), found
    classes = np.zeros(label.shape, np.uint8)
    for number, value in enumerate(recipe.values, start=1):
        classes[label == value] = number
    return classes, found


def _resize_label(label: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Each class interpolated on its own; the largest share wins."""
    shares = [
        resize(torch.from_numpy((label == c).astype(np.float32))[None], shape)[0]
        for c in range(int(label.max()) + 1)
    ]
    return torch.stack(shares).argmax(0).numpy().astype(np.uint8)


def _remarks(
    cases: Sequence[RawCase], records: dict[str, dict[str, Any]], recipe: Recipe
) -> list[str]:
    """What the user should read; raises DualsegError for a label value that never occurs."""
    remarks = _remarks_on_values(cases, records, recipe)
    of_files = [remark for record in records.values() for remark in record["remarks"]]
    for remark in sorted(set(of_files)):
        first = next(i for i, record in records.items() if remark in record["remarks"])
        remarks.append(
            f"in {of_files.count(remark)} of {len(records)} cases (the first is {first}) {remark}"
        )
    empty = [case.id for case in cases if case.label and not _foreground(records[case.id])]
    if empty:
        remarks.append(f"no foreground in the label of {', '.join(empty)}")
    cut = [i for i, record in records.items() if record["label_voxels_cut_off"]]
    if cut:
        remarks.append(
            f"the crop cut off a part of the label in {len(cut)} cases (label_voxels_cut_off in "
            f"the manifest), the first is {cut[0]}; a larger --size keeps more"
        )
    spacings = np.array([record["spacing"] for record in records.values()])
    middle = np.median(spacings, axis=0)
    if not recipe.spacing and (np.abs(spacings / middle - 1) > 0.01).any():
        remarks.append(
            "the scans differ in voxel size; the networks see voxels, not mm, so consider "
            "--spacing " + " ".join(f"{s:.3g}" for s in middle)
        )
    return remarks


def _remarks_on_values(
    cases: Sequence[RawCase], records: dict[str, dict[str, Any]], recipe: Recipe
) -> list[str]:
    """Remarks on the values in the labels; raises DualsegError for one that never occurs."""
    remarks = []
    numbers = sorted({value for record in records.values() for value in record["values"]})
    listed = ", ".join(map(str, numbers))
    absent = sorted(set(recipe.values) - set(numbers))
    if absent:
        raise DualsegError(
            f"values: expected values that occur in the labels ({listed or 'none'}), found "
            f"{absent[0]}."
        )
    left = [number for number in numbers if number not in recipe.values]
    if recipe.values and left:
        remarks.append(
            f"the label values {', '.join(map(str, left))} are not among --values and became "
            "background"
        )
    if not recipe.values and len(numbers) > 1:
        remarks.append(
            f"the labels hold the values {listed}; they were merged into one foreground "
            f"(--values {' '.join(map(str, numbers))} makes each a class)"
        )
    labeled = [case.id for case in cases if case.label]
    for number in recipe.values:
        having = sum(number in records[case]["values"] for case in labeled)
        if having < len(labeled):
            remarks.append(
                f"value {number} occurs in {having} of {len(labeled)} labels: make sure that all "
                "of them use the same values"
            )
    return remarks


def _manifest(
    spec: DatasetSpec,
    cases: Sequence[RawCase],
    recipe: Recipe,
    records: dict[str, dict[str, Any]],
    lists: CaseLists,
) -> dict[str, Any]:
    usual_values = spec.usual_recipe is not None and recipe.values == spec.usual_recipe.values
    values = [f"value {v}" for v in recipe.values] or ["foreground"]
    classes = spec.classes[1:] if usual_values else values
    spacings = np.median([record["spacing"] for record in records.values()], axis=0)
    return {
        "dataset": spec.name,
        "title": spec.title,
        "recipe": {"name": spec.name, "version": VERSION, **asdict(recipe)},
        "classes": [spec.classes[0], *classes],
        "modalities": list(spec.modalities),
        "orientation": spec.orientation,
        "spacing": [round(float(s), 4) for s in spacings],
        "labeled": _usual_labeled(spec, {case.id for case in cases if case.label}, lists),
        "validation": lists.validation,
        "cases": records,
    }


def _usual_labeled(spec: DatasetSpec, labeled: set[str], lists: CaseLists) -> int:
    """How many labels a training uses unless told otherwise.

    The field's number where the data set has published lists and enough cases. Else all labels
    there are, or, where no case is without one, a quarter of them, so that some are left to be
    used as unlabeled ones.
    """
    pool = lists.train[: len(lists.train) - lists.validation]
    having = sum(case in labeled for case in pool)
    if spec.lists and spec.labeled < len(pool) and spec.labeled <= having:
        return spec.labeled
    return having if having < len(pool) else max(1, having // 4)


def _foreground(record: dict[str, Any]) -> int:
    return sum(number for value, number in record["label_voxels"].items() if value != "0")
