"""The side without a network: go on with a parcel's runs, one after the other, for some minutes."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import shutil
import sys
import time
from importlib import metadata
from pathlib import Path

import torch

from ..config import Experiment
from ..datasets import Dataset, open_dataset
from ..environment import describe_device, pick_device, version_row
from ..errors import DualsegError, require
from ..predictions import SPLITS, predict_cases
from ..run_status import WatchedRun
from ..runs import Run, read_progress
from ..signals import Interrupted, end_with_parent, stop_raised
from ..text import columns
from ..train import fit
from .parcel import Parcel
from .results import export, round_weights

LEAST = {"torch": "2.11", "numpy": "2.0", "h5py": "3.11"}
"""What that machine must have, as in pyproject.toml."""
GRACE = 60.0
"""Seconds that a training may take to write its checkpoint."""


def main(folder: Path, argv: list[str]) -> int:
    """`python work.py`: do a piece of the parcel in `folder`; returns the exit status.

    0 when nothing is left to do or the time is up, 1 when a run failed or the parcel cannot be
    used, else that of the signal that stopped it.
    """
    options = _options(argv)
    try:
        with stop_raised():
            return _piece(Parcel(folder), options)
    except DualsegError as error:
        print(f"work.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print("\nwork.py: stopped; the same command goes on from here.", file=sys.stderr)
        return stop.status if isinstance(stop, Interrupted) else Interrupted().status


def _options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="work.py", description="Go on with the runs of this parcel, where the last call ended."
    )
    parser.add_argument(
        "--minutes",
        type=float,
        help="stop with a checkpoint after so many minutes (default: go on to the end)",
    )
    parser.add_argument("--data", type=Path, help="folder of the data, if they are not packed")
    parser.add_argument(
        "--part-mb", type=float, help="size limit of a file of results (default: as the parcel's)"
    )
    parser.add_argument("--only", nargs="+", metavar="RUN", help="work on these runs alone")
    parser.add_argument("--check", action="store_true", help="check machine and parcel, and end")
    return parser.parse_args(argv)


def _piece(parcel: Parcel, options: argparse.Namespace) -> int:
    plan = parcel.plan()
    minutes = float("inf") if options.minutes is None else options.minutes
    require(minutes > 0, "--minutes", "a time above 0", minutes)
    part_mb = plan["part_mb"] if options.part_mb is None else options.part_mb
    require(part_mb >= 0, "--part-mb", "a size above 0", part_mb)
    deadline = time.monotonic() + 60 * minutes
    names = options.only or list(plan["runs"])
    unknown = next((name for name in names if name not in plan["runs"]), None)
    if unknown:
        raise DualsegError(
            f"--only: expected runs of the plan ({', '.join(plan['runs'])}), found {unknown!r}."
        )
    parcel.check()
    root = options.data or (parcel.data if parcel.data.is_dir() else None)
    print(columns(_machine(parcel)))
    for name in names:  # says what is wrong before anything starts
        _dataset(parcel.experiment(name, root))
    failed = []
    for name in names if not options.check else ():
        if _mark(parcel, name).is_file():
            continue
        status = _in_a_process(parcel, name, root, part_mb, deadline)
        if status is None:
            break
        if status:
            failed.append(name)
    print(f"\n{columns(_table(parcel, names))}")
    files = sorted(parcel.results.glob("*")) if parcel.results.is_dir() else []
    size = sum(path.stat().st_size for path in files) / 1e6
    print(f"{parcel.results}: {len(files)} files, {size:.1f} MB, to be taken home.")
    if failed:
        raise DualsegError(f"failed: {', '.join(failed)} (why: above); the next call tries again.")
    return 0


def _machine(parcel: Parcel) -> list[tuple[str, str, str]]:
    """Rows of what is here. Raises DualsegError for a version that is too old."""
    device = pick_device()
    memory = ""
    if device.type == "cuda":
        memory = f", {torch.cuda.mem_get_info()[1] / 1e9:.0f} GB"
    rows = [("python", "ok", platform.python_version())]
    rows += [version_row(name, metadata.version(name), least) for name, least in LEAST.items()]
    for name, verdict, detail in rows:
        if verdict != "ok":
            raise DualsegError(f"{name} {detail} or newer; install it on this machine.")
    return [
        *rows,
        ("device", "ok", describe_device(device) + memory),
        ("cores", "ok", str(os.cpu_count())),
        ("disk", "ok", f"{shutil.disk_usage(parcel.folder).free / 1e9:.0f} GB free"),
        ("parcel", "ok", f"{len(parcel.plan()['files'])} files, as they were packed"),
    ]


def _in_a_process(
    parcel: Parcel, name: str, root: Path | None, part_mb: float, deadline: float
) -> int | None:
    """Exit status of the process that does what is left of a run; None where the time was up.

    A process of its own: what one run leaves on the GPU, or how it fails, is not the next one's
    affair.
    """
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_do, args=(parcel, name, root, part_mb))
    if time.monotonic() >= deadline:
        return None
    process.start()
    try:
        wait = deadline - time.monotonic()
        process.join(None if wait == float("inf") else max(0.0, wait))
        return process.exitcode
    finally:
        if process.is_alive():
            process.terminate()  # a checkpoint, then the end
            process.join(GRACE)
            process.kill()
            process.join()


def _do(parcel: Parcel, name: str, root: Path | None, part_mb: float) -> None:
    """Train, round, predict and export a run: what of it is not done yet."""
    end_with_parent()
    try:
        with stop_raised():
            experiment = parcel.experiment(name, root)
            trained = fit(experiment, parcel.run(name).folder, resume=True)
            run = round_weights(trained, parcel.rounded(name).folder)
            dataset = _dataset(experiment)
            for split, key in SPLITS.items():
                if cases := run.info()["data"]["split"][key]:
                    masks = predict_cases(run, dataset, cases, split)
                    print(
                        f"{name}: {len(cases)} cases predicted in "
                        f"{sum(mask.seconds for mask in masks):.1f} s, "
                        f"{max(mask.peak_memory_mb for mask in masks):.0f} MB at the peak."
                    )
            export(run, parcel.results, part_mb)
            _mark(parcel, name).touch()
    except DualsegError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt as stop:
        sys.exit(stop.status if isinstance(stop, Interrupted) else Interrupted().status)


def _dataset(experiment: Experiment) -> Dataset:
    """The data of a run; raises DualsegError if they are not here, or too few."""
    if experiment.root is None and experiment.dataset != "phantom":
        raise DualsegError(
            f"--data: expected the folder with the files of {experiment.dataset!r}, which are not "
            "in this parcel, found none; give --data DIR."
        )
    dataset = open_dataset(experiment.dataset, experiment.root, experiment.train.resolution)
    dataset.split(experiment.labeled, experiment.validation)
    return dataset


def _mark(parcel: Parcel, name: str) -> Path:
    """A file that says that a run's results have been written (they may be gone since)."""
    return parcel.rounded(name).folder / "exported"


def _table(parcel: Parcel, names: list[str]) -> list[list[str]]:
    rows = [["run", "state", "steps", "steps/s", "minutes", "left", "precision", "peak MB"]]
    for name in names:
        run = parcel.run(name)
        if not run.exists:
            rows.append([name, "to do", *[""] * 6])
            continue
        status = WatchedRun(name, run.folder).status(time.time())
        left = (status.total - status.step) / status.rate / 60 if status.rate else None
        state = {"finished": "trained"}.get(status.state, status.state)
        state = "exported" if _mark(parcel, name).is_file() else state
        rows.append(
            [
                name,
                state,
                f"{status.step}/{status.total}",
                "" if status.rate is None else f"{status.rate:.3g}",
                "" if status.seconds is None else f"{status.seconds / 60:.1f}",
                "" if left is None else f"{left:.1f}",
                run.info().get("precision", ""),
                _peak(run),
            ]
        )
    return rows


def _peak(run: Run) -> str:
    for path in (run.weights_path, run.state_path):
        if "peak_memory_mb" in (progress := read_progress(path)):
            return f"{progress['peak_memory_mb']:.0f}"
    return ""
