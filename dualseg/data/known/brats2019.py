"""BraTS 2019: brain MR in four modalities with tumor masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from ...config.training import TrainConfig
from ...errors import require_one_of
from ..raw_files import RawCase, files_by_ending, same_case
from ..recipe import Recipe
from ..spec import LESSON, SMOKE, DatasetSpec
from ..splits import choose_lists

MODALITIES = ("flair", "t1", "t1ce", "t2")
# SSL4MIS: box of the brain, 99.9th percentile, z-score of the voxels above 0; all tumor parts are
# one foreground.
RECIPE = Recipe(clip_percentile=99.9, normalise="zscore_nonzero", statistics="crop", crop="nonzero")
BY_HAND = """\
BraTS 2019: brain MR in four modalities with tumor masks
  get    the training data (335 cases, MICCAI_BraTS_2019_Data_Training, folders HGG and LGG) through
         https://www.med.upenn.edu/cbica/brats2019/ (registration)
  terms  those of the registration, for research; cite Menze et al., IEEE TMI 34, 2015, Bakas et
         al., Scientific Data 4, 2017, and Bakas et al., arXiv:1811.02629
  put    {root}, as unpacked: <case>/<case>_flair.nii.gz, _t1, _t1ce, _t2 and _seg, at any depth
  next   dualseg data prepare brats2019 --images {root} --out BRATS
  note   The compared methods use FLAIR alone and the whole tumor as one foreground; so does this.
         --modalities flair t1 t1ce t2 makes four channels, --values 1 2 4 three classes"""


def find_cases(images: Path, labels: Path, modalities: tuple[str, ...]) -> list[RawCase]:
    """<case>/<case>_flair.nii[.gz] and <case>_seg.nii[.gz] at any depth (HGG, LGG)."""
    for name in modalities or ("none",):
        require_one_of("modalities", name, MODALITIES)
    first, *others = (
        files_by_ending(images, f"_{name}", f"<case>_{name}.nii.gz files as BraTS 2019 gives them")
        for name in modalities
    )
    masks = files_by_ending(labels, "_seg")
    return [
        RawCase(
            case_id,
            (scan, *(same_case(files, case_id, images, scan) for files in others)),
            same_case(masks, case_id, labels, scan),
        )
        for case_id, scan in first.items()
    ]


def prepare(
    images: Path,
    out: Path,
    labels: Path | None = None,
    recipe: Recipe = RECIPE,
    modalities: tuple[Literal["flair", "t1", "t1ce", "t2"], ...] = ("flair",),
    train_list: Path | None = None,
    test_list: Path | None = None,
) -> list[str]:
    """BraTS 2019 (see `dualseg data fetch brats2019`).

    Example: dualseg data prepare brats2019 --images MICCAI_BraTS_2019_Data_Training --out BRATS

    Args:
        images: Folder with <case>_flair.nii.gz and so on, at any depth.
        out: Folder to make; then `--dataset OUT`.
        labels: Folder with <case>_seg.nii.gz, if they lie in another one.
        recipe: What is done to each scan; the defaults are those of the compared methods.
        modalities: Channels of the input, in this order.
        train_list: File with training ids, one a line (with --test-list, for other lists).
        test_list: File with test ids.
    """
    from ..preparation.pipeline import prepare_cases

    cases = find_cases(images, labels or images, modalities)
    lists = choose_lists(BRATS2019.lists, "brats2019", cases, train_list, test_list)
    spec = replace(BRATS2019, modalities=modalities)
    return prepare_cases(spec, cases, lists, out, recipe)


BRATS2019 = DatasetSpec(
    name="brats2019",
    title="brain tumor, MR",
    classes=("background", "whole tumour"),  # spelled as in the runs and manifests there are
    spacing=(1.0, 1.0, 1.0),
    orientation="RAS",
    modalities=("flair",),
    labeled=25,
    validation=25,
    profiles={
        "smoke": replace(SMOKE, resolution="quarter", patch=(32, 32, 32), stride=(16, 16, 16)),
        "lesson": replace(LESSON, resolution="quarter", patch=(32, 32, 32), stride=(16, 16, 16)),
        "full": TrainConfig(
            patch=(96, 96, 96),
            stride=(64, 64, 64),
            iterations=20000,
            schedule="poly",
            flips=True,
            checkpoint_every=500,
        ),
    },
    settings={"dual": {"gamma": 30.0}},
    lists={"brats2019": "SSL4MIS, AC-MT and the paper"},
    instructions={"brats2019": BY_HAND},
    usual_recipe=RECIPE,
    prepare=prepare,
    source_and_terms=(
        "BraTS 2019 training data, for registered users (see `dualseg data fetch brats2019`). "
        "Menze et al., IEEE Transactions on Medical Imaging 34, 2015; Bakas et al., Scientific "
        "Data 4, 2017; Bakas et al., arXiv:1811.02629; for research."
    ),
)
