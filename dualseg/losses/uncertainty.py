"""Uncertainty-weighted supervision: less trust where networks differ (section 3.3, eqs. 13-15)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from ._inputs import checked, class_maps, lift, one_of, where
from .cross_pseudo import pseudo_label


@checked(student_logits=class_maps, teacher_logits=class_maps)
def kl_divergence(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    r"""KL(teacher || student) of each voxel in nats (eq. 15): $\sum_c t_c \log(t_c / s_c)$.

    Eq. 15 prints no sum over the classes and names its arguments the other way round. The teacher
    is a constant: no gradient reaches it.

    Parameters
    ----------
    student_logits, teacher_logits : (B, C, X, Y, Z)

    Returns
    -------
    Tensor
        (B, X, Y, Z), not negative.
    """
    student = lift(student_logits).log_softmax(1)
    teacher = lift(teacher_logits.detach()).log_softmax(1)
    return (teacher.exp() * (teacher - student)).sum(1)


@checked(
    temperature=where(lambda value: value > 0, "a number above 0"), target=one_of("soft", "hard")
)
def uncertainty_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 0.5,
    target: Literal["soft", "hard"] = "soft",
    detach_weight: bool = False,
) -> Tensor:
    r"""Mean over voxels of $e^{-D} L_p + D$ with D = KL(teacher || student) (eqs. 13-14).

    $L_p$ is the cross-entropy of the student against the teacher, through which no gradient flows.
    The gradient of $e^{-D}$ favors disagreement and, where $e^{-D} L_p > 1$, outweighs that of
    $+D$. With two classes the sum of all three still pulls to the teacher everywhere (notebook 08);
    with many classes it can push away.

    Parameters
    ----------
    student_logits, teacher_logits : (B, C, X, Y, Z)
    temperature : $T_p$ of eq. 13; it is on the teacher here and nowhere else
    target : "soft", the teacher's softmax(logits / T_p) as in eq. 13; "hard", its argmax as in the
        released code, on which no temperature acts
    detach_weight : makes $e^{-D}$ a constant; in print it is not

    Returns
    -------
    Tensor
        Scalar.
    """
    divergence = kl_divergence(student_logits, teacher_logits)
    student, teacher = lift(student_logits).log_softmax(1), lift(teacher_logits.detach())
    if target == "soft":
        supervision = -((teacher / temperature).softmax(1) * student).sum(1)
    else:
        supervision = -student.gather(1, pseudo_label(teacher).unsqueeze(1)).squeeze(1)
    weight = (-divergence).exp()
    if detach_weight:
        weight = weight.detach()
    return (weight * supervision + divergence).mean()
