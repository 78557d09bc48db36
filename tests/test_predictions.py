"""Predictions in notebooks: a number before the cell, the computed one after it, and a score."""

import pytest
import torch

from dualseg.course import predict, predictions
from dualseg.errors import DualsegError


@pytest.fixture(autouse=True)
def no_score(monkeypatch):
    monkeypatch.setattr(predictions, "_revealed", {})


def test_without_a_number_the_notebook_runs_on(capsys):
    predict("Dice, in percent?", ..., near=5).reveal(33.333)
    predict("Voxels?", ..., near=5).reveal(3456)
    out = capsys.readouterr().out
    assert "Computed: 3456." in out
    assert "Write your number in place of ..." in out
    assert "Computed: 33.3. You wrote no number." in out


def test_the_score_counts_each_question_once(capsys):
    for guess in (10, 30):  # a cell that is run twice, with another number
        predict("Dice, in percent?", guess, near=5).reveal(torch.tensor(33.0))
    predict("Which share?", 0.5, near=0.1).reveal(0.75)
    lines = capsys.readouterr().out.splitlines()
    assert "You wrote 10, computed: 33: not near (within 5). Your score: 0 of 1." in lines[1]
    assert "You wrote 30, computed: 33: near (within 5). Your score: 1 of 1." in lines[3]
    assert "not near (within 0.1). Your score: 1 of 2." in lines[5]


@pytest.mark.parametrize("guess", ["30", True, [1], None])
def test_a_prediction_is_a_number(guess):
    with pytest.raises(DualsegError, match="guess: expected a number in place of ..., found"):
        predict("Dice, in percent?", guess, near=5)
