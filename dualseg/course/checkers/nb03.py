"""Checkers of notebook 03: the two networks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...networks._blocks import conv_block, count_parameters
from ...networks.resnet34 import ResNet34Encoder
from .core import exercise, expect, parts, whole

STAGES = ((3, 2), (4, 4), (6, 8), (3, 16))  # blocks, and channels as a multiple of the filters


def _of_stages(f: int, layers: Callable[[int, int], list[tuple[int, int, int]]]) -> int:
    """Parameters of the stem and of the convolutions (c, d, k) that `layers(n, d)` lists."""
    listed = [layer for n, times in STAGES for layer in layers(n, times * f)]
    return sum(c * d * k**3 + 2 * d for c, d, k in [(1, f, 7), *listed])


@exercise
def exercise_1(encoder_parameters: Callable[[int], int]) -> None:
    """Parameters of A's encoder."""
    f = 16
    found = whole(encoder_parameters(f), "a whole number of parameters")
    right = count_parameters(ResNet34Encoder(1, f))
    convolutions = f + sum(times * f * (2 * n + 1) for n, times in STAGES)  # output channels
    shortcuts = sum(times * f for _, times in STAGES)  # their output channels
    mistakes = {
        right + convolutions: "each convolution got a bias; none has one: bias=False",
        right - 2 * convolutions: "batch norm is missing: two numbers for each output channel",
        right - 2 * shortcuts: (
            f"{2 * shortcuts} are missing: the batch norm of each shortcut, two numbers a channel?"
        ),
        _of_stages(f, lambda n, d: [(d // 2, d, 3)] + (2 * n - 1) * [(d, d, 3)]): (
            "the 1^3 shortcut at the start of each stage is missing"
        ),
        _of_stages(f, lambda n, d: [(d // 2, d, 1)] + 2 * n * [(d, d, 3)]): (
            "the first convolution of a stage comes from half as many channels, d // 2"
        ),
        _of_stages(f, lambda n, d: [(d // 2, d, 1), (d // 2, d, 3)] + (n - 1) * [(d, d, 3)]): (
            "a block has two convolutions, you have one"
        ),
        right - 7**3 * f - 2 * f: "the stem is missing: one 7^3 convolution from 1 to f channels",
    }
    expect(found not in mistakes, mistakes.get(found, ""))
    expect(
        found == right,
        f"with 16 filters {right:,} are expected, found {found:,}: {abs(found - right):,} too "
        + ("many" if found > right else "few"),
    )
    few = count_parameters(ResNet34Encoder(1, 4))
    expect(
        encoder_parameters(4) == few,
        f"right for 16 filters, but with 4 it is {few:,}: does a number stand where f belongs?",
    )


@exercise
def exercise_2(pad_to_16: Callable[[Tensor], Tensor]) -> None:
    """Zeros at the far ends, up to multiples of 16."""
    image = torch.rand(1, 2, 16, 30, 20) + 1
    found = pad_to_16(image)
    expect(isinstance(found, Tensor) and found.ndim == 5, "expected the padded image, a tensor")
    sides = tuple(found.shape[2:])
    expect(
        sides != (28, 32, 20),
        f"the sides are now {sides}: F.pad takes the *last* axis first, so the list is reversed",
    )
    expect(
        sides != (32, 32, 32),
        "a side that is a multiple of 16 already is to stay as it is: -side % 16 gives 0 there",
    )
    expect(sides == (16, 32, 32), f"sides (16, 30, 20) are to become (16, 32, 32), found {sides}")
    expect(
        torch.equal(found[..., :30, :20], image),
        "the image has moved: put all zeros at the far end, (0, m), or cropping takes another part",
    )
    rest = found.sum() - image.sum()
    expect(abs(rest) < 1e-2, "what is added is to be zero")
    image = torch.rand(1, 1, 20, 16, 16)
    sides = tuple(pad_to_16(image).shape[2:])
    expect(
        sides == (32, 16, 16),
        f"an image of 20 x 16 x 16 is to become 32 x 16 x 16, found {sides}; is the first axis "
        "padded, too?",
    )
    fitting = torch.rand(1, 1, 16, 32, 16)
    expect(torch.equal(pad_to_16(fitting), fitting), "an image that fits is to stay as it is")


@exercise
def exercise_3(block_layers: Callable[[int, int, int], list[nn.Module]]) -> None:
    """V-Net's block as a list of layers."""
    layers = parts(block_layers(3, 5, 2), "a list of layers")  # or an nn.Sequential of them
    kinds = [type(layer).__name__ for layer in layers]
    expect("BatchNorm3d" in kinds, f"no batch norm among the layers {kinds}")
    expect("ReLU" in kinds, f"no ReLU among the layers {kinds}")
    expect(
        kinds == 2 * ["Conv3d", "BatchNorm3d", "ReLU"],
        f"expected Conv3d, BatchNorm3d, ReLU for each of 2 convolutions, found {kinds}",
    )
    expect(
        layers[3].in_channels == 5,
        f"the second convolution comes from {layers[3].in_channels} channels, but the first one "
        "gave 5",
    )
    biases = [layers[i].bias is not None for i in (0, 3)]
    expect(all(biases), "a bias is missing: these convolutions have a bias, all of them")
    mine, package = nn.Sequential(*layers), conv_block(3, 5, 2)
    _same_shapes(mine, package)
    mine.load_state_dict(dict(zip(mine.state_dict(), package.state_dict().values(), strict=True)))
    image = torch.rand(2, 3, 8, 9, 10)
    found, wanted = mine(image), package(image)
    expect(
        found.shape == wanted.shape,
        f"the size is to be kept: padding=1; found {tuple(found.shape[2:])} of (8, 9, 10)",
    )
    expect(torch.allclose(found, wanted, atol=1e-5), "the shapes are right, the answers are not")
    single = parts(block_layers(4, 6, 1), "a list of layers")
    found = [
        (conv.in_channels, conv.out_channels) for conv in single if isinstance(conv, nn.Conv3d)
    ]
    expect(len(found) == 1, f"1 convolution was asked for, found {len(found)}: use `convolutions`")
    expect(
        found == [(4, 6)],
        f"right from 3 to 5 channels, but one from 4 to 6 is {found[0]}: use `c` and `d`",
    )


def _same_shapes(mine: nn.Module, package: nn.Module) -> None:
    shapes = [[tuple(v.shape) for v in block.state_dict().values()] for block in (mine, package)]
    expect(
        len(shapes[0]) == len(shapes[1]),
        "a batch norm lacks its scale and offset, or its statistics: nn.BatchNorm3d(d)",
    )
    for name, one, other in zip(mine.state_dict(), *shapes, strict=True):
        layer, _, what = name.partition(".")
        expect(one == other, f"layer {layer} of the list: its {what} is {one}, expected {other}")
