"""Two half-trained networks, which the notebooks on the losses look at.

Networks that have just begun call everything background, and finished ones agree nearly everywhere.
In between, they are right about much and still differ. A short training on the labeled cases alone
makes such a pair with any data set.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from .._util.lock import when_free
from ..config.experiment import Experiment
from ..data.batches import Batch, BatchSampler
from ..methods import Method
from ..networks._blocks import NetworkOutput
from ..runs.run import Run
from ..training.loop import fit
from .settings import NotebookSettings, project_folder

BEYOND = 10_000  # a step that no training here reaches: its crops were not trained on


@dataclass(frozen=True)
class HalfTrained:
    """A batch, and the outputs of both networks in evaluation mode (without gradient)."""

    batch: Batch
    """Two labeled crops, then two unlabeled ones."""
    a: NetworkOutput
    b: NetworkOutput
    method: Method
    """The method with both networks, in evaluation mode."""
    run: Run

    @property
    def unlabeled(self) -> slice:
        """The samples without label."""
        return slice(self.batch.labeled, None)

    @property
    def labeled(self) -> slice:
        """The samples with label."""
        return slice(0, self.batch.labeled)


def train_once(experiment: Experiment, folder: Path) -> Run:
    """Train an experiment, unless its folder holds the finished run already.

    Parameters
    ----------
    experiment : Experiment
        What to train.
    folder : Path
        Folder of the run. If another notebook trains there, its end is waited for.

    Returns
    -------
    Run
        The finished run.
    """
    return when_free(lambda: fit(experiment, folder, resume=True), every=1)


def half_trained(settings: NotebookSettings, draw: int = 0) -> HalfTrained:
    """Train both networks for 100 steps (`lesson`) on the labeled cases, and show them a batch.

    This takes under a minute on two idle cores; a second call, in any notebook, finds the trained
    networks in the project's folder `runs/lessons`.

    Parameters
    ----------
    settings : NotebookSettings
        Data set, profile and seed.
    draw : int
        Picks the batch, among crops that the networks were not trained on.

    Returns
    -------
    HalfTrained
        The batch, both networks, and their outputs.
    """
    experiment = settings.experiment(
        method="supervised", iterations=settings.choose(smoke=6, lesson=100, full=1000)
    )
    data = settings.dataset
    # By the values of the cases: every prepared folder has the same data set's name.
    fingerprint = data.cache(data.train)[:8]
    name = f"half_trained_{data.spec.name}_{fingerprint}_{settings.profile}_seed{settings.seed}"
    run = train_once(experiment, project_folder() / "runs" / "lessons" / name)
    method = run.load_method(torch.device("cpu"))
    split = data.split(experiment.labeled)
    sampler = BatchSampler(data, split, experiment.train, settings.seed, unlabeled=True)
    batch = sampler.batch(BEYOND + draw)
    with torch.no_grad():
        a, b = method(batch.image)
    return HalfTrained(batch, a, b, method, run)
