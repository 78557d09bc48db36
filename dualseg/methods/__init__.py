"""The methods by name. Adding one is a module here and a line in `METHODS`.

A method of one's own is entered from outside in the same way: `METHODS["mine"] = Mine`; then
`Experiment(method="mine")` knows it with its settings and presets, in the process in which it was
entered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .._util.settings import Range, Settings
from ..data.spec import DatasetSpec
from ..errors import require_one_of
from .ac_mt import ACMT
from .base import Equation, Method, OneNetwork, Preset, TwoNetworks
from .bcp import BCP
from .cpcl import CPCL
from .dtc import DTC
from .dual import Dual, dual_terms, dual_weights
from .dual_settings import DualSettings
from .entropy_minimization import EntropyMinimization
from .luseg import LUSEG
from .mc_net import MCNet, MCNetPlus
from .mcf import MCF
from .mean_teacher import MeanTeacher
from .ml_rpl import MLRPL
from .sassnet import SASSNet
from .ss_net import SSNet
from .supervised import Supervised
from .ua_mt import UAMT
from .urpc import URPC
from .vnet import SupervisedVNet

if TYPE_CHECKING:
    from ..config.experiment import Experiment

METHODS: dict[str, type[Method]] = {
    "dual": Dual,
    "supervised": Supervised,
    # The methods that the paper compares with, and two that are simpler than most of them.
    "vnet": SupervisedVNet,
    "entropy_minimization": EntropyMinimization,
    "mean_teacher": MeanTeacher,
    "ua_mt": UAMT,
    "sassnet": SASSNet,
    "dtc": DTC,
    "mc_net": MCNet,
    "ss_net": SSNet,
    "mc_net_plus": MCNetPlus,
    "mcf": MCF,
    "bcp": BCP,
    "luseg": LUSEG,
    "ml_rpl": MLRPL,
    "urpc": URPC,
    "cpcl": CPCL,
    "ac_mt": ACMT,
}

__all__ = [
    "ACMT",
    "BCP",
    "CPCL",
    "DTC",
    "LUSEG",
    "MCF",
    "METHODS",
    "MLRPL",
    "UAMT",
    "URPC",
    "Dual",
    "DualSettings",
    "EntropyMinimization",
    "Equation",
    "MCNet",
    "MCNetPlus",
    "MeanTeacher",
    "Method",
    "OneNetwork",
    "Preset",
    "Range",
    "SASSNet",
    "SSNet",
    "Settings",
    "Supervised",
    "SupervisedVNet",
    "TwoNetworks",
    "build_method",
    "dual_terms",
    "dual_weights",
]


def build_method(experiment: Experiment, spec: DatasetSpec) -> Method:
    """Build the experiment's method on the CPU; its seed draws the first weights.

    Parameters
    ----------
    experiment : Experiment
    spec : DatasetSpec
        Of the data set, for the numbers of classes and modalities.

    Returns
    -------
    Method

    Raises
    ------
    DualsegError
        For a method that is not in METHODS of this process.
    """
    require_one_of("method", experiment.method, METHODS)
    with torch.random.fork_rng(devices=[]):  # the caller's random state stays
        torch.default_generator.manual_seed(experiment.seed)
        return METHODS[experiment.method](experiment.settings, experiment.train, spec)
