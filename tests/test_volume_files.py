"""Reading and writing volumes, judged by SimpleITK, `gzip -t`, and numbers worked out by hand."""

import bz2
import gzip
import struct
import subprocess

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from headers import HEADERS, MOVED, OBLIQUE, SHAPE, SHEARED, STRAIGHT, TWO_FORMS, corners, nifti
from hypothesis import HealthCheck, given, settings, strategies as st
from rawdata import SPACING, save_nrrd, volumes
from scipy.spatial.transform import Rotation

from dualseg.data.nifti import write_nifti
from dualseg.data.volume import require_same_grid
from dualseg.data.volume_files import oriented, read_volume
from dualseg.errors import DualsegError

DRAWN = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # a file is written over
)


@pytest.mark.parametrize("name", HEADERS)
def test_in_itk_a_mask_lies_where_its_scan_lies(tmp_path, name):
    scan = nifti(tmp_path / "scan.nii.gz", **HEADERS[name])
    volume = read_volume(scan)
    for values in (np.ones(SHAPE, np.uint8), np.ones(SHAPE, np.float32)):
        mask = tmp_path / "mask.nii"
        write_nifti(mask, values, volume.affine, volume.header)
        np.testing.assert_allclose(corners(mask), corners(scan), atol=0.01)
        one, other = nib.load(scan).header, nib.load(mask).header
        for field in ("sform_code", "qform_code", "xyzt_units", "srow_x", "srow_y", "quatern_b"):
            np.testing.assert_array_equal(one[field], other[field])
        np.testing.assert_allclose(nib.load(mask).affine, nib.load(scan).affine, atol=1e-6)
    assert any("two transforms that differ" in remark for remark in volume.remarks) == (
        name in TWO_FORMS
    )
    assert any("codes are 0" in remark for remark in volume.remarks) == (name == "codes 0")


def test_a_mask_of_a_nifti_2_scan_is_nifti_1_which_itk_reads(tmp_path):
    one = nifti(tmp_path / "one.nii", MOVED, OBLIQUE, (2, 1))
    two = read_volume(nifti(tmp_path / "two.nii", MOVED, OBLIQUE, (2, 1), kind=nib.Nifti2Image))
    write_nifti(tmp_path / "mask.nii", np.ones(SHAPE, np.uint8), two.affine, two.header)
    np.testing.assert_allclose(corners(tmp_path / "mask.nii"), corners(one), atol=0.01)


def test_a_pure_shear_that_itk_cannot_place_is_refused(tmp_path):
    scan = nifti(tmp_path / "scan.nii", sform=SHEARED)
    with pytest.raises(RuntimeError, match="orthonormal"):
        sitk.ReadImage(str(scan))
    with pytest.raises(DualsegError, match="scan.nii: expected axes at right angles"):
        read_volume(scan)


@pytest.mark.parametrize("unit", ["mm", "micron", "meter", "unknown"])
def test_units_give_the_same_millimetres_as_in_itk(tmp_path, unit):
    factor = {"micron": 1e3, "meter": 1e-3}.get(unit, 1)
    affine = np.diag([*np.multiply(SPACING, factor), 1.0])
    scan = nifti(tmp_path / "scan.nii", affine, affine, unit=unit)
    np.testing.assert_allclose(read_volume(scan).spacing, SPACING, rtol=1e-6)
    np.testing.assert_allclose(sitk.ReadImage(str(scan)).GetSpacing(), SPACING, rtol=1e-6)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.integers(0, 2**31),
    st.sampled_from(["mm", "micron", "meter", "unknown"]),
    st.sampled_from([(1, 0), (0, 1), (1, 1), (2, 2), (4, 1)]),
    st.booleans(),
)
def test_headers_drawn_at_random_have_the_geometry_that_itk_sees(tmp_path, seed, unit, codes, left):
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    turn = Rotation.random(random_state=rng).as_matrix()
    affine[:3, :3] = turn @ np.diag(rng.uniform(0.3, 5, 3)) @ np.diag([-1 if left else 1, 1, 1])
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    stored = affine.copy()
    stored[:3] *= {"micron": 1e3, "meter": 1e-3}.get(unit, 1)
    forms = [stored if code else None for code in codes]
    scan = nifti(tmp_path / "scan.nii", *forms, codes=codes, unit=unit)
    volume = read_volume(scan)
    lps = nib.affines.apply_affine(
        np.diag([-1, -1, 1, 1]) @ volume.affine,
        np.array(list(np.ndindex(2, 2, 2))) * (np.array(SHAPE) - 1),
    )
    np.testing.assert_allclose(lps, corners(scan), atol=0.01)
    write_nifti(tmp_path / "mask.nii", np.ones(SHAPE, np.uint8), volume.affine, volume.header)
    np.testing.assert_allclose(corners(tmp_path / "mask.nii"), corners(scan), atol=0.01)
    # Of a scan in another format, where there is no header to take over:
    write_nifti(tmp_path / "new.nii", np.ones(SHAPE, np.uint8), volume.affine)
    np.testing.assert_allclose(corners(tmp_path / "new.nii"), corners(scan), atol=0.01)


