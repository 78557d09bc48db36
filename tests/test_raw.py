"""Raw files of the three data sets, in their true layouts: aligned, as published, or refused."""

import json
import shutil
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from rawdata import CODES, LANDMARK, SHAPE, SPACING, save_as, save_dicom, save_nrrd, volumes

from dualseg.cli.main import main
from dualseg.config.experiment import Experiment
from dualseg.data.dataset import open_dataset
from dualseg.data.known import DATASETS, prepare, protocols, published_lists
from dualseg.data.preparation.inspect import check
from dualseg.data.recipe import Recipe
from dualseg.errors import DualsegError
from dualseg.evaluation.evaluate import evaluate
from dualseg.evaluation.saved_masks import load_masks
from dualseg.training.loop import fit

pytestmark = pytest.mark.usefixtures("no_pictures")
PLAIN = Recipe(values=(1, 2))  # nothing but the orientation


def ct(seed: int = 0) -> np.ndarray:
    """Whole Hounsfield units: air, body, organ, and a landmark within the window."""
    image, label = volumes(seed)
    units = np.where(label > 0, 110, np.round(100 * image)).astype(np.float32)
    units[:, :2] = -1000
    units[LANDMARK] = 239
    return units


def arrays(root: Path, case_id: str) -> tuple[np.ndarray, np.ndarray]:
    with h5py.File(root / "cases" / f"{case_id}.h5") as file:
        return file["image"][:], file["label"][:]


def lists(folder: Path, train: list[str], test: list[str]) -> dict[str, Path]:
    """Files with ids, as arguments of `prepare`."""
    for name, ids in (("train", train), ("test", test)):
        (folder / f"{name}.txt").write_text("\n".join(ids))
    return {"train_list": folder / "train.txt", "test_list": folder / "test.txt"}


def make_la(folder: Path, cases: int = 4) -> list[str]:
    for i in range(cases):
        image, label = volumes(i)
        save_nrrd(folder / f"CASE{i}" / "lgemri.nrrd", image, CODES[i])
        save_nrrd(folder / f"CASE{i}" / "laendo.nrrd", 255 * np.uint8(label > 0), CODES[-i])
    return [f"CASE{i}" for i in range(cases)]


def make_pancreas(folder: Path, cases: int = 4) -> list[str]:
    for i in range(1, cases + 1):
        save_dicom(folder / "images" / f"PANCREAS_{i:04d}" / "1.2" / "3.4", ct(i), "LPS")
        save_as(folder / "labels" / f"label{i:04d}.nii.gz", np.uint8(volumes()[1] > 0), "RPI")
    return [f"PANCREAS_{i:04d}" for i in range(1, cases + 1)]


def make_brats(folder: Path, cases: int = 4) -> list[str]:
    names = [f"BraTS19_X{i}_1" for i in range(cases)]
    for i, name in enumerate(names):
        image, label = volumes(i)
        place = folder / ("HGG" if i % 2 else "LGG") / name
        brain = np.zeros(SHAPE, np.float32)
        brain[1:-2, 2:-1, 1:-1] = 100 + image[1:-2, 2:-1, 1:-1]
        for k, modality in enumerate(("flair", "t1", "t1ce", "t2")):
            values = brain * (k + 1)
            save_as(place / f"{name}_{modality}.nii.gz", values, CODES[k + 4 * i])
        save_as(place / f"{name}_seg.nii.gz", np.where(label == 2, 4, label), CODES[40 - i])
    return names


# Alignment.


def test_la_landmark_is_found_in_all_48_orientations(tmp_path):
    image, label = volumes()
    for i, code in enumerate(CODES):
        save_nrrd(tmp_path / "raw" / code / "lgemri.nrrd", image, code)
        save_nrrd(tmp_path / "raw" / code / "laendo.nrrd", label, CODES[i - 7])
    how = lists(tmp_path, CODES[:40], CODES[40:])
    prepare("la", tmp_path / "raw", None, tmp_path / "out", PLAIN, **how)
    expected_image, expected_label = image[::-1, ::-1], label[::-1, ::-1]  # RAS to LPS
    for code in CODES:
        got_image, got_label = arrays(tmp_path / "out", code)
        np.testing.assert_array_equal(got_image, expected_image)
        np.testing.assert_array_equal(got_label, expected_label)
    assert open_dataset(str(tmp_path / "out")).spacing("RAS") == SPACING


@pytest.mark.slow
def test_dicom_landmark_is_found_in_ten_orientations(tmp_path):
    """At least one of each order of the axes, and of each choice of directions."""
    units, label = ct(), volumes()[1]
    ids = [f"PANCREAS_{i:04d}" for i in range(1, 11)]
    for i, code in enumerate(CODES[::5]):
        save_dicom(tmp_path / "images" / ids[i] / "series", units, code)
        save_as(tmp_path / "labels" / f"label{i + 1:04d}.nii", label, CODES[5 * i - 11])
    how = lists(tmp_path, ids[:8], ids[8:])
    prepare("pancreas", tmp_path / "images", tmp_path / "labels", tmp_path / "out", PLAIN, **how)
    for case in ids:
        got_image, got_label = arrays(tmp_path / "out", case)
        np.testing.assert_array_equal(got_image, units)
        np.testing.assert_array_equal(got_label, label)
        assert got_image[LANDMARK] == 239


