"""Probabilities made surer."""

from __future__ import annotations

from torch import Tensor

from ...losses._inputs import lift


def sharpen(prob: Tensor, temperature: float = 0.1) -> Tensor:
    r"""Sharpened probabilities $p_c^{1/T} / \sum_k p_k^{1/T}$; the gradient flows through them.

    For two classes this is MC-Net's $p^{1/T} / (p^{1/T} + (1 - p)^{1/T})$ as well.

    Parameters
    ----------
    prob : (B, C, X, Y, Z)
    temperature : T, from 0 (the limit is one-hot) to 1 (no change)

    Returns
    -------
    Tensor
        (B, C, X, Y, Z), at least float32: the tenth power of a probability is small.
    """
    prob = lift(prob)
    # Divided by the largest, which changes neither value nor gradient: else (1/3)^100 would be 0.
    powers = (prob / prob.detach().amax(1, keepdim=True)) ** (1 / temperature)
    return powers / powers.sum(1, keepdim=True)
