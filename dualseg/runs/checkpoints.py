"""Weights, optimizer state and progress of a training in safetensors files with a digest."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from .._util.files import write_atomically
from .._util.memory import require_memory
from ..errors import DualsegError
from ..methods import Method

_WEIGHT, _OPTIMIZER = "weight:", "optimizer:"
_DIGEST = "sha256"


def write_checkpoint(
    path: Path,
    method: Method,
    optimizers: Mapping[str, torch.optim.Optimizer],
    progress: dict[str, float],
) -> None:
    """The method's weights and buffers, and the state of the optimizers.

    They are in one file that is replaced as a whole, with a digest of what is in it.
    """
    tensors = {_WEIGHT + name: t for name, t in method.state_dict().items()}
    for prefix, optimizer in _by_prefix(optimizers).items():
        for index, state in optimizer.state_dict()["state"].items():
            for name, value in state.items():
                if value is not None:
                    tensors[f"{prefix}{index}:{name}"] = torch.as_tensor(value)
    tensors = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    metadata = {name: repr(value) for name, value in progress.items()}
    metadata[_DIGEST] = _digest(tensors, metadata)
    write_atomically(path, save(tensors, metadata))


def _by_prefix(
    optimizers: Mapping[str, torch.optim.Optimizer],
) -> dict[str, torch.optim.Optimizer]:
    """The optimizers by what the names of their tensors begin with; the first has no name there."""
    return {
        f"optimizer.{name}:" if number else _OPTIMIZER: optimizer
        for number, (name, optimizer) in enumerate(optimizers.items())
    }


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Read a checkpoint.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict of str to Tensor
        The tensors by name.
    dict of str to float
        The progress.

    Raises
    ------
    DualsegError
        If the file is damaged, be it by one bit (earlier versions noted no digest).
    """
    try:
        require_memory([path.stat().st_size], 1, path)
        data = path.read_bytes()
        # Not with safe_open: its get_tensor never frees two numbers of every tensor (0.8.0).
        tensors = load(data)
        metadata = _metadata(data)
        digest = metadata.pop(_DIGEST, None)
        progress = {k: float(v) for k, v in metadata.items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise DualsegError(
            f"{path}: expected a checkpoint (safetensors), found a damaged or foreign file "
            f"({error}); put a copy in its place, or delete the run's folder and train again."
        ) from error
    if digest not in (None, _digest(tensors, metadata)):
        raise DualsegError(
            f"{path}: was damaged since it was written (its SHA-256 differs from the noted one); "
            "put a copy in its place, or train again in another --out."
        )
    return tensors, progress


def _metadata(data: bytes) -> dict[str, str]:
    """Of a safetensors file: 8 bytes with the length of the JSON that follows them."""
    header = data[8 : 8 + int.from_bytes(data[:8], "little")]
    return json.loads(header).get("__metadata__") or {}


def _digest(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def checked_progress(progress: dict[str, float], total: int, path: Path) -> dict[str, float]:
    """A checkpoint's progress, if it is one within `total` steps; else raises DualsegError."""
    for name, most in (("step", total), ("seconds", math.inf), ("peak_memory_mb", math.inf)):
        value = progress.get(name, math.nan)
        if not (0 <= value <= most and math.isfinite(value)) or (name == "step" and value % 1):
            raise DualsegError(
                f"{path}: expected a checkpoint within the run's {total} steps, found "
                f"{name} = {value}; use the checkpoint with its own run.json."
            )
    return progress


def load_weights(method: Method, tensors: dict[str, Tensor], path: Path) -> None:
    """Put a checkpoint's weights into the method, all of them or (with DualsegError) none."""
    weights = {n.removeprefix(_WEIGHT): t for n, t in tensors.items() if n.startswith(_WEIGHT)}
    expected = method.state_dict()
    for name in sorted(expected.keys() | weights.keys()):
        want, got = (
            f"{tuple(part[name].shape)} {part[name].dtype}" if name in part else "none"
            for part in (expected, weights)
        )
        if want != got:
            raise DualsegError(
                f"{path}: holds other networks than the run's config describes: tensor {name!r} "
                f"expected {want}, found {got}; use the checkpoint with its own run.json."
            )
    method.load_state_dict(weights)


def load_optimizers(
    optimizers: Mapping[str, torch.optim.Optimizer], tensors: dict[str, Tensor], path: Path
) -> None:
    """Put the state of the optimizers back; raises DualsegError where it is of other ones."""
    saved: dict[str, dict[str, Tensor]] = {prefix: {} for prefix in _by_prefix(optimizers)}
    for key, tensor in tensors.items():
        if not key.startswith(_WEIGHT):
            prefix, colon, place = key.partition(":")
            if prefix + colon not in saved:
                _refuse_state(path, key, tensor)
            saved[prefix + colon][place] = tensor
    for prefix, optimizer in _by_prefix(optimizers).items():
        _load_state(optimizer, saved[prefix], path)


def _load_state(optimizer: torch.optim.Optimizer, saved: dict[str, Tensor], path: Path) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    expected = _state_after_a_step(optimizer) if saved else {}
    state: dict[int, dict[str, Tensor]] = {}
    for place, tensor in saved.items():
        index, _, name = place.partition(":")
        like = expected.get(index, {}).get(name)
        if like is None or tensor.shape != like.shape:
            _refuse_state(path, place, tensor)
        if tensor.shape == parameters[int(index)].shape:
            # A copy in the parameter's own memory layout, as the optimizer itself would hold it.
            tensor = torch.empty_like(parameters[int(index)], dtype=tensor.dtype).copy_(tensor)
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _state_after_a_step(optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
    """What an optimizer of this kind remembers of each parameter, found with a copy of it."""
    twin = copy.deepcopy(optimizer)
    for group in twin.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    twin.step()
    return {
        str(index): {n: torch.as_tensor(v) for n, v in state.items() if v is not None}
        for index, state in twin.state_dict()["state"].items()
    }


def _refuse_state(path: Path, name: str, tensor: Tensor) -> NoReturn:
    raise DualsegError(
        f"{path}: holds the state of another optimizer than the run's, {name!r} of shape "
        f"{tuple(tensor.shape)}; use the checkpoint with its own run.json."
    )
