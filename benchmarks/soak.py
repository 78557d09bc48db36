"""Hours of training, killing, resuming, evaluating and predicting: does anything leak or differ?

`python -m benchmarks.soak --hours 2 --work DIR` repeats a cycle until the time is up. In a cycle,
child processes train a small run that is killed at random steps (SIGKILL or SIGTERM) and resumed,
evaluate it (sometimes killed half way, too) and segment a NIfTI file; weights, metrics and mask
must be, bit for bit, those of a run that nobody disturbed. Beside them one process that lives for
the whole time does the same again and again, so that memory it does not give back adds up.

The record is written after every cycle, so a soak that is killed goes on (on Linux, macOS).
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from matplotlib.figure import Figure
from safetensors.numpy import load_file

from dualseg.config import Experiment
from dualseg.datasets import open_dataset
from dualseg.environment import describe_device, pick_device, versions
from dualseg.errors import DualsegError
from dualseg.evaluate import evaluate
from dualseg.files import read_json, write_json
from dualseg.memory import process_peak_mb
from dualseg.nifti import export_case, predict_nifti
from dualseg.plotting import WIDTH, save
from dualseg.runs import Run
from dualseg.train import fit

SETTINGS = {
    "iterations": 24,
    "checkpoint_every": 3,
    "learning_rate": 0.05,
    "stride": (16, 16, 16),
}
SCAN = "phantom_041"
STEADY_MB_PER_HOUR = 1.0  # a slope below this would take a month to fill a gigabyte


def main(
    hours: float = 2.0,
    out: Path = Path("figures/records/benchmarks/soak.json"),
    work: Path = Path("runs/soak"),
    picture: Path = Path("figures/soak.png"),
    seed: int = 0,
    draw_only: bool = False,
) -> None:
    """Soak until the cycles have taken so many hours, then draw and state what was found.

    Args:
        hours: Time that all cycles take together; a soak that was stopped goes on.
        out: JSON to write after every cycle.
        work: Folder for runs and cache; what is in it is replaced.
        picture: PNG to draw at the end.
        seed: Of when and how processes are killed.
        draw_only: Draw what was recorded before.
    """
    if not draw_only:
        _soak(hours, out, work.resolve(), seed)
    record = read_json(out)
    print(_sentence(record))
    save(_draw(record), picture, alt=_sentence(record))


def _soak(hours: float, out: Path, work: Path, seed: int) -> None:
    os.environ.update(OMP_NUM_THREADS="1", DUALSEG_CACHE=str(work / "cache"))
    work.mkdir(parents=True, exist_ok=True)
    experiment = Experiment.default("phantom", "smoke", "improved", **SETTINGS)
    record = _started_record(out, experiment, seed)
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    worker = context.Process(target=_worker, args=(theirs, experiment, work), daemon=True)
    worker.start()
    theirs.close()
    expected = mine.recv()["results"]  # of the first, undisturbed run
    record["sessions"] += 1
    while sum(cycle["seconds"] for cycle in record["cycles"]) < 3600 * hours:
        number = len(record["cycles"])
        started = time.monotonic()
        children = _Children(experiment, work, np.random.default_rng([seed, number]))
        try:
            results = {"killed": children.cycle()}
        except subprocess.CalledProcessError as error:
            record["failures"].append({"cycle": number, "what": error.stderr[-2000:]})
            results = {}
        mine.send("again")
        answer = mine.recv()
        results["long-lived"] = answer.pop("results")
        wrong = [
            {"cycle": number, "process": process, "what": what}
            for process, found in results.items()
            for what in expected
            if found[what] != expected[what]
        ]
        record["mismatches"] += wrong
        record["cycles"].append(
            {
                "session": record["sessions"],
                "seconds": time.monotonic() - started,
                "kills": children.kills,
                "children_peak_mb": round(max(children.peaks, default=0.0), 1),
                "scraps": sorted({p.name for p in work.rglob(".*.tmp")}),
                "disk_mb": sum(p.stat().st_size for p in work.rglob("*") if p.is_file()) / 1e6,
                **answer,
            }
        )
        record["memory"] = slope(record["cycles"])
        write_json(out, record)
        print(
            f"cycle {number}: {len(children.kills)} kills, {answer['resident_mb']:.1f} MB, so far "
            f"{len(record['mismatches'])} mismatches and {len(record['failures'])} failures",
            flush=True,
        )
    mine.close()
    worker.join()


def _started_record(out: Path, experiment: Experiment, seed: int) -> dict[str, Any]:
    config = json.loads(json.dumps(experiment.flat()))  # as a file gives it back
    if out.is_file():
        record = read_json(out)
        if (record["config"], record["seed"], record["versions"]) != (config, seed, versions()):
            raise DualsegError(
                f"{out}: holds a soak with other settings or versions; delete it, or give another "
                "--out."
            )
        return record
    return {
        "config": config,
        "seed": seed,
        "device": describe_device(pick_device()),
        "versions": versions(),
        "sessions": 0,
        "mismatches": [],
        "failures": [],
        "cycles": [],
    }


def _worker(pipe: Connection, experiment: Experiment, work: Path) -> None:
    """The process that lives: trains to the end, evaluates and predicts whenever it is asked."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stderr(nowhere):
        scan = work / "scan.nii.gz"
        export_case(open_dataset("phantom"), SCAN, scan)
        while True:
            run, mask = work / "long-lived", work / "long-lived.nii.gz"
            shutil.rmtree(run, ignore_errors=True)
            fit(experiment, run)
            evaluate(run)
            predict_nifti(run, scan, mask)
            pipe.send(
                {
                    "results": _results(run, mask),
                    "resident_mb": round(resident_mb(), 2),
                    "open_files": len(os.listdir("/dev/fd")),
                }
            )
            try:
                pipe.recv()
            except EOFError:  # the soak is over, or was killed
                return


