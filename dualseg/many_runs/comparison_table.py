"""A comparison as text, Markdown and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

from .._util.tables import as_markdown, columns
from ..config.experiment import Experiment
from ..methods import METHODS
from ..paper.published import Published, published_numbers
from ..runs.records import shown
from .comparison import REFERENCES, Comparison, Entry, spec_of
from .cost import Cost, cost_of
from .ranking import PairedTest

NOTES = """\
Dice: mean over the test cases; [95%]: its bootstrap interval over cases; sd seeds, sd cases:
sample standard deviations; first: share of 5000 resamples of cases and seeds in which the method
has the highest Dice. Distances in voxels of the full grid; an empty prediction has Dice 0 and no
distance. Batch: labeled + unlabeled crops a step."""
TEST_NOTES = """\
Difference in Dice points (method minus the one above), paired t test over cases (the seeds
averaged in each case), p by Holm's correction for all tests of this table. It says nothing about
other seeds."""
COST_NOTES = """\
Parameters in millions; multiply-accumulates in G: of a training step (all passes over its batch,
forward and backward, in the middle of the training), and of the prediction of a window. Seconds
depend on the machine and on what else ran there."""
PRINTED_NOTES = """\
Printed numbers are of full size, and of other numbers of steps: compare the order, not the level.
Elsewhere: the best number that a public file prints for the method."""


def costs_of(comparison: Comparison) -> list[Cost | None]:
    """What each entry costs; None for a method that is not known here."""
    return [_cost(entry) if entry.method in METHODS else None for entry in comparison.entries]


_COSTS: dict[tuple[Any, ...], Cost] = {}


def _cost(entry: Entry) -> Cost:
    """Of an entry; counted once, as tables with other labels or seeds have the same."""
    experiment, spec = Experiment.from_flat(entry.config), spec_of(entry)
    # The class and not its name, which a notebook may give to another one.
    names = spec.classes, spec.modalities
    parts = METHODS[entry.method], experiment.settings, experiment.train, names
    if parts not in _COSTS:
        _COSTS[parts] = cost_of(experiment, spec)
    return _COSTS[parts]


def comparison_text(
    comparison: Comparison, costs: Sequence[Cost | None], markdown: bool = False
) -> str:
    """Write a comparison as tables, each with a note below it.

    Parameters
    ----------
    comparison : Comparison
    costs : sequence of Cost or None
        Of `costs_of`.
    markdown : bool, optional
        For a page, not for the terminal.

    Returns
    -------
    str
    """
    config = comparison.config
    head = (
        f"{config['dataset']}, {config['labeled']} labels, profile {config['profile']}, "
        f"{comparison.cases} test cases; {comparison.budget}."
    )
    parts = [(_scores(comparison), NOTES), (_costs(comparison, costs), COST_NOTES)]
    if comparison.tests:
        parts.insert(1, (_tests(comparison), TEST_NOTES))
    if printed := _printed(comparison):
        parts.append((printed, PRINTED_NOTES))
    write = as_markdown if markdown else columns
    return "\n\n".join([head, *(f"{write(rows)}\n\n{note}" for rows, note in parts)])


def comparison_csv(comparison: Comparison, costs: Sequence[Cost | None]) -> str:
    """Write a comparison as one table with a line for each method and every number unrounded."""
    lines = [
        _line(comparison, place, entry, cost)
        for place, (entry, cost) in enumerate(zip(comparison.entries, costs, strict=True))
    ]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def printed_for(comparison: Comparison, entry: Entry) -> Published:
    """What is printed about the entry's method; nothing for a variant of it."""
    name = entry.method if entry.usual else ""
    return published_numbers(name, comparison.config["dataset"], comparison.config["labeled"])


def _scores(comparison: Comparison) -> list[list[str]]:
    header = ["method", "seeds", "Dice %", "[95%]", "sd seeds", "sd cases", "first"]
    header += ["95HD voxel", "sd seeds", "sd cases", "empty", "steps", "batch"]
    rows = [header]
    for entry, both, first in zip(
        comparison.entries, comparison.spreads, comparison.first, strict=True
    ):
        dice, distance, config = both["dice"], both["hd95"], entry.config
        cases = len(entry.records) * comparison.cases
        rows.append(
            [
                *[comparison.label(entry), str(len(entry.records)), _number(dice.mean)],
                f"{_number(dice.low)} to {_number(dice.high)}",
                *[_number(dice.over_seeds), _number(dice.over_cases), f"{first:.2f}"],
                *map(_number, (distance.mean, distance.over_seeds, distance.over_cases)),
                f"{sum(record['empties'] for record in entry.records)}/{cases}",
                str(config["iterations"]),
                _batch(entry),
            ]
        )
    return rows


