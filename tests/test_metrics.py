"""The metrics against numbers worked out by hand, brute force, and medpy on whole volumes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from medpy.metric import binary
from scipy.ndimage import binary_erosion, gaussian_filter
from scipy.spatial.distance import cdist

from dualseg.evaluation.metrics import (
    DISTANCES,
    DISTANCES_MM,
    OVERLAPS,
    compare_masks,
    summarize,
)

KEYS = [*OVERLAPS, *DISTANCES]
DISTANCES = ["hd95", "asd", "assd"]
ANISOTROPIC = (0.7, 0.83, 2.5)
FULL = np.s_[:, :, :]


def mask_of(box: tuple[slice, ...], shape: tuple[int, int, int] = (9, 9, 9)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[box] = True
    return mask


def blob_pair(seed: int, at_border: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Two overlapping balls with a wobbly surface: inside the volume, or about one of its edges."""
    random = np.random.default_rng(seed)
    shape = (22, 20, 18)
    blobs = []
    for radius in (4.5, 5.5):
        centre = np.array([0, 10, 17] if at_border else [11, 10, 9]) + random.uniform(-1, 1, 3)
        distance = np.linalg.norm(np.indices(shape) - centre.reshape(3, 1, 1, 1), axis=0)
        wobble = gaussian_filter(random.normal(size=shape), 1.5)
        blobs.append(distance + wobble / wobble.std() < radius)
    return blobs[0], blobs[1]


def touches_border(mask: np.ndarray) -> bool:
    return mask.sum() > mask[1:-1, 1:-1, 1:-1].sum()


