"""The data sets that the package knows. Adding one is a file here and a line in `DATASETS`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ...errors import DualsegError, require_one_of
from ..prepared_folder import is_prepared, read_manifest
from ..recipe import Recipe
from ..spec import DatasetSpec, prepared_spec
from ..splits import read_published
from .brats2019 import BRATS2019
from .folder import FOLDER
from .la import LA
from .pancreas import PANCREAS
from .phantom import PHANTOM

DATASETS: dict[str, DatasetSpec] = {
    "phantom": PHANTOM,
    "la": LA,
    "pancreas": PANCREAS,
    "brats2019": BRATS2019,
    "folder": FOLDER,
}


def dataset_spec(name: str) -> DatasetSpec:
    """The spec of a named data set; raises DualsegError for an unknown name."""
    require_one_of("dataset", name, DATASETS)
    return DATASETS[name]


def resolve_dataset(dataset: str, root: str | None = None) -> tuple[str, str | None, DatasetSpec]:
    """Name, folder and spec of a named data set, or of a prepared folder given in its place.

    A "~" at the start of a folder is the user's home: not every shell puts it in. Raises
    DualsegError for what is neither.
    """
    root = None if root is None else os.path.expanduser(root)
    folder = os.path.expanduser(dataset)
    if dataset not in DATASETS and Path(folder).is_dir():
        dataset, root = read_manifest(Path(folder))["dataset"], folder
    elif dataset not in DATASETS:
        known = ", ".join(sorted(DATASETS))
        raise DualsegError(
            f"dataset: expected one of {known}, or a folder that `dualseg data prepare` made, "
            f"found {dataset!r}, which is neither."
        )
    spec = dataset_spec(dataset)
    if root is not None and is_prepared(Path(root)):
        spec = prepared_spec(spec, read_manifest(Path(root)))
    return dataset, root, spec


def protocols() -> dict[str, str]:
    """Who uses each of the published lists of all data sets, by the lists' name."""
    return {name: who for spec in DATASETS.values() for name, who in spec.lists.items()}


def published_lists(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The lists of cases that the field uses.

    Parameters
    ----------
    name : str
        A data set (for the lists that the paper follows), or one of `protocols()`.

    Returns
    -------
    train, test : tuple of str
        Ids in the published order; validation ids stand at the end of `train`.

    Raises
    ------
    DualsegError
        For an unknown name.
    """
    if name in DATASETS:
        name = next(iter(DATASETS[name].lists), name)
    require_one_of("lists", name, protocols())
    lists = read_published(name)
    return lists.train, lists.test


def prepare(
    dataset: str,
    images: str | Path,
    labels: str | Path | None,
    out: str | Path,
    recipe: Recipe | None = None,
    **options: Any,
) -> list[str]:
    """Prepare the raw files of a known data set, or a "folder" of a user's own files.

    Parameters
    ----------
    dataset : str
        Name of a data set that has raw files.
    images, labels : str or Path
        Folders of the raw files; `labels` is None where they lie among the images.
    out : str or Path
        Folder to make, in the prepared layout (see `dualseg.data.prepared_folder`).
    recipe : Recipe, optional
        What is done to each scan; by default the data set's usual recipe.
    **options
        What else `dualseg data prepare DATASET` takes, such as `train_list` and `test_list`.

    Returns
    -------
    list of str
        Remarks that the user should read.

    Raises
    ------
    DualsegError
        Naming the file for anything that does not fit. Cases that were finished before stay.
    """
    preparing = {name: spec.prepare for name, spec in DATASETS.items() if spec.prepare}
    require_one_of("dataset", dataset, preparing)
    return preparing[dataset](
        images=Path(images),
        labels=Path(images if labels is None else labels),
        out=Path(out),
        recipe=recipe or DATASETS[dataset].usual_recipe,
        **options,
    )
