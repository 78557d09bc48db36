"""The log and result of a run as TensorBoard event files, in a folder beside the runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from .._util.files import read_json
from ..errors import DualsegError
from ..runs.folder import LogLine, LogReader, RunFolder


class Mirror:
    """Event files of one run, which grow with its log; `folder` must not lie in a run."""

    def __init__(self, run: RunFolder, folder: Path):
        for place in (folder, *folder.resolve().parents):
            if RunFolder(place).exists:
                say = f"expected a folder outside the runs, found {folder}, which lies in the run"
                raise DualsegError(f"tensorboard: {say} {place}; choose another.")
        self.run, self.folder, self.reader = run, folder, LogReader(run.log_path)
        self.last: LogLine = {}  # the last line that was written
        self.result: dict[str, Any] = {}

    def update(self) -> None:
        """Write what is new; all of it where the log was cut or the run was measured again."""
        path = self.run.record_path()
        result = read_json(path)["mean"] if path.is_file() else {}
        if self.result not in ({}, result):
            self.reader = LogReader(self.run.log_path)
        lines, from_start = self.reader.read()
        if from_start and lines:
            self.result, began = {}, self.run.log_path.stat().st_mtime
            self.start = began - lines[-1].get("seconds", 0.0)  # of step 0, seconds since 1970
            for old in self.folder.glob("events.out.tfevents.*"):
                old.write_bytes(b"")  # a TensorBoard that has it open would miss a deleted file
            # From here on, readers forget what the files before said of step 0 and later.
            self.writer = SummaryWriter(str(self.folder), purge_step=0, max_queue=1000)
        for self.last in lines:
            self._add("train", {n: v for n, v in self.last.items() if n not in ("step", "seconds")})
        if self.last and result and not self.result:
            self._add("test", result)
            self.result = result
        if self.last:  # a finished run keeps no file open: there may be hundreds
            (self.writer.close if self.run.finished else self.writer.flush)()

    def _add(self, group: str, values: dict[str, Any]) -> None:
        moment = self.start + self.last.get("seconds", 0.0)
        for name, value in values.items():
            if value is not None:
                self.writer.add_scalar(f"{group}/{name}", value, self.last["step"], moment)