def surface_distances(
    prediction: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...] = (1, 1, 1)
) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of surface voxels, nearest of each; prediction -> truth and truth -> prediction."""
    # binary_erosion's defaults: six neighbours, and what lies outside the volume is background.
    points = [np.argwhere(mask & ~binary_erosion(mask)) * spacing for mask in (prediction, truth)]
    pairs = cdist(*points)
    return pairs.min(axis=1), pairs.min(axis=0)


PAIRS = {
    **{f"inside-{seed}": blob_pair(seed) for seed in range(4)},
    **{f"border-{seed}": blob_pair(seed, at_border=True) for seed in range(4)},
    "one corner voxel each": (mask_of(np.s_[:1, :1, :1]), mask_of(np.s_[-1:, -1:, -1:])),
    "both full": (mask_of(FULL), mask_of(FULL)),
    "prediction full": (mask_of(FULL), mask_of(np.s_[2:5, 3:6, 4:8])),
    "truth on a wall": (mask_of(np.s_[3:6, 3:6, 3:6]), mask_of(np.s_[:2, :, 6:])),
    "volume one voxel thin": (
        mask_of(np.s_[:, 1:4, 2:5], (1, 7, 7)),
        mask_of(np.s_[:, 2:7, 3:5], (1, 7, 7)),
    ),
}
over_pairs = pytest.mark.parametrize("prediction, truth", PAIRS.values(), ids=PAIRS)


def test_the_random_pairs_are_what_their_names_say():
    for name, (prediction, truth) in PAIRS.items():
        if name.startswith(("inside", "border")):
            assert (prediction & truth).any() and (prediction ^ truth).any()
            assert touches_border(prediction) == name.startswith("border")
            assert touches_border(truth) == name.startswith("border")


# By hand ------------------------------------------------------------------------------------------


def test_row_of_four_against_one_voxel():
    prediction = mask_of(np.s_[2:6, 4:5, 4:5])  # four voxels in a row, all of them surface
    truth = mask_of(np.s_[2:3, 4:5, 4:5])  # the first of the four
    case = compare_masks(prediction, truth)
    assert list(case) == [*KEYS, "empty"]
    assert case["dice"] == pytest.approx(40.0)  # 2 * 1 / (4 + 1)
    assert case["jaccard"] == pytest.approx(25.0)  # 1 / 4
    # Prediction -> truth: 0, 1, 2, 3. Truth -> prediction: 0.
    assert case["asd"] == pytest.approx(1.5)  # (0 + 1 + 2 + 3) / 4
    assert case["assd"] == pytest.approx(1.2)  # pooled, 6 / 5; the mean of means would be 0.75
    # Pooled and sorted 0, 0, 1, 2, 3: rank 0.95 * 4 = 3.8, so 2 + 0.8 * (3 - 2). The larger of the
    # two directed percentiles would be that of 0, 1, 2, 3: rank 2.85, so 2.85.
    assert case["hd95"] == pytest.approx(2.8)
    assert case["empty"] is False


def test_asd_depends_on_the_order_and_the_others_do_not():
    prediction, truth = mask_of(np.s_[2:6, 4:5, 4:5]), mask_of(np.s_[2:3, 4:5, 4:5])
    forth, back = compare_masks(prediction, truth), compare_masks(truth, prediction)
    assert (forth["asd"], back["asd"]) == (1.5, 0.0)  # back: the single voxel lies in the row
    for key in ("dice", "jaccard", "hd95", "assd"):
        assert forth[key] == pytest.approx(back[key])


def test_cube_moved_by_one_voxel():
    # Cubes of 27 voxels, moved along the first axis: 18 shared, 36 in the union. Each has 26
    # surface voxels, all but its centre. Layer by layer, prediction -> truth:
    #   first layer, 9 voxels on the truth's middle layer: 8 at 0, the one on its centre at 1;
    #   middle layer, 8 voxels on the truth's last layer: all at 0;
    #   last layer, 9 voxels just outside the truth: all at 1.
    # So ten ones of 26, and the same the other way by symmetry.
    case = compare_masks(mask_of(np.s_[3:6, 3:6, 3:6]), mask_of(np.s_[2:5, 3:6, 3:6]))
    assert case["dice"] == pytest.approx(100 * 2 * 18 / 54)
    assert case["jaccard"] == pytest.approx(50.0)
    assert case["asd"] == pytest.approx(10 / 26)
    assert case["assd"] == pytest.approx(20 / 52)
    assert case["hd95"] == pytest.approx(1.0)


def test_equal_masks_are_perfect():
    case = compare_masks(*PAIRS["both full"])
    assert case == {"dice": 100, "jaccard": 100, "hd95": 0, "asd": 0, "assd": 0, "empty": False}


# Against brute force and medpy on the whole volume ------------------------------------------------


@over_pairs
@pytest.mark.parametrize("spacing", [None, ANISOTROPIC], ids=["voxel", "mm"])
def test_against_all_pairs_of_surface_voxels(prediction, truth, spacing):
    case = compare_masks(prediction, truth, spacing)
    forth, back = surface_distances(prediction, truth, spacing or (1, 1, 1))
    pooled = np.concatenate([forth, back])
    suffix = "" if spacing is None else "_mm"
    assert case["asd" + suffix] == pytest.approx(forth.mean())
    assert case["assd" + suffix] == pytest.approx(pooled.mean())
    assert case["hd95" + suffix] == pytest.approx(np.percentile(pooled, 95))
    both, either = (prediction & truth).sum(), (prediction | truth).sum()
    assert case["dice"] == pytest.approx(100 * 2 * both / (both + either))
    assert case["jaccard"] == pytest.approx(100 * both / either)


@over_pairs
def test_medpy_on_the_whole_volume_gives_the_same_bits(prediction, truth):
    case = compare_masks(prediction, truth, ANISOTROPIC)
    assert case["dice"] == 100 * binary.dc(prediction, truth)
    assert case["jaccard"] == 100 * binary.jc(prediction, truth)
    for key in DISTANCES:
        distance = getattr(binary, key)
        assert case[key] == distance(prediction, truth)
        # Squares of mm are added in another order.
        in_mm = distance(prediction, truth, voxelspacing=ANISOTROPIC)
        assert case[f"{key}_mm"] == pytest.approx(in_mm, rel=1e-12)


def test_medpy_is_given_the_joint_box_with_its_margin_only(monkeypatch):
    shapes = []
    monkeypatch.setattr(binary, "dc", lambda p, t: shapes.append((p.shape, t.shape)) or 0.0)
    compare_masks(mask_of(np.s_[:2, 3:5, 4:6]), mask_of(np.s_[1:4, 4:5, 8:9]))
    # Joint box 0:4, 3:5, 4:9; one voxel more on each side, but not below 0 nor above 9.
    assert shapes == [((5, 4, 6), (5, 4, 6))]


def test_monai_takes_the_larger_directed_percentile_instead():
    monai_metrics = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    for seed in range(4):
        prediction, truth = blob_pair(seed)
        theirs = monai_metrics.compute_hausdorff_distance(
            *(torch.from_numpy(mask)[None, None].float() for mask in (prediction, truth)),
            include_background=True,
            percentile=95,
        ).item()
        directed = [np.percentile(d, 95) for d in surface_distances(prediction, truth)]
        assert theirs == pytest.approx(max(directed), rel=1e-5)
        assert theirs > compare_masks(prediction, truth)["hd95"] + 0.01  # equal only by chance


# Millimetres --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_isotropic_millimetres_are_voxels_times_the_edge(seed):
    prediction, truth = blob_pair(seed)
    case = compare_masks(prediction, truth, (0.7, 0.7, 0.7))
    assert list(case) == [*KEYS, *DISTANCES_MM, "empty"]
    for key in DISTANCES:
        assert case[key] > 0
        assert case[f"{key}_mm"] == case[key] * 0.7
        whole = getattr(binary, key)(prediction, truth, voxelspacing=(0.7, 0.7, 0.7))
        assert case[f"{key}_mm"] == pytest.approx(whole)


def test_spacing_belongs_to_the_axes_in_order():
    near, far = mask_of(np.s_[4:5, 4:5, 4:5]), mask_of(np.s_[4:5, 4:5, 6:7])
    case = compare_masks(near, far, np.array([1.0, 1.0, 5.0]))
    assert (case["asd"], case["asd_mm"]) == (2.0, 10.0)  # two voxels of 5 mm along the last axis


# Empty masks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("spacing", [None, (1, 1, 1), ANISOTROPIC])
def test_one_empty_mask_has_no_overlap_and_no_distance(spacing):
    empty, cube = mask_of(np.s_[:0]), mask_of(np.s_[2:5, 2:5, 2:5])
    for pair in ((empty, cube), (cube, empty)):
        case = compare_masks(*pair, spacing)
        assert list(case) == list(compare_masks(cube, cube, spacing))
        assert (case["dice"], case["jaccard"], case["empty"]) == (0.0, 0.0, True)
        assert all(math.isnan(case[key]) for key in case if key.startswith(tuple(DISTANCES)))


def test_two_empty_masks_measure_nothing():
    empty = mask_of(np.s_[:0])
    case = compare_masks(empty, empty, (1, 1, 1))
    assert case.pop("empty") is True
    assert len(case) == 8 and all(math.isnan(value) for value in case.values())


# Summary ------------------------------------------------------------------------------------------


def case_of(dice: float, distance: float, empty: bool = False, **more: object) -> dict:
    distances = dict.fromkeys(DISTANCES, distance)
    return {"dice": dice, "jaccard": dice / 2, **distances, "empty": empty, **more}


def test_summary_by_hand():
    cases = [
        case_of(80.0, 2.0, id="a"),
        case_of(90.0, 6.0, id="b"),
        case_of(0.0, math.nan, empty=True, id="c"),
        case_of(70.0, 4.0, id="d"),
    ]
    summary = summarize(cases)
    assert (summary["cases"], summary["empties"]) == (4, 1)
    assert set(summary) == {"mean", "standard_deviation", "standard_error", "empties", "cases"}
    for statistic in ("mean", "standard_deviation", "standard_error"):
        assert list(summary[statistic]) == KEYS
    # Dice over all four, the missed one as 0: mean 240 / 4; squares 400, 900, 3600, 100, over 3.
    assert summary["mean"]["dice"] == pytest.approx(60.0)
    assert summary["standard_deviation"]["dice"] == pytest.approx(math.sqrt(5000 / 3))
    assert summary["standard_error"]["dice"] == pytest.approx(math.sqrt(5000 / 3) / 2)
    # Distances over the three that have one: 2, 4, 6.
    assert summary["mean"]["hd95"] == pytest.approx(4.0)
    assert summary["standard_deviation"]["hd95"] == pytest.approx(2.0)
    assert summary["standard_error"]["hd95"] == pytest.approx(2.0 / math.sqrt(3))


def test_summary_of_measured_cases():
    cases = [compare_masks(*blob_pair(seed), ANISOTROPIC) for seed in range(4)]
    summary = summarize(cases)
    for key in [*KEYS, *DISTANCES_MM]:
        values = [case[key] for case in cases]
        assert summary["mean"][key] == pytest.approx(np.mean(values))
        assert summary["standard_deviation"][key] == pytest.approx(np.std(values, ddof=1))


def test_summary_holds_only_metrics_that_all_cases_have():
    cases = [compare_masks(*blob_pair(0), (1, 1, 1)), compare_masks(*blob_pair(1))]
    assert list(summarize(cases)["mean"]) == KEYS


@pytest.mark.filterwarnings("error")
def test_summary_of_too_few_values_is_nan():
    one = summarize([case_of(80.0, 2.0)])
    assert one["mean"]["dice"] == 80.0
    assert math.isnan(one["standard_deviation"]["dice"])
    assert math.isnan(one["standard_error"]["dice"])
    none = summarize([case_of(0.0, math.nan, empty=True)])
    assert none["mean"]["dice"] == 0.0
    for statistic in ("mean", "standard_deviation", "standard_error"):
        assert math.isnan(none[statistic]["asd"])


def test_summary_of_no_case_is_an_error():
    with pytest.raises(ValueError, match=r"^cases must hold at least one case .* found none\.$"):
        summarize([])


# Input checks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.int64])
def test_dtype_of_a_mask_does_not_matter(dtype):
    prediction, truth = blob_pair(0)
    assert compare_masks(prediction.astype(dtype), truth) == compare_masks(prediction, truth)


@pytest.mark.parametrize(
    "mask, message",
    [
        (np.ones((4, 4), bool), "must be a 3D array with voxels, found shape (4, 4)."),
        (np.ones((0, 4, 4), bool), "must be a 3D array with voxels, found shape (0, 4, 4)."),
        (np.ones((4, 4, 4)), "must be boolean or integer, found dtype float64."),
        (np.full((4, 4, 4), 2), "must hold only 0 and 1, found values from 2 to 2."),
        (np.full((4, 4, 4), -1), "must hold only 0 and 1, found values from -1 to -1."),
    ],
)
@pytest.mark.parametrize("name", ["prediction", "truth"])
def test_wrong_mask_is_named(name, mask, message):
    masks = {"prediction": np.ones((4, 4, 4), bool), "truth": np.ones((4, 4, 4), bool), name: mask}
    with pytest.raises(ValueError) as caught:
        compare_masks(**masks)
    assert str(caught.value) == f"{name} {message}"


def test_masks_of_two_shapes_are_an_error():
    with pytest.raises(ValueError) as caught:
        compare_masks(np.ones((4, 4, 4), bool), np.ones((4, 4, 5), bool))
    expected = "prediction must have the shape of truth, (4, 4, 5), found (4, 4, 4)."
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    "spacing", [(1, 1), (1, 1, 0), (1, -1, 1), (1, 1, math.nan), (1, 1, math.inf), 1.0, "abc", [[]]]
)
def test_wrong_spacing_is_an_error(spacing):
    cube = np.ones((4, 4, 4), bool)
    with pytest.raises(ValueError) as caught:
        compare_masks(cube, cube, spacing)
    expected = f"spacing must be three positive numbers in mm, found {spacing!r}."
    assert str(caught.value) == expected


def test_numbers_are_plain():
    mask = np.zeros((6, 5, 4), bool)
    mask[2:4, 2, 1:3] = True
    for case in (compare_masks(mask, mask, (1, 1, 2)), compare_masks(mask, ~mask & False)):
        assert {type(value) for value in case.values()} == {float, bool}
