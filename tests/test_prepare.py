"""From raw NIfTI files to a prepared folder: aligned in every orientation, or refused by name."""

import importlib
import json
import os
import shutil
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from rawdata import CODES, LANDMARK, SHAPE, SPACING, save_as, volumes

from dualseg.cli.main import main
from dualseg.config.experiment import Experiment, preset_settings
from dualseg.data.dataset import open_dataset
from dualseg.data.known import prepare as prepare_raw
from dualseg.data.preparation import pipeline as prepare
from dualseg.data.preparation.inspect import check
from dualseg.data.prepared_folder import read_manifest
from dualseg.data.recipe import Recipe
from dualseg.errors import DualsegError
from dualseg.evaluation.evaluate import evaluate
from dualseg.training.loop import fit

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture
def raw(tmp_path) -> Path:
    """Five labeled cases and two without labels, each in another orientation."""
    for i in range(7):
        image, label = volumes(i)
        save_as(tmp_path / "images" / f"scan{i}.nii.gz", image, CODES[i * 7])
        if i < 5:  # the label's axes need not be its image's
            save_as(tmp_path / "labels" / f"scan{i}.nii.gz", label, CODES[-1 - i * 5])
    return tmp_path


def run_prepare(raw: Path, **changes) -> list[str]:
    """Prepare into a folder that is new each time, as other settings are not to replace it."""
    shutil.rmtree(raw / "data", ignore_errors=True)
    return prepare_again(raw, **changes)


def prepare_again(raw: Path, **changes) -> list[str]:
    return prepare_raw("folder", raw / "images", raw / "labels", raw / "data", **changes)


def arrays(root: Path, case_id: str) -> tuple[np.ndarray, np.ndarray]:
    with h5py.File(root / "cases" / f"{case_id}.h5") as file:
        return file["image"][:], file["label"][:]


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_a_case_that_is_no_longer_in_the_folder_is_named(raw):
    run_prepare(raw)
    data = open_dataset(str(raw / "data"))
    for use in (data.read, data.case, data.sha256, data.has_label, data.spacing):
        with pytest.raises(DualsegError, match="data: expected the case 'gone', found none in its"):
            use("gone")


def test_landmark_is_found_in_all_48_orientations(tmp_path):
    image, label = volumes()
    for i, code in enumerate(CODES):
        save_as(tmp_path / "images" / f"{code}.nii", image, code)
        save_as(tmp_path / "labels" / f"{code}.nii", label, CODES[i - 7])
    run_prepare(tmp_path, recipe=Recipe(values=(1, 2)))
    assert len(CODES) == 48
    for code in CODES:
        got_image, got_label = arrays(tmp_path / "data", code)
        np.testing.assert_array_equal(got_image, image)
        np.testing.assert_array_equal(got_label, label)
        assert got_label[LANDMARK] == 2
        assert np.unravel_index(got_image.argmax(), SHAPE) == LANDMARK


