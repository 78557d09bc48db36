"""The claims ledger and the equation map: complete, and true of records, tests and notebooks."""

import ast
import importlib
import json
import shutil
from pathlib import Path

import pytest

from dualseg.errors import DualsegError
from dualseg.methods import METHODS
from dualseg.paper.claims import PLACES, STATUSES, claims_table, paper_claims
from dualseg.paper.equations import equation_map, equations_table, section_of
from dualseg.paper.tables import TABLES, paper_table, read_toml

ROOT = Path(__file__).parent.parent
RECORDS = ROOT / "figures" / "records"
LEDGER = read_toml("claims.toml")
PAPER = "compare/la_dual_paper_8labels_lesson_seed"


@pytest.fixture(scope="module")
def ledger():
    return paper_claims(RECORDS)


def test_every_row_of_the_tables_is_there(ledger):
    assert set(PLACES) == set(TABLES)
    rows = [row for table in TABLES for row in paper_table(table)]
    of_tables = [claim for claim in ledger if claim.printed.count("±") == 2]
    assert len(of_tables) == len(rows)
    for table, (first, last) in {"Table 1": (51.76, 90.90), "Table 7": (89.57, 84.01)}.items():
        printed = [claim.printed for claim in of_tables if claim.place == table]
        assert printed[0].startswith(f"{first:.2f} ±")
        assert printed[-1].startswith(f"{last:.2f} ±")
    names = [(claim.place, claim.what) for claim in ledger]
    assert len(set(names)) == len(names)
    assert sum(claim.place == "Fig. 8" for claim in ledger) == len(LEDGER["statement"])


def test_every_status_is_known_and_follows_from_what_was_run(ledger):
    for claim in ledger:
        assert claim.status in STATUSES
        assert bool(claim.ours) == (claim.status in ("reproduced", "differs"))
        assert bool(claim.why) == (claim.status == "cannot be checked")
        assert bool(claim.records) <= bool(claim.condition)


@pytest.mark.parametrize("kind", ["evidence", "uncheckable"])
def test_every_entry_of_the_ledger_is_about_rows_that_exist(kind):
    about = []
    for entry in LEDGER[kind]:
        rows = [r for r in paper_table(entry["table"]) if entry["where"].items() <= r.items()]
        assert rows, entry
        assert kind == "uncheckable" or len(rows) == 1, entry
        about += [(entry["table"], json.dumps(row)) for row in rows]
    assert len(set(about)) == len(about)


def test_every_named_record_is_of_the_rows_data_and_labels():
    for entry in LEDGER["evidence"]:
        paths = list(RECORDS.glob(entry["records"] + ".json"))
        assert paths, entry
        for path in paths:
            config = json.loads(path.read_text(encoding="utf-8"))["config"]
            assert config["dataset"] == entry["where"]["dataset"]
            percent = entry["where"].get("labeled_percent", 10)
            of_percent = percent * 80 // 100  # of 80 cases
            assert config["labeled"] == entry["where"].get("labeled", of_percent)
            row, method = entry["where"].get("method", "Ours"), config["method"]
            alone = "supervised" if "network" in entry else "vnet"
            named = {"Ours": "dual", "V-Net (supervised only)": alone}
            assert method == named.get(row) or METHODS[method].title == row


def test_beside_a_curve_of_figure_8_stand_the_runs_that_differ_in_that_setting(ledger):
    (claim,) = (c for c in ledger if c.place == "Fig. 8" and c.what.startswith("T_p"))
    found = dict(words.split(": ") for words in claim.hint.split("; "))
    assert len(found) == len(claim.records) >= 3 and "0.5" in found
    for name, (value, dice) in zip(claim.records, found.items(), strict=True):
        (path,) = RECORDS.glob(f"*/{name}.json")
        record = json.loads(path.read_text(encoding="utf-8"))
        assert record["config"]["temperature"] == float(value)
        assert f"{record['mean']['dice']:.2f}" == dice


