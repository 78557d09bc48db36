"""The method "dual": eq. 1 as a whole against NumPy, who learns from what, the presets."""

import dataclasses
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from equations import (
    KINDS,
    contrast,
    dice,
    make_case,
    reliable_voxels,
    softmax,
    sure,
    tensor,
    voxel_cross_entropy,
)

from dualseg.config.experiment import Experiment, preset_settings
from dualseg.config.training import Progress
from dualseg.data.batches import Batch
from dualseg.data.known import dataset_spec
from dualseg.losses import contrast_weight
from dualseg.methods import build_method
from dualseg.methods.dual import dual_terms, dual_weights
from dualseg.methods.dual_settings import DUAL_PRESETS, DualSettings
from dualseg.networks import NetworkOutput
from dualseg.paper.gradients import gradient_table, released_gradient_table, released_values

PAPER = DualSettings()


def outputs(case) -> tuple[NetworkOutput, NetworkOutput]:
    return tuple(
        NetworkOutput(tensor(case[name]), tensor(case[f"features_{name}"])) for name in "ab"
    )


def part(case, samples):
    return {name: value[samples] for name, value in case.items()}


def eq_1(case, t: float, gamma: float) -> float:
    """The paper's total with one labeled and one unlabeled sample, alpha 0.5, threshold 0.6."""
    known, unknown = part(case, slice(0, 1)), part(case, slice(1, 2))
    total = 0.0
    votes = [softmax(known[n])[:, 1] >= 0.6 for n in "ab"]
    mask = votes[0] ^ votes[1]
    for name in "ab":
        prob, label = softmax(known[name])[:, 1], known["label"]
        total += voxel_cross_entropy(known[name], label).mean() + dice(prob, label)
        if mask.any():
            total += 0.5 * ((prob - label) ** 2)[mask].mean()
    probs = {name: softmax(unknown[name]) for name in "ab"}
    keep = sure(probs["a"], gamma) & sure(probs["b"], gamma)
    for own, other in ("ab", "ba"):
        each = voxel_cross_entropy(unknown[own], probs[other].argmax(1))
        total += each.mean() + (each[keep].mean() if keep.any() else 0)
        student, teacher = probs[own], probs[other]
        divergence = (teacher * np.log(teacher / student)).sum(1)
        pseudo = -(softmax(unknown[other] / 0.5) * np.log(student)).sum(1)
        total += (np.exp(-divergence) * pseudo + divergence).mean()
    label, reliable = probs["a"].argmax(1), reliable_voxels(unknown, gamma)
    pulls = [
        contrast(unknown[f"features_{name}"], label, reliable, 1, "mean", True) for name in "ab"
    ]
    return total + 0.1 * np.exp(-4 * (1 - t) ** 2) * np.mean(pulls)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gamma", [30.0, 70.0])
def test_paper_preset_is_eq_1(kind, gamma):
    case, progress = make_case(kind), Progress(40, 100)
    choices = dataclasses.replace(PAPER, gamma=gamma)
    terms = dual_terms(*outputs(case), tensor(case["label"][:1]), choices)
    weights = dual_weights(choices, progress)
    total = sum(weight * terms[name] for name, weight in weights.items())
    # Float32 sums of terms up to 20.
    assert total.item() == pytest.approx(eq_1(case, 0.4, gamma), rel=1e-6, abs=1e-6)


def test_released_preset_is_what_that_program_optimises():
    """CE + Dice + 0.5 MSE each; hard uncertainty of A and the cosine term on the whole batch."""
    case = make_case("disagreement")
    known = part(case, slice(0, 1))
    votes = [softmax(known[n])[:, 1] >= 0.6 for n in "ab"]
    mask, expected = votes[0] ^ votes[1], 0.0
    for name in "ab":
        prob, label = softmax(known[name])[:, 1], known["label"]
        expected += voxel_cross_entropy(known[name], label).mean() + dice(prob, label)
        expected += 0.5 * ((prob - label) ** 2)[mask].mean()
    a, b = softmax(case["a"]), softmax(case["b"])
    divergence = (b * np.log(b / a)).sum(1)
    hard = voxel_cross_entropy(case["a"], b.argmax(1))
    expected += (np.exp(-divergence) * hard + divergence).mean()
    cosine = (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))
    expected += 1 - cosine.mean()

    choices = preset_settings("dual", "released", "pancreas")  # alpha 0.5 there too
    terms = dual_terms(*outputs(case), tensor(case["label"][:1]), choices)
    total = sum(w * terms[name] for name, w in dual_weights(choices, Progress(0, 1)).items())
    assert total.item() == pytest.approx(expected, rel=1e-6)


