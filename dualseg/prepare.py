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

from .alignment import draw_sheet
from .cases import read_h5
from .errors import DualsegError, require_one_of
from .files import DAY, remove_scraps
from .nifti import resize
from .prepared import (
    is_prepared,
    read_case_record,
    read_manifest,
    sha256_of,
    write_case,
    write_manifest,
)
from .raw import FINDERS, RawCase
from .recipes import RECIPES, VERSION, Recipe
from .specs import SPECS
from .splits import Lists, drawn, given, protocols, published
from .volumes import oriented, require_same_grid, says_orientation


def prepare(
    dataset: str,
    images: str | Path,
    labels: str | Path | None,
    out: str | Path,
    recipe: Recipe | None = None,
    *,
    lists: str | None = None,
    train_list: Path | None = None,
    test_list: Path | None = None,
    modalities: tuple[str, ...] = ("flair",),
) -> list[str]:
    """Prepare the raw files of "la", "pancreas", "brats2019" or a "folder"; returns remarks.

    `labels` may be None where they lie among the images. The ids that train and test are the
    published ones (`lists` names a protocol where there are several), or those of the files
    `train_list` and `test_list`; for a folder they are drawn. `out` gets the prepared layout (see
    `dualseg.prepared`).

    Raises DualsegError naming the file for anything that does not fit; cases that were finished
    before stay and are not done again.
    """
    require_one_of("dataset", dataset, FINDERS)
    recipe = RECIPES[dataset] if recipe is None else recipe
    images, out = Path(images), Path(out)
    labels = images if labels is None else Path(labels)
    extra = {"modalities": modalities} if dataset == "brats2019" else {}
    cases = FINDERS[dataset](images, labels, **extra)
    split = _split(dataset, cases, recipe, lists, train_list, test_list)
    names = modalities if dataset == "brats2019" else SPECS[dataset].modalities
    _require_own_folder(out, dataset, recipe, names)
    remove_scraps(out, older_than=DAY)
    listed = {*split.train, *split.test}
    cases = [case for case in cases if case.id in listed]
    records = _run(cases, out, recipe, SPECS[dataset].orientation)
    remarks = _remarks(cases, labels, records, recipe)
    manifest = _manifest(dataset, cases, recipe, records, split, names)
    write_manifest(out, manifest, split.train, split.test)
    draw_sheet(out, manifest)
    return remarks


def _require_own_folder(
    out: Path, dataset: str, recipe: Recipe, modalities: tuple[str, ...]
) -> None:
    """Refuse to replace what runs may have been trained on, and files of somebody else."""
    if is_prepared(out):
        before = read_manifest(out)
        there = Recipe.of(before["recipe"]).of_arrays() if before["recipe"] else {}
        there["modalities"] = tuple(before["modalities"])
        wanted = {**recipe.of_arrays(), "modalities": tuple(modalities)}
        other = [name for name in wanted if there.get(name, wanted[name]) != wanted[name]]
        if before["dataset"] == dataset and before["recipe"] and not other:
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


def _split(
    dataset: str,
    cases: Sequence[RawCase],
    recipe: Recipe,
    lists: str | None,
    train_list: Path | None,
    test_list: Path | None,
) -> Lists:
    ids = [case.id for case in cases]
    labeled = [case.id for case in cases if case.label]
    if train_list or test_list:
        return given(train_list, test_list, ids, labeled)
    if dataset == "folder":
        return drawn(labeled, [i for i in ids if i not in labeled], recipe.test_share, recipe.seed)
    names = {name.split("/")[-1]: name for name in protocols(dataset)}
    if lists is None:
        lists = next(iter(names))
        withdrawn = {"PANCREAS_0025", "PANCREAS_0070"}
        if dataset == "pancreas" and not withdrawn <= set(ids):
            lists = "coranet"  # the archive gives 80 of once 82 cases now
    require_one_of("lists", lists, names)
    return published(names[lists], set(ids))


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
    return sha256_of(image, label if labeled else None) == record["sha256"]


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
    cases: Sequence[RawCase], labels: Path, records: dict[str, dict[str, Any]], recipe: Recipe
) -> list[str]:
    """What the user should read; raises DualsegError for a label value that never occurs."""
    remarks = []
    numbers = sorted({value for record in records.values() for value in record["values"]})
    listed = ", ".join(map(str, numbers))
    absent = sorted(set(recipe.values) - set(numbers))
    if absent:
        raise DualsegError(
            f"values: expected values that occur in {labels} ({listed or 'none'}), found "
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
    dataset: str,
    cases: Sequence[RawCase],
    recipe: Recipe,
    records: dict[str, dict[str, Any]],
    split: Lists,
    modalities: tuple[str, ...],
) -> dict[str, Any]:
    spec = SPECS[dataset]
    labeled = {case.id for case in cases if case.label}
    pool = split.train[: len(split.train) - split.validation]
    have_labels = sum(case in labeled for case in pool)
    few = have_labels if have_labels < len(pool) else max(1, have_labels // 4)
    fits = dataset != "folder" and spec.labeled < len(pool) and spec.labeled <= have_labels
    usual_values = recipe.values == RECIPES[dataset].values
    classes = spec.classes[1:] if usual_values else [f"value {v}" for v in recipe.values]
    spacings = np.median([record["spacing"] for record in records.values()], axis=0)
    return {
        "dataset": dataset,
        "title": spec.title,
        "recipe": {"name": dataset, "version": VERSION, **asdict(recipe)},
        "classes": [spec.classes[0], *classes],
        "modalities": list(modalities),
        "orientation": spec.orientation,
        "spacing": [round(float(s), 4) for s in spacings],
        "labeled": spec.labeled if fits else few,
        "validation": split.validation,
        "cases": records,
    }


def _foreground(record: dict[str, Any]) -> int:
    return sum(number for value, number in record["label_voxels"].items() if value != "0")
