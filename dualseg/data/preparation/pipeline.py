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

import nibabel as nib
import numpy as np
import torch
from tqdm import tqdm

from ..._util.files import DAY, remove_scraps
from ...errors import DualsegError
from ...evaluation.predict_scan import resize
from ..case import fingerprint, read_h5
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
from ..volume_files import oriented, require_same_grid, says_orientation
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
    remove_scraps(out, older_than=DAY)
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
        except BaseException:  # the first problem is told; what has not begun is not begun
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {case.id: records[case.id] for case in cases}


def _stamp(case: RawCase, recipe: Recipe) -> str:
    """Changes when a source file or a setting of the recipe that makes the arrays changes."""
    status = [(path.name, path.stat()) for path in case.sources()]
    sources = [(name, s.st_size, s.st_mtime_ns) for name, s in status]
    return repr((VERSION, recipe.of_arrays(), sources))


def _prepare_case(case: RawCase, out: Path, recipe: Recipe, orientation: str) -> dict[str, Any]:
    stamp = _stamp(case, recipe)
    done = read_case_record(out, case.id)
    if done and done["stamp"] == stamp and _intact(out, done):
        return done
    image, affine = oriented(case.images[0], orientation)
    channels = [image]
    for path in case.images[1:]:
        channel, other = oriented(path, orientation)
        require_same_grid(path, case.images[0], image, affine, channel, other, orientation)
        channels.append(channel)
    image = np.stack(channels)
    label, values, lost = None, [], 0
    if case.label:
        label, label_affine = oriented(case.label, orientation)
        require_same_grid(
            case.label, case.images[0], image[0], affine, label, label_affine, orientation
        )
        label, values = _classes(case.label, label, recipe)
    rng = np.random.default_rng([recipe.seed, *case.id.encode()])
    box = recipe.box(image, label, rng, str(case.label or case.images[0]))
    image = recipe.intensities(image, box)
    if label is not None:
        lost = int((label > 0).sum() - (label[box] > 0).sum())
        label = label[box]
    spacing = nib.affines.voxel_sizes(affine)
    if recipe.spacing:
        shape = [
            max(round(n * have / want), 1)
            for n, have, want in zip(image.shape[1:], spacing, recipe.spacing, strict=True)
        ]
        image = resize(torch.from_numpy(image), shape).numpy()
        label = None if label is None else _resize_label(label, shape)
        spacing = recipe.spacing
    about = {
        "orientation": orientation,
        "box": [[side.start, side.stop] for side in box],
        "values": values,
        "says_orientation": all(map(says_orientation, case.images)),
        "label_voxels_cut_off": lost,
        "source": {
            "images": [path.name for path in case.images],
            "label": case.label.name if case.label else None,
        },
        "stamp": stamp,
    }
    image = image[0] if len(image) == 1 else image
    return write_case(out, case.id, image, label, tuple(spacing), about)


def _intact(out: Path, record: dict[str, Any]) -> bool:
    """Whether a case's file still holds the arrays of its record."""
    labeled = record["label_voxels"] is not None
    try:
        image, label = read_h5(out / record["file"], labeled)
    except DualsegError:
        return False
    return fingerprint(image, label) == record["fingerprint"]


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


def _resize_label(label: np.ndarray, shape: list[int]) -> np.ndarray:
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
    silent = [i for i, record in records.items() if not record["says_orientation"]]
    if silent:
        remarks.append(
            f"{len(silent)} scans do not say how they lie in the body (sform and qform codes are "
            f"0), the first is {silent[0]}: their axes were taken as the file has them, which may "
            "be wrong"
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
    if (np.abs(spacings / middle - 1) > 0.01).any():
        remarks.append(
            "the scans differ in voxel size; the networks see voxels, not mm, so consider "
            "--spacing " + " ".join(f"{s:.3g}" for s in middle)
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
    classes = spec.classes[1:] if usual_values else [f"value {v}" for v in recipe.values]
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
