"""What the losses ask of their arguments, and the precision in which they compute.

`@checked(logits=class_maps, target=labels)` above a loss says what its arguments must be, so that
the body below holds nothing but the equation.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

from ..errors import require, require_one_of

# Takes an argument's name, its value, and the function's first argument, which sets the shape.
Check = Callable[[str, Any, Any], None]
P = ParamSpec("P")
R = TypeVar("R")


def lift(values: Tensor) -> Tensor:
    """At least float32: bfloat16 is too coarse for a logarithm or a sum over a million voxels."""
    return values if values.dtype == torch.float64 else values.float()


def checked(**checks: Check) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Check the named arguments of a function at each call, before its body runs."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @wraps(function)
        def with_checks(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            first = next(iter(bound.arguments.values()))
            for name, check in checks.items():
                check(name, bound.arguments[name], first)
            return function(*args, **kwargs)

        return with_checks

    return decorate


def same_shape(name: str, value: Tensor, first: Tensor) -> None:
    """The first argument's shape: one that only broadcasts would give a number, and a wrong one."""
    expected = f"shape {tuple(first.shape)} like the first argument"
    require(value.shape == first.shape, name, expected, tuple(value.shape))


def class_maps(name: str, value: Tensor, first: Tensor) -> None:
    """Logits or probabilities (B, C, X, Y, Z) with C >= 2, all of one shape."""
    shape = tuple(value.shape)
    require(len(shape) == 5 and shape[1] > 1, name, "shape (B, C >= 2, X, Y, Z)", shape)
    same_shape(name, value, first)


def voxels(name: str, value: Tensor, first: Tensor) -> None:
    """(B, X, Y, Z), the batch and the voxels of the first argument."""
    shape = first.shape[:1] + first.shape[-3:]
    require(value.shape == shape, name, f"shape {tuple(shape)}", tuple(value.shape))


def labels(name: str, value: Tensor, first: Tensor) -> None:
    """`voxels` that hold class numbers."""
    voxels(name, value, first)
    require(value.dtype == torch.int64, name, "class numbers of type int64", value.dtype)


def mask(name: str, value: Tensor, first: Tensor) -> None:
    """`voxels` that are true or false."""
    voxels(name, value, first)
    require(value.dtype == torch.bool, name, "a mask of type bool", value.dtype)


def one_of(*known: str) -> Check:
    """One of these names."""
    return lambda name, value, _: require_one_of(name, value, known)


def where(condition: Callable[[Any], bool], expected: str) -> Check:
    """A value that meets the condition, as the words `expected` say it; of a tensor its shape."""

    def check(name: str, value: Any, _: Any) -> None:
        found = tuple(value.shape) if isinstance(value, Tensor) else value
        require(condition(found), name, expected, found)

    return check


percent = where(lambda value: 0 <= value <= 100, "a number from 0 to 100")
