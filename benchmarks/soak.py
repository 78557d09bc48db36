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
import ctypes
import gc
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
from safetensors.numpy import load_file

from dualseg._util.environment import describe_device, pick_device, versions
from dualseg._util.files import read_json, write_json
from dualseg._util.memory import process_peak_mb
from dualseg.config.experiment import Experiment
from dualseg.data.dataset import open_dataset
from dualseg.errors import DualsegError
from dualseg.evaluation.evaluate import evaluate
from dualseg.evaluation.export_case import export_case
from dualseg.evaluation.predict_scan import predict_scan
from dualseg.plotting import save
from dualseg.runs.run import Run
from dualseg.training.loop import fit

from .soak_report import draw, sentence

SETTINGS = {
    "iterations": 24,
    "checkpoint_every": 3,
    "learning_rate": 0.05,
    "stride": (16, 16, 16),
}
SCAN = "phantom_041"


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
    print(sentence(record))
    save(draw(record), picture, alt=sentence(record))


def _soak(hours: float, out: Path, work: Path, seed: int) -> None:
    os.environ.update(OMP_NUM_THREADS="1", DUALSEG_CACHE=str(work / "cache"))
    work.mkdir(parents=True, exist_ok=True)
    experiment = Experiment("phantom", "smoke", "improved", **SETTINGS)
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
            predict_scan(run, scan, mask)
            pipe.send(
                {
                    "results": _results(run, mask),
                    "resident_mb": round(resident_mb(), 2),
                    "held_mb": held_mb(),
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


def held_mb() -> float | None:
    """The same once the C library has given free pages back; None where it cannot (not glibc).

    What it keeps for later changes by tens of MB from cycle to cycle, and would hide a small leak.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return None
    trim(0)
    return round(resident_mb(), 2)


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


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except DualsegError as error:
        sys.exit(f"soak: {error}")
