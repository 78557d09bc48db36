"""The project's own files: environments agree, README shows what the records say."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.stats import sem, t

import dualseg
from dualseg.runs.records import lesson_runs, load_records, losses_of, name_of

ROOT = Path(__file__).parent.parent
CONDA_NAMES = {"torch": "pytorch"}


def requirements() -> dict[str, str]:
    """Name and version bounds of everything pyproject.toml asks for, extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    lines = project["dependencies"] + [line for extra in extras for line in extra]
    parsed = (re.match(r"([\w-]+)([^;]*)", line.split(";")[0]) for line in lines)
    return {match[1].lower(): match[2].strip() for match in parsed}


def conda() -> dict[str, str]:
    listed = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    flat = [line for line in listed if isinstance(line, str)]
    flat += next(line["pip"] for line in listed if isinstance(line, dict))
    parsed = (re.match(r"([\w-]+)(.*)", line) for line in flat if not line.startswith("-e"))
    return {match[1].lower(): match[2].strip() for match in parsed}


def test_conda_environment_asks_for_what_pyproject_asks_for():
    wanted = {CONDA_NAMES.get(name, name): bound for name, bound in requirements().items()}
    found = conda()
    assert {name: found.get(name) for name in wanted} == wanted
    assert set(found) - set(wanted) == {"python", "pip"}


def test_constraints_pin_a_version_of_everything_that_is_asked_for():
    pinned = dict(
        line.lower().split("==")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#") and "==" in line
    )
    assert pinned["torch"] == "2.13.0"
    missing = {n for n in requirements() if n not in pinned and n != "psutil"}
    assert missing == set()


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == dualseg.__version__


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_is_a_front_page():
    assert readme().count("\n") <= 150


def test_readme_results_are_those_of_the_records():
    """The small table: Dice of every seed by preset, number of labels and steps."""
    records = ROOT / "figures" / "records"
    columns = [lesson_runs(records, "la", labels) for labels in (8, 16, 80)]
    longer = [r for r in load_records(records / "budget") if r["config"]["iterations"] == 1600]
    columns.insert(1, {(name_of(r["config"]), r["config"]["seed"]): r for r in longer})
    rows = re.findall(r"^\| `(\w+)`:[^|]*\|(.*)\|$", readme(), re.MULTILINE)
    presets = ["supervised", "no_component", "cps", "released", "improved", "paper"]
    assert [name for name, _ in rows] == presets
    for name, cells in rows:
        for shown, runs in zip(cells.split("|"), columns, strict=True):
            dice = [run["mean"]["dice"] for (losses, _), run in runs.items() if losses == name]
            assert shown.strip() == ", ".join(f"{value:.1f}" for value in dice), name


def test_results_over_steps_are_those_of_the_records():
    """In docs/results.md: Dice by preset and steps, and gains over both controls."""
    records = ROOT / "figures" / "records"
    runs = {(name, 800, s): run for (name, s), run in lesson_runs(records, "la", 8).items()}
    for run in load_records(records / "budget"):
        config = run["config"]
        runs[name_of(config), config["iterations"], config["seed"]] = run
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    section = page.split("## Fewer and more steps")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE)
    assert [name for name, _ in rows] == ["supervised", "no_component", "improved", "paper"]
    for name, cells in rows:
        for steps, shown in zip((200, 800, 1600), cells.split(" | "), strict=True):
            dice = [runs[name, steps, s]["mean"]["dice"] for s in (0, 1, 2)]
            assert shown == ", ".join(f"{value:.1f}" for value in dice), (name, steps)

    def dice_of(name, steps):
        return np.array([[c["dice"] for c in runs[name, steps, s]["cases"]] for s in (0, 1, 2)])

    rows = re.findall(r"^\| `(\w+)`, (\d+) steps \| (.+) \| (.+) \|$", section, re.MULTILINE)
    assert len(rows) == 6
    for name, steps, *cells in rows:
        for control, shown in zip(("no_component", "supervised"), cells, strict=True):
            gains = dice_of(name, int(steps)) - dice_of(control, int(steps))
            of_cases = gains.mean(0)
            low, high = t.interval(0.95, len(of_cases) - 1, of_cases.mean(), sem(of_cases))
            each = ", ".join(f"{gain:+.1f}" for gain in gains.mean(1))
            assert shown == f"{gains.mean():+.1f} ({low:.1f} to {high:.1f}); {each}"


