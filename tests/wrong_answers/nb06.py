"""What students typically write in notebook 06, and words of the hint that it must get."""

import numpy as np
import torch
import torch.nn.functional as F


def one_way(student, teacher):
    return F.cross_entropy(student, teacher.argmax(1))


def both(a, b):
    return one_way(a, b) + one_way(b, a)


def no_gradient_into_a(a, b):
    return one_way(a.detach(), b) + one_way(b, a)


def for_two_classes(a, b):
    def told(logits):
        return (logits[:, 1] > logits[:, 0]).long()

    return F.cross_entropy(a, told(b)) + F.cross_entropy(b, told(a))


def by_requires_grad(loss, a, b):
    return "both" if loss(a, b).requires_grad else "none"


def without_asking_first(loss, a, b):
    return named(torch.autograd.grad(loss(a, b), (a, b), allow_unused=True))


def none_is_all(loss, a, b):
    value = loss(a, b)
    if not value.requires_grad:
        return "none"
    grads = torch.autograd.grad(value, (a, b), allow_unused=True)
    return named([None if grad is None else torch.ones(1) for grad in grads])


def named(grads):
    learns = tuple(grad is not None and bool(grad.any()) for grad in grads)
    return {(1, 1): "both", (1, 0): "A", (0, 1): "B"}.get(learns, "none")


RIGHT = np.array([-np.log(0.02), -np.log(0.72), -2 * np.log(0.99)])


def summed(a, b):
    pairs = (a, b.argmax(1)), (b, a.argmax(1))
    return sum(F.cross_entropy(*pair, reduction="sum") for pair in pairs)


WRONG = {
    "exercise_1": [
        ((lambda a, b: one_way(a, a) + one_way(b, b),), "its own label"),
        ((one_way,), "one direction only"),
        ((lambda a, b: one_way(b, a),), "one direction only"),
        ((lambda a, b: both(a, b) / 2,), "eq. 8 adds them"),
        ((lambda a, b: 2 * both(a, b),), "counts once"),
        ((lambda a, b: both(a.softmax(1), b.softmax(1)),), "applies a softmax itself"),
        (
            (lambda a, b: F.cross_entropy(a, b.softmax(1)) + F.cross_entropy(b, a.softmax(1)),),
            "labels are soft",
        ),
        ((lambda a, b: both(a.detach(), b.detach()),), "nobody would learn"),
        ((no_gradient_into_a,), "network A gets no gradient"),
        ((lambda a, b: F.cross_entropy(a, b.argmax(1), reduction="none"),), "a mean"),
        ((summed,), "the sum over the voxels"),
        ((lambda a, b: both(a, b.int()),), "your function stopped with"),
        ((for_two_classes,), "not for three"),
    ],
    "exercise_2": [
        ((by_requires_grad,), "0 everywhere"),
        ((without_asking_first,), "requires_grad first"),
        ((none_is_all,), "0 everywhere"),
        ((lambda loss, a, b: True,), "one of both, A, B, none, found True"),
        ((lambda loss, a, b: "C",), "one of both, A, B, none, found 'C'"),
    ],
    "exercise_3": [
        (([0.33, 0.33, 0.02],), "the label of the other"),
        ((list(RIGHT / np.log(10)),), "natural logarithm"),
        ((list(RIGHT / np.log(2)),), "natural logarithm"),
        ((list(RIGHT / 2),), "not averaged"),
        (([3.91, 0.33, 9.21],), "the truth plays no part"),
        (([3.91, 0.5, 0.02],), "moment 2"),
        (([3.91, 0.33, 0.01],), "moment 3: that is what one network pays"),
        (([3.91, 0.33, 0.03],), "moment 3: expected 0.02"),
        ((3.91,), "three numbers"),
        (([3.91, 0.33],), "3 in all, found 2"),
        ((["3.91", 0.33, 0.02],), "each a number, found '3.91'"),
    ],
    "exercise_4": [
        ((0, "disagreement"), "compares the networks with each other"),
        ((1, "CPS loss"), "which curve has seen a true label"),
        ((0, "supervised loss"), "agree on background"),
        ((1, "Dice"), "one of disagreement"),
        (("one", "supervised loss"), "a pair as the first answer"),
    ],
}
