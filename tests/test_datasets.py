"""Data sets: splits, the cache, coarse grids, and every way in which files can be wrong."""

import os

import h5py
import numpy as np
import pytest
from conftest import TEST, TRAIN, ball_case, write_la_case

from dualseg.data.dataset import Split, open_dataset
from dualseg.data.grids import shrink_image, shrink_label
from dualseg.data.known import DATASETS, published_lists
from dualseg.data.preparation.inspect import check
from dualseg.errors import DualsegError


def test_published_splits_are_disjoint_and_complete():
    for name, sizes in {"la": (80, 20), "phantom": (40, 10)}.items():
        train, test = published_lists(name)
        assert (len(train), len(test)) == sizes
        assert len({*train, *test}) == sum(sizes)


def test_first_eight_labeled_la_cases_are_the_fields():
    assert published_lists("la")[0][:8] == (
        "06SR5RBREL16DQ6M8LWS",
        "0RZDK210BSMWAA6467LU",
        "1D7CUD1955YZPGK8XHJX",
        "1GU15S0GJ6PFNARO469W",
        "1MHBF3G6DCPWHSKG7XCP",
        "23X6SY44VT9KFHR7S7OC",
        "2XL5HSFSE93RMOJDRGR4",
        "38CWS74285MFGZZXR09Z",
    )


def test_split_takes_first_labeled_last_validation(la_root):
    split = open_dataset("la", la_root).split(labeled=3, validation=2)
    assert split.labeled == tuple(TRAIN[:3])
    assert split.unlabeled == tuple(TRAIN[3:6])
    assert split.validation == tuple(TRAIN[6:])
    assert split.test == tuple(TEST)


def test_case_in_two_sets_is_refused():
    with pytest.raises(DualsegError, match="case b stands twice .*in labeled and test"):
        Split(labeled=("a", "b"), unlabeled=(), validation=(), test=("b",))


def test_overlapping_lists_are_refused_when_opening(la_root):
    (la_root / "test.list").write_text(f"{TRAIN[0]}\n")
    with pytest.raises(DualsegError, match=f"case {TRAIN[0]} stands twice"):
        open_dataset("la", la_root)


@pytest.mark.parametrize(("labeled", "validation"), [(9, 0), (7, 2)])
def test_more_labels_than_cases(la_root, labeled, validation):
    with pytest.raises(DualsegError, match=f"labeled: expected at most {8 - validation} .*found"):
        open_dataset("la", la_root).split(labeled, validation)


@pytest.mark.parametrize(("labeled", "validation"), [(0, 1), (-1, 0), (2, -1)])
def test_fewer_cases_than_none(la_root, labeled, validation):
    with pytest.raises(DualsegError, match="(labeled|validation): expected at least [01], found"):
        open_dataset("la", la_root).split(labeled, validation)


def test_cached_case_equals_the_source(la_root):
    dataset = open_dataset("la", la_root)
    image, label = ball_case(0)
    for case in (dataset.case(TRAIN[0]), dataset.case(TRAIN[0])):  # written, then read back
        np.testing.assert_array_equal(case.image, image)
        np.testing.assert_array_equal(case.label, label)
        assert isinstance(case.image, np.memmap)


def test_changed_source_is_read_again(la_root):
    dataset = open_dataset("la", la_root)
    dataset.case(TRAIN[0])
    image, label = ball_case(99)
    path = write_la_case(la_root, TRAIN[0], image, label)
    os.utime(path, (1, 1))
    np.testing.assert_array_equal(dataset.case(TRAIN[0]).image, image)


def test_fingerprint_is_of_the_arrays_not_of_the_file(la_root):
    dataset = open_dataset("la", la_root)
    before = dataset.cache(TRAIN)
    assert before == dataset.cache(TRAIN[::-1])
    assert before != dataset.cache(TRAIN[1:])
    assert before == open_dataset("la", la_root, "half").cache(TRAIN)
    image, label = ball_case(0)
    with h5py.File(la_root / TRAIN[0] / "mri_norm2.h5", "w") as file:  # other bytes, same arrays
        file["image"], file["label"] = image, label
    assert dataset.cache(TRAIN) == before
    image[0, 0, 0] += 1
    write_la_case(la_root, TRAIN[0], image, label)
    assert dataset.cache(TRAIN) != before


