"""Checkers of notebook 07: entropy-filtered supervision."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from ...losses.entropy import confident_mask
from .core import exercise, expect, number, numbers, truths


@exercise
def exercise_1(entropy_of: Callable[[np.ndarray], np.ndarray]) -> None:
    """Entropy in bits, safe where a probability is 0."""
    even = np.array([[0.5, 0.25], [0.5, 0.75]])  # two classes, two voxels
    with np.errstate(all="ignore"):
        found = np.asarray(entropy_of(even.copy()))
    expect(
        found.shape == (2,),
        f"two classes and two voxels give shape (2,), found {found.shape}; sum over the first axis",
    )
    expect(not np.allclose(found, (-1, -0.811278)), "the sign: entropy is not negative")
    expect(
        not np.allclose(found, (0.693147, 0.562335)),
        "these are nats; a bit needs the logarithm to base 2",
    )
    expect(
        np.allclose(found, (1, 0.811278)),
        f"1/2 has 1 bit and 1/4 against 3/4 has 0.811, found {found.round(3)}",
    )
    with np.errstate(all="ignore"):
        sure = np.asarray(entropy_of(np.array([[1.0, 0.0], [0.0, 1.0]])))
        three = np.asarray(entropy_of(np.full((3, 1), 1 / 3)))
    expect(np.isfinite(sure).all(), "NaN for a probability of 0: 0 log 0 is to count as 0")
    expect(np.allclose(sure, 0, atol=1e-6), f"certainty has 0 bits, found {sure}")
    expect(
        np.allclose(three, np.log2(3)),
        f"three equal classes have log2 3 = 1.585 bits, found {three}; sum over all classes",
    )


@exercise
def exercise_2(tau_a: float, tau_b: float, kept: Sequence[bool]) -> None:
    """Two percentiles and the mask of eq. 10, by hand."""
    tau_a, tau_b = number(tau_a, "a threshold tau_a"), number(tau_b, "a threshold tau_b")
    for name, tau, low, high in (("tau_a", tau_a, 0.6, 0.8), ("tau_b", tau_b, 0.3, 0.5)):
        expect(
            not np.isclose(tau, (low, high)).any(),
            f"{name} is one of the values: at rank 2.8 it lies between {low} and {high}",
        )
    expect(
        not (np.isclose(tau_a, 0.9) or np.isclose(tau_b, 0.7)),
        "the ranks are counted from 0 to n - 1 = 4, so 70 % is rank 2.8, not 3.5",
    )
    expect(np.isclose(tau_a, 0.76), f"tau_a: 80 % of the way from 0.6 to 0.8, found {tau_a}")
    expect(not np.isclose(tau_b, 0.22), "tau_b: sort the values first")
    expect(np.isclose(tau_b, 0.46), f"tau_b: 80 % of the way from 0.3 to 0.5, found {tau_b}")
    found = truths(kept, "five answers, one for each voxel", 5)
    expect(
        found != [True, True, True, True, False],
        'that is "and": ignored only where both are above. Eq. 10 ignores where either is',
    )
    expect(found != [False, True, False, True, True], "these are the ignored ones; kept are others")
    expect(found != [True, True, True, False, False], "that is A alone; B has to be sure, too")
    expect(found == [True, False, True, False, False], "compare each voxel with both thresholds")


@exercise
def exercise_3(keep_voxels: Callable[[np.ndarray, np.ndarray, float], np.ndarray]) -> None:
    """Eq. 10 with each network's percentile of all voxels."""
    rng = np.random.default_rng(7)
    # The second sample is less sure, and B where A is, as in networks: other filters, other masks.
    a = rng.random((2, 4, 4, 4)) * np.array([0.5, 1]).reshape(2, 1, 1, 1)
    b = 0.2 + 0.5 * a + 0.3 * rng.random(a.shape)
    taus = np.percentile(a, 70), np.percentile(b, 70)
    want = (a <= taus[0]) & (b <= taus[1])
    found = np.asarray(keep_voxels(a.copy(), b.copy(), 70))
    right = found.shape == a.shape and found.dtype == bool
    expect(right, f"expected a boolean array of shape {a.shape}, found {found.dtype} {found.shape}")
    sure_a = a <= taus[0]
    each = [np.percentile(e, 70, axis=(1, 2, 3), keepdims=True) for e in (a, b)]
    one = np.percentile(np.stack([a, b]), 70)
    for wrong, hint in (
        (
            sure_a & (b <= np.percentile(b[sure_a], 70)),
            "B's percentile is still taken over the voxels that A kept, not over all",
        ),
        (
            (a <= each[0]) & (b <= each[1]),
            "one threshold for each sample; the paper pools all samples of the batch",
        ),
        ((a <= one) & (b <= one), "one threshold for both networks; each has its own in eq. 10"),
        (
            sure_a | (b <= taus[1]),
            'that is "and": a voxel is ignored if either entropy is high, so kept if both are low',
        ),
        (~want, "True is to mean kept, not ignored"),
    ):
        expect(not np.array_equal(found, wrong), hint)
    expect(
        np.array_equal(found, want),
        f"expected {want.sum()} of {want.size} voxels kept, found {found.sum()}",
    )
    tied = np.full((1, 2, 2, 2), 0.5)
    expect(
        np.asarray(keep_voxels(tied.copy(), tied.copy(), 70)).all(),
        "ties: a voxel at the threshold is not above it, so eq. 10 keeps it",
    )


