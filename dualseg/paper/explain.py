"""The loss in words and numbers: each term's equation, weight, gradient, and disputed points."""

from __future__ import annotations

import textwrap
from dataclasses import asdict

from .._util.tables import columns
from ..config.experiment import Experiment
from ..config.training import Progress
from ..errors import require
from ..methods import Method, TwoNetworks
from ..methods.dual_settings import DUAL_EQUATIONS
from .gradients import (
    INPUTS,
    gradient_table,
    released_gradient_table,
    released_values,
    without_weights,
)
from .tables import Difference, differences

TIMES = (0.0, 0.25, 0.5, 0.75, 1.0)


def family(term: str) -> str:
    """The name that both networks' terms share: "contrast" of "contrast_a"."""
    return term.removesuffix("_a").removesuffix("_b")


def explain(preset: str | None, dataset: str, at: float = 0.0, method: str = "dual") -> str:
    """Every term of a preset: its equation, weights, gradient, and where paper and program differ.

    Parameters
    ----------
    preset : of the method; None for the data set's own
    dataset, method : names
    at : t = step / steps, from 0 to 1, at which the weights are shown besides over the training

    Returns
    -------
    str
        A text for the terminal.

    Raises
    ------
    DualsegError
        For an unknown preset, data set or method.
    """
    require(0 <= at <= 1, "at", "t from 0 to 1", at)
    experiment = Experiment(dataset, preset=preset, method=method)
    built = without_weights(experiment)
    parts = [
        f'preset "{experiment.preset}" on {experiment.dataset}: '
        f"{built.presets[experiment.preset].about}.",
        _changes(built),
        f"The loss is the sum of weight x term{_eq_1(built)} at t = step / steps{_halved(built)}:",
        columns([_WEIGHT_HEADER, *_weight_rows(built, at)], "  "),
    ]
    if isinstance(built, TwoNetworks):
        parts.append("What a term learns from (see also `dualseg gradients`):")
        parts.append(_reach(gradient_table(experiment)))
    present = {family(term) for term in built.weights(Progress(0, 1))}
    for name, equation in built.equations.items():
        title, where, formula = equation
        state = "" if name in present else " - switched off"
        parts.append(f"{title} ({name}), {where}{state}\n  {formula}")
        if equation in DUAL_EQUATIONS.values():  # the differences are about the paper's equations
            parts += [_difference(entry, built) for entry in differences() if entry.term == name]
    listed = "; ".join(f"{name} ({p.about})" for name, p in built.presets.items())
    return "\n\n".join(part for part in [*parts, f"Presets: {listed}."] if part)


def explain_gradients(preset: str | None, dataset: str, method: str = "dual") -> str:
    """The gradient table of a preset, and that of the released program's terms without effect.

    Parameters
    ----------
    preset, dataset, method : as for `explain`

    Returns
    -------
    str
        A text for the terminal.

    Raises
    ------
    DualsegError
        As `explain`, and for a method that has not the paper's two networks.
    """
    experiment = Experiment(dataset, preset=preset, method=method)
    parts = [
        f'"gradient": the term moves it; "constant": it matters to the value, as label, teacher, '
        f'mask or class, and gets no gradient; "-": it plays no part.\n\n'
        f'preset "{experiment.preset}":',
        _reach(gradient_table(experiment)),
    ]
    for repaired in (False, True):
        values = ", ".join(f"{k} {v:.3f}" for k, v in released_values(repaired).items())
        how = "with its entropy repaired" if repaired else "as it is (entropy of logits)"
        parts += [
            f"the released program's unlabeled losses, re-created, {how}; values: {values}",
            _reach(released_gradient_table(repaired)),
        ]
    return "\n\n".join(parts)


_WEIGHT_HEADER = ["term", "now", *(f"t={t:g}" for t in TIMES)]


def _eq_1(built: Method) -> str:
    return " (eq. 1)" if built.equations.items() <= DUAL_EQUATIONS.items() else ""


def _halved(built: Method) -> str:
    two = "contrast_a" in built.weights(Progress(0, 1))
    return "; each network's contrast has half of lambda_c" if two else ""


def _weight_rows(built: Method, at: float) -> list[list[str]]:
    steps = 1_000_000
    at_times = [built.weights(Progress(round(t * steps), steps)) for t in (at, *TIMES)]
    return [[term, *(f"{weights[term]:.4g}" for weights in at_times)] for term in at_times[0]]


def _reach(table: dict[str, dict[str, str]]) -> str:
    rows = [[term, *cells.values()] for term, cells in table.items()]
    return columns([["term", *INPUTS], *rows], "  ")


def _changes(built: Method) -> str:
    usual = asdict(built.settings_type())
    changed = {name: v for name, v in asdict(built.settings).items() if v != usual[name]}
    listed = ", ".join(f"{name} = {value}" for name, value in changed.items())
    defaults = "defaults (the paper's choices for LA)" if _eq_1(built) else "defaults"
    return f"Other than the {defaults}: {listed}." if changed else ""


def _difference(entry: Difference, built: Method) -> str:
    choices = (name for name in entry.choice if hasattr(built.settings, name))
    values = ", ".join(f"{name} = {getattr(built.settings, name)}" for name in choices)
    lines = [
        f"paper:    {entry.paper}",
        f"released: {entry.release}",
        f"default:  {entry.here}" + (f" [this preset: {values}]" if values else ""),
    ]
    text = [
        textwrap.fill(x, 100, subsequent_indent=" " * 17, break_on_hyphens=False) for x in lines
    ]
    starts = (f"  [{entry.number}]", "", "")
    return "\n".join(f"{start:7}{x}" for start, x in zip(starts, text, strict=True))
