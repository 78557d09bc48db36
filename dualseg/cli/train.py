"""The command `dualseg train`."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..config.experiment import Experiment
from ..errors import DualsegError

TIME_IS_UP = 75  # exit status EX_TEMPFAIL of sysexits.h: the same again later


def train_command(argv: Sequence[str]) -> Callable[..., int]:
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
            max_minutes: Stop after this many minutes with a checkpoint and exit status 75, to go on
                with --resume: for jobs whose time is limited.
        """
        return _train(out, experiment, resume, max_minutes)

    return train


def _starting_point(argv: Sequence[str]) -> Experiment:
    """With --resume the run's own settings, else those that `argv` names."""
    from ..runs.run import Run

    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("out", "dataset", "profile", "method", "preset"):
        parser.add_argument(f"--{name}", nargs="?")
    parser.add_argument("--resume", action="store_true")
    named = {name: v for name, v in vars(parser.parse_known_args(argv)[0]).items() if v is not None}
    out, resume = named.pop("out", None), named.pop("resume")
    if resume and out and Run(out).exists:
        return Run(out).experiment()
    return Experiment(**named)


def _train(out: Path, experiment: Experiment, resume: bool, max_minutes: float | None) -> int:
    from ..runs.run import Run
    from ..training.loop import fit

    run = Run(out)
    if resume and not run.exists:
        raise DualsegError(
            f"{out}: expected a run to go on with, found none; check the path, or start it without "
            "--resume."
        )
    already = resume and run.finished
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
