"""Where people keep images and labels: every row of docs/own_data_layouts.md, as its command."""

import json
import re
import shlex
import unicodedata
from pathlib import Path

import pytest
from rawdata import save_as, save_dicom, save_nrrd, volumes

from dualseg.cli.main import main
from dualseg.data.known.folder import find_cases
from dualseg.data.raw_files import RawCase, volumes_by_case
from dualseg.data.splits import lists_of_files
from dualseg.errors import DualsegError

PAGE = Path(__file__).parents[1] / "docs" / "own_data_layouts.md"
COMMANDS = re.findall(r"\| \*\*(.+?)\*\*.*\| `dualseg (.+)` \|", PAGE.read_text(encoding="utf-8"))
IMAGE, LABEL = volumes()
FILES = {
    "Two folders, one name a case": lambda i: {
        f"scans/p{i}.nii.gz": IMAGE,
        f"masks/p{i}.nii.gz": LABEL,
    },
    "Medical Segmentation Decathlon": lambda i: {
        f"imagesTr/p{i}.nii.gz": IMAGE,
        f"labelsTr/p{i}.nii.gz": LABEL,
        f"imagesTs/q{i}.nii.gz": IMAGE,
        f"imagesTr/._p{i}.nii.gz": None,
    },
    "The same, with the scans of `imagesTs` as unlabeled cases": lambda i: {
        f"imagesTr/p{i}.nii.gz": IMAGE,
        f"labelsTr/p{i}.nii.gz": LABEL,
        f"imagesTs/q{i}.nii.gz": IMAGE,
    },
    "nnU-Net": lambda i: {
        f"imagesTr/p{i}_0000.nii.gz": IMAGE,
        f"labelsTr/p{i}.nii.gz": LABEL,
        "dataset.json": None,
    },
    "nnU-Net with two modalities": lambda i: {
        f"imagesTr/p{i}_0000.nii.gz": IMAGE,
        f"imagesTr/p{i}_0001.nii.gz": 2 * IMAGE,
        f"labelsTr/p{i}.nii.gz": LABEL,
    },
    "A folder a case": lambda i: {f"p{i}/image.nii.gz": IMAGE, f"p{i}/label.nii.gz": LABEL},
    "A folder with a DICOM series a case": lambda i: {
        f"p{i}/dicom": (100 * IMAGE).round(),
        f"p{i}/label.nrrd": LABEL,
    },
    "BIDS with derivatives": lambda i: {
        f"sub-{i}/anat/sub-{i}_T1w.nii.gz": IMAGE,
        f"derivatives/masks/sub-{i}/anat/sub-{i}_T1w_dseg.nii.gz": LABEL,
    },
}


def make(root: Path, layout: str) -> None:
    for i in range(3):
        for name, values in FILES[layout](i).items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if values is None:
                path.write_text("no volume")
            elif path.suffix == ".gz":
                save_as(path, values + (i if values.dtype.kind == "f" else 0), "LPS")
            elif path.suffix == ".nrrd":
                save_nrrd(path, values, "RAS")
            else:
                save_dicom(path, values + i, "LAS")


def test_every_row_of_the_page_is_tried():
    assert [name for name, _ in COMMANDS] == list(FILES)


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("layout", FILES)
def test_the_command_for_a_layout(tmp_path, monkeypatch, capsys, layout):
    make(tmp_path, layout)
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(dict(COMMANDS)[layout])) == 0, capsys.readouterr().err
    manifest = json.loads((tmp_path / "DATA" / "manifest.json").read_text(encoding="utf-8"))
    labeled = {case for case, record in manifest["cases"].items() if record["label_voxels"]}
    expected = {f"{'sub-' if 'BIDS' in layout else 'p'}{i}" for i in range(3)}
    assert labeled == expected
    unlabeled = {"q0", "q1", "q2"} if "unlabeled" in layout else set()
    assert set(manifest["cases"]) == expected | unlabeled
    assert manifest["modalities"] == (["t1", "t2"] if "two" in layout else ["scan"])