def with_changed(folder: Path, change) -> Path:
    """A copy of the records in which each record of the preset `paper` with 8 labels is changed."""
    shutil.copytree(RECORDS, folder / "records")
    for path in (folder / "records").glob(PAPER + "*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        change(record)
        path.write_text(json.dumps(record), encoding="utf-8")
    return folder / "records"


def of_the_method(found):
    return next(c for c in found if (c.place, c.what) == ("Table 1", "Ours, 8 labels"))


def test_another_number_in_a_record_is_another_number_on_the_page(ledger, tmp_path):
    def change(record):
        record["mean"]["dice"] = 12.34

    before, after = ledger, paper_claims(with_changed(tmp_path, change))
    assert "12.34 ±" not in claims_table(before, markdown=True)
    assert "12.34 ±" in claims_table(after, markdown=True)
    assert of_the_method(after).status == "not run"


def test_a_result_on_validation_cases_is_no_evidence(ledger, tmp_path):
    def change(record):
        record["mean"]["dice"] = 12.34
        record["split"] = "val"

    folder = with_changed(tmp_path, change)
    for path in folder.glob(PAPER + "*.json"):
        path.rename(path.with_name(f"{path.stem}_val.json"))
        shutil.copy(RECORDS / path.relative_to(folder), path)
    assert claims_table(paper_claims(folder)) == claims_table(ledger)


@pytest.mark.parametrize(("dice", "status"), [(89.5, "reproduced"), (89.0, "differs")])
def test_a_run_of_the_papers_size_decides(tmp_path, dice, status):
    """Printed are 89.95 ± 0.58."""
    from dataclasses import asdict

    from dualseg.data.known import dataset_spec

    def change(record):
        sizes = asdict(dataset_spec("la").profiles["full"])
        record["config"].update(json.loads(json.dumps(sizes)), profile="full")
        record["mean"]["dice"] = dice

    claim = of_the_method(paper_claims(with_changed(tmp_path, change)))
    assert claim.status == status
    assert claim.ours.startswith(f"{dice:.2f}")
    assert "16 filters" in claim.condition
    assert not claim.hint


def test_records_that_are_missing_or_do_not_belong_together_are_refused(tmp_path):
    with pytest.raises(DualsegError, match="expected records .* which the claims ledger names"):
        paper_claims(tmp_path)
    folder = with_changed(tmp_path, lambda record: None)
    first = folder / f"{PAPER}0.json"
    record = json.loads(first.read_text(encoding="utf-8"))
    record["name"] += "_long"
    record["config"] |= {"seed": 5, "iterations": 9000}
    first.with_name(f"{record['name']}.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(DualsegError, match="differ in their seed only"):
        paper_claims(folder)


# The equation map


def test_the_map_has_every_numbered_equation():
    assert [equation.number for equation in equation_map()] == list(range(1, 21))


@pytest.mark.parametrize("equation", equation_map(), ids=lambda equation: str(equation.number))
def test_function_test_and_cell_of_an_equation_exist(equation):
    room, name = equation.function.rsplit(".", 1)
    assert callable(getattr(importlib.import_module(room), name))
    file, test = equation.test.split("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    (body,) = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == test]
    assert name in ast.unparse(body)
    file, section = section_of(equation, ROOT / "notebooks")
    cells = json.loads((ROOT / "notebooks" / file).read_text(encoding="utf-8"))["cells"]
    (cell,) = [cell for cell in cells if cell["id"] == equation.cell]
    assert section
    assert name in "".join(cell["source"])


def test_the_table_leads_to_all_three():
    table = equations_table(equation_map(), ROOT / "notebooks", markdown=True)
    assert "{py:obj}`dualseg.losses.reliable_mask`" in table
    assert "(../tests/test_losses.py)" in table
    assert "(/notebooks/09_prototypes_and_contrast.ipynb#1-" in table
    assert len(table.splitlines()) == 22


def test_a_cell_that_is_gone_is_named(tmp_path):
    equation = equation_map()[0]
    with pytest.raises(DualsegError, match="expected one notebook 10_\\*.ipynb, found 0"):
        section_of(equation, tmp_path)
    (tmp_path / "10_x.ipynb").write_text('{"cells": []}', encoding="utf-8")
    with pytest.raises(DualsegError, match="expected a cell with the id 'ebb63a9e', found none"):
        section_of(equation, tmp_path)
