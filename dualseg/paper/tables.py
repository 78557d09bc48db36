"""What the paper printed, as numbers, and where its parts and its released program differ.

The tables are the paper's; the remarks and differences are this project's, found by comparing the
paper's equations, text and tables with each other and with the released program.
"""

from __future__ import annotations

import csv
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from ..errors import require_one_of

TABLES = {
    "comparison": "Tables 1-3: compared methods",
    "ablation_components": "Table 4: components, 10 % of the labels",
    "consistency_distance": "Table 5: MSE and KL in eq. 6",
    "contrastive_third_term": "Table 6: eq. 20 with and without d(c_f, c_b), 10 and 20 % labels",
    "entropy_percentile": "Table 7: percentile gamma, 10 % of the labels",
}
"""Name of each table and what it is. Dice and Jaccard in percent, hd95 and asd in voxels; *_err is
the +- as printed (not explained there)."""

_FOLDER = files("dualseg.paper") / "resources"


@dataclass(frozen=True)
class Difference:
    """One place where paper, text and released program do not agree, and what is done here."""

    number: int
    term: str
    choice: tuple[str, ...]
    paper: str
    release: str
    here: str


def paper_table(name: str, dataset: str | None = None) -> list[dict[str, Any]]:
    """The rows of one of the paper's tables.

    Parameters
    ----------
    name : one of `TABLES`
    dataset : only the rows of this data set

    Returns
    -------
    list of dict
        Cells by column, numbers as numbers.

    Raises
    ------
    DualsegError
        For an unknown table or data set.
    """
    require_one_of("table", name, TABLES)
    lines = (_FOLDER / f"{name}.csv").read_text(encoding="utf-8").splitlines()
    rows = [{k: _number(v) for k, v in row.items()} for row in csv.DictReader(lines)]
    if dataset is None:
        return rows
    require_one_of("dataset", dataset, {str(row["dataset"]) for row in rows})
    return [row for row in rows if row["dataset"] == dataset]


def paper_remarks(name: str) -> list[str]:
    """What to know when reading a table.

    Parameters
    ----------
    name : one of `TABLES`

    Returns
    -------
    list of str
        Sentences.

    Raises
    ------
    DualsegError
        For an unknown table.
    """
    require_one_of("table", name, TABLES)
    remarks = read_toml("remarks.toml")["remark"]
    return [remark["text"] for remark in remarks if name in remark["tables"]]


def differences() -> list[Difference]:
    """All differences that concern the losses, by number."""
    entries = read_toml("differences.toml")["difference"]
    return [Difference(**{**entry, "choice": tuple(entry["choice"])}) for entry in entries]


def read_toml(name: str) -> dict[str, Any]:
    """Read a file of the folder `resources`."""
    return tomllib.loads((_FOLDER / name).read_text(encoding="utf-8"))


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
