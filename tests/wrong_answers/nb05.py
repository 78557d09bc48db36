"""What students typically write in notebook 05, and words of the hint that it must get."""


def plain(p_a, p_b, threshold):
    return (p_a >= threshold) ^ (p_b >= threshold)


def one_sided(p_a, p_b, threshold):
    return (p_a >= threshold) & (p_b <= 0.5)


def other_side(p_a, p_b, threshold):
    return (p_b >= threshold) & (p_a <= 0.5)


def both_sure(p_a, p_b, threshold):
    sure = (p_a >= threshold) & (1 - p_b >= threshold)
    return sure | ((p_b >= threshold) & (1 - p_a >= threshold))


def strict(p_a, p_b, threshold):
    return ((p_a > threshold) & (p_b <= 0.5)) | ((p_b > threshold) & (p_a <= 0.5))


def unsure(p_a, p_b, threshold):
    return (p_a > 0.5) ^ (p_b > 0.5)


def fixed(p_a, p_b, threshold):
    return one_sided(p_a, p_b, 0.6) | other_side(p_a, p_b, 0.6)


def votes(logits, how, threshold=0.6):
    return how(logits)[:, 1] >= threshold


def more_than(logits, threshold):
    return logits.softmax(1)[:, 1] > threshold


def softmax(logits):
    return logits.softmax(1)


def below_half(p_a, p_b, threshold):
    return ((p_a >= threshold) & (p_b < 0.5)) | ((p_b >= threshold) & (p_a < 0.5))


def of_any_class(logits):
    return logits.softmax(1).max(1, keepdim=True)[0].expand_as(logits)


WRONG = {
    "exercise_1": [
        ((3, 0.217, 0.037), "exactly one"),
        ((1, 0.25, 0.01), "at least"),
        ((2, 0.205, 0.205), "compares each with the truth"),
        ((2, 0.1525, 0.005), "not by all four"),
        ((2, 0.61, 0.02), "that is the sum"),
        ((2, 0.55, 0.1), "square the distances"),
        ((2, 0.01, 0.305), "swap them"),
        ((2, 0.31, 0.01), "three digits after the point"),
        ((2, 0.305, 0.1), "A is right; B"),
        ((2, "0.305", 0.01), "a loss, one number, found '0.305'"),
    ],
    "exercise_2": [
        ((plain,), "still the mask of the paper"),
        ((one_sided,), "only A can be"),
        ((other_side,), "only B can be"),
        ((both_sure,), "need not be sure"),
        ((strict,), "use >="),
        ((below_half,), "at most 0.5 is <="),
        ((unsure,), "did you use the threshold"),
        ((fixed,), "not for a threshold of 0.8"),
        ((lambda a, b, t: (a >= t) | (b >= t),), "nobody contradicts"),
        ((lambda a, b, t: plain(a, b, t).float(),), "a bool tensor"),
    ],
    "exercise_3": [
        (
            (
                lambda a, b, threshold=0.6: (
                    votes(a, lambda x: x.sigmoid()) ^ votes(b, lambda x: x.sigmoid())
                ),
            ),
            "use the softmax",
        ),
        (
            (lambda a, b, threshold=0.6: votes(a, lambda x: x) ^ votes(b, lambda x: x),),
            "use the softmax",
        ),
        (
            (lambda a, b, threshold=0.6: votes(a, softmax) & votes(b, softmax),),
            "exactly one is wanted",
        ),
        (
            (lambda a, b, threshold=0.6: votes(a, softmax) | votes(b, softmax),),
            "exactly one is wanted",
        ),
        (
            (lambda a, b, threshold=0.6: (a.softmax(1) >= 0.6) ^ (b.softmax(1) >= 0.6),),
            r"take the organ",
        ),
        (
            (lambda a, b, threshold=0.6: votes(a, softmax) ^ votes(b, softmax),),
            "threshold is not used",
        ),
        (
            (lambda a, b, threshold=0.6: more_than(a, threshold) ^ more_than(b, threshold),),
            "use >=",
        ),
        (
            (lambda a, b, threshold=0.6: votes(a, of_any_class) ^ votes(b, of_any_class),),
            "the larger of the two",
        ),
    ],
    "exercise_4": [
        ((0.471, 0.587, "mse"), "share of the loss"),
        ((0.3525, 0.0426, "mse"), "swapped"),
        ((0.0426, 0.3525, "kl"), "a third of the whole pull"),
        ((4.26, 35.3, "mse"), "from 0 to 1"),
        ((0.25, 0.25, "mse"), "MSE pulls with"),
        ((0.05, 0.35, "mse"), "two digits are enough"),
        ((0.04, 0.36, "mse"), "two digits are enough"),
        ((0.0426, 0.3525, "Dice"), "expected one of mse, kl, found 'Dice'"),
        (([0.04], 0.35, "mse"), "a share, one number"),
    ],
}
