"""Distance maps, components, copy-paste, adversarial noise, and the networks of five methods."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn
from torch.nn.functional import avg_pool3d, leaky_relu

from dualseg.methods.parts.adversarial import (
    in_mode,
    quiet_statistics,
    reach_only_input,
    virtual_adversarial,
)
from dualseg.methods.parts.components import largest_component
from dualseg.methods.parts.dice import soft_dice_linear
from dualseg.methods.parts.mixing import mixed_loss, paste, paste_box, region_loss
from dualseg.methods.parts.signed_distance import by_axis, by_scipy, signed_distance
from dualseg.networks import (
    DistanceVNet,
    PyramidUNet,
    TopMemory,
    VNet,
    VolumeDiscriminator,
    VoxelHeads,
    count_parameters,
)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


# Signed distance maps


def test_the_signed_distance_of_a_cube_by_hand():
    mask = torch.zeros(1, 7, 7, 7, dtype=torch.bool)
    mask[:, 2:5, 2:5, 2:5] = True
    found = signed_distance(mask)[0]
    assert found[3, 3, 3] == -1  # two voxels deep, the deepest
    surface = mask[0].clone()
    surface[3, 3, 3] = False
    assert (found[surface] == 0).all()
    longest = math.sqrt(12)  # from a corner of the crop to a corner of the cube
    assert found[0, 0, 0] == 1
    assert found[3, 3, 5] == pytest.approx(1 / longest)
    assert found[3, 5, 5] == pytest.approx(math.sqrt(2) / longest)
    assert found[3, 3, 0] == pytest.approx(2 / longest)


def distances_in_pairs(mask: np.ndarray) -> np.ndarray:
    """Of each true voxel to the nearest false one, from all pairs, float64."""
    out = np.zeros(mask.shape)
    false = np.argwhere(~mask)
    for voxel in np.argwhere(mask):
        out[tuple(voxel)] = np.sqrt(((false - voxel) ** 2).sum(1)).min()
    return out


def on_surface(mask: np.ndarray) -> np.ndarray:
    """Object voxels of which one of the six neighbors within the crop is background."""
    padded = np.pad(mask, 1, constant_values=True)
    core = (slice(1, -1),) * 3
    shifted = [np.roll(padded, step, axis)[core] for axis in range(3) for step in (-1, 1)]
    return mask & ~np.logical_and.reduce(shifted)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9, 0.98])
def test_signed_distance_is_that_of_all_pairs(share):
    mask = np.random.default_rng(round(100 * share)).random((6, 5, 7)) < share
    inside, outside = distances_in_pairs(mask), distances_in_pairs(~mask)
    expected = outside / outside.max() - inside / inside.max()
    expected[on_surface(mask)] = 0
    found = signed_distance(torch.from_numpy(mask)[None])[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_each_sample_has_a_map_of_its_own_and_nothing_to_measure_is_zero():
    mask = torch.zeros(3, 5, 5, 5, dtype=torch.bool)
    mask[1] = True
    mask[2, :2] = True
    found = signed_distance(mask)
    assert not found[:2].any()
    assert torch.equal(found[2], signed_distance(mask[2:])[0])
    # A slab at the crop's border: its depth is counted from inside, the border is no surface.
    assert found[2, :, 0, 0].tolist() == pytest.approx([-1, 0, 1 / 3, 2 / 3, 1])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1))
def test_the_form_for_a_gpu_is_that_of_scipy_and_maps_are_within_one(seed, share):
    mask = torch.from_numpy(np.random.default_rng(seed).random((5, 8, 3)) < share)
    if not mask.all():
        torch.testing.assert_close(by_axis(mask), by_scipy(mask))
    found = signed_distance(mask[None])[0]
    assert found.abs().max() <= 1
    assert (found[mask] <= 0).all() and (found[~mask] >= 0).all()


# The largest component


def test_voxels_that_touch_at_a_corner_are_one_component():
    mask = torch.zeros(3, 6, 6, 6, dtype=torch.bool)
    for place in range(4):  # a diagonal of four
        mask[0, place, place, place] = True
    mask[0, 5, 0:3, 0] = True  # a line of three
    mask[1, 0, 0, 0] = True
    expected = mask.clone()
    expected[0, 5] = False
    assert torch.equal(largest_component(mask), expected)


def test_the_largest_component_is_chosen_in_each_sample():
    mask = torch.zeros(2, 5, 5, 9, dtype=torch.bool)
    mask[0, 1:3, 1:3, 1:3], mask[0, 4, 4, 6:9] = True, True
    mask[1, 1:2, 1:2, 1:3], mask[1, 4, 4, 6:9] = True, True
    kept = largest_component(mask)
    assert kept.sum((1, 2, 3)).tolist() == [8, 3]
    assert not (kept & ~mask).any()


# Copy-paste


def test_the_box_has_two_thirds_of_each_side_rounded_down():
    box = paste_box((112, 112, 80))
    places = box.nonzero()
    assert (places.amax(0) - places.amin(0) + 1).tolist() == [74, 74, 53]
    assert box.sum() == 74 * 74 * 53


def test_the_box_stands_at_every_place():
    starts = {tuple(paste_box((3, 6, 4), 0.5).nonzero().amin(0).tolist()) for _ in range(500)}
    assert starts == {(x, y, z) for x in range(3) for y in range(4) for z in range(3)}
    assert not paste_box((4, 4, 4), 0).any() and paste_box((4, 4, 4), 1).all()


def test_the_generator_alone_decides_where_the_box_is():
    torch.manual_seed(3)
    first = paste_box((20, 20, 20))
    torch.manual_seed(3)
    assert torch.equal(first, paste_box((20, 20, 20)))


def test_each_voxel_comes_from_the_right_volume():
    outside, inside = torch.rand(2, 3, 6, 5, 4), torch.rand(2, 3, 6, 5, 4)
    box = paste_box((6, 5, 4))
    mixed = paste(outside, inside, box)
    assert torch.equal(mixed[..., box], inside[..., box])
    assert torch.equal(mixed[..., ~box], outside[..., ~box])


def region_loss_by_hand(logits: np.ndarray, label: np.ndarray, region: np.ndarray) -> float:
    """(CE + Dice) / 2 within a region in float64: each sample and class has a Dice of its own."""
    e = np.exp(logits - logits.max(1, keepdims=True))
    prob = e / e.sum(1, keepdims=True)
    crosses, dices = [], []
    for sample in range(len(label)):
        for voxel in np.argwhere(region):
            x, y, z = voxel
            crosses.append(-np.log(prob[sample, label[sample, x, y, z], x, y, z]))
        for c in range(logits.shape[1]):
            p, y = prob[sample, c][region], (label[sample] == c)[region]
            dices.append(1 - (2 * (p * y).sum() + 1e-5) / (p.sum() + y.sum() + 1e-5))
    return (np.mean(crosses) + np.mean(dices)) / 2


@pytest.mark.parametrize("classes", [2, 3])
def test_the_loss_of_a_mix_is_that_of_its_regions(classes):
    rng = np.random.default_rng(classes)
    logits = rng.normal(0, 2, (2, classes, 4, 3, 3))
    outside, inside = rng.integers(0, classes, (2, 2, 4, 3, 3))
    box = np.zeros((4, 3, 3), bool)
    box[1:3, :2, 1:] = True
    given_ = [torch.from_numpy(values) for values in (logits, outside, inside, box)]
    found = mixed_loss(*given_)
    assert found[0].item() == pytest.approx(region_loss_by_hand(logits, outside, ~box))
    assert found[1].item() == pytest.approx(region_loss_by_hand(logits, inside, box))


def test_a_region_without_voxels_costs_nothing():
    logits = torch.randn(2, 2, 3, 3, 3, requires_grad=True)
    label = torch.zeros(2, 3, 3, 3, dtype=torch.int64)
    loss = region_loss(logits, label, torch.zeros(3, 3, 3, dtype=torch.bool))
    loss.backward()
    assert loss == 0 and not logits.grad.any()


# Adversarial noise


@pytest.fixture
def vnet() -> VNet:
    """In training mode, so with batch statistics, but without dropout."""
    network = VNet(filters=2)
    for module in network.modules():
        if isinstance(module, nn.Dropout3d):
            module.p = 0.0
    return network


def probabilities(network: VNet):
    return lambda image: network(image).logits.softmax(1)


def test_the_noise_that_is_found_changes_more_than_a_random_one(vnet):
    image, predict = torch.randn(2, 1, 16, 16, 16), probabilities(vnet)
    clean = predict(image).detach()
    passed = []

    def watched(x):
        passed.append(x.detach())
        return predict(x)

    loss = virtual_adversarial(watched, image, clean, soft_dice_linear, epsilon=3.0)
    noise = passed[-1] - image
    lengths = noise.flatten(1).norm(dim=1)
    assert lengths.tolist() == pytest.approx([3.0, 3.0], rel=1e-4)
    for _ in range(10):
        other = torch.randn_like(image)
        other *= (lengths / other.flatten(1).norm(dim=1)).view(-1, 1, 1, 1, 1)
        with torch.no_grad():
            assert soft_dice_linear(predict(image + other), clean) < loss


def test_looking_for_the_noise_touches_no_gradient_of_a_parameter(vnet):
    image, predict = torch.randn(2, 1, 16, 16, 16), probabilities(vnet)
    for parameter in vnet.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)
    loss = virtual_adversarial(predict, image, predict(image), soft_dice_linear)
    assert all((parameter.grad == 7).all() for parameter in vnet.parameters())
    vnet.zero_grad()
    loss.backward()
    assert all(parameter.grad is not None for parameter in vnet.parameters())


def test_running_statistics_stay_as_they_are_in_quiet_passes(vnet):
    image, predict = torch.randn(2, 1, 16, 16, 16), probabilities(vnet)
    clean = predict(image)
    before = {name: buffer.clone() for name, buffer in vnet.named_buffers()}
    with quiet_statistics(vnet):
        virtual_adversarial(predict, image, clean, soft_dice_linear)
        # Quiet, but not frozen: the passes still use the statistics of their own batch.
        torch.testing.assert_close(predict(image), clean)
    assert all(torch.equal(before[name], buffer) for name, buffer in vnet.named_buffers())
    predict(image)
    assert any(not torch.equal(before[name], buffer) for name, buffer in vnet.named_buffers())


def test_without_noise_the_loss_is_one_minus_the_mean_square(vnet):
    image, predict = torch.randn(2, 1, 16, 16, 16), probabilities(vnet)
    clean = predict(image)
    loss = virtual_adversarial(predict, image, clean, soft_dice_linear, epsilon=0.0)
    expected = 1 - (clean.detach().double().numpy() ** 2).sum(1).mean()
    assert expected > 0.01
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_a_mode_comes_back_as_it_was_for_each_part():
    module = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout()))
    module[1].eval()
    with pytest.raises(RuntimeError), in_mode(module, training=False):
        assert not any(part.training for part in module.modules())
        raise RuntimeError
    assert [part.training for part in module.modules()] == [True, True, False, False]


def test_a_module_with_constant_parameters_passes_the_same_gradient_on():
    module = nn.Linear(3, 2)
    first, second = (torch.randn(4, 3).requires_grad_() for _ in range(2))
    second.data = first.data.clone()
    reach_only_input(module, first).square().sum().backward()
    assert module.weight.grad is None and module.bias.grad is None
    module(second).square().sum().backward()
    assert torch.equal(first.grad, second.grad) and module.weight.grad.any()


# Networks


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (DistanceVNet, 9_448_866),
        (PyramidUNet, 5_884_504),
        (VolumeDiscriminator, 11_020_290),
        (VoxelHeads, 8_452),
    ],
)
def test_networks_have_the_published_number_of_parameters(network, count):
    assert count_parameters(network()) == count


def test_three_classes_of_the_pyramid():
    assert count_parameters(PyramidUNet(classes=3)) == 5_884_748


def test_the_two_outputs_have_each_a_head_of_their_own():
    network, image = DistanceVNet(filters=2).eval(), torch.randn(2, 1, 20, 16, 16)
    before = network(image)
    assert before.mask.shape == before.distance.shape == (2, 20, 16, 16)
    assert before.distance.abs().max() <= 1
    head = network.decoder.head
    with torch.no_grad():
        head.weight[1] += 1
    after = network(image)
    assert torch.equal(before.mask, after.mask)
    assert not torch.equal(before.distance, after.distance)


def test_the_pyramid_has_its_finest_scale_first():
    network, image = PyramidUNet(filters=2).eval(), torch.randn(2, 1, 32, 40, 32)
    scales = network(image)
    assert [tuple(scale.shape) for scale in scales] == [(2, 2, 32, 40, 32)] * 4
    # Between the places of a coarser grid a trilinear map is straight: of the 30 second differences
    # along a side of 32, only the two at each place of the grid are not zero.
    bent = [s.diff(n=2, dim=2).abs().gt(1e-5).double().mean().item() for s in scales]
    assert bent[0] > 0.9 and bent[1] > 0.9
    assert bent[2:] == pytest.approx([16 / 30, 8 / 30], abs=0.01)


def test_instance_norm_makes_each_sample_independent_of_the_others():
    network, image = PyramidUNet(filters=2).eval().double(), torch.randn(2, 1, 32, 32, 32).double()
    for both, alone in zip(network(image), network(image[:1]), strict=True):
        torch.testing.assert_close(both[:1], alone)
    assert not list(network.buffers())


def test_the_global_pool_is_the_published_one_at_the_published_size():
    network = VolumeDiscriminator(filters=2).eval()
    values, image = torch.randn(2, 2, 1, 112, 112, 80)
    x = network.of_map(values) + network.of_image(image)
    for layer in network.body:
        if isinstance(layer, nn.Conv3d):
            x = layer(leaky_relu(x, 0.2))
    expected = network.head(avg_pool3d(leaky_relu(x, 0.2), (7, 7, 5)).flatten(1))
    torch.testing.assert_close(network(values, image), expected)
    assert network(*torch.randn(2, 3, 1, 16, 32, 48)).shape == (3, 2)


def test_the_memory_takes_the_lowest_scores_of_the_candidates():
    memory = TopMemory(classes=2, size=3, width=2)
    vectors, scores = torch.arange(10.0).view(5, 2), torch.tensor([0.5, -1.0, 3.0, 0.1, 9.0])
    every = torch.ones(5, dtype=torch.bool)
    memory.renew(1, vectors, scores, every & (scores != 0.1))
    assert memory.vectors[1].tolist() == [[2, 3], [0, 1], [4, 5]]
    assert memory.filled.tolist() == [[False] * 3, [True] * 3]
    memory.renew(1, vectors, scores, ~every)  # nobody: the old ones stay
    assert memory.vectors[1].tolist() == [[2, 3], [0, 1], [4, 5]]
    memory.renew(1, vectors, scores, scores > 2)  # two: the third place is empty
    assert memory.vectors[1, :2].tolist() == [[4, 5], [8, 9]]
    assert memory.filled[1].tolist() == [True, True, False]
