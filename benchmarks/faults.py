"""What a run survives: the faults that the tests make, what is promised, and what was observed.

`python -m benchmarks.faults` runs every test that carries the mark `fault(what, promise)` and
writes what happened to figures/records/benchmarks/faults.json and, as a table, to docs/faults.md.
Observed is what a test says it saw, else the last sentence of dualseg that it waited for.
"""

from __future__ import annotations

import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tyro

from dualseg._util.environment import versions
from dualseg._util.files import write_atomically, write_json
from dualseg.errors import DualsegError

HEAD = """# Faults that are tried

Written by `python -m benchmarks.faults` from the tests that carry the mark `fault`, not by hand.
"Observed" is what the last of a fault's tests saw, mostly the sentence that a user gets (three dots
stand for its folder); "as promised" where the test compares what is left, as weights or files.

"""


class Recorder:
    """A pytest plugin that notes the outcome of every test of a fault."""

    def __init__(self) -> None:
        self.faults: dict[str, dict[str, Any]] = {}
        self.of_test: dict[str, dict[str, Any]] = {}
        self.sentence = ""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            for mark in item.iter_markers("fault"):
                what, promise = mark.args
                row = {"fault": what, "promise": promise, "tests": {}, "observed": ""}
                self.of_test[item.nodeid] = self.faults.setdefault(what, row)

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self.sentence = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        row = self.of_test.get(report.nodeid)
        if row is None or (report.when != "call" and report.passed):
            return
        said = dict(report.user_properties).get("observed") or self.sentence
        said = _without_paths(said or ("as promised" if report.passed else report.outcome))
        row["tests"][report.nodeid] = {"outcome": report.outcome, "observed": said}
        if not report.skipped:
            row["observed"] = said

    def listen(self, patch: pytest.MonkeyPatch) -> None:
        """Keep the last sentence that a test waits for."""
        real = pytest.raises

        @contextmanager
        def raises(*expected: Any, **options: Any) -> Iterator[Any]:
            with real(*expected, **options) as found:
                yield found
            if isinstance(found.value, DualsegError):
                self.sentence = str(found.value)

        patch.setattr(pytest, "raises", raises)


def main(
    out: Path = Path("figures/records/benchmarks/faults.json"), table: Path = Path("docs/faults.md")
) -> None:
    """Run the tests of faults and write the table.

    Args:
        out: JSON to write.
        table: Markdown to write.
    """
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        recorder.listen(patch)
        words = ["-m", "fault", "-q", "-n", "0", "-p", "no:cacheprovider"]
        status = pytest.main(words, plugins=[recorder])
    rows = list(recorder.faults.values())
    if not rows:
        sys.exit("faults: expected tests with the mark fault, found none; run it in the project.")
    machine = {"system": platform.platform(), "versions": versions()}
    write_json(out, {**machine, "faults": rows})
    lines = [
        "| fault | promised | observed | tests |",
        "| --- | --- | --- | --- |",
        *(f"| {r['fault']} | {r['promise']} | {r['observed']} | {_kept(r)} |" for r in rows),
    ]
    text = f"{HEAD}System: {machine['system']}, {len(rows)} faults.\n\n" + "\n".join(lines) + "\n"
    write_atomically(table, text.encode())
    print(f"{table}: {len(rows)} faults.")
    sys.exit(int(status))


def _kept(row: dict[str, Any]) -> str:
    outcomes = [test["outcome"] for test in row["tests"].values()]
    tried = [outcome for outcome in outcomes if outcome != "skipped"]
    if "failed" in tried:
        return f"**broken: {tried.count('failed')} of {len(tried)} failed**"
    return f"{len(tried)} passed" if tried else "not tried on this system"


def _without_paths(text: str) -> str:
    """One line that can stand in a table and names no folder of this machine."""
    here = re.escape(tempfile.gettempdir())
    text = re.sub(rf"{here}/[^\s'\"]*?(?=/[^/\s'\"]*(?:[\s'\",:;)]|$))", "...", text)
    # Nor the number of a process, the machine's name and a server's port, which change each time.
    holder = r"process \d+ on \S+ since [-\d]+ [:\d]+"
    text = re.sub(holder, "process NUMBER on HOST since TIME", text)
    text = re.sub(r"127\.0\.0\.1:\d+", "HOST:PORT", text)
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "\\<")


if __name__ == "__main__":
    tyro.cli(main)
