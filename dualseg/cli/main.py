"""The command `dualseg`: a thin layer over the package's functions and config dataclasses."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tyro.conf import OmitArgPrefixes, Positional
from tyro.extras import SubcommandApp

from .._util.signals import exit_status, stop_raised
from .._util.tables import columns, spell_signs_out
from ..config.experiment import Experiment
from ..errors import DualsegError
from ..many_runs.watch import watch
from . import data as cli_data, notebooks as cli_notebooks, records as cli_records
from .sweep import sweep

DESCRIPTION = (
    "Dual-network semi-supervised 3D medical image segmentation. Not for clinical use. "
    "Each command has an example in its own --help; start with `dualseg demo`."
)
TIME_IS_UP = 75  # exit status EX_TEMPFAIL of sysexits.h: the same again later


def info() -> None:
    """Is this environment good? Versions, device, cores; exits with 1 if something is missing.

    Example: dualseg info
    """
    from .._util.environment import check_environment

    rows, good = check_environment()
    print(columns(rows))
    if not good:
        raise DualsegError(
            "something is missing or too old: in the project's folder, run "
            "`python -m pip install -c constraints.txt -e .`."
        )


def demo(profile: str = "lesson", out: Path = Path("runs/demo")) -> None:
    """Train and measure "supervised" and "dual" (preset "improved") on the phantom, 4 labels.

    Example: dualseg demo --profile smoke

    Args:
        profile: "smoke" (a minute; tests the path, its Dice means nothing), "lesson" (five to
            seven minutes on a laptop) or "full" (a GPU).
        out: Folder for runs, records and pictures; an interrupted demo goes on there.
    """
    from .demo import demo as run_demo

    print(run_demo(profile, out))
    print(
        f"\nDistances are in voxels; ± is the standard error over test cases (one seed).\n"
        f"Records: {out}/*/record.json. Pictures: {out}/*.png and {out}/*/*.png"
    )


def _train_command(argv: Sequence[str]) -> Callable[..., int]:
    """The command `train` with the defaults of the data set, profile, method, preset `argv` names.

    So `dualseg train --dataset la --profile full --help` shows the values that it would use, and
    `--method` the settings of that method.
    """
    # Other commands need none, and are spared the import of the methods, which brings torch.
    start: Any = _starting_point(argv) if argv[:1] == ["train"] else None

    def train(
        out: Path,
        experiment: Experiment = start,
        resume: bool = False,
        max_minutes: float | None = None,
    ) -> int:
        """Train one method on one data set; the defaults are those of (data set, profile).

        Example: dualseg train --dataset la --root LA --labeled 8 --method dual --out runs/la_dual

        Args:
            out: Folder of the run.
            experiment: The run.
            resume: Go on with an interrupted run; its own settings are the defaults then.
            max_minutes: Stop after so many minutes with a checkpoint and the exit status 75, to go
                on with --resume: for jobs whose time is limited.
        """
        return _train(out, experiment, resume, max_minutes)

    return train


def _starting_point(argv: Sequence[str]) -> Experiment:
    """With --resume the run's own settings, else those that `argv` names."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("out", "dataset", "profile", "method", "preset"):
        parser.add_argument(f"--{name}", nargs="?")
    parser.add_argument("--resume", action="store_true")
    named = {name: v for name, v in vars(parser.parse_known_args(argv)[0]).items() if v is not None}
    out, resume = named.pop("out", None), named.pop("resume")
    if resume and out:
        from ..runs.run import Run

        if Run(out).exists:
            return Run(out).experiment()
    return Experiment(**named)


def _train(out: Path, experiment: Experiment, resume: bool, max_minutes: float | None) -> int:
    from ..runs.run import Run
    from ..training.loop import fit

    if resume and not Run(out).exists:
        raise DualsegError(
            f"{out}: expected a run to go on with, found none; check the path, or start it without "
            "--resume."
        )
    run = Run(out)
    already = resume and run.finished
    if not already or experiment != run.experiment():  # else nothing is asked of the data
        run = fit(experiment, out, resume, max_minutes=max_minutes)
    if already:
        print(f"{run.folder}: this run is finished; nothing to do.")
        return 0
    if not run.finished:
        print(
            f"{run.folder}: stopped after {max_minutes:g} minutes, with a checkpoint at step "
            f"{run.log()[-1]['step']} of {experiment.train.iterations}; go on with `dualseg train "
            f"--out {run.folder} --resume`."
        )
        return TIME_IS_UP
    done = run.info()["training"]
    print(
        f"{run.folder}: finished, {done['step']:.0f} steps in {done['seconds'] / 60:.1f} minutes, "
        f"{done['peak_memory_mb']:.0f} MB at the peak.\nNext: dualseg evaluate {run.folder}"
    )
    return 0


def evaluate(run: Positional[Path], split: str = "test", root: Path | None = None) -> None:
    """Measure a finished run on the full-resolution grid; writes its record and pictures.

    Example: dualseg evaluate runs/la_dual

    Args:
        run: Folder of the run.
        split: "test", or "val" for the cases held out by --validation.
        root: Folder of the data set, if it is not where the run was trained.
    """
    from ..evaluation.evaluate import evaluate as measure
    from ..runs.records import shown, table
    from ..runs.run import Run

    record = measure(run, split, root)
    print(table([record]))
    for name, part in record["classes"].items():
        error = part["standard_error"]["dice"]
        spread = "" if error is None else f" ± {shown(error)}"
        print(f"class {name}: Dice {shown(part['mean']['dice'])}{spread} %")
    print(
        f"Distances in voxels of the full grid; ± is the standard error over "
        f"{len(record['cases'])} cases.\nRecord: {Run(run).record_path(split)}\n"
        f"Pictures: {', '.join(str(path) for path in Run(run).pictures(split))}"
    )


