"""The blocks, the decoder and the output that the networks share (section 3.1)."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

LEVEL_STRIDE = 16  # four halvings: the deepest level is 16 times coarser than the input


class NetworkOutput(NamedTuple):
    """What a network returns.

    Parameters
    ----------
    logits : (B, classes, X, Y, Z)
    features : (B, filters, X, Y, Z), the decoder's last ones before dropout
    """

    logits: Tensor
    features: Tensor


def conv_block(channels_in: int, channels_out: int, convolutions: int) -> nn.Sequential:
    """`convolutions` times (3^3 convolution, batch norm, ReLU), the size kept.

    Parameters
    ----------
    channels_in, channels_out : of the block; it maps (B, channels_in, X, Y, Z) to
        (B, channels_out, X, Y, Z)
    convolutions : how many

    Returns
    -------
    nn.Sequential
        Three modules a convolution.
    """
    layers: list[nn.Module] = []
    for width in (channels_in, *[channels_out] * (convolutions - 1)):
        layers += with_norm(nn.Conv3d(width, channels_out, 3, padding=1))
    return nn.Sequential(*layers)


def with_norm(convolution: nn.Conv3d | nn.ConvTranspose3d) -> nn.Sequential:
    """A convolution, batch norm and ReLU."""
    norm = nn.BatchNorm3d(convolution.out_channels)
    return nn.Sequential(convolution, norm, nn.ReLU(inplace=True))


class Decoder(nn.Module):
    """From five levels back to the input size: up, add the skip, 3, 3, 2, 1 convolutions."""

    def __init__(self, classes: int, filters: int):
        super().__init__()
        widths = [filters * 2**level for level in (3, 2, 1, 0)]
        self.ups = nn.ModuleList(
            with_norm(nn.ConvTranspose3d(2 * width, width, 2, stride=2)) for width in widths
        )
        self.blocks = nn.ModuleList(
            conv_block(width, width, depth)
            for width, depth in zip(widths, (3, 3, 2, 1), strict=True)
        )
        self.dropout = nn.Dropout3d(0.5)
        self.head = nn.Conv3d(filters, classes, 1)

    def forward(self, levels: list[Tensor]) -> NetworkOutput:
        x = levels[-1]
        for up, block, skip in zip(self.ups, self.blocks, reversed(levels[:-1]), strict=True):
            x = block(up(x) + skip)
        # The features are taken before dropout: prototypes are means of them (eq. 19), and a mean
        # over randomly zeroed channels is not the class's place in feature space.
        return NetworkOutput(self.head(self.dropout(x)), x)


class SegmentationNetwork(nn.Module):
    """An encoder and the decoder; the one place that handles sides that 16 does not divide.

    It maps an image (B, in_channels, X, Y, Z) to a `NetworkOutput`. Sides that are no multiples of
    16 are zero-padded at the far end and cropped again.

    Parameters
    ----------
    encoder : maps an image to five levels, each half as large as the one before
    in_channels, classes : of the image and of the logits
    filters : channels of the first level; each further one has twice as many
    """

    def __init__(self, encoder: nn.Module, in_channels: int, classes: int, filters: int):
        super().__init__()
        self.in_channels = in_channels
        self.encoder = encoder
        self.decoder = Decoder(classes, filters)
        for module in self.modules():
            if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d)):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, image: Tensor) -> NetworkOutput:
        if image.ndim != 5 or image.shape[1] != self.in_channels:
            raise ValueError(
                f"image: expected shape (B, {self.in_channels}, X, Y, Z), "
                f"found {tuple(image.shape)}"
            )
        sides = image.shape[2:]
        missing = [-side % LEVEL_STRIDE for side in sides]
        if any(missing):
            image = F.pad(image, [p for m in reversed(missing) for p in (0, m)])
        output = self.decoder(self.encoder(image))
        if not any(missing):
            return output
        x, y, z = sides
        return NetworkOutput(*(t[..., :x, :y, :z] for t in output))


def count_parameters(network: nn.Module) -> int:
    """The number of trainable parameters of a network."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
