"""How every check speaks: what was found, what was expected, and why."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

import numpy as np

from ...errors import brief


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


def number(answer: Any, what: str = "a number") -> float:
    """A number of any kind (int, float, one of NumPy, a tensor of one element) as a plain one.

    Raises `Hint` with `what` for anything else; True, a text and a list are no numbers.
    """
    value = np.asarray(answer.detach().cpu() if hasattr(answer, "detach") else answer)
    single = value.size == 1 and not isinstance(answer, list | tuple)
    expect(single and value.dtype.kind in "iuf", f"expected {what}, found {brief(answer)}")
    return float(value.item())


def whole(answer: Any, what: str = "a whole number") -> int:
    """As `number`, for one without a fraction: 8, 8.0, np.ceil(7.5) and torch.tensor(8) are 8."""
    value = number(answer, what)
    expect(value.is_integer(), f"expected {what}, found {value:g}")
    return int(value)


def parts(answer: Any, what: str, count: int | None = None) -> list:
    """The elements of a list, tuple, array or tensor; raises `Hint` if they are not `count`."""
    ordered = isinstance(answer, Iterable) and not isinstance(answer, str | Mapping | Set)
    ordered = ordered and getattr(answer, "ndim", 1) != 0  # a tensor of no dimension has no parts
    expect(ordered, f"expected {what}, found {brief(answer)}")
    found = list(answer)
    right = count is None or len(found) == count
    expect(right, f"expected {what}: {count} in all, found {len(found)}")
    return found


def numbers(answer: Any, what: str, count: int | None = None) -> list[float]:
    """As `parts`, each of them a number."""
    return [number(part, f"{what}, each a number") for part in parts(answer, what, count)]


def truths(answer: Any, what: str, count: int) -> list[bool]:
    """As `parts`, each of them True or False, of Python, NumPy or torch, or 1 or 0."""
    found = [part.item() if hasattr(part, "item") else part for part in parts(answer, what, count)]
    for value in found:
        expect(value in (0, 1), f"expected {what}, each True or False, found {brief(value)}")
    return [bool(value) for value in found]


def word(answer: Any, known: Iterable[str]) -> str:
    """The one of the known words that is meant; case, spaces, "-" and "_" do not matter."""
    plain = {_plain(one): one for one in known}
    found = _plain(answer) if isinstance(answer, str) else None
    expect(found in plain, f"expected one of {', '.join(plain.values())}, found {brief(answer)}")
    return plain[found]


def names(answer: Any, known: Iterable[str]) -> set[str]:
    """A set, list or tuple of known words as a set."""
    expect(
        isinstance(answer, set | frozenset | list | tuple),
        'expected a set of names, as {"supervised", "contrast"}',
    )
    return {word(one, known) for one in answer}


def _plain(text: str) -> str:
    return " ".join(text.casefold().replace("_", " ").replace("-", " ").split())


def agrees(found: float, want: float, digits: int) -> bool:
    """Whether `found` is `want`, or that rounded to `digits` after the point.

    Off by a tenth of the last digit that is asked for is near enough.
    """
    return abs(found - want) <= 0.1 * 10**-digits or bool(np.isclose(found, round(want, digits)))


def exercise(checker: Callable[..., None]) -> Callable[..., None]:
    """Make a checker named `exercise_1` of a function that calls `expect` on an answer.

    Called with an unfilled answer (`...`, or a function that gives back `...` or None) it prints
    "not yet", so that a student copy runs from top to bottom; with a right one it prints so. With
    a wrong answer it raises `Hint`, also where the student's function stops with an error, which
    the checker calls, or where the answer is of a kind that cannot be looked at.
    """
    title = checker.__name__.replace("_", " ").capitalize()

    @functools.wraps(checker)
    def check(*answers: Any) -> None:
        try:
            checker(*map(_watched, answers))
        except _Unfilled:
            print(
                f"{title}: not yet: replace the ... above (a function has to `return` its answer) "
                "and run both cells again."
            )
        except Hint:
            raise
        except Exception as error:
            raise Hint(f"{title}: {_stopped(error, answers)}") from error
        else:
            print(f"{title}: right.")

    return check


def _stopped(error: Exception, answers: tuple) -> str:
    """What to say of an error that a student's function, or a look at the answer, ended in."""
    raised = type(error).__name__ + (f": {error}" if str(error) else "")
    files = {answer.__code__.co_filename for answer in answers if hasattr(answer, "__code__")}
    lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in files]
    if lines:
        return f"your function stopped with {raised}, at the line `{lines[-1].line}`"
    return f"the answer cannot be used ({raised}); which kind of value does the task ask for?"


def _watched(answer: Any) -> Any:
    """The answer, filled; a function also gives back filled answers alone."""
    if not callable(answer):
        return _filled(answer)

    def ask(*args: Any, **kwargs: Any) -> Any:
        return _filled(answer(*args, **kwargs))

    return ask


def _filled(answer: Any) -> Any:
    if answer is ... or answer is None:
        raise _Unfilled
    return answer
