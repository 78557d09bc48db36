"""The command `dualseg compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from .._util.files import write_atomically
from .._util.lock import held
from ..data.spec import Profile
from ..many_runs.jobs import Resources

if TYPE_CHECKING:
    from ..many_runs.comparison import Comparison

SEEDS = (0, 1, 2)
Settings = Annotated[tuple[str, ...], arg(name="set")]


def compare(
    out: Path | None = None,
    methods: tuple[str, ...] = (),
    dataset: str = "phantom",
    root: str | None = None,
    labeled: int | None = None,
    seeds: tuple[int, ...] | None = None,
    profile: Profile = "lesson",
    budget: Literal["common", "own"] = "common",
    budget_scale: float = 1.0,
    settings: Settings = (),
    records: tuple[Path, ...] = (),
    resources: Resources = Resources(),  # noqa: B008 (frozen)
    markdown: bool = False,
    dry_run: bool = False,
) -> None:
    """Rank methods on the same test cases: train and measure what is missing, then test and draw.

    The same command again does what is missing, after Ctrl-C, a crash, or with more seeds. OUT has
    the tables (comparison.txt, comparison.csv), the figure (comparison.png) and the records, from
    which `--records OUT/records` derives the ranking again without any run.

    Example: dualseg compare --out runs/compare --methods supervised dual:improved ua_mt --seeds 0 1

    Args:
        out: Folder of the runs and the ranking (runs/compare); with --records nothing is written
            without it.
        methods: METHOD or METHOD:PRESET; by default all, each with its usual preset, with --records
            all that are there.
        dataset: A name, or a folder that `dualseg data prepare` made.
        root: Folder of the data set's files, where it needs one.
        labeled: Number of labeled cases; by default the data set's usual one.
        seeds: Seeds of the runs; by default 0 1 2, with --records all that are there.
        profile: "smoke", "lesson" or "full".
        budget: "common": the same steps, batch, rate, schedule and augmentation for all; "own":
            those that each method was published with.
        budget_scale: Factor on the steps of every run.
        settings: Further settings of all runs as NAME=VALUE, e.g. learning_rate=0.01.
        records: Rank the records in these folders instead of running anything; --budget, --set and
            the like then have no meaning.
        resources: Where the runs are done.
        markdown: Print the tables as Markdown.
        dry_run: Only list the runs, and how far they are.
    """
    from ..many_runs.compare import plan_comparison
    from ..many_runs.comparison import compare_records
    from ..many_runs.sweep import check_data, progress_of, records_of, require_done, run_sweep
    from ..runs.records import load_records, publish

    if records:
        kept = [record for folder in records for record in load_records(folder)]
        comparison = compare_records(kept, dataset, labeled, profile, methods, seeds or ())
        print(_ranking(comparison, out, markdown))
        return
    out = Path("runs/compare") if out is None else out
    source = dataset if root is None else f"{dataset}={root}"
    members = plan_comparison(
        out,
        methods,
        source,
        labeled,
        SEEDS if seeds is None else seeds,
        profile,
        budget,
        budget_scale,
        settings,
    )
    check_data(members)
    if dry_run:
        print(progress_of(members))
        return
    with held(out):
        failed = run_sweep(members, resources, out / "jobs")
        done = [member for member in members if member.finished]
        for member in done:
            publish(member.run.folder, out / "records")
        if len({member.group for member in done}) > 1:
            first = members[0].experiment
            comparison = compare_records(records_of(done), first.dataset, first.labeled, profile)
            print(_ranking(comparison, out, markdown))
    require_done(members, failed)


def _ranking(comparison: Comparison, out: Path | None, markdown: bool) -> str:
    """The tables; with a folder, these and the figure are also written there."""
    from ..many_runs.comparison_plot import describe_comparison, plot_ranking
    from ..many_runs.comparison_table import comparison_csv, comparison_text, costs_of
    from ..plotting.style import save

    costs = costs_of(comparison)
    text = comparison_text(comparison, costs, markdown)
    if out is not None:
        plain = comparison_text(comparison, costs) if markdown else text
        files = {"txt": f"{plain}\n", "csv": comparison_csv(comparison, costs)}
        for ending, content in files.items():
            write_atomically(out / f"comparison.{ending}", content.encode())
        save(plot_ranking(comparison), out / "comparison.png", describe_comparison(comparison))
    return text
