"""Predicting a scan: same grid out, any orientation and voxel size in, clear refusals."""

import dataclasses

import nibabel as nib
import numpy as np
import pytest
import torch
from conftest import TEST, ball_case, small_experiment
from headers import HEADERS, OBLIQUE, TWO_FORMS, corners, nifti
from nibabel.orientations import (
    aff2axcodes,
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    ornt_transform,
)
from rawdata import CODES, save_as, save_dicom, save_nrrd

from dualseg.config.experiment import Experiment
from dualseg.data.dataset import open_dataset
from dualseg.data.known import prepare
from dualseg.data.recipe import Recipe
from dualseg.data.volume_files import oriented
from dualseg.errors import DualsegError
from dualseg.evaluation.evaluate import evaluate
from dualseg.evaluation.export_case import export_case
from dualseg.evaluation.predict_scan import predict_scan
from dualseg.evaluation.predictions import mask_path
from dualseg.evaluation.saved_masks import load_masks
from dualseg.evaluation.sliding_window import predict_volume
from dualseg.runs.run import Run
from dualseg.training.loop import fit

LPS = np.diag([-0.625, -0.625, 0.625, 1.0])


class Brightness(torch.nn.Module):
    """Stands in for trained networks: bright voxels are foreground. Knows nothing of files."""

    members = ("A",)

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def predict_members(self, windows):
        foreground = torch.sigmoid(4 * (windows[:, 0] - 1))
        return torch.stack([1 - foreground, foreground], 1)[None]


@pytest.fixture(scope="module")
def finished(shared_la, tmp_path_factory):
    """A run of one step on the balls, and a test case of them as an image in LPS."""
    folder = tmp_path_factory.mktemp("nifti")
    experiment = small_experiment(shared_la, iterations=1, method="supervised")
    case = open_dataset("la", shared_la).read(TEST[0])
    return fit(experiment, folder / "run"), nib.Nifti1Image(case.image, LPS), case


@pytest.fixture
def trained(finished, monkeypatch):
    monkeypatch.setattr(Run, "load_method", lambda self, device: Brightness())
    return finished


def test_real_networks_answer_too(finished, tmp_path):
    mask, _ = predict(finished, finished[1], tmp_path)
    assert mask.shape == finished[1].shape


def predict(trained, image, tmp_path, **options):
    source, out = tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz"
    nib.save(image, source)
    remarks = predict_scan(trained[0].folder, source, out, **options)
    mask = nib.load(out)
    mask.get_fdata()  # kept in memory: the next prediction replaces the file
    return nib.Nifti1Image(np.asarray(mask.dataobj).copy(), mask.affine), remarks


def in_codes(image, codes):
    """The same image with its axes stored in another order."""
    turn = ornt_transform(axcodes2ornt(aff2axcodes(image.affine)), axcodes2ornt(codes))
    data = apply_orientation(image.get_fdata(dtype=np.float32), turn)
    return nib.Nifti1Image(data, image.affine @ inv_ornt_aff(turn, image.shape))


def test_same_grid_and_an_overlap_with_the_truth(trained, tmp_path):
    mask, remarks = predict(trained, trained[1], tmp_path)
    assert mask.shape == trained[1].shape
    np.testing.assert_allclose(mask.affine, LPS)
    assert mask.get_data_dtype() == np.uint8
    found, truth = np.asarray(mask.dataobj) > 0, trained[2].label > 0
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.9
    assert remarks == []


def test_all_48_axis_orders_give_the_same_mask(trained, tmp_path):
    straight, _ = predict(trained, trained[1], tmp_path)
    for codes in CODES:
        turned = in_codes(trained[1], codes)
        mask, _ = predict(trained, turned, tmp_path)
        np.testing.assert_allclose(mask.affine, turned.affine, err_msg=codes)
        back = in_codes(mask, "LPS")
        np.testing.assert_array_equal(back.get_fdata(), straight.get_fdata(), codes)


def test_brightness_and_contrast_do_not_matter(trained, tmp_path):
    straight, _ = predict(trained, trained[1], tmp_path)
    scaled = nib.Nifti1Image(trained[1].get_fdata() * 100 + 1000, LPS)
    mask, _ = predict(trained, scaled.__class__(scaled.get_fdata(dtype=np.float32), LPS), tmp_path)
    agree = np.asarray(mask.dataobj) == np.asarray(straight.dataobj)
    assert agree.mean() > 0.999  # rounding may tip a voxel at 0.5


