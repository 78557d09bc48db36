"""`dualseg.plotting`: what lands where in the pictures, read back from the drawn figures."""

from __future__ import annotations

from itertools import combinations, pairwise, permutations, product

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from dualseg.errors import DualsegError
from dualseg.plotting import (
    ROLES,
    CasePicture,
    display_slice,
    largest_slices,
    plot_cases,
    plot_surfaces,
    save,
    style,
    styles,
    surface,
    surfaces,
    to_display,
)
from dualseg.plotting.charts import moving_average, plot_comparison, plot_curves, plot_over_steps

# One letter each of L/R, P/A and S/I, in any order: all 48 ways to store a volume.
CODES = ["".join(code) for trio in product("LR", "PA", "SI") for code in permutations(trio)]
HALF = {"R": "left", "L": "right", "A": "top", "P": "bottom"}  # in an axial picture


def marked(code: str, place: str, shape: tuple[int, int, int] = (7, 9, 11)) -> np.ndarray:
    """Zeros, stored as `code` says, with a 1 in the corner at `place`."""
    volume = np.zeros(shape)
    volume[tuple(-1 if way in place else 0 for way in code)] = 1
    return volume


def box(shape: tuple[int, int, int], low: tuple, high: tuple) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def texts(axis) -> dict[str, tuple[float, float]]:
    """Text -> where it is anchored, of the annotations of a panel."""
    return {text.get_text(): text.xy for text in axis.texts}


def lines(axis, gid: str) -> list[np.ndarray]:
    """Points (N, 2) of every line of a panel that was drawn under the name `gid`."""
    return [line.get_xydata() for line in axis.lines if line.get_gid() == gid]


def record(method: str, dice: list, hd95: list, mean: dict, error: dict, seed: int = 1) -> dict:
    cases = [
        {"id": str(i), "dice": d, "hd95": h, "empty": h is None or np.isnan(h)}
        for i, (d, h) in enumerate(zip(dice, hd95, strict=True))
    ]
    return {
        "config": {"dataset": "la", "method": method, "seed": seed},
        "cases": cases,
        "mean": mean,
        "standard_error": error,
    }


# --- Orientation and slices


@pytest.mark.parametrize("code", CODES)
def test_a_marked_corner_lands_in_the_same_place_for_every_code(code):
    shown = to_display(marked(code, "RAS"), code)
    at = [0, 0, shown.shape[2] - 1]  # displayed axes run to left, posterior, superior
    for plane in ("axial", "coronal", "sagittal"):
        picture = display_slice(shown, plane, at)
        assert np.argwhere(picture).tolist() == [[0, 0]], plane


@pytest.mark.parametrize("code", ["RAS", "LPS", "SRA", "PIR"])
@pytest.mark.parametrize("place", ["LAS", "RPS", "RAI", "LPI"])
def test_letters_stand_at_the_edges_they_name(code, place):
    image = marked(code, place)
    figure = plot_cases([CasePicture("a", image, image)], orientation=code)
    for axis, plane in zip(figure.axes, ("axial", "coronal", "sagittal"), strict=True):
        assert axis.get_xlabel() == plane
        picture = axis.images[0].get_array()
        ((row, column),) = np.argwhere(picture)
        x, y = column / (picture.shape[1] - 1), 1 - row / (picture.shape[0] - 1)
        edges = {text: xy for text, xy in texts(axis).items() if text in "LRAPSI"}
        assert len(edges) == 4
        found = {text for text, xy in edges.items() if xy in [(x, 0.5), (0.5, y)]}
        assert found == set(place) & set(edges), plane


def test_radiological_convention():
    axial, coronal, sagittal = plot_cases(
        [CasePicture("a", np.zeros((4, 5, 6)))], orientation="RAS"
    ).axes
    assert texts(axial)["R"] == texts(coronal)["R"] == texts(sagittal)["A"] == (0, 0.5)
    assert texts(axial)["A"] == texts(coronal)["S"] == texts(sagittal)["S"] == (0.5, 1)


