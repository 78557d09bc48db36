"""Watching runs: what is read, what is guessed, how it looks; and TensorBoard files, read back."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dualseg import watch as watching
from dualseg.cli import main
from dualseg.errors import DualsegError
from dualseg.event_files import Mirror
from dualseg.lock import held
from dualseg.records import curves
from dualseg.run_folder import LogReader, RunFolder
from dualseg.run_status import WatchedFolder, WatchedRun, find_runs, is_training, recent_rate
from dualseg.watch import ASCII, duration, html_table, progress_bar, table, watch

NOW = time.mktime((2024, 5, 6, 12, 0, 0, 0, 0, -1))  # a Monday, noon


def lines(first: int, last: int, pace: float = 2.0) -> list[dict]:
    """Log lines of steps that took `pace` seconds each, with a loss of a thousandth of the step."""
    return [
        {
            "step": step,
            "seconds": pace * step,
            "learning_rate": 0.01,
            "loss": step / 1000,
            "supervised_a": step / 2000,
            "kept": None if step < 3 else 0.5,
        }
        for step in range(first, last + 1)
    ]


def append(run: Path, log: list[dict], torn: str = "") -> None:
    with (run / "log.jsonl").open("ab") as file:
        file.write(("".join(json.dumps(line) + "\n" for line in log) + torn).encode())


def age(run: Path, seconds: float) -> None:
    """As if everything in the folder had been written so long before NOW."""
    for path in run.iterdir():
        os.utime(path, (NOW - seconds, NOW - seconds))


def make_run(run: Path, steps: int = 0, quiet: float = 1.0, **config) -> Path:
    run.mkdir(parents=True)
    usual = {"method": "dual", "preset": "improved", "labeled": 8, "seed": 3, "iterations": 100}
    (run / "run.json").write_text(json.dumps({"config": usual | config}))
    if steps:
        append(run, lines(1, steps))
    age(run, quiet)
    return run


def finish(run: Path, dice: float | None = None) -> Path:
    (run / "last.safetensors").write_bytes(b"weights")
    if dice is not None:
        mean = {"dice": dice, "hd95": 7.5, "asd": None}
        (run / "record.json").write_text(json.dumps({"mean": mean}))
    return run


@pytest.fixture
def runs(tmp_path) -> Path:
    """A run in every state, at different depths."""
    root = tmp_path / "runs"
    make_run(root / "deep" / "er" / "training", steps=40)
    make_run(root / "waiting")
    make_run(root / "stopped", steps=40, quiet=500)
    finish(make_run(root / "finished", steps=100, method="supervised", preset="default"))
    finish(make_run(root / "evaluated", steps=100), dice=81.234)
    make_run(root / "damaged")
    (root / "damaged" / "run.json").write_text('{"config"')
    make_run(root / ".hidden" / "run")
    (root / "nothing").mkdir()
    return root


def test_every_state_is_told_apart(runs):
    found = {status.name: status for status in WatchedFolder(runs).refresh(NOW)}
    names = ["damaged", "deep/er/training", "evaluated", "finished", "stopped", "waiting"]
    assert list(found) == names
    assert {name: status.state for name, status in found.items()} == {
        name: name.split("/")[-1] for name in names
    }
    assert found["evaluated"].dice == 81.234
    assert found["finished"].dice is None
    assert (found["stopped"].step, found["stopped"].total) == (40, 100)
    assert found["stopped"].seconds_left is None
    assert found["waiting"].step == 0
    assert found["evaluated"].settings == "dual improved, 8 labels, seed 3"
    assert found["finished"].settings == "supervised, 8 labels, seed 3"
    assert "run.json: expected JSON" in found["damaged"].problem


def test_loss_speed_and_time_left_by_hand(tmp_path):
    """Steps 21 to 40 at 2 s each: mean loss 0.0305, 0.5 steps a second, 60 steps or 120 s left."""
    status = WatchedRun("run", make_run(tmp_path / "run", steps=40)).status(NOW)
    assert status.means["loss"] == pytest.approx(0.0305)
    assert status.means["supervised_a"] == pytest.approx(0.01525)
    assert status.means["kept"] == 0.5
    assert set(status.means) == {"loss", "supervised_a", "kept"}
    assert status.rate == pytest.approx(0.5)
    assert status.seconds_left == pytest.approx(120)
    assert status.seconds == 80
    (header, row, summary) = table([status], NOW, 200)
    assert " ".join(header.split()) == "run settings state steps loss steps/s time ends Dice %"
    assert "████░░░░░░ 40/100  0.0305  0.5      2 min left  12:02" in row
    assert summary == "12:00:00: 1 training"


def test_end_on_another_day_names_the_day(tmp_path):
    run = make_run(tmp_path / "run", iterations=40000)
    append(run, lines(1, 20))
    age(run, 1)
    status = WatchedRun("run", run).status(NOW)  # 39980 steps of 2 s: 22.2 h
    assert "22.2 h left  Tue 10:12" in table([status], NOW, 200)[1]


def test_speed_needs_two_lines_with_seconds():
    assert recent_rate(lines(1, 1)) is None
    assert recent_rate([{"step": 1}, {"step": 2}]) is None
    assert recent_rate(lines(5, 9, pace=0.0)) is None
    assert recent_rate(lines(5, 9, pace=0.25)) == pytest.approx(4)


@pytest.mark.parametrize(
    ("steps", "pace", "quiet", "expected"),
    [
        (5, 1, 59, True),
        (5, 1, 61, False),
        (5, 30, 299, True),
        (5, 30, 301, False),
        (0, 1, 599, True),
        (0, 1, 601, False),
    ],
)
def test_training_is_guessed_from_the_age_of_the_log(tmp_path, steps, pace, quiet, expected):
    run = make_run(tmp_path / "run")
    log = lines(1, steps, pace)
    append(run, log)
    age(run, quiet)
    assert is_training(RunFolder(run), recent_rate(log), NOW) == expected


def test_training_is_known_from_the_lock_of_this_machine(tmp_path):
    run = make_run(tmp_path / "run")
    with held(run) as claim:
        assert is_training(RunFolder(run), None, NOW + 1e9)
        claim.file.truncate(0)
        claim.file.write(b"process 1 on another machine")
        assert not is_training(RunFolder(run), None, NOW + 1e9)  # from the age of its log
        assert is_training(RunFolder(run), None, NOW)
    with held(run):
        pass
    assert not is_training(RunFolder(run), None, NOW)


def test_log_reader_gives_each_line_once_and_waits_for_the_torn_one(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run")
    reader = LogReader(run / "log.jsonl")
    assert reader.read() == ([], True)
    append(run, lines(1, 1000), torn='{"step": 1001, "lo')
    assert reader.read() == (lines(1, 1000), True)
    assert RunFolder(run).log() == lines(1, 1000)
    assert reader.read() == ([], False)
    with (run / "log.jsonl").open("ab") as file:
        file.write(b'ss": 0.5}\n')
    parsed = []
    monkeypatch.setattr(
        json, "loads", lambda text, loads=json.loads: parsed.append(text) or loads(text)
    )
    assert reader.read() == ([{"step": 1001, "loss": 0.5}], False)
    assert len(parsed) == 1


@pytest.mark.parametrize("kept", [0, 6, 10])
def test_log_reader_notices_a_resume(tmp_path, kept):
    """The log is cut to a checkpoint and goes on with the same steps, at other seconds."""
    run = make_run(tmp_path / "run", steps=10)
    reader = LogReader(run / "log.jsonl")
    reader.read()
    again = lines(kept + 1, 14, pace=3.0)
    (run / "log.jsonl").unlink()
    append(run, lines(1, kept) + again)
    found, anew = reader.read()
    assert anew == (kept < 10)
    assert found == (again if kept == 10 else lines(1, kept) + again)


def test_growing_log_moves_the_status(tmp_path):
    run = make_run(tmp_path / "run", steps=5)
    watched = WatchedRun("run", run)
    assert watched.status(NOW).step == 5
    append(run, lines(6, 30))
    assert watched.status(NOW).step == 30
    assert watched.status(NOW).means["loss"] == pytest.approx(sum(range(11, 31)) / 20 / 1000)
    finish(run, dice=50.0)
    assert watched.status(NOW).state == "evaluated"
    finish(run, dice=60.25)
    assert watched.status(NOW).dice == 60.25


@pytest.mark.parametrize(
    ("file", "text", "match"),
    [
        ("run.json", "[]", "run.json: expected a JSON object, found a list"),
        ("run.json", '{"config": {"seed": 1}}', "run.json: expected 'config' with iterations"),
        (
            "log.jsonl",
            '{"step": 1, "loss": 2}\nnoise\n',
            "log.jsonl: expected a line of JSON .*noi",
        ),
        ("log.jsonl", "[1]\n", "log.jsonl: expected a line of JSON"),
        ("record.json", "{}", "record.json: expected 'mean' with dice"),
    ],
)
def test_damaged_files_are_a_row_and_not_an_end(runs, file, text, match):
    (runs / "waiting" / file).write_text(text)
    found = {status.name: status for status in WatchedFolder(runs).refresh(NOW)}
    assert found["waiting"].state == "damaged"
    with pytest.raises(DualsegError, match=match):
        raise DualsegError(found["waiting"].problem)
    assert found["evaluated"].dice == 81.234
    shown = "\n".join(table(list(found.values()), NOW, 80))
    assert "evaluated" in shown and f"waiting/{file}" in "".join(shown.split())


@pytest.mark.parametrize("width", [40, 79, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal(runs, width):
    make_run(runs / "a_very_long_name_of_a_run_that_nobody_would_type_by_hand_seed17", steps=70)
    found = WatchedFolder(runs).refresh(NOW)
    shown = table(found, NOW, width, terms=True)
    assert max(map(len, shown)) <= width
    text = "\n".join(shown)
    if width >= 79:
        assert text.count("Dice") == 1
        names = [status.name for status in found if len(status.name) < 30]
        parts = [
            "40/100",
            "81.23",
            "2 min left",
            "supervised_a",
            "seed17",
            "labels, seed 3",
            *names,
        ]
        assert [part for part in parts if part not in text] == []
    assert ("█" in text) and "█" not in "\n".join(table(found, NOW, width, marks=ASCII))


def test_low_terminal_shows_the_runs_at_work_first(runs):
    found = WatchedFolder(runs).refresh(NOW)
    for height in range(4, 20):
        shown = table(found, NOW, 99, height=height)
        assert len(shown) <= height
        assert "training" in shown[0] or "shown" not in shown[-1]
        assert "1 evaluated" in shown[-1]
    assert "1 of 6 shown;" in table(found, NOW, 99, height=4)[-1]
    assert "shown" not in table(found, NOW, 99, height=40)[-1]


def test_words_for_times_and_bars():
    times = [duration(s) for s in (7, 99.4, 100, 3600, 7200, 86400 * 3)]
    assert times == ["7 s", "99 s", "2 min", "60 min", "2.0 h", "3.0 days"]
    bars = [progress_bar(step, 100, "#-") for step in (0, 9, 10, 99, 100)]
    assert bars == ["-" * 10, "-" * 10, "#" + "-" * 9, "#" * 9 + "-", "#" * 10]


def test_html_table_has_the_same_cells_escaped(runs):
    make_run(runs / "a<b", steps=3)
    text = html_table(WatchedFolder(runs).refresh(NOW), NOW, terms=True)
    assert text.count("<tr>") == 1 + 7
    assert "a&lt;b" in text and "a<b" not in text
    assert "<td>81.23</td>" in text and "supervised_a" in text and "expected JSON" in text


def test_once_prints_one_table_and_writes_nothing(runs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*")}
    assert main(["watch", str(runs), "--once"]) == 0
    out = capsys.readouterr().out
    assert out.count("Dice %") == 1 and "\x1b" not in out
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*")} == before


def test_live_table_is_drawn_over_itself_until_all_are_finished(tmp_path, capsys, monkeypatch):
    run = make_run(tmp_path / "run", steps=99)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        append(run, lines(100, 100))
        finish(run)

    monkeypatch.setattr(watching.time, "sleep", sleep)
    watch(tmp_path, every=3.0)
    out = capsys.readouterr().out
    assert waits == [3.0]
    first, second = out.split("\x1b[J")[:2]
    assert second.startswith(f"\x1b[{first.count(chr(10))}A")
    assert "99/100" in first and "100/100" in second and "finished" in second


def test_interrupt_ends_the_watching_without_an_error(runs, capsys, monkeypatch):
    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(watching.time, "sleep", interrupt)
    assert main(["watch", str(runs)]) == 0
    assert capsys.readouterr().out.count("1 evaluated") == 1


def test_missing_and_empty_folders(tmp_path, capsys):
    assert main(["watch", str(tmp_path / "none"), "--once"]) == 1
    assert "none: expected a folder with runs, found none; check" in capsys.readouterr().err
    assert main(["watch", str(tmp_path), "--once"]) == 0
    assert "no runs yet" in capsys.readouterr().out
    with pytest.raises(DualsegError, match="every: expected seconds above 0"):
        watch(tmp_path, every=0.0)


def test_a_run_itself_and_linked_folders(tmp_path):
    run = make_run(tmp_path / "disk" / "run")
    assert dict(find_runs(run)) == {"run": run}
    root = tmp_path / "runs"
    root.mkdir()
    try:
        (root / "a").symlink_to(tmp_path / "disk", target_is_directory=True)
        (root / "loop").symlink_to(root, target_is_directory=True)
    except OSError:
        pytest.skip("links need a right here")
    assert dict(find_runs(root)) == {"a/run": root / "a" / "run"}


def test_records_leave_the_seconds_out():
    assert set(curves(lines(1, 9), 3)[0]) == {
        "step",
        "learning_rate",
        "loss",
        "supervised_a",
        "kept",
    }


def test_watching_imports_no_torch(runs):
    code = (
        "import sys; from dualseg.cli import main; code = main(['watch', sys.argv[1], '--once', "
        "'--tensorboard', sys.argv[2]]); heavy = {'torch', 'matplotlib', 'scipy'}; "
        "print(heavy & set(sys.modules), file=sys.stderr); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, str(runs), str(runs.parent / "events")]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}  # as an old Windows console
    done = subprocess.run(
        command, env=environment, capture_output=True, encoding="utf-8", check=True
    )
    assert done.stderr.strip() == "set()"
    assert "####------" in done.stdout


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard's own reader finds: tag -> step -> value. Fails for a step seen twice."""
    return accumulated(accumulator(folder))


