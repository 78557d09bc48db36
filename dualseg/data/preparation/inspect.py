"""Looking a data set over before it is trusted."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import torch
from tqdm import tqdm

from ...errors import DualsegError
from ..case import Case, fingerprint
from ..dataset import Dataset, open_dataset
from ..grids import resize

ALIKE = 0.95  # correlation of two thumbnails from which on scans look like one (LA: at most 0.76)
OUTSIDE = 0.2  # share of a label in the darkest value of its scan, from which on it is suspect
FULL = 0.95  # share of a scan that is labeled, from which on it is suspect
PAIRS = 10  # of such scans that are named
THUMBNAIL = (16, 16, 16)


def check(
    name: str, root: str | os.PathLike | None = None
) -> tuple[list[tuple[str, ...]], list[str]]:
    """Read every case of a data set and look for problems.

    Parameters
    ----------
    name, root
        As for `open_dataset`.

    Returns
    -------
    rows : list of tuple of str
        A table of what was found, its header first.
    problems : list of str
        Unreadable or unfit arrays (see `checked_case`), voxels that are not those of the manifest,
        a constant scan, an empty label, one that fills the scan or lies in its background, scans
        that are the same or look it.

    Raises
    ------
    DualsegError
        Where the data set cannot be opened at all (no folder, an id in two lists).
    """
    dataset = open_dataset(name, root)
    rows: list[tuple[str, ...]] = [("case", "split", "shape", "mm", "intensities", "foreground")]
    problems: list[str] = []
    thumbnails: dict[str, np.ndarray] = {}
    seen: dict[str, str] = {}
    cases = [(case, "train") for case in dataset.train] + [(case, "test") for case in dataset.test]
    for case_id, part in tqdm(cases, desc=f"checking {name}", unit="case"):
        try:
            case = dataset.read(case_id)
        except DualsegError as error:
            rows.append((case_id, part, "", "", "", ""))
            problems.append(str(error))
            continue
        rows.append(_row(dataset, case, part))
        problems += _problems(dataset, case)
        twin = seen.setdefault(hashlib.sha256(case.image.tobytes()).hexdigest(), case_id)
        if twin != case_id:
            problems.append(
                f"cases {twin} and {case_id}: expected two scans, found the same voxels."
            )
        else:
            thumbnails[case_id] = _thumbnail(case)
    return rows, problems + _alike(thumbnails)


def _row(dataset: Dataset, case: Case, part: str) -> tuple[str, ...]:
    classes = range(1, len(dataset.spec.classes))
    shares = [f"{100 * (case.label == number).mean():.2f} %" for number in classes]
    return (
        case.id,
        part,
        " x ".join(map(str, case.label.shape)),
        " x ".join(f"{s:.3g}" for s in dataset.spacing(case.id)),
        f"{case.image.min():.2f} to {case.image.max():.2f}",
        ", ".join(shares) if dataset.has_label(case.id) else "no label",
    )


def _problems(dataset: Dataset, case: Case) -> list[str]:
    problems = []
    noted = dataset.source.noted_fingerprint(case.id)
    if noted and noted != fingerprint(case.image, case.label):
        problems.append(
            f"case {case.id}: expected the voxels that the manifest describes, found others; "
            "prepare the data again."
        )
    if case.picture.min() == case.picture.max():
        problems.append(
            f"case {case.id}: expected intensities that differ, found {case.picture.min():.2f} "
            "everywhere; get the scan again, or leave it out."
        )
    if not dataset.has_label(case.id):
        return problems
    share = (case.label > 0).mean()
    inside = case.picture[case.label > 0]
    if share > FULL:
        problems.append(
            f"case {case.id}: expected a label of a part of the scan, found {100 * share:.0f} % of "
            "it labeled; is it an image in the label's place?"
        )
    elif not inside.size:
        problems.append(f"case {case.id}: expected a labeled foreground, found none.")
    elif (outside := (inside <= case.picture.min()).mean()) > OUTSIDE:
        problems.append(
            f"case {case.id}: expected the label inside the body, found {100 * outside:.0f} % of "
            "it where the scan has its darkest value; look at it: are image and label aligned?"
        )
    return problems


def _thumbnail(case: Case) -> np.ndarray:
    """The scan as a small vector of mean 0 and length 1."""
    small = resize(torch.from_numpy(np.ascontiguousarray(case.picture))[None], THUMBNAIL)
    values = small.numpy().ravel().astype(np.float64)
    values -= values.mean()
    return values / (np.linalg.norm(values) or 1.0)


def _alike(thumbnails: dict[str, np.ndarray]) -> list[str]:
    if not thumbnails:
        return []
    ids, vectors = list(thumbnails), np.stack(list(thumbnails.values()))
    correlation = np.triu(vectors @ vectors.T, k=1)
    pairs = [
        f"cases {ids[i]} and {ids[j]}: expected two patients, found scans that are nearly alike "
        f"(correlation {correlation[i, j]:.3f}); look at both: is it one patient twice?"
        for i, j in np.argwhere(correlation > ALIKE)
    ]
    more = [f"{len(pairs) - PAIRS} more pairs are as alike."] if len(pairs) > PAIRS else []
    return pairs[:PAIRS] + more
