"""The checks of the text and the frame of every exercise's checker."""

import numpy as np
import pytest
import torch

from dualseg.checks import Hint, check_close, exercise, expect


def test_check_close_says_what_agrees(capsys):
    check_close(0.1 + 0.2, 0.3, why="sums")
    check_close(torch.tensor([1.0, 2.0], requires_grad=True), np.array([1, 2]), why="both ways")
    check_close(float("nan"), np.nan, why="nothing to measure")
    assert capsys.readouterr().out.splitlines() == [
        "checked: 0.3, sums",
        "checked: all 2 values, both ways",
        "checked: nan, nothing to measure",
    ]


@pytest.mark.parametrize(
    ("got", "want", "words"),
    [
        (0.5, 0.75, "0.5 is not 0.75: halves"),
        (np.nan, 0.0, "nan is not 0: halves"),
        (0.0, np.nan, "0 is not nan"),
        ([1.0, 2.0, 4.0], [1.0, 3.0, 5.0], "in 2 of 3 places, first: 2 is not 3"),
        ([1.0], 1.0, "shape (1,) is not ()"),
        (1.00001, 1.0, "1.00001 is not 1"),
    ],
)
def test_check_close_refuses_with_both_values_and_why(got, want, words):
    with pytest.raises(AssertionError) as error:
        check_close(got, want, why="halves")
    assert words in str(error.value)
    assert "halves" in str(error.value)


def test_check_close_wants_a_reason():
    with pytest.raises(ValueError, match="why"):
        check_close(1, 1, why=" ")


def test_a_wider_tolerance_is_relative():
    check_close(101.0, 100.0, why="one percent", tolerance=0.01)
    with pytest.raises(AssertionError):
        check_close(102.0, 100.0, why="one percent", tolerance=0.01)


@exercise
def exercise_7(double, corners):
    expect(double(2) == 4, "twice 2 is 4")
    expect(corners == 8, "count the corners again")


def test_an_exercise_is_right_wrong_or_not_yet_done(capsys):
    exercise_7(lambda x: 2 * x, 8)
    assert capsys.readouterr().out == "Exercise 7: right.\n"
    for unfilled in ((..., 8), (lambda x: None, 8), (lambda x: ..., 8), (lambda x: 2 * x, ...)):
        exercise_7(*unfilled)
        assert "Exercise 7: not yet" in capsys.readouterr().out
    with pytest.raises(Hint, match="twice 2 is 4"):
        exercise_7(lambda x: x, 8)
    with pytest.raises(Hint, match="corners") as error:
        exercise_7(lambda x: 2 * x, 6)
    assert error.value._render_traceback_() == ["not right yet: count the corners again"]