def accumulator(folder: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder), size_guidance={"scalars": 0})


def accumulated(events) -> dict[str, dict[int, float]]:
    events.Reload()
    found = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
    for tag, points in found.items():
        steps = [point.step for point in points]
        assert len(steps) == len(set(steps)), f"{tag}: a step twice"
    return {tag: {p.step: p.value for p in points} for tag, points in found.items()}


def test_event_files_hold_the_log_and_a_restart_doubles_nothing(tmp_path):
    run = make_run(tmp_path / "runs" / "a" / "b", steps=30)
    runs = {"a/b": RunFolder(run)}
    mirror, events = Mirror(tmp_path / "events"), tmp_path / "events" / "a" / "b"
    mirror.update(runs)
    living = accumulator(events)  # as a TensorBoard that stays open
    assert len(accumulated(living)["train/loss"]) == 30
    append(run, lines(31, 40), torn='{"step"')
    finish(run, dice=81.234)
    mirror.update(runs)
    mirror.update(runs)
    (file,) = events.iterdir()
    held = file.read_bytes()
    Mirror(tmp_path / "events").update(runs)  # a restart
    assert file.read_bytes() == held
    file.write_bytes(held[:-7])  # killed while it was writing
    Mirror(tmp_path / "events").update(runs)
    assert file.read_bytes() == held
    log = RunFolder(run).log()
    for found in (scalars(events), accumulated(living)):
        for name in ("loss", "learning_rate", "supervised_a", "kept"):
            want = {line["step"]: line[name] for line in log if line[name] is not None}
            assert found[f"train/{name}"] == pytest.approx(want), name
        assert found["train/steps_per_second"] == pytest.approx({s: 0.5 for s in range(2, 41)})
        assert found["test/dice"] == pytest.approx({40: 81.234})
        assert "test/asd" not in found  # null: nothing to measure
    loss = accumulator(events).Reload().Scalars("train/loss")
    assert loss[-1].wall_time - loss[0].wall_time == pytest.approx(78)


