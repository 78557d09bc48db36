"""The paper's comparison with published runs in it."""

import copy

import pytest

from dualseg.cli.main import main
from dualseg.config.experiment import Experiment
from dualseg.errors import DualsegError
from dualseg.paper.comparison import beside_paper


def record(dice: float, seed: int = 0, hd95: float | None = 5.0, split: str = "test", **changes):
    config = Experiment("la", "full", seed=seed, **changes).flat()
    mean = {"dice": dice, "jaccard": 80.0, "hd95": hd95, "asd": 2.0}
    error = {"dice": 1.5, "jaccard": 1.0, "hd95": None if hd95 is None else 0.5, "asd": 0.25}
    cases = [{"id": "a"}, {"id": "b"}]
    return copy.deepcopy(
        {"config": config, "split": split, "mean": mean, "standard_error": error, "cases": cases}
    )


def rows(records, profile="full"):
    table = beside_paper(records, "la", profile, markdown=True)
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.split("\n")[2:]]


def test_runs_stand_below_the_papers_rows_of_as_many_labels():
    # Over seeds: 88 and 90, mean 89, sample standard deviation sqrt(2) = 1.41.
    found = rows([record(88, 0), record(90, 1), record(70, method="supervised")])
    two = ["89.00 ± 1.41", "80.00 ± 0.00", "5.00 ± 0.00", "2.00 ± 0.00", "sd, 2 seeds"]
    one = ["70.00 ± 1.50", "80.00 ± 1.00", "5.00 ± 0.50", "2.00 ± 0.25", "se, 2 cases, 1 seed"]
    assert [row[1:] for row in found if row[0] == "here"] == [
        ["dual, paper", "8", *two],
        ["supervised", "8", *one],
    ]
    assert found[-1][0] == "here" and {row[2] for row in found} == {"8"}
    # Table 1 of the paper, its own method and its floor.
    ours = ["Ours", "8", "89.95 ± 0.58", "81.81 ± 0.95", "5.73 ± 0.63", "1.79 ± 0.24"]
    assert ["the paper", *ours, "not said"] in found
    assert [row[3] for row in found if row[1].startswith("V-Net")] == ["51.76 ± 7.38"]


def test_what_is_another_kind_of_run_is_another_row():
    found = rows(
        [
            record(88),
            record(80, gamma=95.0),
            record(70, iterations=10),
            record(60, labeled=16),
            record(1, split="val"),
            record(0, hd95=None, seed=3, preset="cps"),
        ]
    )
    here = [(row[1], row[2], row[3], row[5]) for row in found if row[0] == "here"]
    assert here == [
        ("dual, cps", "8", "0.00 ± 1.50", "none"),
        ("dual, paper", "8", "88.00 ± 1.50", "5.00 ± 0.50"),
        ("dual, paper*", "8", "70.00 ± 1.50", "5.00 ± 0.50"),
        ("dual, paper, gamma 95.0", "8", "80.00 ± 1.50", "5.00 ± 0.50"),
        ("dual, paper", "16", "60.00 ± 1.50", "5.00 ± 0.50"),
    ]
    # The paper's rows with 16 labels stand between those with 8 and ours with 16.
    assert [row[2] for row in found] == sorted((row[2] for row in found), key=int)


def test_nothing_to_show_is_said():
    with pytest.raises(DualsegError, match="found none; publish some"):
        beside_paper([record(88)], "la", "lesson")
    with pytest.raises(DualsegError, match="dataset: expected one of brats2019"):
        beside_paper([record(88)], "phantom", "full")


def test_the_published_lesson_runs_beside_the_paper(capsys):
    assert main(["records", "beside-paper", "--profile", "lesson"]) == 0
    printed = capsys.readouterr().out
    assert "89.95 ± 0.58" in printed and "dual, improved" in printed
    assert "other networks and sizes" in printed
