"""From a run to a record: masks, metrics on the full grid, pictures, publishing, tables."""

import json
import math
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import TEST, TRAIN, ball_case, make_la, small_experiment, write_la_case
from PIL import Image

from dualseg._util.files import write_json
from dualseg.config.experiment import Experiment
from dualseg.data.dataset import open_dataset
from dualseg.errors import DualsegError
from dualseg.evaluation import predictions
from dualseg.evaluation.evaluate import evaluate
from dualseg.evaluation.record import curves
from dualseg.evaluation.saved_masks import load_masks
from dualseg.runs.checkpoints import write_checkpoint
from dualseg.runs.records import lesson_runs, load_records, publish, runs_over, table
from dualseg.runs.run import Run
from dualseg.training.loop import fit


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Data and a run on them, for all tests here."""
    place = tmp_path_factory.mktemp("trained")
    experiment = small_experiment(make_la(place / "LA"), iterations=20, learning_rate=0.05)
    fit(experiment, place / "run")
    return place


@pytest.fixture
def la_root(trained, tmp_path) -> Path:
    return shutil.copytree(trained / "LA", tmp_path / "LA")


@pytest.fixture
def run(trained, la_root, tmp_path) -> Run:
    """A copy that is the test's own, data and all."""
    run = Run(shutil.copytree(trained / "run", tmp_path / "run"))
    info = run.info()
    write_json(run.info_path, info | {"config": info["config"] | {"root": str(la_root)}})
    return run


@pytest.mark.slow
def test_record_holds_what_it_promises(run, small):
    record = evaluate(run.folder)
    assert json.loads(run.record_path().read_text(encoding="utf-8")) == record
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
    text = run.record_path().read_text(encoding="utf-8")
    assert "NaN" not in text
    assert str(run.folder.parent) not in text  # no path of this machine


@pytest.mark.usefixtures("no_pictures")
def test_numbers_are_those_of_the_masks_on_the_full_grid(run, la_root):
    """Dice and its statistics recomputed with NumPy from what lies on disk."""
    record = evaluate(run.folder)
    dataset = open_dataset("la", la_root)
    dices = []
    for case in record["cases"]:
        truth = dataset.read(case["id"]).label > 0
        masks = load_masks(run.folder / "predictions" / "test" / f"{case['id']}.npz").masks
        assert set(masks) == {"mean", "A", "B"}
        found = masks["mean"]
        assert found.shape == truth.shape
        dice = 200 * (found & truth).sum() / (found.sum() + truth.sum())
        assert case["dice"] == pytest.approx(dice)
        dices.append(dice)
    assert record["mean"]["dice"] == pytest.approx(np.mean(dices))
    assert record["standard_deviation"]["dice"] == pytest.approx(np.std(dices, ddof=1))
    assert record["standard_error"]["dice"] == pytest.approx(np.std(dices, ddof=1) / math.sqrt(2))


@pytest.mark.usefixtures("no_pictures")
def test_validation_is_a_record_of_its_own(run):
    record = evaluate(run.folder, "val")
    assert [case["id"] for case in record["cases"]] == TRAIN[6:]
    assert run.record_path("val").name == "record_val.json"
    assert not run.record_path().exists()


@pytest.mark.slow
def test_pictures_carry_their_description(run):
    record = evaluate(run.folder)
    for name in ("cases", "surfaces", "curves"):
        with Image.open(run.folder / f"{name}.png") as picture:
            assert "la, dual (paper), 2 labels, smoke, seed 0" in picture.info["Description"]
    assert (
        f"{record['cases'][0]['dice']:.1f}"
        in Image.open(run.folder / "cases.png").info["Description"]
    )


def saved_at(run):
    return {path.stem: path.stat().st_mtime_ns for path in run.folder.glob("predictions/test/*")}


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.fault(
    "a torn mask of an interrupted evaluation",
    "only that case is predicted again; the same numbers",
)
def test_interrupted_evaluation_goes_on(run):
    first = evaluate(run.folder)
    before = saved_at(run)
    (run.folder / "predictions" / "test" / f"{TEST[1]}.npz").write_bytes(b"torn")
    again = evaluate(run.folder)
    after = saved_at(run)
    assert after[TEST[0]] == before[TEST[0]]
    assert after[TEST[1]] != before[TEST[1]]
    assert again["cases"] == first["cases"]


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.fault(
    "masks of other weights or other scans",
    "predicted again",
)
def test_masks_of_other_weights_or_scans_are_not_reused(run, la_root):
    evaluate(run.folder)
    before = saved_at(run)
    image, label = ball_case(77)
    write_la_case(la_root, TEST[0], image, label)  # another shape, too
    record = evaluate(run.folder)
    after = saved_at(run)
    assert (after[TEST[0]] != before[TEST[0]], after[TEST[1]] == before[TEST[1]]) == (True, True)
    assert 0 <= record["cases"][0]["dice"] <= 100
    method = run.load_method(torch.device("cpu"))
    torch.nn.init.normal_(method.a.decoder.head.weight)
    write_checkpoint(run.weights_path, method, {}, {"step": 20})
    evaluate(run.folder)
    assert saved_at(run)[TEST[1]] != after[TEST[1]]