def test_a_label_by_the_other_transform_names_the_cause(tmp_path):
    image = nifti(tmp_path / "image.nii", MOVED, STRAIGHT, (2, 1))
    sitk.WriteImage(sitk.ReadImage(str(image)), str(tmp_path / "label.nii"))
    label = tmp_path / "label.nii"
    with pytest.raises(DualsegError, match="header of image.nii holds two transforms that differ"):
        require_same_grid(
            label, read_volume(label).turned("RAS"), image, read_volume(image).turned("RAS")
        )


# Damage.


@pytest.mark.parametrize("level", [1, 6])
def test_every_flipped_bit_that_gzip_finds_is_refused(tmp_path, level):
    rng = np.random.default_rng(level)
    values = np.cumsum(rng.integers(-3, 4, (28, 24, 32)), axis=2).astype(np.int16)
    content = nib.Nifti1Image(values, np.eye(4)).to_bytes()
    content = bytearray(gzip.compress(content, level))
    path = tmp_path / "scan.nii.gz"
    for place in rng.integers(10, len(content), 200):
        content[place] ^= 1 << int(place % 8)
        path.write_bytes(content)
        content[place] ^= 1 << int(place % 8)
        if place % 10 == 0:  # a process each: a part of them
            assert subprocess.run(["gzip", "-t", path], capture_output=True).returncode
        with pytest.raises(DualsegError, match="scan.nii.gz: expected a readable NIfTI image"):
            read_volume(path)
    path.write_bytes(content)
    np.testing.assert_array_equal(read_volume(path).values, values)


@pytest.mark.parametrize("name", ["scan.mha", "scan.nrrd"])
def test_a_flipped_bit_of_compressed_voxels_never_gives_other_values(tmp_path, name):
    """ITK reads on; the checksum in the stream tells (RFC 1950, 1952). A few bits are padding."""
    rng = np.random.default_rng(0)
    values = np.cumsum(rng.integers(-3, 4, (28, 24, 32)), axis=2).astype(np.int16)
    path = tmp_path / name
    sitk.WriteImage(sitk.GetImageFromArray(values), str(path), useCompression=True)
    np.testing.assert_array_equal(read_volume(path).values, values.T)
    content = bytearray(path.read_bytes())
    mark = b"LOCAL\n" if name == "scan.mha" else b"\n\n"
    first = content.index(mark) + len(mark) + 10  # behind the stream's own header
    refused = 0
    for place in rng.integers(first, len(content), 100):
        content[place] ^= 1 << int(place % 8)
        path.write_bytes(content)
        content[place] ^= 1 << int(place % 8)
        try:
            np.testing.assert_array_equal(read_volume(path).values, values.T)
        except DualsegError as error:
            assert f"{name}: expected a readable" in str(error)
            refused += 1
    assert refused > 95
    path.write_bytes(content[:-6])
    with pytest.raises(DualsegError, match=f"{name}: expected a readable .* damaged file"):
        read_volume(path)


