"""The registry of data sets: a toy one from its file to a record in the table; no name is asked."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from rawdata import save_as, volumes
from toy_dataset import TOY, make_toy

import dualseg
from dualseg.cli.main import main
from dualseg.config.experiment import Experiment, preset_settings
from dualseg.data.dataset import open_dataset
from dualseg.data.known import DATASETS, prepare
from dualseg.data.preparation.inspect import check
from dualseg.data.recipe import Recipe
from dualseg.errors import DualsegError


@pytest.fixture
def toy(tmp_path, monkeypatch) -> Path:
    """The toy data set, registered by one line."""
    monkeypatch.setitem(DATASETS, "toy", TOY)
    return make_toy(tmp_path / "toy")


def test_a_toy_data_set_from_its_file_to_a_record_in_the_table(toy, tmp_path, capsys):
    assert main(["data", "list"]) == 0
    assert "toy: bright boxes\n  Made by the tests.\n" in capsys.readouterr().out
    assert main(["data", "check", "toy", "--root", str(toy)]) == 0
    assert "6 cases, no problem found; split: its own lists." in capsys.readouterr().out
    run = tmp_path / "runs" / "toy_dual"
    train = f"train --dataset toy --root {toy} --profile smoke --out {run}"
    assert main(train.split()) == 0, capsys.readouterr().err
    assert main(["evaluate", str(run)]) == 0, capsys.readouterr().err
    records = tmp_path / "records"
    assert main(["records", "publish", str(run), "--to", str(records)]) == 0
    capsys.readouterr()
    assert main(["records", "table", "--folder", str(records)]) == 0
    header, row, *_ = (line.split() for line in capsys.readouterr().out.splitlines())
    assert row[: header.index("losses")] == ["toy_dual", "toy", "2", "smoke", "dual"]
    record = json.loads((records / "toy_dual.json").read_text(encoding="utf-8"))
    assert [case["id"] for case in record["cases"]] == ["toy4", "toy5"]
    assert record["config"]["alpha"] == 0.3  # the paper's setting on these data, as the file says


def test_a_toy_data_set_is_read_by_its_own_reader(toy):
    data = open_dataset("toy", toy)
    with np.load(toy / "toy0.npz") as file:
        low, high = file["box"]
        np.testing.assert_array_equal(data.case("toy0").image, file["volume"])
    assert (np.argwhere(data.case("toy0").label).min(0) == low).all()
    assert (np.argwhere(data.case("toy0").label).max(0) + 1 == high).all()
    assert data.spacing("toy0") == (1.0, 1.0, 2.0)
    (toy / "toy0.npz").unlink()
    with pytest.raises(DualsegError, match=r"toy0.npz: expected the image and label of case toy0"):
        data.case("toy0")
    assert sum("toy0.npz" in problem for problem in check("toy", toy)[1]) == 1


def test_a_profile_that_the_data_set_does_not_have_is_refused(toy):
    with pytest.raises(DualsegError, match="profile: expected one of smoke, found 'lesson'"):
        Experiment("toy", "lesson", root=toy)


def test_settings_of_the_paper_are_those_of_section_4_4():
    values = {
        name: (
            preset_settings("dual", "paper", name).alpha,
            preset_settings("dual", "paper", name).gamma,
        )
        for name in DATASETS
    }
    printed = {"la": (0.5, 70), "pancreas": (0.6, 80), "brats2019": (0.5, 30)}
    usual = {"phantom": (0.5, 70), "folder": (0.5, 70)}
    assert values.items() >= (printed | usual).items()


def test_what_has_no_raw_files_cannot_be_prepared(tmp_path):
    with pytest.raises(
        DualsegError, match="dataset: expected one of brats2019, folder, la, pancreas, found 'phan"
    ):
        prepare("phantom", tmp_path, None, tmp_path / "out")


def test_a_home_that_the_shell_left_unsaid_is_put_in(tmp_path, monkeypatch, no_pictures):
    """As in `--root=~/data`, and in PowerShell: the manifest must be read, not only the cases."""
    for i in range(3):
        image, label = volumes(i)
        save_as(tmp_path / "images" / f"scan{i}.nii.gz", image, "RAS")
        save_as(tmp_path / "labels" / f"scan{i}.nii.gz", label, "RAS")
    data = tmp_path / "data"
    prepare("folder", tmp_path / "images", tmp_path / "labels", data, Recipe(values=(1, 2)))
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    expected = open_dataset(str(data)).spec
    assert expected.classes == ("background", "value 1", "value 2")
    for place in (("~/data",), ("folder", "~/data"), ("~/data", data)):
        assert open_dataset(*place).spec == expected


def test_every_data_set_says_where_it_comes_from_and_how_to_get_it():
    for name, spec in DATASETS.items():
        assert spec.name == name
        assert spec.source_and_terms
        assert set(spec.profiles) == {"smoke", "lesson", "full"}
        ways = (spec.generated, spec.download, spec.instructions, spec.prepare)
        assert any(ways), "no way to its cases"
        for text in spec.instructions.values():
            assert "cite" in text and "{root}" in text


def test_no_code_asks_for_a_data_set_by_its_name():
    package = Path(dualseg.__file__).parent
    names = "|".join(DATASETS)
    asked = re.compile(rf'(==|!=|\bin \(|\bin \{{)\s*"({names})"|"({names})"\s*(==|!=|:)')
    found = [
        f"{path.relative_to(package)}: {line.strip()}"
        for path in package.rglob("*.py")
        if "known" not in path.parts
        for line in path.read_text(encoding="utf-8").splitlines()
        if asked.search(line)
    ]
    assert found == []