@pytest.mark.usefixtures("no_pictures")
def test_masks_of_another_version_are_made_anew(run, monkeypatch):
    evaluate(run.folder)
    before = saved_at(run)
    monkeypatch.setattr(predictions, "__version__", "0.0.1")
    evaluate(run.folder)
    assert all(saved_at(run)[case] != made for case, made in before.items())


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """The cases whose files were opened."""
    cases, opened = [], h5py.File

    def noted(path, *words):
        cases.append(Path(path).parent.name)
        return opened(path, *words)

    monkeypatch.setattr(h5py, "File", noted)
    return cases


@pytest.mark.parametrize("cache", ["empty", "filled"])
@pytest.mark.slow
def test_each_file_is_read_once(run, tmp_path, monkeypatch, opened, cache):
    monkeypatch.setenv("DUALSEG_CACHE", str(tmp_path / "cache"))
    if cache == "filled":
        evaluate(run.folder)
        shutil.rmtree(run.folder / "predictions")
        opened.clear()
    evaluate(run.folder)  # with pictures
    assert sorted(opened) == sorted(TEST)


@pytest.mark.slow
def test_on_the_full_grid_only_the_cache_is_read(la_root, tmp_path, opened):
    experiment = small_experiment(la_root, resolution="full", iterations=1)
    folder = fit(experiment, tmp_path / "run").folder
    opened.clear()
    first = evaluate(folder)
    assert sorted(opened) == sorted(TEST)  # to fill the cache
    dataset = open_dataset("la", la_root)
    for case in first["cases"]:
        truth = dataset.read(case["id"]).label > 0
        found = load_masks(folder / "predictions" / "test" / f"{case['id']}.npz").masks["mean"] > 0
        dice = 200 * (found & truth).sum() / (found.sum() + truth.sum())
        assert case["dice"] == pytest.approx(dice)
    opened.clear()
    assert evaluate(folder)["cases"] == first["cases"]
    assert opened == []


def test_empty_prediction_is_counted_not_averaged(run, monkeypatch):
    from dualseg.evaluation import predictions as module

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


@pytest.mark.usefixtures("no_pictures")
def test_data_that_moved_are_found_by_root(run, la_root, tmp_path):
    moved = la_root.rename(tmp_path / "moved")
    with pytest.raises(DualsegError, match="found no folder"):
        evaluate(run.folder)
    assert evaluate(run.folder, root=moved)["config"]["root"] is None


@pytest.mark.slow
def test_publish_copies_the_test_record_only(run, tmp_path):
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
    run.pictures()[2].unlink()  # as of a run whose log is gone
    publish(run.folder, target, pictures=tmp_path / "fewer")
    copies = sorted(path.name for path in (tmp_path / "fewer").iterdir())
    assert copies == ["run_cases.png", "run_surfaces.png"]
    evaluate(run.folder, "val")
    assert publish(run.folder, target, "val").name == "run_val.json"  # beside, not over it
    assert load_records(target)[0] == record
    path.write_text(json.dumps({**record, "config": {**record["config"], "seed": 5}}))
    with pytest.raises(DualsegError, match="another configuration"):
        publish(run.folder, target)
    path.write_text("{}")
    with pytest.raises(DualsegError, match="run.json: expected the key 'name', found none"):
        publish(run.folder, target)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda r: r["config"].pop("seed"), "expected the key 'seed', found none"),
        (lambda r: r["config"].update(labeled="8"), "expected 'labeled' to be of type int"),
        (lambda r: r["cases"][1].pop("dice"), "expected the key 'dice', found none"),
        (lambda r: r["cases"][1].update(hd95="far"), "expected 'hd95' to be of type"),
        (lambda r: r["cases"].append(3), "expected an object, found 3"),
    ],
)
def test_a_damaged_record_is_named(tmp_path, damage, said):
    path = tmp_path / "mine.json"
    source = Path(__file__).parents[1] / "figures/records/phantom_dual_lesson.json"
    record = json.loads(source.read_text())
    damage(record)
    path.write_text(json.dumps(record))
    with pytest.raises(DualsegError, match=f"mine.json: {said}"):
        load_records(tmp_path)


