"""SASSNet, DTC, SS-Net, BCP and URPC: who learns from what, values, phases, resuming."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ranks import become, exit_codes, free_ports
from scipy.ndimage import distance_transform_edt
from scipy.special import expit as sigmoid
from test_method_interface import broken_and_resumed, same, weights
from torch import nn

from dualseg.config.experiment import Experiment
from dualseg.config.training import Progress
from dualseg.data.batches import Batch
from dualseg.data.known import dataset_spec
from dualseg.data.spec import DatasetSpec
from dualseg.errors import DualsegError
from dualseg.methods import METHODS, Method, build_method
from dualseg.methods.base import total_loss
from dualseg.methods.bcp import BCP
from dualseg.methods.parts.compactness import ClassCompactness
from dualseg.methods.ss_net import SSNet
from dualseg.methods.urpc import pyramid_consistency
from dualseg.networks import NetworkOutput
from dualseg.networks.distance_vnet import DistanceOutput
from dualseg.runs.checkpoints import read_checkpoint
from dualseg.runs.run import Run
from dualseg.training.distributed import Ranks, joined
from dualseg.training.loop import fit
from dualseg.training.start import check_batch

NAMES = ("sassnet", "dtc", "ss_net", "bcp", "urpc")
MIDDLE = Progress(5, 10)  # all ramps have begun, and BCP is in its second phase
TWO = DatasetSpec("two", "", ("background", "object"), (1.0, 1.0, 1.0), "RAS", 2, {})


def experiment(name: str, **changes) -> Experiment:
    side = 32 if name == "urpc" else 16
    sizes = {"patch": (side,) * 3, "stride": (side // 2,) * 3, "filters": 2}
    return Experiment("phantom", "smoke", method=name, **{**sizes, **changes})


def built(name: str, **changes) -> Method:
    return build_method(experiment(name, **changes), dataset_spec("phantom")).train()


def crops(name: str, labeled: int = 4, unlabeled: int = 4) -> Batch:
    """Noise with a bright box, which the label marks."""
    side = 32 if name == "urpc" else 16
    image = torch.randn(labeled + unlabeled, 1, side, side, side)
    label = torch.zeros(labeled, side, side, side, dtype=torch.int64)
    label[:, 3:11, 4:12, 5:9] = 1
    image[:, :, 3:11, 4:12, 5:9] += 2
    return Batch(image, label, ("case",) * len(image))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(1)


class Fixed(nn.Module):
    """A network that returns given outputs, one a call, and remembers its images."""

    def __init__(self, *outputs):
        super().__init__()
        self.outputs, self.images, self.modes = list(outputs), [], []

    def forward(self, image):
        self.images.append(image)
        self.modes.append(self.training)
        return self.outputs.pop(0)


# Who learns from what


def place(name: str) -> str:
    """The part that a parameter belongs to: encoder, decoder, one of its heads, another network."""
    words = name.split(".")
    if words[:3] == ["network", "decoder", "heads"]:
        return f"head {words[3]}"
    if words[:2] == ["compactness", "heads"]:
        return words[2]
    return words[1] if words[0] == "network" else words[0]


def learners(method: Method, term: torch.Tensor) -> set[str]:
    """Parts of the method with a gradient other than 0; of a head of two channels, each one."""
    method.zero_grad()
    term.backward(retain_graph=True)
    reached = set()
    for name, parameter in method.named_parameters():
        if parameter.grad is None or not parameter.grad.any():
            continue
        if name == "network.decoder.head.weight":
            reached |= {f"head {i}" for i, row in enumerate(parameter.grad) if row.any()}
        elif name != "network.decoder.head.bias":
            reached.add(place(name))
    return reached


BODY = {"encoder", "decoder"}
MASK, DISTANCE = {"head 0"}, {"head 1"}
CLASSES = MASK | DISTANCE  # of the other V-Nets
PYRAMID = {f"head {i}" for i in range(4)}
HEADS = {"projection", "prediction", "voxel_selectors", "memory_selectors"}
LEARNERS = {
    "dtc": {
        "supervised": BODY | MASK,
        "distance": BODY | DISTANCE,
        "consistency": BODY | MASK | DISTANCE,
    },
    "sassnet": {
        "supervised": BODY | MASK,
        "distance": BODY | DISTANCE,
        "adversarial": BODY | DISTANCE,
        "discriminator": {"discriminator"},
    },
    "ss_net": {
        "supervised": BODY | CLASSES,
        "adversarial": BODY | CLASSES,
        "contrast": BODY | HEADS,
    },
    "bcp": {"supervised": BODY | CLASSES, "pseudo": BODY | CLASSES},
    "urpc": {"supervised": BODY | PYRAMID, "consistency": BODY | PYRAMID},
}


@pytest.mark.parametrize("name", NAMES)
def test_each_term_teaches_its_own_side(name):
    method = built(name)
    terms = method.loss(crops(name), MIDDLE)
    assert terms.keys() == LEARNERS[name].keys() == method.weights(MIDDLE).keys()
    assert method.equations.keys() == terms.keys()
    for term, expected in LEARNERS[name].items():
        assert learners(method, terms[term]) == expected, term


@pytest.mark.parametrize("step", [0, 5])
@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_that_is_trained_has_a_gradient_in_every_step(name, step):
    """Also in the first step, where BCP has labels only; else several processes would wait."""
    method, progress = built(name), Progress(step, 10)
    batch = crops(name)
    if name == "ss_net" and step == 0:
        batch = Batch(batch.image, torch.zeros_like(batch.label), batch.ids)  # no memory yet
    total_loss(method.loss(batch, progress), method.weights(progress)).backward()
    without = {n for n, p in method.named_parameters() if p.grad is None}
    assert without == {n for n, _ in method.named_parameters() if n.startswith("teacher.")}
    if name == "ss_net" and step == 0:
        assert not method.compactness.memory.filled.any()
        assert not any(p.grad.any() for p in method.compactness.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_leaves_every_module_in_training_mode(name):
    method = built(name)
    method.loss(crops(name), MIDDLE)
    assert all(module.training for module in method.modules())
    norms = [m for m in method.modules() if isinstance(m, nn.BatchNorm3d | nn.BatchNorm1d)]
    assert all(norm.track_running_stats for norm in norms)


# Prediction

WRONG_PARTS = {  # what must not matter to a prediction
    "sassnet": lambda m: [*m.discriminator.parameters(), *distance_head(m)],
    "dtc": lambda m: distance_head(m),
    "ss_net": lambda m: [*m.compactness.parameters(), m.compactness.memory.vectors],
    "bcp": lambda m: m.teacher.parameters(),
    "urpc": lambda m: [p for head in m.network.decoder.heads[:3] for p in head.parameters()],
}


def distance_head(method: Method) -> list[torch.Tensor]:
    head = method.network.decoder.head
    return [head.weight[1:], head.bias[1:]]


@pytest.mark.parametrize("name", NAMES)
def test_the_right_head_predicts(name):
    method, image = built(name).eval(), crops(name).image[:2]
    with torch.no_grad():
        before = method.predict(image)
        for tensor in WRONG_PARTS[name](method):
            tensor.copy_(torch.randn_like(tensor))
        assert torch.equal(method.predict(image), before)
        torch.testing.assert_close(before.sum(1), torch.ones_like(before[:, 0]))
        for tensor in method.network.parameters():
            tensor.mul_(1.5)
        assert not torch.allclose(method.predict(image), before, atol=1e-3)


def test_a_mask_is_predicted_where_its_logit_is_above_zero():
    method = built("dtc")
    mask = torch.randn(2, 4, 4, 4)
    method.network = Fixed(DistanceOutput(mask, torch.randn(2, 4, 4, 4)))
    found = method.predict(torch.randn(2, 1, 4, 4, 4))
    assert torch.equal(found.argmax(1) == 1, mask > 0)
    torch.testing.assert_close(found[:, 1], 1 / (1 + (-mask).exp()))


# What is refused


@pytest.mark.parametrize("name", ["sassnet", "dtc"])
def test_one_distance_map_is_for_two_classes(name):
    spec = DatasetSpec("three", "", ("background", "a", "b"), (1.0, 1.0, 1.0), "RAS", 2, {})
    with pytest.raises(DualsegError, match="expected two classes for .*, found 3 .background, a"):
        build_method(experiment(name), spec)


@pytest.mark.parametrize("name", ["ss_net", "bcp", "urpc"])
def test_the_others_take_three_classes(name):
    spec = DatasetSpec("three", "", ("background", "a", "b"), (1.0, 1.0, 1.0), "RAS", 2, {})
    method, batch = build_method(experiment(name), spec).train(), crops(name)
    batch.label[:, :2, :4] = 2
    total = total_loss(method.loss(batch, MIDDLE), method.weights(MIDDLE))
    assert total.isfinite()
    assert method.eval().predict(batch.image[:1]).shape[1] == 3


def test_the_pyramid_refuses_small_crops():
    with pytest.raises(DualsegError, match="patch: expected sides of at least 32, .*use --patch"):
        built("urpc", patch=(48, 32, 31), stride=(8, 8, 8))


def test_the_discriminator_refuses_very_small_crops():
    with pytest.raises(DualsegError, match="patch: expected sides of at least 16, .*found"):
        built("sassnet", patch=(16, 16, 15), stride=(8, 8, 8))


@pytest.mark.parametrize(("labeled", "unlabeled"), [(3, 3), (4, 2), (1, 1), (2, 4)])
def test_copy_paste_refuses_batches_that_have_no_halves(labeled, unlabeled):
    # Crops large enough for batch norm of a single sample.
    sizes = {"patch": (32, 32, 32), "labeled_batch": labeled, "unlabeled_batch": unlabeled}
    wrong = experiment("bcp", **sizes)
    with pytest.raises(DualsegError, match="labeled_batch: expected an even number.*4 --unlabeled"):
        check_batch(wrong, build_method(wrong, dataset_spec("phantom")), Ranks(0, 1))


def test_half_the_labeled_batch_is_the_smallest_pass():
    small = experiment("bcp", labeled_batch=2, unlabeled_batch=2)
    with pytest.raises(DualsegError, match="patch: expected a side above 16 for a batch of one"):
        check_batch(small, build_method(small, dataset_spec("phantom")), Ranks(0, 1))
    usual = experiment("bcp")
    assert (usual.train.labeled_batch, usual.train.unlabeled_batch) == (4, 4)
    check_batch(usual, build_method(usual, dataset_spec("phantom")), Ranks(0, 1))


# Values: five fixed inputs, in float64 from the equations

KINDS = ("noise", "sure and right", "sure and wrong", "undecided", "nothing there")


def inputs(kind: str, samples: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits (samples, channels, 5, 4, 6) and a label, 0 or 1, for the first half of them."""
    rng = np.random.default_rng(KINDS.index(kind))
    label = np.zeros((samples, 5, 4, 6), np.int64)
    label[:, 1:4, :3, 2:5] = 1
    label[0, 1, 1, 2] = 0  # so that the samples differ
    if kind == "nothing there":
        label[:] = 0
    right = 4.0 * (2 * label - 1)[:, None] * np.linspace(-1, 1, channels)[None, :, None, None, None]
    logits = rng.normal(0, 1, (samples, channels, 5, 4, 6))
    if kind == "undecided":
        logits = np.zeros_like(logits)
    elif kind != "noise":
        logits = logits / 4 + (-right if kind == "sure and wrong" else right)
    return logits, label[: samples // 2]


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def signed_distance_by_scipy(mask: np.ndarray) -> np.ndarray:
    if mask.all() or not mask.any():
        return np.zeros(mask.shape)
    inside, outside = distance_transform_edt(mask), distance_transform_edt(~mask)
    return outside / outside.max() - np.where(inside == 1, 0, inside / inside.max())


@pytest.mark.parametrize("kind", KINDS)
def test_the_terms_of_dtc_are_those_of_its_equations(kind):
    logits, label = inputs(kind, samples=4, channels=2)
    # The steep slope shows only near the surface: of noise there is much there.
    mask, distance = logits[:, 0], np.tanh(logits[:, 1] / (1000 if kind == "noise" else 1))
    method = built("dtc")
    method.network = Fixed(DistanceOutput(torch.tensor(mask), torch.tensor(distance)))
    image = torch.zeros(4, 1, 5, 4, 6)
    terms = method.loss(Batch(image, torch.tensor(label), ("case",) * 4), MIDDLE)
    p = sigmoid(mask)
    dice = 1 - (2 * (p[:2] * label).sum() + 1e-5) / ((p[:2] ** 2).sum() + (label**2).sum() + 1e-5)
    target = np.stack([signed_distance_by_scipy(sample == 1) for sample in label])
    expected = {
        "supervised": dice,
        "distance": ((distance[:2] - target) ** 2).mean(),
        "consistency": ((sigmoid(-1500 * distance) - p) ** 2).mean(),
    }
    found = {name: term.item() for name, term in terms.items()}
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_a_perfect_pair_disagrees_only_on_the_surface():
    method, label = built("dtc"), crops("dtc").label
    target = torch.stack(
        [torch.from_numpy(signed_distance_by_scipy(y.numpy() == 1)).float() for y in label]
    )
    perfect = DistanceOutput((label * 2.0 - 1) * 100, target)
    method.network = Fixed(perfect)
    term = method.loss(Batch(crops("dtc").image[:4], label, ("case",) * 4), MIDDLE)["consistency"]
    surface = ((target == 0) & (label == 1)).float().mean()
    assert term.item() == pytest.approx(0.25 * surface.item(), rel=1e-3)


class Judge(nn.Module):
    """A discriminator of one multiplication, which remembers what it saw and in which mode."""

    def __init__(self):
        super().__init__()
        self.factors = nn.Parameter(torch.tensor([1.0, -2.0]))
        self.seen = []

    def forward(self, values, image):
        self.seen.append((values.detach(), image, self.training))
        return values.mean((1, 2, 3, 4))[:, None] * self.factors


def judged(maps: np.ndarray, answer: list[int]) -> float:
    """Mean cross-entropy of a `Judge`'s logits to the answers; 1: the map of a labeled sample."""
    logits = maps.mean((1, 2, 3))[:, None] * np.array([1.0, -2.0])
    return -np.log(softmax(logits)[np.arange(len(maps)), answer]).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_the_terms_of_sassnet_are_those_of_its_equations(kind):
    logits, label = inputs(kind, samples=4, channels=2)
    trained, quiet = np.tanh(logits[:, 1]), np.tanh(logits[:, 0] + 0.3)
    method = built("sassnet")
    mask = torch.tensor(logits[:, 0])
    outputs = [DistanceOutput(mask, torch.tensor(maps).float()) for maps in (trained, quiet)]
    method.network, method.discriminator = Fixed(*outputs), Judge()
    image = torch.randn(4, 1, 5, 4, 6)
    terms = method.loss(Batch(image, torch.tensor(label), ("case",) * 4), MIDDLE)
    target = np.stack([signed_distance_by_scipy(sample == 1) for sample in label])
    p = sigmoid(logits[:2, 0])
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        {
            "supervised": 1 - (2 * (p * label).sum() + 1e-5) / ((p**2 + label).sum() + 1e-5),
            "distance": ((trained[:2] - target) ** 2).mean(),
            "adversarial": judged(trained[2:], [1, 1]),  # to be taken for labeled ones
            "discriminator": judged(quiet, [1, 1, 0, 0]),
        },
        rel=1e-5,
        abs=1e-6,
    )
    # The network is trained in the first pass and quiet in the second; the judge the other way.
    assert method.network.modes == [True, False]
    fooled, told = method.discriminator.seen
    assert [fooled[2], told[2]] == [False, True]
    assert torch.equal(fooled[1], image[2:]) and torch.equal(told[1], image)


