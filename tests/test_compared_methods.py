"""Ten compared methods that are not in test_compared_methods_2.py: values, gradients, schedules."""

import sys

import numpy as np
import pytest
import torch
from ranks import become, exit_codes, free_ports
from scipy.special import softmax
from torch import Tensor, nn

from dualseg.config.experiment import Experiment
from dualseg.config.training import Progress
from dualseg.data.batches import Batch
from dualseg.data.known import dataset_spec
from dualseg.data.spec import DatasetSpec
from dualseg.errors import DualsegError
from dualseg.methods import METHODS, Method, build_method
from dualseg.methods.base import sgd
from dualseg.methods.cpcl import backward_term, forward_term
from dualseg.methods.mc_net import mutual_consistency
from dualseg.methods.ml_rpl import learned_from, reliability
from dualseg.networks import NetworkOutput, count_parameters
from dualseg.networks._blocks import Decoder
from dualseg.paper.complexity import count_macs
from dualseg.runs.run import Run
from dualseg.training.distributed import Ranks
from dualseg.training.loop import fit
from dualseg.training.start import check_batch

TEACHERS = ("mean_teacher", "ua_mt", "ac_mt", "cpcl")
DECODERS = ("mc_net", "mc_net_plus", "ml_rpl")
PAIRS = ("mcf", "luseg")
ALONE = ("vnet", "entropy_minimization", *TEACHERS, *DECODERS)
MIDDLE = Progress(5, 10)
SHAPE = (2, 2, 3, 4, 5)  # (B, C, X, Y, Z)
THREE = DatasetSpec("three", "", ("background", "left", "right"), (1.0, 1.0, 1.0), "RAS", 2, {})


def experiment(name: str, preset: str | None = None, **changes) -> Experiment:
    return Experiment("phantom", "smoke", preset, method=name, **{"filters": 2, **changes})


def built(name: str, preset: str | None = None, **changes) -> Method:
    return build_method(experiment(name, preset, **changes), dataset_spec("phantom")).train()


def crops(labeled: int = 2, unlabeled: int = 2, side: int = 16) -> Batch:
    """Noise with a bright box, which the label marks."""
    image = torch.randn(labeled + unlabeled, 1, side, side, side)
    label = torch.zeros(labeled, side, side, side, dtype=torch.int64)
    label[:, 3:11, 4:12, 5:9] = 1
    image[:, :, 3:11, 4:12, 5:9] += 2
    return Batch(image, label, ("case",) * len(image))


