"""The blocks, the decoder and the output that the networks share (section 3.1)."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

LEVEL_STRIDE = 16  # four halvings: the deepest level is 16 times coarser than the input
Initialization = Literal["kaiming", "default"]
Features = Literal["last", "dropped", "half"]
Up = Literal["transposed", "trilinear", "nearest"]


class NetworkOutput(NamedTuple):
    """What a network returns.

    Parameters
    ----------
    logits : (B, classes, X, Y, Z)
    features : (B, filters, X, Y, Z), the decoder's last ones before dropout, if the network was not
        asked for others
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


def up_block(width: int, up: Up) -> nn.Sequential:
    """From 2 `width` channels to `width` at twice the size, with batch norm and ReLU.

    Parameters
    ----------
    width : channels of the result
    up : "transposed" convolution (2^3); or up-sampling, "trilinear" with the corners aligned or
        "nearest", and a 3^3 convolution
    """
    if up == "transposed":
        return with_norm(nn.ConvTranspose3d(2 * width, width, 2, stride=2))
    upsampling = nn.Upsample(
        scale_factor=2, mode=up, align_corners=True if up == "trilinear" else None
    )
    return nn.Sequential(upsampling, with_norm(nn.Conv3d(2 * width, width, 3, padding=1)))


class Decoder(nn.Module):
    """From five levels back to the input size: up, add the skip, 3, 3, 2, 1 convolutions.

    Parameters
    ----------
    classes : of the logits
    filters : channels of the first level
    up : how `up_block` doubles the size
    features : which maps the output holds: the "last" ones; the last ones as they are "dropped" by
        channel dropout; or those at "half" resolution, with twice as many channels, up-sampled
    """

    def __init__(
        self, classes: int, filters: int, up: Up = "transposed", features: Features = "last"
    ):
        super().__init__()
        self.features = features
        widths = [filters * 2**level for level in (3, 2, 1, 0)]
        self.ups = nn.ModuleList(up_block(width, up) for width in widths)
        self.blocks = nn.ModuleList(
            conv_block(width, width, depth)
            for width, depth in zip(widths, (3, 3, 2, 1), strict=True)
        )
        self.dropout = nn.Dropout3d(0.5)
        self.head = nn.Conv3d(filters, classes, 1)

    def forward(self, levels: list[Tensor]) -> NetworkOutput:
        maps = [levels[-1]]
        for up, block, skip in zip(self.ups, self.blocks, reversed(levels[:-1]), strict=True):
            maps.append(block(up(maps[-1]) + skip))
        dropped = self.dropout(maps[-1])
        logits = self.head(dropped)
        if self.features == "half":
            size = logits.shape[2:]
            return NetworkOutput(logits, F.interpolate(maps[-2], size, mode="trilinear"))
        # The features are taken before dropout: prototypes are means of them (eq. 19), and a mean
        # over randomly zeroed channels is not the class's place in feature space.
        return NetworkOutput(logits, maps[-1] if self.features == "last" else dropped)


class SegmentationNetwork(nn.Module):
    """An encoder and a decoder; the one place that handles sides that 16 does not divide.

    It maps an image (B, in_channels, X, Y, Z) to what the decoder returns, a `NetworkOutput` or
    several tensors of the image's size. Sides that are no multiples of 16 are zero-padded at the
    far end and cropped again.

    Parameters
    ----------
    encoder : maps an image to five levels, each half as large as the one before
    decoder : maps the levels to the output
    in_channels : of the image
    initialization : "kaiming" normal for all convolutions, or PyTorch's "default", whose weights
        are 2.45 times smaller
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        in_channels: int,
        initialization: Initialization = "kaiming",
    ):
        super().__init__()
        self.in_channels = in_channels
        self.encoder = encoder
        self.decoder = decoder
        if initialization == "kaiming":
            for module in self.modules():
                if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d)):
                    nn.init.kaiming_normal_(module.weight)

    def forward(self, image: Tensor) -> Any:
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
        return _cropped(output, *sides) if any(missing) else output


def _cropped(output: Any, x: int, y: int, z: int) -> Any:
    """The near corner of each tensor in a tree of tuples."""
    if isinstance(output, Tensor):
        return output[..., :x, :y, :z]
    parts = [_cropped(part, x, y, z) for part in output]
    return output._make(parts) if hasattr(output, "_make") else tuple(parts)


def count_parameters(network: nn.Module) -> int:
    """The number of trainable parameters of a network."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
