"""Tables as text, and text on terminals that lack a sign."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Sequence


def spell_signs_out() -> None:
    """Let a standard output that cannot show a sign print "+-" for "±", and "?" for others."""
    if hasattr(sys.stdout, "reconfigure"):
        codecs.register_error("spelled_out", _spelled_out)
        sys.stdout.reconfigure(errors="spelled_out")


def _spelled_out(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    signs = error.object[error.start : error.end]
    return "".join("+-" if sign == "±" else "?" for sign in signs), error.end


def columns(rows: Sequence[Sequence[str]], indent: str = "") -> str:
    """Rows of cells as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "\n".join(indent + line for line in lines)


def as_markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as a Markdown table, the first being its header."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