def output(seed: int, classes: int = 2, dtype: torch.dtype = torch.float64) -> NetworkOutput:
    """Logits (2, C, 3, 4, 5), features (2, 3, 3, 4, 5)."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, classes, 3, 4, 5, generator=generator, dtype=dtype)
    features = torch.randn(2, 3, 3, 4, 5, generator=generator, dtype=dtype)
    return NetworkOutput(logits.requires_grad_(), features.requires_grad_())


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(1)


# Networks


@pytest.mark.parametrize(
    ("name", "count", "macs"),
    [
        ("vnet", 9_448_866, 40.1),
        ("ua_mt", 9_448_866, 40.1),
        ("cpcl", 9_448_866, 40.1),
        ("mc_net", 12_347_716, 87.8),
        ("ml_rpl", 12_347_716, None),
        ("mc_net_plus", 15_246_566, 135.6),
    ],
)
def test_the_networks_have_the_published_sizes(name, count, macs):
    chosen = Experiment("la", "full", method=name)
    with torch.device("meta"):
        network = METHODS[name](chosen.settings, chosen.train, dataset_spec("la")).network
    assert count_parameters(network) == count
    if macs:
        assert count_macs(network, (112, 112, 80)) / 1e9 == pytest.approx(macs, rel=1e-3)


@pytest.mark.parametrize("name", PAIRS)
def test_the_pairs_are_the_papers_pair(name):
    chosen = Experiment("la", "full", method=name)
    with torch.device("meta"):
        method = METHODS[name](chosen.settings, chosen.train, dataset_spec("la"))
    assert [count_parameters(net) for net in (method.a, method.b)] == [17_930_354, 9_448_866]


@pytest.mark.parametrize("name", DECODERS)
def test_decoders_differ_and_draw_their_own_dropout(name):
    method = built(name)
    outputs = method.network(torch.randn(2, 1, 16, 16, 16))
    kinds = [type(decoder.ups[0][0]).__name__ for decoder in method.network.decoder]
    modes = [getattr(decoder.ups[0][0], "mode", "") for decoder in method.network.decoder]
    expected = {"mc_net": ["", "trilinear"], "ml_rpl": ["", "nearest"]}
    assert modes == expected.get(name, ["", "trilinear", "nearest"])
    assert kinds == ["ConvTranspose3d"] + ["Upsample"] * (len(modes) - 1)
    assert not any(torch.equal(outputs[0].logits, other.logits) for other in outputs[1:])


@pytest.mark.parametrize("name", [*ALONE, *PAIRS])
def test_features_and_first_weights_are_as_published(name):
    """Kaiming's weights are normal, PyTorch's own ones bounded by one over the root of fan in."""
    method = built(name)
    taps = {module.features for module in method.modules() if isinstance(module, Decoder)}
    assert taps == {{"ml_rpl": "dropped", "luseg": "dropped", "cpcl": "half"}.get(name, "last")}
    weights = [m.weight.detach() for m in method.modules() if isinstance(m, nn.Conv3d)]
    weight = max(weights, key=torch.numel)
    bounded = bool(weight.abs().max() <= weight[0].numel() ** -0.5)
    assert bounded == (name not in PAIRS)


# Who learns from what


def place(name: str) -> str:
    """The network and part that a parameter belongs to."""
    words = name.split(".")
    if words[0] == "network" and words[1] == "decoder" and words[2].isdigit():
        return f"decoder {words[2]}"  # one of several
    return words[1] if words[0] == "network" else words[0]


def learners(method: Method, term: Tensor) -> set[str]:
    """Parts of the method with a gradient other than 0."""
    if not term.requires_grad:
        return set()
    method.zero_grad()
    term.backward(retain_graph=True)
    named = method.named_parameters()
    return {place(name) for name, p in named if p.grad is not None and p.grad.any()}


WHOLE = {"encoder", "decoder"}
TWO = {"encoder", "decoder 0", "decoder 1"}
LEARNERS = {
    ("vnet", "default"): {"supervised": WHOLE},
    ("entropy_minimization", "default"): {"supervised": WHOLE, "entropy": WHOLE},
    ("mean_teacher", "default"): {"supervised": WHOLE, "consistency": WHOLE},
    ("ua_mt", "default"): {"supervised": WHOLE, "consistency": WHOLE},
    ("ua_mt", "no_uncertainty"): {"supervised": WHOLE, "consistency": WHOLE},
    ("ac_mt", "default"): {"supervised": WHOLE, "consistency": WHOLE},
    ("cpcl", "paper"): {"supervised": WHOLE, "forward": WHOLE, "backward": WHOLE},
    ("cpcl", "released"): {
        "supervised": WHOLE,
        "forward": set(),
        "backward": set(),
        "stability": WHOLE,
    },
    ("mc_net", "default"): {"supervised": TWO, "consistency": TWO},
    ("ml_rpl", "default"): {"supervised": TWO, "mutual": TWO},
    ("mc_net_plus", "default"): {
        "supervised": TWO | {"decoder 2"},
        "consistency": TWO | {"decoder 2"},
    },
}


@pytest.mark.parametrize(("name", "preset"), LEARNERS)
def test_each_term_teaches_its_own_side(name, preset):
    method = built(name, preset)
    late = Progress(9, 10)  # when UA-MT takes nearly all voxels for certain
    terms = method.loss(crops(unlabeled=2 if method.uses_unlabeled else 0), late)
    expected = LEARNERS[name, preset]
    assert method.weights(late).keys() == expected.keys()
    assert {term: learners(method, terms[term]) for term in expected} == expected


def test_prototypes_teach_up_to_half_resolution():
    method = built("cpcl")
    terms = method.loss(crops(), MIDDLE)
    for term in ("forward", "backward"):
        learners(method, terms[term])
        decoder = method.network.decoder
        for part in (decoder.ups[3], decoder.blocks[3], decoder.head):
            assert all(p.grad is None or not p.grad.any() for p in part.parameters())
        for part in (*decoder.ups[:3], *decoder.blocks[:3]):
            assert all(p.grad.any() for p in part[-1].parameters())


def pair_terms(method: Method, a_wins: bool) -> tuple[dict[str, Tensor], list[Tensor]]:
    """The terms of two networks of which one is perfect on the labeled samples."""
    label = crops(side=6).label % 2
    known = torch.where(torch.stack([label == 0, label == 1], 1), 9.0, -9.0)
    outputs = []
    for number, good in enumerate((a_wins, not a_wins)):
        generator = torch.Generator().manual_seed(number)
        logits = torch.randn(4, 2, 6, 6, 6, generator=generator)
        if good:
            logits[:2] = known
        features = torch.randn(4, 3, 6, 6, 6, generator=generator)
        outputs.append(NetworkOutput(logits.requires_grad_(), features.requires_grad_()))
    leaves = [outputs[0].logits, outputs[0].features, outputs[1].logits, outputs[1].features]
    return method.terms(*outputs, label), leaves


def reached(term: Tensor, leaves: list[Tensor]) -> str:
    """Which of the logits and features of A and B a term moves."""
    if not term.requires_grad:
        return ""
    grads = torch.autograd.grad(term, leaves, allow_unused=True, retain_graph=True)
    names = ("a", "fa", "b", "fb")
    return " ".join(n for n, g in zip(names, grads, strict=True) if g is not None and g.any())


@pytest.mark.parametrize("a_wins", [True, False])
def test_only_the_worse_of_two_networks_is_taught(a_wins):
    worse, features = ("b", "fb") if a_wins else ("a", "fa")
    terms, leaves = pair_terms(built("mcf"), a_wins)
    expected = {"supervised_a": "a", "supervised_b": "b", "rectifying_a": "a"}
    expected |= {"rectifying_b": "b", "teaching": worse, "winner_a": ""}
    assert {name: reached(term, leaves) for name, term in terms.items()} == expected
    assert terms["winner_a"] == a_wins

    terms, leaves = pair_terms(built("luseg"), a_wins)
    del expected["teaching"]
    expected |= {"filtered_a": "a", "filtered_b": "b", "contrast": features, "kept": ""}
    assert {name: reached(term, leaves) for name, term in terms.items()} == expected


def test_the_released_luseg_learns_nothing_from_unlabeled_samples():
    terms, leaves = pair_terms(built("luseg", "released"), True)
    known = {name for name, term in terms.items() if reached(term, leaves)}
    assert known == {"supervised_a", "supervised_b", "rectifying_a", "rectifying_b"}
    paper, _ = pair_terms(built("luseg"), True)
    assert all(torch.equal(terms[name], paper[name]) for name in terms)  # the same values


def test_mutual_learning_reaches_no_teacher():
    student, teacher = output(0), output(1)
    learned_from(student, teacher).backward()
    assert student.logits.grad.any()
    assert student.features.grad is teacher.logits.grad is teacher.features.grad is None


# Values, in float64 from the equations


def np_entropy(p: np.ndarray) -> np.ndarray:
    """In nats, over the classes."""
    return -(p * np.log(p)).sum(1)


def np_dice(p: np.ndarray, y: np.ndarray, power: int, smooth: float) -> float:
    size = (p**power).sum() + (y**power).sum()
    return 1 - (2 * (p * y).sum() + smooth) / (size + smooth)


def np_cross_entropy(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Of each voxel."""
    p = softmax(logits, 1)
    return -np.log(np.take_along_axis(p, label[:, None], 1))[:, 0]