def region_loss(logits: np.ndarray, label: np.ndarray, region: np.ndarray) -> float:
    """(CE + Dice) / 2 of the voxels of a region; each sample and class has a Dice of its own."""
    prob, dices, truth = softmax(logits), [], np.stack([label == 0, label == 1], 1)
    for p, y in zip(prob.reshape(-1, *region.shape), truth.reshape(-1, *region.shape), strict=True):
        overlap, size = (p * y)[region].sum(), p[region].sum() + y[region].sum()
        dices.append(1 - (2 * overlap + 1e-5) / (size + 1e-5))
    cross = -np.log((prob * truth).sum(1))[:, region]
    return (cross.mean() + np.mean(dices)) / 2


def largest_by_hand(mask: np.ndarray) -> np.ndarray:
    """The largest 26-connected component, by spreading from one voxel after the other."""
    best, left = np.zeros_like(mask), mask.copy()
    while left.any():
        part = np.zeros_like(mask)
        part[tuple(np.argwhere(left)[0])] = True
        size = 0
        while part.sum() > size:
            size = part.sum()
            for voxel in np.argwhere(part):
                near = tuple(slice(max(i - 1, 0), i + 2) for i in voxel)
                part[near] |= left[near]
        left &= ~part
        best = part if part.sum() > best.sum() else best
    return best


