"""The paper's method: two networks that teach each other on unlabeled volumes (eq. 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..config.training import Progress
from ..losses import (
    class_prototypes,
    class_thresholds,
    contrast_weight,
    cosine_consistency,
    cross_pseudo_loss,
    entropy_bits,
    entropy_filtered_loss,
    entropy_threshold,
    prototype_contrast,
    pseudo_label,
    supervised_loss,
    uncertainty_loss,
)
from ..losses.contrast import agree_below
from ..losses.entropy import keep_below
from ..networks._blocks import NetworkOutput
from .base import TwoNetworks
from .dual_settings import DUAL_EQUATIONS, DUAL_MEASUREMENTS, DUAL_PRESETS, DualSettings
from .parts.ramps import ramp
from .parts.review import difference_review


class Dual(TwoNetworks):
    """Supervised and consistency loss on the labeled samples, four ways to teach on the others.

    One forward pass over both kinds of samples together, so batch normalization sees both.
    """

    settings_type = DualSettings
    settings: DualSettings
    presets = DUAL_PRESETS
    uses_unlabeled = True
    measurements = DUAL_MEASUREMENTS
    equations = DUAL_EQUATIONS

    def terms(self, out_a: NetworkOutput, out_b: NetworkOutput, label: Tensor) -> dict[str, Tensor]:
        return dual_terms(out_a, out_b, label, self.settings)

    def weights(self, progress: Progress) -> dict[str, float]:
        return dual_weights(self.settings, progress)


def dual_weights(choices: DualSettings, progress: Progress) -> dict[str, float]:
    """The weight of each term of eq. 1 at a step, by name; without those that are switched off."""
    rise = ramp(progress, choices.ramp_up)
    contrast = choices.weight_contrast * contrast_weight(progress, choices.contrast_schedule)
    weights = {
        "supervised_a": 1.0,
        "supervised_b": 1.0,
        "consistency_a": choices.alpha,
        "consistency_b": choices.alpha,
        "cross_pseudo": rise * choices.weight_cross_pseudo,
        "entropy_filtered_a": rise * choices.weight_entropy_filtered,
        "entropy_filtered_b": rise * choices.weight_entropy_filtered,
        "uncertainty_a": rise * choices.weight_uncertainty,
        "uncertainty_b": rise * choices.weight_uncertainty,
        # Each network's own contrast; the paper's one term is taken as their mean.
        "contrast_a": rise * contrast / 2,
        "contrast_b": rise * contrast / 2,
        "cosine": rise * choices.weight_cosine,
    }
    if choices.uncertainty_direction == "b_to_a":
        del weights["uncertainty_b"]
    return {name: weight for name, weight in weights.items() if weight > 0}


def dual_terms(
    out_a: NetworkOutput, out_b: NetworkOutput, label: Tensor, choices: DualSettings
) -> dict[str, Tensor]:
    """Compute the terms of eq. 1, unweighted, and measurements of their inputs.

    Parameters
    ----------
    out_a, out_b : NetworkOutput
        Of the labeled samples, then of the unlabeled ones.
    label : Tensor, shape (L, X, Y, Z)
        Classes of the labeled samples.
    choices : DualSettings

    Returns
    -------
    dict of str to Tensor
        Terms, and measurements (constants, no part of the loss) on the samples of the terms
        without ground truth: `foreground_a` and `foreground_b`, the share of voxels that a network
        calls no background; `disagreement`, the share of voxels where the networks differ;
        `kept` by the entropy filter; `reliable` for the prototypes; `missing_prototypes`, how many
        classes have none; `prototype_distance` d(c_f, c_b), NaN where a prototype is missing.
    """
    known = slice(None, len(label))
    seen = slice(None) if choices.samples == "all" else slice(len(label), None)
    a, b = (NetworkOutput(out.logits[seen], out.features[seen]) for out in (out_a, out_b))
    terms = {
        "supervised_a": supervised_loss(out_a.logits[known], label),
        "supervised_b": supervised_loss(out_b.logits[known], label),
    }
    if choices.alpha:
        terms |= _consistency(out_a.logits[known], out_b.logits[known], label, choices)
    if choices.weight_cross_pseudo:
        terms["cross_pseudo"] = cross_pseudo_loss(a.logits, b.logits)
    if choices.weight_uncertainty:
        terms |= _uncertainty(a.logits, b.logits, choices)
    if choices.weight_cosine:
        terms["cosine"] = cosine_consistency(a.logits.softmax(1), b.logits.softmax(1))
    label_a, label_b = pseudo_label(a.logits), pseudo_label(b.logits)
    terms |= {"foreground_a": _foreground(label_a), "foreground_b": _foreground(label_b)}
    terms["disagreement"] = (label_a != label_b).float().mean()
    if choices.weight_entropy_filtered or choices.weight_contrast:
        # Entropies and thresholds serve both terms: computed once a step.
        entropies = [entropy_bits(out.logits.detach().softmax(1)) for out in (a, b)]
        if choices.percentile_within == "batch":
            thresholds = [entropy_threshold(entropy, choices.gamma) for entropy in entropies]
        else:
            thresholds = [
                class_thresholds(entropy, own, choices.gamma, a.logits.shape[1])
                for entropy, own in zip(entropies, (label_a, label_b), strict=True)
            ]
        if choices.weight_entropy_filtered:
            keep = keep_below(
                entropies[0], entropies[1], thresholds[0], thresholds[1], choices.filter_combine
            )
            own, other = (label_a, label_b), (label_b, label_a)
            targets = own if choices.filter_label == "own" else other
            terms["entropy_filtered_a"] = entropy_filtered_loss(a.logits, targets[0], keep)
            terms["entropy_filtered_b"] = entropy_filtered_loss(b.logits, targets[1], keep)
            terms["kept"] = keep.float().mean()
        if choices.weight_contrast:
            reliable = agree_below(label_a == label_b, *entropies, *thresholds)
            terms |= _contrast(a, b, label_a, reliable, choices)
    return terms


def _foreground(label: Tensor) -> Tensor:
    return (label > 0).float().mean()


def _consistency(
    logits_a: Tensor, logits_b: Tensor, label: Tensor, choices: DualSettings
) -> dict[str, Tensor]:
    """Eq. 6 for each network."""
    loss_a, loss_b = difference_review(
        logits_a.softmax(1),
        logits_b.softmax(1),
        label,
        choices.mask_threshold,
        choices.mask_combine,
        choices.consistency_distance,
    )
    return {"consistency_a": loss_a, "consistency_b": loss_b}


def _uncertainty(logits_a: Tensor, logits_b: Tensor, choices: DualSettings) -> dict[str, Tensor]:
    """Eq. 14 for each network that learns: "uncertainty_a" is A's, with B as its teacher."""

    def term(student: Tensor, teacher: Tensor) -> Tensor:
        return uncertainty_loss(
            student,
            teacher,
            choices.temperature,
            choices.uncertainty_target,
            choices.uncertainty_detach_weight,
        )

    terms = {"uncertainty_a": term(logits_a, logits_b)}
    if choices.uncertainty_direction == "both":
        terms["uncertainty_b"] = term(logits_b, logits_a)
    return terms


def _contrast(
    a: NetworkOutput, b: NetworkOutput, label: Tensor, reliable: Tensor, choices: DualSettings
) -> dict[str, Tensor]:
    """Eq. 20 in each network's own feature space, with A's classes (eq. 18), and measurements."""
    classes = a.logits.shape[1]
    terms, distances = {}, []
    for name, features in (("contrast_a", a.features), ("contrast_b", b.features)):
        terms[name] = prototype_contrast(
            features,
            label,
            reliable,
            choices.contrast_third_term,
            choices.contrast_reduction,
            choices.contrast_normalise,
            classes,
            choices.contrast_detach_prototypes,
        )
        with torch.no_grad():
            prototypes, exists = class_prototypes(features, label, reliable, classes)
            if choices.contrast_normalise:
                prototypes = torch.nn.functional.normalize(prototypes, dim=1)
            distance = (prototypes[1:] - prototypes[0]).norm(dim=1)
            distances.append(torch.where(exists[1:] & exists[0], distance, torch.nan).mean())
    return terms | {
        "reliable": reliable.float().mean(),
        "missing_prototypes": (~exists).sum().float(),
        "prototype_distance": torch.stack(distances).mean(),
    }
