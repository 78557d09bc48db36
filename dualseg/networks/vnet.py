"""Subnet B: the V-Net of the compared programs, without residual connections."""

from __future__ import annotations

from torch import Tensor, nn

from ._blocks import SegmentationNetwork, conv_block, down_block


class VNetEncoder(nn.Module):
    """Five levels of 1, 2, 3, 3, 3 convolutions; f, 2f, 4f, 8f, 16f filters; dropout at the end."""

    def __init__(self, in_channels: int, filters: int):
        super().__init__()
        widths = [filters * 2**level for level in range(5)]
        depths = (1, 2, 3, 3, 3)
        self.blocks = nn.ModuleList(
            conv_block(in_channels if level == 0 else widths[level], widths[level], depths[level])
            for level in range(5)
        )
        self.downs = nn.ModuleList(
            down_block(widths[level], widths[level + 1]) for level in range(4)
        )
        self.dropout = nn.Dropout3d(0.5)

    def forward(self, image: Tensor) -> list[Tensor]:
        levels = [self.blocks[0](image)]
        for down, block in zip(self.downs, self.blocks[1:], strict=True):
            levels.append(block(down(levels[-1])))
        levels[-1] = self.dropout(levels[-1])
        return levels


class VNet(SegmentationNetwork):
    """Subnet B: 9,448,866 parameters with the defaults."""

    def __init__(self, in_channels: int = 1, classes: int = 2, filters: int = 16):
        super().__init__(VNetEncoder(in_channels, filters), in_channels, classes, filters)
