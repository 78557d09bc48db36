"""How good is a segmentation that never looks at the image?

`python -m benchmarks.fixed_shape --root LA` averages the labels of the first training cases, each
stretched to one size, and gives that one shape, stretched to the size of each test volume, as the
prediction for all of them. In volumes that were cut round the ground truth it scores far above
nothing: what a network must beat before it has learned to see. Notebook 01 shows it step by step.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import tyro

from dualseg._util.files import write_json
from dualseg.data.dataset import open_dataset
from dualseg.data.grids import resize
from dualseg.evaluation.metrics import compare_masks, summarize

GRID = (64, 64, 64)
SHARES = np.arange(0.1, 0.9, 0.05)


def main(
    dataset: str = "la",
    root: Path | None = None,
    labeled: int | None = None,
    out: Path | None = None,
) -> None:
    """Print and perhaps save the Dice of the fixed shape on every test case (full grid).

    Args:
        dataset: Name of the data set, or a prepared folder.
        root: Folder with its files.
        labeled: Labels to average: the first so many of the training list.
        out: JSON to write.
    """
    data = open_dataset(dataset, root)
    split = data.split(labeled or data.spec.labeled)
    small = [_stretched(data.read(case).label > 0, GRID) for case in split.labeled]
    mean = np.mean(small, axis=0)
    # The share from which on a voxel counts is chosen on the training labels.
    fits = [np.mean([_dice(mean >= share, one >= 0.5) for one in small]) for share in SHARES]
    share = float(SHARES[int(np.argmax(fits))])
    cases = []
    for case_id in split.test:
        truth = data.read(case_id).label > 0
        guess = _stretched(mean, truth.shape) >= share
        cases.append({"id": case_id, **compare_masks(guess, truth)})
    summary = summarize(cases)
    dice, error = summary["mean"]["dice"], summary["standard_error"]["dice"]
    print(
        f"{data.spec.name}, {len(split.labeled)} labels averaged, no image: Dice {dice:.1f} ± "
        f"{error:.1f} % (standard error over {len(cases)} test cases)"
    )
    if out:
        setting = {"dataset": data.spec.name, "labeled": len(split.labeled), "share": share}
        write_json(out, {**setting, **summary, "cases": cases})


def _stretched(volume: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return resize(torch.from_numpy(volume.astype(np.float32))[None], shape)[0].numpy()


def _dice(guess: np.ndarray, truth: np.ndarray) -> float:
    return 2 * (guess & truth).sum() / (guess.sum() + truth.sum())


if __name__ == "__main__":
    tyro.cli(main)
