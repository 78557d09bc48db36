"""Losses against the equations in NumPy float64 (equations.py); gradients; degenerate inputs."""

import numpy as np
import pytest
import torch
from equations import (
    GAMMA,
    KINDS,
    VOXELS,
    contrast,
    dice,
    entropy,
    make_case,
    reliable_voxels,
    softmax,
    sure,
    tensor,
    voxel_cross_entropy,
)

from dualseg import losses
from dualseg.config.training import Progress
from dualseg.errors import DualsegError


@pytest.fixture(params=KINDS)
def case(request):
    return make_case(request.param)


# Supervised (eq. 2)


def test_soft_dice_by_hand():
    prob, target = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([1, 0, 0])
    # overlap 0.5, sizes 0.25 + 0.25 and 1
    assert losses.soft_dice_loss(prob, target).item() == pytest.approx(1 - 1.00001 / 1.50001)


def test_empty_prediction_of_an_empty_target_costs_nothing():
    assert losses.soft_dice_loss(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2)).item() == 0.0


def test_supervised_loss_is_eq_2(case):
    expected = voxel_cross_entropy(case["a"], case["label"]).mean()
    expected += dice(softmax(case["a"])[:, 1], case["label"])
    got = losses.supervised_loss(tensor(case["a"]), tensor(case["label"]))
    assert got.item() == pytest.approx(expected, abs=1e-6)


def test_supervised_loss_of_three_classes_averages_the_foreground():
    rng = np.random.default_rng(1)
    logits, label = rng.normal(size=(1, 3, 2, 3, 4)), rng.integers(0, 3, (1, 2, 3, 4))
    prob = softmax(logits)
    expected = voxel_cross_entropy(logits, label).mean() + np.mean(
        [dice(prob[:, c], label == c) for c in (1, 2)]
    )
    got = losses.supervised_loss(tensor(logits), tensor(label))
    assert got.item() == pytest.approx(expected, abs=1e-6)


# Consistency (eqs. 4-6)


@pytest.mark.parametrize("combine", ["xor", "or"])
@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.95])
def test_disagreement_mask_is_eq_5(case, combine, threshold):
    votes = []
    for name in ("a", "b"):
        prob = softmax(case[name])
        votes.append((prob.argmax(1) == 1) & (prob[:, 1] >= threshold))
    expected = np.logical_xor(*votes) if combine == "xor" else np.logical_or(*votes)
    got = losses.disagreement_mask(
        *(tensor(softmax(case[name])) for name in ("a", "b")), threshold, combine
    )
    assert got.dtype == torch.bool
    np.testing.assert_array_equal(got, expected)


def test_disagreement_mask_by_hand():
    """One voxel each: both sure, A alone sure, A alone but unsure, a tie at 0.5, neither."""
    a = torch.tensor([0.9, 0.7, 0.55, 0.5, 0.1]).view(1, 1, 5, 1, 1)
    b = torch.tensor([0.8, 0.2, 0.20, 0.2, 0.1]).view(1, 1, 5, 1, 1)
    a, b = (torch.cat([1 - p, p], 1) for p in (a, b))
    assert losses.disagreement_mask(a, b).flatten().tolist() == [False, True, False, False, False]
    assert losses.disagreement_mask(a, b, combine="or").flatten().tolist()[:2] == [True, True]
    assert not losses.disagreement_mask(a, b, threshold=0.0)[0, 3, 0, 0]  # argmax of a tie is 0


@pytest.mark.parametrize("distance", ["mse", "kl"])
@pytest.mark.parametrize("combine", ["xor", "or"])
def test_consistency_loss_is_eq_6(case, distance, combine):
    prob, label = softmax(case["a"]), case["label"]
    votes = [(p[:, 1] > p[:, 0]) & (p[:, 1] >= 0.6) for p in (prob, softmax(case["b"]))]
    mask = np.logical_xor(*votes) if combine == "xor" else np.logical_or(*votes)
    each = (prob[:, 1] - label) ** 2 if distance == "mse" else voxel_cross_entropy(case["a"], label)
    expected = each[mask].sum() / mask.sum() if mask.any() else 0.0
    got = losses.consistency_loss(tensor(prob[:, 1]), tensor(label), tensor(mask), distance)
    assert got.item() == pytest.approx(expected, abs=1e-6)