def predict(
    run: Positional[Path],
    image: Positional[tuple[Path, ...]],
    out: Path,
    picture: Path | None = None,
    probabilities: bool = False,
) -> None:
    """Segment a scan with a finished run; the mask lies on the scan's own grid.

    Example: dualseg predict runs/la_dual scan.nii.gz --out mask.nii.gz --picture mask.png

    Args:
        run: Folder of the run.
        image: The scan: .nii, .nii.gz, .nrrd, .mha, or a folder with one DICOM series; where the
            run has several modalities, one for each, in their order.
        out: The mask to write, .nii or .nii.gz.
        picture: Also draw slices with the mask's contour to this PNG.
        probabilities: Also write the foreground probability beside the mask.
    """
    from ..evaluation.predict_scan import predict_scan

    for remark in predict_scan(run, image, out, picture, probabilities):
        print(f"note: {remark}.", file=sys.stderr)
    print(f"{out}: mask written. Not for clinical use.")
    if picture:
        print(f"{picture}: picture written.")


def networks() -> None:
    """Parameters and multiply-accumulates of both networks, beside the paper's figures.

    Example: dualseg networks
    """
    from ..paper.complexity import complexity_table

    print(complexity_table())


def explain(
    preset: str | None = None, dataset: str = "la", at: float = 0.0, method: str = "dual"
) -> None:
    """The losses of a method: equations, weights over training, gradients, disputed points.

    Example: dualseg explain --preset released

    Args:
        preset: One of the method's presets (listed at the end); without it, the first: "paper".
        dataset: The data set whose settings to take, as "la" or "pancreas" (alpha, gamma differ).
        at: The t = step / steps of the column "now".
        method: "dual", or another name in METHODS.
    """
    from ..paper.explain import explain as explanation

    print(explanation(preset, dataset, at, method))


def gradients(preset: str | None = None, dataset: str = "la", method: str = "dual") -> None:
    """Which network learns from which term, found by autograd; beside it the released program.

    Example: dualseg gradients --preset released

    Args:
        preset: As for `dualseg explain`.
        dataset: As for `dualseg explain`.
        method: As for `dualseg explain`.
    """
    from ..paper.explain import explain_gradients

    print(explain_gradients(preset, dataset, method))


def paper(table: Positional[str] = "", dataset: str | None = None) -> None:
    """The paper's tables as numbers, with remarks where its text says something else.

    Example: dualseg paper comparison --dataset la

    Args:
        table: Name of a table; without it, the tables are listed.
        dataset: Rows of one data set: "la", "pancreas" or "brats2019".
    """
    from ..paper.tables import TABLES, paper_remarks, paper_table

    if not table:
        print(columns(list(TABLES.items())))
        return
    rows = paper_table(table, dataset)
    shown = ([f"{v:.2f}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows)
    print(columns([list(rows[0]), *shown]))
    print("\nRemarks:", *paper_remarks(table), sep="\n- ")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status. One sentence for what the user can put right."""
    argv = sys.argv[1:] if argv is None else list(argv)
    spell_signs_out()
    try:
        with stop_raised():
            app, config = _app(argv), (OmitArgPrefixes,)
            return app.cli(prog="dualseg", description=DESCRIPTION, args=argv, config=config) or 0
    except DualsegError as error:
        print(f"dualseg: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `dualseg ... | head`
        sys.stdout = None
        return 1
    except KeyboardInterrupt as stop:
        print(
            "\ndualseg: stopped. What was finished is kept; the same command goes on from there (a "
            "training: with --resume).",
            file=sys.stderr,
        )
        return exit_status(stop)


TITLES = {
    "data": "Data sets",
    "prepare": "From raw files",
    "records": "Records of runs",
    "notebooks": "Notebooks",
}
GROUPS = {
    "data": {
        "list": cli_data.data_list,
        "fetch": cli_data.data_fetch,
        "prepare": cli_data.prepare_commands(),
        "check": cli_data.data_check,
        "export": cli_data.data_export,
    },
    "records": {
        "publish": cli_records.records_publish,
        "table": cli_records.records_table,
        "plot": cli_records.records_plot,
        "beside-paper": cli_records.records_beside_paper,
    },
    "notebooks": cli_notebooks.COMMANDS,
}


def _app(argv: Sequence[str]) -> SubcommandApp:
    app = SubcommandApp()
    for command in (info, demo, _train_command(argv), watch, evaluate, predict, sweep):
        app.command(command)
    for command in (explain, gradients, networks, paper):
        app.command(command)
    _add(app, GROUPS)
    return app


def _add(app: SubcommandApp, commands: dict[str, Any]) -> None:
    """Add functions by name; a dictionary is a group of its own."""
    for name, command in commands.items():
        if callable(command):
            app.command(command, name=name)
            continue
        group = SubcommandApp()
        _add(group, command)
        app.command(group, name=name, help=f"{TITLES[name]}: {', '.join(command)}.")
