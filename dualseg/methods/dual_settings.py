"""Every choice of the losses of "dual" as one named field, its presets, and its terms in words.

The equations leave many choices open, contradict the text, or differ from the released program.
Each field says what the paper has; `dualseg explain` prints the differences behind it, by the
number given here in brackets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from .._util.settings import Range, Settings
from ..errors import require
from .base import SUPERVISED_EQUATION, Equation, Preset

_Weight = Annotated[float, Range(0)]
_Share = Annotated[float, Range(0, 1)]


@dataclass(frozen=True)
class DualSettings(Settings):
    """Choices of the losses of the method "dual"; the defaults are the paper's, for LA.

    A number in square brackets is that of a disputed point, as `dualseg explain` prints it.
    """

    alpha: _Weight = 0.5
    """Weight of the consistency term (eqs. 2, 6; 0: off). The paper: 0.5, Pancreas 0.6 [31]."""
    weight_cross_pseudo: _Weight = 1.0
    """Weight of cross pseudo supervision (eqs. 1, 8; 0: off), each direction once [1, 21]."""
    weight_entropy_filtered: _Weight = 1.0
    """Weight of entropy-filtered supervision of each network (eq. 11; 0: off) [1]."""
    weight_uncertainty: _Weight = 1.0
    """Weight of uncertainty-weighted supervision of each network (eq. 14; 0: off)."""
    weight_contrast: _Weight = 1.0
    """Factor on lambda_c times the prototype contrast (eqs. 1, 20; 0: off) [2]."""
    weight_cosine: _Weight = 0.0
    """Weight of the released program's cosine term (0: off); not in the paper [11]."""

    mask_combine: Literal["xor", "or"] = "xor"
    """Consistency mask: one network's confident foreground, as printed, or also both's [28]."""
    mask_threshold: _Share = 0.6
    """Confidence (lambda of eq. 5) on the softmax; the paper writes it on logits [29, 30]."""
    consistency_distance: Literal["mse", "kl"] = "mse"
    """Distance to the ground truth in eq. 6; Table 5 compares them [27, 32]."""

    gamma: Annotated[float, Range(0, 100)] = 70.0
    """Entropy percentile of the filter and of reliability, 0-100 (LA 70, Pancreas 80, BraTS 30)
    [19, 34]."""
    percentile_within: Literal["batch", "class"] = "batch"
    """What gamma is a percentile of: all voxels, as printed, or each predicted class apart, so that
    the filter keeps voxels of every class (ours)."""
    filter_label: Literal["other", "own"] = "other"
    """Whose argmax a network learns in eq. 11: not said; "own" would be self-training [15, 20]."""
    filter_combine: Literal["or", "and"] = "or"
    """Ignore a voxel if either entropy is high (eq. 10), or if both are (prose, Fig. 3) [18]."""

    temperature: float = 0.5
    """T_p on the teacher's logits in eq. 13; on probabilities it would be a second softmax [24]."""
    uncertainty_target: Literal["soft", "hard"] = "soft"
    """Teacher in eq. 13: tempered softmax; the released program takes the argmax [8]."""
    uncertainty_detach_weight: bool = False
    """Make e^-KL of eq. 14 a constant; in print it has a gradient, see notebook 08 [26]."""
    uncertainty_direction: Literal["both", "b_to_a"] = "both"
    """Who learns in eq. 14: eq. 1 has both networks, the released program A from B only [9]."""

    contrast_third_term: Literal["attract", "repel", "none"] = "attract"
    """d(c_f, c_b) of eq. 20: printed with plus (attract); the prose wants separation [14]."""
    contrast_reduction: Literal["mean", "sum"] = "mean"
    """Eq. 20 prints a sum over voxels, thousands of times the other terms [13]."""
    contrast_normalise: bool = True
    """Compare unit vectors, as the released program does; eq. 20 has raw features [13, 40]."""
    contrast_detach_prototypes: bool = False
    """Take prototypes as constants: only uncertain voxels move. The paper does not say."""
    contrast_schedule: Literal["rise", "fall"] = "rise"
    """lambda_c: 0.1 e^(-4(1-t)^2), or as printed with plus, from 5.46 down to 0.1 [12]."""

    samples: Literal["unlabeled", "all"] = "unlabeled"
    """What the terms without ground truth see; section 3.3 names both, eqs. 7-20 u [10]."""
    ramp_up: _Share = 0.0
    """Part of the training over which these terms rise as exp(-5 (1 - t)^2) (paper: none)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.temperature > 0, "temperature", "a number above 0", self.temperature)


_NO_CPS, _NO_EFS = {"weight_cross_pseudo": 0.0}, {"weight_entropy_filtered": 0.0}
_NO_CR, _NO_UE, _NO_PGL = {"alpha": 0.0}, {"weight_uncertainty": 0.0}, {"weight_contrast": 0.0}


DUAL_PRESETS: dict[str, Preset] = {
    "paper": Preset("the equations, their contradictions resolved one by one", {}),
    "released": Preset(
        "what the released program really optimizes: its pseudo-label, entropy-filter and contrast "
        "terms carry no gradient",
        {
            "alpha": 0.5,
            **_NO_CPS,
            **_NO_EFS,
            **_NO_PGL,
            "uncertainty_target": "hard",
            "uncertainty_direction": "b_to_a",
            "weight_cosine": 1.0,
            "samples": "all",
        },
    ),
    "improved": Preset(
        "ours, chosen on held-out training cases: the terms without ground truth rise over the "
        "whole training, and each predicted class has its own entropy percentile",
        {"ramp_up": 1.0, "percentile_within": "class"},
    ),
    # The rows of Table 4 (the last one is "paper").
    "cps": Preset("Table 4: CPS alone", {**_NO_EFS, **_NO_PGL, **_NO_UE, **_NO_CR}),
    "efs": Preset("Table 4: EFS alone", {**_NO_CPS, **_NO_PGL, **_NO_UE, **_NO_CR}),
    "cce": Preset("Table 4: CCE (CPS + EFS)", {**_NO_PGL, **_NO_UE, **_NO_CR}),
    "without_cce": Preset("Table 4: PGL + UE + CR", {**_NO_CPS, **_NO_EFS}),
    "without_cr": Preset("Table 4: CCE + PGL + UE", _NO_CR),
    "without_pgl": Preset("Table 4: CCE + UE + CR", _NO_PGL),
    "without_ue": Preset("Table 4: CCE + PGL + CR", _NO_UE),
    # Not in Table 4, which shows no other component by itself, and no network without any.
    "no_component": Preset(
        "no component: the supervised loss alone; the unlabeled samples pass through the networks, "
        "and so through batch normalization, without a loss",
        {**_NO_CPS, **_NO_EFS, **_NO_PGL, **_NO_UE, **_NO_CR},
    ),
    "cr": Preset("CR alone", {**_NO_CPS, **_NO_EFS, **_NO_PGL, **_NO_UE}),
    "ue": Preset("UE alone", {**_NO_CPS, **_NO_EFS, **_NO_PGL, **_NO_CR}),
    "pgl": Preset("PGL alone", {**_NO_CPS, **_NO_EFS, **_NO_UE, **_NO_CR}),
}

# The terms of eq. 1 by family; the terms of a family differ in the network that learns.
DUAL_EQUATIONS = {
    "supervised": SUPERVISED_EQUATION,
    "consistency": Equation(
        "Consistency regularization (CR)",
        "eqs. 4-6",
        "sum(M d(p, y)) / sum(M), M: where one network is sure of the organ; labeled samples",
    ),
    "cross_pseudo": Equation(
        "Cross pseudo supervision (CPS)",
        "eqs. 7-8",
        "CE(f_A, argmax f_B) + CE(f_B, argmax f_A)",
    ),
    "entropy_filtered": Equation(
        "Entropy-filtered supervision (EFS)",
        "eqs. 9-11",
        "mean CE(f, pseudo-label) over voxels with entropy up to the gamma-th percentile",
    ),
    "uncertainty": Equation(
        "Uncertainty estimation (UE)",
        "eqs. 13-15",
        "mean of e^-D CE(f, softmax(teacher / T_p)) + D, D = KL(teacher || student)",
    ),
    "contrast": Equation(
        "Prototype-guided contrast (PGL)",
        "eqs. 16-20",
        "for each class the mean |feature - prototype| of its uncertain voxels, and d(c_f, c_b)",
    ),
    "cosine": Equation("Cosine consistency", "not in the paper", "1 - cos(p_A, p_B)"),
}

# Units of what is logged without being part of the loss.
DUAL_MEASUREMENTS = {
    "foreground_a": "share of voxels",
    "foreground_b": "share of voxels",
    "disagreement": "share of voxels",
    "kept": "share of voxels",
    "reliable": "share of voxels",
    "missing_prototypes": "classes",
    "prototype_distance": "distance (no unit)",
}
