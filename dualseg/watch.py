"""A table of runs that keeps itself up to date, in a terminal and in a notebook."""

from __future__ import annotations

import html
import os
import shutil
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from tyro.conf import Positional

from .errors import require
from .run_status import OVER, STATES, WINDOW, Status, WatchedFolder
from .text import columns

HEADER = ("run", "settings", "state", "steps", "loss", "steps/s", "time", "ends", "Dice %")
BLOCKS, ASCII = "█░…", "#-~"  # done, to do, left out
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
        tensorboard: Mirror logs and results to event files in this folder, for `tensorboard
            --logdir`.
    """
    require(every > 0, "every", "seconds above 0", every)
    runs = WatchedFolder(folder)
    mirror = None
    if tensorboard:
        from .event_files import Mirror

        mirror = Mirror(tensorboard)
    notebook = _in_notebook()
    show = _notebook_view(terms) if notebook else _terminal_view(terms, once)
    try:
        while True:
            now = time.time()
            found = runs.refresh(now)
            show(found, now)
            if mirror:
                mirror.update({name: watched.run for name, watched in runs.runs.items()})
            if once or (found and all(status.state in OVER for status in found)):
                break
            time.sleep(every)
    except KeyboardInterrupt:  # the usual way to end it
        print()  # after the ^C that a terminal shows
    if notebook:
        _show_losses(runs)


def table(
    found: Sequence[Status],
    now: float,
    width: int,
    terms: bool = False,
    marks: str = BLOCKS,
    height: int | None = None,
) -> list[str]:
    """The lines of the table, none longer than `width`.

    A run takes one line where all columns fit, else two. `now` is the time that the estimates
    count from, in seconds since 1970; `marks` are the characters of the bars. Where the table would
    have more than `height` lines, only so many runs are shown, those in training first.
    """
    shown = sorted(found, key=lambda status: STATES.index(status.state)) if height else found
    lines = _rows(found, now, width, terms, marks)
    count = len(found)
    while height and count and len(lines) >= height:
        count -= 1
        lines = _rows(shown[:count], now, width, terms, marks)
    counts = Counter(status.state for status in found)
    parts = [f"{counts[state]} {state}" for state in STATES if counts[state]] or ["no runs yet"]
    part = f"{count} of {len(found)} shown; " if count < len(found) else ""
    lines.append(f"{_clock(now, seconds=True)}: {part}{', '.join(parts)}")
    return [line[:width].rstrip() for line in lines]


def _rows(found: Sequence[Status], now: float, width: int, terms: bool, marks: str) -> list[str]:
    """The lines of the table but the last."""
    if not found:
        return []
    rows = [_cells(status, now, marks) for status in found]
    top, *lines = columns([HEADER, *rows]).split("\n")
    shown, height = [top], 1
    if max(map(len, [top, *lines])) > width:
        pairs = [line for row in rows for line in _in_two_lines(row)]
        others = columns([["", *row[1:]] for row in pairs]).split("\n")
        rest = max(map(len, others))
        pairs = [[_shortened(row[0], max(width - rest, 12), marks), *row[1:]] for row in pairs]
        lines, shown, height = columns(pairs).split("\n"), [], 2
    for k, status in enumerate(found):
        shown += [line for line in lines[height * k : height * (k + 1)] if line]
        below = status.problem or (_terms(status) if terms else "")
        shown += textwrap.wrap(
            below,
            width,
            initial_indent="    ",
            subsequent_indent="    ",
            break_on_hyphens=False,
        )
    return shown


def _cells(status: Status, now: float, marks: str) -> list[str]:
    """A row under HEADER."""
    if status.problem:
        return [status.name, "", status.state, *[""] * 6]
    loss, rate = status.means.get("loss"), status.rate
    spent = "" if status.seconds is None else f"took {duration(status.seconds)}"
    left = status.seconds_left
    return [
        status.name,
        status.settings,
        status.state,
        f"{progress_bar(status.step, status.total, marks)} {status.step}/{status.total}",
        "" if loss is None else f"{loss:.4g}",
        "" if rate is None else f"{rate:.3g}" if rate < 100 else f"{rate:.0f}",
        (spent if status.state in OVER else "") if left is None else f"{duration(left)} left",
        "" if left is None else _clock(now + left, today=now),
        "" if status.dice is None else f"{status.dice:.2f}",
    ]


def _in_two_lines(row: list[str]) -> tuple[list[str], list[str]]:
    """A row for a narrow terminal, with words in place of the header."""
    name, settings, state, steps, loss, rate, spent, ends, dice = row
    bar, _, count = steps.partition(" ")
    rate = f", {rate}/s" if rate else ""
    outcome = f"Dice {dice}" if dice else f"ends {ends}" if ends else ""
    below = ["  " + settings, f"loss {loss}" if loss else "", count + rate, outcome]
    return [name, state, bar, spent], below


def _shortened(text: str, width: int, marks: str) -> str:
    """Without its middle, if too long: names of runs differ at their ends."""
    if len(text) <= width:
        return text
    start = (width - 1) // 2
    return text[:start] + marks[2] + text[len(text) - (width - 1 - start) :]


def _terms(status: Status) -> str:
    return ", ".join(f"{n} {value:.3g}" for n, value in status.means.items() if n != "loss")


def progress_bar(step: int, total: int, marks: str = BLOCKS) -> str:
    """Ten characters; full only for the last step."""
    done = min(BAR * step // max(total, 1), BAR)
    return marks[0] * done + marks[1] * (BAR - done)


def duration(seconds: float) -> str:
    """A length of time, short enough for a column: "80 s", "13 min", "3.5 h", "2.1 days"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def _clock(moment: float, today: float | None = None, seconds: bool = False) -> str:
    """Time of day; with the day of the week if that is not the day of `today`."""
    then = time.localtime(moment)
    text = time.strftime("%H:%M:%S" if seconds else "%H:%M", then)
    other_day = today is not None and time.localtime(today)[:3] != then[:3]
    return time.strftime("%a ", then) + text if other_day else text