def test_consistency_kl_is_bounded_where_the_network_is_surely_wrong():
    prob = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).requires_grad_()
    target = torch.tensor([1, 0]).view(1, 2, 1, 1)
    loss = losses.consistency_loss(prob, target, torch.ones(1, 2, 1, 1, dtype=torch.bool), "kl")
    loss.backward()
    assert loss.item() == pytest.approx(-np.log(1e-7), rel=1e-6)
    assert prob.grad.isfinite().all()


# Cross pseudo supervision (eqs. 7-8)


@pytest.mark.parametrize("classes", [2, 4])
def test_pseudo_label_is_the_argmax_of_eq_7(classes):
    """NumPy's argmax, which of equal logits takes the first; and no gradient."""
    logits = np.random.default_rng(0).integers(-2, 3, (2, classes, 5, 4, 3)).astype(np.float32)
    given = torch.tensor(logits, requires_grad=True)
    for layout in (given, given.contiguous(memory_format=torch.channels_last_3d)):
        label = losses.pseudo_label(layout)
        np.testing.assert_array_equal(label, logits.argmax(1))
        assert label.dtype == torch.int64 and not label.requires_grad


def test_cross_pseudo_loss_is_eq_8(case):
    a, b = case["a"], case["b"]
    expected = voxel_cross_entropy(a, b.argmax(1)).mean()
    expected += voxel_cross_entropy(b, a.argmax(1)).mean()
    got = losses.cross_pseudo_loss(tensor(a), tensor(b))
    assert got.item() == pytest.approx(expected, abs=1e-6)


def test_cross_pseudo_gradient_is_that_of_fixed_labels(case):
    """Each network gets softmax - onehot(other's label): nothing flows through the labels."""
    a, b = case["a"], case["b"]
    ta, tb = (torch.tensor(x, requires_grad=True) for x in (a, b))
    losses.cross_pseudo_loss(ta, tb).backward()
    for own, grad, other in ((a, ta.grad, b), (b, tb.grad, a)):
        onehot = np.stack([other.argmax(1) == c for c in (0, 1)], 1)
        np.testing.assert_allclose(grad, (softmax(own) - onehot) / onehot[:, 0].size, atol=1e-6)


# Entropy-filtered supervision (eqs. 9-11)


def test_entropy_bits_is_eq_9(case):
    prob = softmax(case["a"])
    np.testing.assert_allclose(losses.entropy_bits(tensor(prob)), entropy(prob), atol=1e-6)


def test_entropy_by_hand():
    prob = torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.25, 0.75]]).view(3, 2, 1, 1, 1).requires_grad_()
    bits = losses.entropy_bits(prob)
    bits.sum().backward()
    assert bits.flatten().tolist() == pytest.approx([1.0, 0.0, 0.8112781], abs=1e-6)
    assert prob.grad.isfinite().all()


def test_entropy_of_even_classes_is_log2_of_their_number():
    assert losses.entropy_bits(torch.full((1, 8, 1, 1, 1), 1 / 8)).item() == pytest.approx(3)


@pytest.mark.parametrize("percentile", [0, 12.5, 30, 70, 99.9, 100])
@pytest.mark.parametrize("size", [1, 2, 1000])
def test_entropy_threshold_is_the_percentile_of_numpy(percentile, size):
    values = np.random.default_rng(size).random(size)
    got = losses.entropy_threshold(tensor(values), percentile)
    assert got.item() == pytest.approx(np.percentile(values, percentile), abs=1e-6)


@pytest.mark.parametrize("percentile", [0, 30, 70, 100])
def test_class_thresholds_are_percentiles_within_each_class(case, percentile):
    bits, label = entropy(softmax(case["a"])), case["a"].argmax(1)
    expected = np.empty_like(bits)
    for c in np.unique(label):
        expected[label == c] = np.percentile(bits[label == c], percentile)
    got = losses.class_thresholds(tensor(bits), tensor(label), percentile)
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_class_thresholds_keep_a_share_of_an_uncertain_object():
    case = make_case("uncertain object")
    bits, label = tensor(entropy(softmax(case["a"]))), tensor(case["a"].argmax(1))
    kept = bits <= losses.class_thresholds(bits, label, 70)
    assert kept[label == 1].float().mean().item() == pytest.approx(0.7, abs=0.05)


