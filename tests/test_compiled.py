"""Compiled networks: the same numbers, names and dropout, and a sentence where it cannot work."""

import copy
import os

import pytest
import torch
from torch import nn

from dualseg.errors import DualsegError
from dualseg.networks import conv_block
from dualseg.training.compiled import compile_networks, require_compiler
from dualseg.training.loop import fit


def test_a_machine_without_a_compiler_is_told_before_anything_is_written(
    small, tmp_path, monkeypatch
):
    def no_compiler(function):
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(torch, "compile", no_compiler)
    with pytest.raises(DualsegError, match=r"compile: .*\(No working C\+\+ compiler found\); inst"):
        fit(small.replace(compile=True), tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


def one_pass(method: nn.Module, image: torch.Tensor) -> list[torch.Tensor]:
    """Output, gradients and batch-norm statistics of a pass in training mode."""
    torch.manual_seed(1)
    output = method.network(image)
    output.square().mean().backward()
    return [output, *(p.grad for p in method.parameters()), *method.buffers()]


@pytest.mark.skipif(
    "DUALSEG_TEST_COMPILE" not in os.environ,
    reason="DUALSEG_TEST_COMPILE is not set: to compile takes minutes on a busy CPU",
)
def test_compiled_networks_give_the_same_numbers():
    require_compiler()
    torch.manual_seed(0)
    # A block of the networks, as to compile both of them takes minutes on a CPU.
    plain = nn.Module()
    plain.network = nn.Sequential(conv_block(1, 4, 1), nn.Dropout3d(0.5), nn.Conv3d(4, 2, 1))
    compiled = copy.deepcopy(plain)
    compile_networks(compiled)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    image = torch.randn(2, 1, 8, 8, 8)
    expected, found = (one_pass(method, image) for method in (plain, compiled))
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
