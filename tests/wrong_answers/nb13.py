"""What students typically write in notebook 13, and words of the hint that it must get."""

import numpy as np
from scipy.stats import t


def moved(teacher, student, alpha, steps, keep=None):
    keep = alpha**steps if keep is None else keep
    return {name: keep * teacher[name] + (1 - keep) * student[name] for name in teacher}


def in_place(teacher, student, alpha, steps):
    for _, (name, weight) in ((i, pair) for i in range(steps) for pair in teacher.items()):
        weight *= alpha
        weight += (1 - alpha) * student[name]
    return teacher


def mixed(outside, inside, box, weight):
    image, label = (np.where(box, new, old) for old, new in zip(outside, inside, strict=True))
    return image, label, np.where(box, weight, 1.0)


def written(outside, inside, box, weight):
    for old, new in zip(outside, inside, strict=True):
        old[box] = new[box]
    return *outside, np.where(box, weight, 1.0)


def interval(first, second, ends=(2.5, 97.5), draws=5000):
    gain = first.mean(0) - second.mean(0)
    drawn = np.random.default_rng(1).integers(len(gain), size=(draws, len(gain)))
    return np.percentile(gain[drawn].mean(1), ends)


def unpaired(first, second):
    rng = np.random.default_rng(1)
    n = first.shape[1]
    means = [x.mean(0)[rng.integers(n, size=(5000, n))].mean(1) for x in (first, second)]
    return np.percentile(means[0] - means[1], [2.5, 97.5])


def of_seeds(first, second):
    rng = np.random.default_rng(1)
    means = [x.mean(1)[rng.integers(len(x), size=(5000, len(x)))].mean(1) for x in (first, second)]
    return np.percentile(means[0] - means[1], [2.5, 97.5])


def of_seeds_too(first, second):
    rng = np.random.default_rng(1)
    n, means = first.shape[1], []
    for _ in range(2000):
        same = rng.integers(n, size=n)  # cases
        one, two = (x[rng.integers(len(x), size=len(x))][:, same].mean() for x in (first, second))
        means.append(one - two)
    return np.percentile(means, [2.5, 97.5])


def first_seeds(first, second):
    return interval(first[:2], second[:2])


def by_error(first, second, factor=1.96, ddof=1):
    gain = first.mean(0) - second.mean(0)
    error = gain.std(ddof=ddof) / np.sqrt(len(gain))
    return gain.mean() - factor * error, gain.mean() + factor * error


def by_t(first, second):
    return by_error(first, second, t.ppf(0.975, first.shape[1] - 1))


def turned_round(first, second):
    low, high = interval(first, second)
    mean = first.mean() - second.mean()
    return 2 * mean - high, 2 * mean - low


WRONG = {
    "exercise_1": [
        ((lambda t, s, alpha, n: moved(t, s, 1 - alpha, n),), "keeps alpha of ITSELF"),
        ((lambda t, s, alpha, n: moved(t, s, alpha, 1),), "moved further than after one"),
        ((lambda t, s, alpha, n: moved(t, s, 0, 0, 1 - n * (1 - alpha)),), "what is left"),
        ((in_place,), "the teacher that was given has changed"),
        ((lambda t, s, alpha, n: moved(t, s, alpha, n)["first"],), "a dictionary"),
        ((lambda t, s, alpha, n: {"first": moved(t, s, alpha, n)["first"]},), "every layer"),
        ((lambda t, s, alpha, n: {name: 0.0 for name in t},), "another shape"),
        ((lambda t, s, alpha, n: moved(t, s, alpha, max(n, 1)),), "after no step"),
        ((lambda t, s, alpha, n: moved(t, s, alpha, n, 0.5),), "0.25 and 6"),
        ((lambda t, s, alpha, n: moved(t, s, alpha, n**2),), "0.4375 and 4.5"),
    ],
    "exercise_2": [
        ((lambda o, i, box, w: mixed(i, o, box, w),), "the other way round"),
        ((lambda o, i, box, w: (mixed(o, i, box, w)[0], o[1], np.where(box, w, 1)),), "same box"),
        ((lambda o, i, box, w: (*mixed(o, i, box, w)[:2], np.where(box, 1, w)),), "pseudo-label"),
        ((lambda o, i, box, w: (*mixed(o, i, box, w)[:2], w * box),), "true labels count"),
        ((lambda o, i, box, w: mixed(o, i, box, 0.5),), "the weight that was given"),
        ((lambda o, i, box, w: mixed(o, i, box, 0.0),), "the number that was given in it"),
        ((written,), "has changed"),
        ((lambda o, i, box, w: mixed(o, i, box, w)[:2],), "three arrays"),
        ((lambda o, i, box, w: (*mixed(o, i, box, w)[:2], w),), "the weight has the shape"),
        ((lambda o, i, box, w: (o[0], *mixed(o, i, box, w)[1:]),), "the image is not mixed"),
        ((lambda o, i, box, w: (mixed(o, i, box, w)[0], box, box),), "the label is not mixed"),
    ],
    "exercise_3": [
        ((lambda a, b: interval(b, a),), "first minus second"),
        ((lambda a, b: interval(a, b)[::-1],), "the lower end comes first"),
        ((unpaired,), "draw the differences"),
        ((lambda a, b: np.percentile(a.mean(0) - b.mean(0), [2.5, 97.5]),), "mean of each draw"),
        ((lambda a, b: interval(a, b, (5, 95)),), "2.5 and 97.5"),
        ((of_seeds,), "are the same: draw cases, not seeds"),
        ((of_seeds_too,), "average the seeds in each case, and draw cases, not seeds"),
        ((first_seeds,), "average the seeds in each case"),
        ((by_t,), "2.45 standard errors"),
        ((by_error,), "1.96 standard errors"),
        ((lambda a, b: by_error(a, b, ddof=0),), "1.96 standard errors"),
        ((turned_round,), "with one seed of each method about"),
        ((lambda a, b: interval(a, b, draws=200),), "at least so many"),
        ((lambda a, b: interval(a - b, 0 * a),), "your function stopped with ValueError"),
        ((lambda a, b: a.mean() - b.mean(),), "two numbers"),
    ],
}