@pytest.mark.parametrize("combine", ["or", "and"])
@pytest.mark.parametrize("gamma", [30.0, 70.0])
def test_confident_mask_is_eq_10(case, combine, gamma):
    sure_a, sure_b = (sure(softmax(case[name]), gamma) for name in ("a", "b"))
    expected = sure_a & sure_b if combine == "or" else sure_a | sure_b
    bits = [losses.entropy_bits(tensor(softmax(case[name]))) for name in ("a", "b")]
    np.testing.assert_array_equal(losses.confident_mask(*bits, gamma, combine), expected)


def test_voxels_at_the_threshold_are_kept_but_not_reliable():
    """Eq. 10 ignores what is above, eq. 16 trusts what is below: equal entropies part the two."""
    logits = torch.zeros(1, 2, 2, 2, 2)
    bits = losses.entropy_bits(logits.softmax(1))
    assert losses.confident_mask(bits, bits, 70).all()
    assert not losses.reliable_mask(logits, logits, 70).any()


@pytest.mark.parametrize("gamma", [30.0, 70.0])
def test_entropy_filtered_loss_is_eq_11(case, gamma):
    keep = sure(softmax(case["a"]), gamma) & sure(softmax(case["b"]), gamma)
    pseudo = case["b"].argmax(1)
    each = voxel_cross_entropy(case["a"], pseudo)
    expected = each[keep].mean() if keep.any() else 0.0
    got = losses.entropy_filtered_loss(tensor(case["a"]), tensor(pseudo), tensor(keep))
    assert got.item() == pytest.approx(expected, abs=1e-6)


def test_entropy_filtered_loss_leaves_ignored_voxels_alone(case):
    keep = np.zeros(VOXELS, bool)
    keep[:, :2] = True
    logits = tensor(case["a"]).requires_grad_()
    losses.entropy_filtered_loss(logits, tensor(case["b"].argmax(1)), tensor(keep)).backward()
    moved = logits.grad.abs().sum(1) > 0
    np.testing.assert_array_equal(moved, keep)


# Uncertainty (eqs. 13-15)


def test_kl_divergence_is_eq_15(case):
    student, teacher = softmax(case["a"]), softmax(case["b"])
    expected = (teacher * np.log(teacher / student)).sum(1)
    got = losses.kl_divergence(tensor(case["a"]), tensor(case["b"]))
    np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("target", ["soft", "hard"])
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_uncertainty_loss_is_eq_14(case, target, temperature):
    student, teacher = softmax(case["a"]), softmax(case["b"])
    divergence = (teacher * np.log(teacher / student)).sum(1)
    if target == "soft":
        pseudo = -(softmax(case["b"] / temperature) * np.log(student)).sum(1)
    else:
        pseudo = voxel_cross_entropy(case["a"], teacher.argmax(1))
    expected = (np.exp(-divergence) * pseudo + divergence).mean()
    for detach in (False, True):  # the same value, another gradient
        got = losses.uncertainty_loss(
            tensor(case["a"]), tensor(case["b"]), temperature, target, detach
        )
        assert got.item() == pytest.approx(expected, abs=1e-6)


def test_detached_weight_gradient_is_that_of_a_fixed_weight(case):
    student, teacher = softmax(case["a"]), softmax(case["b"])
    divergence = (teacher * np.log(teacher / student)).sum(1, keepdims=True)
    sharp = softmax(case["b"] / 0.5)
    # d/d logits of cross-entropy against q is s - q; of KL(t || s) it is s - t.
    expected = np.exp(-divergence) * (student - sharp) + (student - teacher)
    logits = torch.tensor(case["a"], requires_grad=True)
    losses.uncertainty_loss(logits, torch.tensor(case["b"]), detach_weight=True).backward()
    np.testing.assert_allclose(logits.grad, expected / divergence.size, atol=1e-9)


def test_undetached_weight_can_reward_disagreement():
    """As printed, the gradient holds (1 - e^-D L_p) dD: negative where e^-D L_p exceeds 1."""
    teacher = torch.tensor([0.02, 0.0], dtype=torch.float64).view(1, 2, 1, 1, 1)
    student = torch.tensor([-1.4, 0.0], dtype=torch.float64).view(1, 2, 1, 1, 1).requires_grad_()
    divergence = losses.kl_divergence(student, teacher).sum()
    supervision = -student.log_softmax(1)[0, 0].sum()
    factor = (-divergence).exp() * supervision
    assert factor.item() > 1
    loss = losses.uncertainty_loss(student, teacher, target="hard")
    printed, detached, by_divergence = (
        torch.autograd.grad(value, student, retain_graph=True)[0]
        for value in (
            loss,
            losses.uncertainty_loss(student, teacher, target="hard", detach_weight=True),
            divergence,
        )
    )
    np.testing.assert_allclose(detached - printed, factor.item() * by_divergence, atol=1e-12)