MISTAKES = {
    "nnU-Net by folder": (
        "nnU-Net",
        "--images imagesTr --labels labelsTr",
        r"p0.nii.gz: expected an image of the same name in imagesTr, found 'p0_0000', as nnU-Net "
        r"names them; give --images 'imagesTr/\*_0000.nii.gz'",
    ),
    "one folder twice": (
        "A folder a case",
        "--images p0 --labels p0",
        r"labels: expected another place than that of the images, found p0 twice",
    ),
    "an image as its label": (
        "Medical Segmentation Decathlon",
        "--images imagesTr --labels images",
        r"images.p\d.nii.gz: expected a label, found the same voxels as in its image .*imagesTr",
    ),
    "the root of a data set": (
        "A folder a case",
        "--images . --labels p0",
        r"\.: expected volumes .*found none; .* a pattern as 'cases/\*/image.nii.gz'",
    ),
    "a pattern that finds nothing": (
        "A folder a case",
        "--images '*/scan.nii' --labels '*/label.nii.gz'",
        r"\*/scan.nii: expected volumes .*found none",
    ),
    "a star in the wrong place": (
        "BIDS with derivatives",
        "--images '*/anat/sub-0_T1w.nii.gz' --labels 'derivatives/masks/sub-*/*/*_dseg.nii.gz'",
        r"expected an image of the same name in .*, found none",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_with_the_way_out(tmp_path, monkeypatch, capsys, name):
    layout, arguments, sentence = MISTAKES[name]
    make(tmp_path, layout)
    if "as its label" in name:
        for i in range(3):
            save_as(tmp_path / "images" / f"p{i}.nii.gz", IMAGE + i, "LPS")
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(f"data prepare folder {arguments} --out DATA")) == 1
    error = capsys.readouterr().err
    assert re.search(sentence, error), error
    assert not (tmp_path / "DATA" / "manifest.json").exists()


def test_files_that_are_not_used_are_named(tmp_path, monkeypatch, capsys, no_pictures):
    make(tmp_path, "Two folders, one name a case")
    (tmp_path / "scans" / "p0.nii.gz").rename(tmp_path / "scans" / "p0.NII.GZ")
    (tmp_path / "masks" / "p1.nii.gz").rename(tmp_path / "masks" / "p1.png")
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(COMMANDS[0][1])) == 0
    error = capsys.readouterr().err
    assert "note: 1 file was not used in masks: p1.png (volumes end in .nii.gz, .nii," in error
    manifest = json.loads((tmp_path / "DATA" / "manifest.json").read_text(encoding="utf-8"))
    assert set(manifest["cases"]) == {"p0", "p1", "p2"}


def test_a_name_is_one_however_its_umlaut_is_stored(tmp_path):
    ids = {unicodedata.normalize(form, "jürgen") for form in ("NFC", "NFD")}
    assert len(ids) == 2
    for number, name in enumerate(ids):
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}" / f"{name}.nii").touch()
    assert list(volumes_by_case(tmp_path / "0")[0]) == list(volumes_by_case(tmp_path / "1")[0])


def test_a_list_spells_umlauts_as_it_likes(tmp_path):
    cases = [RawCase(name, (), Path("label.nii")) for name in ("jürgen", "anna")]
    for name, case_id in (("train", "jürgen"), ("test", "anna")):
        text = unicodedata.normalize("NFD", case_id)
        (tmp_path / name).write_text(text, encoding="utf-8")
    found = lists_of_files(tmp_path / "train", tmp_path / "test", cases)
    assert (found.train, found.test) == (("jürgen",), ("anna",))


def test_only_a_star_is_special_in_a_pattern(tmp_path):
    folder = tmp_path / "scans [1] (new?)"
    folder.mkdir()
    (folder / "a.nii").touch()
    assert volumes_by_case(folder / "*.nii") == ({"a": folder / "a.nii"}, [])
    (folder / "b c.nii").touch()
    with pytest.raises(DualsegError, match="b c.nii: expected a name without spaces"):
        volumes_by_case(folder / "*.nii")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.nii").touch()
    with pytest.raises(DualsegError, match="a.nii: has the same name as .*a.nii, a; keep one"):
        volumes_by_case(tmp_path / "*" / "*.nii")


def test_a_pattern_in_other_letters_finds_what_windows_finds(monkeypatch):
    monkeypatch.setattr("glob.glob", lambda pattern: ["Scans/img_A1.nii.gz"])
    found, _ = volumes_by_case(Path("scans/IMG_*.nii.gz"))
    assert found == {"A1": Path("Scans/img_A1.nii.gz")}


def test_a_pattern_that_leaves_labels_out_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        "imagesTr/p0.nii.gz",
        "imagesTr/p1.nii.gz",
        "labelsTr/p0.nii.gz",
        "labelsTr/p1.nii",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    cases, notes = find_cases(Path("imagesTr"), Path("labelsTr/*.nii.gz"))
    assert [case.label is None for case in cases] == [False, True]
    assert notes == [
        "1 of 2 cases have no label in labelsTr/*.nii.gz and are used as unlabeled ones: p1"
    ]
