"""The claims ledger: each figure that the paper prints, and what was measured here beside it."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from .._util.tables import as_markdown, columns
from ..config.training import TrainConfig
from ..errors import DualsegError
from ..runs.records import (
    PUBLISHED,
    changes_mark,
    lesson_runs,
    load_records,
    losses_of,
    mean_of_cases,
    mean_of_runs,
    runs_over,
)
from .complexity import PATCHES, PRINTED, sizes_of_networks
from .tables import paper_table, read_toml

STATUSES = ("reproduced", "differs", "not run", "cannot be checked")
PLACES = {
    "comparison": "Tables 1-3",
    "ablation_components": "Table 4",
    "consistency_distance": "Table 5",
    "contrastive_third_term": "Table 6",
    "entropy_percentile": "Table 7",
}
ABOUT = {
    "Table 1": "left atrium",
    "Table 2": "pancreas",
    "Table 3": "brain tumor",
    "Table 4": "components, 10 % of the labels",
    "Table 5": "MSE and KL in eq. 6",
    "Table 6": "eq. 20 with and without its third term",
    "Table 7": "percentile gamma, 10 % of the labels",
    "Fig. 8": "what the text says of lambda, T_p and alpha",
    "Tables 1-3, size": "parameters and multiply-accumulates of the networks",
}
HEADER = (
    "row",
    "printed",
    "status",
    "at the paper's size",
    "smaller run, a hint",
    "condition",
    "records",
)
WORDS = {"labeled": "{} labels", "labeled_percent": "{} % labels", "gamma": "gamma {}"}
_Evidence = tuple[dict[str, Any], list[dict[str, Any]]]


@dataclass(frozen=True)
class Claim:
    """One figure of the paper, its status, and what was measured here."""

    place: str
    """Table or figure."""
    what: str
    """The row."""
    printed: str
    status: str
    """One of `STATUSES`."""
    ours: str = ""
    """Measured at the paper's size; of the size of a network, counted."""
    hint: str = ""
    """Measured with smaller networks, volumes or fewer steps: no check of the printed figure."""
    condition: str = ""
    """Sizes, rate and seeds of what was measured, and what its ± is over."""
    records: tuple[str, ...] = ()
    """Names of the records."""
    why: str = ""
    """Why it cannot be checked."""


def paper_claims(folder: str | Path = PUBLISHED) -> list[Claim]:
    """Every row of the paper's Tables 1-7, what the text says of Fig. 8, and the networks' sizes.

    A row is "reproduced" if the mean over our seeds at the paper's size has a Dice within the
    printed ± of the printed Dice, else it "differs"; without such a run it is "not run", and a
    smaller run stands beside it as a hint. A network's size is "reproduced" if it rounds to the
    printed one.

    Parameters
    ----------
    folder : of the published records

    Returns
    -------
    list of Claim
        In the order of the paper.

    Raises
    ------
    DualsegError
        Where a record that the ledger names is missing, or records of one row are of different
        settings.
    """
    ledger = read_toml("claims.toml")
    evidence = list(_evidence(ledger, Path(folder)))
    found = [
        _of_row(table, row, ledger, evidence) for table in PLACES for row in paper_table(table)
    ]
    runs = lesson_runs(folder, "la", 8)
    found += [_of_statement(statement, runs) for statement in ledger["statement"]]
    return found + _of_sizes()


def claims_table(found: Sequence[Claim], markdown: bool = False) -> str:
    """The ledger as text: how many claims have which status, then a table for each place.

    Parameters
    ----------
    found : as `paper_claims` returns them
    markdown : for a page, not for the terminal

    Returns
    -------
    str
        The tables.
    """
    counts = Counter(claim.status for claim in found)
    counted = ", ".join(f"{status} {counts[status]}" for status in STATUSES)
    parts = [f"{len(found)} claims: {counted}."]
    for place in dict.fromkeys(claim.place for claim in found):
        rows: list[tuple[str, ...]] = [HEADER]
        for claim in found:
            if claim.place == place:
                said = claim.status + (f": {claim.why}" if claim.why else "")
                measured = (claim.ours, claim.hint, claim.condition, ", ".join(claim.records))
                rows.append((claim.what, claim.printed, said, *measured))
        title = f"{place}: {ABOUT[place]}"
        if markdown:
            parts += [f"**{title}**", as_markdown(rows)]
        else:
            parts.append(f"{title}\n{columns(rows, '  ')}")
    return "\n\n".join(parts)


def _of_row(
    table: str, row: dict[str, Any], ledger: dict[str, Any], evidence: list[_Evidence]
) -> Claim:
    place = ledger["comparisons"][row["dataset"]] if table == "comparison" else PLACES[table]
    names = [key for key in list(row)[: list(row).index("dice")] if key not in _NOT_NAMED]
    names = names if table == "comparison" else ["dataset", *names]
    what = ", ".join(WORDS.get(key, "{}").format(row[key]).replace("_", " ") for key in names)
    printed = "{dice:.2f} ± {dice_err:.2f}; {hd95:.2f} ± {hd95_err:.2f}".format_map(row)
    for entry in ledger["uncheckable"]:
        if _is_about(entry, table, row):
            return Claim(place, what, printed, "cannot be checked", why=entry["why"])
    for entry, records in evidence:
        if _is_about(entry, table, row):
            return _measured(place, what, printed, row, entry.get("network"), records)
    return Claim(place, what, printed, "not run")