def test_brats_landmark_is_found_in_ten_orientations(tmp_path):
    """Its reader is that of any NIfTI file, which test_prepare.py tries in all 48."""
    image, label = volumes()
    codes = CODES[::5]
    for i, code in enumerate(codes):
        save_as(tmp_path / "raw" / f"{code}_flair.nii", image, code)
        save_as(tmp_path / "raw" / f"{code}_t2.nii", 2 * image, CODES[5 * i - 5])
        save_as(tmp_path / "raw" / f"{code}_seg.nii", label, CODES[5 * i - 11])
    how = lists(tmp_path, codes[:8], codes[8:])
    prepare(
        "brats2019",
        tmp_path / "raw",
        None,
        tmp_path / "out",
        PLAIN,
        modalities=("t2", "flair"),
        **how,
    )
    for code in codes:
        got_image, got_label = arrays(tmp_path / "out", code)
        np.testing.assert_array_equal(got_image, np.stack([2 * image, image]))
        np.testing.assert_array_equal(got_label, label)


def test_an_oblique_series_stays_with_its_label(tmp_path):
    angle = np.radians(15)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = turn @ np.diag([*SPACING, 1.0])
    affine[:3, 3] = (-80, 30, 12)
    for i in (1, 2):
        save_dicom(tmp_path / "images" / f"PANCREAS_{i:04d}", ct(i), "LAS", affine)
        save_as(tmp_path / "labels" / f"label{i:04d}.nii", volumes()[1], "SRP", affine)
    how = lists(tmp_path, ["PANCREAS_0001"], ["PANCREAS_0002"])
    prepare("pancreas", tmp_path / "images", tmp_path / "labels", tmp_path / "out", PLAIN, **how)
    image, label = arrays(tmp_path / "out", "PANCREAS_0002")
    np.testing.assert_array_equal(image, ct(2))
    np.testing.assert_array_equal(label, volumes()[1])


# The published recipes, step by step.


def la_by_hand(folder: Path, **changes) -> tuple[np.ndarray, np.ndarray, dict]:
    """A scan whose voxels are half 1 and half 3: mean 2, standard deviation 1."""
    image = np.ones((40, 30, 4), np.float32)
    image[:10], image[30:] = 3, 3
    label = np.zeros(image.shape, np.uint8)
    label[15:25, 1:6, 1:3] = 255
    label[30:32, 20:22] = 128  # another structure
    for name in ("a", "b"):
        save_nrrd(folder / "raw" / name / "lgemri.nrrd", image, "LPS")
        save_nrrd(folder / "raw" / name / "laendo.nrrd", label, "LPS")
    settings = {"margin": (2, 2), "size": (12, 1, 1), **changes}
    recipe = Recipe.of({**DATASETS["la"].usual_recipe.of_arrays(), **settings})
    remarks = prepare(
        "la", folder / "raw", None, folder / "out", recipe, **lists(folder, ["a"], ["b"])
    )
    assert "the label values 128 are not among --values" in remarks[0]
    manifest = json.loads((folder / "out" / "manifest.json").read_text(encoding="utf-8"))
    # save_nrrd turns RAS arrays, so along LPS these are as they were written here, turned twice.
    return *arrays(folder / "out", "a"), manifest["cases"]["a"]


def test_la_recipe_by_hand(tmp_path):
    image, label, record = la_by_hand(tmp_path)
    # In LPS axis 0 and 1 are flipped: the label is at 15..24 (of 40) and 24..28 (of 30).
    # x: 10 wide, widened by 1 on each side to 12, and 2 voxels of margin: 12..27.
    # y: 5 wide, 2 voxels of margin: 22..30, cut at the scan's end 30. z: as it is.
    assert record["box"] == [[12, 28], [22, 30], [0, 4]]
    assert image.shape == label.shape == (16, 8, 4)
    # z-score of the whole scan: (1 - 2) / 1. The crop holds ones only, so its mean is -1, not 0.
    assert (image == -1).all()
    assert label.sum() == 10 * 5 * 2
    assert (np.argwhere(label).min(0) == (3, 2, 1)).all()
    assert record["label_voxels_cut_off"] == 0


def test_the_other_order_gives_another_mean(tmp_path):
    """Statistics of the crop: the constant crop becomes 0; published crops have no mean 0."""
    image, _, _ = la_by_hand(tmp_path, statistics="crop")
    assert (image == 0).all()


