"""Losses against NumPy float64 written from the equations, and who gets a gradient."""

import numpy as np
import pytest
import torch

from dualseg.losses import cross_pseudo_loss, soft_dice_loss, supervised_loss

SHAPE = (2, 2, 3, 4, 5)


def softmax(logits):
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def cross_entropy(logits, label):
    prob = softmax(logits)
    return -np.log(np.take_along_axis(prob, label[:, None], 1)).mean()


def dice(prob, target):
    return 1 - (2 * (prob * target).sum() + 1e-5) / ((prob**2).sum() + (target**2).sum() + 1e-5)


@pytest.fixture
def inputs():
    rng = np.random.default_rng(0)
    logits = [rng.normal(0, 2, SHAPE) for _ in range(2)]
    return logits, rng.integers(0, 2, (2, 3, 4, 5))


def test_soft_dice_by_hand():
    prob, target = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([1, 0, 0])
    # overlap 0.5, sizes 0.25 + 0.25 and 1
    assert soft_dice_loss(prob, target).item() == pytest.approx(1 - 1.00001 / 1.50001)


def test_supervised_loss_is_eq_2(inputs):
    (logits, _), label = inputs
    expected = cross_entropy(logits, label) + dice(softmax(logits)[:, 1], label)
    got = supervised_loss(torch.tensor(logits), torch.tensor(label))
    assert got.item() == pytest.approx(expected, abs=1e-6)


def test_supervised_loss_of_three_classes_averages_the_foreground():
    rng = np.random.default_rng(1)
    logits, label = rng.normal(size=(1, 3, 2, 3, 4)), rng.integers(0, 3, (1, 2, 3, 4))
    prob = softmax(logits)
    expected = cross_entropy(logits, label) + np.mean(
        [dice(prob[:, c], label == c) for c in (1, 2)]
    )
    got = supervised_loss(torch.tensor(logits), torch.tensor(label))
    assert got.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("same", [False, True], ids=["disagreeing", "identical networks"])
def test_cross_pseudo_loss_is_eq_8(inputs, same):
    (a, b), _ = inputs
    b = a if same else b
    expected = cross_entropy(a, b.argmax(1)) + cross_entropy(b, a.argmax(1))
    got = cross_pseudo_loss(torch.tensor(a), torch.tensor(b))
    assert got.item() == pytest.approx(expected, abs=1e-6)


def test_cross_pseudo_gradient_is_that_of_fixed_labels(inputs):
    """Each network gets softmax - onehot(other's label): nothing flows through the labels."""
    (a, b), _ = inputs
    ta, tb = (torch.tensor(x, requires_grad=True) for x in (a, b))
    cross_pseudo_loss(ta, tb).backward()
    for own, grad, other in ((a, ta.grad, b), (b, tb.grad, a)):
        onehot = np.stack([other.argmax(1) == c for c in (0, 1)], 1)
        np.testing.assert_allclose(grad, (softmax(own) - onehot) / onehot[:, 0].size, atol=1e-6)


def test_one_direction_leaves_the_teacher_alone(inputs):
    (a, b), _ = inputs
    tb = torch.tensor(b, requires_grad=True)
    cross_pseudo_loss(torch.tensor(a, requires_grad=True), tb.detach()).backward()
    assert tb.grad is None


@pytest.mark.parametrize("scale", [1e4, 0.0], ids=["huge logits", "all equal"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fill", [0, 1], ids=["no foreground", "all foreground"])
def test_degenerate_inputs_stay_finite(scale, dtype, fill):
    torch.manual_seed(0)
    a, b = ((scale * torch.randn(SHAPE)).to(dtype).requires_grad_() for _ in range(2))
    label = torch.full((2, 3, 4, 5), fill)
    total = supervised_loss(a, label) + cross_pseudo_loss(a, b)
    total.backward()
    assert total.dtype == torch.float32
    assert total.isfinite()
    assert a.grad.isfinite().all()
    assert b.grad.isfinite().all()


def test_empty_prediction_of_an_empty_target_costs_nothing():
    assert soft_dice_loss(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2)).item() == 0.0
