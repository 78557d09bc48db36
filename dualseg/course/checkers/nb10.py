"""Checkers of notebook 10: one training step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .core import exercise, expect, names, number

TERMS = (
    "supervised_a",
    "supervised_b",
    "consistency_a",
    "consistency_b",
    "cross_pseudo",
    "entropy_filtered_a",
    "entropy_filtered_b",
    "uncertainty_a",
    "uncertainty_b",
    "contrast_a",
    "contrast_b",
)
HEAD_OF_B = {"supervised_b", "consistency_b", "cross_pseudo", "entropy_filtered_b", "uncertainty_b"}


@exercise
def exercise_1(learns: Callable[[nn.Module, Tensor], bool]) -> None:
    """Whether a network gets a gradient from a loss."""

    # Each answer is about a new network and a new loss: loss.backward() uses up a graph, and leaves
    # gradients in the network.
    def new() -> tuple[nn.Linear, Tensor]:
        network = nn.Linear(2, 1)
        return network, network(torch.tensor([[1.0, 2.0]]))

    def pair() -> tuple[nn.Linear, nn.Linear, Tensor]:
        (first, one), (second, other) = new(), new()
        return first, second, (one - other.detach()).pow(2).mean() + one.mean()

    first, _, loss = pair()
    expect(learns(first, loss), "the loss is made of this network's output: True")
    _, second, loss = pair()
    expect(
        not learns(second, loss),
        "the second network's output is detached in this loss: it learns nothing from it",
    )
    network, out = new()
    try:
        found = learns(network, out.detach().sum())
    except RuntimeError:
        found = None
    expect(
        found is not None,
        "a loss of detached values has no graph, and autograd.grad fails; look at requires_grad",
    )
    expect(not found, "a loss of detached values teaches nobody")
    network, out = new()
    expect(
        not learns(network, (0.0 * out).sum()),
        "here the gradient exists and is zero everywhere: nothing is learned, so False",
    )
    network, _ = new()
    expect(
        learns(network, network.weight[0, 0] - network.weight[0, 1]),
        "the gradient of two weights is +1 and -1 here: their sum is 0, but each of them learns; "
        "look for any number that is not 0",
    )
    network, _ = new()
    expect(
        learns(network, -network.bias.sum()),
        "one parameter with a gradient is enough; the other one is None here (allow_unused=True)",
    )


@exercise
def exercise_2(into_head_of_b: set[str]) -> None:
    """Terms with a gradient in B's head."""
    named = names(into_head_of_b, TERMS)
    expect(
        not any(name.endswith("_a") for name in named),
        "a term of A reaches B as teacher only, and a teacher gets no gradient",
    )
    expect(
        "contrast_b" not in named, "the contrast compares features, which are taken before the head"
    )
    expect("cross_pseudo" in named, "one term teaches both networks; its name has no _b")
    missing = HEAD_OF_B - named
    expect(not missing, f"{len(missing)} more: every loss of B that is computed from its logits")


@exercise
def exercise_3(cross_pseudo: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Cross pseudo supervision through which both networks learn."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(2, 2, 3, 3, 3, generator=generator, requires_grad=True) for _ in "ab")
    loss = cross_pseudo(a, b)
    expect(isinstance(loss, Tensor) and loss.ndim == 0, "expected one number: the mean over voxels")
    ce = nn.functional.cross_entropy
    want = ce(a, b.argmax(1)) + ce(b, a.argmax(1))
    expect(loss.requires_grad, "no gradient at all: the answers that learn are still detached")
    expect(
        not torch.isclose(loss, want / 2), "that is the mean of the two directions; eq. 8 adds them"
    )
    own = ce(a, a.argmax(1)) + ce(b, b.argmax(1))
    expect(not torch.isclose(loss, own), "each network learns its own answer; exchange the labels")
    twice = ce(a.softmax(1), b.argmax(1)) + ce(b.softmax(1), a.argmax(1))
    expect(
        not torch.isclose(loss, twice),
        "cross_entropy takes logits; a softmax before it makes it a softmax twice",
    )
    into_a, into_b = torch.autograd.grad(loss, (a, b), allow_unused=True)
    expect(
        into_a is not None and into_b is not None,
        "only one network learns; take both directions, and detach neither answer",
    )
    expect(torch.isclose(loss, want), f"expected {want.item():.4f} here, found {loss.item():.4f}")


@exercise
def exercise_4(half_weight_at: float) -> None:
    """Where the ramp-up of `improved` reaches one half."""
    half_weight_at = number(half_weight_at, "t, a number between 0 and 1")
    expect(
        0 <= half_weight_at <= 1, f"expected t, a number between 0 and 1, found {half_weight_at:g}"
    )
    expect(
        abs(half_weight_at - 0.5) > 0.01,
        "the ramp-up is no straight line: at t = 0.5 the weight is e^-1.25, about 0.29",
    )
    expect(abs(half_weight_at - 0.3723) > 0.006, "that is 1 - t; how far is the training then?")
    weight = torch.tensor(-5 * (1 - half_weight_at) ** 2).exp().item()
    expect(abs(half_weight_at - 0.6277) < 0.006, f"at this t the weight is {weight:.2f}, not 0.5")
