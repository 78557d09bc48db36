"""Settings that refuse what cannot work: every field is checked against its own annotation.

NumPy's numbers, and lists where a tuple is asked for, are taken and become plain Python values, so
that settings are equal after a way through JSON, a notebook's parameters or a loop over an array.
"""

from __future__ import annotations

import math
import types
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from ..errors import DualsegError, brief


@dataclass(frozen=True)
class Range:
    """The numbers that a setting may take, both ends among them: `Annotated[int, Range(1)]`."""

    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class Settings:
    """Base of every class of settings, a frozen dataclass whose annotations are kept.

    Known annotations are bool, int, float, str, `Literal` of texts, a class, tuples of these,
    `... | None`, and `Annotated` with a `Range`.

    Raises
    ------
    DualsegError
        For a value that is not of its field's type, or is outside its range; an infinite number
        and NaN always are.
    """

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self), include_extras=True).items():
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, _taken(kind, value))
            except (ValueError, OverflowError):
                raise DualsegError(
                    f"{name}: expected {_wanted(kind)}, found {brief(value)}."
                ) from None


def _taken(kind: Any, value: Any) -> Any:
    """`value` as a plain value of the type `kind`; raises ValueError where it is none."""
    if isinstance(value, np.generic):
        value = value.item()
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        number, limits = _taken(parts[0], value), parts[1]
        _require(limits.low <= number <= limits.high)
        return number
    if origin in (Union, types.UnionType):
        return None if value is None else _taken(parts[0], value)
    if origin is tuple:
        _require(isinstance(value, tuple | list | np.ndarray))
        kinds = parts[:1] * len(value) if parts[-1] is ... else parts
        _require(len(kinds) == len(value))
        return tuple(_taken(each, item) for each, item in zip(kinds, value, strict=True))
    if origin is Literal:
        _require(isinstance(value, str) and value in parts)
        return str(value)
    if kind is float:
        _require(isinstance(value, int | float) and not isinstance(value, bool))
        _require(math.isfinite(value))
        return float(value)
    _require(isinstance(value, kind) and (kind is bool or not isinstance(value, bool)))
    return value


def _require(condition: bool) -> None:
    if not condition:
        raise ValueError


def _wanted(kind: Any) -> str:
    """The type in words, for an error's sentence."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        number, limits = _wanted(parts[0]), parts[1]
        if math.isinf(limits.high):
            return f"{number} of at least {limits.low:g}"
        return f"{number} from {limits.low:g} to {limits.high:g}"
    if origin in (Union, types.UnionType):
        return f"{_wanted(parts[0])} or None"
    if origin is tuple:
        count = "values" if parts[-1] is ... else f"{len(parts)} values"
        return f"{count}, each {_wanted(parts[0])}"
    if origin is Literal:
        return f"one of {', '.join(sorted(parts))}"
    names = {bool: "True or False", int: "a whole number", float: "a finite number", str: "a text"}
    return names.get(kind) or f"settings of the type {kind.__name__}"
