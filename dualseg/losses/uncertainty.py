"""Uncertainty-weighted supervision: less trust where networks differ (section 3.3, eqs. 13-15)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from ..errors import require, require_one_of
from ._inputs import lift, require_logits


def kl_divergence(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    r"""KL(teacher || student) of each voxel in nats (eq. 15): $\sum_c t_c \log(t_c / s_c)$.

    Eq. 15 prints no sum over the classes and names its arguments the other way round. The teacher
    is a constant: no gradient reaches it.

    Shapes: logits (B, C, X, Y, Z), any C >= 2 -> (B, X, Y, Z), not negative.
    """
    require_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    student = lift(student_logits).log_softmax(1)
    teacher = lift(teacher_logits.detach()).log_softmax(1)
    return (teacher.exp() * (teacher - student)).sum(1)


def uncertainty_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 0.5,
    target: Literal["soft", "hard"] = "soft",
    detach_weight: bool = False,
) -> Tensor:
    r"""Mean over voxels of $e^{-D} L_p + D$ with D = KL(teacher || student) (eqs. 13-14).

    $L_p$ is the cross-entropy of the student against the teacher: "soft", softmax(logits / T_p) as
    in eq. 13 (the temperature is on the teacher here and nowhere else); "hard", the teacher's
    argmax as in the released code, on which no temperature acts. `detach_weight` makes $e^{-D}$ a
    constant. In print it is not: its own gradient favours disagreement and, where
    $e^{-D} L_p > 1$, outweighs that of $+D$. With two classes the sum of all three still pulls to
    the teacher everywhere (notebook 08); with many classes it can push away.

    Shapes: logits (B, C, X, Y, Z), any C >= 2 -> scalar. No gradient reaches the teacher.
    """
    require_one_of("target", target, ("soft", "hard"))
    require(temperature > 0, "temperature", "a number above 0", temperature)
    divergence = kl_divergence(student_logits, teacher_logits)
    student, teacher = lift(student_logits).log_softmax(1), lift(teacher_logits.detach())
    if target == "soft":
        supervision = -((teacher / temperature).softmax(1) * student).sum(1)
    else:
        supervision = -student.gather(1, teacher.argmax(1, keepdim=True)).squeeze(1)
    weight = (-divergence).exp()
    if detach_weight:
        weight = weight.detach()
    return (weight * supervision + divergence).mean()