def test_la_margins_are_drawn_between_10_and_19_with_a_seed(tmp_path):
    image = np.random.default_rng(0).normal(size=(200, 160, 3)).astype(np.float32)
    label = np.zeros(image.shape, np.uint8)
    label[40:160, 20:140, 1] = 255  # 120 wide, more than 112: nothing to widen
    for name in "abcdefgh":
        save_nrrd(tmp_path / "raw" / name / "lgemri.nrrd", image, "RAS")
        save_nrrd(tmp_path / "raw" / name / "laendo.nrrd", label, "RAS")
    how = lists(tmp_path, list("abcdef"), list("gh"))
    margins = []
    for seed, out in ((0, "out0"), (0, "again"), (1, "out1")):
        recipe = Recipe.of({**DATASETS["la"].usual_recipe.of_arrays(), "seed": seed})
        prepare("la", tmp_path / "raw", None, tmp_path / out, recipe, **how)
        cases = json.loads((tmp_path / out / "manifest.json").read_text(encoding="utf-8"))["cases"]
        boxes = np.array([record["box"] for record in cases.values()])
        assert (boxes[:, 2] == (0, 3)).all()
        # In LPS: x 40..159 of 200 stays, y 20..139 of 160 stays.
        below = boxes[:, :2, 0] - (40, 20)
        above = boxes[:, :2, 1] - (160, 140)
        margins.append(np.concatenate([-below.ravel(), above.ravel()]))
    assert margins[0].min() >= 10
    assert margins[0].max() <= 19
    assert len(set(margins[0].tolist())) > 5
    assert (margins[0] == margins[1]).all()
    assert (margins[0] != margins[2]).any()


def test_la_by_a_recipe_of_ones_own_opens(tmp_path):
    """Without label values, all but 0 are one foreground: a class that has a name."""
    make_la(tmp_path / "raw")
    how = lists(tmp_path, ["CASE0", "CASE1"], ["CASE2"])
    prepare("la", tmp_path / "raw", None, tmp_path / "out", Recipe(), **how)
    assert open_dataset(str(tmp_path / "out")).spec.classes == ("background", "foreground")


def test_la_full_z_score_is_of_the_scan(tmp_path):
    make_la(tmp_path / "raw")
    how = lists(tmp_path, ["CASE0", "CASE1"], ["CASE2"])
    prepare("la", tmp_path / "raw", None, tmp_path / "out", **how)
    scan = volumes(1)[0].astype(np.float64)
    whole = ((scan - scan.mean()) / scan.std())[::-1, ::-1]
    image, _ = arrays(tmp_path / "out", "CASE1")
    record = open_dataset(str(tmp_path / "out")).source.records["CASE1"]
    box = tuple(slice(*side) for side in record["box"])
    np.testing.assert_allclose(image, whole[box], atol=1e-5)
    assert "CASE3" not in open_dataset(str(tmp_path / "out")).source.records  # in no list


def test_pancreas_recipe_window_and_margin(tmp_path):
    ids = make_pancreas(tmp_path, 2)
    usual = DATASETS["pancreas"].usual_recipe
    recipe = Recipe.of({**usual.of_arrays(), "margin": (3, 3), "size": (1, 1, 1)})
    how = lists(tmp_path, ids[:1], ids[1:])
    prepare("pancreas", tmp_path / "images", tmp_path / "labels", tmp_path / "out", recipe, **how)
    image, label = arrays(tmp_path / "out", ids[0])
    units = np.clip(ct(1), -120, 240)
    box = (slice(0, 12), slice(9, 23), slice(0, 13))  # the label is at 2..8, 12..19, 3..9
    np.testing.assert_allclose(image, ((units + 120) / 360)[box], atol=1e-6)
    np.testing.assert_array_equal(label, (volumes()[1] > 0)[box])
    assert (usual.window, usual.margin, usual.size) == ((-120, 240), (25, 25), (96, 96, 96))


def test_brats_recipe_crops_to_the_brain_and_normalises_it(tmp_path):
    ids = make_brats(tmp_path / "raw", 2)
    how = lists(tmp_path, ids[:1], ids[1:])
    prepare("brats2019", tmp_path / "raw", None, tmp_path / "out", **how)
    image, label = arrays(tmp_path / "out", ids[0])
    brain = (100 + volumes(0)[0][1:-2, 2:-1, 1:-1]).astype(np.float64)
    clipped = np.minimum(brain, np.percentile(brain, 99.9))
    np.testing.assert_allclose(image, (clipped - clipped.mean()) / clipped.std(), atol=1e-3)
    np.testing.assert_array_equal(label, (volumes(0)[1] > 0)[1:-2, 2:-1, 1:-1])


def test_a_crop_that_does_not_see_the_label(tmp_path):
    ids = make_la(tmp_path / "raw")
    how = lists(tmp_path, ids[:3], ids[3:])
    usual = DATASETS["la"].usual_recipe
    recipe = Recipe.of({**usual.of_arrays(), "crop": "centre", "size": (10, 12, 1)})
    remarks = prepare("la", tmp_path / "raw", None, tmp_path / "out", recipe, **how)
    record = open_dataset(str(tmp_path / "out")).source.records["CASE0"]
    assert record["box"] == [[5, 15], [6, 18], [0, 18]]
    inside = (volumes()[1] > 0)[::-1, ::-1][5:15, 6:18].sum()
    assert record["label_voxels_cut_off"] == (volumes()[1] > 0).sum() - inside > 0
    assert "the crop cut off a part of the label in 4 cases" in remarks[-1]


