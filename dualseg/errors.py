"""The one exception that a user should ever read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class DualsegError(Exception):
    """Something the user can put right: one sentence with what was expected, found, and a way out.

    The command line prints the sentence and exits with 1; anything else is a bug and keeps its
    traceback.
    """


def brief(value: Any) -> str:
    """A value as a sentence shows it, not longer than a line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def require(condition: bool, name: str, expected: str, found: Any) -> None:
    """Raise DualsegError about the argument or setting `name` unless the condition holds."""
    if not condition:
        raise DualsegError(f"{name}: expected {expected}, found {brief(found)}.")


def require_one_of(name: str, found: Any, known: Iterable[str]) -> None:
    """Raise DualsegError unless `found` is one of the known names."""
    known = sorted(known)
    require(found in known, name, "one of " + ", ".join(known), found)
