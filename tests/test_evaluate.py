"""From a run to a record: masks, metrics on the full grid, pictures, publishing, tables."""

import json
import math

import numpy as np
import pytest
from conftest import TEST, TRAIN
from PIL import Image

from dualseg.datasets import open_dataset
from dualseg.errors import DualsegError
from dualseg.evaluate import evaluate, load_masks
from dualseg.records import load_records, publish, table
from dualseg.train import fit


@pytest.fixture
def run(small, tmp_path):
    return fit(small.replace(iterations=20, learning_rate=0.05), tmp_path / "run")


def test_record_holds_what_it_promises(run, small):
    record = evaluate(run.folder)
    assert json.loads(run.record_path().read_text()) == record
    assert record["config"] == {
        **small.flat(),
        "iterations": 20,
        "learning_rate": 0.05,
        "root": None,
        "patch": [16, 16, 16],
        "stride": [8, 8, 8],
    }
    assert [case["id"] for case in record["cases"]] == TEST
    for key in ("device", "versions", "data", "seconds", "peak_memory_mb", "evaluation", "empties"):
        assert key in record
    assert set(record["networks"]) == {"A", "B"}
    assert record["data"]["split"]["labeled"] == TRAIN[:2]
    assert len(record["data"]["fingerprint"]) == 64
    text = run.record_path().read_text()
    assert "NaN" not in text
    assert str(run.folder.parent) not in text  # no path of this machine


def test_numbers_are_those_of_the_masks_on_the_full_grid(run, la_root):
    """Dice and its statistics recomputed with NumPy from what lies on disk."""
    record = evaluate(run.folder)
    dataset = open_dataset("la", la_root)
    dices = []
    for case in record["cases"]:
        truth = dataset.read(case["id"]).label > 0
        masks = load_masks(run, "test", case["id"])
        assert set(masks) == {"mean", "A", "B"}
        found = masks["mean"]
        assert found.shape == truth.shape
        dice = 200 * (found & truth).sum() / (found.sum() + truth.sum())
        assert case["dice"] == pytest.approx(dice)
        dices.append(dice)
    assert record["mean"]["dice"] == pytest.approx(np.mean(dices))
    assert record["standard_deviation"]["dice"] == pytest.approx(np.std(dices, ddof=1))
    assert record["standard_error"]["dice"] == pytest.approx(np.std(dices, ddof=1) / math.sqrt(2))


def test_validation_is_a_record_of_its_own(run):
    record = evaluate(run.folder, "val")
    assert [case["id"] for case in record["cases"]] == TRAIN[6:]
    assert run.record_path("val").name == "record_val.json"
    assert not run.record_path().exists()


def test_pictures_carry_their_description(run):
    record = evaluate(run.folder)
    for name in ("cases", "surfaces", "curves"):
        with Image.open(run.folder / f"{name}.png") as picture:
            assert "la, dual, 2 labels, smoke, seed 0" in picture.info["Description"]
    assert (
        f"{record['cases'][0]['dice']:.1f}"
        in Image.open(run.folder / "cases.png").info["Description"]
    )


def test_interrupted_evaluation_goes_on(run, monkeypatch):
    evaluate(run.folder)
    whole = run.record_path().read_text()
    path = run.folder / "predictions" / "test" / f"{TEST[1]}.npz"
    kept = run.folder / "predictions" / "test" / f"{TEST[0]}.npz"
    before = path.read_bytes(), kept.stat().st_mtime_ns
    path.unlink()
    again = evaluate(run.folder)
    assert (path.read_bytes(), kept.stat().st_mtime_ns) == before
    assert again["cases"] == json.loads(whole)["cases"]


def test_empty_prediction_is_counted_not_averaged(run, monkeypatch):
    from dualseg import evaluate as module

    real = module.masks_of

    def nothing_found(method, probabilities):
        masks = real(method, probabilities)
        return {name: np.zeros_like(mask) for name, mask in masks.items()}

    monkeypatch.setattr(module, "masks_of", nothing_found)
    record = evaluate(run.folder)
    assert record["empties"] == 2
    assert record["mean"]["dice"] == 0
    assert record["mean"]["hd95"] is None
    assert record["cases"][0]["asd"] is None
    assert "2/2" in table([record])


def test_unknown_split_and_missing_validation(run, small, tmp_path):
    with pytest.raises(DualsegError, match="split: expected one of test, val, found 'train'"):
        evaluate(run.folder, "train")
    other = fit(small.replace(validation=0), tmp_path / "other")
    with pytest.raises(DualsegError, match="found none; train with --validation N"):
        evaluate(other.folder, "val")


def test_data_that_moved_are_found_by_root(run, la_root, tmp_path):
    moved = la_root.rename(tmp_path / "moved")
    with pytest.raises(DualsegError, match="found no folder"):
        evaluate(run.folder)
    assert evaluate(run.folder, root=moved)["config"]["root"] is None


def test_publish_copies_the_test_record_only(run, small, tmp_path):
    target = tmp_path / "records"
    with pytest.raises(DualsegError, match="found none; measure the run first"):
        publish(run.folder, target)
    record = evaluate(run.folder)
    path = publish(run.folder, target)
    assert path == target / "run.json"
    assert load_records(target) == [record]
    publish(run.folder, target, pictures=tmp_path / "figures")  # again is fine
    copies = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert copies == ["run_cases.png", "run_curves.png", "run_surfaces.png"]
    path.write_text(json.dumps({**record, "config": {**record["config"], "seed": 5}}))
    with pytest.raises(DualsegError, match="another configuration"):
        publish(run.folder, target)


def test_table_by_hand():
    record = {
        "config": {"dataset": "la", "labeled": 8, "profile": "lesson", "method": "dual", "seed": 1},
        "mean": {"dice": 70.126, "jaccard": 55.0, "hd95": 12.345, "asd": None},
        "standard_error": {"dice": 1.0, "jaccard": 2.0, "hd95": None, "asd": None},
        "networks": {"A": {"mean": {"dice": 60.04}}, "B": {"mean": {"dice": 70.06}}},
        "empties": 1,
        "cases": [{}] * 20,
        "seconds": 630,
    }
    cells = ["la", "8", "lesson", "dual", "1", "70.13 ± 1.00", "55.00 ± 2.00", "12.35", "none"]
    cells += ["1/20", "60.0, 70.1", "10.5"]
    assert table([record], markdown=True).splitlines()[2] == "| " + " | ".join(cells) + " |"
    plain = table([record, record]).splitlines()
    assert plain[1].split() == " ".join(cells).split()
    assert len(plain) == 3
    assert table([]) == "no records"