def test_runs_at_the_lessons_settings_are_found_by_losses_and_seed(tmp_path):
    kept = Path(__file__).parents[1] / "figures/records/compare"

    def put(folder, name, source="la_dual_improved_8labels_lesson_seed0", **changes):
        record = json.loads((kept / f"{source}.json").read_text(encoding="utf-8"))
        record["config"] |= changes
        write_json(tmp_path / folder / f"{name}.json", record | {"name": name})

    put("compare", "one")
    put("la", "two", seed=1)
    put("la", "three", gamma=95.0)
    put("la", "floor", "la_supervised_8labels_lesson_seed2")
    put("compare", "other_method", "la_vnet_default_8labels_lesson_seed0")
    put("compare", "same_name_of_preset", "la_luseg_paper_8labels_lesson_seed0")
    put("la", "fewer_steps", iterations=400, seed=3)
    put("la", "other_augmentation", flips=True, seed=4)
    put("la", "other_profile", profile="full", seed=5)
    put("la", "held_out_cases", validation=8, seed=6)
    put("la", "more_labels", labeled=16)
    put("la", "other_data", dataset="pancreas", seed=7)
    put("elsewhere", "not_here", seed=8)
    found = lesson_runs(tmp_path, "la", 8)
    assert {key: record["name"] for key, record in found.items()} == {
        ("improved", 0): "one",
        ("improved", 1): "two",
        ("improved, gamma 95.0", 0): "three",
        ("supervised", 2): "floor",
    }
    assert [r["name"] for r in lesson_runs(tmp_path, "la", 16).values()] == ["more_labels"]
    assert not lesson_runs(tmp_path, "brats2019", 8)
    with pytest.raises(DualsegError, match="nowhere: expected a folder, found none"):
        lesson_runs(tmp_path / "nowhere", "la", 8)
    put("la", "both_changed", gamma=80.0, temperature=0.1)
    put("la", "not_improved", percentile_within="batch", gamma=60.0)
    put("la", "other_seed", gamma=50.0, seed=1)
    runs = lesson_runs(tmp_path, "la", 8)
    curve = {v: r["name"] for v, r in runs_over(runs, "gamma", "improved").items()}
    assert curve == {70.0: "one", 95.0: "three"}
    assert not runs_over(runs, "gamma", "paper")
    with pytest.raises(DualsegError, match="setting: expected one of .*gamma.*, found 'gama'"):
        runs_over(runs, "gama", "improved")
    put("la", "again")
    with pytest.raises(DualsegError, match="one run of improved with seed 0, found one and again"):
        lesson_runs(tmp_path, "la", 8)


def test_table_by_hand():
    config = Experiment("la", "lesson", method="dual", seed=1).flat()
    record = {
        "name": "mine",
        "split": "test",
        "config": json.loads(json.dumps(config)),
        "mean": {"dice": 70.126, "jaccard": 55.0, "hd95": 12.345, "asd": None},
        "standard_error": {"dice": 1.0, "jaccard": 2.0, "hd95": None, "asd": None},
        "networks": {"A": {"mean": {"dice": 60.04}}, "B": {"mean": {"dice": 70.06}}},
        "empties": 1,
        "cases": [{}] * 20,
        "seconds": 630,
    }
    cells = [
        "mine",
        "la",
        "8",
        "lesson",
        "dual",
        "paper",
        "1",
        "70.13 ± 1.00",
        "55.00 ± 2.00",
        "12.35",
        "none",
    ]
    cells += ["1/20", "60.0, 70.1", "10.5"]
    assert table([record], markdown=True).splitlines()[2] == "| " + " | ".join(cells) + " |"
    plain = table([record, record]).splitlines()
    assert plain[1].split() == " ".join(cells).split()
    assert len(plain) == 3
    assert table([]) == "no records"
    other = {**record, "split": "val", "config": {**config, "filters": 4}}
    assert "| mine (val) | la | 8 | lesson* |" in table([other], markdown=True)
    changed = {**record, "config": {**config, "gamma": 95.0, "ramp_up": 0.4}}
    assert "| lesson | dual | paper, gamma 95.0, ramp_up 0.4 |" in table([changed], markdown=True)


def test_curves_are_means_of_equal_stretches():
    log = [{"step": s, "loss": float(s), "seen": None if s < 6 else 1.0} for s in range(1, 11)]
    assert curves(log, 5) == [
        {"step": 2, "loss": 1.5, "seen": None},
        {"step": 4, "loss": 3.5, "seen": None},
        {"step": 6, "loss": 5.5, "seen": 1.0},
        {"step": 8, "loss": 7.5, "seen": 1.0},
        {"step": 10, "loss": 9.5, "seen": 1.0},
    ]
    assert curves(log[:3], 50) == log[:3]
    assert curves([]) == []
