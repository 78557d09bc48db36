"""Asking a process to stop: Ctrl-C, SIGTERM, and SIGUSR1, with which Slurm warns before a kill."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# Windows has no SIGUSR1.
STOP_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)]
_PR_SET_PDEATHSIG = 1  # from Linux's prctl.h


class Interrupted(KeyboardInterrupt):
    """The signal `number` asked the process to stop; `received` are all signals that came."""

    def __init__(self, number: int, received: Sequence[int] = ()):
        super().__init__()
        self.number = number
        self.received = received


def exit_status(stop: KeyboardInterrupt) -> int:
    """Exit status of a stopped process: 130 after Ctrl-C, 143 after SIGTERM, 138 after SIGUSR1."""
    return 128 + (stop.number if isinstance(stop, Interrupted) else signal.SIGINT)


def end_with_parent() -> None:
    """Let Linux send this process a SIGTERM when its parent ends, also when that is killed.

    So a training writes a checkpoint and ends instead of going on alone.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))


@contextmanager
def stop_raised() -> Iterator[None]:
    """Within it, SIGTERM and SIGUSR1 raise `Interrupted` at once, as Ctrl-C KeyboardInterrupt."""

    def stop(number: int, frame: Any) -> None:
        raise Interrupted(number, [number])

    with _handled(STOP_SIGNALS, stop):
        yield


@contextmanager
def stop_noted() -> Iterator[list[int]]:
    """Within it, Ctrl-C, SIGTERM and SIGUSR1 are only noted, for a loop to look at between steps.

    Yields the list of those that came. A second one may come while the first is answered: Slurm's
    SIGTERM says that a job must end, and the warning after it says that the job may start again. A
    second Ctrl-C stops at once. Only a main thread gets signals; elsewhere none is ever noted.
    """
    received: list[int] = []

    def note(number: int, frame: Any) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    with _handled([signal.SIGINT, *STOP_SIGNALS], note):
        yield received


@contextmanager
def _handled(numbers: list[int], handler: Callable[[int, Any], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