# Lists.


def test_published_lists_have_the_published_sizes():
    sizes = {n: tuple(len(ids) for ids in published_lists(n)) for n in protocols()}
    assert sizes == {
        "phantom": (40, 10),
        "la": (80, 20),
        "pancreas/mcf0": (62, 20),
        "pancreas/mcf1": (62, 20),
        "pancreas/mcf2": (61, 21),
        "pancreas/mcf3": (61, 21),
        "pancreas/mcnet": (62, 20),
        "pancreas/coranet": (62, 18),
        "brats2019": (275, 60),
    }
    for name in protocols():
        train, test = published_lists(name)
        assert len({*train, *test}) == len(train) + len(test), name
    folds = [set(published_lists(f"pancreas/mcf{k}")[1]) for k in range(4)]
    assert len(set.union(*folds)) == 82
    assert not {"PANCREAS_0025", "PANCREAS_0070"} & {
        *published_lists("pancreas/coranet")[0],
        *published_lists("pancreas/coranet")[1],
    }
    assert published_lists("brats2019")[0][:2] == ("BraTS19_TCIA02_370_1", "BraTS19_CBICA_ASA_1")
    assert list(DATASETS["brats2019"].lists) == ["brats2019"]


def fake_pancreas(folder: Path, withdrawn: bool) -> None:
    """All cases, tiny; with or without the two that were withdrawn."""
    label = np.zeros((6, 6, 6), np.uint8)
    label[2:4, 2:4, 2:4] = 1
    rng = np.random.default_rng(0)
    for i in range(1, 83):
        if withdrawn or i not in (25, 70):
            image = rng.normal(50, 40, label.shape).astype(np.float32)
            save_as(folder / "images" / f"image{i:04d}.nii", image)
            save_as(folder / "labels" / f"label{i:04d}.nii", label)


@pytest.mark.parametrize(("withdrawn", "name"), [(True, "mcf0"), (False, "coranet")])
def test_pancreas_takes_the_lists_that_fit_the_files(tmp_path, withdrawn, name):
    fake_pancreas(tmp_path, withdrawn)
    folders = tmp_path / "images", tmp_path / "labels", tmp_path / "out"
    prepare("pancreas", *folders)
    data = open_dataset(str(tmp_path / "out"))
    assert (data.train, data.test) == published_lists(f"pancreas/{name}")
    assert data.lists == f"pancreas/{name}"
    assert data.spec.labeled == 6
    if withdrawn:
        prepare("pancreas", *folders, lists="mcnet")
        data = open_dataset(str(tmp_path / "out"))
        assert (data.train, data.test) == published_lists("pancreas/mcnet")
    else:
        with pytest.raises(DualsegError, match=r"'pancreas/mcf2'.*found no 'PANCREAS_00(25|70)'"):
            prepare("pancreas", *folders, lists="mcf2")


@pytest.mark.slow
def test_brats_holds_out_its_validation_list(tmp_path):
    train, test = published_lists("brats2019")
    label = np.zeros((4, 4, 4), np.uint8)
    label[1, 1, 1] = 2
    rng = np.random.default_rng(0)
    for name in train + test:
        image = rng.uniform(1, 2, label.shape).astype(np.float32)
        save_as(tmp_path / "raw" / f"{name}_flair.nii", image)
        save_as(tmp_path / "raw" / f"{name}_seg.nii", label)
    prepare("brats2019", tmp_path / "raw", None, tmp_path / "out")
    experiment = Experiment(str(tmp_path / "out"), "full")
    assert (experiment.labeled, experiment.validation) == (25, 25)
    assert (experiment.train.iterations, experiment.settings.gamma) == (20000, 30)
    split = open_dataset(str(tmp_path / "out")).split(25, 25)
    assert (len(split.unlabeled), len(split.validation), len(split.test)) == (225, 25, 60)
    assert split.validation[0] == "BraTS19_CBICA_AAP_1"


# Trained on, measured, predicted with.


@pytest.mark.slow
def test_la_from_raw_trains_and_predicts(tmp_path):
    ids = make_la(tmp_path / "raw")
    how = lists(tmp_path, ids[:3], ids[3:])
    prepare("la", tmp_path / "raw", None, tmp_path / "out", **how)
    assert check(str(tmp_path / "out"))[1] == []
    experiment = Experiment(str(tmp_path / "out"), "smoke", labeled=2, iterations=2)
    assert experiment.dataset == "la"
    record = evaluate(fit(experiment, tmp_path / "run").folder)
    assert [case["id"] for case in record["cases"]] == ["CASE3"]
    assert record["data"]["spec"]["recipe"]["crop"] == "label"


