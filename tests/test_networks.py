"""Networks: the published parameter and operation counts, shapes, dropout, initialisation."""

import re

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dualseg.networks import ResNet34, VNet, count_parameters
from dualseg.paper.complexity import complexity_table, count_macs

LA_PATCH, CUBE = (112, 112, 80), (96, 96, 96)


@pytest.fixture(scope="module")
def full_size():
    with torch.device("meta"):
        return {"A": ResNet34(), "B": VNet()}


def test_parameter_counts_are_the_published_ones(full_size):
    assert count_parameters(full_size["A"]) == 17_930_354
    assert count_parameters(full_size["B"]) == 9_448_866


@pytest.mark.parametrize(
    ("patch", "a", "b"), [(LA_PATCH, 72.7, 40.1), (CUBE, 64.1, 35.4)], ids=["LA", "cube"]
)
def test_macs_as_computed(full_size, patch, a, b):
    assert count_macs(full_size["A"], patch) / 1e9 == pytest.approx(a, abs=0.05)
    assert count_macs(full_size["B"], patch) / 1e9 == pytest.approx(b, abs=0.05)


@pytest.mark.parametrize("name", ["A", "B"])
def test_macs_equal_half_of_what_pytorch_counts(full_size, name):
    network = full_size[name]
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 1, *LA_PATCH, device="meta"))
    assert count_macs(network, LA_PATCH) == counter.get_total_flops() // 2


@pytest.mark.parametrize(
    ("patch", "b", "both"), [(LA_PATCH, 47.10, 126.95), (CUBE, 41.53, 111.92)], ids=["LA", "cube"]
)
def test_macs_as_the_papers_profiler_counted(full_size, patch, b, both):
    """The paper's columns, within 0.5 %."""
    macs_a, macs_b = (count_macs(full_size[n], patch, as_profilers=True) / 1e9 for n in "AB")
    assert macs_b == pytest.approx(b, rel=5e-3)
    assert macs_a + macs_b == pytest.approx(both, rel=5e-3)


def test_counting_leaves_no_hooks(full_size):
    count_macs(full_size["B"], (32, 32, 32))
    assert not any(module._forward_hooks for module in full_size["B"].modules())


def test_table_shows_counts_and_the_papers_figures():
    table = complexity_table()
    for figure in ("17,930,354", "9,448,866", "27,379,220", "72.74", "40.11", "126.95", "111.92"):
        assert figure in table
    assert len(re.findall(r"47\.10", table)) == 2  # counted and printed agree


@pytest.mark.parametrize("network", [ResNet34, VNet])
@pytest.mark.parametrize("sides", [(16, 32, 16), (17, 20, 33), (5, 40, 16)])
def test_any_size_goes_in_and_comes_out(network, sides):
    net = network(in_channels=2, classes=3, filters=2)
    logits, features = net(torch.randn(2, 2, *sides))
    assert logits.shape == (2, 3, *sides)
    assert features.shape == (2, 2, *sides)


@pytest.mark.parametrize("network", [ResNet34, VNet])
def test_padding_is_zeros_at_the_far_end(network):
    net = network(filters=2).eval()
    image = torch.randn(1, 1, 16, 16, 12)
    padded = torch.zeros(1, 1, 16, 16, 16)
    padded[..., :12] = image
    with torch.no_grad():
        assert torch.equal(net(image).logits, net(padded).logits[..., :12])


@pytest.mark.parametrize("network", [ResNet34, VNet])
def test_features_are_taken_before_dropout(network):
    torch.manual_seed(0)
    net = network(filters=4).train()
    logits, features = net(torch.randn(2, 1, 16, 16, 16))
    # A channel dropped in the returned features would be zero throughout in about half of them.
    assert (features.flatten(2).amax(2) > 0).all()
    net.eval()
    logits, features = net(torch.randn(1, 1, 16, 16, 16))
    assert torch.allclose(logits, net.decoder.head(features))


@pytest.mark.parametrize(("network", "places"), [(VNet, 2), (ResNet34, 1)])
def test_dropout_places(network, places):
    drops = [m for m in network(filters=2).modules() if isinstance(m, torch.nn.Dropout3d)]
    assert [m.p for m in drops] == [0.5] * places


@pytest.mark.parametrize("network", [ResNet34, VNet])
def test_kaiming_initialisation(network):
    """Standard deviation sqrt(2 / fan_in) on convolutions and transposed ones."""
    torch.manual_seed(0)
    for module in network(filters=16).modules():
        if isinstance(module, (torch.nn.Conv3d, torch.nn.ConvTranspose3d)):
            weight = module.weight
            if weight.numel() > 20_000:
                fan_in = weight[0].numel()  # PyTorch's rule for both kinds
                assert weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.03)


def test_wrong_number_of_channels_is_one_sentence():
    with pytest.raises(ValueError, match=r"image: expected shape \(B, 1, X, Y, Z\), found \(1, 4"):
        VNet(filters=2)(torch.zeros(1, 4, 16, 16, 16))


@pytest.mark.parametrize("network", [ResNet34, VNet])
def test_gradient_reaches_every_parameter(network):
    net = network(filters=2)
    net(torch.randn(2, 1, 32, 32, 32)).logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
