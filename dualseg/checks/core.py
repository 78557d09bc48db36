"""How every check speaks: what was found, what was expected, and why."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np


class Hint(AssertionError):
    """An answer is not right yet; the text says what to look at. Shown without a traceback."""

    def _render_traceback_(self) -> list[str]:
        """IPython calls this in place of printing a traceback."""
        return [f"not right yet: {self}"]


class _Unfilled(Exception):
    """The answer is still the `...` of the student copy."""


def check_close(got: Any, want: Any, why: str, tolerance: float = 1e-6) -> None:
    """Check that two numbers or arrays agree, and say so in one line.

    `tolerance` is relative to `want`, and absolute below 1. NaN agrees with NaN alone. `why` says
    what the agreement shows. Raises AssertionError with both values and `why` if shape or values
    differ, ValueError for an empty `why`.
    """
    if not why.strip():
        raise ValueError("check_close needs a `why`: what does the agreement show?")
    found, wanted = _array(got), _array(want)
    if found.shape != wanted.shape:
        raise AssertionError(f"shape {found.shape} is not {wanted.shape}: {why}")
    near = np.isclose(found, wanted, rtol=tolerance, atol=tolerance, equal_nan=True)
    if not near.all():
        off = f"in {(~near).sum()} of {near.size} places, first: " if near.ndim else ""
        first = tuple(np.argwhere(~near)[0])
        raise AssertionError(f"{off}{found[first]:.10g} is not {wanted[first]:.10g}: {why}")
    what = f"{wanted:.6g}" if wanted.ndim == 0 else f"all {wanted.size} values"
    print(f"checked: {what}, {why}")


def _array(value: Any) -> np.ndarray:
    value = value.detach().cpu().double() if hasattr(value, "detach") else value  # a torch tensor
    return np.asarray(value, dtype=np.float64)


def expect(right: Any, hint: str) -> None:
    """In a checker: raise `Hint` with `hint` unless `right`."""
    if not right:
        raise Hint(hint)


def exercise(checker: Callable[..., None]) -> Callable[..., None]:
    """Make a checker named `exercise_1` of a function that calls `expect` on an answer.

    Called with an unfilled answer (`...`, or a function that gives back `...` or None) it prints
    "not yet", so that a student copy runs from top to bottom; with a wrong one it raises `Hint`;
    with a right one it prints so. Functions among the answers are called by the checker.
    """
    title = checker.__name__.replace("_", " ").capitalize()

    @functools.wraps(checker)
    def check(*answers: Any) -> None:
        try:
            checker(*map(_filled, answers))
        except _Unfilled:
            print(f"{title}: not yet: replace the ... above and run both cells again.")
        else:
            print(f"{title}: right.")

    return check


def _filled(answer: Any) -> Any:
    if answer is ... or answer is None:
        raise _Unfilled
    if not callable(answer):
        return answer

    def ask(*args: Any, **kwargs: Any) -> Any:
        return _filled(answer(*args, **kwargs))

    return ask
