"""What all checks share: they say what was found, what was expected, and why."""

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

    Parameters
    ----------
    got, want : number, array or tensor
        Of the same shape; NaN agrees with NaN alone.
    why : str
        What the agreement shows.
    tolerance : float
        Relative to `want`, and absolute below 1.

    Raises
    ------
    AssertionError
        If shapes or values differ, with both values and `why`.
    ValueError
        For an empty `why`.
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
    """Raise `Hint` with the text `hint` unless `right`; for checkers."""
    if not right:
        raise Hint(hint)


def number(answer: Any, what: str = "a number") -> float:
    """An answer (int, float, a NumPy number, a tensor of one element) as a float.

    Raises `Hint` with `what` for anything else: True, a text and a list are no numbers.
    """
    value = np.asarray(answer.detach().cpu() if hasattr(answer, "detach") else answer)
    single = value.size == 1 and not isinstance(answer, list | tuple)
    expect(single and value.dtype.kind in "iuf", f"expected {what}, found {brief(answer)}")
    return float(value.item())


def whole(answer: Any, what: str = "a whole number") -> int:
    """An answer as a whole number: 8, 8.0, np.ceil(7.5) and torch.tensor(8) are 8."""
    value = number(answer, what)
    expect(value.is_integer(), f"expected {what}, found {value:g}")
    return int(value)


def parts(answer: Any, what: str, count: int | None = None) -> list:
    """An answer (list, tuple, array, tensor) as a list; raises `Hint` if it has not `count`."""
    ordered = isinstance(answer, Iterable) and not isinstance(answer, str | Mapping | Set)
    ordered = ordered and getattr(answer, "ndim", 1) != 0  # a tensor of no dimension has no parts
    expect(ordered, f"expected {what}, found {brief(answer)}")
    found = list(answer)
    right = count is None or len(found) == count
    expect(right, f"expected {what}: {count} in all, found {len(found)}")
    return found


def numbers(answer: Any, what: str, count: int | None = None) -> list[float]:
    """An answer as a list of numbers, see `parts`."""
    return [number(part, f"{what}, each a number") for part in parts(answer, what, count)]


def truths(answer: Any, what: str, count: int) -> list[bool]:
    """An answer as a list of True and False (of Python, NumPy or torch, or 1 and 0)."""
    found = [part.item() if hasattr(part, "item") else part for part in parts(answer, what, count)]
    for value in found:
        expect(value in (0, 1), f"expected {what}, each True or False, found {brief(value)}")
    return [bool(value) for value in found]


def word(answer: Any, known: Iterable[str]) -> str:
    """An answer as one of the known words; case, spaces, "-" and "_" do not matter."""
    plain = {_plain(one): one for one in known}
    found = _plain(answer) if isinstance(answer, str) else ""
    expect(found in plain, f"expected one of {', '.join(plain.values())}, found {brief(answer)}")
    return plain[found]


def names(answer: Any, known: Iterable[str]) -> set[str]:
    """An answer (set, list or tuple of known words) as a set."""
    expect(
        isinstance(answer, set | frozenset | list | tuple),
        'expected a set of names, as {"supervised", "contrast"}',
    )
    return {word(one, known) for one in answer}


def _plain(text: str) -> str:
    return " ".join(text.casefold().replace("_", " ").replace("-", " ").split())


def agrees(found: float, want: float, digits: int) -> bool:
    """Whether `found` is `want`, exactly or rounded to `digits` after the point.

    A difference of a tenth of the last digit is allowed.
    """
    return abs(found - want) <= 0.1 * 10**-digits or bool(np.isclose(found, round(want, digits)))


def exercise(checker: Callable[..., None]) -> Callable[..., None]:
    """Make a checker of a function, named like `exercise_1`, that calls `expect` on answers.

    For a right answer the checker prints that it is right. For an answer that is not filled in
    (`...`, or a function that returns `...` or None) it prints "not yet", so that a student copy
    runs from top to bottom. For a wrong answer it raises `Hint`, also where the student's function
    stops with an error, or where the answer is of another kind than asked for.
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
    """The hint for an error, which the student's function or the look at an answer raised."""
    raised = type(error).__name__ + (f": {error}" if str(error) else "")
    files = {answer.__code__.co_filename for answer in answers if hasattr(answer, "__code__")}
    lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in files]
    if lines:
        return f"your function stopped with {raised}, at the line `{lines[-1].line}`"
    return f"the answer cannot be used ({raised}); which kind of value does the task ask for?"


def _watched(answer: Any) -> Any:
    """The answer; raises `_Unfilled` if it is not filled in (a function: when it is called)."""
    if not callable(answer):
        return _filled(answer)

    def ask(*args: Any, **kwargs: Any) -> Any:
        return _filled(answer(*args, **kwargs))

    return ask


def _filled(answer: Any) -> Any:
    if answer is ... or answer is None:
        raise _Unfilled
    return answer