@pytest.mark.parametrize("what", ["no directions", "a direction of none", "mha", "all there"])
def test_a_voxel_size_that_the_header_does_not_hold_is_remarked_on(tmp_path, what):
    values = np.zeros((4, 5, 6), np.int16).tobytes()
    path = tmp_path / ("scan.mha" if what == "mha" else "scan.nrrd")
    if what == "mha":
        header = "ObjectType = Image\nNDims = 3\nDimSize = 4 5 6\nElementType = MET_SHORT\n"
        header += "ElementDataFile = LOCAL\n"
    else:
        header = "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\n"
        header += "sizes: 4 5 6\nencoding: raw\nendian: little\n"
        if what == "a direction of none":
            header += "space directions: none none none\n"
        if what == "all there":
            header += "space directions: (1,0,0) (0,1,0) (0,0,1)\n"
        header += "\n"
    path.write_bytes(header.encode() + values)
    remarks = " ".join(read_volume(path).remarks)
    assert ("how large the voxels are" in remarks) == (what != "all there")


def test_a_file_without_its_last_bytes_is_refused(tmp_path):
    path = nifti(tmp_path / "scan.nii.gz", STRAIGHT)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DualsegError, match="ended before the end-of-stream"):
        read_volume(path)


def colors(path):
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1"), ("A", "u1")])
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, kind), np.eye(4)), path)


def link(path):
    path.symlink_to(path.with_name("nowhere"))


def four_axes(path):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 4, 5, 6), np.float32), False), str(path))


def changed(path, at, content):
    """A scan with some bytes of its header changed."""
    nifti(path, STRAIGHT)
    scan = bytearray(path.read_bytes())
    scan[at : at + len(content)] = content
    path.write_bytes(scan)


OTHERS = {
    "scan.nii.gz": (colors, r"expected one real number a voxel, found colors"),
    "complex.nii": (
        lambda p: nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.complex64), np.eye(4)), p),
        r"expected one real number a voxel, found complex numbers",
    ),
    "scan.nii.bz2": (
        lambda p: p.write_bytes(bz2.compress(b"x")),
        r"found a packed file; unpack it first",
    ),
    "packed.nii.gz": (
        lambda p: p.write_bytes(bz2.compress(bytes(1000))),
        r"found a file packed with bzip2; unpack it",
    ),
    "scan.nhdr": (lambda p: p.write_text("NRRD0004"), r"a header whose voxels lie in a second"),
    "scan.txt": (lambda p: p.write_text("hello"), r"expected a file that ends in .*convert it"),
    "nowhere.nii": (lambda p: None, r"nowhere.nii: no such file"),
    "link.nii.gz": (link, r"is a link to a file that is not here; get it first \(`datalad get`"),
    "link.nrrd": (link, r"is a link to a file that is not here"),
    "four.nrrd": (four_axes, r"found 4 axes and 1 values a voxel; save one volume"),
    "text.mha": (lambda p: p.write_text("hello"), r"expected a readable MetaImage file"),
    "apart.mha": (
        lambda p: p.write_text("ObjectType = Image\nNDims = 3\nElementDataFile = /etc/passwd\n"),
        r"expected the voxels in the file itself, found a reference",
    ),
    "apart.nrrd": (
        lambda p: p.write_text("NRRD0004\ndimension: 3\ndata file: /etc/passwd\n\n"),
        r"expected the voxels in the file itself, found a reference",
    ),
    "no voxels.nii": (
        lambda p: nib.save(nib.Nifti1Image(np.zeros((0, 8, 7)), np.eye(4)), p),
        r"expected one volume with three axes, found shape \(0, 8, 7\)",
    ),
    "begins in the header.nii": (
        lambda p: changed(p, 108, struct.pack("<f", 0)),
        r"expected the voxels after the header, found them to begin in it \(vox_offset 0\)",
    ),
    "no rotation.nii": (
        lambda p: changed(p, 252, struct.pack("<hhf", 1, 1, 3.0)),
        r"expected a readable NIfTI image .*w2 should be positive",
    ),
    "sheared.nrrd": (
        lambda p: nrrd(p, "space: LPS", "space directions: (1,0,0) (0.3,1,0) (0,0,1)"),
        r"expected axes at right angles, found a sheared grid \(an angle of 73.30 degrees\)",
    ),
    "large.nii": (
        lambda p: nib.save(nib.Nifti1Image(np.zeros(SHAPE), np.diag([1200.0, 1, 1, 1])), p),
        r"expected voxel sizes between 0.001 and 1000 mm, found 1200 x 1 x 1; repair",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_files_are_named_with_a_way_out(tmp_path, name, capfd):
    make, sentence = OTHERS[name]
    make(tmp_path / name)
    with pytest.raises(DualsegError, match=sentence) as refused:
        read_volume(tmp_path / name)
    assert str(tmp_path / name) in str(refused.value)
    assert capfd.readouterr().err == "", "no words of ITK's, with places in its own source"


# Other formats.


@pytest.mark.parametrize("name", ["a.NII.GZ", "a.nii", "a.nrrd", "a.NRRD", "a.mha"])
def test_the_same_volume_in_every_format(tmp_path, name):
    image, _ = volumes()
    affine = OBLIQUE
    lower = tmp_path / name.lower()
    save_nrrd(lower, image, "PIR", affine)  # by SimpleITK, whose writer goes by the ending
    lower.rename(tmp_path / name)
    volume = read_volume(tmp_path / name).turned("RAS")
    np.testing.assert_array_equal(volume.values, image)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-4)
    values, same = oriented(tmp_path / name, "RAS")
    np.testing.assert_array_equal(values, volume.values)
    np.testing.assert_array_equal(same, volume.affine)


