"""Checks that teach: `check_close` for the text, and one checker for each exercise of a notebook.

The checkers of notebook NN are the functions of `dualseg.course.checkers.nbNN`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
