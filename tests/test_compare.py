"""The comparison of methods: its statistics, what may be compared, its budgets, and the command."""

import csv
import importlib
import io
import json
import math
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from dualseg._util.files import write_json
from dualseg.cli.main import main
from dualseg.config.experiment import Experiment
from dualseg.data import dataset as datasets
from dualseg.data.known import dataset_spec
from dualseg.data.prepared_folder import LAYOUT, MANIFEST
from dualseg.data.spec import noted_spec
from dualseg.errors import DualsegError
from dualseg.many_runs import cost
from dualseg.many_runs.compare import COMMON, plan_comparison
from dualseg.many_runs.comparison import compare_records
from dualseg.many_runs.comparison_plot import describe_comparison, plot_ranking
from dualseg.many_runs.comparison_table import comparison_csv, comparison_text, costs_of
from dualseg.many_runs.cost import cost_of
from dualseg.many_runs.ranking import (
    case_means,
    holm,
    paired_test,
    probability_first,
    run_means,
    spread,
)
from dualseg.methods import METHODS, Preset
from dualseg.methods.supervised import Supervised
from dualseg.methods.vnet import SupervisedVNet
from dualseg.networks._blocks import count_parameters
from dualseg.networks.resnet34 import ResNet34
from dualseg.networks.vnet import VNet
from dualseg.paper.complexity import count_macs
from dualseg.paper.published import published_numbers
from dualseg.paper.tables import paper_table, read_toml
from dualseg.plotting.intervals import plot_intervals
from dualseg.runs.records import load_records, losses_of

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "figures" / "records"
NAN = math.nan