_NOT_NAMED = ("dataset", "venue", "unlabeled")


def _is_about(entry: dict[str, Any], table: str, row: dict[str, Any]) -> bool:
    return entry["table"] == table and entry["where"].items() <= row.items()


def _measured(
    place: str,
    what: str,
    printed: str,
    row: dict[str, Any],
    network: str | None,
    records: list[dict[str, Any]],
) -> Claim:
    """A row with records: those of the paper's size decide, else they are a hint."""
    names = tuple(record["name"] for record in records)
    config = records[0]["config"]
    runs = [record["networks"][network] if network else record for record in records]
    scores = [_score(runs, key) for key in ("dice", "hd95")]
    condition = _condition(records, network)
    if config["profile"] != "full" or changes_mark(config):
        return Claim(place, what, printed, "not run", "", "; ".join(scores), condition, names)
    dice = sum(run["mean"]["dice"] for run in runs) / len(runs)
    status = "reproduced" if abs(dice - row["dice"]) <= row["dice_err"] else "differs"
    return Claim(place, what, printed, status, "; ".join(scores), "", condition, names)


def _evidence(ledger: dict[str, Any], folder: Path) -> Iterator[_Evidence]:
    """Entries of the ledger, with their records: of one setting, with different seeds."""
    # Most entries name the same folder; one that is missing has no records.
    load = functools.cache(lambda place: load_records(place) if place.is_dir() else [])
    for entry in ledger["evidence"]:
        place, _, name = entry["records"].rpartition("/")
        tested = (record for record in load(folder / place) if record["split"] == "test")
        records = [record for record in tested if fnmatch(record["name"], name)]
        if not records:
            raise DualsegError(
                f"{folder / place}: expected records {name!r}, which the claims ledger names, "
                "found none; give the folder of the published records, as figures/records."
            )
        if any(not _same_setting(records[0]["config"], record["config"]) for record in records):
            raise DualsegError(
                f"{folder / place}: expected records {name!r} that differ in their seed only, "
                "found other settings, too; give the other runs another name."
            )
        yield entry, records


def _same_setting(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether configurations differ in their seed only; older ones lack, or have, some keys."""
    shared = (one.keys() & other.keys()) - {"seed", "preset"}
    return losses_of(one) == losses_of(other) and all(one[k] == other[k] for k in shared)


def _score(runs: list[dict[str, Any]], key: str) -> str:
    return mean_of_runs(runs, key) if len(runs) > 1 else mean_of_cases(runs[0], key)


def _condition(records: list[dict[str, Any]], network: str | None) -> str:
    config, cases = records[0]["config"], len(records[0]["cases"])
    seeds = ", ".join(str(record["config"]["seed"]) for record in records)
    over = (
        f"seeds {seeds}: ± sd over them" if len(records) > 1 else f"seed {seeds}: ± se over cases"
    )
    dropout = config.get("head_dropout", TrainConfig.head_dropout)  # older records lack it
    parts = [f"network {network} alone"] if network else []
    parts += [
        f"{config['profile']}: {config['filters']} filters, {config['resolution']} grid",
        f"{config['iterations']} steps, rate {config['learning_rate']}",
        f"{'with' if config['flips'] else 'no'} flips, dropout {dropout:g} before the head",
        f"{cases} test cases",
        over,
    ]
    return "; ".join(parts)


def _of_statement(statement: dict[str, str], runs: dict[tuple[str, int], dict[str, Any]]) -> Claim:
    """What the text says of a curve, beside the runs of `paper` in which that setting differs."""
    status = "cannot be checked" if "why" in statement else "not run"
    what, printed, why = (statement.get(key, "") for key in ("what", "printed", "why"))
    records = runs_over(runs, statement["setting"]) if "setting" in statement else {}
    if len(records) < 2:
        return Claim("Fig. 8", what, printed, status, why=why)
    dice = "; ".join(f"{value:g}: {r['mean']['dice']:.2f}" for value, r in records.items())
    names = tuple(record["name"] for record in records.values())
    condition = _condition([next(iter(records.values()))], None)
    return Claim("Fig. 8", what, printed, status, "", dice, condition, names)


def _of_sizes() -> list[Claim]:
    found = []
    for name, (parameters, macs) in sizes_of_networks().items():
        if name not in PRINTED:
            continue
        million, printed_macs = PRINTED[name]
        rows = [("parameters, M", million, parameters / 1e6)]
        rows += [
            (f"MACs at {' x '.join(map(str, patch))}, G", f"{printed:.2f}", as_profilers)
            for patch, printed, (_, as_profilers) in zip(PATCHES, printed_macs, macs, strict=True)
        ]
        for what, printed, counted in rows:
            status = "reproduced" if f"{counted:.2f}" == printed else "differs"
            condition = "16 filters" if "parameters" in what else "16 filters, as profilers count"
            ours = f"{counted:.2f}"
            place = "Tables 1-3, size"
            found.append(
                Claim(place, f"{name}, {what}", printed, status, ours, condition=condition)
            )
    return found