def resident_mb() -> float:
    """Memory of this process that is in RAM now, in MB; without /proc, the peak so far."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return process_peak_mb()
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _results(run: Path, mask: Path) -> dict[str, str]:
    """Digests of what must come out the same every time."""
    tensors = load_file(Run(run).weights_path)
    weights = b"".join(name.encode() + tensors[name].tobytes() for name in sorted(tensors))
    parts = {
        "weights": weights,
        "metrics": json.dumps(read_json(Run(run).record_path())["cases"]).encode(),
        "mask": gzip.decompress(mask.read_bytes()),
    }
    return {name: hashlib.sha256(part).hexdigest() for name, part in parts.items()}


@dataclass
class _Children:
    """One cycle of processes that are started and killed."""

    experiment: Experiment
    work: Path
    rng: np.random.Generator
    kills: list[dict[str, Any]] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)

    def cycle(self) -> dict[str, str]:
        run, mask = self.work / "killed", self.work / "killed.nii.gz"
        shutil.rmtree(run, ignore_errors=True)
        mask.unlink(missing_ok=True)
        changed = []
        for name, value in SETTINGS.items():
            words = map(str, value if isinstance(value, tuple) else [value])
            changed += [f"--{name.replace('_', '-')}", *words]
        start = ["train", "--profile", "smoke", "--preset", "improved", *changed]
        train = [*start, "--out", str(run)]
        for _ in range(1 + (self.rng.random() < 0.4)):
            step = int(self.rng.integers(0, self.experiment.train.iterations))
            self._run("train", train, lambda: len(Run(run).log()), step)
            train = [*start, "--out", str(run), *(["--resume"] if Run(run).exists else [])]
        self._run("train", train)
        if self.rng.random() < 0.5:
            masks = int(self.rng.integers(0, 10))
            saved = run / "predictions" / "test"
            self._run(
                "evaluate", ["evaluate", str(run)], lambda: len(list(saved.glob("*.npz"))), masks
            )
        self._run("evaluate", ["evaluate", str(run)])
        scan = self.work / "scan.nii.gz"
        self._run("predict", ["predict", str(run), str(scan), "--out", str(mask)])
        return _results(run, mask)

    def _run(self, what: str, words: list[str], progress=None, kill_at: int | None = None) -> None:
        """A child process, to its end or until `progress()` has reached `kill_at`."""
        command = [sys.executable, "-m", "dualseg", *words]
        number = signal.SIGKILL if self.rng.random() < 0.7 else signal.SIGTERM
        later = self.rng.uniform(0, 0.5)  # seconds: also inside a step, a checkpoint, an import
        errors = self.work / "stderr.txt"
        with errors.open("wb") as file:
            child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=file)
        killed, status = False, None
        while status is None:
            if kill_at is not None and not killed and progress() >= kill_at:
                time.sleep(later)
                child.send_signal(number)
                killed = True
            pid, code, used = os.wait4(child.pid, os.WNOHANG)
            status = os.waitstatus_to_exitcode(code) if pid else None
            time.sleep(0.02)
        child.returncode = status  # Popen did not see it end
        self.peaks.append(used.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3))
        if killed and status != 0:
            self.kills.append(
                {"what": what, "signal": number.name, "at": progress(), "status": status}
            )
        elif status != 0:
            text = errors.read_text(encoding="utf-8", errors="replace")
            raise subprocess.CalledProcessError(status, command, stderr=f"{status}: {text}")


def slope(cycles: list[dict[str, Any]]) -> dict[str, Any]:
    """Least-squares slope of the long-lived process's memory over the second half of the time.

    In MB/hour, with its standard error; the first half warms up. "flat" is a slope that is not
    above two standard errors, or below `STEADY_MB_PER_HOUR`; None for fewer than 10 cycles or
    where the second half holds a restart of the soak (a new process warms up again).
    """
    hours, memory = _memory(cycles)
    late = hours > hours[-1] / 2
    hours, memory = hours[late], memory[late]
    sessions = {cycle["session"] for cycle in cycles[-len(hours) :]}
    if len(hours) < 10 or len(sessions) > 1:
        return {"mb_per_hour": None, "standard_error": None, "cycles": len(hours), "flat": None}
    (rate, start), *_ = np.polyfit(hours, memory, 1, full=True)
    left = memory - (rate * hours + start)
    spread = np.square(hours - hours.mean()).sum()
    error = float(np.sqrt(np.square(left).sum() / (len(hours) - 2) / spread))
    return {
        "mb_per_hour": float(rate),
        "standard_error": error,
        "cycles": len(hours),
        "flat": bool(rate <= max(2 * error, STEADY_MB_PER_HOUR)),
    }


def _memory(cycles: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Hours at the end of each cycle, and the long-lived process's memory there."""
    hours = np.cumsum([cycle["seconds"] for cycle in cycles]) / 3600
    return hours, np.array([cycle["resident_mb"] for cycle in cycles])


