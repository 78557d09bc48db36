"""A U-Net that predicts at four scales, the network of URPC."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._blocks import SegmentationNetwork


def normed_convolutions(channels_in: int, channels_out: int) -> nn.Sequential:
    """Two times (3^3 convolution, instance norm without parameters, ReLU), the size kept."""
    layers: list[nn.Module] = []
    for width in (channels_in, channels_out):
        layers.append(nn.Conv3d(width, channels_out, 3, padding=1))
        layers += [nn.InstanceNorm3d(channels_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class PyramidEncoder(nn.Module):
    """Five levels of f, 2f, 4f, 8f, 16f filters, with a max-pool between them."""

    def __init__(self, in_channels: int, filters: int):
        super().__init__()
        widths = [filters * 2**level for level in range(5)]
        self.blocks = nn.ModuleList(map(normed_convolutions, [in_channels, *widths], widths))
        self.pool = nn.MaxPool3d(2)

    def forward(self, image: Tensor) -> list[Tensor]:
        levels = [self.blocks[0](image)]
        for block in self.blocks[1:]:
            levels.append(block(self.pool(levels[-1])))
        return levels


class PyramidDecoder(nn.Module):
    """Up, concatenate the skip, two convolutions, dropout; a head on each of the four levels."""

    def __init__(self, classes: int, filters: int):
        super().__init__()
        widths = [filters * 2**level for level in (3, 2, 1, 0)]
        self.up = nn.Upsample(scale_factor=2, mode="trilinear")
        self.blocks = nn.ModuleList(normed_convolutions(3 * width, width) for width in widths)
        self.dropouts = nn.ModuleList(map(nn.Dropout3d, (0.5, 0.3, 0.2, 0.1)))
        # A head is linear, so it can stand before the up-sampling, where it is cheaper.
        self.heads = nn.ModuleList(nn.Conv3d(width, classes, 1) for width in widths)
        self.to_full = nn.ModuleList(
            nn.Upsample(scale_factor=factor, mode="trilinear") if factor > 1 else nn.Identity()
            for factor in (8, 4, 2, 1)
        )

    def forward(self, levels: list[Tensor]) -> tuple[Tensor, ...]:
        x, scales = levels[-1], []
        skips = reversed(levels[:-1])
        layers = (self.blocks, self.dropouts, self.heads, self.to_full)
        for skip, block, dropout, head, to_full in zip(skips, *layers, strict=True):
            x = dropout(block(torch.cat([skip, self.up(x)], 1)))
            scales.append(to_full(head(x)))
        return tuple(reversed(scales))


class PyramidUNet(SegmentationNetwork):
    """3D U-Net with four heads: 5,884,504 parameters with the defaults.

    It maps an image (B, in_channels, X, Y, Z) to four logits (B, classes, X, Y, Z), of the finest
    scale first. Instance norm needs more than one voxel at the deepest level, 16 times coarser.

    Parameters
    ----------
    in_channels : modalities of the image
    classes : of the logits, with the background
    filters : channels of the first of five levels; each further one has twice as many
    """

    def __init__(self, in_channels: int = 1, classes: int = 2, filters: int = 16):
        encoder = PyramidEncoder(in_channels, filters)
        super().__init__(encoder, PyramidDecoder(classes, filters), in_channels)
