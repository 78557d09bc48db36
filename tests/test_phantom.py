r"""The synthetic scans: repeatable, well formed, and not to be segmented by a threshold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from dualseg.data.phantom import SHAPE, SPACING, make_case

SMALL = (48, 40, 32)
TINY = (24, 20, 16)
FULLY_CONNECTED = np.ones((3, 3, 3))


@pytest.fixture(scope="module")
def cases() -> list[tuple[np.ndarray, np.ndarray]]:
    return [make_case(index) for index in range(12)]


def best_threshold_dice(image: np.ndarray, label: np.ndarray) -> float:
    r"""The Dice overlap of the best of all masks `image >= threshold` with `label`."""
    brightest_first = label.ravel()[np.argsort(-image, axis=None)]
    hits = np.cumsum(brightest_first, dtype=np.int64)
    selected = np.arange(1, hits.size + 1)
    return float((2 * hits / (selected + hits[-1])).max())


def wall_to_blood(image: np.ndarray, label: np.ndarray) -> float:
    r"""Mean of the shell one voxel around the atrium over the mean of the atrium."""
    shell = ndimage.binary_dilation(label, FULLY_CONNECTED) & (label == 0)
    return float(image[shell].mean() / image[label == 1].mean())


def test_best_threshold_dice_finds_the_threshold_of_a_separable_image() -> None:
    label = np.array([0, 1, 1, 0], dtype=np.uint8)
    assert best_threshold_dice(np.array([0.1, 0.9, 0.8, 0.2]), label) == 1
    assert best_threshold_dice(np.array([0.9, 0.1, 0.1, 0.9]), label) == pytest.approx(2 / 3)


def test_same_arguments_give_the_same_bits_in_any_order() -> None:
    forwards = {index: make_case(index, seed=3, shape=TINY) for index in (0, 1, 2)}
    for index in (2, 0, 1):
        image, label = make_case(index, seed=3, shape=TINY)
        np.testing.assert_array_equal(image, forwards[index][0])
        np.testing.assert_array_equal(label, forwards[index][1])


@pytest.mark.parametrize(("index", "seed"), [(1, 0), (0, 1)])
def test_another_index_or_seed_gives_another_case(index: int, seed: int) -> None:
    image, label = make_case(0, seed=0, shape=TINY)
    other_image, other_label = make_case(index, seed=seed, shape=TINY)
    assert (image != other_image).mean() > 0.99
    assert (label != other_label).any()


@pytest.mark.parametrize("shape", [SHAPE, SMALL, TINY, (16, 16, 16), (20, 40, 17)])
def test_arrays_have_the_promised_form(shape: tuple[int, int, int]) -> None:
    image, label = make_case(5, shape=shape)
    assert image.shape == label.shape == shape
    assert image.dtype == np.float32
    assert label.dtype == np.uint8
    assert np.isfinite(image).all()
    assert image.min() >= 0
    assert set(np.unique(label)) == {0, 1}


def test_default_grid_is_the_documented_one() -> None:
    image, _ = make_case(0)
    assert image.shape == SHAPE == (96, 80, 64)
    assert SPACING == (1.25, 1.25, 1.25)


def test_coarser_shape_samples_the_same_anatomy() -> None:
    _, fine = make_case(4)
    _, coarse = make_case(4, shape=SMALL)
    averaged = fine.reshape(48, 2, 40, 2, 32, 2).mean(axis=(1, 3, 5))
    overlap = (
        2 * ((averaged >= 0.5) & (coarse == 1)).sum() / ((averaged >= 0.5).sum() + coarse.sum())
    )
    assert overlap > 0.95


def test_label_is_one_part_away_from_the_faces(cases: list[tuple[np.ndarray, np.ndarray]]) -> None:
    for _, label in cases:
        assert ndimage.label(label, FULLY_CONNECTED)[1] == 1
        assert label[1:-1, 1:-1, 1:-1].sum() == label.sum()


@pytest.mark.parametrize("index", range(20))
def test_label_stays_one_part_on_coarse_voxels(index: int) -> None:
    _, label = make_case(index, shape=TINY)
    assert ndimage.label(label, FULLY_CONNECTED)[1] == 1


def test_foreground_share_is_realistic(cases: list[tuple[np.ndarray, np.ndarray]]) -> None:
    shares = [label.mean() for _, label in cases]
    assert min(shares) > 0.025
    assert max(shares) < 0.08
    assert 0.04 < np.mean(shares) < 0.06


def test_no_threshold_finds_the_atrium(cases: list[tuple[np.ndarray, np.ndarray]]) -> None:
    assert np.mean([best_threshold_dice(image, label) for image, label in cases]) < 0.45


def test_blood_is_brighter_than_the_wall(cases: list[tuple[np.ndarray, np.ndarray]]) -> None:
    assert max(wall_to_blood(image, label) for image, label in cases) < 0.9


def test_contrast_and_brightness_differ_between_cases(
    cases: list[tuple[np.ndarray, np.ndarray]],
) -> None:
    contrasts = [wall_to_blood(image, label) for image, label in cases]
    brightness = [image[label == 1].mean() for image, label in cases]
    assert max(contrasts) - min(contrasts) > 0.1
    assert max(brightness) / min(brightness) > 2


def test_position_of_the_atrium_differs_between_cases(
    cases: list[tuple[np.ndarray, np.ndarray]],
) -> None:
    centres = [ndimage.center_of_mass(label) for _, label in cases]
    assert np.std(centres, axis=0).min() > 1


@pytest.mark.parametrize("index", [-1, 1.5, "0"])
def test_bad_index_is_refused(index: object) -> None:
    with pytest.raises(ValueError, match="index must be an integer >= 0"):
        make_case(index, shape=TINY)


def test_bad_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="seed must be an integer >= 0, got -2"):
        make_case(0, seed=-2, shape=TINY)


@pytest.mark.parametrize("shape", [(24, 20), (24, 20, 16, 16), (24, 20, 15), (24.0, 20, 16), 24])
def test_bad_shape_is_refused(shape: object) -> None:
    with pytest.raises(ValueError, match="shape must be three integers >= 16"):
        make_case(0, shape=shape)
