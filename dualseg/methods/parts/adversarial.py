"""What adversarial terms need: a worst-case noise, and modules that a gradient passes through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Distance = Callable[[Tensor, Tensor], Tensor]


def virtual_adversarial(
    predict: Callable[[Tensor], Tensor],
    image: Tensor,
    clean: Tensor,
    distance: Distance,
    xi: float = 10.0,
    epsilon: float = 10.0,
) -> Tensor:
    """Distance between the prediction and that of the image with the noise that changes it most.

    The noise is found by one power iteration: the gradient of the distance where the image has a
    random noise of length xi. No gradient of any parameter is touched while it is looked for.

    Parameters
    ----------
    predict : callable
        Maps an image to probabilities.
    image : Tensor, shape (B, channels, X, Y, Z)
    clean : Tensor, shape (B, C, X, Y, Z)
        Probabilities of the image, taken as constants.
    distance : callable
        Maps the changed and the clean probabilities to a scalar.
    xi, epsilon : float
        Euclidean length of a sample's noise, while it is looked for and as it is used. 10 over a
        million voxels is 0.01 a voxel.

    Returns
    -------
    Tensor
        Scalar.

    References
    ----------
    Miyato et al., Virtual adversarial training, 2018; Wu et al., SS-Net, 2022.
    """
    clean = clean.detach()
    noise = _unit(torch.rand_like(image) - 0.5).requires_grad_()
    # `grad`, and not `backward`, which would also fill the gradients of the parameters.
    (gradient,) = torch.autograd.grad(distance(predict(image + xi * noise), clean), noise)
    return distance(predict(image + epsilon * _unit(gradient)), clean)


def _unit(noise: Tensor) -> Tensor:
    """Of length 1 in each sample; a noise of zeros stays."""
    length = noise.flatten(1).norm(dim=1).view(-1, 1, 1, 1, 1)
    return noise / length.clamp_min(torch.finfo(noise.dtype).tiny)


@contextmanager
def quiet_statistics(network: nn.Module) -> Iterator[None]:
    """Within it, batch normalization uses each batch's statistics and does not remember them."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    remembered = [norm.track_running_stats for norm in norms]
    try:
        for norm in norms:
            norm.track_running_stats = False
        yield
    finally:
        for norm, before in zip(norms, remembered, strict=True):
            norm.track_running_stats = before


@contextmanager
def in_mode(module: nn.Module, training: bool) -> Iterator[None]:
    """Within it, a module is in training mode or not; then all its parts are as before."""
    before = {part: part.training for part in module.modules()}
    try:
        module.train(training)
        yield
    finally:
        for part, mode in before.items():
            part.training = mode


def reach_only_input(module: nn.Module, *inputs: Tensor) -> Any:
    """Call a module so that the gradient reaches its inputs, and none of its parameters."""
    constants = {name: parameter.detach() for name, parameter in module.named_parameters()}
    return torch.func.functional_call(module, constants, inputs)
