"""The blocks, the decoder and the output that the networks share (section 3.1)."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

LEVEL_STRIDE = 16  # four halvings: the deepest level is 16 times coarser than the input


class NetworkOutput(NamedTuple):
    """What a network returns; shapes (B, classes, X, Y, Z) and (B, filters, X, Y, Z)."""

    logits: Tensor
    features: Tensor


def conv_block(channels_in: int, channels_out: int, convolutions: int) -> nn.Sequential:
    """`convolutions` times (3^3 convolution, batch norm, ReLU); size kept."""
    layers: list[nn.Module] = []
    for i in range(convolutions):
        layers += [
            nn.Conv3d(channels_in if i == 0 else channels_out, channels_out, 3, padding=1),
            nn.BatchNorm3d(channels_out),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


def down_block(channels_in: int, channels_out: int) -> nn.Sequential:
    """Halve each side by a 2^3 convolution of stride 2 (batch norm, ReLU)."""
    return nn.Sequential(
        nn.Conv3d(channels_in, channels_out, 2, stride=2),
        nn.BatchNorm3d(channels_out),
        nn.ReLU(inplace=True),
    )


def up_block(channels_in: int, channels_out: int) -> nn.Sequential:
    """Double each side by a 2^3 transposed convolution of stride 2 (batch norm, ReLU)."""
    return nn.Sequential(
        nn.ConvTranspose3d(channels_in, channels_out, 2, stride=2),
        nn.BatchNorm3d(channels_out),
        nn.ReLU(inplace=True),
    )


class Decoder(nn.Module):
    """From five levels back to the input size: up, add the skip, 3, 3, 2, 1 convolutions."""

    def __init__(self, classes: int, filters: int):
        super().__init__()
        widths = [filters * 2**level for level in (3, 2, 1, 0)]
        self.ups = nn.ModuleList(up_block(2 * width, width) for width in widths)
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
    r"""An encoder and the decoder; the one place that handles sides that 16 does not divide.

    Shapes: image (B, in_channels, X, Y, Z) float -> logits (B, classes, X, Y, Z) and features
    (B, filters, X, Y, Z), the decoder's last ones before dropout. Sides that are no multiples of 16
    are zero-padded at the far end and cropped again.
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
    """Number of trainable numbers."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