def test_measurements_say_what_happened():
    case = make_case("uncertain object")
    choices = dataclasses.replace(PAPER, gamma=30.0)
    terms = dual_terms(*outputs(case), tensor(case["label"][:1]), choices)
    unknown = part(case, slice(1, 2))
    a, b = softmax(unknown["a"]), softmax(unknown["b"])
    assert terms["missing_prototypes"] == 1
    assert terms["prototype_distance"].isnan()
    assert terms["foreground_a"].item() == pytest.approx((a.argmax(1) > 0).mean())
    assert terms["foreground_b"].item() == pytest.approx((b.argmax(1) > 0).mean())
    assert terms["disagreement"].item() == pytest.approx((a.argmax(1) != b.argmax(1)).mean())
    assert terms["kept"].item() == pytest.approx((sure(a, 30) & sure(b, 30)).mean())
    assert terms["reliable"].item() == pytest.approx(reliable_voxels(unknown, 30).mean())
    within = dataclasses.replace(choices, percentile_within="class")
    assert dual_terms(*outputs(case), tensor(case["label"][:1]), within)["missing_prototypes"] == 0
    whole = dual_terms(*outputs(make_case("disagreement")), tensor(case["label"][:1]), PAPER)
    assert whole["missing_prototypes"] == 0
    assert 0 < whole["prototype_distance"] <= 2


def test_dropout_before_the_head_is_a_setting_and_that_in_the_encoder_is_not():
    experiment = Experiment("phantom", "smoke", head_dropout=0.25)
    method = build_method(experiment, dataset_spec("phantom"))
    assert [network.decoder.dropout.p for network in (method.a, method.b)] == [0.25, 0.25]
    assert method.b.encoder.dropout.p == 0.5


CHOICES = [
    {"mask_combine": "or"},
    {"mask_threshold": 0.9},
    {"consistency_distance": "kl"},
    {"gamma": 30.0},
    {"percentile_within": "class"},
    {"filter_label": "own"},
    {"filter_combine": "and"},
    {"temperature": 0.1},
    {"uncertainty_target": "hard"},
    {"uncertainty_direction": "b_to_a"},
    {"contrast_third_term": "repel"},
    {"contrast_third_term": "none"},
    {"contrast_reduction": "sum"},
    {"contrast_normalise": False},
    {"contrast_schedule": "fall"},
    {"samples": "all"},
    {"ramp_up": 0.5},
    {"alpha": 0.6},
    {"weight_cross_pseudo": 0.5},
    {"weight_entropy_filtered": 0.5},
    {"weight_uncertainty": 0.5},
    {"weight_contrast": 0.5},
    {"weight_cosine": 1.0},
]


@pytest.mark.parametrize("change", CHOICES, ids=str)
def test_every_choice_changes_the_loss(change):
    case, label = make_case("disagreement"), tensor(make_case("disagreement")["label"][:1])

    def total(choices):
        terms = dual_terms(*outputs(case), label, choices)
        weights = dual_weights(choices, Progress(20, 100))
        return sum(weight * terms[name] for name, weight in weights.items()).item()

    assert total(dataclasses.replace(PAPER, **change)) != pytest.approx(total(PAPER), rel=1e-6)


