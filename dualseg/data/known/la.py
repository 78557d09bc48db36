"""Left atrium, late gadolinium-enhanced MR: the 2018 Atrial Segmentation Challenge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..._util.files import require_file_name
from ...config.training import TrainConfig
from ..case_sources import CaseFiles
from ..raw_files import RawCase, files_by_folder, same_case
from ..recipe import Recipe
from ..spec import LESSON, SMOKE, DatasetSpec
from ..splits import choose_lists

FILE = "mri_norm2.h5"
# Yu et al., UA-MT, 2019: z-score of the whole scan, then a crop in x and y around the label.
RECIPE = Recipe(
    values=(255,), normalise="zscore", crop="label", margin=(10, 19), axes="xy", size=(112, 112, 1)
)
BY_HAND = """\
2018 Atrial Segmentation Challenge: the raw scans behind the data set "la"
  get    the training set of 100 cases from https://www.cardiacatlas.org/atriaseg2018-challenge/
         (registration)
  terms  those of the registration, for research; cite Xiong et al., Medical Image Analysis 67, 2021
  put    {root}/<case>/lgemri.nrrd (scan) and {root}/<case>/laendo.nrrd (mask, 255 = atrium); <case>
         is each folder's name as it comes; the published lists use these names
  next   dualseg data prepare la --images {root} --out LA
  note   `dualseg data fetch la` needs no registration: the same cases, normalized and cropped
         around the ground truth by the authors of UA-MT. The raw scans allow a crop that does not
         look at the label: add --crop centre --size 256 256 88"""


class PublishedFiles(CaseFiles):
    """The cases as UA-MT publishes them: ROOT/<case>/mri_norm2.h5."""

    def path(self, case_id: str) -> Path:
        return self.root / require_file_name(case_id, self.root) / FILE


def find_cases(images: Path, labels: Path) -> list[RawCase]:
    """The challenge's ID/lgemri.nrrd and ID/laendo.nrrd, at any depth."""
    expected = "<case>/lgemri.nrrd as the 2018 Atrial Segmentation Challenge gives them"
    scans = files_by_folder(images, "lgemri.nrrd", expected)
    masks = files_by_folder(labels, "laendo.nrrd")
    return [RawCase(i, (path,), same_case(masks, i, labels, path)) for i, path in scans.items()]


def prepare(
    images: Path,
    out: Path,
    labels: Path | None = None,
    recipe: Recipe = RECIPE,
    train_list: Path | None = None,
    test_list: Path | None = None,
) -> list[str]:
    """The raw 2018 Atrial Segmentation Challenge (see `dualseg data fetch la-challenge`).

    Example: dualseg data prepare la --images raw --out LA

    Args:
        images: Folder with <case>/lgemri.nrrd.
        out: Folder to make; then `--dataset OUT`.
        labels: Folder with <case>/laendo.nrrd, if they lie in another one.
        recipe: What is done to each scan; the defaults are the published constants.
        train_list: File with training ids, one a line (with --test-list, for other lists).
        test_list: File with test ids.
    """
    from ..preparation.pipeline import prepare_cases

    cases = find_cases(images, labels or images)
    lists = choose_lists(LA.lists, "la", cases, train_list, test_list)
    return prepare_cases(LA, cases, lists, out, recipe)


LA = DatasetSpec(
    name="la",
    title="left atrium, late gadolinium-enhanced MR",
    classes=("background", "left atrium"),
    spacing=(0.625, 0.625, 0.625),
    orientation="LPS",
    labeled=8,
    profiles={
        "smoke": replace(SMOKE, resolution="quarter", patch=(32, 32, 16), stride=(16, 16, 8)),
        "lesson": replace(LESSON, resolution="quarter", patch=(48, 32, 32), stride=(24, 16, 16)),
        "full": TrainConfig(checkpoint_every=500),
    },
    lists={"la": "UA-MT, fold 0 of MCF and LUSEG, the paper"},
    published_files=PublishedFiles,
    download=(
        "https://raw.githubusercontent.com/yulequan/UA-MT/master/data/2018LA_Seg_Training Set"
    ),
    instructions={"la-challenge": BY_HAND},
    usual_recipe=RECIPE,
    prepare=prepare,
    source_and_terms=(
        "`dualseg data fetch la --root DIR` gets the files from the repository yulequan/UA-MT on "
        f"GitHub (folder `data/2018LA_Seg_Training Set`) as DIR/<case>/{FILE}, 233 MB. "
        "2018 Atrial Segmentation Challenge (Xiong et al., Medical Image Analysis 67, 2021), "
        "normalized and cropped by the authors of UA-MT (Yu et al., MICCAI 2019), who ask to cite "
        "both; for research."
    ),
)