def set_up(kind: str, mixing: bool = True) -> tuple[BCP, Batch, dict[str, np.ndarray]]:
    """BCP with networks of fixed outputs; a, b, u and v have images full of 1, 2, 3 and 4."""
    student, label = inputs(kind, samples=8, channels=2)
    teacher = np.random.default_rng(9).normal(0, 1, (4, 2, 5, 4, 6))
    method = built("bcp", mixing=mixing)
    parts = [NetworkOutput(torch.tensor(x), torch.zeros(1)) for x in np.split(student, 4)]
    method.network = Fixed(*parts)
    taught = [NetworkOutput(torch.tensor(x), torch.zeros(1)) for x in np.split(teacher, 2)]
    method.teacher = Fixed(*taught)
    image = torch.arange(1.0, 5).repeat_interleave(2).view(8, 1, 1, 1, 1).expand(8, 1, 5, 4, 6)
    batch = Batch(image, torch.tensor(label), ("case",) * 8)
    pseudo = np.stack([largest_by_hand(p[1] > p[0]) for p in teacher]).astype(int)
    values = {"a": label[:2], "b": label[2:], "u": pseudo[:2], "v": pseudo[2:]}
    return method, batch, {"logits": np.split(student, 4), **values}


@pytest.mark.parametrize("kind", KINDS)
def test_the_terms_of_copy_paste_are_those_of_its_equations(kind):
    method, batch, values = set_up(kind)
    terms = method.loss(batch, MIDDLE)
    taught = [image.unique().tolist() for image in method.teacher.images]
    assert taught == [[3], [4]]  # u, then v, without a box
    first, second = (image.numpy()[:, 0] for image in method.network.images)
    box = first[0] == 3
    assert box.sum() == 3 * 2 * 4
    for image, around, within in ((first, 1, 3), (second, 4, 2)):  # a with u, v with b
        assert ((image == within) == box).all() and ((image == around) == ~box).all()
    one, two = values["logits"][:2]
    expected = {
        "supervised": region_loss(one, values["a"], ~box) + region_loss(two, values["b"], box),
        "pseudo": region_loss(one, values["u"], box) + region_loss(two, values["v"], ~box),
    }
    found = {name: term.item() for name, term in terms.items()}
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert method.weights(MIDDLE) == {"supervised": 1.0, "pseudo": 0.5}