def test_unknown_orientation_gets_arrows_that_tell_the_truth():
    image = np.zeros((4, 5, 6))
    image[-1, -1, -1] = 1
    axes = plot_cases([CasePicture("a", image, image)]).axes
    corners = [np.argwhere(axis.images[0].get_array()).tolist() for axis in axes]
    assert corners == [[[4, 3]], [[0, 3]], [[0, 4]]]  # y runs down, z up, x and y to the right
    drawn = [{text for text in texts(axis) if text[:1] in ("x", "y", "z")} for axis in axes]
    assert drawn == [{"x →", "y ↓"}, {"x →", "z ↑"}, {"y →", "z ↑"}]


@pytest.mark.parametrize("code", ["RA", "RASL", "RASX", "RRS", "RAX", "ras", "", "RLS"])
def test_wrong_codes_are_refused(code):
    with pytest.raises(ValueError, match="orientation must be None or a code like 'RAS'"):
        plot_cases([CasePicture("a", np.zeros((3, 3, 3)))], orientation=code)


def test_slices_go_through_the_largest_area():
    mask = box((12, 14, 16), (2, 3, 4), (5, 6, 7))
    mask[8, 2:12, 2:12] = mask[1:11, 9, 2:12] = mask[1:11, 2:12, 6] = True
    assert largest_slices(mask) == [8, 9, 6]
    assert largest_slices(np.zeros((4, 6, 9), bool)) == [2, 3, 4]


def test_the_slices_follow_the_truth_and_without_it_the_predictions():
    image = np.broadcast_to(np.arange(10.0), (10, 10, 10))  # the value of a voxel is its z
    truth = box(image.shape, (2, 2, 3), (6, 6, 4))
    a, b = box(image.shape, (0, 0, 8), (9, 9, 9)), box(image.shape, (0, 0, 6), (3, 3, 7))

    def z(*masks) -> float:
        axis = plot_cases([CasePicture("a", image, *masks)], columns=["axial"]).axes[0]
        return axis.images[0].get_array().mean()

    assert z(truth, {"A": a, "B": b}) == 3
    assert z(None, {"A": a, "B": b}) == z(np.zeros_like(truth), {"A": a}) == 8
    assert z(None, {}) == 5


# --- Cases


def test_contours_are_drawn_at_the_border_of_the_mask_in_the_style_of_their_role():
    image = np.random.default_rng(0).normal(size=(12, 10, 8))
    truth = box(image.shape, (3, 2, 2), (9, 7, 6))
    predicted = box(image.shape, (0, 0, 0), (5, 10, 8))
    case = CasePicture("worst: x, Dice 61.2", image, truth, {"A": predicted})
    figure = plot_cases([case], orientation="LPS", columns=["axial"])
    (axis,) = figure.axes
    (outline,) = lines(axis, "truth")
    assert outline.min(axis=0).tolist() == [2.5, 1.5]
    assert outline.max(axis=0).tolist() == [8.5, 6.5]
    (outline,) = lines(axis, "A")  # closed, though the mask touches three borders
    assert outline[0].tolist() == outline[-1].tolist()
    assert outline.min(axis=0).tolist() == [-0.5, -0.5]
    assert outline.max(axis=0).tolist() == [4.5, 9.5]
    drawn = {line.get_gid(): line for line in axis.lines}
    assert drawn["A"].get_color() == "#0072B2"
    assert drawn["truth"].get_color() == "#000000"
    assert drawn["truth"].is_dashed()
    assert not drawn["A"].is_dashed()
    # Below to above: the white halo, the prediction, the truth.
    halo = [line for line in axis.lines if line.get_color() == "white" and line.get_gid() is None]
    assert halo[0].get_zorder() < drawn["A"].get_zorder() < drawn["truth"].get_zorder()
    assert halo[0].get_linewidth() > drawn["truth"].get_linewidth()
    assert axis.get_xlim() == (-0.5, 11.5)
    assert axis.get_title(loc="left") == "worst: x, Dice 61.2"


def test_one_legend_for_all_rows_and_a_note_for_a_mask_that_is_not_in_the_slice():
    image = np.zeros((6, 6, 6))
    truth, far = box(image.shape, (1, 1, 1), (4, 4, 2)), box(image.shape, (5, 5, 5), (6, 6, 6))
    cases = [
        CasePicture("1", image, truth, {"A": truth}),
        CasePicture("2", image, truth, {"B": far}),
    ]
    figure = plot_cases(cases, orientation="LPS")
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["truth", "A", "B"]
    assert len(figure.axes) == 6
    assert [axis.get_xlabel() for axis in figure.axes[::3]] == ["axial", "axial, no B here"]