def _batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Entropies of A and B, pseudo-label, truth; an unsure organ, and errors in both classes."""
    draw = torch.Generator().manual_seed(7)
    shape = (2, 8, 8, 8)
    label = (torch.rand(shape, generator=draw) < 0.1).long()
    a, b = (
        torch.where(label == 1, 0.3, 0.0) + 0.7 * torch.rand(shape, generator=draw)
        for _ in range(2)
    )
    wrong = (a > 0.8) | ((label == 0) & (b > 0.6))
    return a, b, label, torch.where(wrong, 1 - label, label)


def _ranks() -> tuple[torch.Tensor, torch.Tensor]:
    """Ten entropies, k / 9, kept from gamma = 100 k / 9 on, and four organ voxels among them."""
    label = torch.zeros(1, 10, 1, 1, dtype=torch.long)
    label[0, [2, 5, 7, 9]] = 1
    return torch.arange(10.0).reshape(label.shape) / 9, label


@exercise
def exercise_4(half_of_organ: Callable[..., tuple[int, float]]) -> None:
    """Smallest gamma that keeps half of the organ voxels, and the share of errors it keeps."""
    a, b, label, truth = _batch()
    counts = [(confident_mask(a, b, g) & (label == 1)).sum() for g in range(101)]
    enough = next(g for g in range(101) if 2 * counts[g] >= (label == 1).sum())
    everything = next(g for g in range(101) if 2 * confident_mask(a, b, g).sum() >= label.numel())
    what = "two numbers (gamma, the share of wrong voxels kept)"
    value, share = numbers(half_of_organ(a, b, label, truth), what, 2)
    expect(value != everything, "half of *all* voxels are kept there; look at the organ's")
    expect(value != 100, "100 keeps everything; stop at the first gamma that keeps half")
    expect(
        value == enough, f"on the checker's batch the smallest gamma is {enough}, found {value:g}"
    )
    chosen, wrong = confident_mask(a, b, enough), label != truth
    want = float((chosen & wrong).sum() / wrong.sum())
    expect(
        not np.isclose(share, float(wrong[chosen].float().mean())),
        "that is the share of wrong ones among the kept; asked is the share of the wrong ones that "
        "are kept, so divide by the number of wrong voxels",
    )
    called = wrong & (label == 1)
    expect(
        not np.isclose(share, float((chosen & called).sum() / called.sum())),
        "that counts only wrong voxels that are called organ; background is wrong, too, where the "
        "truth is organ",
    )
    expect(not np.isclose(share, 1 - want), "that is the share of wrong voxels that are ignored")
    expect(np.isclose(share, want), f"expected a share of {want:.3f}, found {share:.3f}")
    ranks, four = _ranks()
    value, _ = numbers(half_of_organ(ranks, ranks, four, 1 - four), what, 2)
    expect(
        value != 78,
        "gamma = 56 keeps two of four organ voxels, which is half of them: at least half is >=",
    )
    expect(
        value == 56, f"with organ voxels at ranks 2, 5, 7, 9 of 0 to 9 it is 56, found {value:g}"
    )
    nothing = numbers(half_of_organ(a, b, label, label), what, 2)
    expect(
        np.isfinite(nothing).all() and nothing[1] == 0,
        "a pseudo-label without any error: the share of wrong voxels is to be 0, not NaN",
    )
