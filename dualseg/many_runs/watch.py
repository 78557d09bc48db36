"""A table of runs that keeps itself up to date, in a terminal and in a notebook (by rich)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich import get_console
from rich.console import Console
from rich.live import Live
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text
from tyro.conf import Positional

from ..errors import require
from ..runs.status import OVER, STATES, Status, WatchedFolder, WatchedRun

HEADER = ("run", "settings", "state", "steps", "loss", "steps/s", "time", "ends", "Dice %")
PAIRS = ((0, 1), (2, 4), (3, 5), (6, 7), (8,))  # columns that share one in a narrow terminal
BAR = 10  # characters


def watch(
    folder: Positional[str | Path] = "runs",
    every: float = 5.0,
    once: bool = False,
    terms: bool = False,
    tensorboard: Path | None = None,
) -> None:
    """Watch the runs below a folder: how far, how good, how long still; never changes a run.

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
                found = runs.refresh()
                show(table(found, time.time(), console, terms))
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
    from .tensorboard import Mirror  # here, because it needs PyTorch

    mirrors: dict[str, Mirror] = {}

    def update(runs: Sequence[WatchedRun]) -> None:
        for run in runs:
            mirrors.setdefault(run.name, Mirror(run.run, folder / run.name)).update()

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


def table(found: Sequence[Status], now: float, console: Console, terms: bool = False) -> Table:
    """Draw the table of runs, those in training first.

    Where the console is too narrow for all columns, two of them share one, below each other.

    Parameters
    ----------
    found : sequence of Status
        The runs.
    now : float
        The time that estimates count from, in seconds since 1970.
    console : rich.console.Console
        Where the table will be shown.
    terms : bool, optional
        Whether to add a line with the terms of each run's loss.

    Returns
    -------
    rich.table.Table
    """
    found = sorted(found, key=lambda status: (STATES.index(status.state), status.name))
    marks = "#-" if console.options.ascii_only else "█░"
    rows = [_cells(status, now, marks) for status in found]
    runs = _rows(HEADER, rows)
    wide = console.options.update(max_width=10_000)
    if Measurement.get(console, wide, runs).maximum > console.width:
        runs = _rows(_paired(HEADER), [_paired(row) for row in rows])
    counts = Counter(status.state for status in found)
    parts = [f"{counts[state]} {state}" for state in STATES if counts[state]] or ["no runs yet"]
    view = Table.grid()
    view.add_row(Text(f"{time.strftime('%H:%M:%S', time.localtime(now))}: {', '.join(parts)}"))
    if found:
        view.add_row(runs)
    for status in found:
        note = status.problem or (_terms(status) if terms else "")
        if note:
            view.add_row(Text(f"{status.name}: {note}", overflow="fold"))
    return view


def _rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    runs = Table(box=None, pad_edge=False)
    for column, name in enumerate(header):  # only names and settings may be folded
        runs.add_column(Text(name), overflow="fold", no_wrap=column > 0 and len(header) < 9)
    for row in rows:
        runs.add_row(*map(Text, row))  # as it is: a name in [brackets] is no style
    return runs


def _paired(row: Sequence[str]) -> list[str]:
    return ["\n".join(row[column] for column in pair) for pair in PAIRS]


def _cells(status: Status, now: float, marks: str) -> list[str]:
    """A row under HEADER."""
    if status.problem:
        return [status.name, "", status.state, *[""] * 6]
    loss, rate, left = status.means.get("loss"), status.rate, status.seconds_left
    spent = ""
    if status.state in OVER and status.seconds is not None:
        spent = f"took {duration(status.seconds)}"
    return [
        status.name,
        status.settings,
        status.state,
        f"{_bar(status.step, status.total, marks)} {status.step}/{status.total}",
        "" if loss is None else f"{loss:.4g}",
        "" if rate is None else f"{rate:.3g}" if rate < 100 else f"{rate:.0f}",
        spent if left is None else f"{duration(left)} left",
        "" if left is None else _clock(now + left, now),
        "" if status.dice is None else f"{status.dice:.2f}",
    ]


def _terms(status: Status) -> str:
    return ", ".join(f"{n} {value:.3g}" for n, value in status.means.items() if n != "loss")


def _bar(step: int, total: int, marks: str) -> str:
    """Ten characters; full only for the last step."""
    done = min(BAR * step // max(total, 1), BAR)
    return marks[0] * done + marks[1] * (BAR - done)


def duration(seconds: float) -> str:
    """Write a length of time in words that fit a column: "80 s", "13 min", "3.5 h", "2.1 days"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def _clock(moment: float, today: float) -> str:
    """Time of day; with the day of the week if that is not the day of `today`."""
    then = time.localtime(moment)
    return time.strftime("%H:%M" if time.localtime(today)[:3] == then[:3] else "%a %H:%M", then)


def _show_losses(runs: WatchedFolder) -> None:
    """Display the loss curves of all runs with a readable log."""
    from IPython.display import Image, display

    from ..course.display import png
    from ..plotting.charts import plot_losses

    readable = {w.name: w.run for w in runs.runs.values() if not w.status(time.time()).problem}
    logs: dict[str, Sequence[dict]] = {
        name: log for name, run in readable.items() if (log := run.log())
    }
    if logs:
        ends = [
            f"{n} from {log[0]['loss']:.2f} to {log[-1]['loss']:.2f}" for n, log in logs.items()
        ]
        alt = f"Total loss over the training steps: {'; '.join(ends)}."
        display(Image(data=png(plot_losses(logs)), format="png", alt=alt))
