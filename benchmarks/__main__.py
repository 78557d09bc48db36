"""All ratios in one run, in one record: `python -m benchmarks` (about ten minutes on two cores).

Each number is the time of the field's way over ours, taken in turn on this machine, which must have
nothing else to do. `figures/records/benchmark_cpu.json` is such a run, `benchmark_gpu.json` one
with a GPU; the site's table of speed is made of them by `--markdown`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro

from dualseg._util.environment import describe_device, pick_device, versions
from dualseg._util.files import read_json, write_json
from dualseg.errors import DualsegError, require, require_one_of

from . import batch_loading, loss_cost, method_steps, metrics, sliding_window, training_step

FOLDER = Path("figures/records")


def main(
    root: Path | None = None,
    repeats: int = 5,
    out: Path | None = None,
    only: tuple[str, ...] = (),
    markdown: bool = False,
) -> None:
    """Measure everything and write the record; or print the table of an existing one.

    Args:
        root: Folder of the LA data; without it, phantoms stand in for the volumes.
        repeats: Timed repetitions of each side; the median counts.
        out: JSON to write; by default figures/records/benchmark_cpu.json or benchmark_gpu.json.
        only: Names of what to measure anew (training_step, training_step_lesson, batch_loading,
            sliding_window, sliding_window_paper, metrics, loss_cost, method_steps); the rest of the
            record, if there is one, stays.
        markdown: Only print the table of the record there.
    """
    device = pick_device()
    out = out or FOLDER / f"benchmark_{'cpu' if device.type == 'cpu' else 'gpu'}.json"
    if markdown:
        print(table(read_json(out)))
        return
    large = "full" if device.type == "cpu" else "paper"
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "training_step": lambda: training_step.main(large, repeats),
        "training_step_lesson": lambda: training_step.main("lesson", repeats),
        "batch_loading": lambda: batch_loading.main(root, repeats),
        "sliding_window": lambda: sliding_window.main("lesson", repeats),
        "sliding_window_paper": lambda: sliding_window.main("paper", max(1, repeats // 2)),
        "metrics": lambda: metrics.main(root, repeats),
        "loss_cost": lambda: loss_cost.main("lesson", samples=2, repeats=repeats),
        "method_steps": lambda: method_steps.main(repeats),
    }
    machine = {
        "device": describe_device(device),
        "cores": os.cpu_count(),
        "versions": versions(),
    }
    record: dict[str, Any] = read_json(out) if only and out.is_file() else {}
    require(repeats > 0, "repeats", "at least 1", repeats)
    for name in only:
        require_one_of("only", name, parts)
    for name, found in machine.items():
        if record.get(name, found) != found:
            raise DualsegError(
                f"{out}: holds times of another machine or setting ({name} {record[name]!r}, here "
                f"{found!r}), which do not go together; give another --out, or measure all."
            )
    record = machine | {"ratios": {}} | record
    for name in only or parts:
        record[name] = parts[name]()
        if "ratio" in record[name]:
            record["ratios"][name] = record[name]["ratio"]
    write_json(out, record)
    print(f"\n{table(record)}\n\n{out}: written.")


ROWS = {
    "training_step": "training step, full-size networks",
    "training_step_lesson": "training step, `lesson`",
    "batch_loading": "a batch of 4 crops",
    "sliding_window": "sliding window, `lesson`",
    "sliding_window_paper": "sliding window, full-size networks",
    "metrics": "metrics of 3 cases",
}


def table(record: dict[str, Any]) -> str:
    """A record as Markdown: a table of the ratios, and one of the methods' steps."""
    lines = ["| | plainly | dualseg | ratio |", "| --- | --- | --- | --- |"]
    for name, title in ROWS.items():
        if name not in record:
            continue
        part = record[name]
        plain, ours = (f"{part[key]:.3g} s" for key in ("plain_seconds", "seconds"))
        patch = " x ".join(map(str, part["patch"])) if "patch" in part else ""
        title += f", patch {patch}" if patch else ""
        lines.append(f"| {title} | {plain} | {ours} | {part['ratio']:.1f} |")
    if "method_steps" in record:
        part = record["method_steps"]
        lines += ["", "| a step of | seconds | times `supervised` |", "| --- | --- | --- |"]
        for name, seconds in sorted(part["seconds"].items(), key=lambda item: item[1]):
            lines.append(f"| `{name}` | {seconds:.2f} | {part['ratio_to_supervised'][name]:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except DualsegError as error:
        sys.exit(f"benchmarks: {error}")
