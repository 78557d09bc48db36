"""The side without a network: go on with a parcel's runs, one after the other, for some minutes."""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import shutil
import sys
import time
from contextlib import nullcontext
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import torch

from ..config import Experiment
from ..datasets import Dataset, open_dataset
from ..environment import describe_device, pick_device, version_row
from ..errors import DualsegError, require
from ..lock import held
from ..predictions import SPLITS, predict_cases
from ..run_status import WatchedRun
from ..runs import Run, read_progress
from ..signals import end_with_parent, exit_status, stop_raised
from ..text import columns
from ..train import fit
from .parcel import Parcel
from .results import export, round_weights

LEAST = {"torch": "2.11", "numpy": "2.0", "h5py": "3.11"}
"""What that machine must have, as in pyproject.toml."""
DISK_GB = 3.0
"""Free space below which there is a warning: prepared LA takes 1.2 at full size, a run 0.5."""
TIME_IS_UP = 75
"""Exit status (EX_TEMPFAIL of sysexits.h: try again)."""
GRACE = 60.0
"""Seconds that a training may take to write its checkpoint."""


def main(folder: Path, argv: list[str]) -> int:
    """`python work.py`: do a piece of the parcel in `folder`; returns the exit status.

    0 when nothing is left to do, `TIME_IS_UP` when there is, 1 when a run failed or the parcel
    cannot be used, else that of the signal that stopped it.
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
        return exit_status(stop)


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
    parser.add_argument(
        "--again", action="store_true", help="write all results again, where parts were lost"
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
    print(columns(_machine(parcel)))
    parcel.check()
    print(f"{len(plan['files'])} files are as they were packed.")
    packed = parcel.data.is_dir()
    if packed and options.data:
        raise DualsegError("--data: the data are in this parcel; leave it out.")
    root = parcel.data if packed else options.data
    left = [name for name in names if options.again or not _mark(parcel, name).is_file()]
    for name in left:  # says what is wrong before anything starts
        _dataset(parcel.experiment(name, root))
    failed = {}
    with held(parcel.folder / "runs") if left and not options.check else nullcontext():
        for name in left if not options.check else ():
            status = _in_a_process(parcel, name, root, part_mb, deadline)
            if status is None:
                break
            if status:
                failed[name] = status
    status = _told(parcel, names, failed)
    return 0 if options.check else status


def _told(parcel: Parcel, names: list[str], failed: dict[str, int]) -> int:
    """Print how far the runs are; returns the exit status. Raises DualsegError for failed runs."""
    print(f"\n{columns(_table(parcel, names))}")
    done = sum(_mark(parcel, name).is_file() for name in names)
    files = sorted(parcel.results.glob("*.zip.*")) if parcel.results.is_dir() else []
    size = sum(path.stat().st_size for path in files) / 1e6
    print(
        f"{done} of {len(names)} runs exported. To be taken home: {len(files)} files, {size:.1f} "
        f"MB, in {parcel.results}."
    )
    if failed:
        told = ", ".join(f"{name} (exit status {status})" for name, status in failed.items())
        raise DualsegError(f"failed: {told}; why is said above. The next call tries again.")
    return 0 if done == len(names) else TIME_IS_UP


def _machine(parcel: Parcel) -> list[tuple[str, str, str]]:
    """Rows of what is here. Raises DualsegError for a version that is too old."""
    rows = [("python", "ok", platform.python_version())]
    rows += [version_row(name, metadata.version(name), least) for name, least in LEAST.items()]
    for name, verdict, detail in rows:
        if verdict != "ok":
            raise DualsegError(f"{name} {detail} or newer; install it on this machine.")
    device = pick_device()
    if device.type == "cuda":
        half = torch.cuda.is_bf16_supported(including_emulation=False)
        rows.append(("device", "ok", describe_device(device)))
        rows.append(("memory", "ok", f"{torch.cuda.mem_get_info()[1] / 1e9:.0f} GB on the GPU"))
        rows.append(("CUDA", "ok", f"{torch.version.cuda}, {'with' if half else 'no'} bfloat16"))
    else:
        large = any(config["profile"] == "full" for config in parcel.plan()["runs"].values())
        verdict = "NO GPU" if large else "ok"
        rows.append(("device", verdict, describe_device(device)))
    free = shutil.disk_usage(parcel.folder).free / 1e9
    rows.append(("disk", "ok" if free > DISK_GB else "LOW", f"{free:.1f} GB free"))
    return rows


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
                    masks = [saved for _, saved in predict_cases(run, dataset, cases, split)]
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
        sys.exit(exit_status(stop))


def _dataset(experiment: Experiment) -> Dataset:
    """The data of a run; raises DualsegError if they are not here, or too few."""
    if experiment.dataset == "phantom" and find_spec("scipy") is None:
        raise DualsegError(
            "dataset: the phantom is drawn with SciPy, found none on this machine; install it, or "
            "pack other data."
        )
    if experiment.root is None and experiment.dataset != "phantom":
        raise DualsegError(
            f"--data: expected the folder with the files of {experiment.dataset!r}, which are not "
            "in this parcel, found none; give --data DIR."
        )
    dataset = open_dataset(experiment.dataset, experiment.root, experiment.train.resolution)
    dataset.split(experiment.labeled, experiment.validation)
    return dataset


def _mark(parcel: Parcel, name: str) -> Path:
    """A file that says that a run's results have been written; they may have been moved since."""
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
        state = status.state
        if state == "finished":
            split = run.info()["data"]["split"]
            count = sum(len(split[key]) for key in SPLITS.values())
            masks = list(parcel.rounded(name).folder.glob("predictions/*/*.npz"))
            state = f"trained, {len(masks)}/{count} predicted"
        if _mark(parcel, name).is_file():
            state = "exported"
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
