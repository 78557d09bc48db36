"""What students typically write in notebook 02, and words of the hint that it must get."""

import numpy as np

from dualseg.evaluation.metrics import compare_masks


def directed(source, target):
    a, b = np.argwhere(source), np.argwhere(target)
    return np.linalg.norm(a[:, None] - b[None], axis=-1).min(axis=1)


def of_both(function):
    return lambda p, t: function(directed(p, t), directed(t, p))


def counted_twice(first, second):
    both = ~np.isnan(first) & ~np.isnan(second)
    left_out = np.isnan(first).sum() + np.isnan(second).sum()
    return first[both].mean(), second[both].mean(), left_out


WRONG = {
    "exercise_1": [
        ((lambda dice: (dice / 100) / (2 - dice / 100),), "in percent"),
        ((lambda dice: dice / (2 - dice),), "divide it by 100 first"),
        ((lambda dice: 100 * 2 * dice / (100 + dice),), "the other direction"),
        ((lambda dice: dice / 2,), "belongs to Jaccard 50 %"),
        ((lambda dice: f"{dice / 2} %",), "expected one number, found"),
        ((lambda dice: dice * 0.75,), "right for 66.67 %, but"),
    ],
    "exercise_2": [
        ((lambda p, t: compare_masks(p, t)["hd95"],), "pooled percentile"),
        ((of_both(lambda there, back: np.percentile(there, 95)),), "only one direction"),
        ((of_both(lambda there, back: np.percentile(back, 95)),), "only one direction"),
        ((of_both(lambda there, back: max(there.max(), back.max())),), "that is the maximum"),
        (
            (of_both(lambda a, b: (np.percentile(a, 95) + np.percentile(b, 95)) / 2),),
            "mean of the two",
        ),
        ((of_both(lambda there, back: there),), "one number"),
    ],
    "exercise_3": [
        ((15,), "whole voxel"),
        ((7.5,), "whole number"),
        (("8",), "expected a whole number of voxels, like 5, found '8'"),
        ((True,), "whole number"),
        ((0,), "at least 1 voxel"),
        ((7,), "too small"),
        ((4,), "did you take 90 %"),
        ((9,), "not the smallest"),
    ],
    "exercise_4": [
        (
            (lambda a, b: (np.nanmean(a), np.nanmean(b), int(np.isnan(b).sum())),),
            "still uses cases",
        ),
        (
            (
                lambda a, b: (
                    a[~np.isnan(b)].mean(),
                    np.nan_to_num(b).mean(),
                    int(np.isnan(b).sum()),
                ),
            ),
            "NaN became 0",
        ),
        (
            (lambda a, b: (a[~np.isnan(b)].mean(), b[~np.isnan(b)].mean(), 0),),
            "3 cases have no distance",
        ),
        (
            (
                lambda a, b: (
                    a[~np.isnan(b)].mean(),
                    b[~np.isnan(b)].mean(),
                    np.isnan(b).sum(),
                ),
            ),
            "with the methods swapped",
        ),
        ((lambda a, b: (np.nanmean(a), np.nanmean(b)),), "3 in all, found 2"),
        ((counted_twice,), "do not count it twice"),
    ],
}