@pytest.mark.parametrize("kind", KINDS)
def test_pretraining_mixes_labeled_samples_with_each_other(kind):
    method, batch, values = set_up(kind)
    start = Progress(0, 10)
    terms = method.loss(batch, start)
    (image,) = (image.numpy()[:, 0] for image in method.network.images)
    assert not method.teacher.images
    box = image[0] == 2
    assert box.sum() == 3 * 2 * 4 and ((image == 1) == ~box).all()
    mixed = np.where(box, values["b"], values["a"])
    expected = region_loss(values["logits"][0], mixed, np.ones_like(box))
    assert terms["supervised"].item() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert terms["pseudo"] == 0
    assert method.weights(start) == {"supervised": 1.0, "pseudo": 0.0}


@pytest.mark.parametrize("kind", KINDS)
def test_without_mixing_the_terms_are_those_of_self_training(kind):
    method, batch, values = set_up(kind, mixing=False)
    terms = method.loss(batch, MIDDLE)
    assert [image.unique().tolist() for image in method.network.images] == [[1], [2], [3], [4]]
    whole = np.ones((5, 4, 6), bool)
    losses = [
        region_loss(logits, values[name], whole)
        for name, logits in zip("abuv", values["logits"], strict=True)
    ]
    expected = {"supervised": losses[0] + losses[1], "pseudo": losses[2] + losses[3]}
    found = {name: term.item() for name, term in terms.items()}
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_copy_paste_keeps_a_component_of_each_class():
    method = built("bcp")
    method.sizes = {**method.sizes, "classes": 3}
    classes = torch.zeros(1, 9, 9, 9, dtype=torch.int64)
    classes[0, 0, 0, 0], classes[0, 2:4, 2:4, 2:4] = 1, 1
    classes[0, 8, 8, 8], classes[0, 6, 6, 5:8] = 2, 2
    logits = nn.functional.one_hot(classes, 3).movedim(-1, 1).float()
    method.teacher = Fixed(NetworkOutput(logits, torch.zeros(1)))
    classes[0, 0, 0, 0] = classes[0, 8, 8, 8] = 0
    assert torch.equal(method._pseudo_label(torch.zeros(1, 1, 9, 9, 9)), classes)


