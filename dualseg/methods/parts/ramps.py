"""Weights and thresholds that rise during a training."""

from __future__ import annotations

import math

from ...config.training import Progress


def ramp(progress: Progress, length: float = 1.0) -> float:
    r"""Factor that rises to 1: $e^{-5 (1 - t / L)^2}$ with t = step / total steps, 1 from L on.

    The usual ramp-up of consistency terms (Laine and Aila, Temporal ensembling, 2017). Programs
    count it in steps of their own budget; as a share of the training it keeps its meaning in any.

    Parameters
    ----------
    progress : Progress
    length : float
        L, the share of the training over which the factor rises; 0: it is always 1.

    Returns
    -------
    float
        From e^-5 = 0.0067 to 1.
    """
    t = progress.fraction
    return 1.0 if t >= length else math.exp(-5 * (1 - t / length) ** 2)


def rising(progress: Progress, start: float, end: float) -> float:
    """Threshold that rises as `ramp`: start + (end - start) ramp(t).

    Parameters
    ----------
    progress : Progress
    start, end : float
        It is `end` at the end of the training, and at its beginning nearly `start`, as the ramp
        begins at 0.0067.

    Returns
    -------
    float
    """
    return start + (end - start) * ramp(progress)
