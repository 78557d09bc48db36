"""The command `dualseg`: a thin layer over the package's functions and config dataclasses."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tyro.conf import OmitArgPrefixes
from tyro.extras import SubcommandApp

from .._util.signals import exit_status, stop_raised
from .._util.tables import columns, spell_signs_out
from ..data.spec import Profile
from ..errors import DualsegError
from ..many_runs.watch import watch
from . import data, notebooks, paper, records
from .compare import compare
from .evaluate import evaluate, predict
from .paper import explain, gradients, networks
from .sweep import sweep
from .train import train_command

DESCRIPTION = (
    "Dual-network semi-supervised 3D medical image segmentation. Not for clinical use. "
    "Each command has an example in its own --help; start with `dualseg demo`."
)
GROUPS: dict[str, tuple[str, dict[str, Any]]] = {
    "data": ("Data sets", data.COMMANDS),
    "paper": ("What the paper prints", paper.COMMANDS),
    "records": ("Records of runs", records.COMMANDS),
    "notebooks": ("Notebooks", notebooks.COMMANDS),
}


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


def demo(profile: Profile = "lesson", out: Path = Path("runs/demo")) -> None:
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status. One sentence for what the user can put right."""
    argv = sys.argv[1:] if argv is None else list(argv)
    spell_signs_out()
    # Of the other commands, whose mistakes it looks up in `train`, too, which has no defaults then.
    warnings.filterwarnings("ignore", "The field `experiment`", UserWarning, "tyro")
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
    except OSError as error:
        if error.filename is None:  # not about a file, so nothing that a user can put right
            raise
        print(f"dualseg: {error.filename}: {error.strerror}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print(
            "\ndualseg: stopped. What was finished is kept; the same command goes on from there (a "
            "training: with --resume).",
            file=sys.stderr,
        )
        return exit_status(stop)


def _app(argv: Sequence[str]) -> SubcommandApp:
    app = SubcommandApp()
    train = train_command(argv)
    for command in (info, demo, train, watch, evaluate, predict, sweep, compare):
        app.command(command)
    for command in (explain, gradients, networks):
        app.command(command)
    for name, (title, commands) in GROUPS.items():
        _add_group(app, name, title, commands)
    return app


def _add_group(app: SubcommandApp, name: str, title: str, commands: dict[str, Any]) -> None:
    """Add a group of commands by name; a dictionary among them is a group of its own."""
    group = SubcommandApp()
    for part, command in commands.items():
        if callable(command):
            group.command(command, name=part)
        else:
            _add_group(group, part, "From raw files", command)
    app.command(group, name=name, help=f"{title}: {', '.join(commands)}.")