def test_equal_scales_agree():
    logits = torch.randn(2, 3, 4, 4, 4)
    assert pyramid_consistency([logits] * 4).item() == pytest.approx(0, abs=1e-6)
    others = [logits, logits, logits, logits + torch.randn(2, 3, 4, 4, 4)]
    assert pyramid_consistency(others) > 0.01


@pytest.mark.parametrize("rectified", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_pyramid_consistency_is_that_of_its_equation(kind, rectified):
    scales = [inputs(k, samples=2, channels=2)[0] for k in (kind, *KINDS[:3])]
    probs = [softmax(logits) for logits in scales]
    mean = np.mean(probs, axis=0)
    total = 0
    for p in probs:
        divergence = (mean * np.log(mean / p)).sum(1)
        weight = np.exp(-divergence)[:, None] if rectified else np.ones_like(p[:, :1])
        total += ((mean - p) ** 2 * weight).mean() / weight.mean()
        total += divergence.mean() if rectified else 0
    found = pyramid_consistency([torch.tensor(logits) for logits in scales], rectified)
    assert found.item() == pytest.approx(total / 4)


def test_the_pyramid_agrees_on_unlabeled_samples_alone():
    method, batch = built("urpc").eval(), crops("urpc", 2, 2)
    before = method.loss(batch, MIDDLE)
    batch.image[:2] += torch.randn_like(batch.image[:2])
    after = method.loss(batch, MIDDLE)
    torch.testing.assert_close(before["consistency"], after["consistency"])
    assert abs(before["supervised"] - after["supervised"]) > 1e-4


def test_the_contrast_of_ss_net_is_the_mean_over_all_pairs():
    compactness = ClassCompactness(features=2, classes=2)
    heads, memory = compactness.heads, compactness.memory
    memory.vectors.copy_(torch.randn_like(memory.vectors))
    memory.filled[:] = True
    features, classes = torch.randn(2, 2, 5, 4, 6), torch.randint(0, 2, (2, 5, 4, 6))
    found = compactness(features, classes)

    rows = features.movedim(1, -1).reshape(-1, 2)
    with torch.no_grad():
        z = heads.prediction(heads.projection(rows))
        scores = heads.voxel_selectors[0](z).sigmoid()[:, 0].double().numpy()
        unit = nn.functional.normalize(memory.vectors[0], dim=1)
        memory_scores = heads.memory_selectors[0](unit).sigmoid()[:, 0].double().numpy()
    here = classes.numpy().ravel() == 1
    z, m = z.double().numpy()[here], memory.vectors[0].double().numpy()
    w_v = here.sum() * scores[here] / scores[here].sum()
    w_m = 32 * memory_scores / memory_scores.sum()
    cosine = (z @ m.T) / np.linalg.norm(z, axis=1)[:, None] / np.linalg.norm(m, axis=1)
    pairs = w_v[:, None] * w_m * (1 - cosine)
    assert found.item() == pytest.approx(pairs.mean() / 2, rel=1e-4)  # two classes


def test_ss_net_remembers_object_voxels_that_it_gets_right():
    compactness = ClassCompactness(features=2, classes=2)
    features = torch.zeros(2, 2, 4, 4, 4)
    features[:, 0] = torch.arange(64.0).view(4, 4, 4)
    label = torch.zeros(2, 4, 4, 4, dtype=torch.int64)
    label[0, 1] = 1
    predicted = torch.ones_like(label)
    predicted[0, 1, :2] = 0  # wrong there
    compactness.remember(features, label, predicted)
    assert compactness.memory.filled.sum() == 8  # half of a plane of 16
    projection = compactness.heads.projection.eval()
    allowed = projection(torch.stack([torch.arange(24.0, 32), torch.zeros(8)], 1)).detach()
    distance = torch.cdist(compactness.memory.vectors[0, :8], allowed)
    assert distance.min(0).values.max() < 1e-4 and distance.min(1).values.max() < 1e-4


def test_no_adversarial_noise_where_it_is_switched_off(monkeypatch):
    def never(*_, **__):
        raise AssertionError("a pass too many")

    monkeypatch.setattr("dualseg.methods.ss_net.virtual_adversarial", never)
    method = built("ss_net", preset="no_adversarial")
    assert method.loss(crops("ss_net"), MIDDLE)["adversarial"] == 0
    assert method.weights(MIDDLE)["adversarial"] == 0
    with pytest.raises(AssertionError, match="a pass too many"):
        built("ss_net").loss(crops("ss_net"), MIDDLE)


# Schedules and phases


def test_weights_rise_as_published():
    rise = np.exp(-5 * (1 - 0.25) ** 2)
    quarter = Progress(250, 1000)
    assert built("dtc").weights(quarter)["consistency"] == pytest.approx(rise)
    assert built("sassnet").weights(quarter)["adversarial"] == pytest.approx(0.015 * rise)
    assert built("urpc").weights(quarter)["consistency"] == pytest.approx(0.1 * rise)
    early = np.exp(-5 * (1 - 0.25 / 0.4) ** 2)
    found = built("ss_net").weights(quarter)
    assert (found["adversarial"], found["contrast"]) == pytest.approx((early, 0.1 * early))
    assert built("ss_net").weights(Progress(400, 1000))["adversarial"] == 1
    assert built("dtc", preset="no_distance").weights(quarter) == {
        **{"supervised": 1.0, "distance": 0.0, "consistency": 0.0},
    }


OWN = {  # steps, batch, rate, and the rate from each step on
    "sassnet": (6000, 2, {0: 0.01, 2500: 0.001, 5000: 1e-4}),
    "dtc": (6000, 2, {0: 0.01, 2500: 0.001, 5000: 1e-4}),
    "ss_net": (15000, 2, {0: 0.01, 2500: 1e-3, 5000: 1e-4, 12500: 1e-7}),
    "bcp": (17000, 4, {0: 0.01, 1999: 0.01, 2000: 0.01, 4500: 0.001, 14500: 1e-7}),
    "urpc": (60000, 2, {0: 0.1, 30000: 0.1 * 0.5**0.9}),
}


@pytest.mark.parametrize("name", NAMES)
def test_the_published_trainings(name):
    own = experiment(name, preset="own")
    config, method = own.train, build_method(own, dataset_spec("phantom"))
    steps, batch, rates = OWN[name]
    assert (config.iterations, config.labeled_batch, config.unlabeled_batch) == (
        steps,
        batch,
        batch,
    )
    assert config.flips and config.normalise == "stored"
    for step, rate in rates.items():
        for at in (step, step - 1)[: 1 if step in (0, 1999, 2000, 30000) else 2]:
            progress = Progress(at, steps)
            found = config.learning_rate_at(progress)
            if config.schedule == "own":
                found *= method.own_rate(progress)
            assert found == pytest.approx(rate if at == step else 10 * rate)


def test_copy_paste_starts_afresh_after_2000_of_17000_steps():
    method = built("bcp")
    afresh = [s for s in range(17000) if method.starts_afresh(Progress(s, 17000))]
    assert afresh == [2000]
    assert [s for s in range(6) if method.starts_afresh(Progress(s, 6))] == [1]


def without_dropout(method: Method) -> Method:
    for module in method.modules():
        if isinstance(module, nn.Dropout3d):
            module.p = 0.0
    return method


def test_the_teacher_is_the_student_until_the_boundary_and_then_follows():
    method = built("bcp", pretraining=0.5)
    sgd = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], 0.1)
    for step in range(6):
        progress = Progress(step, 8)
        before = [p.detach().clone() for p in method.teacher.parameters()]
        method.zero_grad()
        total_loss(method.loss(crops("bcp"), progress), method.weights(progress)).backward()
        sgd.step()
        method.after_step(progress)
        student, teacher = method.network.state_dict(), method.teacher.state_dict()
        equal = all(torch.equal(student[name], teacher[name]) for name in student)
        assert equal == (step < 4)
        if step >= 4:
            mine = zip(
                before, method.teacher.parameters(), method.network.parameters(), strict=True
            )
            for was, now, its in mine:
                torch.testing.assert_close(now, 0.99 * was + 0.01 * its)


