"""Every choice of the method's losses as one named field, and the presets that name sets of them.

The equations leave many choices open, contradict the text, or differ from the released program.
Each field says what the paper has; `dualseg explain` prints the differences behind it, by the
number given here in brackets.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from .data.known import dataset_spec
from .errors import require, require_one_of

CHOICES = {
    "mask_combine": ("xor", "or"),
    "consistency_distance": ("mse", "kl"),
    "percentile_within": ("batch", "class"),
    "filter_label": ("other", "own"),
    "filter_combine": ("or", "and"),
    "uncertainty_target": ("soft", "hard"),
    "uncertainty_direction": ("both", "b_to_a"),
    "contrast_third_term": ("attract", "repel", "none"),
    "contrast_reduction": ("mean", "sum"),
    "contrast_schedule": ("rise", "fall"),
    "samples": ("unlabeled", "all"),
}
SWITCHES = ("uncertainty_detach_weight", "contrast_normalise", "contrast_detach_prototypes")
WEIGHTS = (
    "alpha",
    "weight_cross_pseudo",
    "weight_entropy_filtered",
    "weight_uncertainty",
    "weight_contrast",
    "weight_cosine",
)


@dataclass(frozen=True)
class LossConfig:
    """Choices of the losses of the method "dual"; the defaults are the paper's, for LA."""

    alpha: float = 0.5
    """Weight of the consistency term (eqs. 2, 6; 0: off). The paper: 0.5, Pancreas 0.6 [31]."""
    weight_cross_pseudo: float = 1.0
    """Weight of cross pseudo supervision (eqs. 1, 8; 0: off), each direction once [1, 21]."""
    weight_entropy_filtered: float = 1.0
    """Weight of entropy-filtered supervision of each network (eq. 11; 0: off) [1]."""
    weight_uncertainty: float = 1.0
    """Weight of uncertainty-weighted supervision of each network (eq. 14; 0: off)."""
    weight_contrast: float = 1.0
    """Factor on lambda_c times the prototype contrast (eqs. 1, 20; 0: off) [2]."""
    weight_cosine: float = 0.0
    """Weight of the released program's cosine term (0: off); not in the paper [11]."""

    mask_combine: Literal["xor", "or"] = "xor"
    """Consistency mask: one network's confident foreground, as printed, or also both's [28]."""
    mask_threshold: float = 0.6
    """Confidence (lambda of eq. 5) on the softmax; the paper writes it on logits [29, 30]."""
    consistency_distance: Literal["mse", "kl"] = "mse"
    """Distance to the ground truth in eq. 6; Table 5 compares them [27, 32]."""

    gamma: float = 70.0
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
    ramp_up: float = 0.0
    """Part of the training over which these terms rise as exp(-5 (1 - t)^2) (paper: none)."""

    def __new__(cls, *_: Any, **choices: Any) -> LossConfig:
        # Before the generated __init__, whose TypeError would not name the choices there are.
        known = {field.name for field in dataclasses.fields(cls)}
        for name in choices:
            require_one_of("choice of the losses", name, known)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            require_one_of(name, getattr(self, name), known)
        for name in WEIGHTS:
            value = getattr(self, name)
            require(_finite(value) and value >= 0, name, "a finite number of at least 0", value)
        require(_within(self.mask_threshold, 0, 1), *_range("mask_threshold", 0, 1, self))
        require(_within(self.gamma, 0, 100), *_range("gamma", 0, 100, self))
        require(_within(self.ramp_up, 0, 1), *_range("ramp_up", 0, 1, self))
        high = _finite(self.temperature) and self.temperature > 0
        require(high, "temperature", "a number above 0", self.temperature)
        for name in (
            "uncertainty_detach_weight",
            "contrast_normalise",
            "contrast_detach_prototypes",
        ):
            value = getattr(self, name)
            require(isinstance(value, bool), name, "True or False", value)


def _finite(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) < float("inf")


def _within(value: Any, low: float, high: float) -> bool:
    return _finite(value) and low <= value <= high


def _range(name: str, low: float, high: float, config: LossConfig) -> tuple[str, str, Any]:
    return name, f"a number from {low} to {high}", getattr(config, name)


_NO_CPS, _NO_EFS = {"weight_cross_pseudo": 0.0}, {"weight_entropy_filtered": 0.0}
_NO_CR, _NO_UE, _NO_PGL = {"alpha": 0.0}, {"weight_uncertainty": 0.0}, {"weight_contrast": 0.0}


@dataclass(frozen=True)
class Preset:
    """A named set of changes to the paper's choices."""

    about: str
    changes: dict[str, Any]


PRESETS: dict[str, Preset] = {
    "paper": Preset("the equations, their contradictions resolved one by one", {}),
    "released": Preset(
        "what the released program really optimises: its pseudo-label, entropy-filter and contrast "
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
    # Not in Table 4, which shows no other component by itself.
    "cr": Preset("CR alone", {**_NO_CPS, **_NO_EFS, **_NO_PGL, **_NO_UE}),
    "ue": Preset("UE alone", {**_NO_CPS, **_NO_EFS, **_NO_PGL, **_NO_CR}),
    "pgl": Preset("PGL alone", {**_NO_CPS, **_NO_EFS, **_NO_UE, **_NO_CR}),
}


def preset_losses(preset: str, dataset: str) -> LossConfig:
    """The choices of a preset for a data set; section 4.4 has values of its own for some.

    Raises DualsegError for an unknown preset or data set.
    """
    require_one_of("preset", preset, PRESETS)
    choices = {**dataset_spec(dataset).settings.get("dual", {}), **PRESETS[preset].changes}
    return dataclasses.replace(LossConfig(), **choices)
