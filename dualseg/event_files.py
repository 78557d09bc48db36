"""Logs and results of runs as TensorBoard event files, beside the runs and without PyTorch.

The training knows nothing of this: the files are written from its log, as far as it is there.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from .errors import DualsegError
from .run_folder import LogLine, LogReader, RunFolder, read_json
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

OURS = "events.out.tfevents.{}.dualseg"  # TensorBoard reads the files of a folder by name


class Mirror:
    """Event files of runs in a folder of their own: FOLDER/NAME for the run NAME.

    A run's file is written anew when it is seen first, and when its log was cut or its result has
    changed; else it only grows. So a restart doubles no point.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._runs: dict[str, _MirroredRun] = {}

    def update(self, runs: dict[str, RunFolder]) -> None:
        """Write what is new in each run; damaged runs are left out.

        Raises DualsegError if the event files would lie in the folder of a run.
        """
        for name, run in runs.items():
            if name not in self._runs:
                self._runs[name] = _MirroredRun(run, self._target(name))
            with contextlib.suppress(DualsegError):  # the table says what is wrong with a run
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
        self.run, self.target = run, target
        self._begin()

    def _begin(self) -> None:
        self.file: Path | None = None
        self.reader = LogReader(self.run.log_path)
        self.recent: deque[LogLine] = deque(maxlen=WINDOW)
        self.result: float | None = None  # when the record that was written was made

    def update(self) -> None:
        """Write what is new: log lines, and at last the means over the test cases."""
        record = self.run.record_path()
        made = record.stat().st_mtime if record.is_file() else None
        if self.result not in (None, made):
            self._begin()
        lines, anew = self.reader.read()
        if anew and self.file:
            self._begin()
            lines, _ = self.reader.read()
        if lines and not self.file:
            self._new_file(lines[-1])
        events = list(self._events(lines))
        if made and self.recent and self.result is None:
            means = read_json(record)["mean"]
            events.append(_event(made, self.recent[-1]["step"], "test", means))
            self.result = made
        if events:
            self._write(events)

    def _new_file(self, last: LogLine) -> None:
        """A file without points, in place of the old one."""
        # As if the last line were of the moment when the log was last changed, and the training
        # had never paused.
        self.start = self.run.log_path.stat().st_mtime - last.get("seconds", 0.0)
        for old in self.target.glob(OURS.format("*")):
            with contextlib.suppress(PermissionError):  # Windows, while TensorBoard reads it
                old.unlink()
        self.target.mkdir(parents=True, exist_ok=True)
        self.file = self.target / OURS.format(f"{time.time():.6f}")  # after the old one by name
        # "START" tells a TensorBoard that is running to forget the old points.
        restart = SessionLog(status=SessionLog.START)
        first = Event(wall_time=self.start, file_version="brain.Event:2")
        self._write([first, Event(wall_time=self.start, step=0, session_log=restart)])

    def _events(self, lines: list[LogLine]) -> Iterator[Event]:
        for line in lines:
            self.recent.append(line)
            rate = {"steps_per_second": recent_rate(self.recent)}
            values = {name: v for name, v in line.items() if name not in ("step", "seconds")}
            moment = self.start + line.get("seconds", 0.0)
            yield _event(moment, line["step"], "train", values | rate)

    def _write(self, events: list[Event]) -> None:
        with self.file.open("ab") as file:  # not kept open: there may be hundreds of runs
            writer = RecordWriter(file)
            for event in events:
                writer.write(event.SerializeToString())


def _event(moment: float, step: int, group: str, values: dict[str, float | None]) -> Event:
    summary = [
        Summary.Value(tag=f"{group}/{name}", simple_value=value)
        for name, value in values.items()
        if value is not None
    ]
    return Event(wall_time=moment, step=step, summary=Summary(value=summary))
