"""A run's folder, to be read without PyTorch: what it was asked to do, and how far it came::

    runs/NAME/run.json           config, data, versions, device, training (written first, kept true)
              log.jsonl          one line a training step
              state.safetensors  while training: weights, optimizer and step, to resume from
              last.safetensors   when finished: the weights
              run.lock           held by the process that trains or evaluates
              run.holder         which process that is, on which machine, since when
              predictions/       masks of evaluated cases
              record.json        the measured result on test cases; record_val.json on validation
              *.png              pictures of it

A log line holds "step", "seconds" of training until then, "learning_rate", the total "loss", its
unweighted terms, and measurements.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from .._util.files import read_json, require_fields, require_file_name
from ..errors import DualsegError

MAX_LOG = 2**30  # bytes: a million steps take a third of it
NO_TERMS = ("step", "seconds", "learning_rate")  # of a log line; the rest can be drawn as curves

LogLine = dict[str, Any]  # numbers; a measurement without anything to measure is None


@dataclass(frozen=True)
class RunFolder:
    """A run on disk."""

    folder: Path
    """A path, which may be given as text."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))

    @property
    def info_path(self) -> Path:
        return self.folder / "run.json"

    @property
    def log_path(self) -> Path:
        return self.folder / "log.jsonl"

    @property
    def state_path(self) -> Path:
        return self.folder / "state.safetensors"

    @property
    def weights_path(self) -> Path:
        return self.folder / "last.safetensors"

    def record_path(self, split: str = "test") -> Path:
        """Where the result on a split is written."""
        return self.folder / ("record.json" if split == "test" else f"record_{split}.json")

    def pictures(self, split: str = "test") -> list[Path]:
        """Where the pictures of a split are written: cases, surfaces, curves."""
        suffix = "" if split == "test" else f"_{split}"
        return [self.folder / f"{name}{suffix}.png" for name in ("cases", "surfaces", "curves")]

    @property
    def exists(self) -> bool:
        return self.info_path.is_file()

    @property
    def finished(self) -> bool:
        return self.weights_path.is_file()

    @classmethod
    def open(cls, run: str | Path | RunFolder) -> Self:
        """The run that is given as such or by its folder; raises DualsegError if there is none."""
        run = cls(run.folder if isinstance(run, RunFolder) else Path(run))
        if not run.exists:
            raise DualsegError(
                f"{run.folder}: expected the folder of a run (with run.json), found none; check "
                "the path (`dualseg train --out` makes such folders)."
            )
        return run

    def info(self) -> dict[str, Any]:
        """The contents of run.json; raises DualsegError if they are not what `fit` writes."""
        info = read_json(self.info_path)
        require_fields(info, {"config": dict, "data": dict}, self.info_path)
        data = {"fingerprint": str, "largest_shape": list, "split": dict}
        require_fields(info["data"], data, self.info_path)
        splits = dict.fromkeys(("labeled", "unlabeled", "validation", "test"), list)
        require_fields(info["data"]["split"], splits, self.info_path)
        for name in splits:
            for case_id in info["data"]["split"][name]:
                require_file_name(case_id, self.info_path)
        return info

    def log(self) -> list[LogLine]:
        """The lines of the training log, in order; a torn last line is left out."""
        return LogReader(self.log_path).read()[0]


class LogReader:
    """Reads a log that may be growing: each call gives the lines that came since the last one."""

    def __init__(self, path: Path):
        self.path = path
        self._end, self._last = 0, b""  # of what was read: its length, its last line

    def read(self) -> tuple[list[LogLine], bool]:
        """Read the new lines. What follows the last newline is left for the next call.

        Returns
        -------
        list of dict
            The lines.
        bool
            Whether they begin the log: in the first call, and where a resumed training has cut off
            lines that were read before.

        Raises
        ------
        DualsegError
            For a damaged line, also in each later call.
        """
        try:
            with self.path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size > MAX_LOG:
                    raise DualsegError(
                        f"{self.path}: expected at most {MAX_LOG / 1e6:.0f} MB, found "
                        f"{size / 1e6:.0f}; is it the log of a training?"
                    )
                file.seek(self._end - len(self._last))
                cut = file.read(len(self._last)) != self._last
                from_start = cut or not self._end
                file.seek(0 if from_start else self._end)
                new = file.read()
        except FileNotFoundError:
            new, from_start = b"", True
        new = new[: new.rfind(b"\n") + 1]
        lines = [self._parse(line) for line in new.splitlines()]
        if from_start:
            self._end, self._last = 0, b""
        if new:
            self._end += len(new)
            self._last = new[new.rfind(b"\n", 0, -1) + 1 :]
        return lines, from_start

    def _parse(self, line: bytes) -> LogLine:
        try:
            values = json.loads(line)
            if not isinstance(values["step"], int) or not isinstance(values["loss"], int | float):
                raise TypeError
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise DualsegError(
                f"{self.path}: expected a line of JSON for each step, found "
                f"{line[:40].decode(errors='replace')!r}; put the log back, or delete it (the "
                "training goes on without)."
            ) from error
        return values
