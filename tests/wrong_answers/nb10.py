"""What students typically write in notebook 10, and words of the hint that it must get."""

import torch
import torch.nn.functional as F


def without_a_look_at_the_graph(network, loss):
    found = torch.autograd.grad(
        loss, list(network.parameters()), retain_graph=True, allow_unused=True
    )
    return any(g is not None and bool(g.any()) for g in found)


def existing_is_enough(network, loss):
    if not loss.requires_grad:
        return False
    parameters = list(network.parameters())
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return any(g is not None for g in found)


def detached(a, b):
    soft_a, soft_b = a.softmax(1).detach(), b.softmax(1).detach()
    return F.nll_loss(soft_a.log(), soft_b.argmax(1)) + F.nll_loss(soft_b.log(), soft_a.argmax(1))


def by_the_sum(network, loss):
    if not loss.requires_grad:
        return False
    parameters = list(network.parameters())
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return any(g is not None and bool(g.sum() != 0) for g in found)


WRONG = {
    "exercise_1": [
        ((lambda network, loss: loss.requires_grad,), "detached in this loss"),
        ((without_a_look_at_the_graph,), "requires_grad"),
        ((existing_is_enough,), "zero everywhere"),
        ((by_the_sum,), "their sum is 0"),
        ((lambda network, loss: False,), "this network's output"),
    ],
    "exercise_2": [
        (({"supervised_b", "uncertainty_a"},), "as teacher only"),
        (({"supervised_b", "cross_pseudo", "contrast_b"},), "before the head"),
        (({"supervised_b", "consistency_b"},), "teaches both networks"),
        (({"supervised_b", "cross_pseudo"},), "more: every loss of B"),
        (({"supervised"},), "expected one of supervised_a, .* found 'supervised'"),
        (("cross_pseudo",), "a set of names"),
    ],
    "exercise_3": [
        ((detached,), "still detached"),
        ((lambda a, b: F.cross_entropy(a, b.argmax(1)),), "only one network"),
        (
            (lambda a, b: (F.cross_entropy(a, b.argmax(1)) + F.cross_entropy(b, a.argmax(1))) / 2,),
            "eq. 8 adds them",
        ),
        (
            (lambda a, b: F.cross_entropy(a, a.argmax(1)) + F.cross_entropy(b, b.argmax(1)),),
            "its own answer",
        ),
        (
            (
                lambda a, b: (
                    F.cross_entropy(a.softmax(1), b.argmax(1))
                    + F.cross_entropy(b.softmax(1), a.argmax(1))
                ),
            ),
            "softmax twice",
        ),
    ],
    "exercise_4": [
        ((0.5,), "no straight line"),
        ((0.3723,), "that is 1 - t"),
        ((0.9,), "the weight is 0.95"),
        ((50,), "between 0 and 1"),
        (("0.63",), "t, a number between 0 and 1, found '0.63'"),
    ],
}