def test_gray_window_spans_percentiles_1_to_99_of_the_volume():
    image = np.arange(1000.0).reshape(10, 10, 10)
    (panel,) = plot_cases([CasePicture("a", image)], columns=["coronal"]).axes[0].images
    assert panel.get_clim() == pytest.approx((9.99, 989.01))


@pytest.mark.parametrize(
    ("spacing", "unit", "lengths", "pixels"),
    [
        (None, "voxels", (20, 20, 20), (20, 20, 20)),
        ((0.5, 2.0, 4.0), "mm", (10, 10, 50), (20, 20, 25)),  # of 50, 50 and 200 mm
    ],
)
def test_scale_bar_is_as_many_pixels_long_as_it_says(spacing, unit, lengths, pixels):
    case = CasePicture("a", np.zeros((100, 100, 80)))
    axes = plot_cases([case], spacing).axes
    for axis, length, expected in zip(axes, lengths, pixels, strict=True):
        ((start, end),) = lines(axis, "bar")
        assert end[0] - start[0] == pytest.approx(expected)
        assert 0 < start[1] == end[1] < 0.15  # of the panel's height: below the edge letters
        assert f"{length} {unit}" in texts(axis)


def test_scale_bar_where_the_logarithm_is_rounded_up():
    size = 1 / 280  # 112 of it are a hair less than 0.4 mm, whose fourth is a power of ten
    assert 112 * size / 4 < 0.1 == 10.0 ** np.floor(np.log10(112 * size / 4))
    axial, *_ = plot_cases([CasePicture("a", np.zeros((112, 112, 112)))], (size,) * 3).axes
    assert "0.1 mm" in texts(axial)


def test_a_thin_stack_is_not_hidden_behind_letters_and_bar():
    axial, *strips = plot_cases([CasePicture("a", np.zeros((90, 90, 3)))], (1, 1, 1), "RAS").axes
    assert set("LRAP") <= set(texts(axial))
    assert lines(axial, "bar")
    for strip in strips:
        assert not texts(strip)
        assert not lines(strip, "bar")


def test_voxels_have_their_proportions_after_axes_are_swapped():
    case = CasePicture("a", np.zeros((4, 5, 6)))
    axes = plot_cases([case], (2.0, 3.0, 7.0), orientation="SRA").axes  # x runs up, 2 mm
    # Rows and columns: axial 7 (A) by 3 (R), coronal 2 (S) by 3, sagittal 2 by 7.
    assert [axis.get_aspect() for axis in axes] == pytest.approx([7 / 3, 2 / 3, 2 / 7])


def test_each_case_is_drawn_with_its_own_voxels():
    image = np.zeros((40, 40, 40))
    cases = [
        CasePicture("a", image, spacing=(1.0, 1.0, 3.0)),
        CasePicture("b", image, spacing=(2.0, 1.0, 1.0)),
        CasePicture("c", image),
    ]
    axes = np.reshape(plot_cases(cases, (1.0, 1.0, 2.0), orientation="RAS").axes, (3, 3))
    # Rows over columns: axial y/x, coronal z/x, sagittal z/y.
    aspects = [[axis.get_aspect() for axis in row] for row in axes]
    np.testing.assert_allclose(aspects, [[1, 3, 3], [0.5, 0.5, 1], [1, 2, 2]])
    (start, end), (start_b, end_b) = (lines(row[0], "bar")[0] for row in axes[:2])
    assert end[0] - start[0] == pytest.approx(10)  # 10 mm in voxels of 1 mm
    assert end_b[0] - start_b[0] == pytest.approx(10)  # 20 mm in voxels of 2 mm
    assert "20 mm" in texts(axes[1, 0])


def test_bad_cases_are_refused():
    image, mask = np.zeros((4, 5, 6)), np.zeros((4, 5, 7), bool)
    with pytest.raises(ValueError, match=r"the row 'x' must have 3D arrays of one shape.*4, 5, 7"):
        CasePicture("x", image, None, {"A": mask})
    with pytest.raises(ValueError, match="one shape"):
        CasePicture("x", image, mask)
    with pytest.raises(ValueError, match="3D"):
        CasePicture("x", image[0])
    with pytest.raises(ValueError, match="needs a case"):
        plot_cases([])
    with pytest.raises(ValueError, match="axial, coronal, sagittal"):
        plot_cases([CasePicture("x", image)], columns=["oblique"])
    for spacing in [(1, 1), (1, 1, 0), (1, 1, -1), (1, 1, np.nan)]:
        with pytest.raises(ValueError, match="spacing must be three positive numbers"):
            plot_cases([CasePicture("x", image)], spacing)