def test_axes_of_length_one_after_the_third_are_no_matter(tmp_path):
    values = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.int16)
    nib.save(nib.Nifti1Image(values[..., None, None], STRAIGHT), tmp_path / "a.nii")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii").values, values)


def nrrd(path, *lines):
    header = ["NRRD0004", "type: uchar", "dimension: 3", "sizes: 2 3 4", "encoding: raw", *lines]
    path.write_bytes("\n".join([*header, "", ""]).encode() + bytes(range(24)))
    return path


def test_an_nrrd_without_a_space_is_remarked_on(tmp_path):
    volume = read_volume(nrrd(tmp_path / "a.nrrd", "spacings: 1 1 2"))
    assert volume.remarks == (
        "the header names no space: its axes were taken as LPS, which may be wrong",
    )
    assert volume.orientation == "LPS"
    placed = "space directions: (1.2,0,0) (0,1,0) (0,0,1.5)"
    volume = read_volume(nrrd(tmp_path / "b.nrrd", "space: left-posterior-superior", placed))
    assert volume.remarks == ()


def test_nrrd_units(tmp_path):
    space = "space: right-anterior-superior"
    micron = "space directions: (1200,0,0) (0,1000,0) (0,0,1500)"
    units = 'space units: "um" "um" "um"'
    volume = read_volume(nrrd(tmp_path / "a.nrrd", space, micron, units))
    np.testing.assert_allclose(volume.spacing, SPACING)
    with pytest.raises(DualsegError, match=r'expected space units of mm, .*found "inch"'):
        read_volume(nrrd(tmp_path / "b.nrrd", space, micron, 'space units: "inch" "inch" "inch"'))


# Geometry of arrays.

CODES = st.permutations(["LR", "PA", "IS"]).flatmap(
    lambda axes: st.tuples(*(st.sampled_from(axis) for axis in axes)).map("".join)
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.tuples(*[st.integers(1, 9)] * 3), CODES, CODES)
def test_turning_there_and_back_changes_nothing(tmp_path, shape, there, back):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    write_nifti(tmp_path / "scan.nii", values, OBLIQUE)
    volume = read_volume(tmp_path / "scan.nii")
    turned = volume.turned(there).turned(back)
    assert volume.turned(there).orientation == there
    # Each voxel is where it was.
    at = tuple(side // 2 for side in turned.values.shape)
    world = nib.affines.apply_affine(turned.affine, at)
    was = np.rint(nib.affines.apply_affine(np.linalg.inv(volume.affine), world)).astype(int)
    assert turned.values[at] == values[tuple(was)]
    same = turned.turned(volume.orientation)
    np.testing.assert_array_equal(same.values, values)
    np.testing.assert_allclose(same.affine, volume.affine, atol=1e-9)
