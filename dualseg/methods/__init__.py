"""The methods by name. Adding one is a module here and a line in `METHODS`."""

from __future__ import annotations

import torch

from ..config import Experiment
from ..data.spec import DatasetSpec
from ..errors import DualsegError
from .base import Method
from .dual import Dual
from .supervised import Supervised

METHODS: dict[str, type[Method]] = {"dual": Dual, "supervised": Supervised}

__all__ = ["METHODS", "Method", "build_method"]


def build_method(experiment: Experiment, spec: DatasetSpec) -> Method:
    """The experiment's method with freshly initialised networks (seeded), on the CPU.

    Raises DualsegError for an unknown method.
    """
    if experiment.method not in METHODS:
        raise DualsegError(
            f"method: expected one of {', '.join(sorted(METHODS))}, found {experiment.method!r}."
        )
    torch.manual_seed(experiment.seed)
    return METHODS[experiment.method](experiment, spec)
