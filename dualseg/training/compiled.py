"""Networks through torch.compile: equal up to rounding, in fewer and larger kernels."""

from __future__ import annotations

import torch
from torch import nn

from .._util.environment import pick_device
from ..errors import DualsegError


def compile_networks(method: nn.Module) -> None:
    """Let torch compile each network of a method, in place; its weights keep their names.

    The shapes of a training never change, so on a GPU the passes of a network are replayed as CUDA
    graphs where torch can. Dropout draws the same numbers as without compiling.
    """
    options = {"fallback_random": True, "triton.cudagraphs": pick_device().type == "cuda"}
    for network in method.children():
        network.compile(dynamic=False, options=options)


def require_compiler() -> None:
    """Raise DualsegError where torch.compile does not work."""
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.ones(8, device=pick_device()))
    except Exception as error:  # each missing part has an error of its own
        reason = " ".join(str(error).split("\n")[:2]).strip()
        raise DualsegError(
            "compile: expected that torch.compile works on this machine, found that it does not "
            f"({reason}); install a C++ compiler (for a GPU also Triton), or leave --compile out."
        ) from error
