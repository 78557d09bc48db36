"""The prepared layout: the folder that every data set is prepared into, from any raw files.

Its files are::

    manifest.json     what there is: recipe, classes, orientation, and a record of each case
    train.list        ids that train, one a line; test.list likewise
    cases/<id>.h5     "image" float32 (X, Y, Z), with several channels (C, X, Y, Z), and, where
                      there is one, "label" (X, Y, Z) uint8
    cases/<id>.json   the case's record (the manifest's entry), so that preparing can be resumed;
                      its "box" is the part that was kept, in voxels of the scan turned to
                      "orientation"
    alignment.png     label contours on the images, to be looked at
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._util.files import (
    read_json,
    read_text,
    require_fields,
    require_file_name,
    write_atomically,
    write_json,
)
from ..errors import DualsegError, brief
from .case import fingerprint, read_h5

LAYOUT = 1
MANIFEST = "manifest.json"
SPEC_FIELDS = ["title", "classes", "modalities", "orientation"]
SPEC_FIELDS += ["spacing", "labeled", "validation", "recipe"]
"""What the manifest says of the whole data set (fields of `DatasetSpec`)."""


def write_case(
    root: Path,
    case_id: str,
    image: np.ndarray,
    label: np.ndarray | None,
    spacing: tuple[float, ...],
    about: dict[str, Any],
) -> dict[str, Any]:
    """Write one case, its arrays first and its record last; returns the record.

    The arrays are as in `Case`, or `label` is None; `spacing` is in mm.
    """
    import h5py  # here: the command line reads manifests, and should start fast

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("image", data=image, compression="gzip", compression_opts=1)
        if label is not None:
            file.create_dataset("label", data=label, compression="gzip", compression_opts=1)
    path = root / "cases" / f"{require_file_name(case_id, root)}.h5"
    write_atomically(path, buffer.getvalue())
    record = case_record(f"cases/{case_id}.h5", image, label, spacing) | about
    write_json(path.with_suffix(".json"), record)
    return record


def case_record(
    file: str, image: np.ndarray, label: np.ndarray | None, spacing: tuple[float, ...]
) -> dict[str, Any]:
    """A case's entry of the manifest; shapes as for `write_case`, `file` relative to the root."""
    voxels = None
    if label is not None:
        values, counts = np.unique(label, return_counts=True)
        voxels = {str(value): int(n) for value, n in zip(values, counts, strict=True)}
    return {
        "file": file,
        "shape": list(image.shape[-3:]),
        "spacing": [round(float(s), 6) for s in spacing],
        "intensities": [float(image.min()), float(image.max())],
        "label_voxels": voxels,
        "fingerprint": fingerprint(image, label),
    }


def read_case_record(root: Path, case_id: str, stamp: str) -> dict[str, Any] | None:
    """The record of a case with this stamp whose file holds its arrays still; else None."""
    path = root / "cases" / f"{require_file_name(case_id, root)}.json"
    try:
        record = read_json(path)
        _require_record(record, path)
        if record.get("stamp") != stamp:
            return None
        arrays = read_h5(root / record["file"], labeled=record["label_voxels"] is not None)
    except DualsegError:
        return None
    return record if fingerprint(*arrays) == record.get("fingerprint") else None


def write_manifest(
    root: Path, manifest: dict[str, Any], train: Sequence[str], test: Sequence[str]
) -> None:
    """Write the lists and, last, the manifest."""
    _write_list(root / "train.list", train)
    _write_list(root / "test.list", test)
    write_json(root / MANIFEST, {"layout": LAYOUT, **manifest})


def _write_list(path: Path, ids: Sequence[str]) -> None:
    text = "".join(f"{case}\n" for case in ids)
    write_atomically(path, text.encode())


def has_lists(root: Path) -> bool:
    """Whether a folder holds lists of its own."""
    return all((root / f"{name}.list").is_file() for name in ("train", "test"))


def read_lists(root: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Training and test ids of a folder's own lists.

    Raises DualsegError where a list is missing, or an id cannot be a file's name.
    """
    lists = []
    for path in (root / "train.list", root / "test.list"):
        if not path.is_file():
            raise DualsegError(f"{path}: expected the list of ids, an id a line, found none.")
        ids = read_text(path).split()
        lists.append(tuple(require_file_name(case_id, path) for case_id in ids))
    return lists[0], lists[1]


def is_prepared(root: Path) -> bool:
    """Whether a folder holds a manifest."""
    return (root / MANIFEST).is_file()


def read_manifest(root: Path) -> dict[str, Any]:
    """The manifest of a prepared folder.

    Raises DualsegError where it is missing, no JSON, of another layout, lacks a key, or names files
    outside the folder.
    """
    path = root / MANIFEST
    if not path.exists():
        raise DualsegError(
            f"{path}: expected the manifest of a prepared data set, found none; make it with "
            "`dualseg data prepare`."
        )
    manifest = read_json(path)
    if manifest.get("layout") != LAYOUT:
        raise DualsegError(
            f"{path}: expected layout {LAYOUT}, found {manifest.get('layout')!r}; prepare the data "
            "again with this version."
        )
    require_fields(manifest, {"dataset": str, "cases": dict}, path)
    require_fields(manifest, dict.fromkeys(SPEC_FIELDS, object), path)
    for case_id, record in manifest["cases"].items():
        require_file_name(case_id, path)
        _require_record(record, path)
    return manifest


def _require_record(record: Any, path: Path) -> None:
    """Raise DualsegError unless a case's record can be used, and its file lies in the folder."""
    require_fields(record, {"file": str, "spacing": list, "label_voxels": (dict, type(None))}, path)
    require_spacing(record["spacing"], path)
    for part in record["file"].split("/"):
        require_file_name(part, path)


def require_spacing(spacing: Sequence[Any], place: object) -> None:
    """Raise DualsegError unless these are three voxel sizes in mm."""
    good = len(spacing) == 3 and all(isinstance(s, int | float) and 0 < s < 1e3 for s in spacing)
    if not good:
        raise DualsegError(
            f"{place}: expected a spacing of three sizes in mm, found {brief(spacing)}."
        )
