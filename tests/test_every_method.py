"""What holds for every method in METHODS: it trains, every parameter learns, it can be resumed."""

import math
from pathlib import Path

import pytest
import torch

from dualseg.config.experiment import Experiment
from dualseg.config.training import Progress
from dualseg.data.batches import BatchSampler
from dualseg.data.dataset import open_dataset
from dualseg.data.known import dataset_spec
from dualseg.methods import METHODS, build_method
from dualseg.methods.base import total_loss
from dualseg.paper.explain import explain
from dualseg.runs.checkpoints import read_checkpoint
from dualseg.training.loop import fit

STEPS = 4


def distinct(name: str) -> list[str]:
    """The presets of a method that differ in its settings, not in sizes alone."""
    if name == "dual":  # see test_dual.py
        return ["paper"]
    found = {
        Experiment("phantom", "smoke", p, method=name).settings: p
        for p in [*METHODS[name].presets][::-1]
    }
    return list(found.values())


PRESETS = [(name, preset) for name in METHODS for preset in distinct(name)]


def smoke(method: str, preset: str | None = None) -> Experiment:
    """The profile `smoke` in batches and crops that every method takes."""
    side = 32 if method == "urpc" else 16  # its four scales need 32
    sizes = {"patch": (side,) * 3, "stride": (side // 2,) * 3, "filters": 2, "checkpoint_every": 2}
    sizes |= {"labeled_batch": 4, "unlabeled_batch": 4, "iterations": STEPS}
    return Experiment("phantom", "smoke", preset, method=method, **sizes)


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_every_parameter_learns_in_a_step(name, preset):
    experiment = smoke(name, preset)
    dataset = open_dataset("phantom", None, experiment.train.resolution)
    method = build_method(experiment, dataset.spec).train()
    split = dataset.split(experiment.labeled, experiment.validation)
    unlabeled = method.uses_unlabeled
    batch = BatchSampler(dataset, split, experiment.train, 0, unlabeled).batch(0)
    torch.manual_seed(0)
    first = method.loss(batch, Progress(0, STEPS))
    late = method.loss(batch, Progress(STEPS - 1, STEPS))
    assert first.keys() == late.keys()
    weights = method.weights(Progress(STEPS - 1, STEPS))
    assert all(weight >= 0 for weight in weights.values())
    measured = late.keys() - weights.keys()
    assert measured <= method.measurements.keys()
    total_loss(late, weights).backward()
    for parameter, tensor in method.named_parameters():
        if tensor.requires_grad:
            assert tensor.grad is not None, parameter
            assert tensor.grad.isfinite().all(), parameter


@pytest.mark.slow
# The other two: test_train.py.
@pytest.mark.parametrize("name", sorted(METHODS.keys() - {"dual", "supervised"}))
def test_trained_broken_off_and_resumed_bit_for_bit(tmp_path, monkeypatch, name):
    experiment, kind = smoke(name), METHODS[name]
    whole = fit(experiment, tmp_path / "whole")

    class Broken(kind):
        def after_step(self, progress):
            super().after_step(progress)
            if progress.step == 3:
                raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setitem(METHODS, name, Broken)
        with pytest.raises(RuntimeError, match="power cut"):
            fit(experiment, tmp_path / "cut")
    cut = fit(experiment, tmp_path / "cut", resume=True)
    weights = [read_checkpoint(run.weights_path)[0] for run in (whole, cut)]
    assert weights[0].keys() == weights[1].keys()
    for tensor, tensors in weights[0].items():
        assert torch.equal(tensors, weights[1][tensor]), tensor
        assert tensors.isfinite().all(), tensor
    logs = whole.log(), cut.log()
    for log in logs:
        for line in log:
            del line["seconds"]
    assert logs[0] == logs[1] and len(logs[0]) == STEPS
    weighted = build_method(experiment, dataset_spec("phantom")).weights(Progress(STEPS - 1, STEPS))
    assert all(math.isfinite(line[term]) for line in logs[0] for term in weighted)


@pytest.mark.parametrize("name", METHODS)
def test_the_prediction_is_a_probability_of_the_patchs_size(name):
    experiment = smoke(name)
    spec = open_dataset("phantom", None, experiment.train.resolution).spec
    method = build_method(experiment, spec).eval()
    with torch.no_grad():
        members = method.predict_members(torch.randn(1, 1, *experiment.train.patch))
    assert members.shape == (len(method.members), 1, 2, *experiment.train.patch)
    assert torch.allclose(members.sum(2), torch.ones(()), atol=1e-5)
    assert members.min() >= 0


@pytest.mark.parametrize(("name", "kind"), METHODS.items())
def test_explained(name, kind):
    text = explain(None, "la", method=name)
    for title, where, formula in kind.equations.values():
        assert f"{title} (" in text and where in text and formula in text
    # What is said about the paper's equations is said about no others.
    of_the_paper = name in ("dual", "supervised")
    assert ("(eq. 1)" in text) == ("paper:    " in text) == of_the_paper


@pytest.mark.parametrize("name", METHODS)
def test_every_term_has_its_equation_and_the_method_its_publication(name):
    kind = METHODS[name]
    for preset in kind.presets:
        experiment = Experiment("la", "full", preset, method=name)
        with torch.device("meta"):
            method = kind(experiment.settings, experiment.train, dataset_spec("la"))
        terms = method.weights(Progress(1, 2))
        assert {t.removesuffix("_a").removesuffix("_b") for t in terms} <= kind.equations.keys()
    if name not in ("dual", "supervised"):  # the paper's own
        assert kind.title and kind.__doc__
        entries = (Path(__file__).parents[1] / "docs" / "references.bib").read_text("utf-8")
        assert f"{{{kind.citation}," in entries
