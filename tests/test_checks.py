"""The checks of the text and the frame of every exercise's checker."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

from dualseg.course.checkers import Hint, check_close, exercise, expect
from dualseg.course.checkers.core import agrees, names, number, numbers, parts, truths, whole, word

RIGHT = sorted(path.stem for path in (Path(__file__).parent / "right_answers").glob("nb*.py"))


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


# Answers of every kind


@pytest.mark.parametrize("value", [8, 8.0, np.int64(8), np.float32(8), np.array([8]), np.ceil(7.5)])
def test_a_number_of_any_kind_is_the_same_number(value):
    for kind in (value, torch.tensor(value), torch.tensor(value, requires_grad=False)):
        assert number(kind) == whole(kind) == 8
        assert (type(number(kind)), type(whole(kind))) == (float, int)
    assert number(torch.tensor(2.5, requires_grad=True)) == 2.5


@pytest.mark.parametrize(
    "value", [True, np.True_, torch.tensor(True), "8", [8], (8,), {8}, np.ones(2), len, 1 + 2j]
)
def test_what_is_no_number_is_said(value):
    with pytest.raises(Hint, match="expected hours, found"):
        number(value, "hours")
    with pytest.raises(Hint, match="expected hours, found"):
        whole(value, "hours")


@pytest.mark.parametrize("value", [7.5, np.nan, np.inf])
def test_a_whole_number_has_no_fraction(value):
    with pytest.raises(Hint, match="expected voxels, found"):
        whole(value, "voxels")


@pytest.mark.parametrize("make", [list, tuple, np.array, torch.tensor])
def test_lists_arrays_and_tensors_are_the_same_answer(make):
    assert numbers(make([1.0, 2.0]), "two numbers", 2) == [1, 2]
    assert truths(make([True, False]), "two answers", 2) == [True, False]
    with pytest.raises(Hint, match="expected three numbers: 3 in all, found 2"):
        numbers(make([1.0, 2.0]), "three numbers", 3)


@pytest.mark.parametrize("value", ["ab", {1, 2}, {1: 2}, 3, torch.tensor(3), np.array(3)])
def test_what_has_no_order_or_parts_is_said(value):
    with pytest.raises(Hint, match="expected a list, found"):
        parts(value, "a list")


def test_words_are_compared_without_case_and_marks():
    assert word(" Cross-Pseudo  loss", ["cross_pseudo_loss", "mse"]) == "cross_pseudo_loss"
    assert names(("MSE", "mse"), ["mse", "kl"]) == {"mse"}
    for other in ("dice", 3, [1], None):
        with pytest.raises(Hint, match="expected one of mse, kl, found"):
            word(other, ["mse", "kl"])


@pytest.mark.parametrize(
    ("found", "right"),
    [
        (0.0426, True),
        (0.04, True),
        (0.043, True),
        (0.04259, True),
        (0.05, False),
        (0.045, False),
        (0.41, False),
    ],
)
def test_an_answer_may_be_rounded_to_the_digits_asked_for_or_more(found, right):
    assert agrees(found, 0.04258, 2) is right


def test_an_error_in_the_answer_is_a_hint_with_exercise_error_and_line():
    def divides(x):
        return x / 0

    with pytest.raises(Hint) as error:
        exercise_7(divides, 8)
    assert str(error.value) == (
        "Exercise 7: your function stopped with ZeroDivisionError: division by zero, at the line "
        "`return x / 0`"
    )
    with pytest.raises(Hint, match="Exercise 7: the answer cannot be used .TypeError"):
        exercise_7(4, 8)


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_in_other_words_are_right(name, capsys):
    """RIGHT in tests/right_answers/nbNN.py: exercise -> answers."""
    checkers = importlib.import_module(f"dualseg.course.checkers.{name}")
    right = importlib.import_module(f"right_answers.{name}").RIGHT
    for title, variants in right.items():
        for answers in variants:
            getattr(checkers, title)(*answers)
            assert capsys.readouterr().out.endswith(": right.\n"), (title, answers)