def test_prediction_windows_a_ct_as_the_preparation_did(tmp_path):
    ids = make_pancreas(tmp_path)
    how = lists(tmp_path, ids[:3], ids[3:])
    prepare("pancreas", tmp_path / "images", tmp_path / "labels", tmp_path / "out", **how)
    experiment = Experiment(str(tmp_path / "out"), "smoke", labeled=2, iterations=6)
    run = fit(experiment, tmp_path / "run").folder
    units = ct(4)
    metal = np.where(units > 200, 3000, np.where(units < -900, -2048, units))
    units[LANDMARK] = 240  # the window's end
    probabilities = []
    save_dicom(tmp_path / "series", units)
    dicom = f"predict {run} {tmp_path / 'series'} --out {tmp_path / 'dicom.nii'}"
    assert main(dicom.split()) == 0
    for name, values in (("plain", units), ("metal", metal), ("scaled", units * 0.5)):
        save_as(tmp_path / f"{name}.nii", values.astype(np.float32))
        out = tmp_path / f"{name}_mask.nii"
        command = f"predict {run} {tmp_path / name}.nii --out {out} --probabilities"
        assert main(command.split()) == 0
        probabilities.append(nib.load(tmp_path / f"{name}_mask_probability.nii").get_fdata())
    np.testing.assert_array_equal(probabilities[0], probabilities[1])
    same = (nib.load(tmp_path / name).get_fdata() for name in ("dicom.nii", "plain_mask.nii"))
    np.testing.assert_array_equal(*(np.asarray(mask) for mask in same))
    assert (probabilities[0] != probabilities[2]).any()  # the window is of Hounsfield units


@pytest.mark.pictures
@pytest.mark.slow
def test_four_modalities_from_raw_to_prediction(tmp_path):
    ids = make_brats(tmp_path / "raw")
    how = lists(tmp_path, ids[:3], ids[3:])
    every = ("flair", "t1", "t1ce", "t2")
    prepare("brats2019", tmp_path / "raw", None, tmp_path / "out", modalities=every, **how)
    assert check(str(tmp_path / "out"))[1] == []
    with pytest.raises(DualsegError, match=r"prepared otherwise \(modalities .*t1ce.*--out"):
        prepare("brats2019", tmp_path / "raw", None, tmp_path / "out", **how)
    experiment = Experiment(str(tmp_path / "out"), "smoke", labeled=2, iterations=2)
    run = fit(experiment, tmp_path / "run")
    first = next(p for n, p in run.load_method("cpu").named_parameters() if p.ndim == 5)
    assert first.shape[1] == 4
    evaluate(run.folder)
    folder = tmp_path / "raw" / "HGG" / ids[3]
    # They lie in four orientations; brought to one, as registered modalities are.
    scans = []
    for modality in every:
        scan = nib.as_closest_canonical(nib.load(folder / f"{ids[3]}_{modality}.nii.gz"))
        scans.append(tmp_path / f"{modality}.nii")
        nib.save(nib.Nifti1Image(scan.get_fdata(dtype=np.float32), scan.affine), scans[-1])
    command = ["predict", str(run.folder), *map(str, scans), "--out", str(tmp_path / "mask.nii")]
    assert main([*command, "--picture", str(tmp_path / "mask.png")]) == 0
    assert nib.load(tmp_path / "mask.nii").shape == SHAPE

    # More air around the brain changes nothing: the scan is cropped to the brain as in training.
    wide = []
    for path in scans:
        values = np.pad(nib.load(path).get_fdata(dtype=np.float32), [(5, 3), (0, 4), (2, 0)])
        wide.append(path.with_name(f"wide_{path.name}"))
        nib.save(nib.Nifti1Image(values, nib.load(path).affine), wide[-1])
    command[2:6] = map(str, wide)
    command[-1] = str(tmp_path / "wide_mask.nii")
    assert main(command) == 0
    mask = nib.load(tmp_path / "mask.nii").get_fdata()
    np.testing.assert_array_equal(
        nib.load(tmp_path / "wide_mask.nii").get_fdata(), np.pad(mask, [(5, 3), (0, 4), (2, 0)])
    )


def test_wrong_modalities_are_refused_by_predict(tmp_path, capsys):
    ids = make_brats(tmp_path / "raw")
    how = lists(tmp_path, ids[:3], ids[3:])
    prepare(
        "brats2019", tmp_path / "raw", None, tmp_path / "out", modalities=("flair", "t2"), **how
    )
    experiment = Experiment(str(tmp_path / "out"), "smoke", labeled=2, iterations=2)
    run = str(fit(experiment, tmp_path / "run").folder)
    one, other = tmp_path / "a.nii", tmp_path / "b.nii"
    save_as(one, volumes()[0])
    save_as(other, volumes()[0][1:])
    mask = ["--out", str(tmp_path / "mask.nii")]
    assert main(["predict", run, str(one), *mask]) == 1
    expected = "expected 2 scans, as this run was trained with (flair, t2, in this order), found 1"
    assert expected in capsys.readouterr().err
    assert main(["predict", run, str(one), str(other), *mask]) == 1
    assert "b.nii: expected the (20, 24, 18) voxels of its image a.nii" in capsys.readouterr().err
    assert not (tmp_path / "mask.nii").exists()
    swapped = tmp_path / "x_t2.nii", tmp_path / "x_flair.nii"
    for path in swapped:
        save_as(path, volumes()[0])
    assert main(["predict", run, *map(str, swapped), *mask]) == 0
    assert (
        "x_t2.nii stands in the place of flair; the order is flair, t2" in capsys.readouterr().err
    )