def test_other_voxel_size_is_resampled_and_said(trained, tmp_path):
    from scipy.ndimage import zoom

    coarse = zoom(
        trained[1].get_fdata(dtype=np.float32), 0.5, order=1, grid_mode=True, mode="nearest"
    )
    affine = LPS @ np.diag([2, 2, 2, 1.0])
    mask, remarks = predict(trained, nib.Nifti1Image(coarse, affine), tmp_path)
    assert mask.shape == coarse.shape
    assert any("resampled" in remark for remark in remarks)
    found = np.asarray(mask.dataobj) > 0
    truth = zoom(trained[2].label.astype(float), 0.5, order=1, grid_mode=True, mode="nearest") > 0.5
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.5


def test_far_larger_scan_is_warned_about(trained, tmp_path):
    large = nib.Nifti1Image(np.pad(trained[1].get_fdata(dtype=np.float32), 40), LPS)
    _, remarks = predict(trained, large, tmp_path)
    assert any("far larger" in remark and "crop the scan" in remark for remark in remarks)


def test_probabilities_and_picture(trained, tmp_path):
    picture = tmp_path / "picture.png"
    mask, _ = predict(trained, trained[1], tmp_path, picture=picture, probabilities=True)
    prob = nib.load(tmp_path / "mask_probability.nii.gz")
    assert prob.get_data_dtype() == np.float32
    np.testing.assert_array_equal(prob.get_fdata() > 0.5, np.asarray(mask.dataobj) == 1)
    assert 0 <= prob.get_fdata().min() <= prob.get_fdata().max() <= 1
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_single_frame_of_a_four_dimensional_file(trained, tmp_path):
    image = nib.Nifti1Image(trained[1].get_fdata(dtype=np.float32)[..., None], LPS)
    mask, _ = predict(trained, image, tmp_path)
    assert mask.shape == trained[1].shape


def bad(image, kind, path):
    data = image.get_fdata(dtype=np.float32).copy()
    if kind == "missing":
        return
    if kind == "text":
        path.write_text("hello")
        return
    if kind == "NaN":
        data[0, 0, 0] = np.nan
    if kind == "two frames":
        data = np.stack([data, data], -1)
    scan = nib.Nifti1Image(data, LPS)
    if kind == "no third axis":
        scan.header.set_sform(np.diag([1.0, 1.0, 0.0, 1.0]), code=1)
        scan = nib.Nifti1Image(data, None, scan.header)
    nib.save(scan, path)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:2000])


