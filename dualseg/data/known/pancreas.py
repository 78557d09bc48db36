"""NIH Pancreas-CT, from The Cancer Imaging Archive."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ...config.training import TrainConfig
from ...errors import DualsegError
from ..raw_files import RawCase, add_file, require_folder, same_case, volume_stem
from ..recipe import Recipe
from ..spec import LESSON, SMOKE, DatasetSpec
from ..splits import choose_lists

WITHDRAWN = {"PANCREAS_0025", "PANCREAS_0070"}  # the archive gives 80 of once 82 cases
# The paper, section 4.1: [-120, 240] HU, a crop with 25 voxels around the label.
RECIPE = Recipe(window=(-120.0, 240.0), crop="label", margin=(25, 25), size=(96, 96, 96))
BY_HAND = """\
NIH Pancreas-CT: abdominal CT with pancreas masks
  get    from https://www.cancerimagingarchive.net/collection/pancreas-ct/ (the images come as
         DICOM through the archive's own downloader, the masks as a zip of label0001.nii.gz and
         so on)
  terms  those on the collection's page (an attribution license); cite Roth et al., MICCAI 2015, and
         Clark et al., Journal of Digital Imaging 26, 2013
  put    {root}/images/PANCREAS_0001/.../*.dcm, or NIfTI files whose names end in the four digits,
         and {root}/labels/label0001.nii.gz
  next   dualseg data prepare pancreas --images {root}/images --labels {root}/labels --out PANCREAS
  note   Published results use three protocols that cannot be compared (--lists mcf0 to mcf3, mcnet,
         coranet). The first two are of 82 cases. The archive has since withdrawn cases 0025 and
         0070 as repeats of patients already in the collection, so the 82-case lists can train on
         a test patient's twin (0025 and 0070 fall in different folds). With the 80 cases
         that there are today, `prepare` takes the CoraNet lists; `dualseg data check` looks for
         scans that are alike. Most programs use 12 labels, the paper 6 and 12"""


def find_cases(images: Path, labels: Path) -> list[RawCase]:
    """PANCREAS_0001/.../*.dcm or a NIfTI file whose name ends in 0001; labels like label0001."""
    require_folder(images)
    scans: dict[str, Path] = {}
    for path in sorted(images.rglob("*")):
        if path.suffix.lower() == ".dcm":
            folders = path.relative_to(images).parts[:-1]
            numbers = [number for number in map(_number, folders) if number]
            _add_numbered(scans, numbers[0] if numbers else "", path.parent)
        elif (stem := volume_stem(path)) and not stem.startswith("label"):
            _add_numbered(scans, _number(stem), path)
    if not scans:
        raise DualsegError(
            f"{images}: expected PANCREAS_0001 and so on with DICOM files, or NIfTI files whose "
            "names end in the case's four digits, found none."
        )
    require_folder(labels)
    masks: dict[str, Path] = {}
    for path in sorted(labels.rglob("*")):
        stem = volume_stem(path)
        if stem and (labels != images or stem.startswith("label")):
            _add_numbered(masks, _number(stem), path)
    return [
        RawCase(f"PANCREAS_{n}", (path,), same_case(masks, n, labels, path))
        for n, path in sorted(scans.items())
    ]


def _number(name: str) -> str:
    match = re.search(r"\d{4}$", name)
    return match.group() if match else ""


def _add_numbered(found: dict[str, Path], number: str, path: Path) -> None:
    if not number:
        raise DualsegError(f"{path}: expected a name that ends in the case's four digits.")
    add_file(found, number, path)


def prepare(
    images: Path,
    labels: Path,
    out: Path,
    recipe: Recipe = RECIPE,
    lists: Literal["mcf0", "mcf1", "mcf2", "mcf3", "mcnet", "coranet"] | None = None,
    train_list: Path | None = None,
    test_list: Path | None = None,
) -> list[str]:
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
    from ..preparation.pipeline import prepare_cases

    cases = find_cases(images, labels)
    if lists is None:
        lists = "mcf0" if {case.id for case in cases} >= WITHDRAWN else "coranet"
    chosen = choose_lists(PANCREAS.lists, f"pancreas/{lists}", cases, train_list, test_list)
    return prepare_cases(PANCREAS, cases, chosen, out, recipe)


PANCREAS = DatasetSpec(
    name="pancreas",
    title="pancreas, abdominal CT",
    classes=("background", "pancreas"),
    spacing=(0.86, 0.86, 1.0),
    orientation="RAS",
    labeled=6,
    profiles={
        "smoke": replace(SMOKE, resolution="quarter", patch=(32, 32, 16), stride=(16, 16, 8)),
        "lesson": replace(LESSON, resolution="half", patch=(48, 48, 32), stride=(24, 24, 16)),
        "full": TrainConfig(patch=(96, 96, 96), stride=(16, 16, 16), checkpoint_every=500),
    },
    settings={"dual": {"alpha": 0.6, "gamma": 80.0}},
    lists={
        "pancreas/mcf0": "MCF, LUSEG and the paper, fold 1 of 4 of 82 cases",
        "pancreas/mcf1": "fold 2 of 4",
        "pancreas/mcf2": "fold 3 of 4",
        "pancreas/mcf3": "fold 4 of 4",
        "pancreas/mcnet": "MC-Net, ML-RPL, of 82 cases, shuffled",
        "pancreas/coranet": "CoraNet, BCP, without the withdrawn cases 0025 and 0070",
    },
    instructions={"pancreas": BY_HAND},
    usual_recipe=RECIPE,
    prepare=prepare,
    source_and_terms=(
        "NIH Pancreas-CT, from The Cancer Imaging Archive (see `dualseg data fetch pancreas`). "
        "Roth et al., MICCAI 2015; Clark et al., Journal of Digital Imaging 26, 2013; terms on its "
        "page."
    ),
)
