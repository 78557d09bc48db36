"""DICOM series: one regular volume is read with its own geometry, everything else is refused."""

import shutil

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, EnhancedMRImageStorage, ExplicitVRLittleEndian, generate_uid
from rawdata import save_dicom, volumes
from scipy.spatial.transform import Rotation

from dualseg.data.volume_files import read_volume
from dualseg.errors import DualsegError

ROWS, COLUMNS, PIXEL = 6, 5, (1.2, 0.8)  # distance between rows, between columns
STRAIGHT = np.eye(3)
STUDY, SERIES = generate_uid(), generate_uid()


def header(kind=CTImageStorage, **tags):
    """A gray-value image's header; `tags` replace its elements."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = kind
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    image.StudyInstanceUID, image.SeriesInstanceUID = STUDY, SERIES
    image.Modality, image.ImageType = "CT", ["ORIGINAL", "PRIMARY"]
    image.Rows, image.Columns, image.SamplesPerPixel = ROWS, COLUMNS, 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
    image.PixelSpacing, image.SliceThickness = list(PIXEL), 1.5
    image.RescaleSlope, image.RescaleIntercept = 1, 0
    for name, value in tags.items():
        setattr(image, name, value)
    return image


def pixels(number):
    """Values that differ from slice to slice, and along rows and columns."""
    return (100 * number + np.arange(ROWS * COLUMNS)).reshape(ROWS, COLUMNS).astype(np.int16)


def save(path, image, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.PixelData = np.ascontiguousarray(values).tobytes()
    image.save_as(path, enforce_file_format=True)
    return path


def series(folder, places, turn=STRAIGHT, slopes=None, **tags):
    """A file for each place (3,) of a slice, in LPS before `turn`; returns the files."""
    paths = []
    for number, place in enumerate(places):
        slope = {} if slopes is None else {"RescaleSlope": slopes[number]}
        image = header(
            InstanceNumber=number + 1,
            ImagePositionPatient=[float(f"{v:.6f}") for v in turn @ place],
            ImageOrientationPatient=[float(f"{v:.8f}") for v in turn[:, :2].T.ravel()],
            **slope,
            **tags,
        )
        paths.append(save(folder / f"{(number * 7) % 100:02d}-{number}.dcm", image, pixels(number)))
    return paths


def along(*steps):
    """Places of slices at these distances along z."""
    return [(-10.0, 20.0, z) for z in np.concatenate([[0], np.cumsum(steps)])]


def enhanced(path, places, turn=STRAIGHT, order=None, slopes=None, **tags):
    """One multi-frame file, its frames in any order; geometry in the per-frame groups."""
    order = list(range(len(places))) if order is None else order
    image = header(EnhancedMRImageStorage, NumberOfFrames=len(places), **tags)
    for name in ("PixelSpacing", "RescaleSlope", "RescaleIntercept", "SliceThickness"):
        delattr(image, name)
    shared, measures, direction = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = list(PIXEL), 1.5
    direction.ImageOrientationPatient = [float(f"{v:.8f}") for v in turn[:, :2].T.ravel()]
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([direction])
    image.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for number in order:
        frame, place, scale = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [float(f"{v:.6f}") for v in turn @ np.array(places[number])]
        scale.RescaleSlope = 1 if slopes is None else slopes[number]
        scale.RescaleIntercept, scale.RescaleType = -5, "US"
        frame.PlanePositionSequence = Sequence([place])
        frame.PixelValueTransformationSequence = Sequence([scale])
        frames.append(frame)
    image.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return save(path, image, np.stack([pixels(number) for number in order]))


def corners_lps(volume):
    ends = np.array(list(np.ndindex(2, 2, 2))) * (np.array(volume.values.shape) - 1)
    return nib.affines.apply_affine(np.diag([-1, -1, 1, 1]) @ volume.affine, ends)


OBLIQUE = Rotation.from_euler("xyz", [12, -7, 31], degrees=True).as_matrix()


@pytest.mark.parametrize("turn", [STRAIGHT, OBLIQUE], ids=["straight", "oblique"])
def test_a_regular_series_lies_where_itk_puts_it(tmp_path, turn):
    paths = series(tmp_path / "a", along(*[1.5] * 7), turn)
    (tmp_path / "a" / "notes.txt").write_text("slices of a phantom")
    volume = read_volume(tmp_path / "a")
    image = sitk.ReadImage([str(path) for path in paths])
    ends = np.array(list(np.ndindex(2, 2, 2))) * (np.array(image.GetSize()) - 1)
    there = [image.TransformIndexToPhysicalPoint(end.tolist()) for end in ends]
    np.testing.assert_allclose(corners_lps(volume), there, atol=0.01)
    np.testing.assert_array_equal(volume.values.transpose(2, 1, 0), sitk.GetArrayFromImage(image))
    np.testing.assert_allclose(volume.spacing, (0.8, 1.2, 1.5), atol=1e-5)
    assert volume.remarks == ()


def test_slices_in_a_folder_below_are_found(tmp_path):
    series(tmp_path / "study" / "series", along(2, 2, 2))
    np.testing.assert_array_equal(
        read_volume(tmp_path).values, read_volume(tmp_path / "study" / "series").values
    )


def test_slopes_that_change_from_slice_to_slice_are_exact(tmp_path):
    slopes = [1, 0.37, 0.37, 1.91, 0.001]
    series(tmp_path / "a", along(2, 2, 2, 2), slopes=slopes, RescaleIntercept=-3)
    expected = np.stack([pixels(i) * slope - 3.0 for i, slope in enumerate(slopes)])
    found = read_volume(tmp_path / "a").values.transpose(2, 1, 0)
    np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_an_exact_copy_of_a_file_is_dropped_with_a_remark(tmp_path):
    series(tmp_path / "a", along(*[2] * 9))
    before = read_volume(tmp_path / "a")
    shutil.copy(tmp_path / "a" / "14-2.dcm", tmp_path / "a" / "14-2 (1).dcm")
    volume = read_volume(tmp_path / "a")
    np.testing.assert_array_equal(volume.values, before.values)
    np.testing.assert_array_equal(volume.affine, before.affine)
    assert "were taken once" in volume.remarks[0]


# Enhanced multi-frame files.


@pytest.mark.parametrize("turn", [STRAIGHT, OBLIQUE], ids=["straight", "oblique"])
def test_an_enhanced_file_with_one_volume(tmp_path, turn):
    places, slopes = along(*[2.5] * 5), [1, 2, 0.5, 1, 3, 0.25]
    one = enhanced(tmp_path / "b" / "one", places, turn, order=[3, 0, 5, 1, 4, 2], slopes=slopes)
    volume = read_volume(one)
    expected = np.stack([pixels(i) * slope - 5.0 for i, slope in enumerate(slopes)])
    np.testing.assert_allclose(volume.values.transpose(2, 1, 0), expected, rtol=1e-6)
    # Where pydicom's positions say that the first voxels of first and last frame are.
    ends = [(0, 0, 0), (0, 0, 5)]
    lps = nib.affines.apply_affine(np.diag([-1, -1, 1, 1]) @ volume.affine, ends)
    np.testing.assert_allclose(lps, [turn @ places[0], turn @ places[-1]], atol=1e-3)
    np.testing.assert_allclose(volume.spacing, (0.8, 1.2, 2.5), atol=1e-5)
    np.testing.assert_array_equal(read_volume(tmp_path / "b").values, volume.values)


def test_an_enhanced_file_with_two_volumes_is_refused(tmp_path):
    path = enhanced(tmp_path / "two.dcm", along(2, 2) * 2)
    with pytest.raises(DualsegError, match=r"found 6 slices at 3 places: several volumes"):
        read_volume(path)


def test_frames_without_a_place_are_refused(tmp_path):
    path = save(tmp_path / "a.dcm", header(NumberOfFrames=2), np.stack([pixels(0), pixels(1)]))
    with pytest.raises(DualsegError, match=r"a header that says where each slice lies"):
        read_volume(path)


# Series that are no regular volume: what lies in the folder, and the sentence.


def tilted(folder, degrees):
    y, z = 1.5 * np.sin(np.radians(degrees)), 1.5 * np.cos(np.radians(degrees))
    series(folder, [(0.0, y * i, z * i) for i in range(24)])


def repeated(folder):
    paths = series(folder, along(*[2] * 9))
    other = pydicom.dcmread(paths[4])
    other.SOPInstanceUID = generate_uid()
    save(folder / "again.dcm", other, pixels(40))


def localizer(folder):
    series(folder, along(2, 2))
    more = series(folder / "more", along(2, 2), OBLIQUE)
    for i, path in enumerate(more):
        path.rename(folder / f"more{i}.dcm")


def two_series(folder):
    series(folder, along(2, 2), SeriesDescription="T1")
    for i, path in enumerate(series(folder / "x", along(2, 2, 2), SeriesInstanceUID="1.2.3")):
        path.rename(folder / f"x{i}.dcm")


def missing(folder):
    series(folder, along(*[1.5] * 17))[9].unlink()


def missing_two(paths):
    paths[4].unlink()
    paths[11].unlink()


def cut(folder, size):
    path = series(folder, along(2, 2, 2))[1]
    path.write_bytes(path.read_bytes()[:size])


def broken_link(folder):
    path = series(folder, along(2, 2, 2))[3]
    path.unlink()
    path.symlink_to(folder / "annex" / "object")


def other_sizes(folder):
    series(folder, along(2, 2))
    series(folder / "b", [(-10.0, 20.0, 6.0)], PixelSpacing=[2, 2])


IRREGULAR = {
    "8 thin, 16 thick": (
        lambda f: series(f, along(*[1.5] * 8, *[3] * 15)),
        r"slices at equal distances, found steps from 1.50 to 3.00 mm; .dcm2niix FOLDER.",
    ),
    "16 thick, 8 thin": (
        lambda f: series(f, along(*[3] * 16, *[1.5] * 7)),
        r"found steps from 1.50 to 3.00 mm",
    ),
    "14 thin, 10 thick": (
        lambda f: series(f, along(*[1.5] * 14, *[3] * 9)),
        r"found steps from 1.50 to 3.00 mm",
    ),
    "a missing file": (
        missing,
        r"found 3.00 mm instead of 1.50 mm after slice 9 of 17; files seem to be missing",
    ),
    "two missing files": (
        lambda f: missing_two(series(f, along(*[2] * 19))),
        r"found 4.00 mm instead of 2.00 mm after slice 4, 10 of 18; files seem to be missing",
    ),
    "a patient who moved": (
        lambda f: series(f, [(5 * (i == 4), 0, 2 * i) for i in range(9)]),
        r"expected slices above each other, found 28-4.dcm moved sideways by 5.0 mm",
    ),
    "a tilted gantry": (lambda f: tilted(f, 15), r"found steps that lean 15.0 degrees .*tilted"),
    "a slightly tilted one": (lambda f: tilted(f, 1), r"found steps that lean 1.0 degrees"),
    "a slice with two contents": (
        repeated,
        r"found (28-4|again).dcm and (28-4|again).dcm at the same one with different contents",
    ),
    "two phases": (
        lambda f: series(f, [p for p in along(*[1.5] * 23) for _ in "ab"]),
        r"found 48 slices at 24 places: several volumes \(phases or echoes\).*dcm2niix",
    ),
    "all at one place": (
        lambda f: series(f, along(0, 0, 0)),
        r"expected slices side by side, found all 4 at one place",
    ),
    "a mosaic": (
        lambda f: series(f, along(2), ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]),
        r"found a mosaic of many slices; .dcm2niix FOLDER.",
    ),
    "a localizer": (
        localizer,
        r"expected parallel slices, found .* at an angle",
    ),
    "slices of two sizes": (other_sizes, r"expected slices of one size, found"),
    "one slice": (lambda f: series(f, along()), r"found one slice; give the folder"),
    "two series": (two_series, r"found 2 series: .*1\.2\.3 \(4 files .*\(3 files .*'T1'\); give"),
    "no series": (lambda f: (f / "a").mkdir(parents=True), r"one DICOM series, found 0 series\."),
    "colors": (
        lambda f: series(f, along(2, 2), SamplesPerPixel=3),
        r"expected gray values, found colors",
    ),
    "no places": (
        lambda f: save(f / "a.dcm", header(), pixels(0)),
        r"a.dcm: expected a header that says where each slice lies",
    ),
    "a header cut off": (lambda f: cut(f, 400), r"07-1.dcm: expected a .* damaged"),
    "voxels cut off": (lambda f: cut(f, -20), r"expected readable slices .* found a damaged one"),
    "a link to nothing": (broken_link, r"21-3.dcm: is a link to a file that is not here"),
}


@pytest.mark.parametrize("name", IRREGULAR)
def test_what_is_no_regular_volume_is_refused_with_its_cause(tmp_path, name, capfd):
    make, sentence = IRREGULAR[name]
    make(tmp_path / "a")
    with pytest.raises(DualsegError, match=sentence) as refused:
        read_volume(tmp_path / "a")
    assert len(str(refused.value)) < 600
    assert capfd.readouterr().err == ""


def test_positions_that_were_rounded_are_read_without_a_word(tmp_path, capfd):
    series(tmp_path / "a", [(-10, 20, 2 * i + 0.01 * (-1) ** i) for i in range(10)])
    assert read_volume(tmp_path / "a").spacing[2] == pytest.approx(2, rel=0.01)
    assert capfd.readouterr().err == ""


def test_one_file_of_a_series(tmp_path):
    path = series(tmp_path, along(2, 2))[0]
    with pytest.raises(DualsegError, match=r"found one slice; give the folder with all files"):
        read_volume(path)
    with pytest.raises(DualsegError, match=r"found one slice; give the folder with all files"):
        read_volume(path.rename(tmp_path / "IM0001"))


def test_a_series_that_itk_wrote(tmp_path):
    image = np.round(100 * volumes()[0])
    save_dicom(tmp_path / "a", image, "LPS")
    np.testing.assert_array_equal(read_volume(tmp_path / "a").turned("RAS").values, image)
