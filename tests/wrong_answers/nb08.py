"""What students typically write in notebook 08, and words of the hint that it must get."""

import math

import torch

from dualseg.losses import kl_divergence


def stable(p_logits, q_logits):
    log_p, log_q = p_logits.log_softmax(1), q_logits.log_softmax(1)
    return log_p.exp() * (log_p - log_q)


def naive(student, teacher):
    s, t = student.softmax(1), teacher.softmax(1)
    return (t * (t / s).log()).sum(1)


def clamped(student, teacher):
    s, t = (x.softmax(1).clamp_min(1e-30) for x in (student, teacher))
    return (t * (t / s).log()).sum(1)


def weight_detached(a, b):
    target, divergence = (b.detach() / 0.5).softmax(1), kl_divergence(a, b)
    cross = -(target * a.log_softmax(1)).sum(1)
    return (torch.exp(-divergence).detach() * cross + divergence).mean()


def of_the_student(a, b):
    target, divergence = (b.detach() / 0.5).softmax(1), stable(a, b.detach()).sum(1)
    cross = -(target * a.log_softmax(1)).sum(1)
    return (torch.exp(-divergence) * cross + divergence).mean()


def une(a, b, weight_of=(0, 1), plus_of=(0, 1), temperature=0.5, plus=1.0, detach=True):
    pair = (a, b)
    target = ((b.detach() if detach else b) / temperature).softmax(1)
    cross = -(target * a.log_softmax(1)).sum(1)
    weight = torch.exp(-kl_divergence(pair[weight_of[0]], pair[weight_of[1]]))
    return (weight * cross + plus * kl_divergence(pair[plus_of[0]], pair[plus_of[1]])).mean()


WRONG = {
    "exercise_1": [
        ((naive,), "use log_softmax"),
        ((clamped,), "or clamping it"),
        ((lambda s, t: stable(s, t).sum(1),), "that is KL\\(student"),
        ((lambda s, t: stable(t, s).mean(1),), "a divergence is their sum"),
        ((lambda s, t: stable(t, s).sum(),), "one number a row"),
        ((lambda s, t: stable(t, s),), "one number a row"),
        ((lambda s, t: -stable(t, s).sum(1),), "the sign"),
        ((lambda s, t: stable(t, s).sum(1) / math.log(2),), "in bits"),
        ((lambda s, t: stable(t.softmax(1), s.softmax(1)).sum(1),), "the first row is"),
    ],
    "exercise_2": [
        ((math.log(5), 2.0), "that is D itself"),
        ((0.8, 2.0), "how far the student is away"),
        ((5.0, 2.0), "at most 1"),
        (("0.2", 2.0), "a weight, one number"),
        ((0.58, 2.0), "what undoes a log"),
        ((0.2, 0.322), "lacks the \\+ D"),
        ((0.2, 3.22), "multiplied by it"),
        ((0.2, 1.08), "both L_p and D are log 5"),
    ],
    "exercise_3": [
        ((lambda a, b: une(a, b, (1, 0), (1, 0)),), "a gradient reaches B"),
        ((lambda a, b: une(a, b, (0, 1), (1, 0)),), "a gradient reaches B"),
        ((lambda a, b: une(a, b, detach=False),), "a gradient reaches B"),
        ((lambda a, b: une(a, b.detach(), (1, 0), (0, 1)),), "still takes KL"),
        ((lambda a, b: une(a, b, plus=0),), "the \\+ D of eq. 14 is gone"),
        ((lambda a, b: une(a, b, temperature=1),), "lost its temperature"),
        ((lambda a, b: une(a.detach(), b) + 0 * a.sum(),), "A gets no gradient"),
        ((weight_detached,), "not the gradient"),
        ((of_the_student,), "D is KL\\(student"),
        ((lambda a, b: une(a.detach(), b.detach()),), "no gradient at all"),
        ((lambda a, b: une(a, b) * 2,), "expected .* on a random input"),
    ],
    "exercise_4": [
        ((math.exp(-2), 0, 0), "the slope is smallest there"),
        ((1, 0, 0), "that is D, not s"),
        ((0, 0, 0), "it has a top"),
        ((0.5, 0, 0), "log s \\+ 1 = 0"),
        ((0.368, 0.368, 0), "never changes its sign"),
        ((0.368, 0, 0.368), "at least 1 - e\\^-2"),
    ],
}
