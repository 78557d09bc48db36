"""What is printed about a method: the paper's row for it, and the best number in a public file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .tables import paper_table, read_toml


@dataclass(frozen=True)
class Published:
    """The printed numbers of a method on a data set with a number of labels."""

    paper: dict[str, Any] | None
    """The row of the paper's Tables 1-3, as `paper_table` gives it."""
    public: dict[str, Any] | None
    """"dice", "jaccard", "hd95", "asd", and the "source", the public file that prints them."""
    remark: str
    """What to know when comparing with them."""


def published_numbers(method: str, dataset: str, labeled: int) -> Published:
    """Look up what is printed about a method.

    Parameters
    ----------
    method, dataset : str
        Their names; of a name that is not known there is nothing.
    labeled : int
        Number of labels.

    Returns
    -------
    Published
    """
    known = {entry["name"]: entry for entry in read_toml("published.toml")["method"]}
    entry = known.get(method, {})

    def fits(row: dict[str, Any]) -> bool:
        return (row["dataset"], row["labeled"]) == (dataset, labeled)

    rows = (r for r in paper_table("comparison") if r["method"] == entry.get("paper") and fits(r))
    public = next((row for row in entry.get("public", ()) if fits(row)), None)
    return Published(next(rows, None), public, entry.get("remark", ""))