def np_supervised(logits: np.ndarray, label: np.ndarray, classes: tuple[int, ...]) -> float:
    """Cross-entropy, and soft Dice with squares of these classes."""
    p = softmax(logits, 1)
    dice = [np_dice(p[:, c], (label == c).astype(float), 2, 1e-5) for c in classes]
    return np_cross_entropy(logits, label).mean() + np.mean(dice)


class Pointwise(nn.Module):
    """A network whose logits are a line in the intensity; it remembers its images."""

    def __init__(self, generator: torch.Generator):
        super().__init__()
        self.slope = nn.Parameter(torch.randn(2, 1, 1, 1, generator=generator))
        self.start = nn.Parameter(0.3 * torch.randn(2, 1, 1, 1, generator=generator))
        self.images: list[Tensor] = []

    def forward(self, image: Tensor) -> NetworkOutput:
        self.images.append(image)
        return NetworkOutput(self.slope * image + self.start, image)

    def np(self, image: Tensor) -> np.ndarray:
        values = (t.detach().double().numpy() for t in (self.slope, image, self.start))
        slope, x, start = values
        return slope * x + start


def small_batch(generator: torch.Generator) -> Batch:
    image = torch.randn(4, 1, 5, 6, 7, generator=generator)
    label = torch.randint(2, (2, 5, 6, 7), generator=generator)
    return Batch(image, label, ("case",) * 4)