def dices(runs: int = 2, cases: int = 20, mean: float = 70, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return mean + rng.normal(0, 8, cases) + rng.normal(0, 2, (runs, cases))


# Statistics


def test_means_leave_out_what_is_not_there():
    values = np.array([[1.0, 2.0, NAN], [3.0, NAN, NAN]])
    np.testing.assert_array_equal(case_means(values), [2, 2, NAN])
    np.testing.assert_array_equal(run_means(values), [1.5, 3])
    np.testing.assert_array_equal(run_means(np.full((2, 3), NAN)), [NAN, NAN])


def test_spread_is_what_numpy_and_scipys_bootstrap_say():
    values = dices()
    found = spread(values)
    cases = values.mean(0)
    assert found.mean == pytest.approx(values.mean())
    assert found.over_seeds == pytest.approx(values.mean(1).std(ddof=1))
    assert found.over_cases == pytest.approx(cases.std(ddof=1))
    other = stats.bootstrap((cases,), np.mean, method="percentile", n_resamples=20_000)
    tolerance = 0.05 * (other.confidence_interval.high - other.confidence_interval.low)
    assert found.low == pytest.approx(other.confidence_interval.low, abs=tolerance)
    assert found.high == pytest.approx(other.confidence_interval.high, abs=tolerance)
    assert spread(values) == found


def test_spread_of_a_single_run_and_of_nothing():
    one = spread(np.array([[5.0, NAN]]))
    assert (one.mean, one.low, one.high) == (5, 5, 5)
    assert math.isnan(one.over_seeds) and math.isnan(one.over_cases)
    assert all(math.isnan(value) for value in vars(spread(np.full((2, 3), NAN))).values())


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    samples = [spread(rng.normal(70, 10, (1, 20)), seed=i) for i in range(300)]
    covered = np.mean([found.low <= 70 <= found.high for found in samples])
    # The percentile interval of 20 values is a little short: about 93%.
    assert 0.88 <= covered <= 0.98


def test_a_method_that_wins_in_every_case_is_first():
    best = dices()
    worst_seed = best.min(0, keepdims=True)  # better by 0.1 in every case, whatever the seed
    found = probability_first([worst_seed - 5, best, worst_seed - 0.1])
    np.testing.assert_array_equal(found, [0, 1, 0])


def test_equal_methods_share_the_first_place():
    one = dices(runs=1)
    np.testing.assert_allclose(probability_first([one, one]), [0.5, 0.5], atol=1e-12)
    three = dices(runs=3)
    found = probability_first([three, three[::-1]])
    np.testing.assert_allclose(found, [0.5, 0.5], atol=0.03)
    assert found.sum() == pytest.approx(1)


def test_probability_of_two_cases_by_hand():
    # Of four draws of two cases, (1, 1) and the two mixed ones have A ahead, (2, 2) has B.
    found = probability_first([np.array([[1.0, 0.0]]), np.array([[0.0, 0.5]])])
    np.testing.assert_allclose(found, [0.75, 0.25], atol=0.02)


def test_seeds_are_resampled_too():
    # The two runs of A, 1 and 3, have the mean 1, 2, 2 or 3 in a draw; B has 1.5.
    found = probability_first([np.array([[1.0] * 4, [3.0] * 4]), np.array([[1.5] * 4])])
    np.testing.assert_allclose(found, [0.75, 0.25], atol=0.02)


def test_a_method_without_any_value_is_not_first():
    found = probability_first([np.full((1, 3), NAN), np.array([[0.0, NAN, 0.0]])])
    assert found[1] > 0.9  # where a draw has only the case that is missing, they share it


def test_paired_test_is_scipys_on_the_means_over_seeds():
    a, b = dices(runs=3, seed=1), dices(runs=2, seed=2)
    a[:, 4] = NAN
    there = np.arange(20) != 4
    scipys = stats.ttest_rel(a.mean(0)[there], b.mean(0)[there])
    found = paired_test(a, b)
    assert (found.t, found.p) == pytest.approx((scipys.statistic, scipys.pvalue))
    assert found.degrees == scipys.df == 18
    assert found.difference == pytest.approx((a.mean(0) - b.mean(0))[there].mean())


def test_paired_test_without_spread_or_cases():
    a = dices(runs=1)
    assert vars(paired_test(a, a)) == {"difference": 0, "t": 0, "degrees": 19, "p": 1}
    better = paired_test(a + 1, a)
    assert (better.t, better.p) == (math.inf, 0)
    single = paired_test(np.array([[1.0]]), np.array([[0.0]]))
    assert (single.difference, single.degrees) == (1, 0) and math.isnan(single.p)


def test_holm_by_hand():
    # In order: 4 * 0.005, 3 * 0.01, 2 * 0.03, and 1 * 0.04, which may not be below 0.06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1, 1]
    corrected = holm([0.02, NAN, 0.5])
    assert corrected[0] == pytest.approx(0.04) and math.isnan(corrected[1])


# Records


def record(
    dice: np.ndarray | list[float], method: str, seed: int = 0, ids: str = "", **changes
) -> dict:
    """A record of one run; a Dice of 0 is that of an empty prediction."""
    named = {"dataset": "la", "profile": "lesson"} | changes
    config = Experiment(method=method, seed=seed, **named).flat()
    cases = [
        {"id": f"case{ids}{i:02}", "dice": v, "hd95": None if v == 0 else 100 - v, "empty": v == 0}
        for i, v in enumerate(map(float, dice))
    ]
    name = f"{method}_{config['iterations']}_{seed}"
    rest = {"name": name, "split": "test", "data": {}, "seconds": 40.0}
    return {"config": config, "cases": cases, "empties": sum(c["empty"] for c in cases)} | rest


class Known(Supervised):
    """A method with a budget of its own."""

    title = "Known-Net"
    presets: ClassVar = {
        "usual": Preset("as it is"),
        "without": Preset("without its idea"),
        "own": Preset(
            "as published",
            {"iterations": 15000, "learning_rate": 0.02, "schedule": "own", "labeled_batch": 4},
        ),
    }


@pytest.fixture
def known(monkeypatch):
    monkeypatch.setitem(METHODS, "known", Known)


def some_records() -> list[dict]:
    floor, ours = dices(seed=3), dices(mean=75, seed=4)
    runs = [record(values, "supervised", seed) for seed, values in enumerate(floor)]
    runs += [record(values, "dual", seed, preset="paper") for seed, values in enumerate(ours)]
    return [*runs, record(floor[0] + 1, "known")]


def test_methods_are_ranked_by_mean_dice_and_tested_against_the_references(known):
    comparison = compare_records(reversed(some_records()), "la", None, "lesson")
    assert [e.key for e in comparison.entries] == ["dual:paper", "known:usual", "supervised"]
    assert [comparison.label(e) for e in comparison.entries] == ["dual", "Known-Net", "supervised"]
    assert [len(e.records) for e in comparison.entries] == [2, 1, 2]
    assert comparison.budget.startswith("the same budget for all: 800 steps, learning rate 0.05")
    first, second = (("dual:paper", "supervised"), ("supervised", "dual:paper"))
    assert comparison.tests.keys() == {
        *{first, second},
        *{("known:usual", "supervised"), ("known:usual", "dual:paper")},
    }
    # Three pairs: the smallest p is corrected by 3.
    raw = {pair: test.p for pair, (test, _) in comparison.tests.items() if pair != second}
    smallest = min(raw, key=raw.__getitem__)
    assert comparison.tests[smallest][1] == pytest.approx(min(1, 3 * raw[smallest]))
    there, back = comparison.tests[first], comparison.tests[second]
    assert there[0].difference == -back[0].difference and there[1] == back[1]


def test_what_unlabeled_scans_give_is_tested_against_a_v_net_too():
    runs = [record(values, "vnet", seed) for seed, values in enumerate(dices(seed=3))]
    runs += [record(values, "ua_mt", seed) for seed, values in enumerate(dices(seed=4))]
    comparison = compare_records(runs, "la", None, "lesson")
    assert ("ua_mt:default", "vnet:default") in comparison.tests


def test_cases_are_matched_by_their_id(known):
    runs = some_records()
    for run in runs[1:]:
        run["cases"].reverse()
    shuffled, straight = (compare_records(r, "la", 8, "lesson") for r in (runs, some_records()))
    assert shuffled.spreads == straight.spreads and shuffled.tests == straight.tests


def test_an_empty_prediction_has_dice_0_and_no_distance():
    runs = [record([80.0, 0.0, 90.0], "supervised"), record([80.0, 60.0, 90.0], "dual")]
    comparison = compare_records(runs, "la", None, "lesson")
    floor = comparison.spreads[1]
    assert floor["dice"].mean == pytest.approx(170 / 3)
    assert floor["hd95"].mean == pytest.approx((20 + 10) / 2)
    text = comparison_text(comparison, [None, None])
    assert re.search(r"^supervised .* 1/3 ", text, re.MULTILINE)


def test_a_preset_is_named_where_it_is_not_the_usual_one(known):
    runs = [record([80.0, 70.0], "known", preset=preset) for preset in Known.presets]
    comparison = compare_records([*runs[:2], record([1.0, 2.0], "dual")], "la", None, "lesson")
    labels = {comparison.label(entry) for entry in comparison.entries}
    assert labels == {"Known-Net, usual", "Known-Net, without", "dual"}


def test_a_variant_is_tested_against_its_method_as_it_is(known):
    values = np.array([[80.0, 70.0, 60.0, 50.0], [82.0, 71.0, 64.0, 50.0]])
    without = np.array([[70.0, 69.0, 61.0, 40.0], [74.0, 65.0, 63.0, 41.0]])
    runs = [record(v, "known", seed) for seed, v in enumerate(values)]
    runs += [record(v, "known", seed, preset="without") for seed, v in enumerate(without)]
    runs += [record(v - 9, "bcp", seed) for seed, v in enumerate(values)]
    comparison = compare_records(runs, "la", None, "lesson")
    assert comparison.tests.keys() == {("known:without", "known:usual")}
    ((test, corrected),) = comparison.tests.values()
    expected = stats.ttest_rel(without.mean(0), values.mean(0))
    assert test.difference == pytest.approx((without - values).mean())
    assert (test.t, corrected) == pytest.approx((expected.statistic, expected.pvalue))
    text = comparison_text(comparison, [None] * 3)
    head, *lines = (line for line in text.splitlines() if "against" in line or "t(3)" in line)
    assert head.endswith("against its usual preset")
    assert len(lines) == 1 and lines[0].startswith("Known-Net, without ")
    table = list(csv.DictReader(io.StringIO(comparison_csv(comparison, [None] * 3))))
    cells = {row["method"]: row["difference_to_usual"] for row in table}
    assert float(cells.pop("known:without")) == pytest.approx(test.difference)
    assert set(cells.values()) == {""}
    # Beside a reference that is its own usual preset, there is no second column for the same pair.
    runs = [record(v, "dual", preset=p) for v, p in zip(values, ("paper", "cr"), strict=True)]
    comparison = compare_records(runs, "la", None, "lesson")
    assert comparison.tests.keys() == {("dual:cr", "dual:paper")}
    assert "usual" not in comparison_text(comparison, [None] * 2)


def test_kept_records_can_be_chosen_by_method_and_seed(known):
    runs = [*some_records(), record([1.0] * 20, "known", preset="without")]

    def kept(**chosen) -> dict[str, list[int]]:
        comparison = compare_records(runs, "la", None, "lesson", **chosen)
        return {e.key: [r["config"]["seed"] for r in e.records] for e in comparison.entries}

    assert kept(seeds=(0,)).keys() == {"dual:paper", "known:usual", "known:without", "supervised"}
    assert set().union(*kept(seeds=(0,)).values()) == {0}
    assert kept(methods=("known", "supervised")) == {"known:usual": [0], "supervised": [0, 1]}
    assert kept(methods=("dual:paper", "known:without")).keys() == {"dual:paper", "known:without"}
    with pytest.raises(DualsegError, match="methods: expected one of .*supervised.*, found 'bcp'"):
        kept(methods=("supervised", "bcp"))


def own(method: str, scale: float, **changes) -> dict:
    (run,) = [
        member.experiment
        for member in plan_comparison(
            Path("nowhere"), ["known", "dual"], "la", None, [0], "lesson", "own", scale
        )
        if member.experiment.method == method
    ]
    sizes = {name: getattr(run.train, name) for name in (*COMMON, "labeled_batch")}
    return record([80.0, 70.0], method, preset=run.preset, **{**sizes, **changes})


def test_each_methods_own_budget_is_recognized(known):
    runs = [own("known", 0.01), own("dual", 0.01)]
    assert [run["config"]["iterations"] for run in runs] == [150, 60]
    comparison = compare_records(runs, "la", None, "lesson")
    assert comparison.budget == "each method's own budget, its steps times 0.01"
    other = [own("known", 0.01), own("dual", 0.01, iterations=61)]
    with pytest.raises(
        DualsegError, match="expected one iterations in all, found 150 in known_150"
    ):
        compare_records(other, "la", None, "lesson")


def test_a_method_that_takes_another_batch_is_named():
    runs = [record([1, 2], method) for method in ("supervised", "vnet", "bcp")]
    budget = compare_records(runs, "la", None, "lesson").budget
    assert budget.endswith("schedule 'poly'; another batch: bcp:default 4+4")


REFUSED: dict[str, tuple[Callable[[], list[dict]], str]] = {
    "one method": (
        lambda: [record([1, 2], "dual", s) for s in (0, 1)],
        r"records: expected test records of at least two methods on 'la' with 8 labels at "
        r"'lesson', found dual paper; run more",
    ),
    "other test cases": (
        lambda: [record([1, 2], "dual"), record([1, 2], "supervised", ids="x")],
        r"expected the same test cases in all, found case00 in only one of dual_800_0 and "
        r"supervised_800_0 \(4 such cases\)",
    ),
    "two budgets": (
        lambda: [record([1, 2], "dual"), record([1, 2], "supervised", iterations=100)],
        r"expected one iterations in all, found 800 in dual_800_0 and 100 in supervised_100_0; "
        r"keep runs of different budgets",
    ),
    "two budgets of a method": (
        lambda: (
            [record([1, 2], "dual", s, iterations=100 + s) for s in (0, 1)]
            + [record([1, 2], "supervised")]
        ),
        "expected one iterations in all, found 100 in dual_100_0 and 101 in dual_101_1",
    ),
    "two rates": (
        lambda: [record([1, 2], "dual"), record([1, 2], "supervised", learning_rate=0.01)],
        "expected one learning_rate in all, found 0.05 in dual_800_0 and 0.01 in supervised_800_0",
    ),
    "other sizes": (
        lambda: [record([1, 2], "dual"), record([1, 2], "supervised", filters=4)],
        "expected one filters in all, found 8",
    ),
    "a seed twice": (
        lambda: 2 * [record([1, 2], "dual")] + [record([1, 2], "supervised")],
        "expected each seed of dual:paper once, found seed 0 in dual_800_0 and dual_800_0",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compared_is_refused_in_one_sentence(case):
    records, words = REFUSED[case]
    with pytest.raises(DualsegError, match=words):
        compare_records(records(), "la", None, "lesson")


# Plans


def planned(out, *methods: str, budget="common", scale=1.0, settings=(), seeds=(0,)):
    parts = (out, methods, "la", None, seeds, "lesson", budget, scale, settings)
    return {member.name: member.experiment for member in plan_comparison(*parts)}


def test_a_common_budget_is_the_same_for_all(known, tmp_path):
    runs = planned(
        tmp_path, "supervised", "dual:improved", "known:without", scale=0.5, seeds=(0, 3)
    )
    assert list(runs) == [
        f"la_{name}_8labels_lesson_seed{seed}"
        for name in ("supervised", "dual_improved", "known_without")
        for seed in (0, 3)
    ]
    budgets = {tuple(getattr(run.train, name) for name in COMMON) for run in runs.values()}
    assert budgets == {(400, 0.05, 0.9, 1e-4, "poly", "zscore", False)}
    runs = planned(tmp_path, "supervised", "dual", settings=["learning_rate=0.01"])
    assert {run.train.learning_rate for run in runs.values()} == {0.01}


def test_an_own_budget_is_the_published_one_at_the_profiles_sizes(known, tmp_path):
    runs = planned(tmp_path, "supervised", "known", "known:without", budget="own", scale=0.1)
    floor, usual, without = (run.train for run in runs.values())
    # The paper's: its section 4.2.
    assert (floor.iterations, floor.learning_rate, floor.schedule) == (600, 0.01, "step")
    for train in (usual, without):
        assert (train.iterations, train.learning_rate, train.schedule) == (1500, 0.02, "own")
        assert (train.labeled_batch, train.unlabeled_batch) == (4, 2)
    assert {train.filters for train in (floor, usual, without)} == {8}
    assert [run.preset for run in runs.values()][1:] == ["own", "without"]


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--methods", "dual"], "methods: expected at least two to compare, found ('dual',)"),
        (["--methods", "dual", "nobody"], "method: expected one of "),
        (["--methods", "dual:nothing", "supervised"], "preset: expected one of "),
        (
            ["--methods", "dual", "known:own"],
            "methods: expected no preset 'own' in a common budget",
        ),
        (["--budget-scale", "0"], "budget-scale: expected a number above 0, found 0"),
        (["--budget-scale", "inf"], "budget-scale: expected a number above 0, found inf"),
        (["--seeds"], "seeds: expected at least one"),
        (
            ["--methods", "dual", "known", "--budget", "own", "--set", "iterations=7"],
            "--set: expected no part of a method's own budget, found 'iterations'",
        ),
        (["--records", "nowhere"], "nowhere: expected a folder, found none"),
    ],
)
def test_bad_input_is_one_sentence(known, tmp_path, capsys, words, sentence):
    assert main(["compare", "--out", str(tmp_path), *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"dualseg: {sentence}") and error.count("\n") == 1


# Costs and printed numbers


def test_costs_are_those_of_both_networks():
    experiment = Experiment("la", "full", method="supervised", filters=4)
    found = cost_of(experiment, dataset_spec("la"))
    with torch.device("meta"):
        nets = [ResNet34(filters=4), VNet(filters=4)]
    window = sum(count_macs(net, experiment.train.patch) for net in nets)
    assert found.trained == found.predicting == sum(count_parameters(net) for net in nets)
    assert found.window == window
    # Forward, gradient of the weights, gradient of the inputs (but for the image's): three times.
    assert 2.8 < found.step / (2 * window) < 3


class Twice(Supervised):
    """It looks at its batch a second time, and has layers that it predicts without."""

    def __init__(self, settings, config, spec):
        super().__init__(settings, config, spec)
        self.extra = torch.nn.Linear(3, 5)

    def terms(self, out_a, out_b, label):
        terms = super().terms(out_a, out_b, label)
        return terms | {"extra": self.extra.weight.square().sum() + self.extra.bias.sum()}

    def weights(self, progress):
        return {**super().weights(progress), "extra": 1.0}

    def loss(self, batch, progress):
        with torch.no_grad():
            self(batch.image)
        return super().loss(batch, progress)


def test_every_pass_and_every_trained_layer_is_counted(monkeypatch):
    monkeypatch.setitem(METHODS, "twice", Twice)
    once, twice = (
        cost_of(Experiment("la", "smoke", method=name), dataset_spec("la"))
        for name in ("supervised", "twice")
    )
    assert twice.step - once.step == 2 * once.window  # a pass over two labeled crops
    assert twice.window == once.window
    assert twice.trained - twice.predicting == 3 * 5 + 5
    assert twice.predicting == once.predicting


def test_costs_are_those_of_the_class_that_has_the_name_now(known, monkeypatch):
    class Smaller(SupervisedVNet):
        presets = Known.presets

    counted = []
    for kind in (Known, Smaller, Known):
        monkeypatch.setitem(METHODS, "known", kind)
        comparison = compare_records(some_records(), "la", None, "lesson")
        names = [entry.method for entry in comparison.entries]
        counted.append(dict(zip(names, costs_of(comparison), strict=True)))
    first, smaller, again = counted
    assert first == again
    assert first["supervised"] == smaller["supervised"]
    assert first["known"].trained > smaller["known"].trained


def test_costs_of_a_small_crop_are_scaled_to_the_patch(monkeypatch):
    changes = {"patch": (48, 40, 32), "stride": (8, 8, 8), "filters": 2}
    experiment = Experiment("la", "smoke", preset="improved", **changes)
    small = cost_of(experiment, dataset_spec("la"))
    monkeypatch.setattr(cost, "SIDE", 48)
    whole = cost_of(experiment, dataset_spec("la"))
    assert (whole.trained, whole.window) == (small.trained, small.window)
    # The prototypes are of voxels that are chosen by their values.
    assert whole.step == pytest.approx(small.step, rel=2e-3)


def test_printed_numbers_have_a_row_in_the_paper_and_a_source():
    names = {entry["name"]: entry for entry in read_toml("published.toml")["method"]}
    rows = {row["method"] for row in paper_table("comparison")}
    assert {entry["paper"] for entry in names.values()} == rows
    for name in names:
        for labeled in (8, 16):
            public = published_numbers(name, "la", labeled).public
            assert public is None or re.search(r" at [0-9a-f]{7}$", public["source"])
    found = published_numbers("ua_mt", "la", 8)
    assert (found.paper["dice"], found.public["dice"], found.public["hd95"]) == (
        87.10,
        84.25,
        13.84,
    )
    assert published_numbers("ua_mt", "phantom", 4).paper is None
    assert published_numbers("nobody", "la", 8).paper is None


# From the kept records


def test_a_ranking_is_derived_from_kept_records(tmp_path, capsys):
    kept = tmp_path / "kept"
    kept.mkdir()
    names = [
        f"la_{what}_8labels_lesson_seed{s}.json"
        for what in ("supervised", "dual_improved")
        for s in (0, 1)
    ]
    for name in names:
        shutil.copy(RECORDS / "compare" / name, kept)
    words = ["compare", "--records", str(kept), "--dataset", "la"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *{"comparison.txt", "comparison.csv", "comparison.png"}
    }
    assert (tmp_path / "out" / "comparison.txt").read_text(encoding="utf-8") == printed
    with open(tmp_path / "out" / "comparison.csv", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [line["method"] for line in lines] == ["dual:improved", "supervised"]
    records = [
        json.loads((RECORDS / "compare" / name).read_text(encoding="utf-8")) for name in names
    ]
    values = np.array([[case["dice"] for case in r["cases"]] for r in records]).reshape(2, 2, -1)
    floor, ours = values.mean(1)
    scipys = stats.ttest_rel(ours, floor)
    line = lines[0]
    assert float(line["dice_mean"]) == pytest.approx(ours.mean())
    assert float(line["t_to_supervised"]) == pytest.approx(scipys.statistic)
    assert float(line["holm_p_to_supervised"]) == pytest.approx(scipys.pvalue)  # the only test
    assert f"t(19) = {scipys.statistic:.2f}" in printed
    seconds = sum(r["seconds"] for r in records[2:]) / 1600
    assert float(line["seconds_a_step"]) == pytest.approx(seconds)
    assert main([*words, "--markdown"]) == 0
    tables = re.findall(r"^\| --- ", capsys.readouterr().out, re.MULTILINE)
    assert len(tables) == 3  # nothing is printed about these two


def test_records_of_a_prepared_folder_are_ranked_by_its_path(tmp_path, capsys):
    spec = replace(dataset_spec("folder"), labeled=8)
    write_json(
        tmp_path / "data" / MANIFEST,
        {"layout": LAYOUT, "dataset": "folder", "cases": {}, **noted_spec(spec)},
    )
    for what in ("supervised", "dual_improved"):
        kept = RECORDS / "compare" / f"la_{what}_8labels_lesson_seed0.json"
        record = json.loads(kept.read_text(encoding="utf-8"))
        record["config"]["dataset"] = "folder"
        write_json(tmp_path / "records" / f"{what}.json", record)
    words = ["compare", "--records", str(tmp_path / "records"), "--dataset"]
    assert main([*words, str(tmp_path / "data")]) == 0
    assert "folder, 8 labels" in capsys.readouterr().out


def test_the_published_comparison_is_one_of_all_methods():
    comparison = compare_records(load_records(RECORDS / "compare"), "la", None, "lesson")
    keys = [entry.key for entry in comparison.entries]
    assert {"supervised", "dual:paper", "dual:improved", "dual:released"} <= set(keys)
    printed = {row["method"] for row in paper_table("comparison")}
    compared = {name for name, kind in METHODS.items() if kind.title in printed}
    assert len(compared) > 10
    assert {entry.method for entry in comparison.entries} >= {"vnet", *compared}
    assert comparison.first.sum() == pytest.approx(1)
    means = [found["dice"].mean for found in comparison.spreads]
    assert means == sorted(means, reverse=True)
    text = comparison_text(comparison, [None] * len(keys))
    assert "89.95 / 5.73" in text  # the paper's row beside its method
    lines = comparison_csv(comparison, [None] * len(keys)).splitlines()
    assert len(lines) == 1 + len(keys)


# The figure


def test_the_figure_shows_every_mean_seed_and_printed_value_in_order(known):
    comparison = compare_records(some_records(), "la", None, "lesson")
    figure = plot_ranking(comparison)
    left = figure.axes[0]
    assert [label.get_text() for label in left.get_yticklabels()] == [
        *["dual", "Known-Net", "supervised"]
    ]
    low, high = left.get_ylim()
    assert low > high  # the first on top
    drawn = {
        gid: [line.get_xdata().tolist() for line in left.lines if line.get_gid() == gid]
        for gid in ("mean", "singles", "printed")
    }
    assert [x for (x,) in drawn["mean"]] == [s["dice"].mean for s in comparison.spreads]
    assert drawn["singles"] == [m["dice"].tolist() for m in comparison.seed_means]
    assert drawn["printed"] == [[89.95]]
    assert "dual 7" in describe_comparison(comparison)
    with pytest.raises(ValueError, match="at least one row"):
        plot_intervals([], {}, ("", "", ""))


def test_the_published_figure_is_that_of_the_records():
    records = load_records(RECORDS / "compare")
    words = describe_comparison(compare_records(records, "la", None, "lesson"))
    with Image.open(ROOT / "figures" / "la_comparison.png") as picture:
        assert picture.info["Description"] == words, (
            "draw it anew: dualseg compare --records figures/records/compare --dataset la "
            "--out FOLDER; then copy FOLDER/comparison.png"
        )


# The pages


def test_the_page_of_the_compared_methods_lists_all_with_their_presets():
    page = (ROOT / "docs" / "compared_methods.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]*) \|[^|]*\|[^|]*\|([^|]*)\|$", page, re.MULTILINE)
    listed = [
        (name, re.findall(r"`(\w+)`", presets))
        for names, presets in rows
        for name in re.findall(r"`(\w+)`", names)
    ]
    assert {name for name, _ in listed} == set(METHODS)
    for name, presets in listed:
        assert set(presets) <= set(METHODS[name].presets), name


@pytest.mark.slow
def test_the_page_on_ones_own_method_runs_as_it_is(tmp_path, monkeypatch, capsys, no_pictures):
    train, test = datasets.published_lists("phantom")  # three test cases are enough
    monkeypatch.setattr(datasets, "published_lists", lambda name: (train, test[:3]))
    page = (ROOT / "docs" / "own_method.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "page_code.py").write_text("\n\n".join(blocks), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        importlib.import_module("page_code")
        printed = capsys.readouterr().out
    finally:
        METHODS.pop("agree", None)
        sys.modules.pop("page_code", None)
    assert re.search(r"^Agree-Net +1 ", printed, re.MULTILINE)
    assert re.search(r"^supervised +1 ", printed, re.MULTILINE)
    log = [json.loads(line) for line in (tmp_path / "runs/agree/log.jsonl").open()]
    assert all(line["agreement"] > 0 for line in log)


# The whole way


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_a_comparison_is_interrupted_and_resumed(la_root, tmp_path, capsys):
    out = tmp_path / "compare"
    data = ["--dataset", "la", "--root", str(la_root), "--labeled", "2", "--profile", "smoke"]
    small = ["patch=16,16,16", "stride=8,8,8", "filters=2", "resolution=half"]
    words = ["compare", "--out", str(out), "--methods", "supervised", "dual:improved"]
    words += ["dual:paper", *data, "--seeds", "0", "--set", *small]
    process = subprocess.Popen(
        [sys.executable, "-m", "dualseg", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    end = time.monotonic() + 240
    while not list(out.glob("*/record.json")):
        assert process.poll() is None and time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    shown = process.communicate(timeout=240)[0].decode()
    assert process.returncode == 130 and "the same command goes on" in shown
    assert not (out / "comparison.csv").exists()
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/record.json")}
    assert len(before) == 1

    assert main([*words, "--dry-run"]) == 0
    assert "3 runs, 1 finished" in capsys.readouterr().out
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before  # not done again
    records = [json.loads(p.read_text(encoding="utf-8")) for p in out.glob("*/record.json")]
    assert len(records) == 3
    with open(out / "comparison.csv", encoding="utf-8") as file:
        lines = {line["method"]: line for line in csv.DictReader(file)}
    dice = {losses_of(r["config"]): r["mean"]["dice"] for r in records}
    for losses, key in (("", "supervised"), ("improved", "dual:improved"), ("paper", "dual:paper")):
        assert float(lines[key]["dice_mean"]) == pytest.approx(dice[losses])
        assert lines[key]["seeds"] == "1"

    assert main(["compare", "--records", str(out / "records"), *data]) == 0
    again = capsys.readouterr().out  # with a Dice of 0 each, the rows may have another order
    rows = [line for line in printed.splitlines() if re.match("dual, .* 2/2 ", line)]
    assert len(rows) == 2 and all(row in again for row in rows)

    # A method that cannot be trained on such crops is named; the others are ranked all the same.
    words.insert(words.index("--dataset"), "urpc")
    assert main(words) == 1
    shown = capsys.readouterr()
    assert shown.out == printed and "1 of 4 runs failed" in shown.err and "urpc" in shown.err
