"""The commands `dualseg data ...`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from .errors import DualsegError, require_one_of
from .recipes import RECIPES, Recipe
from .sources import BY_HAND
from .specs import SPECS
from .splits import PROTOCOLS, protocols, published_lists
from .text import columns


def data_list() -> None:
    """The data sets, their splits, and where the files come from.

    Example: dualseg data list
    """
    for spec in SPECS.values():
        print(f"{spec.name}: {spec.title}")
        for name in protocols(spec.name):
            train, test = published_lists(name)
            held = f" (the last {spec.validation} held out)" if spec.validation else ""
            lists = f" (--lists {name.split('/')[1]})" if "/" in name else ""
            print(
                f"  {len(train)} training{held} and {len(test)} test cases{lists}: "
                f"{PROTOCOLS[name]}"
            )
        if spec.name != "folder":
            spacing = " x ".join(f"{s:g}" for s in spec.spacing)
            print(f"  {spacing} mm, axes {spec.orientation}, {spec.labeled} labeled by default")
        print(f"  {spec.terms}")


def data_fetch(
    dataset: Positional[str],
    root: Path,
    source: str | None = None,
) -> None:
    """Download a public data set, each file checked against its SHA-256; goes on where it stopped.

    For data that need a registration it says which files to get, where, on which terms, and how to
    go on.

    Example: dualseg data fetch la --root LA

    Args:
        dataset: "la" is downloaded; "la-challenge", "pancreas" and "brats2019" are explained.
        root: Folder to put it.
        source: Another base address with the same files (a mirror): SOURCE/<case>/mri_norm2.h5.
    """
    from .download import SOURCES, checksums, fetch

    require_one_of("dataset", dataset, {**SOURCES, **BY_HAND})
    if dataset in BY_HAND:
        print(BY_HAND[dataset].format(root=root))
        return
    new = fetch(dataset, root, source)
    print(
        f"{root}: {len(checksums(dataset))} cases in place, {len(new)} of them new; "
        f"{root / 'alignment.png'} shows some.\n{SPECS[dataset].terms}\n"
        f"Next: dualseg data check {root}; dualseg train --dataset {root} --out runs/NAME"
    )


def data_prepare_folder(
    images: Path,
    labels: Path,
    out: Path,
    recipe: Recipe = RECIPES["folder"],
    train_list: Path | None = None,
    test_list: Path | None = None,
) -> None:
    """Your own NIfTI files: images/ID.nii[.gz] and labels/ID.nii[.gz], matched by name.

    An image without a label is an unlabeled case. Goes on where it stopped.

    Example: dualseg data prepare folder --images scans --labels masks --out data

    Args:
        images: Folder of the images.
        labels: Folder of the labels.
        out: Folder to make; then `--dataset OUT`.
        recipe: What is done to each scan, in the order of these settings.
        train_list: File with training ids, one a line (with --test-list, instead of a draw).
        test_list: File with test ids.
    """
    _prepare("folder", images, labels, out, recipe, train_list=train_list, test_list=test_list)


def data_prepare_la(
    images: Path,
    out: Path,
    labels: Path | None = None,
    recipe: Recipe = RECIPES["la"],
    train_list: Path | None = None,
    test_list: Path | None = None,
) -> None:
    """The raw 2018 Atrial Segmentation Challenge (see `dualseg data fetch la-challenge`).

    Example: dualseg data prepare la --images raw --out LA

    Args:
        images: Folder with <case>/lgemri.nrrd.
        out: Folder to make; then `--dataset OUT`.
        labels: Folder with <case>/laendo.nrrd, if another one.
        recipe: What is done to each scan; the defaults are the published constants.
        train_list: File with training ids, one a line (with --test-list, for other lists).
        test_list: File with test ids.
    """
    _prepare("la", images, labels, out, recipe, train_list=train_list, test_list=test_list)


def data_prepare_pancreas(
    images: Path,
    labels: Path,
    out: Path,
    recipe: Recipe = RECIPES["pancreas"],
    lists: Literal["mcf0", "mcf1", "mcf2", "mcf3", "mcnet", "coranet"] | None = None,
    train_list: Path | None = None,
    test_list: Path | None = None,
) -> None:
    """NIH Pancreas-CT (see `dualseg data fetch pancreas`).

    Example: dualseg data prepare pancreas --images images --labels labels --out PANCREAS

    Args:
        images: Folder with PANCREAS_0001/.../*.dcm, or NIfTI files whose names end in 0001.
        labels: Folder with label0001.nii.gz and so on.
        out: Folder to make; then `--dataset OUT`.
        recipe: What is done to each scan; the defaults are the paper's.
        lists: Published lists; by default the paper's (mcf0) where all 82 cases are there, else
            coranet.
        train_list: File with training ids, one a line (with --test-list, for other lists).
        test_list: File with test ids.
    """
    _prepare(
        "pancreas",
        images,
        labels,
        out,
        recipe,
        lists=lists,
        train_list=train_list,
        test_list=test_list,
    )


def data_prepare_brats2019(
    images: Path,
    out: Path,
    labels: Path | None = None,
    recipe: Recipe = RECIPES["brats2019"],
    modalities: tuple[Literal["flair", "t1", "t1ce", "t2"], ...] = ("flair",),
    train_list: Path | None = None,
    test_list: Path | None = None,
) -> None:
    """BraTS 2019 (see `dualseg data fetch brats2019`).

    Example: dualseg data prepare brats2019 --images MICCAI_BraTS_2019_Data_Training --out BRATS

    Args:
        images: Folder with <case>_flair.nii.gz and so on, at any depth.
        out: Folder to make; then `--dataset OUT`.
        labels: Folder with <case>_seg.nii.gz, if another one.
        recipe: What is done to each scan; the defaults are those of the compared methods.
        modalities: Channels of the input, in this order.
        train_list: File with training ids, one a line (with --test-list, for other lists).
        test_list: File with test ids.
    """
    _prepare(
        "brats2019",
        images,
        labels,
        out,
        recipe,
        modalities=modalities,
        train_list=train_list,
        test_list=test_list,
    )


def _prepare(
    dataset: str, images: Path, labels: Path | None, out: Path, recipe: Recipe, **how: Any
) -> None:
    from .prepare import prepare

    for remark in prepare(dataset, images, labels, out, recipe, **how):
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
    lists = open_dataset(dataset, root).lists
    about = (
        f"published lists {lists!r}, {PROTOCOLS[lists]}" if lists in PROTOCOLS else "its own lists"
    )
    print(f"{len(rows) - 1} cases, no problem found; split: {about}.")


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
