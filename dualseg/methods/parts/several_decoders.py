"""What the methods with several decoders on one encoder share (MC-Net, MC-Net+, ML-RPL)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...networks._blocks import NetworkOutput, Up
from ...networks.multi_decoder import MultiDecoder
from ..base import OneNetwork
from .dice import dice_linear


class SeveralDecoders(OneNetwork):
    """A V-Net with several decoders, `ups`, of which the first one predicts alone."""

    ups: ClassVar[tuple[Up, ...]]
    """How each decoder doubles the size (see `networks.MultiDecoder`)."""
    network: MultiDecoder
    uses_unlabeled = True

    def build_network(self) -> nn.Module:
        return self.build(MultiDecoder, ups=self.ups, features=self.features)

    def supervised(self, outputs: Sequence[NetworkOutput], label: Tensor) -> Tensor:
        """Soft Dice loss with plain denominators, the sum over the decoders.

        Parameters
        ----------
        outputs : sequence of NetworkOutput
            Of each decoder, for all samples, the labeled ones first.
        label : Tensor, shape (L, X, Y, Z)

        Returns
        -------
        Tensor
            Scalar.
        """
        known = [out.logits[: len(label)].softmax(1) for out in outputs]
        return torch.stack([dice_linear(prob, label) for prob in known]).sum()

    def predict_members(self, patch: Tensor) -> Tensor:
        return self.run(self.network.alone(0), patch).logits.softmax(1)[None]