def test_a_rotated_scan_keeps_image_and_label_together(tmp_path):
    image, label = volumes()
    turned = np.eye(4)
    angle = np.radians(20)
    turned[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = turned @ np.diag([*SPACING, 1.0])
    for name in ("a", "b"):
        save_as(tmp_path / "images" / f"{name}.nii", image, "LPS", affine)
        save_as(tmp_path / "labels" / f"{name}.nii", label, "SAR", affine)
    run_prepare(tmp_path)
    for name in ("a", "b"):
        got_image, got_label = arrays(tmp_path / "data", name)
        np.testing.assert_array_equal(got_image, image)
        np.testing.assert_array_equal(got_label, label > 0)


def test_resampling_keeps_the_place_of_the_object(tmp_path):
    for i in range(2):
        image, label = volumes(i)
        save_as(tmp_path / "images" / f"{i}.nii", image)
        save_as(tmp_path / "labels" / f"{i}.nii", label)
    run_prepare(tmp_path, recipe=Recipe(spacing=(0.6, 1.0, 3.0)))
    image, label = arrays(tmp_path / "data", "0")
    assert image.shape == label.shape == (40, 24, 9)
    center = np.argwhere(label).mean(0) + 0.5  # in voxels from the corner of the volume
    before = np.argwhere(volumes()[1]).mean(0) + 0.5
    np.testing.assert_allclose(center * (0.6, 1, 3), before * SPACING, atol=1.0)  # mm
    assert open_dataset(str(tmp_path / "data")).spacing("0") == (0.6, 1.0, 3.0)


def test_values_are_merged_with_a_notice_or_kept_by_choice(raw):
    remarks = run_prepare(raw)
    assert remarks == [
        "the labels hold the values 1, 2; they were merged into one foreground (--values 1 2 makes "
        "each a class)"
    ]
    assert set(np.unique(arrays(raw / "data", "scan0")[1])) == {0, 1}
    assert open_dataset(str(raw / "data")).spec.classes == ("background", "foreground")
    with pytest.raises(
        DualsegError, match=r"values: expected values that occur in .*\(1, 2\), .* 7"
    ):
        run_prepare(raw, recipe=Recipe(values=(1, 7)))
    assert run_prepare(raw, recipe=Recipe(values=(1, 2))) == []
    assert run_prepare(raw, recipe=Recipe(values=(2,))) == [
        "the label values 1 are not among --values and became background"
    ]
    assert (arrays(raw / "data", "scan0")[1] == (volumes()[1] == 2)).all()
    assert open_dataset(str(raw / "data")).spec.classes == ("background", "value 2")


def test_what_was_prepared_otherwise_is_not_replaced(raw):
    run_prepare(raw)
    before = contents(raw / "data")
    with pytest.raises(DualsegError, match=r"data: expected a new folder .*\(spacing None\)"):
        prepare_again(raw, recipe=Recipe(spacing=(2, 2, 2)))
    assert contents(raw / "data") == before
    prepare_again(raw, recipe=Recipe(seed=3, test_share=0.5))  # another split of the same arrays
    assert len(open_dataset(str(raw / "data")).test) == 2
    (raw / "other").mkdir()
    (raw / "other" / "notes.txt").write_text("mine")
    with pytest.raises(DualsegError, match=r"other: expected a new or empty folder, found other"):
        prepare_raw("folder", raw / "images", raw / "labels", raw / "other")


def test_a_file_that_was_changed_is_prepared_again(raw):
    run_prepare(raw)
    before = arrays(raw / "data", "scan2")
    with h5py.File(raw / "data" / "cases" / "scan2.h5", "r+") as file:
        file["image"][0, 0, 0] += 1
    truncate(raw / "data" / "cases" / "scan3.h5")
    prepare_again(raw)
    assert check(str(raw / "data"))[1] == []
    np.testing.assert_array_equal(arrays(raw / "data", "scan2")[0], before[0])


def test_remarks_on_what_may_be_wrong(raw):
    for i in range(2):
        label_of(raw, lambda v, a: (np.minimum(v, 1), a), f"scan{i}")
    scan = nib.Nifti1Image(volumes()[0], None)
    scan.header["sform_code"] = scan.header["qform_code"] = 0
    nib.save(scan, raw / "images" / "scan6.nii.gz")
    remarks = " ".join(run_prepare(raw, recipe=Recipe(values=(1, 2))))
    assert "value 2 occurs in 3 of 5 labels" in remarks
    assert "in 1 of 7 cases (the first is scan6) the header does not say how" in remarks


def test_data_prepared_otherwise_are_not_measured(raw):
    run_prepare(raw)
    run = fit(Experiment(str(raw / "data"), "smoke", iterations=2), raw / "run")
    evaluate(run.folder)
    run_prepare(raw, recipe=Recipe(normalise="zscore"))
    with pytest.raises(DualsegError, match=r"data: expected the data .* another recipe"):
        evaluate(run.folder)


def test_split_is_drawn_from_labeled_cases_with_a_seed(raw):
    run_prepare(raw)
    data = open_dataset(str(raw / "data"))
    assert set(data.train[-2:]) == {"scan5", "scan6"}  # without labels, at the end
    assert len(data.test) == 1
    assert {*data.train, *data.test} == {f"scan{i}" for i in range(7)}
    drawn = {
        tuple(open_dataset(str(raw / "data")).test)
        for seed in range(6)
        if run_prepare(raw, recipe=Recipe(seed=seed)) is not None
    }
    assert len(drawn) > 1
    assert data.split(4).unlabeled == ("scan5", "scan6")
    with pytest.raises(DualsegError, match=r"labeled: expected at most 4 .*found 5; .*--labeled"):
        data.split(5)
    with pytest.raises(DualsegError, match=r"at most 2 \(of 6 training cases 4 have a label"):
        data.split(3, validation=2)


@pytest.mark.slow
def test_validation_cases_are_labeled_ones(raw):
    run_prepare(raw)
    data = open_dataset(str(raw / "data"))
    split = data.split(2, validation=1)
    labeled = [case for case in data.train if case not in ("scan5", "scan6")]
    assert list(split.labeled) == labeled[:2]
    assert list(split.validation) == labeled[3:]
    assert split.unlabeled == (labeled[2], "scan5", "scan6")
    experiment = Experiment(str(raw / "data"), "smoke", labeled=2, validation=1, iterations=2)
    record = evaluate(fit(experiment, raw / "run").folder, "val")
    assert [case["id"] for case in record["cases"]] == labeled[3:]


def test_given_lists_keep_their_order(raw):
    (raw / "a.list").write_text("scan6\nscan2\nscan5\nscan0\nscan3\n")
    (raw / "b.list").write_text("scan4 scan1\n")
    run_prepare(raw, train_list=raw / "a.list", test_list=raw / "b.list")
    data = open_dataset(str(raw / "data"))
    assert data.train == ("scan6", "scan2", "scan5", "scan0", "scan3")
    assert data.test == ("scan4", "scan1")
    split = data.split(1, validation=1)
    assert (split.labeled, split.validation) == (("scan2",), ("scan3",))
    assert split.unlabeled == ("scan6", "scan5", "scan0")


def test_new_scans_leave_the_test_cases_where_they_were(raw):
    run_prepare(raw)
    before = open_dataset(str(raw / "data"))
    assert prepare_again(raw) == run_prepare(raw)  # the same files: nothing to say of the lists
    for i in range(7, 17):
        image, label = volumes(i)
        save_as(raw / "images" / f"scan{i}.nii.gz", image)
        save_as(raw / "labels" / f"scan{i}.nii.gz", label)
    (note, *_) = prepare_again(raw)
    after = open_dataset(str(raw / "data"))
    assert set(before.test) < set(after.test)
    assert set(before.train) < set(after.train)
    assert len(after.test) == 3  # a fifth of 15 labels
    joined = sorted(set(after.test) - set(before.test))
    assert f"the lists in {raw / 'data'} have changed; now test cases: {', '.join(joined)}" in note
    assert "new training cases: scan1" in note
    for name in before.test:  # a test case that is gone is told, and another one is not put back
        (raw / "images" / f"{name}.nii.gz").unlink()
        (raw / "labels" / f"{name}.nii.gz").unlink()
    (note, *_) = prepare_again(raw)
    assert f"no longer test cases: {before.test[0]}" in note
    assert set(open_dataset(str(raw / "data")).test) == set(joined)


def test_a_draw_with_another_seed_is_told(raw):
    run_prepare(raw)
    before = open_dataset(str(raw / "data")).test
    notes = [prepare_again(raw, recipe=Recipe(seed=seed))[0] for seed in (1, 2, 3)]
    assert any(f"no longer test cases: {before[0]}" in note for note in notes)


def test_a_case_has_one_fingerprint_in_manifest_and_cache(raw):
    run_prepare(raw)
    data = open_dataset(str(raw / "data"), resolution="half")
    manifest = json.loads((raw / "data" / "manifest.json").read_text(encoding="utf-8"))
    for case_id in ("scan0", "scan6"):  # with and without a label
        assert data.sha256(case_id) == manifest["cases"][case_id]["fingerprint"]


def test_a_folder_of_an_earlier_version_is_still_read_and_checked(raw):
    """Its manifest has another fingerprint, under another name, which is not compared."""
    run_prepare(raw)
    path = raw / "data" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    for record in manifest["cases"].values():
        record["sha256"] = record.pop("fingerprint")[::-1]
    path.write_text(json.dumps(manifest))
    assert check(str(raw / "data"))[1] == []


@pytest.mark.pictures
def test_manifest_records_what_is_there(raw):
    run_prepare(raw)
    manifest = json.loads((raw / "data" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["recipe"]["name"] == "folder"
    record = manifest["cases"]["scan3"]
    image, label = volumes(3)
    assert record["shape"] == list(SHAPE)
    assert record["spacing"] == list(SPACING)
    assert record["orientation"] == "RAS"
    assert record["intensities"] == pytest.approx([image.min(), image.max()])
    assert record["label_voxels"] == {"0": int((label == 0).sum()), "1": int((label > 0).sum())}
    assert manifest["cases"]["scan6"]["label_voxels"] is None
    assert "/" not in json.dumps(manifest).replace("cases/", "")  # names no folder of this machine
    assert (raw / "data" / "alignment.png").stat().st_size > 10_000


def test_check_finds_what_was_changed_since(raw):
    run_prepare(raw)
    rows, problems = check(str(raw / "data"))
    assert problems == []
    assert [row[5] for row in rows].count("no label") == 2
    with h5py.File(raw / "data" / "cases" / "scan2.h5", "r+") as file:
        file["image"][0, 0, 0] += 1
    shutil.copy(raw / "data" / "cases" / "scan5.h5", raw / "data" / "cases" / "scan6.h5")
    _, problems = check(str(raw / "data"))
    assert sum("scan2: expected the voxels that the manifest" in p for p in problems) == 1
    assert sum("scan6: expected the voxels that the manifest" in p for p in problems) == 1
    assert sum("scan5 and scan6: expected two scans" in p for p in problems) == 1


@pytest.mark.fault(
    "an interrupted preparation",
    "finished cases stay; the same files come out as without",
)
def test_an_interrupted_preparation_goes_on(raw, monkeypatch):
    done = []
    real = prepare.write_case

    def stop_after_three(root, case_id, *rest):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(case_id)
        return real(root, case_id, *rest)

    monkeypatch.setattr(prepare, "write_case", stop_after_three)
    with pytest.raises(KeyboardInterrupt):
        prepare_again(raw)
    assert not (raw / "data" / "manifest.json").exists()
    with pytest.raises(DualsegError, match=r"manifest.json: expected the manifest"):
        open_dataset(str(raw / "data"))
    again = []
    monkeypatch.setattr(
        prepare,
        "write_case",
        lambda root, case_id, *rest: again.append(case_id) or real(root, case_id, *rest),
    )
    prepare_again(raw)
    assert sorted(done + again) == [f"scan{i}" for i in range(7)]
    before = contents(raw / "data" / "cases")
    again.clear()
    prepare_again(raw)
    assert again == []
    assert contents(raw / "data" / "cases") == before
    os.utime(raw / "images" / "scan1.nii.gz", (0, 0))  # a source that changed is done again
    prepare_again(raw)
    assert again == ["scan1"]


@pytest.mark.slow
def test_train_evaluate_predict_on_a_prepared_folder(raw):
    run_prepare(raw)
    experiment = Experiment(str(raw / "data"), "smoke", seed=1)
    assert (experiment.dataset, experiment.root) == ("folder", str(raw / "data"))
    assert experiment.labeled == 4
    run = fit(experiment, raw / "run")
    record = evaluate(run.folder)
    assert len(record["cases"]) == 1
    assert record["config"]["root"] is None
    assert record["data"]["spec"]["spacing"] == list(SPACING)
    scan = raw / "images" / "scan6.nii.gz"
    assert main(["predict", str(run.folder), str(scan), "--out", str(raw / "mask.nii.gz")]) == 0
    mask, like = nib.load(raw / "mask.nii.gz"), nib.load(scan)
    assert mask.shape == like.shape
    np.testing.assert_allclose(mask.affine, like.affine)


@pytest.mark.pictures
def test_pictures_have_the_proportions_of_each_case(tmp_path, monkeypatch):
    """Voxels are 1 mm wide; they are 1, 2 or 4 mm high: coronal panels show z over x."""
    heights = {"a": 1.0, "b": 2.0, "c": 4.0}
    for i, (name, height) in enumerate(heights.items()):
        image, label = volumes(i)
        affine = np.diag([1, 1, height, 1])
        save_as(tmp_path / "images" / f"{name}.nii", image, affine=affine)
        save_as(tmp_path / "labels" / f"{name}.nii", label, affine=affine)
    (tmp_path / "train.txt").write_text("b")
    (tmp_path / "test.txt").write_text("a c")
    drawn = {}

    def keep(figure, path, alt):
        drawn[path.name] = figure

    monkeypatch.setattr("dualseg.data.preparation.contact_sheet.save", keep)
    monkeypatch.setattr(importlib.import_module("dualseg.evaluation.evaluate"), "save", keep)
    how = {"train_list": tmp_path / "train.txt", "test_list": tmp_path / "test.txt"}
    run_prepare(tmp_path, **how)
    sheet = drawn["alignment.png"].axes
    found = {
        row.get_title(loc="left"): panel.get_aspect()
        for row, panel in zip(sheet[::3], sheet[1::3], strict=True)
    }
    assert found == heights
    experiment = Experiment(
        str(tmp_path / "data"), "smoke", method="supervised", labeled=1, iterations=2
    )
    run = fit(experiment, tmp_path / "run")
    evaluate(run.folder)
    cases = drawn[run.pictures("test")[0].name].axes
    found = {
        row.get_title(loc="left").split()[1][0]: panel.get_aspect()
        for row, panel in zip(cases[::3], cases[1::3], strict=True)
    }
    assert found == {"a": 1.0, "c": 4.0}


@pytest.mark.slow
def test_two_foreground_classes_train(raw):
    run_prepare(raw, recipe=Recipe(values=(1, 2)))
    experiment = Experiment(str(raw / "data"), "smoke", iterations=2)
    run = fit(experiment, raw / "run")
    assert run.spec().classes == ("background", "value 1", "value 2")
    assert evaluate(run.folder)["empties"] in (0, 1)


def test_losses_of_own_data_are_those_of_la():
    assert preset_settings("dual", "paper", "folder") == preset_settings("dual", "paper", "la")


@pytest.mark.pictures
@pytest.mark.slow
def test_commands_of_the_readme(raw, capsys, monkeypatch):
    monkeypatch.chdir(raw)
    for command in (
        "data prepare folder --images images --labels labels --out data",
        "data check data",
        "train --dataset data --profile smoke --iterations 2 --out runs/mine",
        "evaluate runs/mine",
        "predict runs/mine images/scan6.nii.gz --out mask.nii.gz",
    ):
        assert main(command.split()) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    assert "data/alignment.png" in out.replace("\\", "/")
    assert "7 cases, no problem found" in out


# Bad input: what is done to the raw folder, and the sentence it is answered with.


def label_of(raw, change, name="scan0"):
    path = raw / "labels" / f"{name}.nii.gz"
    scan = nib.load(path)
    values, affine = change(np.asanyarray(scan.dataobj).astype(np.float32), scan.affine.copy())
    nib.save(nib.Nifti1Image(values.astype(np.float32), affine), path)


def image_of(raw, change, name="scan0"):
    path = raw / "images" / f"{name}.nii.gz"
    scan = nib.load(path)
    values, affine = change(np.asanyarray(scan.dataobj).copy(), scan.affine.copy())
    nib.save(nib.Nifti1Image(values, affine), path)


def put(values, place, value):
    values[place] = value
    return values


def shifted(values, affine, by=5.0):
    affine[0, 3] += by
    return values, affine


def flipped_header(values, affine):
    """The header says left where it was right: the voxels lie mirrored in the body."""
    return values, np.diag([-1.0, 1, 1, 1]) @ affine


def without_an_axis(path):
    scan = nib.Nifti1Image(volumes()[0], None)
    scan.header.set_sform(np.diag([0.0, 1, 1, 1]), code=1)
    nib.save(scan, path)


def dangling(path):
    path.unlink()
    path.symlink_to(path.with_name("annexed"))


def two_forms(raw):
    """An image whose sform is not its qform, with a label that lies where the qform says."""
    image = raw / "images" / "scan0.nii.gz"
    scan = nib.load(image)
    scan.set_qform(scan.affine, code=1)
    scan.set_sform(shifted(None, scan.affine.copy(), 17)[1], code=2)
    nib.save(nib.Nifti1Image(np.asanyarray(scan.dataobj).copy(), None, scan.header), image)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


BAD = {
    "no image folder": (lambda r: shutil.rmtree(r / "images"), r"images: expected a folder"),
    "no label folder": (lambda r: shutil.rmtree(r / "labels"), r"labels: expected a folder"),
    "no images": (
        lambda r: [p.unlink() for p in (r / "images").iterdir()],
        r"images: expected volumes \(.nii.gz, .nii, .nrrd, .mha\), found none",
    ),
    "label without image": (
        lambda r: (r / "images" / "scan2.nii.gz").unlink(),
        r"scan2.nii.gz: expected an image of the same name",
    ),
    "two files of one name": (
        lambda r: save_as(r / "images" / "scan1.nii", volumes()[0]),
        r"scan1.nii.gz: has the same name as .*scan1.nii",
    ),
    "space in a name": (
        lambda r: (r / "images" / "scan6.nii.gz").rename(r / "images" / "scan 6.nii.gz"),
        r"scan 6.nii.gz: expected a name without spaces",
    ),
    "one label": (
        lambda r: [(r / "labels" / f"scan{i}.nii.gz").unlink() for i in range(1, 5)],
        r"labels: expected at least 2 labeled cases .*, found 1",
    ),
    "truncated image": (
        lambda r: truncate(r / "images" / "scan0.nii.gz"),
        r"images.scan0.nii.gz: expected a readable NIfTI",
    ),
    "truncated label": (
        lambda r: truncate(r / "labels" / "scan0.nii.gz"),
        r"labels.scan0.nii.gz: expected a readable NIfTI",
    ),
    "no NIfTI": (
        lambda r: (r / "images" / "scan0.nii.gz").write_text("hello"),
        r"images.scan0.nii.gz: expected a readable NIfTI",
    ),
    "empty file": (
        lambda r: (r / "images" / "scan0.nii.gz").write_bytes(b""),
        r"images.scan0.nii.gz: expected a readable NIfTI",
    ),
    "four axes": (
        lambda r: image_of(r, lambda v, a: (np.stack([v, v], -1), a)),
        r"images.scan0.nii.gz: expected one volume with three axes",
    ),
    "two axes": (
        lambda r: image_of(r, lambda v, a: (v[..., 0], a)),
        r"images.scan0.nii.gz: expected one volume with three axes",
    ),
    "NaN in the image": (
        lambda r: image_of(r, lambda v, a: (put(v, (0, 0, 0), np.nan), a)),
        r"images.scan0.nii.gz: expected finite intensities, found 1",
    ),
    "infinite image": (
        lambda r: image_of(r, lambda v, a: (put(v, (0, 0, 0), np.inf), a)),
        r"images.scan0.nii.gz: expected finite intensities, found 1",
    ),
    "label of another size": (
        lambda r: label_of(r, lambda v, a: (v[1:], a)),
        r"labels.scan0.nii.gz: expected the \(20, 24, 18\) voxels of its image",
    ),
    "label elsewhere": (
        lambda r: label_of(r, shifted),
        r"labels.scan0.nii.gz: expected to lie where its image scan0.nii.gz lies, .* 5.0 mm apart",
    ),
    "label mirrored": (
        lambda r: label_of(r, flipped_header),
        r"labels.scan0.nii.gz: expected to lie where its image scan0.nii.gz lies",
    ),
    "label of another voxel size": (
        lambda r: label_of(r, lambda v, a: (v, a @ np.diag([2.0, 2, 2, 1]))),
        r"labels.scan0.nii.gz: expected to lie where its image scan0.nii.gz lies",
    ),
    "interpolated label": (
        lambda r: label_of(r, lambda v, a: (v * 0.7, a)),
        r"labels.scan0.nii.gz: expected whole label values from 0 up.*interpolated",
    ),
    "negative label": (
        lambda r: label_of(r, lambda v, a: (-v, a)),
        r"labels.scan0.nii.gz: expected whole label values from 0 up",
    ),
    "NaN in the label": (
        lambda r: label_of(r, lambda v, a: (put(v, (0, 0, 0), np.nan), a)),
        r"labels.scan0.nii.gz: expected finite",
    ),
    "image in the label's place": (
        lambda r: label_of(r, lambda v, a: (np.arange(v.size, dtype=float).reshape(v.shape), a)),
        r"labels.scan0.nii.gz: expected a label, found 8640 different values",
    ),
    "the image itself": (
        lambda r: shutil.copy(r / "images" / "scan0.nii.gz", r / "labels" / "scan0.nii.gz"),
        r"labels.scan0.nii.gz: expected a label, found the same voxels as in its image .*images",
    ),
    "a link to nothing": (
        lambda r: dangling(r / "labels" / "scan1.nii.gz"),
        r"labels.scan1.nii.gz: is a link to a file that is not here; get it first .*datalad get",
    ),
    "a label by the other transform": (
        two_forms,
        r"labels.scan0.nii.gz: expected to lie .* header of scan0.nii.gz holds two transforms",
    ),
    "voxels of a slip": (
        lambda r: image_of(r, lambda v, a: (v, a @ np.diag([5e3, 1, 1, 1]))),
        r"images.scan0.nii.gz: expected voxel sizes between 0.001 and 1000 mm, found 6000 x 1 x",
    ),
    "no affine": (
        lambda r: without_an_axis(r / "images" / "scan0.nii.gz"),
        r"images.scan0.nii.gz: expected an affine that says how the axes lie",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named_and_nothing_is_left_half(raw, name, capsys):
    spoil, sentence = BAD[name]
    spoil(raw)
    with pytest.raises(DualsegError, match=sentence):
        run_prepare(raw)
    assert not (raw / "data" / "manifest.json").exists()
    for path in (raw / "data").rglob("*"):
        assert path.is_dir() or path.suffix in (".h5", ".json"), "no temporary file is left"
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
            with h5py.File(path.with_suffix(".h5")) as file:
                assert file["image"].shape == SHAPE


BAD_CALLS = {
    "spacing": (
        lambda: Recipe(spacing=(1, 0, 1)),
        "spacing: expected 3 values, each a finite number",
    ),
    "value 0": (lambda: Recipe(values=(0, 1)), "values: expected different label values"),
    "value twice": (lambda: Recipe(values=(2, 2)), "values: expected different label values"),
    "share": (lambda: Recipe(test_share=1), "test_share: expected a number between 0 and 1"),
    "seed": (lambda: Recipe(seed=-1), "seed: expected a whole number of at least 0"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_recipes_are_refused(name):
    call, sentence = BAD_CALLS[name]
    with pytest.raises(DualsegError, match=sentence):
        call()


BAD_LISTS = {
    "one list": ("scan0", None, "expected both or neither"),
    "unknown id": (
        "scan0 scan9",
        "scan1",
        "a.list: expected ids that have an image .as 'scan0'., found 'scan9'",
    ),
    "empty": ("", "scan1", "a.list: expected ids that have an image .*, found no id"),
    "in both": ("scan0 scan1", "scan1", "b.list: expected no id twice.*'scan1'"),
    "twice": ("scan0 scan0", "scan1", "expected no id twice.*'scan0'"),
    "test without label": ("scan0", "scan6", "b.list: expected labeled cases, found 'scan6'"),
    "train without any label": ("scan5 scan6", "scan0", "a.list: expected a labeled case"),
}


@pytest.mark.parametrize("name", BAD_LISTS)
def test_bad_lists_are_refused(raw, name):
    train, test, sentence = BAD_LISTS[name]
    (raw / "a.list").write_text(train)
    if test is not None:
        (raw / "b.list").write_text(test)
    with pytest.raises(DualsegError, match=sentence):
        run_prepare(
            raw, train_list=raw / "a.list", test_list=None if test is None else raw / "b.list"
        )


BAD_FOLDERS = {
    "no JSON": (lambda m, r: m.write_text("{"), "manifest.json: expected JSON"),
    "a list": (lambda m, r: m.write_text("[]"), "manifest.json: expected a JSON object"),
    "another layout": (lambda m, r: m.write_text('{"layout": 2}'), "expected layout 1, found 2"),
    "no entry": (lambda m, r: m.write_text('{"layout": 1}'), "expected the key 'dataset'"),
    "no list": (lambda m, r: (r / "test.list").unlink(), "test.list: expected the list"),
    "strange id": (lambda m, r: (r / "test.list").write_text("x"), "found no 'x'"),
    "missing file": (
        lambda m, r: (r / "cases" / "scan0.h5").unlink(),
        "scan0.h5: .*no such file",
    ),
    "damaged file": (
        lambda m, r: truncate(r / "cases" / "scan0.h5"),
        "scan0.h5: expected a readable HDF5 file",
    ),
}


@pytest.mark.fault(
    "a damaged prepared folder",
    "one sentence that names the file",
)
@pytest.mark.parametrize("name", BAD_FOLDERS)
def test_damaged_prepared_folders_are_named(raw, name):
    spoil, sentence = BAD_FOLDERS[name]
    run_prepare(raw)
    spoil(raw / "data" / "manifest.json", raw / "data")
    with pytest.raises(DualsegError, match=sentence):
        open_dataset(str(raw / "data")).case("scan0")


def test_a_slip_in_the_wanted_voxel_size_is_refused_before_memory_is_taken(raw):
    with pytest.raises(DualsegError, match=r"scan\d.nii.gz: expected an array of at most .* GB"):
        run_prepare(raw, recipe=Recipe(spacing=(0.001, 0.001, 0.001)))
    assert not (raw / "data" / "manifest.json").exists()


def test_the_manifest_has_the_voxel_size_that_the_arrays_have(raw):
    run_prepare(raw, recipe=Recipe(spacing=(2, 2, 4)))
    for record in read_manifest(raw / "data")["cases"].values():
        # 20, 24, 18 voxels of 1.2, 1, 1.5 mm become 12, 12, 7: by hand 24/12, 24/12, 27/7 mm.
        assert record["shape"] == [12, 12, 7]
        np.testing.assert_allclose(record["spacing"], (2, 2, 27 / 7), rtol=1e-6)
        box = np.multiply(record["shape"], record["spacing"])
        np.testing.assert_allclose(box, np.multiply(SHAPE, SPACING), rtol=1e-6)


def test_who_asked_for_a_voxel_size_is_not_advised_to_ask_for_one(raw):
    image_of(raw, lambda v, a: (v[:-3], a), "scan6")  # its true size differs by some percent
    asked = run_prepare(raw, recipe=Recipe(spacing=(2, 2, 4)))
    assert not any("differ in voxel size" in remark for remark in asked)
    sizes = {tuple(case["spacing"]) for case in read_manifest(raw / "data")["cases"].values()}
    assert len(sizes) == 2


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_lists_as_other_systems_write_them(raw, encoding):
    for name, ids in (("train", ["scan0", "scan6", "scan3"]), ("test", ["scan2"])):
        (raw / f"{name}.txt").write_bytes("\r\n".join(ids).encode(encoding))
    run_prepare(raw, train_list=raw / "train.txt", test_list=raw / "test.txt")
    assert open_dataset(str(raw / "data")).train == ("scan0", "scan6", "scan3")


def test_units_of_one_site_change_nothing(raw):
    """One site's files in micron among others in mm: the same arrays and the same sizes."""
    run_prepare(raw)
    before = read_manifest(raw / "data")["cases"]
    for kind in ("images", "labels"):
        path = raw / kind / "scan1.nii.gz"
        scan = nib.load(path)
        affine = np.diag([1e3, 1e3, 1e3, 1]) @ scan.affine
        image = nib.Nifti1Image(np.asanyarray(scan.dataobj).copy(), affine)
        image.header.set_xyzt_units("micron")
        nib.save(image, path)
    run_prepare(raw)
    after = read_manifest(raw / "data")["cases"]
    for case_id, record in after.items():
        assert record["fingerprint"] == before[case_id]["fingerprint"]
        assert record["spacing"] == pytest.approx(list(SPACING))


def test_check_flags_a_full_label_and_a_constant_scan(raw):
    label_of(raw, lambda v, a: (np.ones_like(v), a), "scan1")
    image_of(raw, lambda v, a: (np.full_like(v, 7), a), "scan6")
    run_prepare(raw)
    problems = check(str(raw / "data"))[1]
    assert [p for p in problems if p.startswith("case scan1: expected a label of a part")]
    assert [p for p in problems if p.startswith("case scan6: expected intensities that differ")]
    assert "found 7.00 everywhere" in " ".join(problems)
    assert len(problems) == 2
