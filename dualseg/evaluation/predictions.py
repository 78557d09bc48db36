"""The masks of a run's cases: predicted once, kept in its folder, fresh for weights and scans."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .. import __version__
from .._util.environment import describe_device, peak_memory_mb, ready_device
from .._util.files import require_file_name
from ..data.case import Case
from ..data.dataset import Dataset
from ..data.prefetch import one_ahead
from ..errors import DualsegError
from ..runs.run import Run
from .saved_masks import SavedMasks, load_masks, save_masks
from .sliding_window import masks_of, predict_volume

SPLITS = {"test": "test", "val": "validation"}
"""The splits that are predicted, and their keys in run.json."""


def mask_path(run: Run, split: str, case_id: str) -> Path:
    """Where the masks of a case are kept."""
    name = require_file_name(case_id, run.info_path)
    return run.folder / "predictions" / split / f"{name}.npz"


def predicted_mask(run: Run, split: str, case_id: str) -> np.ndarray:
    """The method's mask of a case, (X, Y, Z) bool; DualsegError if it was not predicted."""
    path = mask_path(run, split, case_id)
    saved = load_masks(path)
    if saved is None:
        raise DualsegError(f"{path}: expected the masks of a case, found none; evaluate the run.")
    return saved.masks["mean"] > 0


def predict_cases(
    run: Run, dataset: Dataset, cases: Sequence[str], split: str
) -> Generator[tuple[Case, SavedMasks], None, None]:
    """Predict cases one after the other; the file of the next one is read meanwhile.

    Masks of the same weights, scan and version of the package are taken from the run's folder. New
    ones are saved there at once, so an interrupted prediction goes on where it stopped.

    Parameters
    ----------
    run : finished
    dataset : of the cases
    cases : their ids
    split : one of `SPLITS`

    Yields
    ------
    tuple
        The case on the full grid, and its masks.

    Raises
    ------
    DualsegError
        For an unfinished run, or unreadable data.
    """
    device = ready_device()
    method = run.load_method(device)
    config = run.experiment().train
    weights = hashlib.sha256(run.weights_path.read_bytes()).hexdigest()
    with closing(one_ahead(dataset.both_grids, cases)) as read:
        for coarse, full in tqdm(read, f"evaluating {split}", len(cases), unit="case"):
            path = mask_path(run, split, full.id)
            stamp = f"dualseg {__version__} {weights} {dataset.sha256(full.id)}"
            saved = load_masks(path)
            if saved is None or saved.stamp != stamp:
                started = time.perf_counter()
                found = predict_volume(method, coarse.channels, config, full.label.shape)
                masks = masks_of(method, found)
                seconds = time.perf_counter() - started
                machine = describe_device(device), peak_memory_mb(device)
                saved = SavedMasks(masks, stamp, seconds, *machine)
                save_masks(path, saved)
            yield full, saved
