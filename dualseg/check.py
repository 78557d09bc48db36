"""Looking a data set over before it is trusted."""

from __future__ import annotations

import hashlib
import os

from tqdm import tqdm

from .datasets import open_dataset
from .errors import DualsegError
from .prepared import sha256_of


def check(
    name: str, root: str | os.PathLike | None = None
) -> tuple[list[tuple[str, ...]], list[str]]:
    """Read every case: a table (header first) of what was found, and a list of problems."""
    dataset = open_dataset(name, root)
    rows: list[tuple[str, ...]] = [("case", "split", "shape", "intensities", "foreground")]
    problems: list[str] = []
    seen: dict[str, str] = {}
    cases = [(case, "train") for case in dataset.train] + [(case, "test") for case in dataset.test]
    for case_id, part in tqdm(cases, desc=f"checking {name}", unit="case"):
        try:
            case = dataset.read(case_id)
        except DualsegError as error:
            rows.append((case_id, part, "", "", ""))
            problems.append(str(error))
            continue
        low, high, share = case.image.min(), case.image.max(), (case.label > 0).mean()
        shape = " x ".join(map(str, case.image.shape))
        known = dataset.has_label(case_id)
        foreground = f"{100 * share:.2f} %" if known else "no label"
        rows.append((case_id, part, shape, f"{low:.2f} to {high:.2f}", foreground))
        if dataset.records:
            now = sha256_of(case.image, case.label if known else None)
            if now != dataset.records[case_id]["sha256"]:
                problems.append(
                    f"case {case_id}: expected the voxels that the manifest describes, found "
                    "others; prepare the data again."
                )
        if known and share == 0:
            problems.append(f"case {case_id}: expected a labeled foreground, found none.")
        twin = seen.setdefault(hashlib.sha256(case.image.tobytes()).hexdigest(), case_id)
        if twin != case_id:
            problems.append(
                f"cases {twin} and {case_id}: expected two scans, found the same voxels."
            )
    return rows, problems
