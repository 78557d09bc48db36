"""What students typically write in notebook 07, and words of the hint that it must get."""

import numpy as np

from dualseg.losses.entropy import confident_mask


def safe(prob):
    return np.where(prob > 0, prob, 1)


def of_two_classes(prob):
    return -(prob[1] * np.log2(safe(prob[1])) + (1 - prob[1]) * np.log2(safe(1 - prob[1])))


def pooled_wrongly(entropy_a, entropy_b, gamma):
    kept = entropy_a <= np.percentile(entropy_a, gamma)
    return kept & (entropy_b <= np.percentile(entropy_b[kept], gamma))


def by_sample(entropy_a, entropy_b, gamma):
    taus = [np.percentile(e, gamma, (1, 2, 3), keepdims=True) for e in (entropy_a, entropy_b)]
    return (entropy_a <= taus[0]) & (entropy_b <= taus[1])


def one_threshold(entropy_a, entropy_b, gamma):
    tau = np.percentile(np.concatenate([entropy_a, entropy_b]), gamma)
    return (entropy_a <= tau) & (entropy_b <= tau)


def combined(function):
    def keep(a, b, gamma):
        return function(a, b, np.percentile(a, gamma), np.percentile(b, gamma))

    return keep


def half(count, report):
    """A loop over gamma; `count` says when it is enough, `report` what is given back with it."""

    def half_of_organ(entropy_a, entropy_b, label, truth):
        for gamma in range(101):
            kept = confident_mask(entropy_a, entropy_b, gamma)
            if count(kept, label != 0):
                return gamma, float(report(kept, label != 0, label != truth))

    return half_of_organ


def enough(kept, is_organ):
    return 2 * (kept & is_organ).sum() >= is_organ.sum()


def let_in(kept, is_organ, wrong):
    return (kept & wrong).sum() / wrong.sum()


def more_than_half(kept, is_organ):
    return 2 * (kept & is_organ).sum() > is_organ.sum()


def let_in_if_any(kept, is_organ, wrong):
    return (kept & wrong).sum() / wrong.sum().clamp_min(1)


WRONG = {
    "exercise_1": [
        ((lambda p: -(p * np.log2(p)).sum(0),), "NaN for a probability of 0"),
        ((lambda p: -(p * np.log(safe(p))).sum(0),), "these are nats"),
        ((lambda p: (p * np.log2(safe(p))).sum(0),), "the sign"),
        ((lambda p: -(p * np.log2(safe(p))).sum(),), "sum over the first axis"),
        ((of_two_classes,), "sum over all classes"),
    ],
    "exercise_2": [
        ((0.6, 0.3, [True] * 5), "tau_a is one of the values"),
        ((0.9, 0.7, [True] * 5), "counted from 0"),
        ((0.76, 0.22, [True] * 5), "sort the values first"),
        ((0.76, 0.46, [True, True, True, True, False]), 'that is "and"'),
        ((0.76, 0.46, [False, True, False, True, True]), "the ignored ones"),
        ((0.76, 0.46, [True, True, True, False, False]), "A alone"),
        ((0.76, 0.46, [0, 2]), "5 in all, found 2"),
        ((0.76, 0.46, "TFTFF"), "five answers, one for each voxel, found"),
        ((0.76, 0.46, ["yes", "no", "yes", "no", "no"]), "each True or False, found 'yes'"),
        (("0.76", 0.46, [True] * 5), "a threshold tau_a, found '0.76'"),
    ],
    "exercise_3": [
        ((pooled_wrongly,), "over the voxels that A kept"),
        ((by_sample,), "pools all samples"),
        ((one_threshold,), "each has its own"),
        ((combined(lambda a, b, s, t: (a <= s) | (b <= t)),), 'that is "and"'),
        ((combined(lambda a, b, s, t: (a > s) | (b > t)),), "not ignored"),
        ((combined(lambda a, b, s, t: (a < s) & (b < t)),), "ties"),
        ((lambda a, b, gamma: pooled_wrongly(a, b, gamma).sum(),), "boolean array"),
    ],
    "exercise_4": [
        ((half(lambda kept, o: 2 * kept.sum() >= kept.numel(), let_in),), "half of .all. voxels"),
        ((half(lambda kept, o: kept.all(), let_in),), "stop at the first"),
        ((half(enough, lambda kept, o, w: w[kept].float().mean()),), "among the kept"),
        ((half(enough, lambda kept, o, w: 1 - let_in(kept, o, w)),), "that are ignored"),
        ((half(enough, lambda kept, o, w: let_in(kept, o, w & o)),), "background is wrong, too"),
        ((half(enough, let_in),), "without any error"),
        ((half(more_than_half, let_in_if_any),), "at least half is >="),
        ((lambda a, b, label, truth: 95,), "two numbers"),
    ],
}