def test_mixing_off_is_self_training_with_a_mean_teacher():
    """The same gradients as of a loss that is written out."""
    method, batch = without_dropout(built("bcp", preset="no_mixing")), crops("bcp")
    teacher = {n: p + 0.01 * torch.randn_like(p) for n, p in method.teacher.named_parameters()}
    method.teacher.load_state_dict(teacher, strict=False)
    total_loss(method.loss(batch, MIDDLE), method.weights(MIDDLE)).backward()
    found = {n: p.grad.clone() for n, p in method.network.named_parameters()}
    method.zero_grad()
    total = 0
    for part, weight in (
        (slice(0, 2), 1),
        (slice(2, 4), 1),
        (slice(4, 6), 0.5),
        (slice(6, 8), 0.5),
    ):
        image = batch.image[part]
        if part.start < 4:
            label = batch.label[part]
        else:
            with torch.no_grad():
                prob = method.teacher(image).logits.softmax(1)[:, 1].numpy()
            label = torch.from_numpy(np.stack([largest_by_hand(p > 0.5) for p in prob])).long()
        logits = method.network(image).logits
        prob = logits.softmax(1)
        y = torch.stack([label == 0, label == 1], 1).float()
        overlap, size = (prob * y).sum((2, 3, 4)), (prob + y).sum((2, 3, 4))
        dice = (1 - (2 * overlap + 1e-5) / (size + 1e-5)).mean()
        total = total + weight * (nn.functional.cross_entropy(logits, label) + dice) / 2
    total.backward()
    for name, parameter in method.network.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-5)