BAD = {
    "missing": "scan.nii.gz: no such file",
    "text": "scan.nii.gz: expected a readable NIfTI image",
    "truncated": "scan.nii.gz: expected a readable NIfTI image",
    "NaN": "scan.nii.gz: expected finite intensities, found 1 that are not",
    "no third axis": "scan.nii.gz: expected an affine that says how the axes lie in the body",
    "two frames": r"expected one volume with three axes, found shape \(48, 36, 22, 2\)",
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_scans_are_named_and_nothing_is_written(trained, tmp_path, kind):
    source, out = tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz"
    bad(trained[1], kind, source)
    with pytest.raises(DualsegError, match=BAD[kind]):
        predict_scan(trained[0].folder, source, out)
    assert not out.exists()


@pytest.mark.fault(
    "a mask that would overwrite its scan",
    "refused",
)
def test_the_scan_itself_is_never_overwritten(trained, tmp_path):
    source = tmp_path / "scan.nii.gz"
    nib.save(trained[1], source)
    before = source.read_bytes()
    with pytest.raises(DualsegError, match=r"scan.nii.gz: is the scan itself"):
        predict_scan(trained[0].folder, source, source)
    assert source.read_bytes() == before


def test_other_formats_are_refused_before_any_work(trained, tmp_path):
    source = tmp_path / "scan.mgz"
    nib.save(nib.MGHImage(trained[1].get_fdata(dtype=np.float32), LPS), source)
    with pytest.raises(
        DualsegError,
        match=r"scan.mgz: expected a file .* another format; convert",
    ):
        predict_scan(trained[0].folder, source, tmp_path / "mask.nii.gz")


def test_a_header_without_orientation_is_remarked(trained, tmp_path):
    image = nib.Nifti1Image(trained[1].get_fdata(dtype=np.float32), None)
    image.header.set_zooms((0.625,) * 3)
    _, remarks = predict(trained, image, tmp_path)
    assert any("does not say how the scan lies in the body" in remark for remark in remarks)


@pytest.mark.fault(
    "weights that are not numbers",
    "no mask is written",
)
def test_weights_that_are_nan_write_no_mask(finished, tmp_path, monkeypatch):
    class Broken(Brightness):
        def predict_members(self, windows):
            return super().predict_members(windows) * float("nan")

    monkeypatch.setattr(Run, "load_method", lambda self, device: Broken())
    with pytest.raises(DualsegError, match="output is not finite"):
        predict(finished, finished[1], tmp_path)
    assert not (tmp_path / "mask.nii.gz").exists()


def test_output_name_without_nifti_suffix(trained, tmp_path):
    with pytest.raises(
        DualsegError, match=r"mask.png: expected a name that ends in .nii or .nii.gz"
    ):
        predict_scan(trained[0].folder, tmp_path / "scan.nii.gz", tmp_path / "mask.png")


def test_an_exported_case_lies_as_the_data_set_says(la_root, tmp_path):
    dataset = open_dataset("la", la_root)
    export_case(dataset, "TESTA", tmp_path / "image.nii.gz", tmp_path / "label.nii")
    case = dataset.read("TESTA")
    for name, values in (("image.nii.gz", case.image), ("label.nii", case.label)):
        scan = nib.load(tmp_path / name)
        np.testing.assert_array_equal(np.asanyarray(scan.dataobj), values)
        assert "".join(aff2axcodes(scan.affine)) == "LPS"
        np.testing.assert_allclose(nib.affines.voxel_sizes(scan.affine), 0.625)
        middle = (np.array(values.shape) - 1) / 2
        np.testing.assert_allclose(nib.affines.apply_affine(scan.affine, middle), 0, atol=1e-5)


@pytest.mark.parametrize("code", CODES)
def test_exports_in_every_orientation(shared_la, tmp_path, code):
    dataset = open_dataset("la", shared_la)
    spec = dataclasses.replace(dataset.spec, orientation=code, spacing=(1.0, 2.0, 3.0))
    export_case(dataclasses.replace(dataset, spec=spec), "TESTA", tmp_path / "image.nii")
    affine = nib.load(tmp_path / "image.nii").affine
    assert "".join(aff2axcodes(affine)) == code
    np.testing.assert_allclose(nib.affines.voxel_sizes(affine), (1, 2, 3))


def test_exports_of_nothing_are_refused(la_root, tmp_path):
    dataset = open_dataset("la", la_root)
    with pytest.raises(DualsegError, match="case: expected one of the 10 ids of la.*'nobody'"):
        export_case(dataset, "nobody", tmp_path / "image.nii")
    with pytest.raises(DualsegError, match="image.png: expected a name that ends in .nii"):
        export_case(dataset, "TESTA", tmp_path / "image.png")
    with pytest.raises(DualsegError, match="label: expected another file than the image's, found"):
        export_case(dataset, "TESTA", tmp_path / "image.nii", tmp_path / "image.nii")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DualsegError, match="label: expected another file than the image's, found"):
        export_case(dataset, "TESTA", tmp_path / "folder" / ".." / "a.nii", tmp_path / "a.nii")
    assert list(tmp_path.glob("image*")) == []


@pytest.mark.parametrize("name", HEADERS)
def test_in_itk_the_mask_and_its_probabilities_lie_on_the_scan(trained, tmp_path, name):
    scan, out = nifti(tmp_path / "scan.nii.gz", **HEADERS[name]), tmp_path / "mask.nii.gz"
    remarks = predict_scan(trained[0].folder, scan, out, probabilities=True)
    for path in (out, tmp_path / "mask_probability.nii.gz"):
        np.testing.assert_allclose(corners(path), corners(scan), atol=0.01)
    assert any("two transforms" in remark for remark in remarks) == (name in TWO_FORMS)


@pytest.mark.parametrize("unit", ["micron", "meter"])
def test_the_unit_of_a_header_changes_nothing(trained, tmp_path, unit):
    straight, _ = predict(trained, trained[1], tmp_path)
    affine = LPS @ np.diag([*[{"micron": 1e3, "meter": 1e-3}[unit]] * 3, 1])
    image = nib.Nifti1Image(trained[1].get_fdata(dtype=np.float32), affine)
    image.header.set_xyzt_units(unit)
    mask, remarks = predict(trained, image, tmp_path)
    np.testing.assert_array_equal(mask.get_fdata(), straight.get_fdata())
    assert straight.get_fdata().any()
    assert remarks == []
    np.testing.assert_allclose(mask.affine, affine)


