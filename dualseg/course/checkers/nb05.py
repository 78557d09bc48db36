"""Checkers of notebook 05: consistency regularization."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .core import agrees, exercise, expect, number, whole, word


def _near(found: float, want: float) -> bool:
    return abs(found - want) < 1e-3


@exercise
def exercise_1(mask_size: int, loss_of_a: float, loss_of_b: float) -> None:
    """Size of the mask and both losses of four voxels."""
    mask_size = whole(mask_size, "a whole number of voxels in the mask")
    loss_of_a, loss_of_b = (number(loss, "a loss, one number") for loss in (loss_of_a, loss_of_b))
    expect(
        mask_size != 3, "3 voxels have a vote; voxel 1 has two of them, and XOR wants exactly one"
    )
    expect(
        mask_size != 1,
        "p = 0.6 reaches the threshold, since the comparison is 'at least': voxel 2 has a vote",
    )
    expect(mask_size == 2, f"write down both rows of votes again; found {mask_size} voxels")
    expect(
        not _near(loss_of_a, 0.205),
        "that is the distance of the two networks; equation 6 compares each with the truth",
    )
    expect(not _near(loss_of_a, 0.61 / 4), "divide by the voxels in the mask, not by all four")
    expect(not _near(loss_of_a, 0.61), "that is the sum; divide it by the size of the mask")
    expect(not _near(loss_of_a, 0.55), "square the distances .6 and .5 before you add them")
    expect(
        not (_near(loss_of_a, 0.01) and _near(loss_of_b, 0.305)),
        "the numbers are right, but of the other network: swap them",
    )
    expect(
        _near(loss_of_a, 0.305) or abs(loss_of_a - 0.305) > 0.0051,
        "give three digits after the point",
    )
    expect(
        _near(loss_of_a, 0.305),
        f"A is off by .6 at voxel 2 and by .5 at voxel 3; found {loss_of_a:g}",
    )
    expect(
        _near(loss_of_b, 0.01), f"A is right; B is off by .1 at voxels 2 and 3; found {loss_of_b:g}"
    )


# p_A, p_B, and whether one is sure of the organ and the other says background, at 0.6.
PAIRS = {
    "A sure, B against": (0.9, 0.2, True),
    "B sure, A barely against": (0.45, 0.7, True),
    "both sure": (0.9, 0.8, False),
    "A sure, B unsure but for the organ": (0.7, 0.55, False),
    "B sure, A unsure but for the organ": (0.52, 0.65, False),
    "A for the organ but unsure": (0.55, 0.1, False),
    "both against": (0.3, 0.1, False),
    "exactly at the threshold": (0.6, 0.1, True),
    "A sure, B exactly at one half": (0.9, 0.5, True),
    "B sure, A exactly at one half": (0.5, 0.7, True),
}


def _places(names: list[str], found: Tensor) -> dict[str, bool]:
    return dict(zip(names, found.flatten().tolist(), strict=True))


@exercise
def exercise_2(contradiction_mask: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """One network is sure of the organ, the other says background."""
    values = torch.tensor([(a, b) for a, b, _ in PAIRS.values()])
    p_a, p_b = values.T.reshape(2, 2, 5, 1)
    found = contradiction_mask(p_a, p_b, 0.6)
    right = isinstance(found, Tensor) and found.dtype == torch.bool and found.shape == p_a.shape
    expect(right, "expected a bool tensor of the shape of p_a")
    at = _places(list(PAIRS), found)
    expect(not at["both sure"], "both are sure of the organ there: nobody contradicts")
    unsure = at["A sure, B unsure but for the organ"] or at["B sure, A unsure but for the organ"]
    expect(
        not unsure,
        "that is still the mask of the paper: 0.55 is below the threshold, yet the answer is "
        "organ; the other network must say background",
    )
    expect(
        at["A sure, B against"] or at["B sure, A barely against"],
        "where one says .9 and the other .2 they contradict; the mask is False there",
    )
    symmetric = torch.equal(contradiction_mask(p_b, p_a, 0.6), found)
    expect(
        at["B sure, A barely against"] or symmetric,
        "only A can be the sure one in your mask; add the other case with |",
    )
    expect(
        at["B sure, A barely against"],
        "0.45 is below 0.5, so that network says background; it need not be sure of it",
    )
    expect(at["A sure, B against"], "only B can be the sure one in your mask; add the other case")
    expect(at["exactly at the threshold"], "p equal to the threshold counts as sure: use >=")
    over = not at["A for the organ but unsure"]
    expect(over, "0.55 is not sure of the organ at threshold 0.6; did you use the threshold?")
    expect(not at["both against"], "nobody is for the organ there")
    halves = at["A sure, B exactly at one half"] and at["B sure, A exactly at one half"]
    expect(halves, "a p of exactly 0.5 says background: at most 0.5 is <=, not <")
    higher = _places(list(PAIRS), contradiction_mask(p_a, p_b, 0.8))
    expect(
        higher == {name: want and max(a, b) >= 0.8 for name, (a, b, want) in PAIRS.items()},
        "right for 0.6, but not for a threshold of 0.8; is 0.6 written into the function?",
    )


@exercise
def exercise_3(repaired_mask: Callable[..., Tensor]) -> None:
    """Softmax in place of the sigmoid of one logit, XOR in place of AND."""
    prob = torch.tensor([[0.9, 0.8], [0.9, 0.2], [0.3, 0.7], [0.7, 0.55], [0.55, 0.1], [0.3, 0.1]])
    gaps = torch.logit(prob).T.reshape(2, 1, 6, 1, 1)
    logits_a, logits_b = (torch.stack([-gap / 2, gap / 2], 1) for gap in gaps)
    want = [False, True, True, True, False, False]

    def marked(a: Tensor, b: Tensor, threshold: float = 0.6) -> list[bool]:
        found = repaired_mask(a, b, threshold)
        expect(
            isinstance(found, Tensor) and tuple(found.shape) == (1, 6, 1, 1),
            "expected a bool tensor (B, X, Y, Z): take the organ, [:, 1], after the softmax",
        )
        return found.flatten().bool().tolist()

    found, moved = marked(logits_a, logits_b), marked(logits_a + 3, logits_b + 3)
    expect(
        found == moved,
        "adding 3 to all logits changes your mask, but not what the networks say: use the softmax "
        "over both classes",
    )
    expect(
        not found[0],
        "voxel 1 (.9 and .8) is marked, where both are sure; `&` and `|` both do that, "
        "exactly one is wanted",
    )
    expect(
        found != [False, False, False, True, True, False],
        "the larger of the two probabilities is also high where a network is sure of the "
        "background; take the organ's, [:, 1]",
    )
    expect(found == want, f"expected {want} for the six voxels of section 1, found {found}")
    certain = torch.tensor([-50.0, 50.0]).reshape(1, 2, 1, 1, 1).expand(1, 2, 6, 1, 1)  # p = 1
    equal = marked(certain, -certain, 1.0)
    expect(all(equal), "p equal to the threshold counts as sure: use >=")
    expect(
        marked(logits_a, logits_b, 0.75) == [False, True, False, False, False, False],
        "right for 0.6, but the argument threshold is not used",
    )


@exercise
def exercise_4(share_mse: float, share_kl: float, choice: str) -> None:
    """Share of the pull that comes from a wrong label, with MSE and KL; two digits are enough."""
    share_mse, share_kl = (number(share, "a share, one number") for share in (share_mse, share_kl))
    right_mse, right_kl = 0.0384 / 0.9024, 0.98 / 2.78
    expect(0 <= share_mse <= 1 and 0 <= share_kl <= 1, "a share is a number from 0 to 1")
    loss_mse = 0.98**2 / (0.98**2 + 3 * 0.6**2)
    expect(
        not _near(share_mse, loss_mse),
        "that is the share of the loss; what moves a network is its gradient on the logit: pull",
    )
    expect(
        not (agrees(share_mse, right_kl, 2) and agrees(share_kl, right_mse, 2)),
        "the two shares are swapped",
    )
    expect(
        agrees(share_mse, right_mse, 2),
        f"MSE pulls with 2 p (1 - p)^2; found {share_mse:g} (two digits are enough)",
    )
    expect(
        agrees(share_kl, right_kl, 2),
        f"KL pulls with 1 - p; found {share_kl:g} (two digits are enough)",
    )
    expect(
        word(choice, ("mse", "kl")) == "mse",
        "with KL the wrong label has a third of the whole pull; the question expects such slips",
    )