def _terminal_view(terms: bool, once: bool) -> Callable[[Sequence[Status], float], None]:
    """Print the table, in a terminal over the one before."""
    live = sys.stdout.isatty() and not once
    try:
        BLOCKS.encode(sys.stdout.encoding or "ascii")
        marks = BLOCKS
    except UnicodeEncodeError:  # a Windows console or file in an old code page
        marks = ASCII
    if live and os.name == "nt":
        os.system("")  # makes older Windows consoles understand the cursor codes below
    before = (0, (0, 0))  # lines of the last table, and the size of the terminal then

    def show(found: Sequence[Status], now: float) -> None:
        nonlocal before
        size = shutil.get_terminal_size()
        width = size.columns - 1  # the last column makes some terminals begin a new line
        if not live:
            print("\n".join(table(found, now, width, terms, marks)), flush=True)
            return
        lines = table(found, now, width, terms, marks, max(size.lines - 1, 2))
        height, old_size = before
        # After a change of size nobody knows how the old lines were wrapped.
        start = f"\x1b[{height}A" if size == old_size else "\x1b[2J\x1b[H" if height else ""
        print(start + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J", end="", flush=True)
        before = len(lines), size

    return show


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def _notebook_view(terms: bool) -> Callable[[Sequence[Status], float], None]:
    """Display the table, each time in place of the one before."""
    from IPython.display import HTML, display

    handle = display(HTML(""), display_id=True)
    return lambda found, now: handle.update(HTML(html_table(found, now, terms)))


def html_table(found: Sequence[Status], now: float, terms: bool = False) -> str:
    """The table as HTML; `now` in seconds since 1970."""
    header = [*HEADER, *(["terms"] if terms else [])]
    rows = []
    for status in found:
        row = _cells(status, now, BLOCKS) + ([_terms(status)] if terms else [])
        if status.problem:
            row[1] = status.problem
        rows.append("".join(f"<td>{html.escape(cell)}</td>" for cell in row))
    head = "".join(f"<th>{name}</th>" for name in header)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    note = f"{_clock(now, seconds=True)}; loss, steps/s and terms over the last {WINDOW} steps"
    return f"<table><tr>{head}</tr>{body}</table><p>{note if found else 'no runs here yet'}</p>"


def _show_losses(runs: WatchedFolder) -> None:
    """Display the loss curves of all runs with a log."""
    from IPython.display import Image, display

    from .charts import plot_losses
    from .display import png

    readable = {w.name: w.run for w in runs.runs.values() if not w.status(time.time()).problem}
    logs = {name: log for name, run in readable.items() if (log := run.log())}
    if logs:
        ends = (
            f"{name} from {log[0]['loss']:.2f} to {log[-1]['loss']:.2f}"
            for name, log in logs.items()
        )
        alt = f"Total loss over the training steps: {'; '.join(ends)}."
        display(Image(data=png(plot_losses(logs)), format="png", alt=alt))