def test_a_series_is_predicted_where_it_lies(trained, tmp_path):
    values = np.round(100 * trained[2].image)
    save_dicom(tmp_path / "series", values, "LAS", OBLIQUE)
    save_nrrd(tmp_path / "same.nrrd", values, "LAS", OBLIQUE)
    found = []
    for name in ("series", "same.nrrd"):
        predict_scan(trained[0].folder, tmp_path / name, tmp_path / f"{name}.nii")
        found.append(oriented(tmp_path / f"{name}.nii", "RAS"))
    (mask, affine), (same, place) = found
    np.testing.assert_array_equal(mask, same)
    assert mask.any()
    np.testing.assert_allclose(affine, place, atol=1e-3)
    there = np.sort(corners(tmp_path / "same.nrrd"), axis=0)
    np.testing.assert_allclose(np.sort(corners(tmp_path / "series.nii"), axis=0), there, atol=0.01)


@pytest.mark.parametrize("spacing", [None, (1.3, 1.3, 1.7)])
def test_predict_gives_what_evaluate_measured(tmp_path, monkeypatch, no_pictures, spacing):
    """Half of the scans have voxels twice as large; none has the median of their sizes."""
    monkeypatch.setattr(Run, "load_method", lambda self, device: Brightness())
    for i in range(6):
        image, label = ball_case(i, (40, 36, 22))
        affine = np.diag([*[1.0 + i % 2] * 3, 1.0])
        save_as(tmp_path / "images" / f"c{i}.nii", image, affine=affine)
        save_as(tmp_path / "labels" / f"c{i}.nii", label, affine=affine)
    recipe = Recipe(spacing=spacing, test_share=0.6)
    prepare("folder", tmp_path / "images", tmp_path / "labels", tmp_path / "data", recipe)
    data = str(tmp_path / "data")
    run = fit(Experiment(data, "smoke", labeled=1, iterations=1), tmp_path / "run")
    evaluate(run.folder)
    dataset = open_dataset(data)
    given = []
    monkeypatch.setattr(
        "dualseg.evaluation.predict_scan.predict_volume",
        lambda method, coarse, *more: given.append(coarse) or predict_volume(method, coarse, *more),
    )
    sizes = set()
    for case_id in dataset.test:
        scan, out = tmp_path / "images" / f"{case_id}.nii", tmp_path / "mask.nii"
        remarks = predict_scan(run.folder, scan, out)
        coarse = open_dataset(data, resolution="half").case(case_id).channels
        np.testing.assert_array_equal(given[-1], coarse)
        sizes.add(dataset.spacing(case_id))
        if spacing is None:
            measured = load_masks(mask_path(run, "test", case_id)).masks["mean"]
            np.testing.assert_array_equal(nib.load(out).get_fdata(), measured)
            assert not any("resampled" in remark for remark in remarks)
    assert len(sizes) == 2, "the test set has scans of both sizes"


def test_voxels_far_from_those_of_the_training_data_are_remarked_on(
    tmp_path, monkeypatch, no_pictures
):
    monkeypatch.setattr(Run, "load_method", lambda self, device: Brightness())
    for i in range(3):
        image, label = ball_case(i, (40, 36, 22))
        save_as(tmp_path / "images" / f"c{i}.nii", image, affine=np.eye(4))
        save_as(tmp_path / "labels" / f"c{i}.nii", label, affine=np.eye(4))
    prepare("folder", tmp_path / "images", tmp_path / "labels", tmp_path / "data")
    experiment = Experiment(str(tmp_path / "data"), "smoke", labeled=1, iterations=1)
    run = fit(experiment, tmp_path / "run")
    save_as(tmp_path / "scan.nii", ball_case(7)[0], affine=np.diag([3.0, 1, 1, 1]))
    remarks = predict_scan(run.folder, tmp_path / "scan.nii", tmp_path / "mask.nii")
    assert (
        "voxels of 3 x 1 x 1 mm are unlike those of the training data (median 1 x 1 x 1"
        in " ".join(remarks)
    )