@pytest.mark.parametrize("seed", range(5))
def test_the_terms_of_ua_mt_are_those_of_its_equations(seed):
    generator = torch.Generator().manual_seed(seed)
    method, batch = built("ua_mt"), small_batch(generator)
    method.network, method.teacher = Pointwise(generator), Pointwise(generator)
    progress = Progress(2 * seed, 10)
    found = method.loss(batch, progress)
    target, *passes = method.teacher.images
    assert len(target) == 2 and [len(image) for image in passes] == [4] * 4
    clean = batch.image[2:]
    largest = [(image[:2] - clean).abs().max() for image in (target, *passes)]
    assert all(0.1 < noise <= 0.2 + 1e-6 for noise in largest)
    p = softmax(method.network.np(clean), 1)
    p_teacher = softmax(method.teacher.np(target), 1)
    drawn = [softmax(method.teacher.np(half), 1) for image in passes for half in image.split(2)]
    assert len(drawn) == 8
    uncertainty = np_entropy(np.mean(drawn, 0))
    threshold = (0.75 + 0.25 * np.exp(-5 * (1 - 2 * seed / 10) ** 2)) * np.log(2)
    mask = (uncertainty < threshold)[:, None]
    assert 0 < mask.mean() < 1
    expected = (mask * (p - p_teacher) ** 2).sum() / (2 * mask.sum())
    assert found["consistency"].item() == pytest.approx(expected, rel=1e-5)
    assert found["kept"].item() == pytest.approx(mask.mean())
    logits, label = method.network.np(batch.image[:2]), batch.label.numpy()
    assert found["supervised"].item() == pytest.approx(np_supervised(logits, label, (1,)), rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_the_terms_of_ac_mt_are_those_of_its_equations(seed):
    generator = torch.Generator().manual_seed(seed)
    method, batch = built("ac_mt"), small_batch(generator)
    method.network, method.teacher = Pointwise(generator), Pointwise(generator)
    progress = Progress(2 * seed, 10)
    found = method.loss(batch, progress)
    (target,) = method.teacher.images
    p = softmax(method.network.np(batch.image[2:]), 1)
    p_teacher = softmax(method.teacher.np(target), 1)
    share = 0.75 + 0.2 * np.exp(-5 * (1 - 2 * seed / 10) ** 2)
    mask = (np_entropy(p) / np.log(2) >= share)[:, None]  # where UA-MT would look away
    assert 0 < mask.mean() < 1
    expected = (mask * (p - p_teacher) ** 2).sum() / (2 * mask.sum())
    assert found["consistency"].item() == pytest.approx(expected, rel=1e-5)
    logits, label = method.network.np(batch.image[:2]), batch.label.numpy()
    assert found["supervised"].item() == pytest.approx(
        np_supervised(logits, label, (0, 1)), rel=1e-5
    )


def test_a_plain_mean_teacher_is_ua_mt_without_uncertainty():
    generator = torch.Generator().manual_seed(0)
    batch = small_batch(generator)
    plain, without = built("mean_teacher"), built("ua_mt", "no_uncertainty")
    plain.network, plain.teacher = Pointwise(generator), Pointwise(generator)
    without.network, without.teacher = plain.network, plain.teacher
    found = []
    for method in (plain, without):
        torch.manual_seed(0)
        found.append(method.loss(batch, MIDDLE))
    assert found[0] == found[1]
    p = softmax(plain.network.np(batch.image[2:]), 1)
    target = plain.teacher.images[0]
    assert 0.1 < (target - batch.image[2:]).abs().max() <= 0.2 + 1e-6
    p_teacher = softmax(plain.teacher.np(target), 1)
    assert found[0]["consistency"].item() == pytest.approx(((p - p_teacher) ** 2).mean(), rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_the_terms_of_entropy_minimization_are_those_of_its_equations(seed):
    generator = torch.Generator().manual_seed(seed)
    method, batch = built("entropy_minimization"), small_batch(generator)
    method.network = Pointwise(generator)
    found = method.loss(batch, MIDDLE)
    logits, label = method.network.np(batch.image), batch.label.numpy()
    expected = np_entropy(softmax(logits, 1)).mean() / np.log(2)
    assert found["entropy"].item() == pytest.approx(expected, rel=1e-5)
    expected = np_supervised(logits[:2], label, (0, 1))
    assert found["supervised"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("step", "nats"), [(0, 0.521), (3000, 0.570), (6000, 0.693)])
def test_the_threshold_of_ua_mt(step, nats):
    bits = built("ua_mt").threshold_bits(Progress(step, 6000), classes=2)
    assert bits * np.log(2) == pytest.approx(nats, abs=5e-4)


class Several(nn.Module):
    """A network with given outputs."""

    def __init__(self, outputs: list[NetworkOutput]):
        super().__init__()
        self.outputs = tuple(outputs)

    def forward(self, image: Tensor) -> tuple[NetworkOutput, ...]:
        return self.outputs


@pytest.mark.parametrize("name", ["mc_net", "mc_net_plus"])
@pytest.mark.parametrize("seed", range(5))
def test_the_terms_of_mc_net_are_those_of_its_equations(seed, name):
    generator = torch.Generator().manual_seed(seed)
    method = built(name)
    count = len(method.ups)
    logits = [torch.randn(4, 2, 5, 6, 7, generator=generator) for _ in range(count)]
    method.network = Several([NetworkOutput(each, each) for each in logits])
    batch = small_batch(generator)
    found = method.loss(batch, MIDDLE)
    probs = [softmax(each.double().numpy(), 1) for each in logits]
    label = batch.label.numpy()
    dice = [np_dice(p[:2, 1], (label == 1).astype(float), 1, 1e-8) for p in probs]
    assert found["supervised"].item() == pytest.approx(sum(dice), rel=1e-5)
    sharp = [p**10 / (p**10 + (1 - p) ** 10) for p in probs]
    expected = sum(
        ((probs[i] - sharp[j]) ** 2).mean() for i in range(count) for j in range(count) if i != j
    )
    assert found["consistency"].item() == pytest.approx(expected, rel=1e-5)


def test_mutual_consistency_is_zero_for_equal_one_hot_maps_only():
    hot = torch.nn.functional.one_hot(torch.randint(2, (1, 4, 4, 4)), 2).movedim(-1, 1).double()
    assert mutual_consistency([hot, hot], 0.1) == 0
    soft = output(0).logits.softmax(1)
    assert mutual_consistency([soft, soft], 0.1) > 0.01
    with torch.no_grad():
        sharp = soft**10 / (soft**10).sum(1, keepdim=True)
        assert mutual_consistency([soft, soft], 0.1) == pytest.approx(
            2 * (soft - sharp).square().mean().item()
        )


def test_the_gradient_flows_through_the_sharpened_side():
    p = output(0).logits.detach().softmax(1).requires_grad_()
    q = output(1).logits.detach().softmax(1).requires_grad_()
    mutual_consistency([p, q], 0.1).backward()
    with torch.no_grad():
        sharp = q**10 / (q**10).sum(1, keepdim=True)
        direct = 2 * (p - sharp) / p.numel()
    assert not torch.allclose(p.grad, direct)  # the rest comes through s(p)
    step = 1e-6
    moved = p.detach().clone()
    moved[0, 1, 0, 0, 0] += step
    difference = mutual_consistency([moved, q], 0.1) - mutual_consistency([p, q], 0.1)
    assert (difference / step).item() == pytest.approx(p.grad[0, 1, 0, 0, 0].item(), rel=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_mutual_learning_is_that_of_its_equation(seed):
    student, teacher = output(seed, 3), output(seed + 5, 3)
    p, q = (softmax(out.logits.detach().numpy(), 1) for out in (student, teacher))
    label, f = q.argmax(1), teacher.features.detach().numpy()
    r = np.zeros(label.shape)
    for b in range(2):
        for c in range(3):
            members = f[b][:, label[b] == c]
            prototype = members.mean(1)
            lengths = np.linalg.norm(f[b], axis=0) * np.linalg.norm(prototype)
            cosine = np.tensordot(prototype, f[b], 1) / lengths
            r[b] += (1 - (cosine - q[b, c]) ** 2) / 3
    found = reliability(teacher.features, torch.from_numpy(q), torch.from_numpy(label))
    assert found.detach().numpy() == pytest.approx(r, rel=1e-9)
    surer = np_entropy(p) > np_entropy(q)
    assert 0 < surer.mean() < 1
    loss = np_cross_entropy(student.logits.detach().numpy(), label)
    expected = (loss * r * surer).sum() / surer.sum()
    assert learned_from(student, teacher).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_the_terms_of_mcf_are_those_of_its_equations(seed):
    outs = [output(seed), output(seed + 5)]
    both = [NetworkOutput(torch.cat([out.logits] * 2), out.features) for out in outs]
    label = torch.randint(2, (2, 3, 4, 5), generator=torch.Generator().manual_seed(seed))
    found = built("mcf").terms(*both, label)
    y = label.numpy()
    logits = [out.logits.detach().numpy() for out in outs]
    p = [softmax(each, 1) for each in logits]
    mask = (p[0].argmax(1) == 1) ^ (p[1].argmax(1) == 1)
    dice = [np_dice(each[:, 1], y.astype(float), 2, 1e-5) for each in p]
    for i, name in enumerate("ab"):
        expected = np_supervised(logits[i], y, (1,))
        assert found[f"supervised_{name}"].item() == pytest.approx(expected, rel=1e-9)
        expected = (mask * (p[i][:, 1] - y) ** 2).sum() / mask.sum()
        assert found[f"rectifying_{name}"].item() == pytest.approx(expected, rel=1e-6)
    better, worse = (p[0], p[1]) if dice[0] < dice[1] else (p[1], p[0])
    target = better**10 / (better**10).sum(1, keepdims=True)
    assert found["teaching"].item() == pytest.approx(((worse - target) ** 2).mean(), rel=1e-9)


def test_mcf_without_rectifying_has_no_such_term():
    method = built("mcf", "no_rectifying")
    assert "rectifying_a" not in pair_terms(method, True)[0]
    assert "rectifying_a" not in method.weights(MIDDLE)


@pytest.mark.parametrize("seed", range(5))
def test_the_terms_of_luseg_are_those_of_its_equations(seed):
    """The label is object where either network says so; ignored where both entropies are high."""
    outs = [output(seed), output(seed + 5)]
    both = [NetworkOutput(*(torch.cat([t, t]) for t in out)) for out in outs]
    label = torch.randint(2, (2, 3, 4, 5), generator=torch.Generator().manual_seed(seed))
    found = built("luseg").terms(*both, label)
    logits = [out.logits.detach().numpy() for out in outs]
    p = [softmax(each, 1) for each in logits]
    union = ((p[0].argmax(1) == 1) | (p[1].argmax(1) == 1)).astype(int)
    high = [np_entropy(each) > np.percentile(np_entropy(each), 20) for each in p]
    keep = ~(high[0] & high[1])
    assert 0.2 <= keep.mean() <= 0.4
    for each, name in zip(logits, "ab", strict=True):
        loss = np_cross_entropy(each, union)
        expected = (keep * loss).sum() / keep.sum()
        assert found[f"filtered_{name}"].item() == pytest.approx(expected, rel=1e-6)
    dice = [np_dice(each[:, 1], label.numpy().astype(float), 2, 1e-5) for each in p]
    worse = 1 if dice[0] < dice[1] else 0
    f = outs[worse].features.detach().numpy().swapaxes(0, 1)
    unit = f / np.linalg.norm(f, axis=0)
    prototypes = [f[:, keep & (union == c)].mean(1) for c in range(2)]
    prototypes = [c / np.linalg.norm(c) for c in prototypes]
    expected = np.linalg.norm(prototypes[1] - prototypes[0])
    for c, prototype in enumerate(prototypes):
        uncertain = unit[:, ~keep & (p[worse].argmax(1) == c)]
        expected += np.linalg.norm(uncertain - prototype[:, None], axis=0).mean()
    assert found["contrast"].item() == pytest.approx(expected, rel=1e-6)
    votes = [(each.argmax(1) == 1) & (each.max(1) >= 0.6) for each in p]
    mask = votes[0] ^ votes[1]
    expected = (mask * (p[0][:, 1] - label.numpy()) ** 2).sum() / mask.sum()
    assert found["rectifying_a"].item() == pytest.approx(expected, rel=1e-6)


def np_prototype_map(f_from, weight, f_to) -> np.ndarray:
    """20 times the cosine of each voxel's feature with weighted means of another volume's."""
    found = np.zeros((2, weight.shape[1], *f_to.shape[2:]))
    for b in range(2):
        for c in range(weight.shape[1]):
            prototype = (f_from[b] * weight[b, c]).sum((1, 2, 3)) / weight[b, c].sum()
            lengths = np.linalg.norm(f_to[b], axis=0) * np.linalg.norm(prototype)
            found[b, c] = 20 * np.tensordot(prototype, f_to[b], 1) / lengths
    return found


@pytest.mark.parametrize("seed", range(5))
def test_the_circle_of_cpcl_is_that_of_its_equations(seed):
    """Each labeled sample serves the unlabeled one of its own place in the batch."""
    known, teacher = output(seed, 3), output(seed + 5, 3)
    label = torch.randint(3, (2, 3, 4, 5), generator=torch.Generator().manual_seed(seed))
    y, hot = label.numpy(), np.eye(3)
    f, f_teacher = (out.features.detach().numpy() for out in (known, teacher))
    p, q = (softmax(out.logits.detach().numpy(), 1) for out in (known, teacher))
    weight = p * np.moveaxis(hot[y], -1, 1)
    forward = ((softmax(np_prototype_map(f, weight, f_teacher), 1) - q) ** 2).mean()
    assert forward_term(known, label, teacher).item() == pytest.approx(forward, rel=1e-6)
    weight = q * np.moveaxis(hot[q.argmax(1)], -1, 1)
    backward = np_cross_entropy(np_prototype_map(f_teacher, weight, f), y).mean()
    assert backward_term(known, label, teacher).item() == pytest.approx(backward, rel=1e-6)


@pytest.mark.parametrize("name", [*ALONE, *PAIRS])
def test_crops_without_the_object_have_finite_gradients(name):
    method = built(name)
    batch = crops(unlabeled=2 if method.uses_unlabeled else 0)
    batch.label.zero_()
    terms = method.loss(batch, MIDDLE)
    sum(weight * terms[term] for term, weight in method.weights(MIDDLE).items()).backward()
    for parameter, tensor in method.named_parameters():
        if tensor.requires_grad:
            assert tensor.grad.isfinite().all(), parameter


# Teachers, prediction, schedules


@pytest.mark.parametrize("name", TEACHERS)
def test_the_teacher_is_the_student_after_step_0_and_then_follows(name):
    method = built(name)
    optimizer = sgd(method, experiment(name).train)
    for step in range(3):
        teacher = [p.clone().double() for p in method.teacher.parameters()]
        terms, progress = method.loss(crops(), Progress(step, 10)), Progress(step, 10)
        method.zero_grad()
        sum(w * terms[term] for term, w in method.weights(progress).items()).backward()
        optimizer.step()
        method.after_step(progress)
        keeps = (0, 1 / 2, 2 / 3)[step]
        pairs = zip(method.teacher.parameters(), method.network.parameters(), teacher, strict=True)
        for mine, its, before in pairs:
            expected = keeps * before + (1 - keeps) * its.double()
            assert torch.allclose(mine.double(), expected, atol=1e-6)
            assert not mine.requires_grad and mine.grad is None
    assert any(not torch.equal(a, b) for a, b, _ in zip(*both(method), teacher, strict=True))


def both(method: Method) -> tuple[list[Tensor], list[Tensor]]:
    return list(method.teacher.parameters()), list(method.network.parameters())


@torch.no_grad()
@pytest.mark.parametrize("name", ALONE)
def test_the_right_head_predicts(name):
    method = built(name).eval()
    patch = torch.randn(1, 1, 16, 20, 16)  # a side that 16 does not divide
    before = method.predict(patch)
    first = method.network.decoder[0] if name in DECODERS else method.network.decoder
    kept = {id(p) for part in (method.network.encoder, first) for p in part.parameters()}
    others = [p for p in method.parameters() if id(p) not in kept]
    assert bool(others) == (name in TEACHERS + DECODERS)
    for parameter in others:
        parameter.normal_()
    assert torch.equal(method.predict(patch), before)
    for parameter in first.head.parameters():
        parameter.normal_()
    assert not torch.equal(method.predict(patch), before)


@torch.no_grad()
@pytest.mark.parametrize("name", PAIRS)
def test_pairs_predict_by_their_mean(name):
    method, patch = built(name).eval(), torch.randn(1, 1, 16, 16, 16)
    expected = (method.a(patch).logits.softmax(1) + method.b(patch).logits.softmax(1)) / 2
    assert torch.allclose(method.predict(patch), expected, atol=1e-6)


RISEN = 0.2865  # exp(-5 / 4), half way up
WEIGHTS = [  # at the start, half way up, at the end of the ramp
    ("entropy_minimization", "entropy", 1.0, 0.1),
    ("ua_mt", "consistency", 1.0, 0.1),
    ("ac_mt", "consistency", 0.75, 0.1),
    ("mc_net", "consistency", 0.4, 1.0),
    ("mc_net_plus", "consistency", 0.4, 1.0),
    ("ml_rpl", "mutual", 0.4, 1.0),
    ("mcf", "teaching", 1.0, 0.1),
    ("luseg", "contrast", 1.0, 0.1),
    ("cpcl", "forward", 0.6, 0.1),
    ("cpcl", "backward", 0.6, 1.0),
]


@pytest.mark.parametrize(("name", "term", "length", "most"), WEIGHTS)
def test_weights_rise_as_published(name, term, length, most):
    method, total = built(name), 10_000
    steps = [round(share * length * total) for share in (0, 0.5, 1)]
    found = [method.weights(Progress(step, total))[term] for step in steps]
    assert found == pytest.approx([0.0067 * most, RISEN * most, most], rel=0.01)


@pytest.mark.parametrize("name", [*ALONE, *PAIRS])
def test_the_supervised_loss_is_halved_but_in_pairs(name):
    weights = built(name).weights(MIDDLE)
    expected = {1.0} if name in PAIRS else {0.5}
    assert {w for term, w in weights.items() if term.startswith("supervised")} == expected


OWN = {  # steps, labeled + unlabeled, schedule, turns and flips
    "vnet": (6000, 4, None, "step", True),
    "entropy_minimization": (30000, 2, 2, "poly", True),
    "mean_teacher": (6000, 2, 2, "step", True),
    "ua_mt": (6000, 2, 2, "step", True),
    "mc_net": (15000, 2, 2, "own", True),
    "mc_net_plus": (15000, 2, 2, "own", True),
    "mcf": (6000, 2, 2, "step", False),
    "luseg": (6000, 2, 2, "step", False),
    "ml_rpl": (15000, 2, 2, "own", True),
    "cpcl": (10000, 2, 2, "poly", True),
    "ac_mt": (8000, 2, 2, "poly", True),
}


@pytest.mark.parametrize("name", OWN)
def test_the_published_trainings(name):
    chosen = Experiment("la", "full", "own", method=name)
    train, kind = chosen.train, METHODS[name]
    unlabeled = train.unlabeled_batch if kind.uses_unlabeled else None
    found = (train.iterations, train.labeled_batch, unlabeled, train.schedule, train.flips)
    assert found == OWN[name]
    assert (train.learning_rate, train.momentum, train.weight_decay) == (0.01, 0.9, 1e-4)
    assert (train.normalise, train.patch) == ("stored", (112, 112, 80))
    assert chosen.settings == Experiment("la", "full", method=name).settings
    if train.schedule == "own":  # constant
        with torch.device("meta"):
            method = kind(chosen.settings, train, dataset_spec("la"))
        assert {method.own_rate(Progress(step, 15000)) for step in (0, 7000, 14999)} == {1.0}


@pytest.mark.parametrize("name", [name for name in (*ALONE, *PAIRS) if name != "luseg"])
def test_three_classes(name):
    chosen = experiment(name)
    method = METHODS[name](chosen.settings, chosen.train, THREE).train()
    batch = crops(unlabeled=2 if method.uses_unlabeled else 0)
    batch.label[:, 12:] = 2
    terms = method.loss(batch, MIDDLE)
    assert all(terms[term].isfinite() for term in method.weights(MIDDLE))
    assert method.eval().predict(batch.image[:1]).shape[1] == 3


def test_a_union_of_labels_is_for_two_classes():
    chosen = experiment("luseg")
    with pytest.raises(DualsegError, match=r"method: expected two classes for LUSEG, .*found 3 \("):
        METHODS["luseg"](chosen.settings, chosen.train, THREE)


def test_cpcl_refuses_batches_without_partners():
    chosen = experiment("cpcl", labeled_batch=4)
    with pytest.raises(DualsegError, match="unlabeled_batch: expected as many .* found 2 for 4"):
        check_batch(chosen, built("cpcl"), Ranks(0, 1))


@pytest.mark.parametrize("name", TEACHERS)
def test_the_teachers_pass_is_the_smallest(name):
    method = built(name)
    assert method.smallest_pass(2, 2) == 2
    if name != "cpcl":
        assert method.smallest_pass(4, 1) == 1
        with pytest.raises(DualsegError, match="patch: expected a side above 16 for a batch of"):
            check_batch(experiment(name, unlabeled_batch=1), method, Ranks(0, 1))


# Two processes

TOGETHER = ("ua_mt", "mc_net_plus", "luseg", "cpcl")


def rank_main(rank: int, port: int, folder) -> None:
    become(rank, port)
    from dualseg.training.distributed import joined

    with joined():
        for name in TOGETHER:
            chosen = experiment(name, labeled_batch=4, unlabeled_batch=4, iterations=3)
            method = build_method(chosen, dataset_spec("phantom"))
            fit(chosen, folder / name, method=method)
            torch.save(dict(method.named_parameters()), folder / f"{name}_{rank}.pt")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="one process on Windows")
def test_two_processes_have_the_same_networks_and_teachers(tmp_path, forkserver):
    assert exit_codes(forkserver, rank_main, free_ports(1)[0], tmp_path) == [0, 0]
    for name in TOGETHER:
        run = Run(tmp_path / name)
        assert run.finished and run.info()["processes"] == 2 and len(run.log()) == 3
        first, second = (torch.load(tmp_path / f"{name}_{rank}.pt") for rank in range(2))
        start = dict(built(name).named_parameters())
        assert first.keys() == second.keys() == start.keys()
        for parameter, tensor in first.items():
            assert torch.equal(tensor, second[parameter]), (name, parameter)
        assert any(not torch.equal(tensor, start[name]) for name, tensor in first.items())
