"""The methods by name. Adding one is a module here and a line in `METHODS`.

A method of one's own is entered from outside in the same way: `METHODS["mine"] = Mine`; then
`Experiment(method="mine")` knows it with its settings and presets, and so does the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..data.spec import DatasetSpec
from .base import Equation, Method, Preset, TwoNetworks
from .bcp import BCP
from .dtc import DTC
from .dual import Dual, dual_terms, dual_weights
from .dual_settings import DualSettings
from .sassnet import SASSNet
from .ss_net import SSNet
from .supervised import Supervised
from .urpc import URPC

if TYPE_CHECKING:
    from ..config.experiment import Experiment

METHODS: dict[str, type[Method]] = {
    "dual": Dual,
    "supervised": Supervised,
    "sassnet": SASSNet,
    "dtc": DTC,
    "ss_net": SSNet,
    "bcp": BCP,
    "urpc": URPC,
}

__all__ = [
    "METHODS",
    "Dual",
    "DualSettings",
    "Equation",
    "Method",
    "Preset",
    "Supervised",
    "TwoNetworks",
    "build_method",
    "dual_terms",
    "dual_weights",
]


def build_method(experiment: Experiment, spec: DatasetSpec) -> Method:
    """The experiment's method on the CPU, its networks initialized from the experiment's seed."""
    with torch.random.fork_rng(devices=[]):  # the caller's random state stays
        torch.default_generator.manual_seed(experiment.seed)
        return METHODS[experiment.method](experiment.settings, experiment.train, spec)
