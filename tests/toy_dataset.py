"""A data set in one file, as somebody would add it: `DATASETS["toy"] = TOY` makes it known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dualseg._util.files import require_file_name
from dualseg.config.training import TrainConfig
from dualseg.data.case_sources import CaseFiles
from dualseg.data.spec import DatasetSpec
from dualseg.errors import DualsegError


@dataclass(frozen=True)
class ToyFiles(CaseFiles):
    """ROOT/<case>.npz holds a "volume" and the corners of a "box", the label."""

    def path(self, case_id: str) -> Path:
        return self.root / f"{require_file_name(case_id, self.root)}.npz"

    def read(self, case_id: str) -> tuple[np.ndarray, np.ndarray]:
        path = self.path(case_id)
        try:
            with np.load(path) as file:
                image, (low, high) = file["volume"], file["box"]
        except (OSError, ValueError, KeyError) as error:
            raise DualsegError(
                f"{path}: expected a readable toy case, found {error}; make it again."
            ) from error
        label = np.zeros(image.shape, np.uint8)
        label[tuple(map(slice, low, high))] = 1
        return image, label


TOY = DatasetSpec(
    name="toy",
    title="bright boxes",
    classes=("background", "box"),
    spacing=(1.0, 1.0, 2.0),
    orientation="LPS",
    labeled=2,
    profiles={
        "smoke": TrainConfig(
            patch=(16, 16, 16),
            stride=(8, 8, 8),
            filters=2,
            iterations=2,
            checkpoint_every=2,
        ),
    },
    settings={"dual": {"alpha": 0.3}},
    published_files=ToyFiles,
    source_and_terms="Made by the tests.",
)
"""Its folder holds train.list and test.list beside the cases."""


def make_toy(root: Path) -> Path:
    """Four training cases and two test cases of the toy data set."""
    root.mkdir()
    rng = np.random.default_rng(0)
    ids = [f"toy{i}" for i in range(6)]
    for case_id in ids:
        low = rng.integers(3, 6, 3)
        box = np.stack([low, low + rng.integers(6, 9, 3)])
        volume = rng.normal(0, 0.1, (20, 18, 16)).astype(np.float32)
        volume[tuple(map(slice, *box))] += 1
        np.savez(root / f"{case_id}.npz", volume=volume, box=box)
    for name, some in (("train", ids[:4]), ("test", ids[4:])):
        (root / f"{name}.list").write_text("\n".join(some) + "\n")
    return root
