"""`fit` and `evaluate` with a method class, a method object and an open data set; other data."""

import dataclasses
import shutil

import h5py
import pytest
import torch
from conftest import TRAIN, ball_case, make_la, write_la_case

from dualseg.config.experiment import Experiment
from dualseg.data.dataset import open_dataset
from dualseg.errors import DualsegError
from dualseg.evaluation.evaluate import evaluate
from dualseg.losses import supervised_loss
from dualseg.methods import METHODS
from dualseg.methods.supervised import Supervised
from dualseg.runs.checkpoints import read_checkpoint
from dualseg.runs.run import Run
from dualseg.training.loop import fit
from dualseg.training.start import require_same_data


class Mine(Supervised):
    """Only A learns."""

    def terms(self, out_a, out_b, label):
        return {"a": supervised_loss(out_a.logits, label), "b": out_b.logits.sum() * 0}

    def weights(self, progress):
        return {"a": 1.0, "b": 1.0}


class Bright(Supervised):
    """Calls bright voxels foreground, whatever was learned."""

    def predict_members(self, patch):
        bright = (patch > 1).float()
        return torch.cat([1 - bright, bright], 1).expand(2, -1, -1, -1, -1, -1)


@pytest.fixture(autouse=True)
def _methods():
    """Whatever is entered here is gone afterwards."""
    known = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(known)


@pytest.fixture
def floor(small) -> Experiment:
    return small.replace(method="supervised", iterations=2)


def test_a_class_is_trained_and_measured(floor, tmp_path, no_pictures):
    run = fit(floor, tmp_path / "run", method=Mine)
    assert set(run.log()[0]) == {"step", "seconds", "learning_rate", "loss", "a", "b"}
    assert run.experiment() == floor.replace(method="Mine")
    assert isinstance(run.load_method(torch.device("cpu")), Mine)
    record = evaluate(run)
    assert record["config"]["method"] == "Mine"
    assert (
        evaluate(str(run.folder), dataset=open_dataset("la", floor.root))["mean"] == record["mean"]
    )
    assert Run(str(run.folder)).log() == run.log()
    del METHODS["Mine"]  # as in another process
    words = "method: expected one of .*dual.*, found 'Mine'; a method of your own is known"
    with pytest.raises(DualsegError, match=words):
        evaluate(run)


def test_a_class_that_is_entered_keeps_its_name(floor, tmp_path):
    METHODS["mine"] = Mine
    run = fit(floor.replace(method="mine"), tmp_path / "run")
    assert fit(floor, run.folder, resume=True, method=Mine).finished
    assert run.experiment().method == "mine" and "Mine" not in METHODS


def test_a_class_under_the_name_of_another_is_refused(floor, tmp_path):
    METHODS["Mine"] = Supervised
    with pytest.raises(DualsegError, match="method: expected a class whose name no other method"):
        fit(floor, tmp_path / "run", method=Mine)
    assert METHODS["Mine"] is Supervised
    again = type("Mine", (Mine,), {"__module__": Mine.__module__})  # a cell that ran twice
    METHODS["Mine"] = Mine
    fit(floor, tmp_path / "run", method=again)
    assert METHODS["Mine"] is again


def test_an_object_brings_its_weights_and_settings(small, tmp_path):
    spec = open_dataset("la", small.root).spec
    kind = METHODS["dual"]
    own = kind(dataclasses.replace(small.settings, gamma=90), small.train, spec)
    with torch.no_grad():
        for parameter in own.parameters():
            parameter.fill_(0.5)
    still = small.replace(learning_rate=1e-30, iterations=1)
    run = fit(still, tmp_path / "run", method=own)
    assert run.experiment() == still.replace(gamma=90)
    saved = read_checkpoint(run.weights_path)[0]
    for name, _ in own.named_parameters():
        assert torch.all(saved[f"weight:{name}"] == 0.5)


def test_an_open_data_set_is_taken(floor, tmp_path):
    unplaced = floor.replace(root=None)
    with pytest.raises(DualsegError, match="root: the data set 'la' needs the folder"):
        fit(unplaced, tmp_path / "run")
    half = open_dataset("la", floor.root, "half")
    run = fit(unplaced, tmp_path / "run", dataset=half)
    assert run.experiment() == floor
    full = open_dataset("la", floor.root)
    words = "dataset: expected the experiment's 'la' at its resolution 'half', found 'la' at"
    with pytest.raises(DualsegError, match=words):
        fit(floor, tmp_path / "other", dataset=full)
    with pytest.raises(DualsegError, match="dataset: expected the experiment's 'la' at its"):
        fit(floor, tmp_path / "other", dataset=open_dataset("phantom", None, "half"))


def test_an_open_data_set_on_another_grid_gives_the_same_numbers(floor, tmp_path, no_pictures):
    METHODS["bright"] = Bright
    run = fit(floor.replace(method="bright"), tmp_path / "run")
    shutil.copytree(run.folder, tmp_path / "again")  # without masks that could be taken over
    cases = evaluate(run)["cases"]
    assert all(case["dice"] > 40 for case in cases)
    full = open_dataset("la", floor.root)
    assert evaluate(tmp_path / "again", dataset=full)["cases"] == cases
    assert full.factor == 1


def test_a_finished_run_of_other_data_is_not_handed_back(floor, tmp_path):
    run = fit(floor, tmp_path / "run")
    assert fit(floor, run.folder, resume=True).finished
    other = make_la(tmp_path / "other")
    require_same_data(run, open_dataset("la", other, "half"))  # moved data are the same data
    assert fit(floor.replace(root=str(other)), run.folder, resume=True).finished
    write_la_case(other, TRAIN[3], *ball_case(123))  # unlabeled
    with pytest.raises(DualsegError, match="the data have changed since this run was started"):
        fit(floor.replace(root=str(other)), run.folder, resume=True)
    with pytest.raises(DualsegError, match="the data have changed since this run was started"):
        require_same_data(run, open_dataset("la", other))


def test_a_test_case_may_change_without_the_training_being_another(floor, tmp_path):
    run = fit(floor, tmp_path / "run")
    with h5py.File(f"{floor.root}/TESTA/mri_norm2.h5", "r+") as file:
        file["image"][0, 0, 0] = 9
    assert fit(floor, run.folder, resume=True).finished
