"""How far the runs below a folder have come: read while they train, without PyTorch."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from .._util.files import read_json, require_fields
from .._util.lock import is_held
from ..errors import DualsegError
from .folder import NO_TERMS, LogLine, LogReader, RunFolder

WINDOW = 20  # the last steps, over which loss, terms and speed are taken
STATES = ("training", "waiting", "stopped", "finished", "evaluated", "damaged")
OVER = ("finished", "evaluated", "damaged")  # nothing more will come
# Of runs on other machines: seconds without a log line after which one counts as stopped.
QUIET = 60.0  # longer for slow steps
FIRST_STEP = 600.0  # before the first step, whose length nobody knows yet
_CONFIG: dict[str, type] = {
    **dict.fromkeys(("dataset", "method", "preset"), str),
    **dict.fromkeys(("labeled", "seed", "iterations"), int),
}


@dataclass(frozen=True)
class Status:
    """What is known of a run at a moment."""

    name: str  # the run's folder below the watched one
    state: str  # one of STATES; a "waiting" run is at work, its first step is still to come
    settings: str = ""  # method, its choices, labels and seed in words
    step: int = 0
    total: int = 0
    means: dict[str, float] = field(default_factory=dict)  # loss and terms, over the WINDOW
    rate: float | None = None  # steps a second, over the WINDOW
    seconds: float | None = None  # spent training until the last step
    seconds_left: float | None = None  # in training: estimated at that rate
    dice: float | None = None  # mean in percent on the test cases, if evaluated
    problem: str = ""  # if damaged: the sentence that says what is wrong


class WatchedRun:
    """A run that is looked at again and again; only the new lines of its log are read."""

    def __init__(self, name: str, folder: Path):
        self.name, self.run = name, RunFolder(folder)
        self._reader = LogReader(self.run.log_path)
        self._recent: deque[LogLine] = deque(maxlen=WINDOW)

    def status(self, now: float) -> Status:
        """Look at the run at the time `now` (seconds since 1970); damaged files raise nothing."""
        try:
            return self._status(now)
        except (DualsegError, OSError) as error:
            return Status(self.name, "damaged", problem=str(error))

    def _status(self, now: float) -> Status:
        config = _part(self.run.info_path, "config", _CONFIG)
        lines, from_start = self._reader.read()
        if from_start:
            self._recent.clear()
        self._recent.extend(lines)
        last = self._recent[-1] if self._recent else {"step": 0}
        rate, step, total = recent_rate(self._recent), last["step"], config["iterations"]
        evaluated = self.run.record_path().is_file()
        if evaluated or self.run.finished:
            state, step = ("evaluated" if evaluated else "finished"), total
        elif _is_training(self.run, rate, now):
            state = "training" if self._recent else "waiting"
        else:
            state = "stopped"
        number = (int, float, type(None))
        record = _part(self.run.record_path(), "mean", {"dice": number}) if evaluated else {}
        preset = "" if config["preset"] == "default" else f" {config['preset']}"
        which = f"{config['labeled']} labels, seed {config['seed']}"
        return Status(
            self.name,
            state,
            settings=f"{config['method']}{preset}, {which}",
            step=step,
            total=total,
            means=_means(self._recent),
            rate=rate,
            seconds=last.get("seconds"),
            seconds_left=(total - step) / rate if rate and state == "training" else None,
            dice=record.get("dice"),
        )


def _part(path: Path, name: str, fields: dict[str, Any]) -> dict[str, Any]:
    """An entry of a JSON file that has at least these fields."""
    contents = read_json(path)
    require_fields(contents, {name: dict}, path)
    require_fields(contents[name], fields, path)
    return contents[name]


def _is_training(run: RunFolder, rate: float | None, now: float) -> bool:
    """Whether a process is at work on an unfinished run.

    A process of this machine holds the folder. Of other machines there is only a hint: the log,
    written once a step, or run.json is younger than a step may take.
    """
    here = is_held(run.folder)
    if here is not None:
        return here
    paths = (path for path in (run.info_path, run.log_path) if path.exists())
    quiet = now - max(path.stat().st_mtime for path in paths)
    return quiet < (max(QUIET, 10 / rate) if rate else FIRST_STEP)


def recent_rate(lines: Sequence[LogLine]) -> float | None:
    """Compute the steps a second between the first and the last of some log lines.

    None for fewer than two, and for logs of earlier versions, which hold no seconds.
    """
    if len(lines) < 2 or not all("seconds" in line for line in (lines[0], lines[-1])):
        return None
    passed = lines[-1]["seconds"] - lines[0]["seconds"]
    return (lines[-1]["step"] - lines[0]["step"]) / passed if passed > 0 else None


def _means(lines: Sequence[LogLine]) -> dict[str, float]:
    """Mean of each value over the lines that hold it."""
    names = [name for name in (lines[-1] if lines else {}) if name not in NO_TERMS]
    values = {n: [line[n] for line in lines if line.get(n) is not None] for n in names}
    return {name: fmean(found) for name, found in values.items() if found}


class WatchedFolder:
    """All runs below a folder, at any depth; runs may come and go."""

    def __init__(self, root: str | Path):
        """Raises DualsegError if there is no such folder."""
        self.root = Path(root)
        self.runs: dict[str, WatchedRun] = {}
        if not self.root.is_dir():
            raise DualsegError(
                f"{root}: expected a folder with runs, found none; check the path (`dualseg train "
                "--out` makes the folders of runs)."
            )

    def refresh(self, now: float) -> list[Status]:
        """Look at every run that is there at the time `now` (seconds since 1970), by name."""
        found = dict(sorted(find_runs(self.root)))
        self.runs = {n: self.runs.get(n) or WatchedRun(n, path) for n, path in found.items()}
        return [run.status(now) for run in self.runs.values()]


def find_runs(root: Path) -> Iterator[tuple[str, Path]]:
    """Find name and folder of each run below `root`, or of `root` itself; not in hidden folders.

    Links to folders are followed (runs often lie on another disk), each folder once.
    """
    seen = set()
    for place, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if real in seen or "run.json" in files:
            folders.clear()
        else:
            folders[:] = [name for name in folders if not name.startswith(".")]
        if real not in seen and "run.json" in files:
            path = Path(place)
            yield path.relative_to(root).as_posix() if path != root else path.resolve().name, path
        seen.add(real)
