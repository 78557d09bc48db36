"""What a soak found: the slope of the memory with its error, a sentence, a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dualseg.plotting import WIDTH

STEADY_MB_PER_HOUR = 10.0  # a growth below this takes four days to fill a gigabyte


def slope(cycles: list[dict[str, Any]]) -> dict[str, Any]:
    """Least-squares slope of the long-lived process's memory over the second half of the time.

    In MB/hour, with its standard error; the first half warms up. The verdict is "flat" where slope
    + 2 standard errors is below `STEADY_MB_PER_HOUR`, "growing" where slope - 2 standard errors is
    above it, else "undecided"; so also for fewer than 10 cycles, or where the second half holds a
    restart of the soak (a new process warms up again).
    """
    hours, memory = _memory(cycles)
    late = hours > hours[-1] / 2
    hours, memory = hours[late], memory[late]
    sessions = {cycle["session"] for cycle in cycles[-len(hours) :]}
    if len(hours) < 10 or len(sessions) > 1:
        return {"verdict": "undecided", "cycles": len(hours)}
    (rate, start), *_ = np.polyfit(hours, memory, 1, full=True)
    left = memory - (rate * hours + start)
    spread = np.square(hours - hours.mean()).sum()
    error = float(np.sqrt(np.square(left).sum() / (len(hours) - 2) / spread))
    verdict = "undecided"
    if rate + 2 * error < STEADY_MB_PER_HOUR:
        verdict = "flat"
    elif rate - 2 * error > STEADY_MB_PER_HOUR:
        verdict = "growing"
    values = {"mb_per_hour": float(rate), "standard_error": error}
    return {"verdict": verdict, "cycles": len(hours), **values}


def _memory(cycles: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Hours at the end of each cycle, and the long-lived process's memory there."""
    hours = np.cumsum([cycle["seconds"] for cycle in cycles]) / 3600
    return hours, np.array([c.get("held_mb") or c["resident_mb"] for c in cycles])


def sentence(record: dict[str, Any]) -> str:
    """What a soak found."""
    cycles, memory = record["cycles"], slope(record["cycles"])
    hours, resident = _memory(cycles)
    signals = [kill["signal"] for cycle in cycles for kill in cycle["kills"]]
    verdict = f"{memory['verdict']} ({memory['cycles']} cycles in the second half"
    if "mb_per_hour" in memory:
        verdict += f", {memory['mb_per_hour']:+.2f} ± {memory['standard_error']:.2f} MB/hour"
    files = [cycle["open_files"] for cycle in cycles]
    disk = [cycle["disk_mb"] for cycle in cycles]
    return (
        f"{hours[-1]:.2f} hours, {len(cycles)} cycles: {signals.count('SIGKILL')} SIGKILL and "
        f"{signals.count('SIGTERM')} SIGTERM, {len(record['mismatches'])} mismatches, "
        f"{len(record['failures'])} failures. The long-lived process went from {resident[0]:.1f} "
        f"to {resident[-1]:.1f} MB: {verdict}); its open files: {files[0]} at first, {files[-1]} "
        f"at the end. Work folder: {disk[0]:.1f} MB at first, {disk[-1]:.1f} at the end."
    )


def draw(record: dict[str, Any]) -> Figure:
    """Memory, kills and mismatches over the hours."""
    cycles = record["cycles"]
    hours, memory = _memory(cycles)
    figure = Figure(figsize=(WIDTH, 6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    resident = [cycle["resident_mb"] for cycle in cycles]
    top.plot(hours, memory, ".-", color="#0072B2", lw=1, ms=4, label="one process, all the time")
    top.plot(hours, resident, "+", color="0.4", ms=4, label="the same, with free pages it keeps")
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