@pytest.mark.parametrize("restart", [False, True])
def test_event_files_follow_a_resume_and_a_new_result(tmp_path, restart):
    run = finish(make_run(tmp_path / "runs" / "a", steps=10), dice=70.0)
    mirror, runs = Mirror(tmp_path / "events"), {"a": RunFolder(run)}
    mirror.update(runs)
    living = accumulator(tmp_path / "events" / "a")
    assert len(accumulated(living)["train/loss"]) == 10
    (run / "log.jsonl").unlink()
    again = lines(1, 4) + lines(5, 8, pace=3.0)
    append(run, again)
    finish(run, dice=75.0)
    os.utime(run / "record.json", (NOW, NOW))
    (Mirror(tmp_path / "events") if restart else mirror).update(runs)
    for found in (scalars(tmp_path / "events" / "a"), accumulated(living)):
        assert found["train/loss"] == pytest.approx({line["step"]: line["loss"] for line in again})
        assert found["test/dice"] == pytest.approx({8: 75.0})


def test_event_files_never_lie_in_a_run(tmp_path, capsys):
    make_run(tmp_path / "runs" / "a", steps=3)
    root = str(tmp_path / "runs")
    for folder in (root, f"{root}/a/events"):
        assert main(["watch", root, "--once", "--tensorboard", folder]) == 1
        assert "expected a folder outside the runs" in capsys.readouterr().err
    assert sorted(p.name for p in (tmp_path / "runs" / "a").iterdir()) == ["log.jsonl", "run.json"]
    (tmp_path / "file").write_text("")
    assert main(["watch", root, "--once", "--tensorboard", str(tmp_path / "file")]) == 1
    assert "could not be written" in capsys.readouterr().err


def test_missing_tensorboard_is_one_sentence(runs, capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "dualseg.event_files")
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for name in [name for name in sys.modules if name.startswith("tensorboard.")]:
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["watch", str(runs), "--once", "--tensorboard", str(runs.parent / "tb")]) == 1
    assert 'pip install -c constraints.txt -e ".[tensorboard]"' in capsys.readouterr().err


def test_in_a_notebook_the_table_is_updated_in_place_and_the_losses_are_drawn(runs, monkeypatch):
    import IPython.display

    shown = []

    class Handle:
        def update(self, item):
            shown.append(item)

    def display(item, display_id=None):
        shown.append(item)
        return Handle() if display_id else None

    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(watching, "_in_notebook", lambda: True)
    monkeypatch.setattr(watching.time, "sleep", interrupt)
    monkeypatch.setattr(IPython.display, "display", display)
    watch(runs)
    assert [type(item).__name__ for item in shown] == ["HTML", "HTML", "Image"]
    assert "deep/er/training" in shown[1].data
    assert "finished from 0.00 to 0.10" in shown[2].alt and "waiting" not in shown[2].alt
