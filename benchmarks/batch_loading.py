"""How long does a batch of four crops take, from compressed files and from the cache?

`python -m benchmarks.batch_loading --root LA` draws batches of the paper's patch from the first LA
cases; without --root from phantom volumes padded to LA's size and written in the same format
(gzip-compressed HDF5, float32 image, uint8 label). Files and cache are in the system's memory in
both, so it is the work that is compared, not the disk.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tyro

from dualseg.config.experiment import Experiment
from dualseg.data import phantom
from dualseg.data.batches import BatchSampler
from dualseg.data.dataset import open_dataset

from . import plain
from .ratio import compare

CASES = 12
SHAPE = (194, 144, 88)  # about the mean of the LA training cases


def main(root: Path | None = None, repeats: int = 5) -> dict[str, Any]:
    """Print the ratio.

    Args:
        root: Folder of the LA data.
        repeats: Timed batches of each; the median counts.
    """
    if root is None:
        with tempfile.TemporaryDirectory() as folder:
            return main(_written(Path(folder)), repeats) | {"data": "phantom in LA's format"}
    experiment = Experiment("la", "full", root=str(root), labeled=4)
    dataset = open_dataset("la", root)
    cases = dataset.train[:CASES]
    dataset.cache(cases)
    split = dataset.split(4)
    short = type(split)(split.labeled, cases[4:], (), split.test)
    sampler = BatchSampler(dataset, short, experiment.train, seed=0, unlabeled=True)
    rng, steps = np.random.default_rng(0), iter(range(10**6))

    def read_plainly() -> None:
        chosen = rng.choice(cases, 4, replace=False)
        paths = [root / case / "mri_norm2.h5" for case in chosen]
        plain.read_batch(paths, experiment.train.patch, rng)

    for _ in range(CASES):
        sampler.batch(next(steps))  # each case's intensity scale is found at first use
    result = compare(read_plainly, lambda: sampler.batch(next(steps)), repeats)
    print(
        f"batch of 4 crops: from gzip HDF5 {result['plain_seconds']:.3f} s, ours "
        f"{result['seconds']:.4f} s, ratio {result['ratio']:.1f}"
    )
    return result | {"patch": list(experiment.train.patch), "batch": 4, "data": "la"}


def _written(folder: Path) -> Path:
    names = [f"case{i:02d}" for i in range(CASES + 1)]
    for i, name in enumerate(names):
        image, label = phantom.make_case(i)
        margins = [(0, max(big - side, 0)) for big, side in zip(SHAPE, label.shape, strict=True)]
        (folder / name).mkdir()
        with h5py.File(folder / name / "mri_norm2.h5", "w") as file:
            for key, array in (("image", image.astype(np.float32)), ("label", label)):
                wide = np.pad(array, margins, mode="reflect")
                file.create_dataset(key, data=wide, compression="gzip")
    (folder / "train.list").write_text("\n".join(names[:-1]), encoding="utf-8")
    (folder / "test.list").write_text(names[-1], encoding="utf-8")
    return folder


if __name__ == "__main__":
    tyro.cli(main)
