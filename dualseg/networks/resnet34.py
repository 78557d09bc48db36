"""Subnet A: a 3D ResNet34 as encoder of the same decoder."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ._blocks import Decoder, Features, Initialization, SegmentationNetwork, with_norm


class BasicBlock(nn.Module):
    """Two 3^3 convolutions beside a shortcut (He et al. 2016); the first may halve the size."""

    def __init__(self, channels_in: int, channels_out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv3d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm3d(channels_out)
        self.conv2 = nn.Conv3d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm3d(channels_out)
        self.shortcut = (
            nn.Identity()
            if stride == 1
            else nn.Sequential(
                nn.Conv3d(channels_in, channels_out, 1, stride, bias=False),
                nn.BatchNorm3d(channels_out),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(out)) + self.shortcut(x), inplace=True)


class ResNet34Encoder(nn.Module):
    """Stem (7^3, full resolution) and four stages of 3, 4, 6, 3 basic blocks."""

    def __init__(self, in_channels: int, filters: int):
        super().__init__()
        self.stem = with_norm(nn.Conv3d(in_channels, filters, 7, padding=3, bias=False))
        self.stages = nn.ModuleList()
        for level, depth in enumerate((3, 4, 6, 3), start=1):
            width = filters * 2**level
            blocks = [BasicBlock(width // 2, width, stride=2)]
            blocks += [BasicBlock(width, width, stride=1) for _ in range(depth - 1)]
            self.stages.append(nn.Sequential(*blocks))

    def forward(self, image: Tensor) -> list[Tensor]:
        levels = [self.stem(image)]
        for stage in self.stages:
            levels.append(stage(levels[-1]))
        return levels


class ResNet34(SegmentationNetwork):
    """Subnet A (section 3.1): 17,930,354 parameters with the defaults.

    Parameters
    ----------
    in_channels : modalities of the image
    classes : of the logits, with the background
    filters : channels of the first of five levels; each further one has twice as many
    initialization : of the convolutions, "kaiming" or PyTorch's "default"
    features : which maps the output holds, "last", "dropped" or "half" (see `Decoder`)
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 2,
        filters: int = 16,
        initialization: Initialization = "kaiming",
        features: Features = "last",
    ):
        encoder, decoder = (
            ResNet34Encoder(in_channels, filters),
            Decoder(classes, filters, features=features),
        )
        super().__init__(encoder, decoder, in_channels, initialization)
