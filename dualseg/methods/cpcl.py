"""CPCL: prototypes of labeled samples predict the unlabeled ones, and the other way round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from .._util.settings import Range
from ..config.training import Progress
from ..data.batches import Batch
from ..errors import DualsegError
from ..losses import pseudo_label
from ..networks._blocks import NetworkOutput
from .base import Equation, Preset
from .mean_teacher import MeanTeacher, MeanTeacherSettings
from .parts.dice import cross_entropy_and_dice
from .parts.prototypes import cosine_map, sample_prototypes
from .parts.published import PUBLISHED
from .parts.ramps import ramp
from .parts.teacher import noisy

SHARPNESS = 20  # factor on the cosine similarities before their softmax


@dataclass(frozen=True)
class CPCLSettings(MeanTeacherSettings):
    """Settings of CPCL; the defaults are those of its program, with gradients."""

    ramp_up: Annotated[float, Range(0, 1)] = 0.6
    """Part of the training over which the weights rise (program: 6000 of 10000 steps)."""
    weight_consistency: Annotated[float, Range(0)] = 0.1
    """Weight of the way forward, labeled to unlabeled, and of the stability (program: 0.1)."""
    weight_backward: Annotated[float, Range(0)] = 1.0
    """Weight of the way back, unlabeled to labeled (program: ten times the way forward)."""
    prototype_gradient: bool = True
    """Whether the two prototype terms teach anything; in the released program they do not, as
    its feature maps are detached."""
    stability: bool = False
    """Whether the network agrees with a teacher that sees noise, as in the released program; the
    paper discards this."""


class CPCL(MeanTeacher):
    """Prototypes of labeled samples predict the unlabeled ones, and theirs predict the labels.

    So real labels supervise both ways. A prototype is the mean feature of a class in a volume; a
    voxel gets the class of the prototype that it is most similar to.

    A step: the network sees all samples, the teacher (in training mode) the unlabeled ones. The way
    forward: prototypes of each labeled sample, from its label, predict the unlabeled sample of the
    same place in the batch by the teacher's features; this is to equal the teacher's softmax. The
    way back: prototypes of the unlabeled sample, from the teacher's features and argmax, predict
    the labeled one by the network's features; this is to equal the label. Each voxel counts in a
    prototype by its probability, a constant. Features are those at half resolution.

    In the released program feature maps and prototypes are detached, so that neither term has a
    gradient; what trains there is a consistency of logits with a teacher that sees noise, which the
    paper discards. Preset "released" does that. "paper" gives both terms their gradient and leaves
    the consistency out, and its cross-entropy is of log-probabilities (the program takes a softmax
    of a softmax). The authors released a program for the left atrium only, which their paper has
    not.
    """

    title = "CPCL"
    citation = "xu2022cpcl"
    features = "half"
    settings_type = CPCLSettings
    settings: CPCLSettings
    presets: ClassVar = {
        "paper": Preset("as described: the prototypes teach, without noise"),
        "released": Preset(
            "as the released program: the prototypes have no gradient, the noisy teacher trains",
            {"prototype_gradient": False, "stability": True},
        ),
        "own": Preset(
            '"paper" with the published budget: 10000 steps, polynomial decay',
            {**PUBLISHED, "iterations": 10000, "schedule": "poly"},
        ),
    }
    equations: ClassVar = {
        "supervised": Equation(
            "Supervised loss", "Xu et al. 2022", "CE + soft Dice of all classes, labeled samples"
        ),
        "forward": Equation(
            "Labeled to unlabeled",
            "Xu et al. 2022",
            "mean (softmax(20 cos(teacher's features, prototypes of the labeled sample)) - "
            "p_teacher)^2, unlabeled samples",
        ),
        "backward": Equation(
            "Unlabeled to labeled",
            "Xu et al. 2022",
            "CE(20 cos(features, prototypes of the unlabeled sample), y), labeled samples",
        ),
        "stability": Equation(
            "Consistency with the teacher",
            "released program",
            "mean (f - f_teacher)^2, all samples",
        ),
    }

    def loss(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        choices, labeled = self.settings, batch.labeled
        student = self(batch.image)
        with torch.no_grad():
            teacher = self.run(self.teacher, batch.image[labeled:])
        known = NetworkOutput(student.logits[:labeled], student.features[:labeled])
        if not choices.prototype_gradient:
            known = NetworkOutput(known.logits.detach(), known.features.detach())
        terms = {
            "supervised": cross_entropy_and_dice(student.logits[:labeled], batch.label),
            "forward": forward_term(known, batch.label, teacher),
            "backward": backward_term(known, batch.label, teacher),
        }
        if choices.stability:
            with torch.no_grad():
                target = self.teach(noisy(batch.image))
            terms["stability"] = (student.logits - target).square().mean()
        return terms

    def weights(self, progress: Progress) -> dict[str, float]:
        choices = self.settings
        rise = ramp(progress, choices.ramp_up)
        weights = {
            "supervised": 0.5,
            "forward": rise * choices.weight_consistency,
            "backward": rise * choices.weight_backward,
        }
        stability = {"stability": rise * choices.weight_consistency}
        return weights | (stability if choices.stability else {})

    def smallest_pass(self, labeled: int, unlabeled: int) -> int:
        if labeled != unlabeled:
            raise DualsegError(
                "unlabeled_batch: expected as many samples as labeled ones, as each labeled sample "
                f"serves one unlabeled sample in CPCL, found {unlabeled} for {labeled}; choose "
                f"--unlabeled-batch {labeled}."
            )
        return unlabeled


def forward_term(known: NetworkOutput, label: Tensor, teacher: NetworkOutput) -> Tensor:
    """Prototypes of labeled samples predict unlabeled ones; the gradient goes through them.

    Parameters
    ----------
    known : NetworkOutput
        The network's, of the labeled samples.
    label : Tensor, shape (L, X, Y, Z), int64
    teacher : NetworkOutput
        The teacher's, of as many unlabeled samples.

    Returns
    -------
    Tensor
        Scalar.
    """
    prototypes = sample_prototypes(known.features, _confidence(known.logits, label))
    found = (SHARPNESS * cosine_map(teacher.features, prototypes)).softmax(1)
    return (found - teacher.logits.softmax(1)).square().mean()


def backward_term(known: NetworkOutput, label: Tensor, teacher: NetworkOutput) -> Tensor:
    """Prototypes of unlabeled samples predict labeled ones; arguments as of `forward_term`."""
    confidence = _confidence(teacher.logits, pseudo_label(teacher.logits))
    prototypes = sample_prototypes(teacher.features, confidence)
    return F.cross_entropy(SHARPNESS * cosine_map(known.features, prototypes), label)


def _confidence(logits: Tensor, label: Tensor) -> Tensor:
    """The probability of each voxel's label, in the map of its class, (B, C, X, Y, Z)."""
    prob = logits.detach().softmax(1)
    return prob * F.one_hot(label, prob.shape[1]).movedim(-1, 1)
