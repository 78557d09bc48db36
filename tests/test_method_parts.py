"""What the compared methods share, against NumPy in float64 written from the equations."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dualseg.config.experiment import Experiment
from dualseg.config.training import Progress
from dualseg.data.known import dataset_spec
from dualseg.methods.base import OneNetwork
from dualseg.methods.parts.dice import (
    dice_classes,
    dice_each,
    dice_linear,
    dice_squared,
    soft_dice_linear,
)
from dualseg.methods.parts.masked import masked_mean
from dualseg.methods.parts.ramps import ramp, rising
from dualseg.methods.parts.sharpening import sharpen
from dualseg.methods.parts.teacher import (
    early_decay,
    ema_update,
    frozen_copy,
    mean_prediction,
    noisy,
)
from dualseg.networks import ResNet34, VNet


def maps(seed: int, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities (2, C, 3, 4, 5) in float64, and labels."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, 3, 4, 5, generator=generator, dtype=torch.float64)
    label = torch.randint(classes, (2, 3, 4, 5), generator=generator)
    return logits.softmax(1), label


@pytest.mark.parametrize(
    ("step", "factor"), [(0, 0.0067), (1500, 0.0601), (3000, 0.2865), (4500, 0.7316), (6000, 1)]
)
def test_ramp_has_the_published_values(step, factor):
    """Those of UA-MT's program over its 6000 steps, and over the first 0.4 of MC-Net's 15000."""
    assert ramp(Progress(step, 6000)) == pytest.approx(factor, abs=6e-5)
    assert ramp(Progress(step, 15000), 0.4) == pytest.approx(factor, abs=6e-5)


def test_ramp_stays_at_one_and_may_have_no_length():
    assert [ramp(Progress(step, 10), 0.4) for step in (4, 5, 9)] == [1, 1, 1]
    assert ramp(Progress(0, 10), 0.0) == 1


@pytest.mark.parametrize(("step", "nats"), [(0, 0.521), (3000, 0.570), (6000, 0.693)])
def test_rising_threshold_of_ua_mt(step, nats):
    threshold = rising(Progress(step, 6000), 0.75, 1.0) * np.log(2)
    assert threshold == pytest.approx(nats, abs=5e-4)


def test_masked_mean_and_its_empty_mask():
    values = torch.tensor([1.0, 2.0, 6.0], requires_grad=True)
    assert masked_mean(values, torch.tensor([True, False, True])) == 3.5
    nothing = masked_mean(values, torch.zeros(3, dtype=torch.bool))
    nothing.backward()
    assert nothing == 0 and values.grad.tolist() == [0, 0, 0]


def test_sharpen():
    prob = maps(0, 2)[0]
    p = prob[:, 1].numpy()
    expected = p**10 / (p**10 + (1 - p) ** 10)  # MC-Net's form
    assert sharpen(prob, 0.1)[:, 1].numpy() == pytest.approx(expected, rel=1e-12)
    many = maps(1, 4)[0]
    powers = many.numpy() ** 4
    assert sharpen(many, 0.25).numpy() == pytest.approx(powers / powers.sum(1, keepdims=True))
    assert torch.allclose(sharpen(many, 1.0), many)
    hot = F.one_hot(torch.tensor([0, 1]), 2).double()
    assert torch.equal(sharpen(hot, 0.1), hot)
    undecided = torch.full((1, 3, 1, 1, 1), 1 / 3)  # whose power of 100 is 0 in float32
    assert torch.allclose(sharpen(undecided, 0.01), undecided)


def dice_of(p: np.ndarray, y: np.ndarray, power: int, smooth: float) -> float:
    overlap, size = (p * y).sum(), (p**power).sum() + (y**power).sum()
    return 1 - (2 * overlap + smooth) / (size + smooth)


@pytest.mark.parametrize("seed", range(5))
def test_dice_losses_by_their_equations(seed):
    prob, label = maps(seed)
    p = prob.numpy()
    y = np.stack([label.numpy() == c for c in range(3)], 1).astype(float)
    squared = [dice_of(p[:, c], y[:, c], 2, 1e-5) for c in range(3)]
    linear = [dice_of(p[:, c], y[:, c], 1, 1e-8) for c in range(3)]
    assert dice_squared(prob, label).item() == pytest.approx(np.mean(squared[1:]), rel=1e-12)
    assert dice_classes(prob, label).item() == pytest.approx(np.mean(squared), rel=1e-12)
    assert dice_linear(prob, label).item() == pytest.approx(np.mean(linear[1:]), rel=1e-12)
    each = [dice_of(p[b, c], y[b, c], 1, 1e-5) for b in range(2) for c in range(3)]
    assert dice_each(prob, label).item() == pytest.approx(np.mean(each), rel=1e-12)
    mask = maps(seed + 9, 2)[1][0].bool()
    m = mask.numpy()
    each = [dice_of(p[b, c] * m, y[b, c] * m, 1, 1e-5) for b in range(2) for c in range(3)]
    assert dice_each(prob, label, mask).item() == pytest.approx(np.mean(each), rel=1e-12)
    batch = mask.expand(2, 3, 4, 5)
    assert torch.equal(dice_each(prob, label, mask), dice_each(prob, label, batch))


def test_linear_dice_of_equal_maps_is_zero_only_where_they_are_one_hot():
    prob, label = maps(0)
    expected = 1 - (prob.numpy() ** 2).sum(1).mean()
    assert soft_dice_linear(prob, prob).item() == pytest.approx(expected, rel=1e-9)
    hot = F.one_hot(label, 3).movedim(-1, 1).double()
    assert soft_dice_linear(hot, hot).item() == pytest.approx(0, abs=1e-9)


def test_teacher_follows_and_does_not_learn():
    student = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    teacher = frozen_copy(student)
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(p.requires_grad for p in student.parameters())
    before = teacher[0].weight.clone().double()
    with torch.no_grad():
        student[0].weight += 1
        student[1].running_mean += 1
    ema_update(teacher, student, 0.9)
    assert torch.allclose(teacher[0].weight.double(), before + 0.1, atol=1e-6)
    assert teacher[1].running_mean.tolist() == [0, 0]  # no parameter
    ema_update(teacher, student, early_decay(0))
    assert torch.equal(teacher[0].weight, student[0].weight)


def test_early_decay():
    found = [early_decay(step) for step in (0, 1, 9, 98, 99, 1000)]
    assert found == pytest.approx([0, 1 / 2, 9 / 10, 98 / 99, 0.99, 0.99])


def test_noise_is_clipped_and_drawn_from_torchs_generator():
    image = torch.zeros(1, 1, 20, 20, 20)
    torch.manual_seed(0)
    noise = noisy(image)
    assert noise.abs().max() == pytest.approx(0.2) and noise.mean().abs() < 0.01
    assert 0.08 < noise.std() < 0.1  # 0.1, less what is clipped
    torch.manual_seed(0)
    assert torch.equal(noisy(image), noise)


def test_mean_prediction_averages_twice_as_many_noisy_predictions_as_passes():
    seen = []

    def predict(image: torch.Tensor) -> torch.Tensor:
        seen.append(image)
        return torch.cat([image, -image], 1)

    image = maps(0)[0][:, :1].requires_grad_()
    found = mean_prediction(predict, image, 4)
    assert [len(each) for each in seen] == [4] * 4 and not found.requires_grad
    predictions = 1 / (1 + np.exp(-2 * torch.stack(seen).numpy()))  # (4, 2 x 2, 1, X, Y, Z)
    expected = predictions.reshape(4, 2, 2, 3, 4, 5).mean((0, 1))
    assert found[:, 0].numpy() == pytest.approx(expected, rel=1e-12)
    assert len({each[i].sum().item() for each in seen for i in (0, 2)}) == 8  # fresh noise each


@pytest.mark.parametrize("network", [ResNet34, VNet])
def test_default_initialization_is_pytorchs(network):
    """Uniform up to sqrt(1 / fan in): 2.45 times smaller than Kaiming-normal."""
    torch.manual_seed(0)
    for module in network(filters=16, initialization="default").modules():
        if isinstance(module, torch.nn.Conv3d) and module.weight.numel() > 20_000:
            fan_in = module.weight[0].numel()
            assert module.weight.std().item() == pytest.approx((1 / 3 / fan_in) ** 0.5, rel=0.03)
            assert module.weight.abs().max() <= fan_in**-0.5


@pytest.mark.parametrize("network", [ResNet34, VNet])
def test_feature_taps(network):
    torch.manual_seed(0)
    image = torch.randn(2, 1, 16, 20, 16)
    net = network(filters=8, features="dropped")
    logits, features = net(image)
    assert torch.allclose(net.decoder.head(features), logits, atol=1e-5)
    gone = (features.flatten(2) == 0).all(2)
    assert 0 < gone.sum() < 16  # whole channels, as dropout takes them
    half = network(filters=8, features="half").eval()
    half.load_state_dict(net.state_dict())
    found = half(image).features
    assert found.shape == (2, 16, 16, 20, 16)  # twice the channels, at the image's size
    maps = []
    half.decoder.blocks[2].register_forward_hook(lambda *_: maps.append(_[2]))
    found = half(torch.randn(2, 1, 16, 32, 16)).features
    assert maps[0].shape == (2, 16, 8, 16, 8)
    expected = F.interpolate(maps[0], scale_factor=2, mode="trilinear")
    assert torch.equal(found, expected)


def test_a_method_of_one_network_predicts_with_it_in_float32():
    config = Experiment("phantom", "smoke").train
    torch.manual_seed(0)
    method = OneNetwork(OneNetwork.settings_type(), config, dataset_spec("phantom")).eval()
    patch = torch.randn(1, 1, 16, 16, 16)
    expected = method.network(patch).logits.softmax(1)
    assert torch.allclose(method.predict_members(patch)[0], expected, atol=1e-6)
    method.precision = "bfloat16"
    out = method(patch)
    assert (out.logits.dtype, out.features.dtype) == (torch.float32, torch.bfloat16)
    assert torch.allclose(method.predict(patch), expected, atol=0.05)
