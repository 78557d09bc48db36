"""What students typically write in notebook 04, and words of the hint that it must get."""

import numpy as np


def unpaired(first, second):
    means = first.mean(0), second.mean(0)
    error = np.sqrt(sum(m.var(ddof=1) / len(m) for m in means))
    return means[1].mean() - means[0].mean(), error


def gains(first, second):
    return second.mean(0) - first.mean(0)


def by_seeds(first, second):
    return gains(first, second).mean(), gains(first, second).std(ddof=1) / np.sqrt(len(second))


WRONG = {
    "exercise_1": [
        ((10,), "that is the sum"),
        ((12,), "plus one"),
        ((18,), "round up"),
        ((1584,), "size - patch"),
        ((24,), "one axis has 2 windows"),
        ((27,), "along y you have 3"),
        ((48,), "along z you have 4"),
        ((30,), "along x there are 3"),
        ((36.5,), "whole number"),
    ],
    "exercise_2": [
        ((unpaired,), "that is unpaired"),
        ((lambda a, b: (gains(b, a).mean(), 1.0),), "the sign"),
        ((lambda a, b: (gains(a, b).mean(), gains(a, b).std(ddof=1)),), "divide it by the root"),
        ((lambda a, b: (gains(a, b).mean(), gains(a, b).std() / 2),), "ddof=1"),
        ((by_seeds,), "a number of seeds"),
        ((lambda a, b: (b[0] - a[0]).mean(),), "two numbers"),
        ((lambda a, b: ((b[0] - a[0]).mean(), 1.0),), "expected a mean gain"),
    ],
    "exercise_3": [
        ((lambda validation, test: test.mean(1).max(),), "chosen on the test cases"),
        ((lambda validation, test: validation.mean(1).max(),), "it was chosen on"),
        ((lambda validation, test: test.mean(),), "by validation"),
        ((lambda validation, test: test[validation.mean(1).argmax()],), "one number"),
        ((lambda validation, test: test[validation[:, 0].argmax()].mean(),), "at one validation"),
        ((lambda validation, test: test[validation[:, -1].argmax()].mean(),), "at one validation"),
        ((lambda validation, test: test[validation.max(1).argmax()].mean(),), "the mean over all"),
        ((lambda validation, test: test[validation.min(1).argmax()].mean(),), "the mean over all"),
        ((lambda validation, test: test[validation.mean(1).argmax()].max(),), "expected 72"),
    ],
    "exercise_4": [
        ((4,), "two times in three"),
        ((2,), "less than every second time"),
        ((6,), "a smaller number"),
        ((4.5,), "whole number"),
    ],
}
