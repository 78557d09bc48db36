"""Experiments: defaults by data set and profile, round trips, refusals."""

import json

import pytest

from dualseg.config import PROFILES, SPECS, Experiment, TrainConfig
from dualseg.errors import DualsegError


@pytest.mark.parametrize("dataset", SPECS)
@pytest.mark.parametrize("profile", PROFILES)
def test_default_takes_sizes_of_data_set_and_profile(dataset, profile):
    experiment = Experiment.default(dataset, profile)
    assert experiment.train == SPECS[dataset].profiles[profile]
    assert experiment.labeled == SPECS[dataset].labeled


def test_full_la_is_the_paper_section_4_2():
    assert SPECS["la"].profiles["full"] == TrainConfig(
        resolution="full",
        patch=(112, 112, 80),
        stride=(18, 18, 4),
        filters=16,
        iterations=6000,
        labeled_batch=2,
        unlabeled_batch=2,
        learning_rate=0.01,
        momentum=0.9,
        weight_decay=1e-4,
        schedule="step",
        normalise="zscore",  # not in the field's programs; section 4.2 asks for unit variance
        flips=False,
        checkpoint_every=500,
    )


def test_changes_go_where_they_belong():
    experiment = Experiment.default("la", "lesson", seed=3, iterations=7, ramp_up=0.5)
    assert (experiment.seed, experiment.train.iterations, experiment.loss.ramp_up) == (3, 7, 0.5)


def test_flat_survives_json():
    experiment = Experiment.default("la", "lesson", seed=3, patch=(32, 16, 16), stride=(8, 8, 8))
    assert Experiment.from_flat(json.loads(json.dumps(experiment.flat()))) == experiment


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"iterations": 2.5}, "iterations: expected a positive whole number, found 2.5"),
        ({"patch": (8, 8)}, "patch: expected three positive whole numbers"),
        ({"resolution": "eighth"}, "resolution: expected one of full, half, quarter"),
        ({"precision": "float16"}, "precision: expected one of auto, bfloat16, float32"),
        ({"schedule": "cosine"}, "schedule: expected one of poly, step"),
        ({"normalise": "minmax"}, "normalise: expected one of stored, zscore"),
        ({"momentum": 1.0}, "momentum: expected a number from 0 to below 1"),
        ({"weight_decay": -1.0}, "weight_decay: expected zero or more"),
        ({"validation": -1}, "validation: expected a whole number of at least 0"),
        ({"train": None}, "unknown setting 'train'"),
    ],
)
def test_impossible_values_are_refused(changes, sentence):
    with pytest.raises(DualsegError, match=sentence):
        Experiment.default("la", "lesson", **changes)
