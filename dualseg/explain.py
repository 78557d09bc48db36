"""The loss in words and numbers: each term's equation, weight, gradient, and disputed points."""

from __future__ import annotations

import textwrap
from dataclasses import asdict

from .errors import require
from .gradients import INPUTS, gradient_table, released_gradient_table, released_values
from .loss_config import PRESETS, LossConfig, preset_losses
from .methods.dual import dual_weights
from .paper import Difference, differences
from .text import columns
from .train_config import Progress

# Family: (title, where in the paper, formula). Terms of a family differ in the network that learns.
FAMILIES = {
    "supervised": (
        "Supervised loss",
        "eq. 2",
        "CE(f, y) + 1 - 2 sum(p y) / (sum(p^2) + sum(y^2)), labeled samples",
    ),
    "consistency": (
        "Consistency regularisation (CR)",
        "eqs. 4-6",
        "sum(M d(p, y)) / sum(M), M: where one network is sure of the object; labeled samples",
    ),
    "cross_pseudo": (
        "Cross pseudo supervision (CPS)",
        "eqs. 7-8",
        "CE(f_A, argmax f_B) + CE(f_B, argmax f_A)",
    ),
    "entropy_filtered": (
        "Entropy-filtered supervision (EFS)",
        "eqs. 9-11",
        "mean CE(f, pseudo-label) over voxels with entropy up to the gamma-th percentile",
    ),
    "uncertainty": (
        "Uncertainty estimation (UE)",
        "eqs. 13-15",
        "mean of e^-D CE(f, softmax(teacher / T_p)) + D, D = KL(teacher || student)",
    ),
    "contrast": (
        "Prototype-guided contrast (PGL)",
        "eqs. 16-20",
        "for each class the mean |feature - prototype| of its uncertain voxels, and d(c_f, c_b)",
    ),
    "cosine": ("Cosine consistency", "not in the paper", "1 - cos(p_A, p_B)"),
}
TIMES = (0.0, 0.25, 0.5, 0.75, 1.0)


def family(term: str) -> str:
    """The family of a term of "dual": "contrast" of "contrast_a"."""
    return term.removesuffix("_a").removesuffix("_b")


def explain(preset: str, dataset: str, at: float = 0.0) -> str:
    """Every term of a preset: equation, weights at `at` and over training, gradient, differences.

    `at` is t = step / steps, from 0 to 1. Raises DualsegError for an unknown preset or
    data set.
    """
    require(0 <= at <= 1, "at", "t from 0 to 1", at)
    choices = preset_losses(preset, dataset)
    parts = [
        f'preset "{preset}" on {dataset}: {PRESETS[preset].about}.',
        _changes(choices),
        "The loss is the sum of weight x term (eq. 1) at t = step / steps; each network's contrast "
        "has half of lambda_c:",
        columns([_WEIGHT_HEADER, *_weight_rows(choices, at)], "  "),
        "What a term learns from (see also `dualseg gradients`):",
        _reach(gradient_table(choices)),
    ]
    present = {family(term) for term in dual_weights(choices, Progress(0, 1))}
    for name, (title, where, formula) in FAMILIES.items():
        state = "" if name in present else " - switched off"
        parts.append(f"{title} ({name}), {where}{state}\n  {formula}")
        parts += [_difference(entry, choices) for entry in differences() if entry.term == name]
    parts.append(
        "Presets: " + "; ".join(f"{name} ({p.about})" for name, p in PRESETS.items()) + "."
    )
    return "\n\n".join(part for part in parts if part)


def explain_gradients(preset: str, dataset: str) -> str:
    """The gradient table of a preset, and that of the released program's dead terms."""
    parts = [
        f'"gradient": the term moves it; "constant": it matters to the value, as label, teacher, '
        f'mask or class, and gets no gradient; "-": it plays no part.\n\npreset "{preset}":',
        _reach(gradient_table(preset_losses(preset, dataset))),
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


def _weight_rows(choices: LossConfig, at: float) -> list[list[str]]:
    steps = 1_000_000
    at_times = [dual_weights(choices, Progress(round(t * steps), steps)) for t in (at, *TIMES)]
    return [[term, *(f"{weights[term]:.4g}" for weights in at_times)] for term in at_times[0]]


def _reach(table: dict[str, dict[str, str]]) -> str:
    rows = [[term, *cells.values()] for term, cells in table.items()]
    return columns([["term", *INPUTS], *rows], "  ")


def _changes(choices: LossConfig) -> str:
    usual = asdict(LossConfig())
    changed = {name: value for name, value in asdict(choices).items() if value != usual[name]}
    listed = ", ".join(f"{name} = {value}" for name, value in changed.items())
    return f"Other than the defaults (the paper's choices for LA): {listed}." if changed else ""


def _difference(entry: Difference, choices: LossConfig) -> str:
    values = ", ".join(f"{name} = {getattr(choices, name)}" for name in entry.choice)
    lines = [
        f"paper:    {entry.paper}",
        f"released: {entry.release}",
        f"default:  {entry.here}" + (f" [this preset: {values}]" if values else ""),
    ]
    first, *others = (
        textwrap.fill(line, 100, subsequent_indent=" " * 17, break_on_hyphens=False)
        for line in lines
    )
    return "\n".join([f"  [{entry.number}]".ljust(7) + first, *(" " * 7 + o for o in others)])
