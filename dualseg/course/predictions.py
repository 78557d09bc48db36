"""Predictions: a reader writes a number down before a cell computes it, and keeps the score."""

from __future__ import annotations

from types import EllipsisType
from typing import Any

from ..errors import DualsegError, brief
from .checkers.core import Hint, number

_revealed: dict[str, bool] = {}  # of this kernel: question, and whether the prediction was near


class Prediction:
    """A reader's prediction of one number. See `predict`."""

    def __init__(self, question: str, guess: float | None, near: float) -> None:
        self.question, self.guess, self.near = question, guess, near

    def reveal(self, value: Any) -> None:
        """Print the computed number beside the predicted one, and the score so far.

        Parameters
        ----------
        value : number
            What was computed; a tensor of one element, too.
        """
        computed = number(value)
        shown = f"{computed:.3g}" if abs(computed) < 1000 else f"{computed:.0f}"
        if self.guess is None:
            print(f"{self.question} Computed: {shown}. You wrote no number.")
            return
        _revealed[self.question] = abs(self.guess - computed) <= self.near
        verdict = "near" if _revealed[self.question] else "not near"
        print(
            f"{self.question} You wrote {self.guess:g}, computed: {shown}: {verdict} "
            f"(within {self.near:g}). Your score: {sum(_revealed.values())} of {len(_revealed)}."
        )


def predict(question: str, guess: float | EllipsisType, *, near: float) -> Prediction:
    """Write down a number before it is computed; `reveal` shows both, and keeps the score.

    Parameters
    ----------
    question : str
        What is asked, with the unit, as "Dice of the two discs, in percent?".
    guess : float or ...
        The reader's number; `...` stands for none yet, and the notebook runs on.
    near : float
        How far off a prediction may be and still count, in the unit of the number.

    Returns
    -------
    Prediction
        Call its `reveal(value)` where the number is computed.

    Raises
    ------
    DualsegError
        For a guess that is no number.
    """
    if guess is ...:
        print(f"{question} Write your number in place of ... and run the cell again.")
        return Prediction(question, None, near)
    try:
        written = number(guess)
    except Hint as hint:
        raise DualsegError(
            f"guess: expected a number in place of ..., found {brief(guess)}."
        ) from hint
    print(f"{question} You wrote {written:g}.")
    return Prediction(question, written, near)
