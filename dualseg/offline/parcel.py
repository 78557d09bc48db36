"""The folder that travels, as both sides know it.

PARCEL/work.py      goes on with the runs: python work.py --minutes 9
       plan.json    the runs in their order, and the SHA-256 of every other file
       code/        dualseg
       needs/       the few small packages that it needs beside PyTorch, NumPy and h5py
       data/        the volumes, unless they are on that machine already
and, made there:
       cache/       prepared volumes
       runs/        runs in training
       rounded/     trained runs as they travel back, with their predictions
       results/     those, in parts: NAME.zip.1of4 and so on
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import Experiment
from ..errors import DualsegError
from ..files import read_json, require_fields, require_file_name
from ..runs import Run


@dataclass(frozen=True)
class Parcel:
    """A parcel on disk."""

    folder: Path

    @property
    def plan_path(self) -> Path:
        return self.folder / "plan.json"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def plan(self) -> dict[str, Any]:
        """The contents of plan.json; raises DualsegError if they are not what `pack` writes."""
        plan = read_json(self.plan_path)
        require_fields(plan, {"runs": dict, "files": dict, "part_mb": (int, float)}, self.plan_path)
        for name in plan["runs"]:
            require_file_name(name, self.plan_path)
        return plan

    def check(self) -> None:
        """Raise DualsegError unless every packed file is here, and as it was packed."""
        files = self.plan()["files"]
        missing = [name for name in files if not (self.folder / name).is_file()]
        if missing:
            parts = sorted({files[name]["part"] for name in missing})
            several = max(about["part"] for about in files.values()) > 1
            where = f" (of part {', '.join(map(str, parts))})" if several else ""
            raise DualsegError(
                f"{self.folder / missing[0]}: expected the {len(files)} files of the parcel, found "
                f"{len(missing)} missing{where}; copy the contents of all its parts into this "
                "folder."
            )
        changed = [
            name
            for name, about in files.items()
            if sha256_of((self.folder / name).read_bytes()) != about["sha256"]
        ]
        if changed:
            raise DualsegError(
                f"{', '.join(str(self.folder / name) for name in changed[:3])}: expected what was "
                f"packed, found {len(changed)} files with another SHA-256; copy them again."
            )

    def experiment(self, name: str, root: Path | None) -> Experiment:
        """A run of the plan, with its data where they are here."""
        config = self.plan()["runs"][name]
        return Experiment.from_flat(config | {"root": None if root is None else str(root)})

    def run(self, name: str) -> Run:
        """Where a run is trained."""
        return Run(self.folder / "runs" / name)

    def rounded(self, name: str) -> Run:
        """The trained run as it travels back."""
        return Run(self.folder / "rounded" / name)


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
