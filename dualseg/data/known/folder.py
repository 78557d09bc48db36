"""A user's own files, an image and perhaps a label a case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ...config.training import TrainConfig
from ...errors import DualsegError, require
from ..prepared_folder import has_lists, is_prepared, read_lists, read_manifest
from ..raw_files import RawCase, same_case, unused_note, volumes_by_case
from ..recipe import Recipe
from ..spec import LESSON, SMOKE, DatasetSpec
from ..splits import CaseLists, draw_lists, lists_of_files

RECIPE = Recipe()


def find_cases(
    images: Path, labels: Path, more_images: Sequence[Path] = ()
) -> tuple[list[RawCase], list[str]]:
    """The cases in two folders, or at two patterns, and notes on files that are not used.

    An image without a label is an unlabeled case; `more_images` are its further modalities.
    """
    if labels in (images, *more_images):
        raise DualsegError(
            f"labels: expected another place than that of the images, found {labels} twice; give "
            "the folder or the pattern of the labels."
        )
    channels, notes = [], []
    for place in (images, *more_images, labels):
        found, unused = volumes_by_case(place)
        channels.append(found)
        notes += [unused_note(place, unused)] if unused else []
    *channels, labeled = channels
    for case_id, path in labeled.items():
        if case_id not in channels[0]:
            raise DualsegError(
                f"{path}: expected an image of the same name in {images}, found "
                f"{_found_instead(case_id, channels[0], images)}"
            )
    cases = [
        RawCase(
            case_id,
            tuple(
                same_case(found, case_id, place, first)
                for found, place in zip(channels, (images, *more_images), strict=True)
            ),
            labeled.get(case_id),
        )
        for case_id, first in sorted(channels[0].items())
    ]
    without = [case.id for case in cases if not case.label]
    if without and "*" in f"{images}{labels}":  # a pattern may leave out what should be there
        more = ", ..." if len(without) > 5 else ""
        notes.append(
            f"{len(without)} of {len(cases)} cases have no label in {labels} and are used as "
            f"unlabeled ones: {', '.join(without[:5])}{more}"
        )
    return cases, notes


def _found_instead(case_id: str, images: Mapping[str, Path], place: Path) -> str:
    numbered = f"{case_id}_0000"
    if numbered not in images:
        return "none; rename one of them, or take the label away."
    ending = images[numbered].name.removeprefix(numbered)
    return f"{numbered!r}, as nnU-Net names them; give --images '{place}/*_0000{ending}'."


def prepare(
    images: Path,
    labels: Path,
    out: Path,
    recipe: Recipe = RECIPE,
    more_images: tuple[Path, ...] = (),
    modalities: tuple[str, ...] = (),
    train_list: Path | None = None,
    test_list: Path | None = None,
) -> list[str]:
    """Your own images and labels: NIfTI, NRRD, MetaImage or DICOM, matched by name.

    An image without a label is an unlabeled case. Goes on where it stopped. New files join the
    lists of a folder that was prepared before: its test cases stay test cases.

    Example: dualseg data prepare folder --images scans --labels masks --out data

    Args:
        images: Folder of the images, or a pattern in quotation marks, as 'imagesTr/*_0000.nii.gz'
            or '*/image.nii.gz'; its last * stands for the case's id.
        labels: Folder or pattern of the labels.
        out: Folder to make; then `--dataset OUT`.
        recipe: What is done to each scan, in the order of these settings.
        more_images: A folder or pattern for each further modality.
        modalities: Their names, the first one's first.
        train_list: File with training ids, one a line (with --test-list, instead of a draw).
        test_list: File with test ids.
    """
    from ..preparation.pipeline import prepare_cases

    spec = FOLDER
    if more_images or modalities:
        count = 1 + len(more_images)
        modalities = modalities or tuple(f"channel{number}" for number in range(count))
        require(len(modalities) == count, "modalities", f"{count} names", modalities)
        spec = replace(FOLDER, modalities=tuple(modalities))
    cases, notes = find_cases(images, labels, more_images)
    if train_list or test_list:
        lists = lists_of_files(train_list, test_list, cases)
    else:
        lists, changes = _drawn_lists(cases, out, recipe)
        notes += changes
    return notes + prepare_cases(spec, cases, lists, out, recipe)


def _drawn_lists(
    cases: Sequence[RawCase], out: Path, recipe: Recipe
) -> tuple[CaseLists, list[str]]:
    """The lists, and what should be said of them where `out` had other ones before."""
    if not (is_prepared(out) and has_lists(out)):
        return draw_lists(cases, recipe.test_share, recipe.seed), []
    train, test = read_lists(out)
    before = read_manifest(out)["recipe"] or {}
    same_draw = all(before.get(name) == getattr(recipe, name) for name in ("test_share", "seed"))
    former = CaseLists(train, test) if same_draw else None
    lists = draw_lists(cases, recipe.test_share, recipe.seed, former)
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
        "smoke": replace(SMOKE, resolution="half", patch=(16, 16, 16), stride=(8, 8, 8)),
        "lesson": replace(LESSON, resolution="half", patch=(48, 48, 32), stride=(24, 24, 16)),
        "full": TrainConfig(patch=(96, 96, 96), stride=(48, 48, 48), checkpoint_every=500),
    },
    usual_recipe=RECIPE,
    prepare=prepare,
    source_and_terms=(
        "Images and labels of your own: `dualseg data prepare folder --images DIR --labels "
        "DIR --out DATA`, then `--dataset DATA`."
    ),
)