def test_readme_at_the_papers_rate_is_what_the_records_say():
    found: dict[str, list[dict]] = {"paper": [], "supervised": [], "improved": []}
    for record in load_records(ROOT / "figures" / "records" / "rate"):
        config = record["config"]
        assert (config["learning_rate"], config["schedule"]) == (0.01, "step")
        if config["preset"] in ("paper", "default", "improved"):
            found[losses_of(config) or "supervised"].append(record)
    paper, floor = found["paper"], found["supervised"]
    words = []
    for records in (paper, floor, found["improved"]):
        assert [record["config"]["seed"] for record in records] == [0, 1, 2]
        *first, last = (f"{record['mean']['dice']:.1f}" for record in records)
        words.append(", ".join(first) + f" and {last}")
    gains = np.array(
        [
            [a["dice"] - b["dice"] for a, b in zip(one["cases"], other["cases"], strict=True)]
            for one, other in zip(paper, floor, strict=True)
        ]
    )
    over_cases, over_seeds = (
        t.interval(0.95, len(some) - 1, some.mean(), sem(some))
        for some in (gains.mean(0), gains.mean(1))
    )
    shown = " ".join(readme().split())
    assert f"`paper` has {words[0]}, `supervised` {words[1]}, `improved` {words[2]}." in shown
    assert f"difference of `paper` and `supervised` is {gains.mean():.1f} points" in shown
    assert "over the 20 cases, {:.1f} to {:.1f},".format(*over_cases) in shown
    assert "over the three seeds, {:.0f} to {:.0f},".format(*over_seeds) in shown

    long = load_records(ROOT / "figures" / "records" / "rate_6000")
    assert [record["config"]["iterations"] for record in long] == [6000, 6000]
    dice = {
        losses_of(record["config"]) or "supervised": np.array([c["dice"] for c in record["cases"]])
        for record in long
    }
    gain = dice["paper"] - dice["supervised"]
    low, high = t.interval(0.95, len(gain) - 1, gain.mean(), sem(gain))
    both = "seed 0 `paper` has {:.1f} and `supervised` {:.1f}".format(
        *(dice[name].mean() for name in ("paper", "supervised"))
    )
    assert f"{both} ({gain.mean():+.1f}; over the cases {low:.1f} to {high:.1f})" in shown


def test_readme_on_the_compared_methods_is_what_the_records_say():
    found: dict[str, dict[int, float]] = {}
    alone = []  # whether the V-Net of a pair is better than both together
    pairs = ("released", "improved", "supervised", "paper")
    for record in load_records(ROOT / "figures" / "records" / "compare"):
        config = record["config"]
        assert (config["iterations"], config["flips"], config["head_dropout"]) == (800, False, 0)
        name = config["preset"] if config["method"] == "dual" else config["method"]
        if config["labeled"] == 8:
            found.setdefault(name, {})[config["seed"]] = record["mean"]["dice"]
            if name in pairs:
                network_b = record["networks"]["B"]["mean"]["dice"]
                alone.append(network_b > record["mean"]["dice"])
    shown = " ".join(readme().split())
    assert f"in {sum(alone)} of their {len(alone)} runs the V-Net alone is better" in shown
    for name in ("ml_rpl", "bcp", "vnet"):
        words = ", ".join(f"{dice:.1f}" for _, dice in sorted(found[name].items()))
        assert f"`{name}` {words}" in shown, (name, words)


def test_readme_pictures_have_alt_text():
    pictures = re.findall(r"!\[(.*?)\]\((.*?)\)", readme(), re.DOTALL)
    assert pictures
    for alt, path in pictures:
        assert len(alt) > 40, f"say what {path} shows"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_of_the_front_pages_exist(page):
    for path in re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), path


RUNS = [p for p in (ROOT / "figures" / "records").glob("*.json") if not p.match("benchmark_*")]


@pytest.mark.parametrize("path", sorted(RUNS), ids=str)
def test_published_records_are_complete_and_name_no_machine(path):
    record = next(r for r in load_records(path.parent) if r["name"] == path.stem)
    assert record["split"] == "test"
    assert record["config"]["root"] is None
    assert len(record["cases"]) == len(record["data"]["split"]["test"])
    assert record["seconds"] > 0
    assert not re.search(r"/(home|Users|tmp|root|work)/", path.read_text(encoding="utf-8"))


def test_readme_lists_the_notebooks_with_what_their_recordings_took():
    from dualseg.course.authoring.notebook_files import notebook_paths
    from dualseg.course.authoring.record import notebook_table

    shown = readme().split("<!-- notebooks -->\n")[1].split("\n<!-- end of notebooks -->")[0]
    assert shown == notebook_table(notebook_paths(ROOT / "notebooks")), (
        "paste the output of `dualseg notebooks table --markdown` between the marks in README.md"
    )
