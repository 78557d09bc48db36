"""How long do the metrics of a case take, and are they the same numbers?

`python -m benchmarks.metrics --root LA` measures the label of each of the first test cases, eroded
and moved by a few voxels, against itself: with medpy on the whole volume, one call a metric, as the
field's programs do, and with `dualseg.compare_masks`, which gives ASSD as well. Without --root:
phantoms.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tyro
from scipy.ndimage import binary_erosion, shift

from dualseg.data.dataset import open_dataset
from dualseg.evaluation.metrics import compare_masks

from . import plain
from .ratio import compare

CASES = 3


def main(root: Path | None = None, repeats: int = 3) -> dict[str, Any]:
    """Print the ratio, and whether all numbers are the same to the last bit.

    Args:
        root: Folder of the LA data.
        repeats: Timed rounds of each; the median counts.
    """
    dataset = open_dataset("la" if root else "phantom", root)
    truths = [dataset.read(case).label > 0 for case in dataset.test[:CASES]]
    guesses = [shift(binary_erosion(truth, iterations=2), (3, -2, 1), order=0) for truth in truths]
    found: dict[str, list[dict[str, float]]] = {}

    def measure(name: str, metrics: Any) -> None:
        found[name] = [metrics(*pair) for pair in zip(guesses, truths, strict=True)]

    result = compare(
        lambda: measure("plain", plain.metrics), lambda: measure("ours", compare_masks), repeats
    )
    pairs = zip(found["plain"], found["ours"], strict=True)
    same = all(theirs[key] == ours[key] for theirs, ours in pairs for key in theirs)
    print(
        f"metrics of {CASES} cases: plain {result['plain_seconds']:.2f} s, ours "
        f"{result['seconds']:.3f} s, ratio {result['ratio']:.1f}; "
        f"{'the same' if same else 'NOT the same'} to the last bit"
    )
    shapes = [list(truth.shape) for truth in truths]
    return result | {"data": dataset.spec.name, "shapes": shapes, "identical": same}


if __name__ == "__main__":
    tyro.cli(main)
