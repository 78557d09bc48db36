"""Checks that teach: `check_close` for the text, and one checker for each exercise of a notebook.

The checkers of notebook NN are the functions of `dualseg.course.checkers.nbNN`.
"""

import lazy_loader

from .core import Hint, check_close, exercise, expect

__getattr__, __dir__, _ = lazy_loader.attach(__name__, {f"nb{k:02}" for k in range(13)})
__all__ = ["Hint", "check_close", "exercise", "expect"]
