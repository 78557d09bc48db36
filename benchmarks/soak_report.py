"""What a soak found: the slope of the memory with its error, a sentence, a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dualseg.plotting import WIDTH

LEAK_KB = 20.0  # a cycle; below this it takes 50,000 trainings to fill a gigabyte


def slope(cycles: list[dict[str, Any]]) -> dict[str, Any]:
    """Least-squares slope of the long-lived process's memory over the second half of the cycles.

    In kB (1000 bytes) a cycle, with its standard error; the first half warms up. The verdict is
    "flat" where slope + 2 standard errors is below `LEAK_KB`, "growing" where slope - 2 standard
    errors is above it, else "undecided"; so also for fewer than 10 cycles, or where the second half
    holds a restart of the soak (a new process warms up again).
    """
    late = cycles[len(cycles) // 2 :]
    if len(late) < 10 or len({cycle["session"] for cycle in late}) > 1:
        return {"verdict": "undecided", "cycles": len(late)}
    number, memory = np.arange(len(late)), 1000 * _memory(late)[1]
    (rate, start), *_ = np.polyfit(number, memory, 1, full=True)
    left = memory - (rate * number + start)
    spread = np.square(number - number.mean()).sum()
    error = float(np.sqrt(np.square(left).sum() / (len(late) - 2) / spread))
    verdict = "undecided"
    if rate + 2 * error < LEAK_KB:
        verdict = "flat"
    elif rate - 2 * error > LEAK_KB:
        verdict = "growing"
    values = {"kb_per_cycle": float(rate), "standard_error": error}
    return {"verdict": verdict, "cycles": len(late), **values}


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
    if "kb_per_cycle" in memory:
        verdict += f", {memory['kb_per_cycle']:+.1f} ± {memory['standard_error']:.1f} kB a cycle"
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
    top.axvspan(0, hours[len(hours) // 2], color="0.93", zorder=0, label="warming up")
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