@pytest.mark.parametrize("choice", ["uncertainty_detach_weight", "contrast_detach_prototypes"])
def test_detaching_changes_the_gradient_and_not_the_loss(choice):
    case, label = make_case("disagreement"), tensor(make_case("disagreement")["label"][:1])
    found = []
    for detach in (False, True):
        out_a, out_b = outputs(case)
        out_a.logits.requires_grad_(), out_a.features.requires_grad_()
        terms = dual_terms(out_a, out_b, label, dataclasses.replace(PAPER, **{choice: detach}))
        total = terms["uncertainty_a"] + terms["contrast_a"]
        total.backward()
        found.append((total.item(), out_a.logits.grad.sum(0), out_a.features.grad.sum(0)))
    (loss, *grads), (loss_detached, *grads_detached) = found
    assert loss == loss_detached
    same = [torch.equal(g, h) for g, h in zip(grads, grads_detached, strict=True)]
    assert same == ([False, True] if choice == "uncertainty_detach_weight" else [True, False])


OFF = {
    "alpha": ("consistency_a", "consistency_b"),
    "weight_cross_pseudo": ("cross_pseudo",),
    "weight_entropy_filtered": ("entropy_filtered_a", "entropy_filtered_b"),
    "weight_uncertainty": ("uncertainty_a", "uncertainty_b"),
    "weight_contrast": ("contrast_a", "contrast_b"),
}


@pytest.mark.parametrize("name", OFF)
def test_components_can_be_switched_off_one_by_one(name):
    case = make_case("disagreement")
    choices = dataclasses.replace(PAPER, **{name: 0.0})
    terms = dual_terms(*outputs(case), tensor(case["label"][:1]), choices)
    weights = dual_weights(choices, Progress(0, 1))
    assert set(dual_weights(PAPER, Progress(0, 1))) - set(weights) == set(OFF[name])
    assert set(weights) <= set(terms)
    assert not set(OFF[name]) & set(terms)  # not even computed


def test_contrast_weight_enters_half_for_each_network():
    progress = Progress(3, 10)
    weights = dual_weights(PAPER, progress)
    assert weights["contrast_a"] == weights["contrast_b"] == contrast_weight(progress) / 2


def test_ramp_up_of_the_unlabeled_terms():
    ramped = dataclasses.replace(PAPER, ramp_up=0.4, weight_cosine=1.0)
    plain = dataclasses.replace(PAPER, weight_cosine=1.0)
    for step, rise in ((0, np.exp(-5)), (2, np.exp(-1.25)), (4, 1), (9, 1)):
        before, after = (dual_weights(c, Progress(step, 10)) for c in (plain, ramped))
        for name, weight in before.items():
            labeled = name.startswith(("supervised", "consistency"))
            assert after[name] == pytest.approx(weight * (1 if labeled else rise)), name


@pytest.mark.parametrize("classes", [3, 4])
def test_more_classes_train(classes):
    torch.manual_seed(0)
    out_a, out_b = (
        NetworkOutput(
            torch.randn(2, classes, 5, 5, 5, requires_grad=True),
            torch.randn(2, 6, 5, 5, 5, requires_grad=True),
        )
        for _ in range(2)
    )
    label = torch.randint(0, classes, (1, 5, 5, 5))
    terms = dual_terms(out_a, out_b, label, PAPER)
    weights = dual_weights(PAPER, Progress(0, 1))
    sum(weight * terms[name] for name, weight in weights.items()).backward()
    for tensor_ in (*out_a, *out_b):
        assert tensor_.grad.isfinite().all()
        assert tensor_.grad.any()


