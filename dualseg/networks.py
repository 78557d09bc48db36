r"""The two networks that teach each other: `ResNet34` (Subnet A) and `VNet` (Subnet B).

Both are encoders of five levels in front of the same decoder, so whatever differs between their
predictions comes from the encoders (and from chance). Widths, depths and parameter counts are those
of the paper's networks: 17,930,354 for `ResNet34` and 9,448,866 for `VNet` with one input channel,
two classes and 16 filters.

Sources: V-Net as the field uses it (plain blocks, added skips; Yu et al., UA-MT, MICCAI 2019, after
Milletari et al., 3DV 2016); the 3D ResNet-34 encoder of Wang et al., MCF, CVPR 2023, after
He et al., CVPR 2016; Kaiming initialisation as in the paper, section 4.2.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
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
        self.stem = nn.Sequential(
            nn.Conv3d(in_channels, filters, 7, padding=3, bias=False),
            nn.BatchNorm3d(filters),
            nn.ReLU(inplace=True),
        )
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


class VNet(SegmentationNetwork):
    """Subnet B: 9,448,866 parameters with the defaults."""

    def __init__(self, in_channels: int = 1, classes: int = 2, filters: int = 16):
        super().__init__(VNetEncoder(in_channels, filters), in_channels, classes, filters)


class ResNet34(SegmentationNetwork):
    """Subnet A: 17,930,354 parameters with the defaults."""

    def __init__(self, in_channels: int = 1, classes: int = 2, filters: int = 16):
        super().__init__(ResNet34Encoder(in_channels, filters), in_channels, classes, filters)


def count_parameters(network: nn.Module) -> int:
    """Number of trainable numbers."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def count_macs(network: nn.Module, patch: tuple[int, int, int], as_profilers: bool = False) -> int:
    r"""Multiply-accumulate operations for one patch (X, Y, Z), batch size 1.

    By default the convolutions as they are computed: each weight is used once for each output
    value, in a transposed convolution once for each *input* value. `as_profilers` counts as the
    profilers behind published tables do: transposed convolutions at output size (with stride 2
    eight times too many), one more for each bias, and two for each batch-normalised value.
    `network` should live on the meta device (`with torch.device("meta")`): then nothing is
    computed.
    """
    total = 0

    def add(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.BatchNorm3d):
            total += 2 * output.numel() if as_profilers else 0
            return
        transposed = isinstance(module, nn.ConvTranspose3d)
        places = inputs[0] if transposed and not as_profilers else output
        total += places[0, 0].numel() * module.weight.numel()
        if as_profilers and module.bias is not None:
            total += output.numel()

    counted = (nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d)
    hooks = [m.register_forward_hook(add) for m in network.modules() if isinstance(m, counted)]
    try:
        parameter = next(network.parameters())
        network(parameter.new_zeros(1, network.in_channels, *patch))
    finally:
        for hook in hooks:
            hook.remove()
    return total


def complexity_table() -> str:
    """Parameters and MACs of both networks beside what the paper prints (its Tables 1 and 3)."""
    with torch.device("meta"):
        nets = {"ResNet34 (A)": [ResNet34()], "V-Net (B)": [VNet()]}
    nets["A + B"] = [net for pair in nets.values() for net in pair]
    paper = {"V-Net (B)": ("9.44", 47.10, 41.53), "A + B": ("27.30", 126.95, 111.92)}
    lines = [
        f"{'':14}{'parameters':>12}  {'MACs at 112x112x80, G':>30}  {'MACs at 96x96x96, G':>30}",
        f"{'network':14}{'(paper, M)':>12}  "
        + "  ".join(2 * [f"{'computed  profiler   paper':>30}"]),
    ]
    for name, parts in nets.items():
        parameters = sum(count_parameters(net) for net in parts)
        million, *printed = paper.get(name, ("", None, None))
        cells = []
        for patch, figure in zip(((112, 112, 80), (96, 96, 96)), printed, strict=True):
            real, profiled = (
                sum(count_macs(net, patch, way) for net in parts) / 1e9 for way in (False, True)
            )
            cells.append(
                f"{real:13.2f}{profiled:10.2f}" + (f"{figure:8.2f}" if figure else " " * 8)
            )
        lines.append(f"{name:14}{parameters:12,}  {cells[0]:>30}  {cells[1]:>30}")
        if million:
            lines.append(f"{'':14}{f'({million})':>12}")
    lines.append(
        "computed: multiply-accumulates of the convolutions; profiler: counted as for the paper's "
        "table,\ntransposed convolutions at output size (8 times too many), biases and batch norms "
        "included."
    )
    return "\n".join(lines)
