"""Subnet B: the V-Net of the compared programs, without residual connections."""

from __future__ import annotations

from torch import Tensor, nn

from ._blocks import (
    Decoder,
    Features,
    Initialization,
    SegmentationNetwork,
    conv_block,
    with_norm,
)


class VNetEncoder(nn.Module):
    """Five levels of 1, 2, 3, 3, 3 convolutions; f, 2f, 4f, 8f, 16f filters; dropout at the end."""

    def __init__(self, in_channels: int, filters: int):
        super().__init__()
        widths = [filters * 2**level for level in range(5)]
        self.blocks = nn.ModuleList(
            conv_block(channels, width, depth)
            for channels, width, depth in zip(
                [in_channels, *widths[1:]], widths, (1, 2, 3, 3, 3), strict=True
            )
        )
        self.downs = nn.ModuleList(
            with_norm(nn.Conv3d(width, 2 * width, 2, stride=2)) for width in widths[:-1]
        )
        self.dropout = nn.Dropout3d(0.5)

    def forward(self, image: Tensor) -> list[Tensor]:
        levels = [self.blocks[0](image)]
        for down, block in zip(self.downs, self.blocks[1:], strict=True):
            levels.append(block(down(levels[-1])))
        levels[-1] = self.dropout(levels[-1])
        return levels


class VNet(SegmentationNetwork):
    """Subnet B (section 3.1): 9,448,866 parameters with the defaults.

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
            VNetEncoder(in_channels, filters),
            Decoder(classes, filters, features=features),
        )
        super().__init__(encoder, decoder, in_channels, initialization)