# --- Surfaces


def volume_of(corners: np.ndarray, faces: np.ndarray) -> float:
    """Volume inside a closed surface, positive if its triangles' normals point outwards."""
    a, b, c = corners[faces].transpose(1, 0, 2)
    return float((a * np.cross(b, c)).sum() / 6)


@pytest.mark.parametrize("low", [(3, 3, 3), (0, 0, 0)], ids=["inside", "at the border"])
def test_surface_is_closed_faces_outwards_and_has_the_right_size(low):
    mask = box((16, 17, 18), low, (16, 14, 12))
    corners, faces = surface(mask, np.array([1.0, 2.0, 0.5]))
    assert volume_of(corners, faces) == pytest.approx(mask.sum(), rel=0.03)  # 1 mm3 a voxel
    assert corners.min(axis=0) == pytest.approx((np.array(low) - 0.5) * (1, 2, 0.5), abs=0.02)
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    assert set(np.unique(edges, axis=0, return_counts=True)[1]) == {2}


def test_surface_of_a_large_mask_is_coarser_and_of_one_voxel_is_there(monkeypatch):
    ball = np.linalg.norm(np.indices((40, 40, 40)) - 19.5, axis=0) < 18
    fine = surface(ball, np.ones(3))[1]
    monkeypatch.setattr(surfaces, "MAX_FACES", 2000)
    corners, faces = surface(ball, np.ones(3))
    assert len(faces) <= 2000 < len(fine)
    assert volume_of(corners, faces) == pytest.approx(ball.sum(), rel=0.05)
    assert len(surface(box((5, 5, 5), (2, 2, 2), (3, 3, 3)), np.ones(3))[1]) > 0


def test_surface_panels_share_box_and_view_and_an_empty_mask_says_so():
    shape = (12, 12, 12)
    masks = {
        "truth": box(shape, (2, 2, 2), (10, 8, 6)),
        "A": box(shape, (3, 3, 3), (6, 6, 6)),
        "B": np.zeros(shape, bool),
    }
    figure = plot_surfaces(masks, (2.0, 1.0, 1.0), "LPS")
    truth, a, b = figure.axes
    assert [axis.get_title() for axis in figure.axes] == ["truth", "A", "B"]
    for axis in figure.axes:  # first to last voxel of the truth, and one voxel more
        assert axis.get_xlim() == pytest.approx((2, 20))
        assert axis.get_ylim() == pytest.approx((1, 8))
        assert axis.get_zlim() == pytest.approx((1, 6))
        assert (axis.elev, axis.azim) == (truth.elev, truth.azim)
    assert [len(axis.collections) for axis in figure.axes] == [1, 1, 0]
    assert [[t.get_text() for t in axis.texts] for axis in figure.axes] == [[], [], ["empty"]]
    assert (a.get_xlabel(), b.get_zlabel()) == ("R → L", "I → S")
    assert figure.get_supxlabel() == "every box: 18 x 7 x 5 mm"


def test_surface_colours_are_gray_for_truth_and_the_roles_for_predictions():
    mask = box((9, 9, 9), (2, 2, 2), (7, 7, 7))
    colours = [
        axis.collections[0].get_facecolor()
        for axis in plot_surfaces({"worst: truth": mask, "worst: dual": mask}).axes
    ]
    truth, dual = (colour[:, :3].max(axis=0) for colour in colours)  # the best lit triangle
    assert np.ptp(truth) == pytest.approx(0)
    assert dual / dual.max() == pytest.approx(
        np.array(to_rgb(ROLES["dual"]["color"])) / max(to_rgb(ROLES["dual"]["color"])), abs=0.01
    )
    assert np.ptp(colours[0][:, 0]) > 0.1  # shaded