def _sentence(record: dict[str, Any]) -> str:
    cycles, memory = record["cycles"], record["memory"]
    hours, resident = _memory(cycles)
    signals = [kill["signal"] for cycle in cycles for kill in cycle["kills"]]
    verdict = {True: "flat", False: "NOT flat", None: "too few cycles to say"}[memory["flat"]]
    if memory["flat"] is not None:
        rate, error = memory["mb_per_hour"], memory["standard_error"]
        verdict += f" (second half: {rate:+.2f} ± {error:.2f} MB/hour)"
    files = [cycle["open_files"] for cycle in cycles]
    disk = [cycle["disk_mb"] for cycle in cycles]
    return (
        f"{hours[-1]:.2f} hours, {len(cycles)} cycles: {signals.count('SIGKILL')} SIGKILL and "
        f"{signals.count('SIGTERM')} SIGTERM, {len(record['mismatches'])} mismatches, "
        f"{len(record['failures'])} failures. The long-lived process went from {resident[0]:.0f} "
        f"to {resident[-1]:.0f} MB: {verdict}; its open files: {files[0]} at first, {files[-1]} at "
        f"the end. Work folder: {disk[0]:.1f} MB at first, {disk[-1]:.1f} at the end."
    )


def _draw(record: dict[str, Any]) -> Figure:
    cycles = record["cycles"]
    hours, memory = _memory(cycles)
    figure = Figure(figsize=(WIDTH, 6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    top.plot(hours, memory, ".-", color="#0072B2", lw=1, ms=4, label="one process, all the time")
    peaks = [cycle["children_peak_mb"] for cycle in cycles]
    top.plot(hours, peaks, "x", color="#E69F00", ms=4, label="killed and resumed ones, peak")
    top.axvspan(0, hours[-1] / 2, color="0.93", zorder=0, label="warming up")
    top.set(ylim=0, xlim=0)
    top.set_ylabel("resident memory (MB)")
    top.legend(loc="center right")
    looks = {
        "SIGKILL": {"color": "#D55E00", "ls": "-"},
        "SIGTERM": {"color": "#009E73", "ls": "--"},
    }
    for name, look in looks.items():
        count = np.cumsum([sum(k["signal"] == name for k in cycle["kills"]) for cycle in cycles])
        bottom.step(hours, count, where="post", lw=1.8, label=name, **look)
    wrong = np.zeros(len(cycles), int)
    for line in record["mismatches"] + record["failures"]:
        wrong[line["cycle"]] += 1
    line = {"color": "black", "ls": ":", "lw": 1.8}
    bottom.step(hours, np.cumsum(wrong), where="post", label="mismatch or failure", **line)
    bottom.set_ylabel("number so far")
    bottom.set_xlabel("time (hours)")
    bottom.legend(loc="upper left")
    return figure


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except DualsegError as error:
        sys.exit(f"soak: {error}")
