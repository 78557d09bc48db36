"""Logs and results of runs as TensorBoard event files, beside the runs and without PyTorch.

The training knows nothing of this: the files are written from its log, as far as it is there.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

from .errors import DualsegError
from .files import read_json
from .run_folder import LogLine, LogReader, RunFolder
from .run_status import WINDOW, recent_rate

try:
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter
except ImportError as error:
    raise DualsegError(
        "tensorboard: expected the package TensorBoard, found none; install it with "
        '`python -m pip install -c constraints.txt -e ".[tensorboard]"`.'
    ) from error

FILE = "events.out.tfevents.dualseg"  # TensorBoard looks for "tfevents" in the name
START = SessionLog(status=SessionLog.START)  # "forget the points from this step on"


class Mirror:
    """Event files of runs in a folder of their own: FOLDER/NAME for the run NAME.

    A run has one file, which only grows, since a TensorBoard may be reading it. At a restart it is
    compared with log and record: what it holds is not written again. Where it holds something else
    (a resume has cut the log, the run was measured anew), all points are written once more after
    an event that makes readers forget the old ones.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._runs: dict[str, _MirroredRun] = {}

    def update(self, runs: dict[str, RunFolder]) -> None:
        """Write what is new in each run; damaged runs are left out.

        Raises DualsegError if event files would lie in a run's folder, or cannot be written.
        """
        for name, run in runs.items():
            if name not in self._runs:
                self._runs[name] = _MirroredRun(run, self._target(name))
            self._runs[name].update()

    def _target(self, name: str) -> Path:
        target = self.folder / name
        for place in (target, *target.resolve().parents):
            if RunFolder(place).exists:
                raise DualsegError(
                    f"tensorboard: expected a folder outside the runs, found {self.folder}, which "
                    f"would put event files into the run {place}; choose another."
                )
        return target


class _MirroredRun:
    """One run and its event file."""

    def __init__(self, run: RunFolder, target: Path):
        self.run, self.file = run, target / FILE
        self.reader = LogReader(run.log_path)
        self.start = 0.0  # wall time of step 0
        self.recent: deque[LogLine] = deque(maxlen=WINDOW)
        self.written: _Result | None = None

    def update(self) -> None:
        """Write what is new: log lines, and at last the means over the test cases."""
        result = _result(self.run)
        if self.written not in (None, result):
            self.reader = LogReader(self.run.log_path)
        try:
            lines, anew = self.reader.read()
        except (DualsegError, OSError):  # the table says what is wrong with the run
            return
        if not anew:
            self._append(self._points(lines, result))
        elif lines:
            self.start, held, end = _held(self.file)
            points = self._all_points(lines, result)
            if not held or points[: len(held)] != held:
                # As if the last line had been written when the log was last changed, and the
                # training had never paused.
                changed = self.run.log_path.stat().st_mtime
                self.start, held = changed - lines[-1].get("seconds", 0.0), []
                start = Event(wall_time=self.start, step=0, session_log=START).SerializeToString()
                points = [start, *self._all_points(lines, result)]
            self._append(points[len(held) :], end)

    def _all_points(self, lines: list[LogLine], result: _Result | None) -> list[bytes]:
        self.recent.clear()
        self.written = None
        return self._points(lines, result)

    def _points(self, lines: list[LogLine], result: _Result | None) -> list[bytes]:
        """An event for each line, and one for the result if there is none yet."""
        events = []
        for line in lines:
            self.recent.append(line)
            values = {name: v for name, v in line.items() if name not in ("step", "seconds")}
            values["steps_per_second"] = recent_rate(self.recent)
            moment = self.start + line.get("seconds", 0.0)
            events.append(_event(moment, line["step"], "train", values))
        if result and self.recent and not self.written:
            events.append(_event(result.made, self.recent[-1]["step"], "test", result.means))
            self.written = result
        return events

    def _append(self, events: list[bytes], end: int | None = None) -> None:
        """Write events at the end of the file, or after its byte `end`."""
        if not events:
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("ab") as file:  # not kept open: there may be hundreds of runs
                if end is not None:
                    file.truncate(end)
                writer = RecordWriter(file)
                if not file.tell():
                    writer.write(Event(file_version="brain.Event:2").SerializeToString())
                for event in events:
                    writer.write(event)
        except OSError as error:
            raise DualsegError(
                f"{self.file}: could not be written ({error.strerror or error}); free some space "
                "or choose another --tensorboard."
            ) from error


@dataclass(frozen=True)
class _Result:
    """What record.json says, and when it was made."""

    made: float
    means: dict[str, float | None]


def _result(run: RunFolder) -> _Result | None:
    """None where there is no record yet, or a damaged one (the table says so)."""
    path = run.record_path()
    try:
        return _Result(path.stat().st_mtime, dict(read_json(path)["mean"]))
    except (OSError, DualsegError, KeyError, TypeError, ValueError):
        return None


def _held(file: Path) -> tuple[float, list[bytes], int]:
    """What an event file holds since its last start: wall time of that start, and the events.

    At last the length of the file without a torn end, which a killed process may leave.
    """
    content = file.read_bytes() if file.is_file() else b""
    start, events, end = 0.0, [], 0
    while end + 12 <= len(content):  # a record: length (8 bytes), its checksum (4), data, checksum
        data = end + 12
        after = data + int.from_bytes(content[end : end + 8], "little") + 4
        if after > len(content):
            break
        events.append(content[data : after - 4])
        event = Event.FromString(events[-1])
        if event.HasField("session_log"):
            start, events = event.wall_time, []
        end = after
    return start, events, end


def _event(moment: float, step: int, group: str, values: dict[str, float | None]) -> bytes:
    summary = [
        Summary.Value(tag=f"{group}/{name}", simple_value=value)
        for name, value in values.items()
        if value is not None
    ]
    event = Event(wall_time=moment, step=step, summary=Summary(value=summary))
    return event.SerializeToString()
