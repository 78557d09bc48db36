"""How the programs of the field do it: the plain side of the ratios.

Rewritten from what they do, not copied. Losses term by term from softmax maps, percentiles by NumPy
on the host, boolean indexing (LUSEG, MCF); whole gzip-compressed cases read for each crop (UA-MT
and all that use its loader); windows one by one, summed on the host; medpy on whole volumes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dualseg.data.batches import Batch
from dualseg.methods.dual_settings import DualSettings


def total_loss(
    networks: Sequence[nn.Module], batch: Batch, choices: DualSettings, t: float
) -> Tensor:
    """Eq. 1 with the preset "paper" at time `t`: the method's losses, each by itself."""
    outputs = [network(batch.image) for network in networks]
    known, label = slice(0, batch.labeled), batch.label
    (la, fa), (lb, fb) = [(o.logits[batch.labeled :], o.features[batch.labeled :]) for o in outputs]
    loss = 0
    soft = [torch.softmax(output.logits[known], dim=1)[:, 1] for output in outputs]
    for output, p in zip(outputs, soft, strict=True):
        overlap, size = (p * label).sum(), (p * p).sum() + (label * label).sum()
        dice = 1 - (2 * overlap + 1e-5) / (size + 1e-5)
        loss = loss + F.cross_entropy(output.logits[known], label) + dice
    votes = [(p > 0.5) & (p >= choices.mask_threshold) for p in soft]
    mask = (votes[0] ^ votes[1]).float()
    for p in soft:
        loss = loss + choices.alpha * ((p - label) ** 2 * mask).sum() / (mask.sum() + 1e-16)
    hard_a, hard_b = (torch.argmax(torch.softmax(x, dim=1), dim=1).detach() for x in (la, lb))
    loss = loss + F.cross_entropy(la, hard_b) + F.cross_entropy(lb, hard_a)
    ignored = _uncertain(la, choices.gamma)[0] | _uncertain(lb, choices.gamma)[0]
    for x, hard in ((la, hard_b), (lb, hard_a)):
        target = hard.clone()
        target[ignored] = 255
        total = F.cross_entropy(x, target, ignore_index=255, reduction="sum")
        loss = loss + total / max(int((target != 255).sum()), 1)
    for x, y in ((la, lb.detach()), (lb, la.detach())):
        soft_target = torch.softmax(y / choices.temperature, dim=1)
        cross = -(soft_target * torch.log_softmax(x, dim=1)).sum(dim=1)
        log_student, log_teacher = torch.log_softmax(x, dim=1), torch.log_softmax(y, dim=1)
        kl = F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(dim=1)
        loss = loss + (torch.exp(-kl) * cross + kl).mean()
    sure = _uncertain(la, choices.gamma)[1] & _uncertain(lb, choices.gamma)[1] & (hard_a == hard_b)
    weight = 0.1 * math.exp(-4 * (1 - t) ** 2)
    for features in (fa, fb):
        loss = loss + weight / 2 * _contrast(features, hard_a, sure)
    return loss


def _uncertain(logits: Tensor, percentile: float) -> tuple[Tensor, Tensor]:
    """Voxels with an entropy above the percentile, and those below it."""
    p = torch.softmax(logits.detach(), dim=1)
    entropy = -torch.sum(p * torch.log2(p + 1e-30), dim=1)
    threshold = np.percentile(entropy.cpu().numpy().flatten(), percentile)
    return entropy > threshold, entropy < threshold


def _contrast(features: Tensor, hard: Tensor, sure: Tensor) -> Tensor:
    vectors = features.permute(0, 2, 3, 4, 1)
    loss, prototypes = 0, []
    for c in (0, 1):
        members = vectors[sure & (hard == c)]
        if len(members) == 0:
            continue
        prototypes.append(F.normalize(members.mean(dim=0), dim=0))
        others = F.normalize(vectors[~sure & (hard == c)], dim=1)
        if len(others):
            loss = loss + torch.norm(others - prototypes[-1], dim=1).mean()
    if len(prototypes) == 2:
        loss = loss + torch.norm(prototypes[0] - prototypes[1])
    return loss


def read_batch(
    paths: Sequence[Path], patch: Sequence[int], rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """A batch of random crops: every case is read whole, and cropped. Volumes above the patch."""
    images, labels = [], []
    for path in paths:
        with h5py.File(path, "r") as file:
            image, label = file["image"][:], file["label"][:]
        starts = [
            rng.integers(0, side - size) for side, size in zip(label.shape, patch, strict=True)
        ]
        window = tuple(slice(s, s + size) for s, size in zip(starts, patch, strict=True))
        images.append(torch.from_numpy(image[window].astype(np.float32))[None])
        labels.append(torch.from_numpy(label[window]).long())
    return torch.stack(images), torch.stack(labels)


@torch.no_grad()
def window_labels(
    networks: Sequence[nn.Module], image: np.ndarray, patch: Sequence[int], stride: Sequence[int]
) -> np.ndarray:
    """Class 0 or 1 of each voxel of a volume (X, Y, Z) that no side of the patch exceeds."""
    counts = [
        math.ceil((side - p) / s) + 1 for side, p, s in zip(image.shape, patch, stride, strict=True)
    ]
    scores = np.zeros((2, *image.shape), np.float32)
    visits = np.zeros(image.shape, np.float32)
    for place in np.ndindex(*counts):
        window = tuple(
            slice(start, start + p)
            for start, p in (
                (min(i * s, side - p), p)
                for i, s, side, p in zip(place, stride, image.shape, patch, strict=True)
            )
        )
        crop = torch.from_numpy(image[window][None, None].astype(np.float32))
        device = next(networks[0].parameters()).device
        soft = [torch.softmax(net(crop.to(device)).logits, dim=1) for net in networks]
        scores[(slice(None), *window)] += ((soft[0] + soft[1]) / 2).cpu().numpy()[0]
        visits[window] += 1
    return np.argmax(scores / visits, axis=0)


def metrics(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """The field's four numbers, each by its own call."""
    from medpy.metric import binary  # here: a training machine need not have it

    return {
        "dice": 100 * binary.dc(prediction, truth),
        "jaccard": 100 * binary.jc(prediction, truth),
        "hd95": float(binary.hd95(prediction, truth)),
        "asd": float(binary.asd(prediction, truth)),
    }
