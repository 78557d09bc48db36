"""Bringing arrays to other grids: against SciPy, and there and back over all odd sizes."""

import numpy as np
import torch
from hypothesis import given, settings, strategies as st
from scipy.ndimage import zoom

from dualseg.data.grids import resampled_shape, resize, shrink_image, shrink_label
from dualseg.data.recipe import Recipe
from dualseg.evaluation.sliding_window import sliding_window

SIDES = st.tuples(*[st.integers(1, 13)] * 3)
DRAWN = settings(max_examples=60, deadline=None)


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@DRAWN
@given(SIDES, SIDES)
def test_resizing_is_scipys_linear_zoom_of_the_same_box(shape, other):
    volume = noise(shape)
    ours = resize(torch.from_numpy(volume)[None], other)[0].numpy()
    factors = np.divide(other, shape)
    theirs = zoom(volume.astype(np.float64), factors, order=1, grid_mode=True, mode="nearest")
    assert ours.shape == theirs.shape == other
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@DRAWN
@given(SIDES, st.integers(1, 4))
def test_a_finer_grid_and_back_keeps_the_means_of_a_linear_field(shape, factor):
    """Blocks of the finer grid average to the coarse voxels that they came from, inside."""
    axes = np.meshgrid(*map(np.arange, shape), indexing="ij")
    field = sum(k * axis for k, axis in enumerate(axes, start=1)).astype(np.float32)
    fine = resize(torch.from_numpy(field)[None], tuple(factor * side for side in shape))[0].numpy()
    back = shrink_image(fine, factor)
    assert back.shape == shape
    inner = tuple(slice(1, -1) if side > 2 else slice(0, 0) for side in shape)
    np.testing.assert_allclose(back[inner], field[inner], atol=1e-4)


@DRAWN
@given(SIDES, st.integers(1, 4))
def test_a_label_blown_up_and_shrunk_is_the_label(shape, factor):
    label = np.random.default_rng(sum(shape)).integers(0, 3, shape).astype(np.uint8)
    blown = label.repeat(factor, 0).repeat(factor, 1).repeat(factor, 2)
    np.testing.assert_array_equal(shrink_label(blown, factor, 3), label)


@DRAWN
@given(
    SIDES,
    st.tuples(*[st.floats(0.2, 6)] * 3),
    st.tuples(*[st.floats(0.2, 6)] * 3),
)
def test_resampling_keeps_the_box_and_comes_as_near_as_whole_voxels_can(shape, have, want):
    sides = resampled_shape(shape, have, want)
    for n, size, m, wanted in zip(shape, have, sides, want, strict=True):
        wished = n * size / wanted
        assert m >= 1
        assert m == 1 or abs(m - wished) <= 0.5 + 1e-9


@DRAWN
@given(SIDES, st.tuples(*[st.integers(1, 9)] * 3), st.tuples(*[st.integers(1, 9)] * 3))
def test_padding_windows_and_cropping_give_the_volume_back(shape, patch, stride):
    stride = tuple(min(s, p) for s, p in zip(stride, patch, strict=True))
    volume = torch.from_numpy(noise(shape))[None]
    whole = sliding_window(lambda windows: windows[None], volume, patch, stride)
    np.testing.assert_allclose(whole[0, 0].numpy(), volume[0].numpy(), rtol=1e-5, atol=1e-6)


@DRAWN
@given(SIDES, st.sampled_from(["none", "centre", "nonzero"]), SIDES, st.integers(0, 3))
def test_a_crop_put_back_in_its_box_is_the_volume_there(shape, crop, size, margin):
    volume = noise(shape)
    volume[np.random.default_rng(1).random(shape) < 0.6] = 0
    volume[tuple(side // 2 for side in shape)] = 1
    recipe = Recipe(crop=crop, size=size, margin=(margin, margin))
    box = recipe.box(volume[None], None, np.random.default_rng(0), "a.nii")
    whole = np.zeros_like(volume)
    whole[box] = recipe.intensities(volume[None], box)[0]
    np.testing.assert_array_equal(whole[box], volume[box])
    if crop != "centre":  # nothing but zeros is cut off
        np.testing.assert_array_equal(whole, volume)
