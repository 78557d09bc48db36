"""Checkers of notebook 01: orientation, lists, crops that do not leak."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...data.recipe import Recipe
from ...errors import DualsegError
from .core import Hint, exercise, expect, numbers

Index = tuple[int, int, int]


@exercise
def exercise_1(index_in_ras: Callable[[Index, Index], Index]) -> None:
    """The index of a voxel after its array was turned from LPS to RAS."""
    toy = (3, 4, 2)
    asked = [(toy, (2, 1, 1)), (toy, (0, 0, 0)), (toy, (1, 3, 0)), ((5, 6, 3), (1, 4, 2))]
    for shape, index in asked:
        array = np.arange(np.prod(shape)).reshape(shape)
        turned = array[::-1, ::-1]
        found = tuple(numbers(index_in_ras(index, shape), "three numbers (i, j, k)", 3))
        want = tuple(int(k) for k in np.argwhere(turned == array[index])[0])
        expect(
            found != (shape[0] - index[0], shape[1] - index[1], index[2]),
            "indices start at 0: the last voxel of an axis of 3 has the index 2",
        )
        expect(
            found != index, "nothing is flipped; to the left becomes to the right on the first axis"
        )
        expect(
            found[2] == index[2], "the third axis runs to the head in both, so it is not flipped"
        )
        expect(
            shape == toy or found != (2 - index[0], 3 - index[1], index[2]),
            f"right for an array of shape {toy}, not for {shape}: take the lengths from `shape`",
        )
        expect(
            found == want,
            f"voxel {index} of an array of shape {shape} gets the index {want}, found {found}",
        )


@exercise
def exercise_2(leaking: Callable[[list, list, list], set]) -> None:
    """Test ids whose patient is trained on."""
    train, test = ["p1", "p2", "p3"], ["p3", "p4", "p5", "p6", "p8", "p9"]
    found = leaking(train, test, [("p1", "p4"), ("p5", "p2"), ("p6", "p7"), ("p8", "p9")])
    expect(
        isinstance(found, set | frozenset | list | tuple) and not isinstance(found, str),
        "expected a set of ids",
    )
    found = set(found)
    expect("p3" in found, "p3 stands in both lists, with no repeat needed; that leaks too")
    expect("p4" in found, "p4 is the same patient as p1, who is trained on")
    expect("p5" in found, "the pair (p5, p2) is written the other way round; p5 leaks as p4 does")
    expect("p6" not in found, "p6 repeats p7, who is in no list; that is no leak")
    expect(
        not found & {"p8", "p9"},
        "p8 and p9 are one patient, but both are test ids: nothing of this patient is trained on",
    )
    expect(not found & {"p1", "p2"}, "only test ids were asked for, not those that are trained on")
    expect(found == {"p3", "p4", "p5"}, f"expected p3, p4 and p5, found {sorted(found)}")
    expect(
        set(leaking(["a"], ["b"], [])) == set(),
        "with nothing in common and no repeats the set is empty",
    )


@exercise
def exercise_3(recipe: Recipe) -> None:
    """A recipe that crops without looking at the label and normalizes over the whole scan."""
    expect(isinstance(recipe, Recipe), "expected a Recipe, as Recipe(crop=...)")
    rng = np.random.default_rng(0)
    image = rng.normal(50, 10, (1, 256, 256, 88)).astype(np.float32)
    boxes = []
    for corner in (60, 150):
        label = np.zeros(image.shape[1:], np.uint8)
        label[corner : corner + 40, corner : corner + 30, 20:60] = 1
        boxes.append(_box(recipe, image, label))
    expect(
        boxes[0] == boxes[1],
        "with another label the box lies elsewhere: it is cut round the label, so it leaks",
    )
    sides = tuple(side.stop - side.start for side in boxes[0])
    expect(sides != image.shape[1:], "nothing is cropped; the task asks for 192 x 192 x 80 voxels")
    expect(sides == (192, 192, 80), f"expected a crop of 192 x 192 x 80 voxels, found {sides}")
    expect(
        recipe.normalise == "zscore", f'normalise: expected "zscore", found {recipe.normalise!r}'
    )
    expect(
        recipe.statistics == "scan",
        "statistics of the crop: mean and deviation are to be those of the whole scan",
    )


def _box(recipe: Recipe, image: np.ndarray, label: np.ndarray) -> tuple:
    try:
        return recipe.box(image, label, np.random.default_rng(0), "the scan")
    except DualsegError as error:
        raise Hint(str(error)) from error
