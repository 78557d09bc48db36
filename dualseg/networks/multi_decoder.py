"""A V-Net whose one encoder serves several decoders (MC-Net, MC-Net+, ML-RPL)."""

from __future__ import annotations

from torch import Tensor, nn

from ._blocks import Decoder, Features, NetworkOutput, SegmentationNetwork, Up
from .vnet import VNetEncoder


class Decoders(nn.ModuleList):
    """Decoders beside each other: the same levels go to each, and each draws its own dropout."""

    def forward(self, levels: list[Tensor]) -> tuple[NetworkOutput, ...]:
        return tuple(decoder(levels) for decoder in self)


class MultiDecoder(SegmentationNetwork):
    """A V-Net with one decoder for each way to double the size; it returns a tuple of outputs.

    With 16 filters and two classes it has 12,347,716 parameters with two decoders, 15,246,566 with
    three.

    Parameters
    ----------
    in_channels : modalities of the image
    classes : of the logits, with the background
    filters : channels of the first of five levels; each further one has twice as many
    ups : one of "transposed", "trilinear" and "nearest" for each decoder (see `up_block`)
    features : which maps the outputs hold, "last", "dropped" or "half" (see `Decoder`)
    """

    decoder: Decoders

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 2,
        filters: int = 16,
        ups: tuple[Up, ...] = ("transposed", "trilinear"),
        features: Features = "last",
    ):
        encoder = VNetEncoder(in_channels, filters)
        decoders = Decoders(Decoder(classes, filters, up, features) for up in ups)
        super().__init__(encoder, decoders, in_channels, initialization="default")

    def alone(self, number: int) -> SegmentationNetwork:
        """The network with one of its decoders only, which returns one output.

        Parameters
        ----------
        number : of the decoder, from 0

        Returns
        -------
        SegmentationNetwork
            It shares its parameters with this network.
        """
        parts = self.encoder, self.decoder[number]
        return SegmentationNetwork(*parts, self.in_channels, initialization="default")
