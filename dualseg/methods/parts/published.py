"""What the published programs of the compared methods have in common."""

from __future__ import annotations

from typing import Any

PUBLISHED: dict[str, Any] = {
    "labeled_batch": 2,
    "unlabeled_batch": 2,
    "learning_rate": 0.01,
    "flips": True,
    "normalise": "stored",
}
"""Their settings on the left atrium, for presets "own"; what differs is written over it.

On Pancreas-CT none of them turns or flips (use `flips=False`). Their flips are always one turn and
one flip, so that a network never sees a volume as it is; here any combination is drawn.
"""