# Prototypes and contrast (eqs. 16-20)


@pytest.mark.parametrize("gamma", [30.0, 70.0])
def test_reliable_mask_is_eq_16(case, gamma):
    got = losses.reliable_mask(tensor(case["a"]), tensor(case["b"]), gamma)
    np.testing.assert_array_equal(got, reliable_voxels(case, gamma))


def test_an_uncertain_object_leaves_no_reliable_foreground():
    case = make_case("uncertain object")
    label, reliable = case["a"].argmax(1), reliable_voxels(case)
    assert (label == 1).any()
    assert not (reliable & (label == 1)).any()
    _, exists = losses.class_prototypes(tensor(case["features_a"]), tensor(label), tensor(reliable))
    assert exists.tolist() == [True, False]


def test_class_prototypes_are_eq_19(case):
    label, reliable = case["a"].argmax(1), reliable_voxels(case)
    got, exists = losses.class_prototypes(
        tensor(case["features_a"]), tensor(label), tensor(reliable)
    )
    vectors = np.moveaxis(case["features_a"], 1, -1)
    for c in (0, 1):
        members = vectors[reliable & (label == c)]
        assert exists[c].item() == bool(len(members))
        if len(members):
            np.testing.assert_allclose(got[c], members.mean(0), atol=1e-6)
        else:
            assert not got[c].any()


