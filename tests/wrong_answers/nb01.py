"""What students typically write in notebook 01, and words of the hint that it must get."""

from dualseg.data.recipe import Recipe


def off_by_one(index, shape):
    return shape[0] - index[0], shape[1] - index[1], index[2]


def all_axes(index, shape):
    return tuple(side - 1 - k for side, k in zip(shape, index, strict=True))


def one_axis(index, shape):
    return shape[0] - 1 - index[0], index[1], index[2]


def shape_of_the_toy(index, shape):
    return 2 - index[0], 3 - index[1], index[2]


def one_way(train, test, repeats):
    return set(train) & set(test) | {b for a, b in repeats if a in train and b in test}


def only_ids(train, test, repeats):
    return set(train) & set(test)


def only_repeats(train, test, repeats):
    pairs = repeats + [(b, a) for a, b in repeats]
    return {b for a, b in pairs if a in train and b in test}


def every_repeat(train, test, repeats):
    named = {case for pair in repeats for case in pair}
    return (named | set(train)) & set(test)


def also_two_of_the_test(train, test, repeats):
    pairs = repeats + [(b, a) for a, b in repeats]
    known = {*train, *test}
    return set(train) & set(test) | {b for a, b in pairs if a in known and b in test}


def both_halves(train, test, repeats):
    pairs = repeats + [(b, a) for a, b in repeats]
    leaks = {case for a, b in pairs if a in train and b in test for case in (a, b)}
    return leaks | set(train) & set(test)


MIDDLE = {"crop": "centre", "size": (192, 192, 80)}

WRONG = {
    "exercise_1": [
        ((off_by_one,), "indices start at 0"),
        ((all_axes,), "third axis runs to the head"),
        ((one_axis,), "gets the index"),
        ((shape_of_the_toy,), "take the lengths from `shape`"),
        ((lambda index, shape: index,), "nothing is flipped"),
        ((lambda index, shape: index[0],), "three numbers"),
        ((lambda index, shape: (*index, 0),), "3 in all, found 4"),
        ((lambda index, shape: shape - index,), "your function stopped with TypeError"),
    ],
    "exercise_2": [
        ((one_way,), "the other way round"),
        ((only_ids,), "same patient as p1"),
        ((only_repeats,), "stands in both lists"),
        ((every_repeat,), "in no list"),
        ((also_two_of_the_test,), "both are test ids"),
        ((both_halves,), "only test ids"),
        ((lambda train, test, repeats: 3,), "a set of ids"),
    ],
    "exercise_3": [
        ((Recipe(normalise="zscore", crop="label", size=(192, 192, 80)),), "round the label"),
        ((Recipe(normalise="zscore"),), "nothing is cropped"),
        ((Recipe(normalise="zscore", crop="centre", size=(192, 192, 88)),), "192 x 192 x 80"),
        ((Recipe(normalise="zscore", statistics="crop", **MIDDLE),), "of the whole scan"),
        ((Recipe(**MIDDLE),), "normalise"),
        (("centre",), "expected a Recipe"),
    ],
}
