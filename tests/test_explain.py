"""What `explain` and `paper` say is what the package does and what the tables hold."""

import dataclasses

import pytest

from dualseg.config.experiment import preset_settings
from dualseg.config.training import Progress
from dualseg.methods.dual import Dual, dual_weights
from dualseg.methods.dual_settings import DUAL_PRESETS, DualSettings
from dualseg.paper.explain import explain, explain_gradients, family
from dualseg.paper.tables import TABLES, differences, paper_remarks, paper_table


@pytest.mark.parametrize("preset", DUAL_PRESETS)
def test_explain_shows_the_weights_of_every_term(preset):
    lines = explain(preset, "la", at=0.3).splitlines()
    weights = dual_weights(preset_settings("dual", preset, "la"), Progress(3, 10))
    for term, weight in weights.items():
        row = next(line.split() for line in lines if line.split()[:1] == [term])
        assert row[1] == f"{weight:.4g}"


def test_explain_names_equations_differences_and_what_is_off():
    text = explain("released", "pancreas")
    for title, where, formula in Dual.equations.values():
        assert f"{title} (" in text
        assert where in text
        assert formula in text
    assert all(f"[{entry.number}]" in text for entry in differences())
    assert "(cross_pseudo), eqs. 7-8 - switched off" in text
    assert "(cosine), not in the paper\n" in text
    assert "gamma = 80.0" in text


def test_explain_gradients_has_the_release_beside_the_paper():
    text = explain_gradients("paper", "la")
    assert text.count("entropy_filtered  constant  constant") == 2
    assert text.count("cross_pseudo") == 1  # of the paper alone
    assert "contrast nan" in text


def test_every_family_is_explained_and_every_choice_has_a_difference():
    everything = dataclasses.replace(DualSettings(), weight_cosine=1.0)
    assert {family(term) for term in dual_weights(everything, Progress(0, 1))} == set(
        Dual.equations
    )
    names = {field.name for field in dataclasses.fields(DualSettings)}
    cited = {name for entry in differences() for name in entry.choice}
    assert cited == names
    assert {entry.term for entry in differences()} <= set(Dual.equations)
    numbers = [entry.number for entry in differences()]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_whole(name):
    rows = paper_table(name)
    for row in rows:
        assert row["dataset"] in ("la", "pancreas", "brats2019")
        assert 0 < row["jaccard"] < row["dice"] < 100
        for key in ("hd95", "asd", "dice_err", "jaccard_err", "hd95_err", "asd_err"):
            assert row[key] > 0
    assert len(paper_remarks(name)) >= 2


def dices(table, dataset, key, **where):
    rows = paper_table(table, dataset)
    return {r[key]: r["dice"] for r in rows if all(r[k] == v for k, v in where.items())}


def test_remarks_are_what_the_tables_say():
    la8 = dices("comparison", "la", "method", labeled=8)
    best, second = sorted(la8.values())[-1:-3:-1]
    assert (best, second) == (la8["Ours"], la8["BCP"])
    assert best - second == pytest.approx(0.50)
    la16 = sorted(dices("comparison", "la", "method", labeled=16).items(), key=lambda i: -i[1])
    assert [name for name, _ in la16].index("Ours") == 3
    pancreas6 = dices("comparison", "pancreas", "method", labeled=6)
    assert pancreas6["Ours"] - pancreas6["ML-RPL"] == pytest.approx(1.46)
    pancreas12 = dices("comparison", "pancreas", "method", labeled=12)
    assert sorted(pancreas12.values())[-2] == pancreas12["UA-MT"] == pancreas12["Ours"] - 0.07
    components = dices("ablation_components", "la", "components")
    assert components["CCE+PGL+UE+CR"] - components["CPS"] == pytest.approx(0.25)
    assert components["CCE+PGL+UE+CR"] == la8["Ours"]
    for dataset, spread in (("pancreas", 6.14), ("brats2019", 3.45), ("la", 0.54)):
        gammas = dices("entropy_percentile", dataset, "gamma").values()
        assert max(gammas) - min(gammas) == pytest.approx(spread)
    ten, twenty = (
        {k: v for k, v in row.items() if k != "gamma"}
        for row in paper_table("entropy_percentile", "brats2019")[:2]
    )
    assert ten == twenty


def test_asd_is_the_best_in_one_of_six_settings():
    settings = {}
    for row in paper_table("comparison"):
        if row["unlabeled"]:
            settings.setdefault((row["dataset"], row["labeled"]), []).append(row)
    best = [min(rows, key=lambda row: row["asd"])["method"] for rows in settings.values()]
    assert len(best) == 6
    assert best.count("Ours") == 1
