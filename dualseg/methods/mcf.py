"""MCF: two networks that review their differences, and the better one teaches the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from .._util.settings import Range, Settings
from ..config.training import Progress
from ..networks._blocks import NetworkOutput
from .base import Equation, Preset, TwoNetworks
from .parts.dice import dice_squared
from .parts.published import PUBLISHED
from .parts.ramps import ramp
from .parts.review import difference_review
from .parts.sharpening import sharpen


@dataclass(frozen=True)
class MCFSettings(Settings):
    """Settings of MCF; the defaults are those of its program."""

    weight_rectifying: Annotated[float, Range(0)] = 0.5
    """Weight of the review of the networks' differences on labeled samples (program: 0.5)."""
    weight_teaching: Annotated[float, Range(0)] = 0.1
    """Weight of what the worse network learns from the better one (program: 0.1)."""
    ramp_up: Annotated[float, Range(0, 1)] = 1.0
    """Part of the training over which that weight rises (program: all of it)."""
    temperature: Annotated[float, Range(0.01, 1)] = 0.1
    """Temperature T of the sharpening p^(1/T) of the teacher (program: 0.1)."""


class MCF(TwoNetworks):
    """Two different networks correct each other: they err in different places.

    Where only one of them sees the object in a labeled sample, both are corrected; in unlabeled
    samples the network that is better at the moment teaches the other.

    A step is one pass of each network over all samples. Both learn the labels, and besides their
    squared difference to the label at the voxels that only one of them calls object. The network
    with the smaller Dice loss on this batch's labeled samples wins; the other one learns its
    sharpened prediction of the unlabeled samples. Both are averaged to predict.

    There is no phase of its own for the review, as its name might suggest: both parts are in every
    step. The winner is that of the step's own batch, dropout included, so it changes from step to
    step. Of several processes each has a winner of its own. The program samples without turns and
    flips, and its repository has five splits of the cases.
    """

    title = "MCF"
    citation = "wang2023mcf"
    settings_type = MCFSettings
    settings: MCFSettings
    measurements: ClassVar = {"winner_a": "share of steps"}
    presets: ClassVar = {
        "default": Preset("the released program's losses"),
        "own": Preset(
            "the published program's budget: 6000 steps, crops without turns and flips",
            {**PUBLISHED, "iterations": 6000, "schedule": "step", "flips": False},
        ),
        "no_rectifying": Preset("without the review of differences", {"weight_rectifying": 0.0}),
    }
    equations: ClassVar = {
        "supervised": Equation(
            "Supervised loss",
            "Wang et al. 2023",
            "CE + soft Dice of the foreground, labeled samples",
        ),
        "rectifying": Equation(
            "Contrastive difference review",
            "Wang et al. 2023",
            "mean (p - y)^2 over voxels that one network alone calls object, labeled samples",
        ),
        "teaching": Equation(
            "Rectification by the better network",
            "Wang et al. 2023",
            "mean (p_worse - s(p_better))^2, s(p) = p^(1/T) / sum p^(1/T), unlabeled samples",
        ),
    }
    uses_unlabeled = True

    def terms(self, out_a: NetworkOutput, out_b: NetworkOutput, label: Tensor) -> dict[str, Tensor]:
        terms, a_wins = labeled_terms(
            out_a.logits[: len(label)],
            out_b.logits[: len(label)],
            label,
            threshold=0.0,
            review=self.settings.weight_rectifying > 0,
        )
        a, b = (out.logits[len(label) :].softmax(1) for out in (out_a, out_b))
        worse, better = torch.where(a_wins, b, a), torch.where(a_wins, a, b)
        target = sharpen(better.detach(), self.settings.temperature)
        terms["teaching"] = (worse - target).square().mean()
        return {**terms, "winner_a": a_wins.float()}

    def weights(self, progress: Progress) -> dict[str, float]:
        rise = ramp(progress, self.settings.ramp_up)
        return {
            **labeled_weights(self.settings.weight_rectifying),
            "teaching": rise * self.settings.weight_teaching,
        }


def labeled_terms(
    logits_a: Tensor, logits_b: Tensor, label: Tensor, threshold: float, review: bool
) -> tuple[dict[str, Tensor], Tensor]:
    """What both networks of MCF and LUSEG learn from the labeled samples, and who is better there.

    Parameters
    ----------
    logits_a, logits_b : Tensor, shape (L, C, X, Y, Z)
    label : Tensor, shape (L, X, Y, Z), int64
    threshold : float
        Probability from which on a network's vote counts in the review.
    review : bool
        Whether there is one.

    Returns
    -------
    terms : dict of str to Tensor
        "supervised_a" and "_b", and with a review "rectifying_a" and "_b".
    a_wins : Tensor
        Whether A has the smaller Dice loss; B wins where they are equal. A scalar that stays on the
        device, so that nothing waits for it.
    """
    probs = logits_a.softmax(1), logits_b.softmax(1)
    dice_a, dice_b = (dice_squared(prob, label) for prob in probs)
    terms = {
        "supervised_a": F.cross_entropy(logits_a, label) + dice_a,
        "supervised_b": F.cross_entropy(logits_b, label) + dice_b,
    }
    if review:
        reviewed = difference_review(*probs, label, threshold)
        terms["rectifying_a"], terms["rectifying_b"] = reviewed
    return terms, (dice_a < dice_b).detach()


def labeled_weights(review: float) -> dict[str, float]:
    """The weights of `labeled_terms`; `review` is that of the review."""
    weights = {"supervised_a": 1.0, "supervised_b": 1.0}
    return weights | ({"rectifying_a": review, "rectifying_b": review} if review else {})
