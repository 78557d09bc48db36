"""LUSEG: two networks, labels filtered by entropy, and prototypes for uncertain voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from .._util.settings import Range, Settings
from ..config.training import Progress, TrainConfig
from ..data.spec import DatasetSpec
from ..losses import (
    confident_mask,
    entropy_bits,
    entropy_filtered_loss,
    prototype_contrast,
    pseudo_label,
)
from ..networks._blocks import NetworkOutput
from .base import Equation, Preset, TwoNetworks
from .mcf import labeled_terms, labeled_weights
from .parts.published import PUBLISHED
from .parts.ramps import ramp
from .parts.two_classes import require_two_classes

_Weight = Annotated[float, Range(0)]


@dataclass(frozen=True)
class LUSEGSettings(Settings):
    """Settings of LUSEG; the defaults are those of its program, with gradients."""

    weight_rectifying: _Weight = 0.5
    """Weight of the review of the networks' differences on labeled samples (program: 0.5)."""
    review_threshold: Annotated[float, Range(0, 1)] = 0.6
    """Probability from which on a network's vote counts in the review (program: 0.6)."""
    weight_filtered: _Weight = 1.0
    """Weight of the filtered labels of unlabeled samples (program: 1)."""
    percentile: Annotated[float, Range(0, 100)] = 20.0
    """Entropy percentile up to which a voxel is certain, of each network (program: 20)."""
    weight_contrast: _Weight = 0.1
    """Weight of the prototypes (program: 0.1)."""
    ramp_up: Annotated[float, Range(0, 1)] = 1.0
    """Part of the training over which that weight rises (program: all of it)."""
    third_term: Literal["attract", "repel", "none"] = "attract"
    """Distance of the two prototypes: the program adds it, which pulls the classes together."""
    unlabeled_gradient: bool = True
    """Whether the two terms of unlabeled samples teach anything; in the released program they do
    not, as they are computed from detached tensors."""


class LUSEG(TwoNetworks):
    """MCF's two networks with labels that entropy filters, and prototypes for uncertain voxels.

    Both networks learn their common label where at least one of them is certain; where none is, the
    features of the worse network are pulled to the mean feature of their class.

    A step is one pass of each network over all samples. On the labeled ones it is as in MCF, with
    votes of at least 0.6 in the review. The label of an unlabeled voxel is object if either network
    says so; it is ignored where both entropies are above their own 20th percentile. Both learn this
    label. The uncertain voxels of the worse network (by the Dice loss of the labeled samples) go to
    the prototypes of its kept voxels, both as unit vectors. Both networks are averaged to predict.

    In the released program the two terms of unlabeled samples have no gradient: the first is
    computed from detached probabilities, the second under no_grad. Preset "released" does that;
    unlabeled samples then act through batch normalization alone. "paper" gives both terms their
    gradient, takes the cross-entropy of logits (the program puts probabilities in), its mean over
    the kept voxels (the program multiplies by the share of ignored ones again), and 0 where nothing
    is left (there NaN). A random hundredth of the uncertain voxels stands for all in the program;
    here all count, which has the same mean. Its volumes have intensities from 0 to 255 that are not
    among the published files.
    """

    title = "LUSEG"
    citation = "karimijafarbigloo2024luseg"
    features = "dropped"
    settings_type = LUSEGSettings
    settings: LUSEGSettings
    measurements: ClassVar = {"kept": "share of voxels", "winner_a": "share of steps"}
    presets: ClassVar = {
        "paper": Preset("as described: the terms of unlabeled samples teach"),
        "released": Preset(
            "as the released program: the terms of unlabeled samples have no gradient",
            {"unlabeled_gradient": False},
        ),
        "own": Preset(
            '"paper" with the published budget: 6000 steps, crops without turns and flips',
            {**PUBLISHED, "iterations": 6000, "schedule": "step", "flips": False},
        ),
    }
    equations: ClassVar = {
        "supervised": Equation(
            "Supervised loss",
            "Karimijafarbigloo et al. 2024",
            "CE + soft Dice of the foreground, labeled samples",
        ),
        "rectifying": Equation(
            "Review of differences",
            "Karimijafarbigloo et al. 2024",
            "mean (p - y)^2 over voxels that one network alone is sure to be object, labeled "
            "samples",
        ),
        "filtered": Equation(
            "Filtered labels",
            "Karimijafarbigloo et al. 2024",
            "mean CE(f, object in A or B) over voxels where an entropy is up to its 20th "
            "percentile, unlabeled samples",
        ),
        "contrast": Equation(
            "Prototypes for uncertain voxels",
            "Karimijafarbigloo et al. 2024",
            "for each class the mean |feature - prototype| of the worse network's uncertain "
            "voxels, and the distance of the prototypes, unlabeled samples",
        ),
    }
    uses_unlabeled = True

    def __init__(self, settings: LUSEGSettings, config: TrainConfig, spec: DatasetSpec):
        require_two_classes(self.title, spec)  # "object in A or B" is no label among several
        super().__init__(settings, config, spec)

    def terms(self, out_a: NetworkOutput, out_b: NetworkOutput, label: Tensor) -> dict[str, Tensor]:
        choices, labeled = self.settings, len(label)
        terms, a_wins = labeled_terms(
            out_a.logits[:labeled],
            out_b.logits[:labeled],
            label,
            choices.review_threshold,
            review=choices.weight_rectifying > 0,
        )
        a, b = (
            NetworkOutput(out.logits[labeled:], out.features[labeled:]) for out in (out_a, out_b)
        )
        if not choices.unlabeled_gradient:
            a, b = (NetworkOutput(out.logits.detach(), out.features.detach()) for out in (a, b))
        return {
            **terms,
            **unlabeled_terms(a, b, a_wins, choices),
            "winner_a": a_wins.float(),
        }

    def weights(self, progress: Progress) -> dict[str, float]:
        choices = self.settings
        return {
            **labeled_weights(choices.weight_rectifying),
            "filtered_a": choices.weight_filtered,
            "filtered_b": choices.weight_filtered,
            "contrast": ramp(progress, choices.ramp_up) * choices.weight_contrast,
        }


def unlabeled_terms(
    a: NetworkOutput, b: NetworkOutput, a_wins: Tensor, choices: LUSEGSettings
) -> dict[str, Tensor]:
    """The filtered labels of both networks, and the contrast of the worse one.

    Parameters
    ----------
    a, b : NetworkOutput
        Of the unlabeled samples.
    a_wins : Tensor
        Whether A is the better network.
    choices : LUSEGSettings

    Returns
    -------
    dict of str to Tensor
        "filtered_a", "filtered_b", "contrast", and the measurement "kept".
    """
    label_a, label_b = pseudo_label(a.logits), pseudo_label(b.logits)
    union = label_a | label_b
    entropy_a, entropy_b = (entropy_bits(out.logits.detach().softmax(1)) for out in (a, b))
    keep = confident_mask(entropy_a, entropy_b, choices.percentile, combine="and")
    worse_label = torch.where(a_wins, label_b, label_a)
    contrast = prototype_contrast(
        torch.where(a_wins, b.features, a.features),
        torch.where(keep, union, worse_label),
        keep,
        choices.third_term,
    )
    return {
        "filtered_a": entropy_filtered_loss(a.logits, union, keep),
        "filtered_b": entropy_filtered_loss(b.logits, union, keep),
        "contrast": contrast,
        "kept": keep.float().mean(),
    }