@pytest.mark.parametrize("third_term", ["attract", "repel", "none"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("normalise", [True, False], ids=["unit vectors", "raw"])
def test_prototype_contrast_is_eq_20(case, third_term, reduction, normalise):
    label, reliable = case["a"].argmax(1), reliable_voxels(case)
    sign = {"attract": 1, "repel": -1, "none": 0}[third_term]
    for name in ("features_a", "features_b"):
        expected = contrast(case[name], label, reliable, sign, reduction, normalise)
        for detach in (False, True):  # the same value, another gradient
            got = losses.prototype_contrast(
                tensor(case[name]),
                tensor(label),
                tensor(reliable),
                third_term,
                reduction,
                normalise,
                detach_prototypes=detach,
            )
            # A sum of hundreds in float32 is exact to a part in a million, not to a millionth.
            assert got.item() == pytest.approx(expected, abs=1e-6, rel=1e-6)


def test_voxels_at_their_prototype_cost_nothing():
    features = torch.ones(1, 3, 2, 2, 2).requires_grad_()
    label = torch.arange(8).view(1, 2, 2, 2) % 2
    reliable = torch.arange(8).view(1, 2, 2, 2) < 4
    loss = losses.prototype_contrast(features, label, reliable)
    loss.backward()
    assert loss.item() == 0
    assert not features.grad.any()


def test_contrast_of_three_classes_is_the_mean_over_the_foreground():
    rng = np.random.default_rng(3)
    features, label = rng.normal(size=(1, 4, 5, 5, 4)), rng.integers(0, 3, (1, 5, 5, 4))
    reliable = rng.random((1, 5, 5, 4)) < 0.5
    pairs = []
    for c in (1, 2):  # classes 0 and c alone, as the binary equation has them
        present = (label == 0) | (label == c)
        vectors = np.moveaxis(features, 1, -1)[present].T.reshape(1, 4, -1, 1, 1)
        two = (label == c)[present].astype(int).reshape(1, -1, 1, 1)
        sure_two = reliable[present].reshape(1, -1, 1, 1)
        pairs.append(contrast(vectors, two, sure_two, 1, "mean", True))
    got = losses.prototype_contrast(
        tensor(features), tensor(label), tensor(reliable), num_classes=3
    )
    assert got.item() == pytest.approx(np.mean(pairs), abs=1e-6)


@pytest.mark.slow
def test_contrast_gradient_by_finite_differences(case):
    label, reliable = tensor(case["a"].argmax(1)), tensor(reliable_voxels(case, 70.0))
    features = torch.tensor(case["features_a"], requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda f: losses.prototype_contrast(f, label, reliable, "repel"), features
    )


def test_detached_prototypes_move_only_uncertain_voxels(case):
    label, reliable = tensor(case["a"].argmax(1)), tensor(reliable_voxels(case, 70.0))
    for detach in (False, True):
        features = tensor(case["features_a"]).requires_grad_()
        losses.prototype_contrast(features, label, reliable, detach_prototypes=detach).backward()
        moved = features.grad.abs().sum(1) > 0
        assert moved[~reliable].any()
        assert moved[reliable].any() != detach


@pytest.mark.parametrize(("shape", "sign"), [("rise", -1), ("fall", 1)])
def test_contrast_weight_is_section_4_2(shape, sign):
    for step in (0, 1500, 3000, 4500, 5999):
        t = step / 6000
        expected = 0.1 * np.exp(sign * 4 * (1 - t) ** 2)
        assert losses.contrast_weight(Progress(step, 6000), shape) == pytest.approx(expected)
        assert losses.contrast_weight(t, shape) == pytest.approx(expected)
    assert losses.contrast_weight(0, "fall") == pytest.approx(5.46, abs=0.005)  # printed sign


# The released program's own term


def test_cosine_consistency_is_one_minus_the_cosine(case):
    a, b = softmax(case["a"]), softmax(case["b"])
    cosine = (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))
    got = losses.cosine_consistency(tensor(a), tensor(b))
    assert got.item() == pytest.approx((1 - cosine).mean(), abs=1e-6)


# All of them


def every_loss(a, b, features, label):
    """Each loss as a scalar of its inputs, by name."""
    prob_a, prob_b = a.softmax(1), b.softmax(1)
    guess = b.detach().argmax(1)
    bits = [losses.entropy_bits(prob) for prob in (prob_a, prob_b)]
    mask = losses.disagreement_mask(prob_a, prob_b)
    keep = losses.confident_mask(*bits, GAMMA)
    reliable = losses.reliable_mask(a, b, GAMMA)
    return {
        "supervised": losses.supervised_loss(a, label),
        "dice": losses.soft_dice_loss(prob_a[:, 1], label),
        "consistency": losses.consistency_loss(prob_a[:, 1], label, mask),
        "consistency kl": losses.consistency_loss(prob_a[:, 1], label, mask, "kl"),
        "cross pseudo": losses.cross_pseudo_loss(a, b),
        "entropy": bits[0].mean(),
        "filtered": losses.entropy_filtered_loss(a, guess, keep),
        "filtered, all ignored": losses.entropy_filtered_loss(a, guess, torch.zeros_like(keep)),
        "kl": losses.kl_divergence(a, b).mean(),
        "uncertainty": losses.uncertainty_loss(a, b),
        "uncertainty hard": losses.uncertainty_loss(a, b, 0.01, "hard"),
        "contrast": losses.prototype_contrast(features, guess, reliable),
        "contrast raw sum": losses.prototype_contrast(
            features, guess, reliable, "repel", "sum", False
        ),
        "contrast, all reliable": losses.prototype_contrast(
            features, guess, torch.ones_like(reliable)
        ),
        "contrast, none reliable": losses.prototype_contrast(
            features, guess, torch.zeros_like(reliable)
        ),
        "cosine": losses.cosine_consistency(prob_a, prob_b),
    }


@pytest.mark.parametrize("scale", [1e4, 1.0, 0.0], ids=["huge", "ordinary", "all equal"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("fill", [0, 1], ids=["no foreground", "all foreground"])
@pytest.mark.parametrize("same", [False, True], ids=["two networks", "identical networks"])
def test_degenerate_inputs_stay_finite(scale, dtype, fill, same):
    torch.manual_seed(0)
    a, b = ((scale * torch.randn(2, 2, 3, 4, 5)).to(dtype).requires_grad_() for _ in range(2))
    b = a if same else b
    features = (scale * torch.randn(2, 6, 3, 4, 5)).to(dtype).requires_grad_()
    label = torch.full((2, 3, 4, 5), fill)
    for name, loss in every_loss(a, b, features, label).items():
        grads = torch.autograd.grad(loss, (a, b, features), allow_unused=True, retain_graph=True)
        assert loss.dtype == torch.float32, name
        assert loss.isfinite(), name
        assert all(grad is None or grad.isfinite().all() for grad in grads), name


def test_nan_is_never_hidden():
    a, b, features = (torch.randn(1, 2, 3, 4, 5) for _ in range(3))
    label = torch.randint(0, 2, (1, 3, 4, 5))
    for name in every_loss(a, b, features, label):
        spoilt = [
            x.clone().index_put_((torch.tensor(0),) * 5, torch.tensor(torch.nan))
            for x in (a, b, features)
        ]
        loss = every_loss(*spoilt, label)[name]
        reads_it = "all ignored" not in name and "consistency" not in name
        if reads_it and "filtered" not in name and "none reliable" not in name:
            assert not loss.isfinite(), name


def test_double_precision_stays(case):
    a, b, f = (torch.tensor(case[name]) for name in ("a", "b", "features_a"))
    assert all(
        v.dtype == torch.float64 for v in every_loss(a, b, f, tensor(case["label"])).values()
    )


TWO, THREE = torch.zeros(1, 2, 2, 2, 2), torch.zeros(1, 3, 2, 2, 2)
MAP = torch.zeros(1, 2, 2, 2)
LABEL, MASK = MAP.long(), MAP.bool()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: losses.disagreement_mask(THREE, THREE),
            r"prob_a: expected shape \(B, 2,.*found \(1, 3,",
        ),
        (
            lambda: losses.disagreement_mask(TWO, TWO, 0.6, "and"),
            "combine: expected one of or, xor",
        ),
        (
            lambda: losses.consistency_loss(MAP, MAP, MASK, "l1"),
            "distance: expected one of kl, mse",
        ),
        (lambda: losses.consistency_loss(MAP, MAP[:, :1], MASK), "target: expected shape"),
        (lambda: losses.cross_pseudo_loss(TWO, TWO[:, :, :1]), "logits_b: expected shape"),
        (lambda: losses.cross_pseudo_loss(TWO[:, :1], TWO[:, :1]), "logits_a: .*C >= 2"),
        (lambda: losses.pseudo_label(TWO[:, :1]), "logits: .*C >= 2"),
        (lambda: losses.entropy_threshold(MAP, 101), "percentile: expected a number from 0 to 100"),
        (lambda: losses.entropy_threshold(MAP[:0], 50), "entropy: expected at least one value"),
        (lambda: losses.class_thresholds(MAP, LABEL, -1), "percentile: expected a number from 0"),
        (lambda: losses.class_thresholds(MAP, LABEL[1:], 50), "label: expected shape"),
        (lambda: losses.confident_mask(MAP, MAP, 50, "xor"), "combine: expected one of and, or"),
        (lambda: losses.entropy_filtered_loss(TWO, LABEL[:, 1:], MASK), "pseudo_label: expected"),
        (lambda: losses.uncertainty_loss(TWO, TWO, 0), "temperature: expected a number above 0"),
        (lambda: losses.uncertainty_loss(TWO, TWO, 1, "firm"), "target: expected one of hard"),
        (lambda: losses.uncertainty_loss(TWO, THREE), "teacher_logits: expected shape"),
        (lambda: losses.prototype_contrast(TWO, LABEL, MASK, "push"), "third_term: expected one"),
        (lambda: losses.prototype_contrast(TWO, LABEL, MASK, reduction="max"), "reduction: expec"),
        (lambda: losses.class_prototypes(MAP, LABEL, MASK), "features: expected shape"),
        (lambda: losses.soft_dice_loss(MAP, MAP[:, 1:]), "target: expected shape"),
        (lambda: losses.consistency_loss(TWO, MAP, MASK), "foreground_prob: expected shape"),
        (lambda: losses.consistency_loss(MAP, MAP, MAP), "mask: expected a mask of type bool"),
        (lambda: losses.disagreement_mask(TWO, TWO, 60), "threshold: expected a probability"),
        (lambda: losses.supervised_loss(TWO, MAP), "target: expected class numbers of type int64"),
        (lambda: losses.entropy_filtered_loss(TWO, LABEL, LABEL), "keep: expected a mask of type"),
        (lambda: losses.prototype_contrast(TWO, LABEL, MAP), "reliable: expected a mask of type"),
        (lambda: losses.class_prototypes(TWO, LABEL, MASK, 1), "num_classes: expected at least 2"),
        (lambda: losses.contrast_weight(1.5), "progress: expected t from 0 to 1"),
        (lambda: losses.contrast_weight(0.5, "flat"), "shape: expected one of fall, rise"),
        (lambda: losses.supervised_loss(TWO, LABEL[:, 1:]), "target: expected shape"),
        (lambda: losses.cosine_consistency(TWO, THREE), "prob_b: expected shape"),
    ],
)
def test_mistakes_are_answered_in_a_sentence(call, sentence):
    with pytest.raises(DualsegError, match=sentence):
        call()