def test_cases_of_different_shapes_get_rows_of_their_own():
    small, large = box((8, 8, 8), (2, 2, 2), (6, 6, 6)), box((20, 9, 9), (5, 2, 2), (15, 6, 6))
    figure = plot_surfaces(
        {"best: truth": small, "best: dual": small, "worst: truth": large, "worst: dual": large}
    )
    assert [axis.get_title() for axis in figure.axes] == [
        "best: truth",
        "best: dual",
        "worst: truth",
        "worst: dual",
    ]
    assert [axis.get_subplotspec().rowspan.start for axis in figure.axes] == [0, 0, 1, 1]
    widths = [np.ptp(axis.get_xlim()) for axis in figure.axes]
    assert widths == pytest.approx([11] * 4)  # the large one's 9 voxel steps, and one more a side


def test_bad_surfaces_are_refused():
    with pytest.raises(ValueError, match="at least one mask"):
        plot_surfaces({})
    with pytest.raises(ValueError, match="one shape"):
        plot_surfaces({"truth": np.ones((3, 3, 3)), "A": np.ones((3, 3, 4))})
    with pytest.raises(ValueError, match="3D"):
        plot_surfaces({"truth": np.ones((3, 3))})
    with pytest.raises(ValueError, match="orientation must be"):
        plot_surfaces({"truth": np.ones((3, 3, 3))}, orientation="XYZ")


# --- Curves


def test_moving_average_by_hand():
    assert moving_average(np.array([1.0, 2, 6, 4, 8]), 3) == pytest.approx([1.5, 3, 4, 6, 6])
    assert moving_average(np.array([1.0, 2, 6]), 1).tolist() == [1, 2, 6]
    assert moving_average(np.array([1.0, 2]), 99).shape == (2,)


def test_curves_have_a_panel_a_term_with_a_and_b_together_and_the_rate_below():
    log = [
        {
            "step": s,
            "learning_rate": 0.01 / s,
            "loss": 3.0 * s,
            "supervised_a": 1.0 * s,
            "supervised_b": 2.0 * s,
        }
        for s in range(1, 6)
    ]
    log[0]["loss"] = None
    figure = plot_curves(log, ["loss", "supervised_a", "supervised_b"], smooth=3)
    loss, supervised, rate = figure.axes
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["loss", "supervised", ""]
    assert loss.get_ylabel() == "loss (no unit)"
    raw, mean = loss.lines
    assert raw.get_xydata().tolist() == [[2, 6], [3, 9], [4, 12], [5, 15]]
    assert mean.get_xydata().tolist() == [[2, 7.5], [3, 9], [4, 12], [5, 13.5]]
    assert raw.get_linewidth() < mean.get_linewidth()
    named = {line.get_label(): line for line in supervised.lines}
    assert [named[name].get_color() for name in "AB"] == ["#0072B2", "#D55E00"]
    assert named["B"].get_ydata().tolist() == [3, 4, 6, 8, 9]
    assert (rate.get_yscale(), rate.get_ylabel()) == ("log", "learning rate")
    assert rate.lines[0].get_ydata().tolist() == pytest.approx([0.01 / s for s in range(1, 6)])
    assert rate.get_xlabel() == "training step"


def test_curves_without_a_rate_and_bad_terms():
    log = [{"step": s, "loss": 1.0} for s in range(1, 4)]
    (axis,) = plot_curves(log, ["loss"]).axes
    assert axis.get_xlabel() == "training step"
    with pytest.raises(ValueError, match="'lost'"):
        plot_curves(log, ["loss", "lost"])
    for terms, smooth in [([], 3), (["loss"], 0)]:
        with pytest.raises(ValueError, match="plot_curves needs"):
            plot_curves(log, terms, smooth)


# --- Comparison


