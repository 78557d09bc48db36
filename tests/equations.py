"""The paper's equations in NumPy float64, written out plainly, and inputs to compare on."""

import numpy as np
import torch

VOXELS = (2, 6, 5, 4)  # batch and volume
GAMMA = 30.0  # the paper's for BraTS: few voxels are reliable


def make_case(kind: str) -> dict[str, np.ndarray]:
    """Logits (2, 2, 6, 5, 4), features (2, 5, 6, 5, 4) of A and B and a label, float64."""
    rng = np.random.default_rng(7)
    label = np.zeros(VOXELS, int)
    label[:, 1:4, 1:4, 1:3] = 1
    label[0, 1, 1, 1] = 0  # so that the samples differ
    margin = 4.0 * (2 * label - 1)
    if kind == "uncertain object":
        # Sure of the background, barely for the object: no object voxel is below the percentile.
        margin = np.where(label == 1, 0.3, -5.0)
    if kind == "no foreground":
        margin, label = np.full(VOXELS, -5.0), np.zeros_like(label)
    noise = {"disagreement": 3.0, "identical networks": 3.0}.get(kind, 0.1)
    logits = [
        np.stack([-margin / 2, margin / 2], 1) + rng.normal(0, noise, (2, 2, *VOXELS[1:]))
        for _ in range(2)
    ]
    features = [rng.normal(0.5, 1, (2, 5, *VOXELS[1:])) for _ in range(2)]
    if kind == "identical networks":
        logits[1], features[1] = logits[0], features[0]
    return {
        "a": logits[0],
        "b": logits[1],
        "features_a": features[0],
        "features_b": features[1],
        "label": label,
    }


KINDS = ("disagreement", "uncertain object", "identical networks", "no foreground")


def tensor(array) -> torch.Tensor:
    """As training has it: float32."""
    array = np.asarray(array)
    return torch.from_numpy(array).float() if array.dtype == float else torch.from_numpy(array)


def softmax(logits):
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def voxel_cross_entropy(logits, label):
    return -np.log(np.take_along_axis(softmax(logits), label[:, None], 1))[:, 0]


def dice(prob, target):
    return 1 - (2 * (prob * target).sum() + 1e-5) / ((prob**2).sum() + (target**2).sum() + 1e-5)


def entropy(prob):
    return -(prob * np.log2(prob)).sum(1)


def sure(prob, gamma, strictly=False):
    """Which voxels lie below the gamma-th percentile of the entropies of all voxels."""
    bits = entropy(prob)
    limit = np.percentile(bits, gamma)
    return bits < limit if strictly else bits <= limit


def reliable_voxels(case, gamma=GAMMA):
    a, b = softmax(case["a"]), softmax(case["b"])
    both = sure(a, gamma, strictly=True) & sure(b, gamma, strictly=True)
    return both & (a.argmax(1) == b.argmax(1))


def contrast(features, label, reliable, sign, reduction, normalise):
    """Eq. 20 by a loop over voxels."""

    def unit(v):
        return v / np.linalg.norm(v) if normalise else v

    vectors = np.moveaxis(features, 1, -1)
    prototypes = {}
    for c in (0, 1):
        members = vectors[reliable & (label == c)]
        if len(members):
            prototypes[c] = unit(members.mean(0))
    total = 0.0
    for c, prototype in prototypes.items():
        far = [np.linalg.norm(unit(v) - prototype) for v in vectors[~reliable & (label == c)]]
        total += (np.mean(far) if reduction == "mean" else np.sum(far)) if far else 0.0
    if len(prototypes) == 2:
        total += sign * np.linalg.norm(prototypes[0] - prototypes[1])
    return total
