"""From a folder of NIfTI files to the prepared layout, every case checked on the way.

Image and label are turned to one orientation by their affines, compared voxel by voxel in space,
resampled where asked for, and written one by one; what is written is not written again, so an
interrupted preparation goes on where it stopped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from nibabel import orientations
from tqdm import tqdm

from .cases import read_h5
from .errors import DualsegError
from .nifti import read_nifti, resize
from .plotting import CasePicture, plot_cases, save
from .prepared import read_case_record, write_case, write_manifest
from .recipes import FolderRecipe

ORIENTATION = "RAS"
VERSION = 1  # of the recipe; raise when its arrays would come out differently
SUFFIXES = (".nii.gz", ".nii")
SHEET_CASES = 12


@dataclass(frozen=True)
class _Job:
    case_id: str
    image: Path
    label: Path | None


def prepare_folder(
    images: str | Path,
    labels: str | Path,
    out: str | Path,
    recipe: FolderRecipe = FolderRecipe(),  # noqa: B008  (frozen)
    train_list: Path | None = None,
    test_list: Path | None = None,
) -> list[str]:
    """Prepare images/ID.nii[.gz] with labels/ID.nii[.gz] into `out`; returns remarks to read.

    An image without a label file is an unlabeled case. The lists, files with an id a line, take the
    place of the draw. `out` gets the prepared layout (see `dualseg.prepared`).

    Raises DualsegError naming the file for anything that does not fit; cases that were finished
    before stay and are not done again.
    """
    images, labels, out = Path(images), Path(labels), Path(out)
    jobs = _jobs(images, labels)
    labeled = [job.case_id for job in jobs if job.label]
    train, test = _split(jobs, labeled, recipe, train_list, test_list)
    records = _run(jobs, out, recipe)
    numbers = {value for record in records.values() for value in record["values"]}
    listed = ", ".join(map(str, sorted(numbers)))
    absent = sorted(set(recipe.values) - numbers)
    if absent:
        raise DualsegError(
            f"values: expected values that occur in {labels} ({listed}), found {absent[0]}."
        )
    remarks = []
    left = sorted(numbers - set(recipe.values))
    if recipe.values and left:
        remarks.append(
            f"the label values {', '.join(map(str, left))} are not among --values and became "
            "background"
        )
    if not recipe.values and len(numbers) > 1:
        remarks.append(
            f"the labels hold the values {listed}; they were merged into one foreground "
            f"(--values {' '.join(map(str, sorted(numbers)))} makes each a class)"
        )
    empty = [case for case in labeled if not _foreground(records[case])]
    if empty:
        remarks.append(f"no foreground in the label of {', '.join(empty)}")
    spacings = np.array([record["spacing"] for record in records.values()])
    middle = np.median(spacings, axis=0)
    if (np.abs(spacings / middle - 1) > 0.01).any():
        remarks.append(
            "the scans differ in voxel size; the networks see voxels, not mm, so consider "
            "--spacing " + " ".join(f"{s:.3g}" for s in middle)
        )
    classes = [f"value {v}" for v in recipe.values] or ["foreground"]
    have_labels = [case for case in train if case in set(labeled)]
    write_manifest(
        out,
        {
            "dataset": "folder",
            "title": "your own data",
            "recipe": {"name": "folder", "version": VERSION, **asdict(recipe)},
            "classes": ["background", *classes],
            "orientation": ORIENTATION,
            "spacing": [round(float(s), 4) for s in middle],
            "labeled": len(have_labels)
            if len(have_labels) < len(train)
            else max(1, len(have_labels) // 4),
            "cases": records,
        },
        train,
        test,
    )
    _draw_sheet(out, records, labeled)
    return remarks


def _jobs(images: Path, labels: Path) -> list[_Job]:
    found = {name: dict(_files(folder)) for name, folder in (("i", images), ("l", labels))}
    if not found["i"]:
        raise DualsegError(f"{images}: expected .nii or .nii.gz images, found none.")
    for case_id, path in found["l"].items():
        if case_id not in found["i"]:
            raise DualsegError(
                f"{path}: expected an image of the same name in {images}, found none; rename one "
                "of them, or take the label away."
            )
    return [_Job(i, path, found["l"].get(i)) for i, path in sorted(found["i"].items())]


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    if not folder.is_dir():
        raise DualsegError(f"{folder}: expected a folder, found none.")
    seen: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        suffix = next((s for s in SUFFIXES if path.name.endswith(s)), None)
        if suffix is None or path.name.startswith("."):
            continue
        case_id = path.name.removesuffix(suffix)
        if case_id in seen:
            raise DualsegError(f"{path}: has the same name as {seen[case_id].name}; keep one.")
        if not case_id or any(c.isspace() for c in case_id):
            raise DualsegError(
                f"{path}: expected a name without spaces (it becomes the case's id)."
            )
        seen[case_id] = path
        yield case_id, path


def _split(
    jobs: list[_Job],
    labeled: list[str],
    recipe: FolderRecipe,
    train_list: Path | None,
    test_list: Path | None,
) -> tuple[list[str], list[str]]:
    """Training ids, labeled ones first, and test ids."""
    unlabeled = [job.case_id for job in jobs if not job.label]
    if (train_list is None) != (test_list is None):
        raise DualsegError("train_list and test_list: expected both or neither, found one.")
    if train_list and test_list:
        return _given_split(jobs, set(labeled), train_list, test_list)
    if len(labeled) < 2:
        raise DualsegError(
            f"labels: expected at least 2 labeled cases (one to train, one to test), found "
            f"{len(labeled)}."
        )
    order = np.random.default_rng(recipe.seed).permutation(len(labeled))
    tests = min(max(1, round(recipe.test_share * len(labeled))), len(labeled) - 1)
    test = [labeled[i] for i in order[:tests]]
    return [labeled[i] for i in order[tests:]] + unlabeled, test


def _given_split(
    jobs: list[_Job], labeled: set[str], train_list: Path, test_list: Path
) -> tuple[list[str], list[str]]:
    known = {job.case_id for job in jobs}
    lists = []
    for path in (train_list, test_list):
        try:
            ids = path.read_text(encoding="utf-8").split()
        except OSError as error:
            raise DualsegError(
                f"{path}: expected a list of ids, found no readable file."
            ) from error
        strange = [case for case in ids if case not in known]
        if strange or not ids:
            found = f"{strange[0]!r}, which has none" if strange else "no id"
            raise DualsegError(f"{path}: expected ids that have an image, found {found}.")
        lists.append(ids)
    train, test = lists
    twice = [case for case in test if case in train or test.count(case) > 1]
    twice += [case for case in train if train.count(case) > 1]
    if twice:
        raise DualsegError(
            f"{test_list}: expected no id twice in the lists, found {twice[0]!r}; take one out."
        )
    bare = [case for case in test if case not in labeled]
    if bare:
        raise DualsegError(f"{test_list}: expected labeled cases, found {bare[0]!r} without label.")
    if not any(case in labeled for case in train):
        raise DualsegError(f"{train_list}: expected a labeled case, found none.")
    return sorted(train, key=lambda case: case not in labeled), test  # stable: labeled ones first


def _run(jobs: list[_Job], out: Path, recipe: FolderRecipe) -> dict[str, dict[str, Any]]:
    """Prepare all cases in parallel; returns their records by id."""
    records, todo = {}, []
    for job in jobs:
        record = read_case_record(out, job.case_id)
        if record and record["stamp"] == _stamp(job, recipe):
            records[job.case_id] = record
        else:
            todo.append(job)
    bar = tqdm(total=len(jobs), initial=len(records), desc="preparing", unit="case")
    with bar, ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        tasks = {pool.submit(_prepare_case, job, out, recipe): job for job in todo}
        try:
            for task in as_completed(tasks):
                records[tasks[task].case_id] = task.result()
                bar.update()
        except BaseException:  # the first problem is told; what has not begun is not begun
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {job.case_id: records[job.case_id] for job in jobs}


def _stamp(job: _Job, recipe: FolderRecipe) -> str:
    """Changes when a source file or a setting of the recipe that makes the arrays changes."""
    status = [path.stat() for path in (job.image, job.label) if path]
    sources = [(s.st_size, s.st_mtime_ns) for s in status]
    return repr((VERSION, recipe.spacing, recipe.values, sources))


def _prepare_case(job: _Job, out: Path, recipe: FolderRecipe) -> dict[str, Any]:
    stamp = _stamp(job, recipe)
    image, affine = _oriented(job.image)
    label, values = None, []
    if job.label:
        label, label_affine = _oriented(job.label)
        _require_same_grid(job, image, affine, label, label_affine)
        label, values = _classes(job.label, label, recipe)
    spacing = nib.affines.voxel_sizes(affine)
    if recipe.spacing:
        shape = [
            max(round(n * have / want), 1)
            for n, have, want in zip(image.shape, spacing, recipe.spacing, strict=True)
        ]
        image = resize(torch.from_numpy(image)[None], shape)[0].numpy()
        if label is not None:
            label = _resize_label(label, shape)
        spacing = recipe.spacing
    sources = {"image": job.image.name, "label": job.label.name if job.label else None}
    about = {"orientation": ORIENTATION, "values": values, "source": sources, "stamp": stamp}
    return write_case(out, job.case_id, image, label, tuple(spacing), about)


def _oriented(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Values (X, Y, Z) float32 along `ORIENTATION`, and the affine of that array."""
    scan, values = read_nifti(path)
    here = orientations.io_orientation(scan.affine)
    if np.isnan(here).any() or not np.isfinite(scan.affine).all():
        raise DualsegError(
            f"{path}: expected an affine that says how the axes lie in the body, found a column of "
            "zeros or no numbers; repair the file's header first."
        )
    turn = orientations.ornt_transform(here, orientations.axcodes2ornt(ORIENTATION))
    turned = np.ascontiguousarray(orientations.apply_orientation(values, turn))
    return turned, scan.affine @ orientations.inv_ornt_aff(turn, values.shape)