# Resuming


def training(small: Experiment, name: str, **changes) -> Experiment:
    """Eight steps, a checkpoint after each."""
    start = Experiment("la", "smoke", method=name, root=small.root, labeled=4, validation=0)
    sizes = {"patch": (16, 16, 16), "stride": (8, 8, 8), "resolution": "half", "filters": 2}
    steps = {"iterations": 8, "checkpoint_every": 1, "learning_rate": 0.05}
    return start.replace(**sizes, **steps, **changes)


@pytest.mark.slow
def test_copy_paste_resumes_before_at_and_after_its_boundary(small, tmp_path, monkeypatch):
    bcp = training(small, "bcp", pretraining=0.5)
    whole = weights(fit(bcp, tmp_path / "whole"))
    for step in (3, 4, 5):
        assert same(
            whole, weights(broken_and_resumed(bcp, tmp_path / f"{step}", step, monkeypatch))
        )
    # Without the fresh start it would be another run.
    monkeypatch.setattr(BCP, "starts_afresh", lambda self, progress: False)
    assert not same(whole, weights(fit(bcp, tmp_path / "other")))


def breaks_at(step: int):
    def hook(self, progress):
        if progress.step == step:
            raise RuntimeError("power cut")

    return hook


@pytest.mark.slow
def test_sassnet_resumes_with_the_state_of_both_optimizers(small, tmp_path, monkeypatch):
    sassnet = training(small, "sassnet")
    whole = weights(fit(sassnet, tmp_path / "whole"))
    with monkeypatch.context() as patch:
        patch.setattr(METHODS["sassnet"], "after_step", breaks_at(5))
        with pytest.raises(RuntimeError, match="power cut"):
            fit(sassnet, tmp_path / "cut")
    state, progress = read_checkpoint(Run(tmp_path / "cut").state_path)
    assert progress["step"] == 5
    for name in ("step", "exp_avg", "exp_avg_sq"):
        assert f"optimizer.discriminator:0:{name}" in state
    assert "optimizer:0:momentum_buffer" in state
    assert same(whole, weights(fit(sassnet, tmp_path / "cut", resume=True)))
    moved = {name for name in whole if not torch.equal(whole[name], state[name])}
    assert any(name.startswith("weight:discriminator") for name in moved)
    assert any(name.startswith("weight:network") for name in moved)


