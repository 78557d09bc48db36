"""How far the runs below a folder have come: read while they train, without PyTorch."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from .errors import DualsegError
from .files import read_json
from .lock import is_held
from .run_folder import NO_TERMS, LogLine, LogReader, RunFolder

WINDOW = 20  # last steps that loss, terms and speed are taken over
STATES = ("training", "waiting", "stopped", "finished", "evaluated", "damaged")
OVER = ("finished", "evaluated", "damaged")  # nothing more will come
# Of runs on other machines: seconds without a log line after which one counts as stopped.
QUIET = 60.0  # longer for slow steps
FIRST_STEP = 600.0  # seconds for a first step, whose length nobody knows yet


@dataclass(frozen=True)
class Status:
    """What is known of a run at a moment."""

    name: str
    """Its folder below the watched one."""
    state: str
    """One of STATES; "waiting": its first step is still to come."""
    settings: str = ""
    """Method, preset, labels and seed in words."""
    step: int = 0
    total: int = 0
    means: dict[str, float] = field(default_factory=dict)
    """Loss, terms and measurements by name, each the mean of the last WINDOW steps."""
    rate: float | None = None
    """Steps a second over the last WINDOW steps."""
    seconds: float | None = None
    """Time spent training until the last step."""
    seconds_left: float | None = None
    """Of a run in training: estimated time to its last step, at that rate."""
    dice: float | None = None
    """Mean Dice in percent on the test cases, if evaluated."""
    problem: str = ""
    """Of a damaged run: the sentence that says what is wrong."""


def is_training(run: RunFolder, rate: float | None, now: float) -> bool:
    """Whether a process is at work on an unfinished run; all that tells "training" from "stopped".

    A process of this machine holds the folder. Of others there is only a hint: the log, written
    once a step, or run.json is younger than a step may take.
    """
    here = is_held(run.folder)
    if here is not None:
        return here
    paths = (path for path in (run.info_path, run.log_path) if path.exists())
    quiet = now - max(path.stat().st_mtime for path in paths)
    return quiet < (max(QUIET, 10 / rate) if rate else FIRST_STEP)


def recent_rate(lines: Sequence[LogLine]) -> float | None:
    """Steps a second between the first and the last of some log lines.

    None for fewer than two, and for logs of earlier versions, which hold no seconds.
    """
    if len(lines) < 2 or not all("seconds" in line for line in (lines[0], lines[-1])):
        return None
    passed = lines[-1]["seconds"] - lines[0]["seconds"]
    return (lines[-1]["step"] - lines[0]["step"]) / passed if passed > 0 else None


class WatchedRun:
    """A run that is looked at again and again; of its log only what is new is read."""

    def __init__(self, name: str, folder: Path):
        self.name, self.run = name, RunFolder(folder)
        self._reader = LogReader(self.run.log_path)
        self._recent: deque[LogLine] = deque(maxlen=WINDOW)
        self._known: dict[Path, tuple[Any, dict[str, Any]]] = {}  # stamp and contents of JSON files

    def status(self, now: float) -> Status:
        """The run at the time `now` (seconds since 1970); never raises for damaged files."""
        try:
            return self._status(now)
        except (DualsegError, OSError) as error:
            return Status(self.name, "damaged", problem=str(error))

    def _status(self, now: float) -> Status:
        config = self._entry(self.run.info_path, "config")
        lines, anew = self._reader.read()
        if anew:
            self._recent.clear()
        self._recent.extend(lines)
        recent, rate = list(self._recent), recent_rate(self._recent)
        evaluated = self.run.record_path().is_file()
        total = config["iterations"]
        step = recent[-1]["step"] if recent else 0
        if evaluated or self.run.finished:
            state, step = ("evaluated" if evaluated else "finished"), total
        elif is_training(self.run, rate, now):
            state = "training" if recent else "waiting"
        else:
            state = "stopped"
        return Status(
            self.name,
            state,
            settings=_settings(config),
            step=step,
            total=total,
            means=_means(recent),
            rate=rate,
            seconds=recent[-1].get("seconds") if recent else None,
            seconds_left=(total - step) / rate if rate and state == "training" else None,
            dice=self._entry(self.run.record_path(), "mean")["dice"] if evaluated else None,
        )

    def _entry(self, path: Path, name: str) -> dict[str, Any]:
        """An entry of a JSON file, which is read again only when it has changed."""
        about = path.stat()
        stamp = about.st_mtime_ns, about.st_size
        if self._known.get(path, (None,))[0] != stamp:
            self._known[path] = stamp, read_json(path)
        contents = self._known[path][1]
        needs = {"config": {"method", "preset", "labeled", "seed", "iterations"}, "mean": {"dice"}}
        entry = contents.get(name) if isinstance(contents, dict) else None
        if not isinstance(entry, dict) or not needs[name] <= entry.keys():
            raise DualsegError(
                f"{path}: expected {name!r} with {', '.join(sorted(needs[name]))}, found none; the "
                "file is not one that dualseg wrote."
            )
        return entry


def _settings(config: dict[str, Any]) -> str:
    method = config["method"]
    losses = "" if config["preset"] == "default" else f" {config['preset']}"
    return f"{method}{losses}, {config['labeled']} labels, seed {config['seed']}"


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

    def refresh(self, now: float | None = None) -> list[Status]:
        """The status of every run that is there now, by name."""
        found = dict(sorted(find_runs(self.root)))
        self.runs = {n: self.runs.get(n) or WatchedRun(n, path) for n, path in found.items()}
        now = time.time() if now is None else now
        return [run.status(now) for run in self.runs.values()]


def find_runs(root: Path) -> Iterator[tuple[str, Path]]:
    """Name and folder of each run below `root`, or of `root` itself; hidden folders are left out.

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