@pytest.mark.pictures
@pytest.mark.slow
def test_classes_are_measured_one_by_one(tmp_path, capsys):
    ids = make_brats(tmp_path / "raw")
    how = lists(tmp_path, ids[:3], ids[3:])
    recipe = Recipe.of({**DATASETS["brats2019"].usual_recipe.of_arrays(), "values": (1, 4)})
    prepare("brats2019", tmp_path / "raw", None, tmp_path / "out", recipe, **how)
    experiment = Experiment(str(tmp_path / "out"), "smoke", labeled=2, iterations=2)
    run = fit(experiment, tmp_path / "run")
    assert main(["evaluate", str(run.folder)]) == 0
    assert "class value 4: Dice" in capsys.readouterr().out
    record = json.loads(run.record_path().read_text(encoding="utf-8"))
    assert list(record["classes"]) == ["value 1", "value 4"]
    truth = arrays(tmp_path / "out", ids[3])[1]
    mask = load_masks(run.folder / "predictions" / "test" / f"{ids[3]}.npz").masks["mean"]
    assert mask.max() > 0, "else this test could not fail"
    for number, name in enumerate(("value 1", "value 4"), start=1):
        a, b = mask == number, truth == number
        by_hand = 200 * (a & b).sum() / (a.sum() + b.sum())
        assert record["classes"][name]["mean"]["dice"] == pytest.approx(by_hand)


# What `check` finds.


def prepared_la(tmp_path: Path) -> Path:
    ids = make_la(tmp_path / "raw")
    prepare("la", tmp_path / "raw", None, tmp_path / "out", **lists(tmp_path, ids[:3], ids[3:]))
    return tmp_path / "out"


def test_check_finds_a_label_in_the_air(tmp_path):
    ids = make_pancreas(tmp_path)
    away = np.zeros(SHAPE, np.uint8)
    away[3:8, 0:3, 3:8] = 1  # two thirds of it where the CT is air
    save_as(tmp_path / "labels" / "label0002.nii.gz", away)
    how = lists(tmp_path, ids[:3], ids[3:])
    prepare("pancreas", tmp_path / "images", tmp_path / "labels", tmp_path / "out", **how)
    problems = [p for p in check(str(tmp_path / "out"))[1] if "inside the body" in p]
    assert len(problems) == 1
    assert "PANCREAS_0002: expected the label inside the body, found 67 %" in problems[0]


def test_check_finds_a_twin_that_is_not_quite_the_same(tmp_path):
    ids = make_pancreas(tmp_path)
    shutil.rmtree(tmp_path / "images" / ids[3])
    twin = np.roll(ct(1), 1, axis=0)  # the same patient, cut otherwise
    save_dicom(tmp_path / "images" / ids[3], np.where(twin > 100, twin - 1, twin))
    how = lists(tmp_path, ids[:3], ids[3:])
    smooth = Recipe.of({**PLAIN.of_arrays(), "values": (1,)})
    prepare("pancreas", tmp_path / "images", tmp_path / "labels", tmp_path / "out", smooth, **how)
    problems = check(str(tmp_path / "out"))[1]
    assert any("PANCREAS_0001 and PANCREAS_0004: expected two patients" in p for p in problems)


def test_check_finds_an_id_in_two_lists(tmp_path, capsys):
    out = prepared_la(tmp_path)
    with (out / "test.list").open("a") as file:
        file.write("CASE1\n")
    assert main(["data", "check", str(out)]) == 1
    assert "case CASE1 stands twice in the lists" in capsys.readouterr().err


def test_names_of_the_data_sets_need_a_prepared_folder(tmp_path):
    with pytest.raises(DualsegError, match=r"manifest.json: expected the manifest of a prepared"):
        open_dataset("pancreas", tmp_path)
    with pytest.raises(DualsegError, match=r"root: the data set 'brats2019' needs the folder"):
        open_dataset("brats2019")


# Bad input: the data set, what is done to the raw files, the sentence, other arguments.


def _slices(folder: Path) -> list[Path]:
    return sorted((folder / "images" / "PANCREAS_0002").rglob("*.dcm"))


def second_series(folder: Path) -> None:
    place = _slices(folder)[0].parent
    save_dicom(folder / "other", ct(3)[:, :, :5], "LPS")
    for i, path in enumerate(sorted((folder / "other").iterdir())):
        import SimpleITK as sitk

        image = sitk.ReadImage(str(path))
        for key in image.GetMetaDataKeys():
            image.SetMetaData(key, image.GetMetaData(key))
        image.SetMetaData("0020|000e", "1.2.826.0.1.3680043.2.1125.99")
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(place / f"other{i}.dcm"))
        writer.Execute(image)


