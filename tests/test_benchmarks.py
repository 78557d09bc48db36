"""The plain side of the benchmarks computes the same as ours, so that the ratios compare like."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from benchmarks import (
    __main__ as benchmarks,
    gpu_levers,
    lesson_search,
    method_steps,
    plain,
    protocol_effects,
    ratio,
    soak_report,
    time_to_dice,
    training_step,
)
from benchmarks.measured_training import recorded
from dualseg.config.experiment import Experiment
from dualseg.config.training import Progress
from dualseg.data.known import dataset_spec
from dualseg.errors import DualsegError
from dualseg.evaluation.evaluate import evaluate
from dualseg.evaluation.metrics import compare_masks
from dualseg.evaluation.sliding_window import sliding_window
from dualseg.methods import METHODS, build_method
from dualseg.networks import NetworkOutput


class Memory(nn.Module):
    """A network that answers what it was told to."""

    def __init__(self, seed: int, shape: tuple[int, ...]):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        draw = torch.randn(4, 2, *shape, generator=generator)
        self.logits = nn.Parameter(3 * draw)
        self.features = nn.Parameter(torch.randn(4, 5, *shape, generator=generator))

    def forward(self, image):
        return NetworkOutput(self.logits, self.features)


def test_plain_losses_are_the_methods_losses():
    experiment = Experiment("la", "lesson", patch=(8, 8, 8), stride=(8, 8, 8))
    batch = training_step.random_batch(experiment)
    networks = [Memory(seed, (8, 8, 8)) for seed in (0, 1)]
    method = build_method(experiment, dataset_spec("la"))
    method.a, method.b = networks
    terms = method.loss(batch, training_step.NOW)
    ours = sum(weight * terms[n] for n, weight in method.weights(training_step.NOW).items())
    leaves = [leaf for network in networks for leaf in network.parameters()]
    wanted = torch.autograd.grad(ours, leaves)
    theirs = plain.total_loss(networks, batch, experiment.settings, training_step.NOW.fraction)
    assert theirs.item() == pytest.approx(ours.item(), rel=1e-5)
    for got, want in zip(torch.autograd.grad(theirs, leaves), wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-6)


def test_plain_windows_give_the_same_labels():
    experiment = Experiment("la", "smoke")
    method = build_method(experiment, dataset_spec("la")).eval()
    image = np.random.default_rng(0).normal(size=(35, 32, 20)).astype(np.float32)
    patch, stride = (16, 16, 16), (9, 8, 4)
    scan = torch.from_numpy(image)[None]
    with torch.no_grad():  # shift the logits so that there is some of both classes
        for network in method.children():
            logits = network(scan[None]).logits
            network.decoder.head.bias[0] += (logits[:, 1] - logits[:, 0]).median()
    found = sliding_window(method.predict_members, scan, patch, stride)
    labels = plain.window_labels(list(method.children()), image, patch, stride)
    assert 0.1 < labels.mean() < 0.9
    clear = (found.mean(0)[0] - found.mean(0)[1]).abs().numpy() > 1e-5
    assert (labels == found.mean(0).argmax(0).numpy())[clear].all()


def test_plain_metrics_are_ours():
    rng = np.random.default_rng(0)
    masks = [rng.random((12, 11, 10)) < 0.3 for _ in range(2)]
    ours = compare_masks(*masks)
    assert plain.metrics(*masks) == {key: ours[key] for key in ("dice", "jaccard", "hd95", "asd")}


def test_macs_of_a_step_by_hand():
    experiment = Experiment("la", "lesson", patch=(32, 16, 16), stride=(8, 8, 8))
    # The head of each network: 1^3 kernels from 8 to 2 filters; forward, and twice that backward.
    with_head = training_step.step_macs(experiment)
    parts = experiment.train.labeled_batch + experiment.train.unlabeled_batch
    assert with_head > parts * 2 * 3 * 32 * 16**2 * 8 * 2
    # All but the first layers' input gradients scale with the number of voxels.
    larger = experiment.replace(patch=(32, 32, 16))
    assert training_step.step_macs(larger) == 2 * with_head


def test_the_two_sides_take_turns_and_the_median_counts(monkeypatch):
    calls = []
    seconds = iter([9, 9, 4, 1, 8, 2, 6, 3])  # plain, ours, plain, ...; the first turn warms up

    def timed(run):
        run()
        return next(seconds)

    monkeypatch.setattr(ratio, "timed", timed)
    found = ratio.compare(lambda: calls.append("plain"), lambda: calls.append("ours"), repeats=3)
    assert calls == ["plain", "ours"] * 4
    assert found == {"ratio": 3.0, "plain_seconds": 6, "seconds": 2, "repeats": 3}


def test_the_published_ratios_are_those_of_the_times(capsys):
    root = Path(__file__).parents[1]
    path = root / benchmarks.FOLDER / "benchmark_cpu.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    for name, value in record["ratios"].items():
        part = record[name]
        assert value == pytest.approx(part["plain_seconds"] / part["seconds"])
    benchmarks.main(out=path, markdown=True)
    shown = capsys.readouterr().out
    assert all(f"| {value:.1f} |" in shown for value in record["ratios"].values())


@contextmanager
def large_array(size: int):
    held = np.ones(size, np.uint8)
    yield lambda: (os.getpid(), int(held.sum()))


@contextmanager
def nothing(size: int):
    yield lambda: (os.getpid(), size)


@pytest.mark.slow
def test_each_side_has_a_process_of_its_own_and_its_own_peak():
    size = 200_000_000
    result, plain_value, our_value = ratio.compare_apart(large_array, nothing, size, repeats=1)
    assert len({os.getpid(), plain_value[0], our_value[0]}) == 3
    assert plain_value[1] == our_value[1] == size
    assert result["plain_peak_memory_mb"] - result["peak_memory_mb"] == pytest.approx(200, abs=20)
    assert result["ratio"] == result["plain_seconds"] / result["seconds"] > 1


def test_both_sides_of_the_training_step_start_alike():
    with training_step.plain_steps("lesson") as plainly, training_step.our_steps("lesson") as ours:
        assert plainly() == pytest.approx(ours(), rel=1e-4)


@pytest.mark.slow
def test_wrong_words_get_one_sentence(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--only", "speed"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    found = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8"
    )
    assert found.returncode == 1 and found.stdout == ""
    assert found.stderr.startswith("benchmarks: only: expected one of batch_loading")
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"repeats": 0}, "^repeats: expected at least 1, found 0"),
        ({"markdown": True, "out": Path("none.json")}, "^none.json: "),
        ({"only": ("metrics",), "out": Path("other.json")}, "holds times of another machine"),
    ],
)
def test_what_cannot_be_measured_is_refused(tmp_path, monkeypatch, words, sentence):
    (tmp_path / "other.json").write_text('{"device": "an abacus"}', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DualsegError, match=sentence):
        benchmarks.main(**words)


def test_a_table_of_some_ratios_only():
    part = {"plain_seconds": 6.0, "seconds": 2.0, "ratio": 3.0}
    assert benchmarks.table({"metrics": part}).splitlines()[2:] == [
        "| metrics of 3 cases | 6 s | 2 s | 3.0 |"
    ]


@pytest.mark.slow
def test_a_step_of_every_method_is_timed(monkeypatch):
    small = ["patch=32,32,32", "stride=16,16,16", "filters=2"]
    planned = partial(method_steps.plan_comparison, settings=small)
    monkeypatch.setattr(method_steps, "plan_comparison", planned)
    part = method_steps.main(repeats=1)
    assert set(part["seconds"]) == set(METHODS)
    assert all(seconds > 0 for seconds in part["seconds"].values())
    assert part["ratio_to_supervised"]["supervised"] == 1
    table = benchmarks.table({"method_steps": part}).splitlines()
    assert len(table) == 5 + len(METHODS)
    found = part["ratio_to_supervised"]["bcp"]
    assert any(line.startswith("| `bcp` |") and line.endswith(f" {found:.1f} |") for line in table)


def cycles(memory, sessions=None) -> list[dict]:
    sessions = sessions or [1] * len(memory)
    return [
        {"seconds": 60.0, "held_mb": float(mb), "resident_mb": 0.0, "session": session}
        for mb, session in zip(memory, sessions, strict=True)
    ]


def test_a_soak_calls_a_leak_growing_and_noise_flat():
    number = np.arange(60)
    noise = np.random.default_rng(0).normal(0, 0.1, 60)
    leak = soak_report.slope(cycles(460 + 0.13 * number + noise))  # as the soak once found one
    assert leak["verdict"] == "growing" and leak["cycles"] == 30
    assert abs(leak["kb_per_cycle"] - 130) < 2 * leak["standard_error"]
    warm = np.minimum(number, 20.0)  # 20 MB while it warms up, in the first half
    still = soak_report.slope(cycles(460 + warm + noise))
    assert still["verdict"] == "flat" and abs(still["kb_per_cycle"]) < 10
    # The same line by scipy, whose formula of the standard error is its own.
    fit = stats.linregress(np.arange(30), 1000 * (460 + warm + noise)[30:])
    assert still["kb_per_cycle"] == pytest.approx(fit.slope)
    assert still["standard_error"] == pytest.approx(fit.stderr)


@pytest.mark.parametrize(
    ("memory", "sessions"),
    [
        ([460.0] * 18, None),  # nine in the second half
        ([460.0] * 40, [1] * 30 + [2] * 10),
        (460 + np.random.default_rng(0).normal(0, 5, 40), None),  # too noisy to tell
    ],
)
def test_a_soak_that_cannot_tell_says_so(memory, sessions):
    assert soak_report.slope(cycles(memory, sessions))["verdict"] == "undecided"


@pytest.mark.slow
def test_levers_of_a_gpu_step_are_rehearsed_here(la_root, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpu_levers, "WARM_UP", 1)
    same = {"TF32", "bfloat16, trying"}  # as the one before them, on a CPU
    kept = {n: lever for n, lever in gpu_levers.LEVERS.items() if n not in same}
    names = tuple(name for name, lever in kept.items() if not lever.compile)
    # With torch 2.13, oneDNN's bfloat16 gradients are NaN now and then on CPUs with avx512_bf16.
    with torch.backends.mkldnn.flags(enabled=False):
        result = gpu_levers.main("smoke", 1, la_root, names, tmp_path / "levers.json")
    assert json.loads((tmp_path / "levers.json").read_text())["levers"] == result["levers"]
    losses = {name: found["loss"] for name, found in result["levers"].items()}
    assert tuple(losses) == names and all(map(np.isfinite, losses.values()))
    # The layout changes no value but by rounding; the precision does.
    assert losses["bfloat16"] == pytest.approx(losses["bfloat16, channels last"], rel=1e-2)
    assert losses["float32"] == pytest.approx(losses["bfloat16"], rel=0.05)
    assert losses["float32"] != losses["bfloat16"]
    assert "channels last, trying" in capsys.readouterr().out


def test_the_tricks_of_a_trial_by_hand(small):
    method = build_method(small, dataset_spec("la"))
    averages = lesson_search._with_tricks(method, lesson_search.Trial())
    weight = next(method.parameters())
    first = weight.detach().clone()
    with torch.no_grad():
        weight += 1
    method.after_step(Progress(0, 4))  # the first decay is 1/10
    with averages():
        torch.testing.assert_close(weight.detach(), first + 0.9)
    torch.testing.assert_close(weight.detach(), first + 1)


def test_a_prediction_in_mirrors_by_hand():
    place = torch.arange(3.0).view(3, 1, 1) + 10 * torch.arange(2.0).view(1, 2, 1)
    patch = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]).view(1, 1, 3, 2, 1)
    found = lesson_search.in_mirrors(lambda patch: patch * place)(patch)
    torch.testing.assert_close(found, patch * 6)  # the mean place: 1 along x, 5 along y


@pytest.mark.slow
def test_a_search_writes_each_trial_once(la_root, tmp_path, monkeypatch, capsys):
    sizes = {"profile": "smoke", "iterations": 2, "filters": 2, "resolution": "half"}
    sizes |= {"patch": (16, 16, 16), "stride": (8, 8, 8)}
    trials = {
        "clipped": lesson_search.Trial(sizes, clip=1e-6),
        "AdamW": lesson_search.Trial(sizes, adam_w=True),
    }
    monkeypatch.setattr(lesson_search, "TRIALS", trials)
    monkeypatch.setattr(lesson_search, "LABELED", 2)
    monkeypatch.setattr(lesson_search, "HELD_OUT", 2)
    out = tmp_path / "search.json"
    search = partial(lesson_search.main, la_root, runs=tmp_path / "runs", out=out)
    search(only=("clipped",))
    search()
    found = recorded(out, "trials")
    assert [(t["name"], t["seed"]) for t in found] == [("clipped", 0), ("AdamW", 0)]
    for trial in found:
        assert len(trial["dice"]) == 4
        assert all(0 <= dice <= 100 for way in trial["dice"].values() for dice in way.values())
    monkeypatch.setattr(lesson_search, "run_trial", None)
    search(markdown=True)
    assert capsys.readouterr().out.count("| AdamW | 0 |") == 2


def test_the_largest_part_by_hand():
    mask = np.zeros((6, 6, 6), bool)
    mask[0, 0, 0] = mask[5, 5, 5] = True  # two specks; the second touches the cube by a corner only
    mask[3:5, 3:5, 3:5] = True
    found = protocol_effects.largest_part(mask)
    assert found.sum() == 8 and found[3:5, 3:5, 3:5].all()
    assert not protocol_effects.largest_part(np.zeros((2, 2, 2), bool)).any()


@pytest.mark.slow
def test_the_last_checkpoint_has_the_dice_of_the_run(la_root, tmp_path, monkeypatch):
    monkeypatch.setattr(protocol_effects, "EVERY", 2)
    sizes = ("iterations=3", "filters=2", "patch=(16,16,16)", "stride=(8,8,8)")
    out = tmp_path / "effects.json"
    measure = partial(protocol_effects.main, la_root, ("vnet",), 2, settings=sizes, out=out)
    measure(runs=tmp_path / "runs")
    (run,) = recorded(out, "runs")
    assert [checkpoint["step"] for checkpoint in run["checkpoints"]] == [2, 3]
    record = evaluate(tmp_path / "runs" / "vnet seed 0")
    wanted = {case["id"]: case["dice"] for case in record["cases"]}
    assert run["checkpoints"][-1]["dice"] == pytest.approx(wanted, abs=0.01)
    monkeypatch.setattr(protocol_effects, "train_and_measure", None)
    measure()  # nothing is trained again
    assert len(recorded(out, "runs")) == 1


def test_the_table_of_reporting_rules_by_hand():
    steps = [(100, 10, 20), (200, 60, 70), (300, 50, 40)]
    found = [{"step": s, "dice": {"a": d}, "dice_largest": {"a": e}} for s, d, e in steps]
    config = {"method": "dual", "preset": "paper", "seed": 3}
    line = protocol_effects.table([{"config": config, "checkpoints": found}]).splitlines()[-1]
    assert line == "| dual:paper | 3 | 50.0 | 60.0 (step 200) | 40.0 |"


def lesson(name: str, *means: float) -> dict:
    """A lesson with two cases, whose mean Dice is measured every minute."""
    points = [
        {"step": 50 * n, "seconds": 60.0 * n, "dice": {"a": mean - 1, "b": mean + 1}}
        for n, mean in enumerate(means, start=1)
    ]
    return {"name": name, "config": {"iterations": 50 * len(means)}, "points": points}


def test_minutes_to_a_dice_by_hand():
    rising = lesson("lesson", 50, 71, 65, 72, 74)
    assert time_to_dice.minutes_to(60, rising) == 2
    assert time_to_dice.minutes_to(70, rising) == 4  # 71 after two minutes did not last
    assert time_to_dice.minutes_to(40, rising) == 1
    assert time_to_dice.minutes_to(75, rising) is None
    row = time_to_dice.table([rising]).splitlines()[-1]
    assert row == "| lesson | 250 | 5.0 | 74.0 | 2.0 | 4.0 | not reached |"
    words = time_to_dice.describe([rising, lesson("former lesson", 61)])
    assert "lesson: 74 after 5.0 minutes; former lesson: 61 after 1.0 minutes" in words


@pytest.mark.slow
def test_both_lessons_are_measured_on_held_out_cases(la_root, tmp_path, monkeypatch, capsys):
    small = {"iterations": 3, "filters": 2, "patch": (16, 16, 16), "stride": (8, 8, 8)}
    monkeypatch.setattr(time_to_dice, "LESSONS", {"one": small, "two": small | {"filters": 4}})
    for name, value in (("EVERY", 2), ("LABELED", 2), ("HELD_OUT", 2)):
        monkeypatch.setattr(time_to_dice, name, value)
    out, figure = tmp_path / "time.json", tmp_path / "time.png"
    time_to_dice.main(la_root, runs=tmp_path / "runs", out=out, figure=figure)
    lessons = recorded(out, "lessons")
    assert [one["config"]["filters"] for one in lessons] == [2, 4]
    for one in lessons:
        assert [point["step"] for point in one["points"]] == [2, 3]
        first, last = (point["seconds"] for point in one["points"])
        assert 0 <= first <= last
    # What was measured last is what `evaluate` finds on the same cases.
    record = evaluate(tmp_path / "runs" / "one", "val")
    wanted = {case["id"]: case["dice"] for case in record["cases"]}
    assert lessons[0]["points"][-1]["dice"] == pytest.approx(wanted, abs=0.01)
    assert figure.stat().st_size > 5000
    assert capsys.readouterr().out.count("| 3 |") == 2
