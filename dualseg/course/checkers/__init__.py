"""Checks that teach: `check_close` for the text, and one checker for each exercise of a notebook.

The checkers of notebook NN are the functions of `dualseg.course.checkers.nbNN`.
"""

from .core import Hint, check_close, exercise, expect

__all__ = ["Hint", "check_close", "exercise", "expect"]
