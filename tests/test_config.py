"""Experiments: defaults by data set and profile, round trips, refusals."""

import json

import pytest

from dualseg.config.experiment import Experiment
from dualseg.config.training import TrainConfig
from dualseg.data.known import DATASETS
from dualseg.data.spec import PROFILES
from dualseg.errors import DualsegError


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("profile", PROFILES)
def test_default_takes_sizes_of_data_set_and_profile(dataset, profile):
    experiment = Experiment(dataset, profile)
    assert experiment.train == DATASETS[dataset].profiles[profile]
    assert experiment.labeled == DATASETS[dataset].labeled


def test_full_la_is_the_paper_section_4_2():
    assert DATASETS["la"].profiles["full"] == TrainConfig(
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
    experiment = Experiment("la", "lesson", seed=3, iterations=7, ramp_up=0.5)
    assert (experiment.seed, experiment.train.iterations, experiment.settings.ramp_up) == (
        3,
        7,
        0.5,
    )


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_flat_survives_json(preset):
    sizes = {"patch": (32, 16, 16), "stride": (8, 8, 8)}
    experiment = Experiment("la", "lesson", preset, seed=3, gamma=90.0, **sizes)
    assert Experiment.from_flat(json.loads(json.dumps(experiment.flat()))) == experiment


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"iterations": 2.5}, "iterations: expected a whole number of at least 1, found 2.5"),
        ({"patch": (8, 8)}, "patch: expected 3 values, each a whole number from 1 to 1024, found"),
        ({"resolution": "eighth"}, "resolution: expected one of full, half, quarter"),
        ({"precision": "float16"}, "precision: expected one of auto, bfloat16, float32"),
        ({"schedule": "cosine"}, "schedule: expected one of own, poly, step"),
        ({"normalise": "minmax"}, "normalise: expected one of stored, zscore"),
        ({"head_dropout": 1.0}, "head_dropout: expected below 1"),
        ({"head_dropout": -0.1}, "head_dropout: expected"),
        ({"momentum": 1.0}, "momentum: expected a number from 0 to below 1"),
        ({"weight_decay": -1.0}, "weight_decay: expected a finite number of at least 0"),
        ({"validation": -1}, "validation: expected a whole number of at least 0"),
        ({"gama": 70}, "unknown setting 'gama': expected one of .*gamma"),
        ({"gamma": 101}, "gamma: expected a finite number from 0 to 100, found 101"),
        ({"gamma": float("nan")}, "gamma: expected a finite number from 0 to 100, found nan"),
        ({"gamma": "70"}, "gamma: expected a finite number from 0 to 100, found '70'"),
        (
            {"mask_threshold": -0.1},
            "mask_threshold: expected a finite number from 0 to 1, found -0.1",
        ),
        ({"ramp_up": 1.5}, "ramp_up: expected a finite number from 0 to 1, found 1.5"),
        ({"temperature": 0}, "temperature: expected a number above 0, found 0.0"),
        ({"alpha": -0.5}, "alpha: expected a finite number of at least 0, found -0.5"),
        (
            {"weight_contrast": float("inf")},
            "weight_contrast: expected a finite number of at least 0",
        ),
        ({"mask_combine": "and"}, "mask_combine: expected one of or, xor, found 'and'"),
        ({"consistency_distance": "l1"}, "consistency_distance: expected one of kl, mse"),
        ({"percentile_within": "case"}, "percentile_within: expected one of batch, class"),
        ({"filter_label": "union"}, "filter_label: expected one of other, own"),
        ({"filter_combine": "xor"}, "filter_combine: expected one of and, or"),
        ({"uncertainty_target": "firm"}, "uncertainty_target: expected one of hard, soft"),
        ({"uncertainty_direction": "a_to_b"}, "uncertainty_direction: expected one of b_to_a"),
        ({"contrast_third_term": "push"}, "contrast_third_term: expected one of attract, none"),
        ({"contrast_reduction": "max"}, "contrast_reduction: expected one of mean, sum"),
        ({"contrast_schedule": "flat"}, "contrast_schedule: expected one of fall, rise"),
        ({"samples": "labeled"}, "samples: expected one of all, unlabeled"),
        ({"contrast_normalise": "no"}, "contrast_normalise: expected True or False, found 'no'"),
        ({"preset": "best"}, "preset: expected one of cce, cps, .*found 'best'"),
    ],
)
def test_impossible_values_are_refused(changes, sentence):
    with pytest.raises(DualsegError, match=sentence):
        Experiment("la", "lesson", **changes)


def test_another_method_leaves_the_sizes_of_the_former_preset():
    four = Experiment("la", "lesson", method="bcp", iterations=7)
    assert (four.train.labeled_batch, four.train.unlabeled_batch) == (4, 4)
    two = four.replace(method="supervised")
    assert (two.train.labeled_batch, two.train.unlabeled_batch) == (2, 2)
    assert two == Experiment("la", "lesson", method="supervised", iterations=7)
    assert (
        four.replace(labeled_batch=6, unlabeled_batch=6)
        .replace(method="supervised")
        .train.labeled_batch
        == 6
    )  # what was asked for by name stays


def test_what_other_settings_follow_from_is_not_replaced():
    experiment = Experiment("la", "lesson")
    for name, value in (("preset", "released"), ("profile", "full"), ("dataset", "phantom")):
        with pytest.raises(DualsegError, match=f"{name}: expected .*start from Experiment\\("):
            experiment.replace(**{name: value})