def test_the_discriminator_keeps_its_own_rate(small):
    method = built("sassnet")
    config = experiment("sassnet").train
    main, own = method.optimizers(config).values()
    assert isinstance(own, torch.optim.Adam)
    (group,) = own.param_groups
    assert (group["lr"], group["betas"], group["follows_schedule"]) == (1e-4, (0.9, 0.99), False)
    ours = {id(p) for g in main.param_groups for p in g["params"]}
    theirs = {id(p) for p in group["params"]}
    assert ours == {id(p) for p in method.network.parameters()}
    assert theirs == {id(p) for p in method.discriminator.parameters()}


class NoObjectInStepFour(SSNet):
    """In step 4 no labeled voxel is of an object, so the memory of step 3 stays."""

    def loss(self, batch, progress):
        if progress.step == 4:
            batch = Batch(batch.image, torch.zeros_like(batch.label), batch.ids)
        return super().loss(batch, progress)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [SSNet, NoObjectInStepFour])
def test_ss_net_resumes_with_and_without_a_correct_voxel(small, tmp_path, monkeypatch, kind):
    monkeypatch.setitem(METHODS, "ss_net", kind)
    ss_net = training(small, "ss_net")
    whole = fit(ss_net, tmp_path / "whole")
    memory = []
    for step in (4, 5):
        with monkeypatch.context() as patch:
            patch.setattr(kind, "after_step", breaks_at(step))
            with pytest.raises(RuntimeError, match="power cut"):
                fit(ss_net, tmp_path / f"{step}")
        state = read_checkpoint(Run(tmp_path / f"{step}").state_path)[0]
        memory.append(state["weight:compactness.memory.vectors"])
        assert state["weight:compactness.memory.filled"].any()
        assert same(weights(whole), weights(fit(ss_net, tmp_path / f"{step}", resume=True)))
    assert torch.equal(*memory) == (kind is NoObjectInStepFour)


# Two processes

TOGETHER = {
    "sassnet": {},
    "ss_net": {},
    # Half of two labeled samples is one: batch norm needs a second voxel at the deepest level.
    "bcp": {"patch": (32, 16, 16), "stride": (16, 8, 8), "pretraining": 0.5},
}


def rank_main(rank: int, port: int, folder: Path) -> None:
    become(rank, port)
    with joined():
        for name, changes in TOGETHER.items():
            sizes = {"labeled_batch": 4, "unlabeled_batch": 4, "iterations": 4}
            chosen = experiment(name, **sizes, **changes)
            method = build_method(chosen, dataset_spec("phantom"))
            fit(chosen, folder / name, method=method)
            torch.save(dict(method.named_parameters()), folder / f"{name}_{rank}.pt")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="one process on Windows")
def test_two_processes_end_with_the_same_weights(tmp_path, forkserver):
    """An inner gradient, two optimizers and two phases: none of them parts the processes."""
    assert exit_codes(forkserver, rank_main, free_ports(1)[0], tmp_path) == [0, 0]
    for name in TOGETHER:
        run = Run(tmp_path / name)
        assert run.finished and run.info()["processes"] == 2 and len(run.log()) == 4
        first, second = (torch.load(tmp_path / f"{name}_{rank}.pt") for rank in range(2))
        start = dict(built(name).named_parameters())
        for parameter, tensor in first.items():
            assert torch.equal(tensor, second[parameter]), (name, parameter)
            assert not torch.equal(tensor, start[parameter]) or "bias" in parameter, parameter
