"""What a finished run leaves behind: one JSON file with every choice and every case's result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from .._util.files import read_json, require_fields, require_file_name, write_atomically, write_json
from .._util.tables import as_markdown, columns
from ..config.experiment import preset_settings
from ..data.known import dataset_spec
from ..data.raw_files import require_folder
from ..errors import DualsegError, require_one_of
from ..methods import METHODS
from .folder import RunFolder

PUBLISHED = Path("figures") / "records"
_METRICS = ("dice", "jaccard", "hd95", "asd")
MEASURES = {"Dice %": "dice", "Jaccard %": "jaccard", "95HD voxel": "hd95", "ASD voxel": "asd"}
"""Columns of the tables, and the keys of a record that they show."""
_RECORD: dict[str, Any] = {
    **{"name": str, "split": str, "config": dict, "cases": list, "empties": int},
    **{"mean": dict, "standard_error": dict, "networks": dict},
    **{"seconds": (int, float), "data": dict},
}
_CONFIG: dict[str, Any] = {
    **dict.fromkeys(("dataset", "profile", "method"), str),
    **dict.fromkeys(("labeled", "seed", "iterations"), int),
}
_CASE: dict[str, Any] = {
    **{"id": str, "dice": (int, float)},
    **dict.fromkeys(_METRICS[1:], (int, float, type(None))),
}


def load_records(folder: str | Path = PUBLISHED) -> list[dict[str, Any]]:
    """Read all records of runs in a folder, in the order of their names.

    Parameters
    ----------
    folder : str or Path, optional
        Files `benchmark_*.json` in it are of another kind, and left out.

    Returns
    -------
    list of dict

    Raises
    ------
    DualsegError
        For a folder that is not there, and a file that is no record.
    """
    require_folder(Path(folder))
    paths = (path for path in Path(folder).glob("*.json") if not path.match("benchmark_*"))
    return [_read_record(path) for path in sorted(paths)]


def lesson_runs(
    folder: str | Path, dataset: str, labeled: int
) -> dict[tuple[str, int], dict[str, Any]]:
    """Find the published runs of the two networks at the profile `lesson`.

    Parameters
    ----------
    folder : str or Path
        The published records; those in its folders `compare` and DATASET count.
    dataset : str
    labeled : int
        Number of labeled cases.

    Returns
    -------
    dict
        (what the networks learned from, seed) -> record. That is "supervised", or the preset with
        what was changed in it. Runs with other sizes, rates or steps than the profile's, or with
        held-out cases, are left out.

    Raises
    ------
    DualsegError
        For a folder that is not there, a file that is no record, and a run that is there twice.
    """
    require_folder(Path(folder))
    found: dict[tuple[str, int], dict[str, Any]] = {}
    wanted = {"dataset": dataset, "profile": "lesson", "labeled": labeled}
    places = filter(Path.is_dir, (Path(folder) / part for part in ("compare", dataset)))
    for record in (record for place in places for record in load_records(place)):
        config = record["config"]
        own = config["method"] in ("supervised", "dual")
        tested = record["split"] == "test" and not config.get("validation")
        if own and tested and wanted.items() <= config.items() and not changes_mark(config):
            key = name_of(config), config["seed"]
            if key in found:
                raise DualsegError(
                    f"{folder}: expected one run of {key[0]} with seed {key[1]}, found "
                    f"{found[key]['name']} and {record['name']}; leave one of them out."
                )
            found[key] = record
    return dict(sorted(found.items()))


def runs_over(
    runs: dict[tuple[str, int], dict[str, Any]], setting: str, preset: str = "paper", seed: int = 0
) -> dict[Any, dict[str, Any]]:
    """Pick the runs of a curve over one setting: those that differ from a preset in it alone.

    Parameters
    ----------
    runs : dict
        As `lesson_runs` returns them.
    setting : str
        A setting of the method "dual", as "gamma".
    preset : str, optional
    seed : int, optional
        Of all these runs.

    Returns
    -------
    dict
        Value of the setting -> record, in the order of the values; the preset's own run is among
        them. Empty where there is no run of the preset.

    Raises
    ------
    DualsegError
        For an unknown setting.
    """
    others = [field.name for field in fields(METHODS["dual"].settings_type)]
    require_one_of("setting", setting, others)
    others.remove(setting)
    usual = runs.get((preset, seed))
    found = {
        record["config"][setting]: record
        for (_, s), record in runs.items()
        if usual and s == seed and record["config"]["method"] == "dual"
        if all(record["config"][name] == usual["config"][name] for name in others)
    }
    return dict(sorted(found.items()))


def _read_record(path: Path) -> dict[str, Any]:
    record = read_json(path)
    require_fields(record, _RECORD, path)
    require_file_name(record["name"], path)
    require_fields(record["config"], _CONFIG, path)
    for case in record["cases"]:
        require_fields(case, _CASE, path)
    for part in (record, *record["networks"].values()):
        require_fields(part, {"mean": dict, "standard_error": dict}, path)
        for name in ("mean", "standard_error"):
            require_fields(part[name], dict.fromkeys(_METRICS, (int, float, type(None))), path)
    return record


def publish(
    folder: str | Path,
    to: str | Path = PUBLISHED,
    split: str = "test",
    pictures: str | Path | None = None,
) -> Path:
    """Copy a run's record to the published ones.

    Parameters
    ----------
    folder : str or Path
        The run.
    to : str or Path, optional
        Folder of the copy, NAME.json (on validation cases NAME_val.json).
    split : str, optional
        "test" or "val".
    pictures : str or Path, optional
        Folder for copies of the split's pictures, NAME_cases.png and so on.

    Returns
    -------
    Path
        The copy.

    Raises
    ------
    DualsegError
        If the run has no record on the split, or the copy would replace another run's record.
    """
    run = RunFolder.open(folder)
    source = run.record_path(split)
    if not source.is_file():
        raise DualsegError(
            f"{run.folder}: expected a {source.name}, found none; measure the run first with "
            f"`dualseg evaluate {run.folder} --split {split}`."
        )
    record = _read_record(source)
    stem = record["name"] if split == "test" else f"{record['name']}_{split}"
    path = Path(to) / f"{stem}.json"
    if path.is_file() and _read_record(path)["config"] != record["config"]:
        raise DualsegError(
            f"{path}: holds the record of a run with another configuration; rename the run's "
            "folder."
        )
    write_json(path, record)
    if pictures is not None:
        # A run whose log is gone has no curves.
        for picture in filter(Path.is_file, run.pictures(split)):
            copy = Path(pictures) / f"{record['name']}_{picture.name}"
            write_atomically(copy, picture.read_bytes())
    return path


def table(records: Iterable[dict[str, Any]], markdown: bool = False) -> str:
    """Tabulate records, a line each: what was run, and mean ± standard error over its cases."""
    rows = [_row(record) for record in records]
    header = list(rows[0]) if rows else ["no records"]
    lines = [header] + [list(row.values()) for row in rows]
    return as_markdown(lines) if markdown else columns(lines)


def _row(record: dict[str, Any]) -> dict[str, str]:
    config, alone = record["config"], record["networks"].values()
    return {
        "run": record["name"] + ("" if record["split"] == "test" else f" ({record['split']})"),
        "data": config["dataset"],
        "labels": str(config["labeled"]),
        "profile": config["profile"] + changes_mark(config),
        "method": config["method"],
        "losses": losses_of(config),
        "seed": str(config["seed"]),
        **{name: mean_of_cases(record, key) for name, key in MEASURES.items()},
        "empty": f"{record['empties']}/{len(record['cases'])}",
        "Dice A, B alone": ", ".join(shown(part["mean"]["dice"]) for part in alone),
        "minutes": f"{record['seconds'] / 60:.1f}",
    }


def changes_mark(config: dict[str, Any]) -> str:
    """A star where a size differs from what data set and profile stand for."""
    profiles = dataset_spec(config["dataset"]).profiles
    require_one_of("profile of a record", config["profile"], profiles)
    usual = asdict(profiles[config["profile"]])
    same = (_plain(config.get(n, v)) == _plain(v) for n, v in usual.items())  # older ones lack some
    return "" if all(same) else "*"


def name_of(config: dict[str, Any]) -> str:
    """Name what a configuration trains, for a chart or a list.

    Parameters
    ----------
    config : dict
        The flat configuration in a record.

    Returns
    -------
    str
        Of the method "dual" the losses alone (see `losses_of`), as the presets have names of
        their own; of others the method, with its losses where it has several.
    """
    losses = losses_of(config)
    if config["method"] == "dual":
        return losses or "dual"
    return ", ".join(part for part in (config["method"], losses) if part)


def losses_of(config: dict[str, Any]) -> str:
    """Name a configuration's preset, and every setting of its method that differs from the preset.

    Parameters
    ----------
    config : dict
        The flat configuration in a record.

    Returns
    -------
    str
        A preset alone where all settings are those of a preset, from whichever they started. Empty
        for a method without settings; of a method that is not in METHODS, the preset alone.
    """
    preset, kind = config.get("preset", ""), METHODS.get(config["method"])
    if kind is None:
        return preset
    several = len(kind.presets) > 1
    if several and not preset:  # of the first versions
        return ""

    def settings_of(preset: str) -> dict[str, Any]:
        return asdict(preset_settings(config["method"], preset, config["dataset"]))

    start = preset if several else next(iter(kind.presets))
    usual = settings_of(start)
    changed = [f"{name} {config[name]}" for name, v in usual.items() if config.get(name, v) != v]
    if changed:
        for other in kind.presets:
            if settings_of(other).items() <= config.items():
                return other
    return ", ".join([start, *changed] if several else changed)


def require_same(records: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """Raise DualsegError unless all records have the same value of each setting.

    Older records lack some settings, and count for those that they have.
    """
    for name in names:
        known = [record for record in records if name in record["config"]]
        for other in known[1:]:
            values = known[0]["config"][name], other["config"][name]
            if values[0] != values[1]:
                raise DualsegError(
                    f"records: expected one {name} in all, found {values[0]} in "
                    f"{known[0]['name']} and {values[1]} in {other['name']}; keep runs of "
                    "different budgets in folders of their own."
                )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def shown(value: float | None, digits: int = 1) -> str:
    """A number of a record as text; "none" where there is nothing to measure."""
    return "none" if value is None else f"{value:.{digits}f}"


def mean_of_cases(record: dict[str, Any], key: str) -> str:
    """Mean ± standard error over the test cases of a run."""
    return _plus_minus(record["mean"][key], record["standard_error"][key])


def mean_of_runs(records: Sequence[dict[str, Any]], key: str) -> str:
    """Write mean ± sample standard deviation over runs of their means over test cases.

    Where some runs have no distance (all their predictions are empty), it is over the other runs,
    and their number is added.
    """
    values = [record["mean"][key] for record in records]
    there = [value for value in values if value is not None]
    few = f" (n = {len(there)})" if 0 < len(there) < len(values) else ""
    spread = stdev(there) if len(there) > 1 else None
    return _plus_minus(fmean(there) if there else None, spread) + few


def _plus_minus(mean: float | None, spread: float | None) -> str:
    return shown(mean, 2) + ("" if spread is None else f" ± {shown(spread, 2)}")
