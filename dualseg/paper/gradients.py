"""Who learns from what: for each term of the loss, what it depends on and where its gradient goes.

Found by asking autograd on a small random input, not by reading the code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..config.experiment import Experiment, method_named
from ..config.training import Progress
from ..data.known import dataset_spec
from ..errors import DualsegError
from ..methods import Method, TwoNetworks
from ..networks._blocks import NetworkOutput
from .released_program import released_unlabeled_terms

INPUTS = ("logits A", "logits B", "features A", "features B")
GRADIENT, CONSTANT, NOTHING = "gradient", "constant", "-"

Inputs = dict[str, Tensor]
Terms = dict[str, Tensor]


def without_weights(experiment: Experiment) -> Method:
    """The experiment's method on torch's "meta" device: whole, but for its parameters' values."""
    kind = method_named(experiment.method)
    with torch.device("meta"):
        return kind(experiment.settings, experiment.train, dataset_spec(experiment.dataset))


def gradient_table(experiment: Experiment) -> dict[str, dict[str, str]]:
    """Who learns from what, in a method with the paper's two networks.

    Parameters
    ----------
    experiment : whose method and settings are asked

    Returns
    -------
    dict
        For each term of the loss and each of `INPUTS`: "gradient", the term moves it; "constant",
        the term's value depends on it, as pseudo-label, teacher, mask or class, but no gradient
        goes there; "-", it plays no part.

    Raises
    ------
    DualsegError
        For a method without the two networks.
    """
    method = without_weights(experiment)
    if not isinstance(method, TwoNetworks):
        raise DualsegError(f"method: expected one of two networks, found {experiment.method!r}.")
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 2, (2, 6, 6, 6), generator=generator)
    weights = method.weights(Progress(0, 1))

    def terms(inputs: Inputs) -> Terms:
        found = method.terms(*_outputs(inputs), label)
        return {name: found[name] for name in weights}

    return _table(terms, 4)


def released_gradient_table(repaired: bool = False) -> dict[str, dict[str, str]]:
    """`gradient_table` of the released program's unlabeled losses, re-created.

    Parameters
    ----------
    repaired : as for `released_unlabeled_terms`; without it a value that is NaN whatever the
        inputs are depends on none of them
    """
    return _table(lambda inputs: released_unlabeled_terms(*_outputs(inputs), repaired), 2)


def released_values(repaired: bool = False) -> dict[str, float]:
    """The value of each loss of `released_gradient_table`, on the input of that table.

    Parameters
    ----------
    repaired : as for `released_unlabeled_terms`
    """
    terms = released_unlabeled_terms(*_outputs(_random_inputs(2, seed=1)), repaired)
    return {name: term.item() for name, term in terms.items()}


def _outputs(inputs: Inputs) -> tuple[NetworkOutput, NetworkOutput]:
    logits_a, logits_b, *features = (inputs[name] for name in INPUTS)
    return NetworkOutput(logits_a, features[0]), NetworkOutput(logits_b, features[1])


def _random_inputs(batch: int, seed: int) -> Inputs:
    generator = torch.Generator().manual_seed(seed)
    shapes = {name: (batch, 2 if "logits" in name else 5, 6, 6, 6) for name in INPUTS}
    return {
        name: torch.randn(shape, generator=generator, requires_grad=True)
        for name, shape in shapes.items()
    }


def _table(terms: Callable[[Inputs], Terms], batch: int) -> dict[str, dict[str, str]]:
    inputs, others = _random_inputs(batch, seed=1), _random_inputs(batch, seed=2)
    values = terms(inputs)
    exchanged = {name: terms(inputs | {name: others[name]}) for name in INPUTS}
    table: dict[str, dict[str, str]] = {}
    for term, value in values.items():
        grads: Sequence[Tensor | None] = [None] * len(INPUTS)
        if value.requires_grad:
            leaves = list(inputs.values())
            grads = torch.autograd.grad(value, leaves, allow_unused=True, retain_graph=True)
        table[term] = {}
        for name, grad in zip(INPUTS, grads, strict=True):
            unmoved = value.allclose(exchanged[name][term], 0, 0, equal_nan=True)
            constant = NOTHING if unmoved else CONSTANT
            table[term][name] = GRADIENT if grad is not None and grad.any() else constant
    return table