def test_comparison_draws_cases_mean_and_standard_error_where_they_are():
    records = [
        record(
            "supervised",
            [80, 70, 0],
            [4, 8, None],
            {"dice": 50, "hd95": 6},
            {"dice": 25, "hd95": 2},
        ),
        record(
            "dual",
            [90, 86, 88],
            [2, 3, 4],
            {"dice": 88, "hd95": 3},
            {"dice": 1.2, "hd95": 0.6},
            seed=7,
        ),
    ]
    figure = plot_comparison(records)
    dice, hd95 = figure.axes
    bars = lines(dice, "mean")
    assert [bar[:, 1].tolist() for bar in bars] == [[50, 50], [88, 88]]
    assert [bar[:, 0].mean() for bar in bars] == pytest.approx([0, 1])
    assert [bar[0, 1] for bar in lines(hd95, "mean")] == [6, 3]
    assert [points[:, 1].tolist() for points in lines(dice, "cases")] == [[80, 70, 0], [90, 86, 88]]
    worse = lines(hd95, "cases")[0][:, 1]
    assert worse[:2].tolist() == [4, 8]
    assert np.isnan(worse[2])
    for x, points in enumerate(lines(dice, "cases")):
        assert np.abs(points[:, 0] - x).max() <= 0.25
    whiskers = [c.get_segments()[0][:, 1].tolist() for c in dice.collections]
    assert whiskers == [pytest.approx([25, 75]), pytest.approx([86.8, 89.2])]
    assert [label.get_text() for label in hd95.get_xticklabels()] == [
        "supervised\nseed 1\n1 of 3 empty",
        "dual\nseed 7\n0 of 3 empty",
    ]
    assert [text.get_text() for text in dice.texts] == ["50.0 ± 25.0", "88.0 ± 1.2"]
    assert (dice.get_ylabel()[:8], hd95.get_ylabel()[:12]) == ("Dice (%)", "95HD (voxel)")


def test_labels_of_many_runs_do_not_overlap():
    scores = {"dice": 88, "hd95": 3}
    runs = [record("a_long_method_name", [88], [3], scores, scores, seed) for seed in range(12)]
    figure = plot_comparison(runs)
    figure.draw_without_rendering()
    for labels in (figure.axes[1].get_xticklabels(), figure.axes[0].texts, figure.axes[1].texts):
        boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: box.x0)
        assert len(boxes) == 12
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_comparison_of_a_run_without_any_distance(tmp_path):
    one = record("dual", [0.0], [np.nan], {"dice": 0.0, "hd95": None}, {"dice": None, "hd95": None})
    figure = plot_comparison([one])
    assert [axis.texts[0].get_text() for axis in figure.axes] == ["0.0", "none"]
    save(figure, tmp_path / "one.png", "One case, missed.")
    with pytest.raises(ValueError, match="at least one record"):
        plot_comparison([])


# --- Dice over steps


def trained(method, dice, steps, rate, schedule="poly", seed=0):
    one = record(method, [dice], [3], {"dice": dice, "hd95": 3}, {"dice": 1, "hd95": 1}, seed)
    one["config"] |= {"iterations": steps, "learning_rate": rate, "schedule": schedule}
    return one


def test_dice_over_steps_has_a_panel_a_rate_and_goes_through_the_means_of_seeds():
    records = [
        trained("supervised", 60, 100, 0.05),
        trained("supervised", 70, 400, 0.05),
        trained("supervised", 74, 400, 0.05, seed=1),
        trained("supervised", 75, 3000, 0.01, "step"),
        trained("dual", 20, 400, 0.05),
        trained("dual", 80, 3000, 0.01, "step"),
        trained("once", 99, 400, 0.05),
    ]
    figure = plot_over_steps(records)
    fast, slow = figure.axes
    assert fast.get_title().startswith("rate 0.05") and slow.get_title().startswith("rate 0.01")
    assert [tick.get_text() for tick in fast.get_xticklabels()] == ["100", "400"]
    assert [line[:, 1].tolist() for line in lines(fast, "means")] == [[60, 72], [20]]
    assert sorted(y for line in lines(fast, "runs") for y in line[:, 1]) == [20, 60, 70, 74]
    assert [line[:, 1].tolist() for line in lines(slow, "means")] == [[75], [80]]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["supervised", "dual"]
    more = [trained("supervised", 71, 400, 0.02), trained("dual", 50, 400, 0.02)]
    over_steps, over_rates, _ = plot_over_steps(records + more).axes
    assert "over steps" in over_steps.get_title() and "400 steps" in over_rates.get_title()
    assert [tick.get_text() for tick in over_rates.get_xticklabels()] == ["0.02", "0.05"]
    assert [line[:, 1].tolist() for line in lines(over_rates, "means")] == [[71, 72], [50, 20]]
    with pytest.raises(ValueError, match="trained in two ways"):
        plot_over_steps(records[-1:])