def _require_same_grid(
    job: _Job,
    image: np.ndarray,
    affine: np.ndarray,
    label: np.ndarray,
    label_affine: np.ndarray,
) -> None:
    if image.shape != label.shape:
        raise DualsegError(
            f"{job.label}: expected the {image.shape} voxels of its image (axes as {ORIENTATION}), "
            f"found {label.shape}; resample the label to the image first."
        )
    # How far apart the two put the corners of the volume, in mm.
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(image.shape) - 1)
    apart = nib.affines.apply_affine(affine, corners) - nib.affines.apply_affine(
        label_affine, corners
    )
    distance = np.linalg.norm(apart, axis=1).max()
    half_voxel = nib.affines.voxel_sizes(affine).min() / 2
    if distance > half_voxel:
        raise DualsegError(
            f"{job.label}: expected to lie where its image lies, found corners {distance:.1f} mm "
            "apart by the affines; one of the two headers is wrong, or the label needs resampling."
        )


def _classes(path: Path, label: np.ndarray, recipe: FolderRecipe) -> tuple[np.ndarray, list[int]]:
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


def _foreground(record: dict[str, Any]) -> int:
    return sum(number for value, number in record["label_voxels"].items() if value != "0")


def _draw_sheet(out: Path, records: dict[str, dict[str, Any]], labeled: list[str]) -> None:
    """Image and label contour of some labeled cases, evenly chosen; for a person to look at."""
    chosen = labeled[:: -(-len(labeled) // SHEET_CASES)]
    pictures = []
    for case in chosen:
        image, label = read_h5(out / records[case]["file"], labeled=True)
        pictures.append(CasePicture(case, image, label > 0, {}))
    save(
        plot_cases(pictures, records[chosen[0]]["spacing"], ORIENTATION),
        out / "alignment.png",
        alt=f"The label's contour on the slices where it is largest, for {len(chosen)} of "
        f"{len(labeled)} labeled cases: it should follow the organ's border in every picture.",
    )
