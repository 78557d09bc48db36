"""The commands `dualseg records ...`."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from ..errors import DualsegError


def records_publish(
    run: Positional[Path],
    to: Path = Path("figures/records"),
    split: str = "test",
    pictures: Path | None = None,
) -> None:
    """Copy a run's record to the folder that site, notebooks and figures read.

    Example: dualseg records publish runs/la_dual --pictures figures

    Args:
        run: Folder of the run.
        to: Folder of the published records.
        split: "test" or "val".
        pictures: Copy the run's pictures to this folder, too.
    """
    from ..runs.records import publish

    print(f"published: {publish(run, to, split, pictures)}")


def records_table(folder: Path = Path("figures/records"), markdown: bool = False) -> None:
    """Print the published records as one table.

    Example: dualseg records table --markdown

    Args:
        folder: Folder of the records.
        markdown: As a Markdown table.
    """
    from ..runs.records import load_records, table

    print(table(load_records(folder), markdown))
    if not markdown:
        print(
            "Distances in voxels of the full grid; ± is the standard error over cases; a * marks "
            "settings other than the profile's."
        )


def records_beside_paper(
    dataset: str = "la",
    profile: str = "full",
    folder: Path = Path("figures/records"),
    markdown: bool = False,
) -> None:
    """Print the paper's comparison (Tables 1-3) and the published runs of a profile in one table.

    Example: dualseg records beside-paper --dataset la --profile lesson

    Args:
        dataset: "la", "pancreas" or "brats2019".
        profile: Of the runs; only "full" has the paper's sizes.
        folder: Folder of the records, and of those in its folders "compare" and DATASET.
        markdown: As a Markdown table.
    """
    from ..paper.comparison import beside_paper
    from ..runs.records import load_records

    inner = filter(Path.is_dir, (folder / "compare", folder / dataset))
    records = [record for place in (folder, *inner) for record in load_records(place)]
    print(beside_paper(records, dataset, profile, markdown))
    if profile != "full":
        print(f"\nThe runs here are at {profile!r}: other networks and sizes than the paper's.")


def records_plot(out: Path, dataset: str = "la", folder: Path = Path("figures/records")) -> None:
    """Draw Dice and 95HD of every test case of all published runs on a data set, side by side.

    Example: dualseg records plot --folder figures/records/la --out scores.png

    Args:
        out: The PNG to write.
        dataset: Name of the data set.
        folder: Folder of the records.
    """
    _require_png(out)
    from ..plotting.charts import plot_comparison
    from ..plotting.style import save
    from ..runs.records import load_records

    kept = [r for r in load_records(folder) if r["split"] == "test"]
    records = [r for r in kept if r["config"]["dataset"] == dataset]
    if not records:
        raise DualsegError(f"{folder}: expected test records of {dataset!r}, found none.")
    means = ", ".join(f"{r['name']} {r['mean']['dice']:.1f}" for r in records)
    save(
        plot_comparison(records),
        out,
        alt=f"Dice and 95HD of every test case, run by run; mean Dice: {means}.",
    )
    print(f"{out}: {len(records)} runs drawn.")


def records_plot_steps(
    out: Path, folders: tuple[Path, ...], dataset: str = "la", labeled: int = 8
) -> None:
    """Draw test Dice over the number of steps and over the learning rate, a line for each method.

    Methods that were trained in one way only are not drawn.

    Example: dualseg records plot-steps --out steps.png --folders figures/records/budget

    Args:
        out: The PNG to write.
        folders: Folders of records at the profile `lesson` that differ in method, seed, number of
            steps, learning rate and schedule only.
        dataset: Name of the data set.
        labeled: Number of labeled cases.
    """
    _require_png(out)
    from ..plotting.charts import plot_over_steps
    from ..plotting.style import save
    from ..runs.records import load_records, require_same

    wanted = {"dataset": dataset, "labeled": labeled, "profile": "lesson"}
    records = [
        record
        for folder in folders
        for record in load_records(folder)
        if record["split"] == "test" and wanted.items() <= record["config"].items()
    ]
    named = ", ".join(str(folder) for folder in folders)
    if not records:
        raise DualsegError(f"{named}: expected records of {dataset!r} at 'lesson', found none.")
    # Else a line would join runs that differ in more than it says.
    require_same(records, ("resolution", "patch", "filters", "head_dropout", "flips", "validation"))
    means = ", ".join(f"{r['name']} {r['mean']['dice']:.1f}" for r in records)
    alt = f"Test Dice over training steps and over learning rates; {means}."
    try:
        figure = plot_over_steps(records)
    except ValueError as error:
        raise DualsegError(
            f"{named}: expected records of one method at several rates or numbers of steps, "
            "found none."
        ) from error
    save(figure, out, alt=alt)
    print(f"{out}: drawn from {len(records)} records.")


def _require_png(path: Path) -> None:
    if path.suffix != ".png":
        raise DualsegError(f"{path}: expected a name that ends in .png.")


COMMANDS = {
    "publish": records_publish,
    "table": records_table,
    "plot": records_plot,
    "plot-steps": records_plot_steps,
    "beside-paper": records_beside_paper,
}
