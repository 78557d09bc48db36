"""Where the cases of a data set come from: one class for each way to get at them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DualsegError
from .case import read_h5

Arrays = tuple[np.ndarray, np.ndarray]


class CaseSource:
    """What a `Dataset` asks of the source of its cases; a data set of another kind derives one."""

    @property
    def where(self) -> str:
        """The folder, or another text that tells this source from others."""
        raise NotImplementedError

    def origin(self, case_id: str) -> str:
        """Where the case comes from, for messages."""
        return f"case {case_id}"

    def stamp(self, case_id: str) -> str:
        """A text that changes when the case would be read otherwise.

        Raises DualsegError where the case is missing.
        """
        raise NotImplementedError

    def read(self, case_id: str) -> Arrays:
        """Image (X, Y, Z) or (C, X, Y, Z), and label (X, Y, Z); zeros where there is no label.

        Raises DualsegError naming the file where it cannot be read.
        """
        raise NotImplementedError

    def has_label(self, case_id: str) -> bool:
        """Whether the case has a label."""
        return True

    def spacing(self, case_id: str) -> tuple[float, ...] | None:
        """Voxel size in mm; None where it is that of the whole data set."""
        return None

    def noted_fingerprint(self, case_id: str) -> str | None:
        """The fingerprint of the arrays when they were prepared; None where there is no note."""
        return None


@dataclass(frozen=True)
class CaseFiles(CaseSource):
    """One HDF5 file a case below a folder; a subclass says which, or reads another format."""

    root: Path

    def path(self, case_id: str) -> Path:
        """The case's file."""
        raise NotImplementedError

    @property
    def where(self) -> str:
        return str(self.root.resolve())

    def origin(self, case_id: str) -> str:
        return str(self.path(case_id))

    def stamp(self, case_id: str) -> str:
        path = self.path(case_id)
        try:
            status = path.stat()
        except OSError as error:
            raise DualsegError(
                f"{path}: expected the image and label of case {case_id}, found no such file; "
                f"check --root, or see `dualseg data list` for where the files come from."
            ) from error
        # The change time, too: nobody can set it back (on Windows it is the creation time).
        return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"

    def read(self, case_id: str) -> Arrays:
        return read_h5(self.path(case_id), self.has_label(case_id))


@dataclass(frozen=True)
class PreparedCases(CaseFiles):
    """The cases of a prepared folder, as its manifest describes them."""

    records: Mapping[str, dict[str, Any]]
    """The manifest's record of each case, by id."""

    def _record(self, case_id: str) -> dict[str, Any]:
        if case_id not in self.records:
            raise DualsegError(
                f"{self.root}: expected the case {case_id!r}, found none in its manifest; prepare "
                "the data with this case."
            )
        return self.records[case_id]

    def path(self, case_id: str) -> Path:
        return self.root / self._record(case_id)["file"]

    def has_label(self, case_id: str) -> bool:
        return self._record(case_id)["label_voxels"] is not None

    def spacing(self, case_id: str) -> tuple[float, ...]:
        return tuple(self._record(case_id)["spacing"])

    def noted_fingerprint(self, case_id: str) -> str | None:
        # Folders of earlier versions have none: theirs was computed in another way.
        return self._record(case_id).get("fingerprint")