def empty_label(path: Path, save=save_as) -> None:
    save(path, np.zeros(SHAPE, np.uint8))


BAD = {
    "la: no folder": ("la", shutil.rmtree, r"raw: expected a folder"),
    "la: nothing there": (
        "la",
        lambda r: [shutil.rmtree(r / f"CASE{i}") for i in range(4)],
        r"raw: expected <case>/lgemri.nrrd",
    ),
    "la: no mask": (
        "la",
        lambda r: (r / "CASE1" / "laendo.nrrd").unlink(),
        r"lgemri.nrrd: expected a file of the same case CASE1",
    ),
    "la: a case twice": (
        "la",
        lambda r: shutil.copytree(r / "CASE1", r / "copy" / "CASE1"),
        r"CASE1.lgemri.nrrd: has the same name as",
    ),
    "la: truncated": (
        "la",
        lambda r: (r / "CASE2" / "lgemri.nrrd").write_bytes(
            (r / "CASE2" / "lgemri.nrrd").read_bytes()[:400]
        ),
        r"CASE2.lgemri.nrrd: expected a readable NRRD",
    ),
    "la: no NRRD": (
        "la",
        lambda r: (r / "CASE2" / "lgemri.nrrd").write_text("hello"),
        r"CASE2.lgemri.nrrd: expected a readable NRRD",
    ),
    "la: NaN": (
        "la",
        lambda r: save_nrrd(r / "CASE2" / "lgemri.nrrd", np.full(SHAPE, np.nan, np.float32)),
        r"CASE2.lgemri.nrrd: expected finite intensities, found 8640",
    ),
    "la: mask of another size": (
        "la",
        lambda r: save_nrrd(r / "CASE2" / "laendo.nrrd", volumes()[1][1:]),
        r"CASE2.laendo.nrrd: expected the \(20, 24, 18\) voxels",
    ),
    "la: mask elsewhere": (
        "la",
        lambda r: save_nrrd(
            r / "CASE2" / "laendo.nrrd", 255 * volumes()[1], "RAS", np.diag([1.2, 1, 2, 1])
        ),
        r"CASE2.laendo.nrrd: expected to lie where its image lgemri.nrrd lies, .* 8.5 mm",
    ),
    "la: mask without 255": (
        "la",
        lambda r: [
            save_nrrd(r / f"CASE{i}" / "laendo.nrrd", np.uint8(volumes()[1] > 0), CODES[-i])
            for i in range(4)
        ],
        r"laendo.nrrd: expected a voxel of the value 255 \(--values\) .* found only 1; give",
    ),
    "la: no published case": ("la", None, r"published lists 'la' .* found no '06SR", {}),
    "pancreas: nothing there": (
        "pancreas",
        lambda r: shutil.rmtree(r / "images") or (r / "images").mkdir(),
        r"images: expected PANCREAS_0001 and so on",
    ),
    "pancreas: a name without number": (
        "pancreas",
        lambda r: (r / "images" / "PANCREAS_0002").rename(r / "images" / "second"),
        r"expected a name that ends in the case's four digits",
    ),
    "pancreas: no label": (
        "pancreas",
        lambda r: (r / "labels" / "label0003.nii.gz").unlink(),
        r"expected a file of the same case 0003 in .*labels, found none",
    ),
    "pancreas: a slice is missing": (
        "pancreas",
        lambda r: _slices(r)[9].unlink(),
        r"expected slices at equal distances, found 3.00 mm instead of 1.50 mm",
    ),
    "pancreas: the last slice is missing": (
        "pancreas",
        lambda r: next(p for p in _slices(r) if p.name.endswith("-17.dcm")).unlink(),
        r"label0002.nii.gz: expected the \(20, 24, 17\) voxels of its image",
    ),
    "pancreas: a damaged slice": (
        "pancreas",
        lambda r: [p.write_bytes(p.read_bytes()[:700]) for p in _slices(r)[:1]],
        r"00-0.dcm: expected a whole DICOM image, found a damaged header; get it again",
    ),
    "pancreas: two series in a folder": (
        "pancreas",
        second_series,
        r"expected the files of one DICOM series, found 2 series",
    ),
    "pancreas: two folders of a case": (
        "pancreas",
        lambda r: shutil.copytree(_slices(r)[0].parent, r / "images" / "PANCREAS_0002" / "another"),
        r"has the same name as",
    ),
    "pancreas: an empty label": (
        "pancreas",
        lambda r: empty_label(r / "labels" / "label0003.nii.gz"),
        r"label0003.nii.gz: expected a labeled voxel to crop around",
    ),
    "brats: nothing there": (
        "brats2019",
        lambda r: [shutil.rmtree(r / g) for g in ("HGG", "LGG")],
        r"raw: expected <case>_flair.nii.gz files",
    ),
    "brats: no mask": (
        "brats2019",
        lambda r: next(r.rglob("*X1_1_seg.nii.gz")).unlink(),
        r"expected a file of the same case BraTS19_X1_1",
    ),
    "brats: no t2": (
        "brats2019",
        lambda r: next(r.rglob("*X1_1_t2.nii.gz")).unlink(),
        r"X1_1_flair.nii.gz: expected a file of the same case BraTS19_X1_1",
        {"modalities": ("flair", "t2")},
    ),
    "brats: t2 on another grid": (
        "brats2019",
        lambda r: save_as(next(r.rglob("*X1_1_t2.nii.gz")), volumes()[0][:, :, 2:]),
        r"X1_1_t2.nii.gz: expected the \(20, 24, 18\) voxels of its image",
        {"modalities": ("flair", "t2")},
    ),
    "brats: an empty scan": (
        "brats2019",
        lambda r: empty_label(next(r.rglob("*X1_1_flair.nii.gz"))),
        r"X1_1_seg.nii.gz: expected an intensity other than 0 to crop around",
    ),
    "brats: an unknown modality": (
        "brats2019",
        None,
        r"modalities: expected one of flair, t1, t1ce, t2, found 'pd'",
        {"modalities": ("pd",)},
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named_and_nothing_is_left_half(tmp_path, name):
    dataset, spoil, sentence, *how = BAD[name]
    make = {"la": make_la, "pancreas": make_pancreas, "brats2019": make_brats}[dataset]
    raw = tmp_path / "raw"
    ids = make(raw)
    if spoil:
        spoil(raw)
    folders = (raw / "images", raw / "labels") if dataset == "pancreas" else (raw, None)
    given = lists(tmp_path, ids[:3], ids[3:])
    if how == [{}]:
        given = {}
    with pytest.raises(DualsegError, match=sentence):
        prepare(dataset, *folders, tmp_path / "out", **given, **(how[0] if how else {}))
    assert not (tmp_path / "out" / "manifest.json").exists()
    for path in (tmp_path / "out").rglob("*.json"):
        assert path.with_suffix(".h5").is_file()


BAD_RECIPES = {
    "window": ({"window": (240, -120)}, "window: expected two intensities, the lower one first"),
    "percentile": ({"clip_percentile": 0}, "clip_percentile: expected a number above 0"),
    "normalise": ({"normalise": "yes"}, "normalise: expected one of none, zscore"),
    "statistics": ({"statistics": "all"}, "statistics: expected one of crop, scan"),
    "crop": ({"crop": "heart"}, "crop: expected one of centre, label, none, nonzero"),
    "margin": ({"margin": (3, 2)}, "margin: expected two numbers of voxels, the smaller one"),
    "size": ({"size": (0, 1, 1)}, "size: expected 3 values, each a whole number of at least 1"),
    "axes": ({"axes": "yz"}, "axes: expected one of xy, xyz"),
    "centre without a size": ({"crop": "centre"}, "size: expected the sides of the .* in voxels"),
}


@pytest.mark.parametrize("name", BAD_RECIPES)
def test_bad_recipes_are_refused(name):
    settings, sentence = BAD_RECIPES[name]
    with pytest.raises(DualsegError, match=sentence):
        Recipe(**settings)


def test_no_label_to_crop_round_in_a_folder(tmp_path):
    for i in range(4):
        save_as(tmp_path / "images" / f"{i}.nii", volumes(i)[0])
        if i < 3:
            save_as(tmp_path / "labels" / f"{i}.nii", volumes()[1])
    with pytest.raises(DualsegError, match=r"3.nii: expected a labeled voxel to crop around"):
        prepare(
            "folder",
            tmp_path / "images",
            tmp_path / "labels",
            tmp_path / "out",
            Recipe(crop="label"),
        )


def test_an_export_of_two_modalities_is_taken_back_by_predict(tmp_path, capsys):
    ids = make_brats(tmp_path / "raw")
    how = lists(tmp_path, ids[:3], ids[3:])
    prepare(
        "brats2019", tmp_path / "raw", None, tmp_path / "out", modalities=("flair", "t2"), **how
    )
    experiment = Experiment(str(tmp_path / "out"), "smoke", labeled=2, iterations=1)
    run = fit(experiment, tmp_path / "run")
    scan, mask = tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz"
    assert main(["data", "export", str(tmp_path / "out"), ids[3], "--out", str(scan)]) == 0
    paths = [tmp_path / f"scan_{name}.nii.gz" for name in ("flair", "t2")]
    assert capsys.readouterr().out == "".join(f"{path}: written.\n" for path in paths)
    case = open_dataset(str(tmp_path / "out")).read(ids[3])
    for path, channel in zip(paths, case.channels, strict=True):
        np.testing.assert_array_equal(nib.load(path).get_fdata(), channel)
    assert main(["predict", str(run.folder), *map(str, paths), "--out", str(mask)]) == 0
    assert nib.load(mask).shape == case.label.shape
    assert "stands in the place of" not in capsys.readouterr().err
