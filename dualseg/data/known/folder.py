"""A user's own NIfTI files, an image and perhaps a label a case."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...config.training import TrainConfig
from ...errors import DualsegError
from ..prepared_folder import has_lists, is_prepared, read_lists, read_manifest
from ..raw_files import RawCase, nifti_files
from ..recipe import Recipe
from ..spec import DatasetSpec
from ..splits import CaseLists, draw_lists, extend_lists, lists_of_files

RECIPE = Recipe()


def find_cases(images: Path, labels: Path) -> list[RawCase]:
    """images/ID.nii[.gz] and labels/ID.nii[.gz]; an image without a label is an unlabeled case."""
    found, labeled = nifti_files(images), nifti_files(labels)
    if not found:
        raise DualsegError(f"{images}: expected .nii or .nii.gz images, found none.")
    for case_id, path in labeled.items():
        if case_id not in found:
            raise DualsegError(
                f"{path}: expected an image of the same name in {images}, found none; rename one "
                "of them, or take the label away."
            )
    return [RawCase(i, (path,), labeled.get(i)) for i, path in sorted(found.items())]


def prepare(
    images: Path,
    labels: Path,
    out: Path,
    recipe: Recipe = RECIPE,
    train_list: Path | None = None,
    test_list: Path | None = None,
) -> list[str]:
    """Your own NIfTI files: images/ID.nii[.gz] and labels/ID.nii[.gz], matched by name.

    An image without a label is an unlabeled case. Goes on where it stopped. New files join the
    lists of a folder that was prepared before: its test cases stay test cases.

    Example: dualseg data prepare folder --images scans --labels masks --out data

    Args:
        images: Folder of the images.
        labels: Folder of the labels.
        out: Folder to make; then `--dataset OUT`.
        recipe: What is done to each scan, in the order of these settings.
        train_list: File with training ids, one a line (with --test-list, instead of a draw).
        test_list: File with test ids.
    """
    from ..preparation.pipeline import prepare_cases

    cases = find_cases(images, labels)
    if train_list or test_list:
        lists, notes = lists_of_files(train_list, test_list, cases), []
    else:
        lists, notes = _drawn_lists(cases, out, recipe)
    return notes + prepare_cases(FOLDER, cases, lists, out, recipe)


def _drawn_lists(
    cases: Sequence[RawCase], out: Path, recipe: Recipe
) -> tuple[CaseLists, list[str]]:
    """The lists, and what should be said of them where `out` had other ones before."""
    if not (is_prepared(out) and has_lists(out)):
        return draw_lists(cases, recipe.test_share, recipe.seed), []
    train, test = read_lists(out)
    before = read_manifest(out)["recipe"] or {}
    same_draw = all(before.get(name) == getattr(recipe, name) for name in ("test_share", "seed"))
    if same_draw:
        lists = extend_lists(CaseLists(train, test), cases, recipe.test_share, recipe.seed)
    else:
        lists = draw_lists(cases, recipe.test_share, recipe.seed)
    changes = {
        "now test cases": set(lists.test) - set(test),
        "no longer test cases": set(test) - set(lists.test),
        "new training cases": set(lists.train) - {*train, *test},
        "gone": set(train) - {*lists.train, *lists.test},
    }
    told = "; ".join(f"{what}: {', '.join(sorted(ids))}" for what, ids in changes.items() if ids)
    return lists, [f"the lists in {out} have changed; {told}"] if told else []


FOLDER = DatasetSpec(
    name="folder",
    title="your own data",
    classes=("background", "foreground"),  # like spacing and labeled, read from the manifest
    spacing=(1.0, 1.0, 1.0),
    orientation="RAS",
    labeled=4,
    profiles={
        "smoke": TrainConfig(
            resolution="half",
            patch=(16, 16, 16),
            stride=(8, 8, 8),
            filters=4,
            iterations=6,
            checkpoint_every=2,
        ),
        "lesson": TrainConfig(
            resolution="half",
            patch=(48, 48, 32),
            stride=(24, 24, 16),
            filters=8,
            iterations=400,
            learning_rate=0.05,
            schedule="poly",
        ),
        "full": TrainConfig(patch=(96, 96, 96), stride=(48, 48, 48), checkpoint_every=500),
    },
    usual_recipe=RECIPE,
    prepare=prepare,
    source_and_terms=(
        "NIfTI images and labels of your own: `dualseg data prepare folder --images DIR --labels "
        "DIR --out DATA`, then `--dataset DATA`."
    ),
)