def _tests(comparison: Comparison) -> list[list[str]]:
    named = {entry.key: comparison.label(entry) for entry in comparison.entries}
    references = [key for key in REFERENCES if key in named]
    rows = [["method", *(f"against {named[key]}" for key in references)]]
    own = {key: usual for key, usual in comparison.usual.items() if usual not in references}
    if own:
        rows[0].append("against its usual preset")
    for key, label in named.items():
        others = [*references, own.get(key, "")] if own else references
        found = (comparison.tests.get((key, other)) for other in others)
        rows.append([label, *("" if test is None else _test(*test) for test in found)])
    return rows


def _costs(comparison: Comparison, costs: Sequence[Cost | None]) -> list[list[str]]:
    header = ["method", "parameters trained", "predicting", "MACs step", "MACs window"]
    rows = [[*header, "seconds a step"]]
    for entry, cost in zip(comparison.entries, costs, strict=True):
        cells = [""] * 4
        if cost is not None:
            cells = [f"{n / 1e6:.2f}" for n in (cost.trained, cost.predicting)]
            cells += [f"{n / 1e9:.2f}" for n in (cost.step, cost.window)]
        rows.append([comparison.label(entry), *cells, f"{_seconds(entry):.2f}"])
    return rows


def _printed(comparison: Comparison) -> list[list[str]]:
    """The rows beside what is printed; none where nothing is printed for any method."""
    known = [(entry, printed_for(comparison, entry)) for entry in comparison.entries]
    if not any(found.paper or found.public for _, found in known):
        return []
    numbers = (f"{name} (Dice / 95HD)" for name in ("here", "paper", "elsewhere"))
    rows = [["method", *numbers, "printed in", "remark"]]
    for (entry, found), both in zip(known, comparison.spreads, strict=True):
        here = f"{_number(both['dice'].mean)} / {_number(both['hd95'].mean)}"
        source = found.public["source"] if found.public else ""
        cells = [_pair(found.paper), _pair(found.public), source, found.remark]
        rows.append([comparison.label(entry), here, *cells])
    return rows


def _line(comparison: Comparison, place: int, entry: Entry, cost: Cost | None) -> dict[str, Any]:
    """The line of an entry in the CSV."""
    line: dict[str, Any] = {"place": place + 1, "method": entry.key}
    line |= {"name": comparison.label(entry), "budget": comparison.budget}
    for name in ("dataset", "labeled", "profile", "iterations", "labeled_batch"):
        line[name] = entry.config[name]
    line["unlabeled_batch"] = entry.config["unlabeled_batch"] if _uses_unlabeled(entry) else 0
    line |= {"seeds": len(entry.records), "cases": comparison.cases}
    line["empties"] = sum(record["empties"] for record in entry.records)
    for name, found in comparison.spreads[place].items():
        line |= {f"{name}_{part}": value for part, value in vars(found).items()}
    line["first"] = comparison.first[place]
    references = {key: key for key in REFERENCES if any(key in pair for pair in comparison.tests)}
    if comparison.usual:
        references["usual"] = comparison.usual.get(entry.key, "")
    for name, reference in references.items():
        test, p = comparison.tests.get((entry.key, reference), (None, None))
        parts = dict.fromkeys(("difference", "t", "degrees", "p")) if test is None else vars(test)
        line |= {f"{part}_to_{name}": value for part, value in parts.items()}
        line[f"holm_p_to_{name}"] = p
    line |= dict.fromkeys(("trained", "predicting", "step", "window")) | (
        vars(cost) if cost else {}
    )
    line["seconds_a_step"] = _seconds(entry)
    printed = printed_for(comparison, entry)
    for name, row in (("paper", printed.paper), ("elsewhere", printed.public)):
        line |= {f"{name}_{key}": row[key] if row else None for key in ("dice", "hd95")}
    line["printed_in"] = printed.public["source"] if printed.public else ""
    return line | {"remark": printed.remark}


def _seconds(entry: Entry) -> float:
    steps = sum(record["config"]["iterations"] for record in entry.records)
    return sum(record["seconds"] for record in entry.records) / steps


def _uses_unlabeled(entry: Entry) -> bool:
    kind = METHODS.get(entry.method)
    return kind is None or kind.uses_unlabeled


def _batch(entry: Entry) -> str:
    unlabeled = entry.config["unlabeled_batch"] if _uses_unlabeled(entry) else 0
    return f"{entry.config['labeled_batch']}+{unlabeled}"


def _test(test: PairedTest, p: float) -> str:
    if math.isnan(test.t):
        return "too few cases"
    small = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    return f"{test.difference:+.1f}, t({test.degrees}) = {test.t:.2f}, {small}"


def _pair(row: dict[str, Any] | None) -> str:
    return f"{row['dice']:.2f} / {row['hd95']:.2f}" if row else ""


def _number(value: float) -> str:
    return shown(None if math.isnan(value) else value, 2)
