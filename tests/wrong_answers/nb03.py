"""What students typically write in notebook 03, and words of the hint that it must get."""

import torch.nn.functional as F
from torch import nn


def parameters(f, first=2, convolutions=2, shortcut=True, bias=0, norm=2, stem=True, their_norm=2):
    """A's encoder counted with mistakes."""

    def layer(c, d, k):
        return c * d * k**3 + (norm + bias) * d

    total = stem * layer(1, f, 7)
    for n, d in zip((3, 4, 6, 3), (2 * f, 4 * f, 8 * f, 16 * f), strict=True):
        total += layer(d // first, d, 3) + (convolutions * n - 1) * layer(d, d, 3)
        total += shortcut * (layer(d // 2, d, 1) + (their_norm - 2) * d)
    return total


def wrongly(**mistake):
    return (lambda f: parameters(f, **mistake),)


def padded(amount, both=False):
    def pad(image):
        missing = [amount(side) for side in reversed(image.shape[2:])]
        return F.pad(
            image, [p for m in missing for p in ((m // 2, m - m // 2) if both else (0, m))]
        )

    return (pad,)


def unreversed(image):
    return F.pad(image, [p for side in image.shape[2:] for p in (0, -side % 16)])


def without_the_first_axis(image):
    y, z = (-side % 16 for side in image.shape[3:])
    return F.pad(image, (0, z, 0, y))


def layers(first_only=True, padding=1, norm=True, relu=True, kernel=3, bias=True):
    def block(c, d, convolutions):
        made = []
        for i in range(convolutions):
            made += [
                nn.Conv3d(c if i == 0 or not first_only else d, d, kernel, 1, padding, bias=bias)
            ]
            made += [nn.BatchNorm3d(d)] * norm + [nn.ReLU()] * relu
        return made

    return (block,)


def changed(*given, c=None, d=None, convolutions=None, last=None):
    """The block with other arguments than it was given, or with another last convolution."""
    asked = dict(zip(("c", "d", "convolutions"), given, strict=True))
    wanted = {"c": c, "d": d, "convolutions": convolutions}
    made = layers()[0](*(wanted[name] or value for name, value in asked.items()))
    made[-3] = last(asked["d"]) if last else made[-3]
    return made


def block(**mistake):
    return (lambda *given: changed(*given, **mistake),)


WRONG = {
    "exercise_1": [
        (wrongly(bias=1), "bias=False"),
        (wrongly(norm=0), "batch norm is missing"),
        (wrongly(shortcut=False), "shortcut at the start"),
        (wrongly(their_norm=0), "960 are missing"),
        (wrongly(first=1), "half as many channels"),
        (wrongly(convolutions=1), "two convolutions"),
        (wrongly(stem=False), "stem is missing"),
        ((lambda f: parameters(16),), "where f belongs"),
        ((lambda f: 5,), "are expected, found 5"),
        ((lambda f: [5],), "a whole number of parameters"),
    ],
    "exercise_2": [
        ((unreversed,), "last"),
        (padded(lambda side: 16 - side % 16), "stay as it is"),
        (padded(lambda side: -side % 16, both=True), "the image has moved"),
        (padded(lambda side: side % 16), "are to become"),
        ((without_the_first_axis,), "is the first axis padded"),
    ],
    "exercise_3": [
        (layers(first_only=False), "the first one"),
        ((lambda c, d, convolutions: nn.ReLU(),), "a list of layers"),
        (layers(padding=0), "padding=1"),
        (layers(norm=False), "no batch norm"),
        (layers(relu=False), "no ReLU"),
        (layers(kernel=1, padding=0), r"layer 0 of the list: its weight is \(5, 3, 1"),
        (layers(bias=False), "have a bias"),
        (block(last=lambda d: nn.Conv3d(d, d, 3, 1, 1, bias=False)), "a bias is missing"),
        (block(last=lambda d: nn.Conv3d(d, d, 5, 1, 2)), r"layer 3 .* is \(5, 5, 5, 5, 5\)"),
        (block(convolutions=2), "1 convolution was asked for, found 2"),
        (block(c=3, d=5), "use `c` and `d`"),
    ],
}
