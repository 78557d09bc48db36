"""A V-Net with two outputs: the object's mask and its signed distance map."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from .vnet import VNet


class DistanceOutput(NamedTuple):
    """What `DistanceVNet` returns.

    Parameters
    ----------
    mask : (B, X, Y, Z), logit of the object
    distance : (B, X, Y, Z) in [-1, 1], signed distance to its surface, negative inside
    """

    mask: Tensor
    distance: Tensor


class DistanceVNet(VNet):
    """The network of SASSNet and DTC: 9,448,866 parameters with the defaults.

    Its two heads of one channel each are the two channels of the V-Net's head, so it is defined
    for two classes only.
    """

    def forward(self, image: Tensor) -> DistanceOutput:
        mask, distance = super().forward(image).logits.unbind(1)
        return DistanceOutput(mask, distance.tanh())
