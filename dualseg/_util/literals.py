"""Values that come as text: a setting of the command line, a parameter of a notebook."""

from __future__ import annotations

import ast
from contextlib import suppress
from typing import Any

from ..errors import require


def read_as(usual: Any, text: Any, name: str) -> Any:
    """Read a text as a value of the type that the usual value has.

    Parameters
    ----------
    usual : str, bool, int, float, tuple or list
        The usual value.
    text : object
        A Python literal as text, also "true" and "false"; a value that is no text stays as it is.
    name : str
        What messages call the value.

    Returns
    -------
    object
        A whole number may stand for a float.

    Raises
    ------
    DualsegError
        If the value is of another type.
    """
    value = text
    if isinstance(text, str) and not isinstance(usual, str):
        with suppress(ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            value = ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
    if isinstance(usual, float) and type(value) is int:
        value = float(value)
    require(
        type(value) is type(usual),
        name,
        f"a value of type {type(usual).__name__}, like {usual!r}",
        text,
    )
    return value
