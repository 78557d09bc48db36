"""Published records as rows of the paper's comparison: what was measured here beside Tables 1-3."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._util.tables import as_markdown, columns
from ..errors import DualsegError, require_one_of
from ..runs.records import MEASURES, changes_mark, losses_of, mean_of_cases, mean_of_runs
from .tables import paper_table

HEADER = ("from", "method", "labels", *MEASURES, "what ± is")


def beside_paper(
    records: Iterable[dict[str, Any]], dataset: str, profile: str, markdown: bool = False
) -> str:
    """The paper's rows of a data set, then those of the records, at the numbers of labels of both.

    Runs that differ in nothing but their seed are one row: the mean over seeds of the means over
    test cases, +- the sample standard deviation over seeds; a single seed has the standard error
    over test cases. A * marks sizes other than the profile's.

    Parameters
    ----------
    records : of which those of test cases, `dataset` and `profile` count
    dataset, profile : names
    markdown : for a page, not for the terminal

    Returns
    -------
    str
        The table.

    Raises
    ------
    DualsegError
        For a data set that the paper has not, or where no record fits.

    References
    ----------
    Tables 1-3.
    """
    require_one_of("dataset", dataset, {row["dataset"] for row in paper_table("comparison")})
    groups: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for record in records:
        config = record["config"]
        if (config["dataset"], config["profile"], record["split"]) == (dataset, profile, "test"):
            name = ", ".join(part for part in (config["method"], losses_of(config)) if part)
            name += changes_mark(config)
            groups.setdefault((config["labeled"], name), []).append(record)
    if not groups:
        raise DualsegError(
            f"profile: expected test records of {dataset!r} at {profile!r}, found none; publish "
            "some with `dualseg records publish`, or choose another --profile."
        )
    rows = []
    for labels in sorted({labels for labels, _ in groups}):
        printed = [r for r in paper_table("comparison", dataset) if r["labeled"] == labels]
        rows += [_printed(row) for row in printed]
        rows += [_measured(*key, groups[key]) for key in sorted(groups) if key[0] == labels]
    return as_markdown([HEADER, *rows]) if markdown else columns([HEADER, *rows])


def _printed(row: dict[str, Any]) -> list[str]:
    cells = [f"{row[key]:.2f} ± {row[f'{key}_err']:.2f}" for key in MEASURES.values()]
    return ["the paper", row["method"], str(row["labeled"]), *cells, "not said"]


def _measured(labels: int, name: str, records: list[dict[str, Any]]) -> list[str]:
    first, *others = records
    if others:
        cells = [mean_of_runs(records, key) for key in MEASURES.values()]
        what = f"sd, {len(records)} seeds"
    else:
        cells = [mean_of_cases(first, key) for key in MEASURES.values()]
        what = f"se, {len(first['cases'])} cases, 1 seed"
    return ["here", name, str(labels), *cells, what]
