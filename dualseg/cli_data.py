"""The commands `dualseg data ...`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from .errors import DualsegError
from .recipes import FolderRecipe
from .specs import SPECS
from .text import columns


def data_list() -> None:
    """The data sets, their splits, and where the files come from.

    Example: dualseg data list
    """
    from .datasets import published_lists

    for spec in SPECS.values():
        if spec.name == "folder":
            print(f"{spec.name}: {spec.title}\n  {spec.terms}")
            continue
        train, test = published_lists(spec.name)
        spacing = " x ".join(f"{s:g}" for s in spec.spacing)
        print(
            f"{spec.name}: {spec.title}\n"
            f"  {len(train)} training and {len(test)} test cases, {spacing} mm, axes "
            f"{spec.orientation}, {spec.labeled} labeled by default\n  {spec.terms}"
        )


def data_fetch(dataset: Positional[str], root: Path, source: str | None = None) -> None:
    """Download a public data set, each file checked against its SHA-256; goes on where it stopped.

    Example: dualseg data fetch la --root LA

    Args:
        dataset: Name of the data set; only "la" may be fetched without registration.
        root: Folder to put it.
        source: Another base address with the same files (a mirror): SOURCE/<case>/mri_norm2.h5.
    """
    from .download import checksums, fetch

    new = fetch(dataset, root, source)
    print(
        f"{root}: {len(checksums(dataset))} cases in place, {len(new)} of them new.\n"
        f"{SPECS[dataset].terms}\nNext: dualseg data check {dataset} --root {root}"
    )


def data_prepare(
    recipe: Positional[Literal["folder"]],
    images: Path,
    labels: Path,
    out: Path,
    options: FolderRecipe = FolderRecipe(),  # noqa: B008  (frozen)
    train_list: Path | None = None,
    test_list: Path | None = None,
) -> None:
    """Turn raw files into a checked data set (then `--dataset OUT`); goes on where it stopped.

    Example: dualseg data prepare folder --images scans --labels masks --out data

    Args:
        recipe: "folder": images/ID.nii[.gz] and labels/ID.nii[.gz], matched by name; an image
            without a label is an unlabeled case.
        images: Folder of the images.
        labels: Folder of the labels.
        out: Folder to make.
        options: The recipe.
        train_list: File with training ids, one a line (with --test-list, instead of a draw).
        test_list: File with test ids.
    """
    from .prepare import prepare_folder

    for remark in prepare_folder(images, labels, out, options, train_list, test_list):
        print(f"note: {remark}.", file=sys.stderr)
    print(
        f"{out}: prepared. Look at {out / 'alignment.png'}: do the contours follow the organ?\n"
        f"Next: dualseg data check {out}; dualseg train --dataset {out} --out runs/mine"
    )


def data_check(dataset: Positional[str], root: Path | None = None) -> None:
    """Read every case of a data set; report what does not fit and exit with 1 if anything does not.

    Example: dualseg data check la --root LA

    Args:
        dataset: Name of the data set, or a folder that `dualseg data prepare` made.
        root: Its folder.
    """
    from .check import check
    from .datasets import open_dataset

    rows, problems = check(dataset, root)
    print(columns(rows))
    for problem in problems:
        print(f"problem: {problem}")
    if problems:
        raise DualsegError(f"{len(problems)} problems found in {len(rows) - 1} cases.")
    lists = {"published": "the published lists", "folder": "train.list and test.list of the folder"}
    used = lists[open_dataset(dataset, root).lists]
    print(f"{len(rows) - 1} cases, no problem found; split: {used}.")


def data_export(
    dataset: Positional[str],
    case: Positional[str],
    out: Path,
    label: Path | None = None,
    root: Path | None = None,
) -> None:
    """Write one case as NIfTI, to look at it in a viewer or to try `dualseg predict` on it.

    Example: dualseg data export phantom phantom_041 --out scan.nii.gz --label truth.nii.gz

    Args:
        dataset: Name of the data set, or a folder that `dualseg data prepare` made.
        case: Its id (`dualseg data check` lists them).
        out: The image to write, .nii or .nii.gz.
        label: Also write the label, to this file.
        root: Folder of the data set.
    """
    from .datasets import open_dataset
    from .nifti import export_case

    export_case(open_dataset(dataset, root), case, out, label)
    print(f"{out}: written.")
