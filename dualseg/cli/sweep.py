"""The command `dualseg sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from .._util.files import write_atomically
from .._util.lock import held
from ..data.spec import Profile
from ..many_runs.jobs import Resources

Settings = Annotated[tuple[str, ...], arg(name="set")]


def sweep(
    out: Path,
    dataset: tuple[str, ...] = ("phantom",),
    methods: tuple[str, ...] = ("supervised", "dual"),
    presets: tuple[str, ...] = (),
    labeled: tuple[int, ...] = (),
    seeds: tuple[int, ...] = (0, 1, 2),
    profile: Profile = "lesson",
    settings: Settings = (),
    resources: Resources = Resources(),  # noqa: B008 (frozen)
    dry_run: bool = False,
) -> None:
    """Train and measure every combination, several at a time; a table over seeds at the end.

    The same command again does what is missing: after Ctrl-C, a crash, or with more seeds. The
    tables are also in OUT/tables.txt.

    Example: dualseg sweep --out runs/sweep --presets paper improved --labeled 4 8 --workers 2

    Args:
        out: Folder of the runs; their jobs' output is in OUT/jobs.
        dataset: Names, NAME=FOLDER where the files of a set are needed, or prepared folders.
        methods: "supervised", "dual" and others; one without presets is run once for all of them.
        presets: As for `dualseg train`, for all methods; if none is given, each method's usual one.
        labeled: Numbers of labeled cases; if none is given, each data set's usual one.
        seeds: Seeds of the runs.
        profile: "smoke", "lesson" or "full".
        settings: Further settings of all runs as NAME=VALUE, e.g. iterations=200 patch=48,32,32.
        resources: Where the runs are done.
        dry_run: Only list the runs, and how far they are.
    """
    from ..many_runs.sweep import (
        check_data,
        over_seeds,
        plan,
        progress_of,
        records_of,
        require_done,
        run_sweep,
    )
    from ..runs.records import table

    members = plan(out, dataset, methods, presets, labeled, seeds, profile, settings)
    check_data(members)
    if dry_run:
        print(progress_of(members))
        return
    with held(out):
        failed = run_sweep(members, resources, out / "jobs")
        records = records_of(members)
        if records:
            tables = (
                f"{table(records)}\n"
                "\nIn each line, ± is the standard error over the test cases of one run.\n\n"
                f"{over_seeds(members)}\n"
                "\nHere, ± is the sample standard deviation, over n seeds, of the runs' means over "
                "test cases. Distances in voxels of the full grid.\n"
            )
            print(tables)
            write_atomically(out / "tables.txt", tables.encode())
    require_done(members, failed)