@pytest.mark.fault(
    "an interrupted writing of the cache",
    "the case is cached anew",
)
def test_interrupted_cache_writing_is_taken_up_again(la_root, monkeypatch):
    dataset = open_dataset("la", la_root)
    written = []

    def fail_on_the_second_file(descriptor):
        written.append(descriptor)
        if len(written) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail_on_the_second_file)
        with pytest.raises(KeyboardInterrupt):
            dataset.case(TRAIN[1])
    np.testing.assert_array_equal(dataset.case(TRAIN[1]).label, ball_case(1, (41, 36, 22))[1])


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_shrinking_against_a_slow_loop(factor):
    rng = np.random.default_rng(0)
    image = rng.normal(size=(9, 8, 6)).astype(np.float32)
    label = rng.integers(0, 3, image.shape)
    small, classes = shrink_image(image, factor), shrink_label(label, factor, 3)
    assert small.shape == classes.shape == tuple(-(-s // factor) for s in image.shape)
    for index in np.ndindex(small.shape):
        places = [
            tuple(
                min(factor * i + d, s - 1) for i, d, s in zip(index, step, image.shape, strict=True)
            )
            for step in np.ndindex((factor,) * 3)
        ]
        assert small[index] == pytest.approx(np.mean([image[p] for p in places]), abs=1e-5)
        counts = np.bincount([label[p] for p in places], minlength=3)
        assert classes[index] == counts.argmax()


def test_phantom_needs_no_root_and_is_cached():
    dataset = open_dataset("phantom", resolution="quarter")
    case = dataset.case("phantom_003")
    assert case.image.shape == (24, 20, 16)
    full = dataset.read("phantom_003")
    np.testing.assert_allclose(case.image, shrink_image(full.image, 4))
    with pytest.raises(DualsegError, match="case scan_1: expected phantom_000, phantom_001 and"):
        dataset.read("scan_1")


# --- what can be wrong, one clear sentence each -------------------------------------------------


def test_unknown_data_set():
    with pytest.raises(
        DualsegError,
        match="dataset: expected one of brats2019, folder, .*or a folder.*found .heart",
    ):
        open_dataset("heart")


def test_unknown_resolution():
    with pytest.raises(DualsegError, match="resolution: expected one of full, half, quarter"):
        open_dataset("phantom", resolution="double")


def test_no_root_given():
    with pytest.raises(DualsegError, match="needs the folder with its files; give --root DIR"):
        open_dataset("la")


def test_root_is_missing(tmp_path):
    with pytest.raises(DualsegError, match="found no folder .*nowhere"):
        open_dataset("la", tmp_path / "nowhere")


@pytest.mark.fault(
    "a missing case",
    "one sentence that names the file",
)
def test_case_is_missing(la_root):
    (la_root / TRAIN[2] / "mri_norm2.h5").unlink()
    with pytest.raises(
        DualsegError, match=f"{TRAIN[2]}.mri_norm2.h5: expected the image and label"
    ):
        open_dataset("la", la_root).cache(TRAIN)


def _damage(root, kind):
    path = root / TRAIN[0] / "mri_norm2.h5"
    image, label = ball_case(0)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:3000])
        return
    if kind == "no HDF5":
        path.write_text("not found")
        return
    if kind == "no label":
        with h5py.File(path, "w") as file:
            file["image"] = image
        return
    if kind == "other shape":
        label = label[:-1]
    if kind == "four axes":
        image = image[..., None]
    if kind == "labels outside":
        label = label * 255
    if kind == "fractional labels":
        label = label * 0.5
    if kind == "NaN":
        image[3, 4, 5] = np.nan
    if kind == "infinite":
        image[0] = np.inf
    write_la_case(root, TRAIN[0], image, label)


DAMAGES = {
    "truncated": "expected a readable HDF5 file, found a damaged or truncated one",
    "no HDF5": "expected a readable HDF5 file",
    "no label": "expected the data sets 'image' and 'label', found .*label",
    "other shape": r"one shape, found \(40, 36, 22\) and \(39, 36, 22\)",
    "four axes": r"three axes, found shape \(40, 36, 22, 1\)",
    "labels outside": r"expected labels 0 to 1, found \[255\]",
    "fractional labels": r"expected labels 0 to 1, found \[0.5\]",
    "NaN": "found 1 voxels that are NaN or infinite",
    "infinite": "found 792 voxels that are NaN or infinite",
}


@pytest.mark.fault(
    "damaged or impossible volumes",
    "one sentence that names the file",
)
@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_case_is_named(la_root, kind):
    _damage(la_root, kind)
    with pytest.raises(DualsegError, match=f"{TRAIN[0]}.mri_norm2.h5: .*{DAMAGES[kind]}"):
        open_dataset("la", la_root).case(TRAIN[0])


def test_check_reads_all_and_reports_every_problem(la_root):
    rows, problems = check("la", la_root)
    assert len(rows) == 11
    assert problems == []
    _damage(la_root, "NaN")
    write_la_case(la_root, TEST[0], *ball_case(1, (41, 36, 22)))  # the same scan as TRAIN[1]
    image, label = ball_case(3, (43, 36, 22))
    write_la_case(la_root, TRAIN[3], image, np.zeros_like(label))
    _, problems = check("la", la_root)
    assert len(problems) == 3
    assert "NaN" in problems[0]
    assert problems[1] == f"case {TRAIN[3]}: expected a labeled foreground, found none."
    assert problems[2].startswith(f"cases {TRAIN[1]} and {TEST[0]}: expected two scans")


# --- the real data --------------------------------------------------------------------------------


def test_real_la_has_the_facts_of_its_spec(real_la):
    dataset = open_dataset("la", real_la)
    assert (dataset.train, dataset.test) == published_lists("la")
    for case_id in (dataset.train[0], dataset.test[-1]):
        case = dataset.read(case_id)
        assert case.image.shape[2] == 88
        assert set(np.unique(case.label)) == {0, 1}
        assert 0.01 < case.label.mean() < 0.15
    assert DATASETS["la"].spacing == (0.625,) * 3
