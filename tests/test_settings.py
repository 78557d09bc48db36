"""Settings: every class keeps its annotations, and survives its flat form."""

import dataclasses
import json
import math
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from toy_method import Toy

from dualseg._util.settings import Range, Settings
from dualseg.config.experiment import Experiment
from dualseg.config.training import TrainConfig
from dualseg.data.known import DATASETS
from dualseg.data.spec import PROFILES
from dualseg.errors import DualsegError
from dualseg.methods import METHODS, Method, Preset
from dualseg.runs.records import load_records, losses_of

ALL = {**METHODS, "toy": Toy}


def values(kind: Any) -> st.SearchStrategy:
    """Values that an annotation allows, as somebody may give them: plain, NumPy's, lists."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        low, high = (None if math.isinf(end) else end for end in (parts[1].low, parts[1].high))
        if parts[0] is int:
            most = 10_000 if high is None else int(high)
            number = st.integers(int(low), most)
            return number | number.map(np.int64)
        number = st.floats(low, 1e6 if high is None else high)
        return number | number.map(np.float64)
    if origin in (Union, types.UnionType):
        return st.none() | values(parts[0])
    if origin is tuple:
        items = st.lists(values(parts[0]), min_size=1, max_size=4)
        if parts[-1] is not ...:
            items = st.tuples(*map(values, parts))
        return items.map(tuple) | items.map(list)
    if origin is Literal:
        return st.sampled_from(parts)
    if kind is float:
        return st.floats(-1e6, 1e6)
    return {bool: st.booleans(), int: st.integers(-100, 100), str: st.text()}[kind]


def changes(cls: type[Settings]) -> st.SearchStrategy:
    hints = get_type_hints(cls, include_extras=True)
    return st.fixed_dictionaries({}, optional={name: values(kind) for name, kind in hints.items()})


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_there_and_back_by_the_flat_form(data):
    METHODS["toy"] = Toy
    try:
        method = data.draw(st.sampled_from(sorted(ALL)))
        kind = ALL[method]
        given_ = data.draw(changes(kind.settings_type)) | data.draw(changes(TrainConfig))
        start = {
            "dataset": data.draw(st.sampled_from(sorted(DATASETS))),
            "profile": data.draw(st.sampled_from(PROFILES)),
            "preset": data.draw(st.sampled_from(sorted(kind.presets))),
        }
        try:
            experiment = Experiment(**start, method=method, **given_, seed=np.int32(3))
        except DualsegError as error:  # what two fields, or an open end, do not allow
            open_ends = ("learning_rate", "momentum", "temperature", "head_dropout")
            assert str(error).partition(":")[0] in ("stride", *open_ends)
            return
        flat = json.loads(json.dumps(experiment.flat()))
        assert Experiment.from_flat(flat) == experiment
        assert dataclasses.replace(experiment) == experiment
        for name, value in experiment.flat().items():
            kinds = (bool, int, float, str, tuple, type(None))
            assert type(value) in kinds, name  # plain Python
            if name in given_ and not isinstance(value, tuple):
                assert value == given_[name]
        hash(experiment)
    finally:
        del METHODS["toy"]


@dataclass(frozen=True)
class Kinds(Settings):
    switch: bool = False
    count: int = 1
    share: Annotated[float, Range(0, 1)] = 0.5
    rate: float = 1.0
    name: str = "a"
    place: str | None = None
    which: Literal["x", "y"] = "x"
    sides: tuple[int, int, int] = (1, 2, 3)
    widths: tuple[float, ...] = (1.0,)


WRONG = {
    "switch": ["no", "False", 1, 0, 1.0, None, torch.tensor(True)],
    "count": ["1", True, 1.0, 2.5, None, math.inf, torch.tensor(1)],
    "share": ["0.5", True, -0.1, 1.1, math.nan, None, (0.5,)],
    "rate": ["1", True, math.inf, -math.inf, math.nan, None, 10**400, np.float64("inf")],
    "name": [1, None, b"a", True],
    "place": [1, False],
    "which": ["z", 1, None, ["x"]],
    "sides": [(1, 2), (1, 2, 3, 4), 3, "123", None, (1, 2.0, 3), (1, True, 3), {1, 2, 3}],
    "widths": [1.0, ["1"], [math.nan], "1", None],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in WRONG.items() for v in vs])
def test_what_is_not_of_the_type_is_refused_in_a_sentence(name, value):
    with pytest.raises(DualsegError, match=f"^{name}: expected .+, found .+\\.$"):
        Kinds(**{name: value})


TAKEN = [
    ("switch", np.True_, True),
    ("count", np.int64(4), 4),
    ("share", 1, 1.0),
    ("share", np.float32(0.25), 0.25),
    ("rate", np.int8(3), 3.0),
    ("place", None, None),
    ("place", "x", "x"),
    ("which", np.str_("y"), "y"),
    ("sides", [4, np.int64(5), 6], (4, 5, 6)),
    ("sides", np.array([7, 8, 9]), (7, 8, 9)),
    ("widths", [1, 2.5], (1.0, 2.5)),
]


@pytest.mark.parametrize(("name", "value", "expected"), TAKEN)
def test_numpy_numbers_and_lists_become_plain(name, value, expected):
    found = getattr(Kinds(**{name: value}), name)
    assert found == expected and type(found) is type(expected)
    if isinstance(found, tuple):
        assert [type(item) for item in found] == [type(item) for item in expected]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"flips": "no"}, "flips: expected True or False, found 'no'"),
        ({"learning_rate": "0.1"}, "learning_rate: expected a finite number, found '0.1'"),
        ({"learning_rate": math.inf}, "learning_rate: expected a finite number, found inf"),
        ({"momentum": None}, "momentum: expected a finite number, found None"),
        ({"stride": None}, "stride: expected 3 values, each a whole number from 1 to 1024"),
        ({"labeled": True}, "labeled: expected a whole number of at least 1, found True"),
        ({"dataset": None}, "dataset: expected a text or a path, found None"),
        ({"root": 3}, "root: expected a text or a path, found 3"),
        ({"method": "magic"}, "method: expected one of .*dual, .*supervised, .*found 'magic'"),
        ({"method": ["dual"]}, "method: expected one of .*dual, .*supervised, .*found"),
        ({"preset": 1}, "preset: expected one of cce, .* which the method 'dual' has, found 1"),
        (
            {"method": "supervised", "preset": "paper"},
            "preset: expected one of default, which the method 'supervised' has, found 'paper'",
        ),
        (
            {"method": "supervised", "gamma": 3},
            "unknown setting 'gamma': expected one of checkpoint_every, compile, dataset, .*seed",
        ),
        ({"train": {"patch": 3}}, "train: expected settings of the type TrainConfig, found"),
        ({"settings": Settings()}, "settings: expected settings of the type DualSettings, found"),
    ],
)
def test_an_experiment_refuses_at_construction(change, sentence):
    with pytest.raises(DualsegError, match=sentence):
        Experiment(**{"dataset": "la", "profile": "smoke", **change})


def test_a_list_is_the_same_run_as_a_tuple():
    listed = Experiment("phantom", patch=[16, 16, 16], stride=[8, 8, 8])
    assert listed == Experiment("phantom", patch=(16, 16, 16), stride=(8, 8, 8))
    assert len({listed, listed.replace(seed=0)}) == 1


@pytest.mark.parametrize("method", ALL)
def test_every_registered_method_fits_into_an_experiment(method, monkeypatch):
    monkeypatch.setitem(METHODS, "toy", Toy)
    kind = ALL[method]
    for preset in kind.presets:
        experiment = Experiment("la", "smoke", preset, method=method)
        assert type(experiment.settings) is kind.settings_type
        parts = (Experiment, TrainConfig, kind.settings_type)
        names = [field.name for part in parts for field in dataclasses.fields(part)]
        assert len(names) == len(set(names))
        for name, value in kind.presets[preset].changes.items():
            assert experiment.flat()[name] == value


@dataclass(frozen=True)
class Clashing(Settings):
    momentum: float = 0.0


def test_two_settings_of_one_name_are_refused(monkeypatch):
    monkeypatch.setitem(METHODS, "clash", type("Clash", (Method,), {"settings_type": Clashing}))
    words = "momentum: expected a name of its own .* in TrainConfig and Clashing; rename the second"
    with pytest.raises(DualsegError, match=words):
        Experiment(method="clash")


def test_a_preset_may_change_sizes_and_one_says_otherwise(monkeypatch):
    monkeypatch.setitem(METHODS, "toy", Toy)
    experiment = Experiment("la", "smoke", "own", method="toy")
    assert (experiment.train.labeled_batch, experiment.train.schedule) == (4, "own")
    assert experiment.settings.decay == 0.5
    assert Experiment("la", preset="own", method="toy", labeled_batch=2).train.labeled_batch == 2
    assert Experiment("la", method="toy").train.labeled_batch == 2
    # The method's settings start anew; sizes stay, but for what its preset says.
    plain = Experiment("la", "smoke", gamma=80, iterations=7)
    other = plain.replace(method="toy", widths=[2, 3])
    assert other.train == plain.train and other.settings.widths == (2, 3)
    assert other.replace(method="dual") == Experiment("la", "smoke", iterations=7)
    presets = {"first": Preset("", {"labeled_batch": 8})}
    monkeypatch.setattr(Toy, "presets", presets)
    assert plain.replace(method="toy").train.labeled_batch == 8


def test_the_data_set_has_its_say_in_a_methods_settings():
    assert Experiment("pancreas").settings.gamma == 80
    assert Experiment("pancreas", preset="released").settings.alpha == 0.5  # the preset says
    assert Experiment("pancreas", gamma=10).settings.gamma == 10


def test_losses_are_named_by_the_preset_that_has_these_settings():
    def name(preset, **changes):
        return losses_of(Experiment("la", preset=preset, **changes).flat())

    assert name("paper") == "paper"
    assert name("paper", gamma=10) == "paper, gamma 10.0"
    assert name("paper", alpha=0) == "without_cr"  # the same training
    assert name("cps", weight_cross_pseudo=0) == "no_component"
    assert name("cr", alpha=0, gamma=10) == "cr, alpha 0.0, gamma 10.0"  # of no preset


def test_published_records_are_read():
    """Those of before methods had settings: "supervised" ones hold the choices of "dual"."""
    published = Path(__file__).parent.parent / "figures" / "records"
    folders = [p for p in published.iterdir() if p.is_dir() and p.name != "benchmarks"]
    configs = [record["config"] for folder in folders for record in load_records(folder)]
    assert {config["method"] for config in configs} >= {"dual", "supervised", "bcp"}
    for config in configs:
        experiment = Experiment.from_flat(config)
        flat = json.loads(json.dumps(experiment.flat()))
        several = len(METHODS[config["method"]].presets) > 1
        for name in flat.keys() & config.keys() - (set() if several else {"preset"}):
            assert flat[name] == config[name], name
        if "preset" in config:  # the first version had none
            assert (losses_of(config) == "") == (not several)
            assert losses_of(experiment.flat()) == losses_of(config)
