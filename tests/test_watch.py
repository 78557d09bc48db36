"""Watching runs: what is read, what is guessed, how it looks; and TensorBoard files, read back."""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from dualseg._util.lock import held
from dualseg.cli.main import main
from dualseg.errors import DualsegError
from dualseg.evaluation.record import curves
from dualseg.many_runs import watch as watching
from dualseg.many_runs.tensorboard import Mirror
from dualseg.many_runs.watch import duration, table, watch
from dualseg.runs import status as run_status
from dualseg.runs.folder import LogReader, RunFolder
from dualseg.runs.status import WatchedFolder, WatchedRun, find_runs, recent_rate

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
    usual = {"dataset": "phantom", "method": "dual", "preset": "improved", "labeled": 8}
    usual |= {"seed": 3, "iterations": 100}
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


def drawn(found, width: int, terms: bool = False, encoding: str = "utf-8") -> list[str]:
    """The lines of the table as a terminal of this width and encoding gets them."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=file, width=width)
    console.print(table(found, NOW, terms))
    file.flush()
    return file.buffer.getvalue().decode(encoding).splitlines()


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
    (summary, header, row, settings) = drawn([status], 200)
    assert " ".join(header.split()) == "run state steps loss steps/s time Dice %"
    assert "run training 40/100 0.0305 0.5 2 min left" in " ".join(row.split())
    assert settings.strip() == "dual improved, 8 labels, seed 3"
    assert summary.strip() == "12:00:00: 1 training"


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
    append(run, lines(1, steps, pace))
    age(run, quiet)
    at_work = "training" if steps else "waiting"
    assert WatchedRun("run", run).status(NOW).state == (at_work if expected else "stopped")


def test_training_is_known_from_the_lock_of_this_machine(tmp_path, monkeypatch):
    watched = WatchedRun("run", make_run(tmp_path / "run"))
    with held(tmp_path / "run"):
        assert watched.status(NOW + 1e9).state == "waiting"
        with monkeypatch.context() as patch:  # a lock of another machine tells nothing here
            patch.setattr(run_status, "is_held", lambda folder: None)
            assert watched.status(NOW + 1e9).state == "stopped"
            assert watched.status(NOW).state == "waiting"
    assert watched.status(NOW).state == "stopped"


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
        ("run.json", '{"config": {"seed": 1}}', "run.json: expected the key 'dataset'"),
        (
            "log.jsonl",
            '{"step": 1, "loss": 2}\nnoise\n',
            "log.jsonl: expected a line of JSON .*noi",
        ),
        (
            "log.jsonl",
            '{"step": Infinity, "loss": 2}\n',
            "log.jsonl: expected a line of JSON",
        ),
        (
            "log.jsonl",
            '{"step": "1", "loss": "2"}\n',
            "log.jsonl: expected a line of JSON",
        ),
        ("log.jsonl", "[1]\n", "log.jsonl: expected a line of JSON"),
        ("record.json", '{"mean": {"dice": "81"}}', "record.json: expected 'dice' to be of type"),
    ],
)
def test_damaged_files_are_a_row_and_not_an_end(runs, file, text, match):
    (runs / "waiting" / file).write_text(text)
    found = {status.name: status for status in WatchedFolder(runs).refresh(NOW)}
    assert found["waiting"].state == "damaged"
    with pytest.raises(DualsegError, match=match):
        raise DualsegError(found["waiting"].problem)
    assert found["evaluated"].dice == 81.234
    shown = "\n".join(drawn(found.values(), 80))
    assert "evaluated" in shown and f"waiting/{file}" in "".join(shown.split())


@pytest.mark.parametrize("width", [60, 79, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal(runs, width):
    make_run(runs / "a_very_long_name_of_a_run_that_nobody_would_type_by_hand_seed17", steps=70)
    make_run(runs / "in [bold] brackets", steps=3)
    found = WatchedFolder(runs).refresh(NOW)
    shown = drawn(found, width, terms=True)
    assert max(map(len, shown)) <= width
    text = "\n".join(shown)
    assert text.count("Dice") == 1
    if width >= 79:
        parts = ["40/100", "81.23", "2 min left", "supervised_a 0.01", "improved", "[bold]"]
        parts += [status.name for status in found if len(status.name) < 18]
        assert [part for part in parts if part not in text] == []
    assert "40/100" in "\n".join(drawn(found, width, encoding="ascii"))


def test_a_live_table_of_a_low_terminal_shows_the_runs_at_work_first(runs, monkeypatch):
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=120, height=5)
    monkeypatch.setattr(watching, "get_console", lambda: console)

    def interrupt(seconds):
        first = file.getvalue()
        assert "1 training, 1 waiting, 1 stopped" in first
        assert "deep/er" in first and "81.23" not in first
        raise KeyboardInterrupt

    monkeypatch.setattr(watching.time, "sleep", interrupt)
    age(runs / "deep" / "er" / "training", NOW - time.time() + 1)
    age(runs / "waiting", NOW - time.time() + 1)
    watch(runs)
    assert "81.23" in file.getvalue()  # all of it stays at the end


def test_words_for_times():
    times = [duration(s) for s in (7, 99.4, 100, 3600, 7200, 86400 * 3)]
    assert times == ["7 s", "99 s", "2 min", "60 min", "2.0 h", "3.0 days"]


def test_once_prints_one_table_and_writes_nothing(runs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*")}
    assert main(["watch", str(runs), "--once"]) == 0
    out = capsys.readouterr().out
    assert out.count("Dice %") == 1 and "\x1b" not in out
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*")} == before


def test_live_table_is_drawn_over_itself_until_all_are_finished(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run", steps=99)
    file, waits = io.StringIO(), []
    console = Console(file=file, force_terminal=True, width=120)
    monkeypatch.setattr(watching, "get_console", lambda: console)

    def sleep(seconds):
        waits.append(file.getvalue())
        append(run, lines(100, 100))
        finish(run)

    monkeypatch.setattr(watching.time, "sleep", sleep)
    watch(tmp_path, every=3.0)
    (first,) = waits
    second = file.getvalue().removeprefix(first)
    assert "99/100" in first and "100/100" in second and "finished" in second
    assert "\x1b[1A" in second  # the cursor goes up


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
        "import sys; from dualseg.cli.main import main; "
        "code = main(['watch', sys.argv[1], '--once']); "
        "heavy = {'torch', 'matplotlib', 'scipy'}; "
        "print(heavy & set(sys.modules), file=sys.stderr); sys.exit(code)"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}  # as an old Windows console
    done = subprocess.run(
        [sys.executable, "-c", code, str(runs)],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stderr.strip() == "set()"
    assert "40/100" in done.stdout


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
    events = tmp_path / "events" / "a" / "b"
    mirror = Mirror(RunFolder(run), events)
    mirror.update()
    living = accumulator(events)  # as a TensorBoard that stays open
    assert len(accumulated(living)["train/loss"]) == 30
    append(run, lines(31, 40), torn='{"step"')
    finish(run, dice=81.234)
    mirror.update()
    mirror.update()
    log = RunFolder(run).log()
    for restarts in range(2):
        for found in (scalars(events), accumulated(living)):
            for name in ("loss", "learning_rate", "supervised_a", "kept"):
                want = {line["step"]: line[name] for line in log if line[name] is not None}
                assert found[f"train/{name}"] == pytest.approx(want), name
            assert found["test/dice"] == pytest.approx({40: 81.234})
            assert "test/asd" not in found  # null: nothing to measure
        if not restarts:
            file = max(events.iterdir(), key=lambda path: path.stat().st_size)
            file.write_bytes(file.read_bytes()[:-7])  # killed while it was writing
            Mirror(RunFolder(run), events).update()
    loss = accumulator(events).Reload().Scalars("train/loss")
    assert loss[-1].wall_time - loss[0].wall_time == pytest.approx(78)


@pytest.mark.parametrize("restart", [False, True])
def test_event_files_follow_a_resume_and_a_new_result(tmp_path, restart):
    run = finish(make_run(tmp_path / "runs" / "a", steps=10), dice=70.0)
    mirror = Mirror(RunFolder(run), tmp_path / "events" / "a")
    mirror.update()
    living = accumulator(tmp_path / "events" / "a")
    assert len(accumulated(living)["train/loss"]) == 10
    (run / "log.jsonl").unlink()
    again = lines(1, 4) + lines(5, 8, pace=3.0)
    append(run, again)
    finish(run, dice=75.0)
    (Mirror(RunFolder(run), tmp_path / "events" / "a") if restart else mirror).update()
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
    monkeypatch.delitem(sys.modules, "dualseg.many_runs.tensorboard")
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
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

    console = Console(force_jupyter=True)
    monkeypatch.setattr(watching, "get_console", lambda: console)
    monkeypatch.setattr(watching.time, "sleep", interrupt)
    monkeypatch.setattr(IPython.display, "display", display)
    watch(runs)
    assert [type(item).__name__ for item in shown] == ["Text", "Table", "Image"]
    html = shown[1]._repr_mimebundle_(include=[], exclude=[])["text/html"]
    assert "deep/er/training" in html and "81.23" in html
    assert "finished from 0.00 to 0.10" in shown[2].alt and "waiting" not in shown[2].alt
