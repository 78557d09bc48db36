"""A table of runs that keeps itself up to date, in a terminal and in a notebook (by rich)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich import get_console
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text
from tyro.conf import Positional

from ..errors import DualsegError, require
from ..runs.status import OVER, STATES, Status, WatchedFolder, WatchedRun

HEADER = ("run", "state", "steps", "loss", "steps/s", "time", "Dice %")


def watch(
    folder: Positional[str | Path] = "runs",
    every: float = 5.0,
    once: bool = False,
    terms: bool = False,
    tensorboard: Path | None = None,
) -> None:
    """Watch the runs below a folder: progress, loss, Dice, time left; never changes a run.

    Example: dualseg watch runs --terms

    Ends when all runs are finished, or with Ctrl-C (in a notebook: interrupt), which stops no
    training. Loss and steps a second are means of the last 20 steps. Of runs on other machines, the
    age of the log tells which are "stopped". In a notebook, the loss curves are drawn at the end.

    Args:
        folder: Folder with runs, at any depth.
        every: Seconds between two looks.
        once: Show the table once and end.
        terms: Show each term of the loss and each measurement, too.
        tensorboard: Write logs and results as event files into this folder, for `tensorboard
            --logdir`.
    """
    require(every > 0, "every", "seconds above 0", every)
    runs = WatchedFolder(folder)
    mirror = _mirror(tensorboard) if tensorboard else lambda found: None
    console = get_console()
    with _view(console, once) as show:
        try:
            while True:
                found = runs.refresh(time.time())
                show(table(found, time.time(), terms))
                mirror([runs.runs[status.name] for status in found if not status.problem])
                if once or (found and all(status.state in OVER for status in found)):
                    break
                time.sleep(every)
        except KeyboardInterrupt:  # the usual way to end it
            pass
    if console.is_jupyter:
        _show_losses(runs)


def _mirror(folder: Path) -> Callable[[Sequence[WatchedRun]], None]:
    """A function that brings the runs' event files up to date."""
    try:
        from .tensorboard import Mirror  # here, because it needs PyTorch
    except ImportError as error:
        raise DualsegError(
            f"tensorboard: expected the package TensorBoard, found no {error.name}; in the "
            'project\'s folder, run `python -m pip install -c constraints.txt -e ".[tensorboard]"`.'
        ) from error
    mirrors: dict[str, Mirror] = {}

    def update(runs: Sequence[WatchedRun]) -> None:
        try:
            for run in runs:
                if run.name not in mirrors:
                    mirrors[run.name] = Mirror(run.run, folder / run.name)
                mirrors[run.name].update()
        except OSError as error:
            raise DualsegError(
                f"{folder}: could not be written ({error.strerror or error}); free some space or "
                "choose another --tensorboard."
            ) from error

    return update


@contextmanager
def _view(console: Console, once: bool) -> Iterator[Callable[[Table], object]]:
    """How to show a table: in place of the one before, or (to a file) below it."""
    if console.is_jupyter:
        from IPython.display import display

        yield display(Text(), display_id=True).update
    elif console.is_interactive and not once:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda view: live.update(view, refresh=True)
    else:
        yield console.print


def table(found: Sequence[Status], now: float, terms: bool = False) -> Table:
    """Draw the table of runs, those in training first.

    Parameters
    ----------
    found : sequence of Status
        The runs.
    now : float
        Time of the table, in seconds since 1970.
    terms : bool, optional
        Whether to add a line with the terms of each run's loss.

    Returns
    -------
    rich.table.Table
    """
    runs = Table(box=None, pad_edge=False)
    for name in HEADER:  # only names and settings may be folded
        runs.add_column(Text(name), overflow="fold", no_wrap=name != "run")
    view = Table.grid()
    counts = Counter(status.state for status in found)
    parts = [f"{counts[state]} {state}" for state in STATES if counts[state]] or ["no runs yet"]
    view.add_row(Text(f"{time.strftime('%H:%M:%S', time.localtime(now))}: {', '.join(parts)}"))
    if found:
        view.add_row(runs)
    for status in sorted(found, key=lambda status: (STATES.index(status.state), status.name)):
        runs.add_row(*map(Text, _cells(status)))  # as it is: a name in [brackets] is no style
        note = status.problem
        if terms and not note:
            values = ((name, value) for name, value in status.means.items() if name != "loss")
            note = ", ".join(f"{name} {value:.3g}" for name, value in values)
        if note:
            view.add_row(Text(f"{status.name}: {note}", overflow="fold"))
    return view


def _cells(status: Status) -> list[str]:
    """A row under HEADER."""
    if status.problem:
        return [status.name, status.state]
    loss, rate, left = status.means.get("loss"), status.rate, status.seconds_left
    spent = ""
    if status.state in OVER and status.seconds is not None:
        spent = f"took {duration(status.seconds)}"
    return [
        f"{status.name}\n{status.settings}",
        status.state,
        f"{status.step}/{status.total}",
        "" if loss is None else f"{loss:.4g}",
        "" if rate is None else f"{rate:.3g}" if rate < 100 else f"{rate:.0f}",
        spent if left is None else f"{duration(left)} left",
        "" if status.dice is None else f"{status.dice:.2f}",
    ]


def duration(seconds: float) -> str:
    """Write a length of time in words that fit a column: "80 s", "13 min", "3.5 h", "2.1 days"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def _show_losses(runs: WatchedFolder) -> None:
    """Display the loss curves of all runs with a readable log."""
    from IPython.display import Image, display

    from ..course.display import png
    from ..plotting.charts import plot_losses

    logs: dict[str, Any] = {}
    for name, watched in runs.runs.items():
        if not watched.status(time.time()).problem and (log := watched.run.log()):
            logs[name] = log
    if logs:
        ends = "; ".join(
            f"{n} from {log[0]['loss']:.2f} to {log[-1]['loss']:.2f}" for n, log in logs.items()
        )
        alt = f"Total loss over the training steps: {ends}."
        display(Image(data=png(plot_losses(logs)), format="png", alt=alt))