def test_consistency_of_three_classes_is_the_mean_of_each_against_the_rest():
    rng = np.random.default_rng(5)
    a, b = rng.normal(0, 2, (2, 1, 3, 4, 4, 4))
    label = rng.integers(0, 3, (1, 4, 4, 4))
    prob_a, prob_b = softmax(a), softmax(b)
    each = []
    for c in (1, 2):
        mask = (prob_a[:, c] >= 0.6) ^ (prob_b[:, c] >= 0.6)  # above one half: argmax, too
        each.append(((prob_a[:, c] - (label == c)) ** 2)[mask].mean())
    out = [NetworkOutput(tensor(x), torch.zeros(1, 2, 4, 4, 4)) for x in (a, b)]
    choices = dataclasses.replace(preset_settings("dual", "released", "la"))
    terms = dual_terms(*out, tensor(label), choices)
    assert terms["consistency_a"].item() == pytest.approx(np.mean(each), abs=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("within", ["batch", "class"])
def test_losses_never_wait_for_the_device(within):
    """CUDA itself raises where a value is fetched, and the values are those of the CPU."""
    case, choices = (
        make_case("disagreement"),
        DualSettings(percentile_within=within, weight_cosine=1),
    )
    on_cpu = dual_terms(*outputs(case), tensor(case["label"][:1]), choices)
    out_a, out_b = (NetworkOutput(*(t.cuda().requires_grad_() for t in o)) for o in outputs(case))
    label, weights = tensor(case["label"][:1]).cuda(), dual_weights(choices, Progress(1, 2))
    torch.cuda.set_sync_debug_mode("error")
    try:
        terms = dual_terms(out_a, out_b, label, choices)
        sum(weight * terms[name] for name, weight in weights.items()).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for name, value in on_cpu.items():
        torch.testing.assert_close(terms[name].cpu(), value, rtol=1e-4, atol=1e-5, equal_nan=True)


# Gradients

G, C, N = "gradient", "constant", "-"
PAPER_TABLE = {  # logits A, logits B, features A, features B
    "supervised_a": (G, N, N, N),
    "supervised_b": (N, G, N, N),
    "consistency_a": (G, C, N, N),
    "consistency_b": (C, G, N, N),
    "cross_pseudo": (G, G, N, N),
    "entropy_filtered_a": (G, C, N, N),
    "entropy_filtered_b": (C, G, N, N),
    "uncertainty_a": (G, C, N, N),
    "uncertainty_b": (C, G, N, N),
    "contrast_a": (C, C, G, N),
    "contrast_b": (C, C, N, G),
}


def cells(table):
    return {term: tuple(row.values()) for term, row in table.items()}


def test_gradient_table_of_the_paper():
    assert cells(gradient_table(Experiment("la"))) == PAPER_TABLE


def test_gradient_table_of_the_released_preset():
    live = ("supervised_a", "supervised_b", "consistency_a", "consistency_b", "uncertainty_a")
    expected = {name: PAPER_TABLE[name] for name in live} | {"cosine": (G, G, N, N)}
    assert cells(gradient_table(Experiment("la", preset="released"))) == expected


def test_own_label_is_self_training():
    table = cells(gradient_table(Experiment("la", filter_label="own")))
    assert table["entropy_filtered_a"] == (G, C, N, N)  # B still decides what is kept


@pytest.mark.parametrize("repaired", [False, True], ids=["as it is", "entropy repaired"])
def test_released_unlabeled_losses_reach_nothing(repaired):
    table = cells(released_gradient_table(repaired))
    assert set(table) == {"entropy_filtered", "contrast"}
    assert not any(G in row for row in table.values())
    values = released_values(repaired)
    assert np.isfinite(values["entropy_filtered"])
    assert np.isfinite(values["contrast"]) == repaired


def test_gradients_reach_the_networks_they_should():
    """The same on real networks: parameters of A, of B."""
    # Untrained networks are sure of nothing, and may agree: any vote is to count.
    experiment = Experiment("phantom", "smoke", filters=8, mask_threshold=0.0, mask_combine="or")
    method = build_method(experiment, dataset_spec("phantom"))
    torch.manual_seed(0)
    batch = Batch(
        torch.randn(4, 1, 32, 32, 32), torch.randint(0, 2, (2, 32, 32, 32)), tuple("abcd")
    )
    terms = method.loss(batch, Progress(0, 1))
    for name in method.weights(Progress(0, 1)):
        reached = tuple(
            any(
                grad is not None and grad.any()
                for grad in torch.autograd.grad(
                    terms[name], list(net.parameters()), allow_unused=True, retain_graph=True
                )
            )
            for net in (method.a, method.b)
        )
        row = PAPER_TABLE[name]
        assert reached == (G in (row[0], row[2]), G in (row[1], row[3])), name


# Presets


def test_paper_preset_choice_by_choice():
    assert preset_settings("dual", "paper", "la") == DualSettings(
        alpha=0.5,
        weight_cross_pseudo=1.0,
        weight_entropy_filtered=1.0,
        weight_uncertainty=1.0,
        weight_contrast=1.0,
        weight_cosine=0.0,
        mask_combine="xor",
        mask_threshold=0.6,
        consistency_distance="mse",
        gamma=70.0,
        percentile_within="batch",
        filter_label="other",
        filter_combine="or",
        temperature=0.5,
        uncertainty_target="soft",
        uncertainty_detach_weight=False,
        uncertainty_direction="both",
        contrast_third_term="attract",
        contrast_reduction="mean",
        contrast_normalise=True,
        contrast_detach_prototypes=False,
        contrast_schedule="rise",
        samples="unlabeled",
        ramp_up=0.0,
    )


@pytest.mark.parametrize(
    ("dataset", "alpha", "gamma"),
    [("la", 0.5, 70), ("pancreas", 0.6, 80), ("brats2019", 0.5, 30), ("phantom", 0.5, 70)],
)
def test_alpha_and_gamma_follow_the_data_set(dataset, alpha, gamma):
    choices = preset_settings("dual", "paper", dataset)
    assert (choices.alpha, choices.gamma) == (alpha, gamma)


def test_rows_of_table_4_are_the_components_they_name():
    names = {
        "cross_pseudo": "CPS",
        "entropy_filtered_a": "EFS",
        "contrast_a": "PGL",
        "uncertainty_a": "UE",
        "consistency_a": "CR",
    }

    def components(preset):
        present = dual_weights(preset_settings("dual", preset, "la"), Progress(0, 1))
        return {short for term, short in names.items() if term in present}

    everything = set(names.values())
    assert components("paper") == everything
    assert components("cps") == {"CPS"}
    assert components("efs") == {"EFS"}
    assert components("cce") == {"CPS", "EFS"}
    assert components("without_cce") == everything - {"CPS", "EFS"}
    assert components("without_cr") == everything - {"CR"}
    assert components("without_pgl") == everything - {"PGL"}
    assert components("without_ue") == everything - {"UE"}
    # Not rows of the table: each other component by itself, and none.
    assert components("no_component") == set()
    assert [components(name) for name in ("cr", "ue", "pgl")] == [{"CR"}, {"UE"}, {"PGL"}]


@pytest.mark.parametrize("preset", DUAL_PRESETS)
def test_every_preset_trains_a_step(preset):
    case = make_case("disagreement")
    out_a, out_b = outputs(case)
    out_a.logits.requires_grad_()
    choices = preset_settings("dual", preset, "la")
    terms = dual_terms(out_a, out_b, tensor(case["label"][:1]), choices)
    weights = dual_weights(choices, Progress(0, 1))
    sum(weight * terms[name] for name, weight in weights.items()).backward()
    assert out_a.logits.grad.isfinite().all()


@pytest.mark.parametrize("preset", ["paper", "released", "improved"])
def test_a_step_mixes_no_devices_and_reads_nothing_back(preset, monkeypatch):
    """On torch's device without values: a tensor on another device, or a look at a value, fails.

    So on a GPU the losses wait for nothing (the entropy's percentile is computed otherwise there).
    """
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # has none for it
    experiment = Experiment("la", "smoke", preset, filters=2, patch=(32, 32, 32))
    method = build_method(experiment, dataset_spec("la")).to("meta").train()
    image = torch.empty(4, 1, 32, 32, 32, device="meta")
    label = torch.zeros(2, 32, 32, 32, dtype=torch.int64, device="meta")
    terms = method.loss(Batch(image, label, ("a",) * 4), Progress(5, 10))
    weights = method.weights(Progress(5, 10))
    sum(weights[name] * terms[name] for name in weights).backward()
    assert {term.device.type for term in terms.values()} == {"meta"}
    assert all(p.grad.device.type == "meta" for p in method.parameters() if p.grad is not None)
    with pytest.raises(RuntimeError, match="meta"):  # that it would be noticed
        method.loss(Batch(image, label.cpu(), ("a",) * 4), Progress(5, 10))
