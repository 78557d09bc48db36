"""Sliding window: coverage, averaging, padding, against a loop and (where installed) MONAI."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from dualseg.config.experiment import Experiment
from dualseg.config.training import TrainConfig
from dualseg.data.grids import shrink_image
from dualseg.data.known import dataset_spec
from dualseg.errors import DualsegError
from dualseg.evaluation.sliding_window import (
    masks_of,
    most_probable,
    predict_volume,
    sliding_window,
    window_starts,
)
from dualseg.methods import build_method


def identity(windows):
    """A "network" of one member and two classes whose foreground is the image itself."""
    return torch.stack([1 - windows[:, 0], windows[:, 0]], 1)[None]


@pytest.mark.parametrize(
    ("size", "starts"),
    [(112, [0]), (113, [0, 1]), (130, [0, 18]), (131, [0, 18, 19]), (148, [0, 18, 36])],
)
def test_window_starts_of_the_field(size, starts):
    assert window_starts(size, 112, 18) == starts


@given(st.integers(1, 64), st.integers(0, 200), st.integers(1, 64))
def test_windows_lie_inside_and_leave_no_voxel_out(patch, more, stride):
    stride = min(stride, patch)
    starts = window_starts(patch + more, patch, stride)
    assert starts[0] == 0 and starts[-1] == more
    assert all(0 < after - before <= stride for before, after in itertools.pairwise(starts))


@pytest.mark.parametrize("shape", [(20, 17, 9), (5, 6, 7), (16, 16, 16), (3, 40, 16)])
@pytest.mark.parametrize("window_batch", [1, 3, 100])
def test_identity_comes_back_whatever_the_size(shape, window_batch):
    image = torch.rand(1, *shape)
    out = sliding_window(identity, image, (16, 16, 16), (5, 6, 7), window_batch)
    assert out.shape == (1, 2, *shape)
    torch.testing.assert_close(out[0, 1], image[0])


def test_average_is_uniform_by_a_slow_loop():
    """Each window answers with its own number; every voxel must get the mean of its windows."""
    shape, patch, stride = (11, 9, 8), (4, 4, 4), (3, 2, 4)
    answers = []

    def numbered(windows):
        values = torch.arange(len(answers), len(answers) + len(windows)).float()
        answers.extend(values.tolist())
        return values.view(1, -1, 1, 1, 1, 1).expand(1, len(windows), 1, *patch)

    got = sliding_window(numbered, torch.zeros(1, *shape), patch, stride, window_batch=5)[0, 0]
    total, visits = np.zeros(shape), np.zeros(shape)
    number = 0
    for x in [0, 3, 6, 7]:
        for y in [0, 2, 4, 5]:
            for z in [0, 4]:
                total[x : x + 4, y : y + 4, z : z + 4] += number
                visits[x : x + 4, y : y + 4, z : z + 4] += 1
                number += 1
    assert visits.min() >= 1
    np.testing.assert_allclose(got, total / visits, rtol=1e-6)


def test_padding_is_zero_and_symmetric_with_the_odd_voxel_at_the_end():
    seen = []

    def spy(windows):
        seen.append(windows.clone())
        return identity(windows)

    sliding_window(spy, torch.ones(1, 5, 8, 8), (8, 8, 8), (8, 8, 8))
    assert seen[0][0, 0, :, 0, 0].tolist() == [0, 1, 1, 1, 1, 1, 0, 0]


def test_against_monai():
    inferers = pytest.importorskip("monai.inferers")
    net = torch.nn.Conv3d(1, 2, 3, padding=1)
    image = torch.randn(1, 24, 24, 24)
    with torch.no_grad():
        want = inferers.sliding_window_inference(
            image[None], (16, 16, 16), 4, net, overlap=0.5, mode="constant"
        )
    got = sliding_window(lambda w: net(w)[None], image, (16, 16, 16), (8, 8, 8))
    torch.testing.assert_close(got, want)


def small_method(**changes):
    experiment = Experiment("phantom", "smoke", filters=2, **changes)
    return experiment.train, build_method(experiment, dataset_spec("phantom")).eval()


def test_prediction_is_the_mean_of_both_networks():
    _, method = small_method()
    patch = torch.randn(2, 1, 16, 16, 16)
    with torch.no_grad():
        a, b = method.a(patch).logits.softmax(1), method.b(patch).logits.softmax(1)
        torch.testing.assert_close(method.predict(patch), (a + b) / 2)


def test_coarse_probabilities_lie_on_the_full_grid():
    """Linear functions survive averaging blocks and interpolating, so any shift would show."""
    config = TrainConfig(
        resolution="quarter", patch=(16, 16, 16), stride=(16, 16, 16), normalise="stored"
    )

    class Same(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.unused = torch.nn.Parameter(torch.zeros(1))

        def predict_members(self, windows):
            return identity(windows)

    full = np.zeros((37, 30, 22), np.float32)  # sides that 4 does not divide
    full += np.arange(37)[:, None, None] / 37 + np.arange(30)[:, None] / 60 + np.arange(22) / 90
    out = predict_volume(Same(), shrink_image(full, 4), config, full.shape)
    assert out.shape == (1, 2, *full.shape)
    inner = (slice(2, 34), slice(2, 26), slice(2, 18))  # beyond, blocks have no neighbour
    np.testing.assert_allclose(out[0, 1].numpy()[inner], full[inner], atol=1e-5)


def test_masks_of_mean_and_members():
    _, method = small_method()
    a = torch.tensor([0.9, 0.4]).view(2, 1, 1, 1)
    b = torch.tensor([0.3, 0.6]).view(2, 1, 1, 1)
    masks = masks_of(method, torch.stack([a, b]))  # mean: 0.6 and 0.5
    assert {name: mask.item() for name, mask in masks.items()} == {"mean": 0, "A": 0, "B": 1}


def test_output_that_is_not_finite_is_refused():
    _, method = small_method()
    with pytest.raises(DualsegError, match="not finite"):
        masks_of(method, torch.full((2, 2, 1, 1, 1), float("nan")))


def test_fewer_windows_where_memory_is_short():
    image = torch.arange(20 * 18 * 16.0).reshape(1, 20, 18, 16)
    sizes = []

    def hungry(windows):
        sizes.append(len(windows))
        if len(windows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return torch.stack([windows, 2 * windows])

    with pytest.warns(UserWarning, match="5 windows at a time do not fit .*going on with 2"):
        found = sliding_window(hungry, image, (16, 16, 16), (2, 2, 2), window_batch=5)
    assert sizes == [5, 2, 2, 2]  # 3 x 2 x 1 windows
    torch.testing.assert_close(found, torch.stack([image, 2 * image]))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_memory_too_short_for_one_window(error):
    def hungry(windows):
        raise error

    with (
        pytest.warns(UserWarning, match="2 windows at a time"),
        pytest.raises(DualsegError, match=r"patch: one window of \(8, 8, 8\) does not fit"),
    ):
        sliding_window(hungry, torch.ones(1, 9, 8, 8), (8, 8, 8), (8, 8, 8), window_batch=2)


def test_other_errors_are_not_taken_for_short_memory():
    def broken(windows):
        raise RuntimeError("expected another shape")

    with pytest.raises(RuntimeError, match="another shape"):
        sliding_window(broken, torch.ones(1, 8, 8, 8), (8, 8, 8), (8, 8, 8))


def test_sums_move_to_the_cpu_where_they_do_not_fit(monkeypatch):
    zeros = torch.zeros

    def small(*shape, device=None):
        if device is not None:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return zeros(*shape)

    monkeypatch.setattr(torch, "zeros", small)
    image = torch.rand(1, 12, 9, 8)
    with pytest.warns(UserWarning, match=r"sums of a volume \(1, 1, 12, 9, 8\) do not fit"):
        found = sliding_window(lambda w: w[None], image, (8, 8, 8), (4, 4, 4))
    torch.testing.assert_close(found[0], image)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_most_probable_class_is_argmax_also_of_equals(classes):
    generator = torch.Generator().manual_seed(classes)
    coarse = torch.randint(0, 4, (classes, 9, 8, 7), generator=generator) / 4  # many equals
    found = most_probable(coarse)
    assert found.dtype == torch.uint8
    assert torch.equal(found.long(), coarse.argmax(0))


def test_a_device_that_nobody_thought_of():
    """Meta tensors have shapes and a device, and no values: any read of one would raise."""
    image = torch.zeros(1, 20, 17, 9, device="meta")
    found = sliding_window(identity, image, (16, 16, 16), (5, 6, 7))
    assert found.shape == (1, 2, 20, 17, 9) and found.device.type == "meta"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_voxel_that_is_not_finite_is_found(value):
    _, method = small_method()
    probabilities = torch.rand(2, 2, 6, 5, 4)
    masks_of(method, probabilities)
    probabilities[1, 0, 3, 2, 1] = value
    with pytest.raises(DualsegError, match="not finite"):
        masks_of(method, probabilities)
