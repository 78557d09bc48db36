"""Parameters and multiply-accumulates of the networks, beside the paper's figures."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..networks._blocks import SegmentationNetwork, count_parameters
from ..networks.resnet34 import ResNet34
from ..networks.vnet import VNet

PATCHES = ((112, 112, 80), (96, 96, 96))
PRINTED = {"V-Net (B)": ("9.44", (47.10, 41.53)), "A + B": ("27.30", (126.95, 111.92))}
"""Millions of parameters and GMACs at `PATCHES`, as the paper's Tables 1 and 3 have them."""


def count_macs(
    network: SegmentationNetwork, patch: tuple[int, int, int], as_profilers: bool = False
) -> int:
    """Multiply-accumulate operations for one patch, batch size 1.

    Counted are the convolutions as they are computed: each weight is used once for each output
    value, in a transposed convolution once for each *input* value.

    Parameters
    ----------
    network : best on the meta device (`with torch.device("meta")`): then nothing is computed
    patch : (X, Y, Z)
    as_profilers : count as the profilers behind published tables do: transposed convolutions at
        output size (with stride 2 eight times too many), one more for each bias, and two for each
        batch-normalized value

    Returns
    -------
    int
        Not in G.
    """
    total = 0

    def add(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.BatchNorm3d):
            total += 2 * output.numel() if as_profilers else 0
            return
        assert isinstance(module, nn.Conv3d | nn.ConvTranspose3d)
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


def sizes_of_networks() -> dict[str, tuple[int, list[tuple[float, float]]]]:
    """Parameters and multiply-accumulates of the paper's networks, at its width.

    Returns
    -------
    dict
        For "ResNet34 (A)", "V-Net (B)" and "A + B": the number of parameters, and at each of
        `PATCHES` the GMACs as computed and as profilers count them (see `count_macs`).
    """
    with torch.device("meta"):
        nets: dict[str, list[SegmentationNetwork]]
        nets = {"ResNet34 (A)": [ResNet34()], "V-Net (B)": [VNet()]}
    found = {
        name: (
            sum(count_parameters(net) for net in parts),
            [
                (
                    sum(count_macs(net, patch) for net in parts) / 1e9,
                    sum(count_macs(net, patch, as_profilers=True) for net in parts) / 1e9,
                )
                for patch in PATCHES
            ],
        )
        for name, parts in nets.items()
    }
    (count_a, macs_a), (count_b, macs_b) = found.values()
    both = [(a[0] + b[0], a[1] + b[1]) for a, b in zip(macs_a, macs_b, strict=True)]
    return {**found, "A + B": (count_a + count_b, both)}


def complexity_table() -> str:
    """Parameters and MACs of both networks beside what the paper prints (its Tables 1 and 3).

    Returns
    -------
    str
        A table for the terminal.
    """
    lines = [
        f"{'':14}{'parameters':>12}  {'MACs at 112x112x80, G':>30}  {'MACs at 96x96x96, G':>30}",
        f"{'network':14}{'(paper, M)':>12}  "
        + "  ".join(2 * [f"{'computed  profiler   paper':>30}"]),
    ]
    for name, (parameters, macs) in sizes_of_networks().items():
        million, printed = PRINTED.get(name, ("", (None, None)))
        cells = [
            f"{real:13.2f}{profiled:10.2f}{f'{figure:.2f}' if figure else '':>8}"
            for (real, profiled), figure in zip(macs, printed, strict=True)
        ]
        lines.append(f"{name:14}{parameters:12,}  {cells[0]:>30}  {cells[1]:>30}")
        if million:
            lines.append(f"{'':14}{f'({million})':>12}")
    lines.append(
        "computed: multiply-accumulates of the convolutions; profiler: counted as for the paper's "
        "table,\ntransposed convolutions at output size (8 times too many), biases and batch norms "
        "included."
    )
    return "\n".join(lines)