def test_methods_whose_presets_have_the_same_name_are_two_lines():
    both = [trained(m, 70, n, 0.05) for m in ("dual", "cpcl") for n in (100, 400)]
    for one in both:
        one["config"] |= {"preset": "paper", "dataset": "la"}
    names = [text.get_text() for text in plot_over_steps(both).legends[0].get_texts()]
    assert names == ["paper", "cpcl, paper"]
    ticks = plot_comparison(both).axes[-1].get_xticklabels()
    assert [tick.get_text().split("\nseed")[0] for tick in ticks[1:3]] == ["paper", "cpcl\npaper"]


# --- Colours


def test_roles_differ_in_line_or_clearly_in_gray():
    def luminance(style: dict) -> float:
        return float(np.dot(to_rgb(style["color"]), (0.2126, 0.7152, 0.0722)))

    roles = {name: style for name, style in ROLES.items() if name != "dual"}  # the same as "mean"
    for (name, one), (other, two) in combinations(roles.items(), 2):
        assert one["color"] != two["color"]
        apart = abs(luminance(one) - luminance(two)) > 0.1
        assert apart or (one["ls"], one["lw"]) != (two["ls"], two["lw"]), (name, other)
    assert ROLES["dual"] == ROLES["mean"]


def test_names_without_a_role_get_colours_and_lines_that_are_free():
    look = styles(["truth", "disagreement", "ours", "theirs", "disagreement", "ours"])
    assert list(look) == ["truth", "disagreement", "ours", "theirs"]
    assert look["disagreement"] == ROLES["disagreement"]
    assert len({style["color"] for style in look.values()}) == 4
    assert look["ours"]["ls"] != look["theirs"]["ls"]
    assert look["ours"]["color"] in style.OKABE_ITO
    assert len(styles([*ROLES, *(f"method {i}" for i in range(20))])) == len(ROLES) + 20


# --- Files


def test_save_writes_the_alternative_text_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "folder" / "curve.png"
    alt = "Loss falls from 1.2 to 0.1; Dice 85 ± 2 %, A → B."
    save(plot_curves([{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}], ["loss"]), path, alt)
    with Image.open(path) as picture:
        assert picture.text["Description"] == alt
        assert picture.format == "PNG"
        assert picture.width == pytest.approx(1600, abs=1)
    assert [file.name for file in path.parent.iterdir()] == ["curve.png"]


@pytest.mark.parametrize("alt", ["", "  \n"])
def test_save_refuses_an_empty_alternative_text(tmp_path, alt):
    with pytest.raises(ValueError, match="alternative text"):
        save(Figure(), tmp_path / "a.png", alt)
    with pytest.raises(ValueError, match=r"\.png path"):
        save(Figure(), tmp_path / "a.jpg", "A picture.")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_keeps_the_old_picture_and_leaves_no_rest(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(DualsegError, match="disk full"):
        save(Figure(), path, "A picture.")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_a_large_picture_gets_fewer_colours_but_stays_wide_and_coloured(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).normal(size=(200, 200, 4))
    truth = box(noise.shape, (50, 50, 1), (150, 150, 3))
    figure = plot_cases([CasePicture("a", noise, truth, {"A": truth})], columns=["axial"])
    path = tmp_path / "a.png"
    save(figure, path, "Noise.")
    full = path.stat().st_size
    monkeypatch.setattr(style, "MAX_BYTES", int(0.7 * full))
    save(figure, path, "Noise.")
    assert path.stat().st_size < 0.7 * full < full < 600_000
    with Image.open(path) as picture:
        assert picture.width == pytest.approx(1400, abs=1)
        assert picture.text["Description"] == "Noise."
        seen = np.array(picture.convert("RGB")).reshape(-1, 3) / 255
        # The prediction's blue is still there, though nearly all of the picture is gray.
        assert np.abs(seen - to_rgb(ROLES["A"]["color"])).max(axis=1).min() < 0.05


def test_figures_are_unknown_to_pyplot_and_change_no_setting():
    import matplotlib as mpl
    from matplotlib import pyplot

    mpl.use("agg")  # else the first figure picks a backend, which is a setting, too
    before = mpl.rcParams.copy()
    plot_cases([CasePicture("a", np.zeros((4, 4, 4)))])
    plot_surfaces({"truth": np.ones((4, 4, 4))})
    assert pyplot.get_fignums() == []
    assert mpl.rcParams == before
