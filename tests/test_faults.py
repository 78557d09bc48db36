"""What a run survives. Each test names its fault and the promise; `python -m benchmarks.faults`
runs them (and those of other files that carry the mark) and writes docs/faults.md from what
happened."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import TEST, TRAIN, ball_case, write_la_case
from crashes import Bomb, stop_after_two_steps, stopping_at, train_until
from matplotlib.figure import Figure
from rawdata import save_as, volumes

import dualseg._util.files
import dualseg.evaluation.predictions as predictions
from dualseg import plotting
from dualseg._util.files import read_json, write_json
from dualseg._util.lock import HOLDER, LOCK, held, is_held
from dualseg.cli.main import main
from dualseg.data.dataset import open_dataset
from dualseg.data.known import prepare
from dualseg.errors import DualsegError
from dualseg.evaluation.evaluate import evaluate
from dualseg.evaluation.saved_masks import SavedMasks, save_masks
from dualseg.runs.checkpoints import read_checkpoint
from dualseg.runs.run import Run
from dualseg.training import loop as training
from dualseg.training.loop import fit

pytestmark = pytest.mark.slow

fault = pytest.mark.fault
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


@pytest.fixture
def tiny(small):
    """A training of a second."""
    return small.replace(iterations=4, checkpoint_every=1, method="supervised")


@pytest.fixture
def finished(tiny, tmp_path):
    return fit(tiny, tmp_path / "run")


@pytest.fixture
def unfinished(tiny, tmp_path, monkeypatch):
    return stop_after_two_steps(tiny, tmp_path / "run", monkeypatch)


def weights(run):
    return {name: t.numpy().tobytes() for name, t in read_checkpoint(run.weights_path)[0].items()}


def contents(folder):
    return {str(p): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


# --- kills and signals ----------------------------------------------------------------------------


@posix
@fault(
    "kill -9 at 20 random places: in a step, between log and checkpoint, inside the writing of a "
    "file, before and after it is put in place",
    "nothing is lost: resumed, the weights are bit for bit those of an undisturbed run",
)
def test_twenty_kills(tiny, tmp_path, forkserver, observed):
    tiny = tiny.replace(iterations=26)
    rng, places = np.random.default_rng(0), tmp_path / "places"

    def life(out, deadly):
        process = forkserver.Process(target=train_until, args=(tiny, out, places, deadly))
        process.start()
        process.join(60)
        return process.exitcode

    assert life(tmp_path / "whole", None) == 0
    kills = 0
    while kills < 20:
        kills += life(tmp_path / "cut", int(rng.integers(1, 24))) == -signal.SIGKILL
    assert not Run(tmp_path / "cut").finished
    assert life(tmp_path / "cut", None) == 0
    whole, cut = Run(tmp_path / "whole"), Run(tmp_path / "cut")
    assert weights(cut) == weights(whole)
    logs = [[{**line, "seconds": None} for line in run.log()] for run in (cut, whole)]
    assert logs[0] == logs[1]
    assert not list(cut.folder.rglob(".*"))
    where = places.read_text(encoding="utf-8").splitlines()
    assert len(where) == 20
    assert len(set(where)) >= 5
    counted = ", ".join(f"{where.count(place)} {place}" for place in sorted(set(where)))
    observed(f"{kills} kills ({counted}); {len(weights(whole))} tensors equal, log equal")


@posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
@fault(
    "SIGTERM or SIGUSR1 (Slurm's warning) during an evaluation",
    "the masks that were finished stay; one sentence and exit status 143 or 138",
)
def test_signal_while_evaluating(finished, monkeypatch, capsys, observed, name):
    number, real, calls = getattr(signal, name), predictions.predict_volume, []

    def predict(*arguments):
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), number)
        return real(*arguments)

    monkeypatch.setattr(predictions, "predict_volume", predict)
    status = main(["evaluate", str(finished.folder)])
    assert status == 128 + number
    assert "stopped. What was finished is kept" in capsys.readouterr().err
    saved = [path.stem for path in finished.folder.glob("predictions/test/*")]
    assert saved == [TEST[0]]
    assert signal.getsignal(number) == signal.SIG_DFL
    observed(f"status {status}, {len(saved)} of {len(TEST)} masks kept")


@posix
@fault("SIGTERM during a prediction", "no half mask; one sentence and exit status 143")
def test_signal_while_predicting(finished, tmp_path, monkeypatch, observed):
    import dualseg.evaluation.predict_scan as module

    save_as(tmp_path / "scan.nii", volumes()[0])
    monkeypatch.setattr(
        module, "predict_volume", lambda *_: os.kill(os.getpid(), signal.SIGTERM) or 1 / 0
    )
    out = tmp_path / "new" / "mask.nii"
    status = main(["predict", str(finished.folder), str(tmp_path / "scan.nii"), "--out", str(out)])
    assert status == 143
    assert not out.parent.exists()
    observed(f"status {status}, no file")


# --- two processes on one folder ------------------------------------------------------------------


@fault(
    "a second process trains or evaluates in the same folder, then the first is killed with -9",
    "the second is refused, told which process on which machine; after the kill the folder is free",
)
def test_two_processes(finished, tmp_path, tiny):
    holder = (
        "import sys, time; from pathlib import Path; from dualseg._util.lock import held\n"
        "with held(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", holder, str(finished.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline().strip() == b"held"
        before = contents(finished.folder)
        finished.weights_path.rename(tmp_path / "weights")  # so that there is something to train
        with pytest.raises(DualsegError, match=f"is in use by process {process.pid} on "):
            fit(tiny, finished.folder, resume=True)
        (tmp_path / "weights").rename(finished.weights_path)
        with pytest.raises(DualsegError, match=f"is in use by process {process.pid} on "):
            evaluate(finished.folder)
        assert contents(finished.folder) == before
        process.kill()
        process.wait()
    with held(finished.folder):
        assert f"process {os.getpid()} on " in (finished.folder / HOLDER).read_text("utf-8")


@fault("a lock file that a dead process left", "no hindrance: only a living process holds a lock")
def test_stale_lock_file(tiny, tmp_path, observed):
    (tmp_path / "run").mkdir()
    for name in (LOCK, HOLDER):
        (tmp_path / "run" / name).write_text("process 1 on elsewhere since yesterday")
    assert fit(tiny, tmp_path / "run").finished
    observed("trained to the end")


@posix
@fault("a file system without locks", "a warning; the training goes on")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP])
def test_no_locks(tmp_path, monkeypatch, number):
    def missing(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", missing)
    told = pytest.warns(UserWarning, match=f"has no locks .{os.strerror(number)}")
    with told, held(tmp_path) as check:
        check()
        assert is_held(tmp_path) is None


# --- data that change -----------------------------------------------------------------------------


@posix
@fault(
    "one voxel changed between stop and resume, the file's size and date as before",
    "the resume is refused by the fingerprint",
)
def test_a_changed_voxel_is_found(tiny, la_root, tmp_path, monkeypatch):
    path = la_root / TRAIN[0] / "mri_norm2.h5"
    image, label = ball_case(0)
    with h5py.File(path, "w") as file:  # not compressed: a changed voxel changes no size
        file["image"], file["label"] = image, label
    stop_after_two_steps(tiny, tmp_path / "run", monkeypatch)
    before = path.stat()
    with h5py.File(path, "r+") as file:
        file["image"][0, 0, 0] += 1e-6
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    with pytest.raises(DualsegError, match="data have changed since this run was started"):
        fit(tiny, tmp_path / "run", resume=True)


@fault(
    "a case is deleted in the middle of a training",
    "the training goes on with the cached copy, to the same weights; a resume names the file",
)
def test_deleted_case(tiny, la_root, tmp_path, monkeypatch):
    whole = fit(tiny, tmp_path / "whole")
    path = la_root / TRAIN[0] / "mri_norm2.h5"
    monkeypatch.setattr(training._Training, "train_step", stopping_at(1, path.unlink))
    assert weights(fit(tiny, tmp_path / "run")) == weights(whole)
    (tmp_path / "run" / "last.safetensors").unlink()
    with pytest.raises(DualsegError, match=f"{TRAIN[0]}.mri_norm2.h5: expected the image and"):
        fit(tiny, tmp_path / "run", resume=True)


@fault(
    "a case is changed and its cached copy deleted in the middle of a training",
    "cases that were opened go on as they were; at another the training stops with one sentence: "
    "no weights come of mixed data",
)
def test_case_replaced_while_training(tiny, la_root, tmp_path, monkeypatch):
    def replace():
        for case_id in TRAIN:
            write_la_case(la_root, case_id, *ball_case(99))
        shutil.rmtree(os.environ["DUALSEG_CACHE"])

    monkeypatch.setenv("DUALSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(training._Training, "train_step", stopping_at(1, replace))
    with pytest.raises(DualsegError, match="has changed since this process began to use it"):
        fit(tiny.replace(method="dual", unlabeled_batch=1), tmp_path / "run")


@pytest.mark.parametrize("damage", ["torn", "pickle", "note", "missing"])
@fault("damaged files in the cache", "the case is read again from its source; no code runs")
def test_damaged_cache(la_root, tmp_path, monkeypatch, damage, observed):
    monkeypatch.setenv("DUALSEG_CACHE", str(tmp_path / "cache"))
    dataset = open_dataset("la", la_root)
    dataset.cache(TRAIN)
    image, _ = ball_case(0)
    (path,) = (tmp_path / "cache").rglob(f"{TRAIN[0]}.image.npy")
    if damage == "torn":
        path.write_bytes(path.read_bytes()[:500])
    if damage == "pickle":
        np.save(path, np.array([Bomb(tmp_path / "bang")], dtype=object), allow_pickle=True)
    if damage == "note":
        path.with_name(f"{TRAIN[0]}.json").write_text("[1]")
    if damage == "missing":
        path.unlink()
    for opened in (dataset, open_dataset("la", la_root)):
        np.testing.assert_array_equal(opened.case(TRAIN[0]).image, image)
    assert not (tmp_path / "bang").exists()
    observed("read again")


@fault("the clock is set back and forward", "no effect: durations come from a monotonic clock")
def test_clock_jumps(tiny, la_root, tmp_path, monkeypatch, observed):
    monkeypatch.setenv("DUALSEG_CACHE", str(tmp_path / "cache"))
    whole = fit(tiny, tmp_path / "whole")
    clock = iter(np.random.default_rng(0).uniform(-1e9, 1e10, 10**6))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    os.utime(la_root / TRAIN[0] / "mri_norm2.h5", (4e9, 4e9))  # in the year 2096
    started = time.perf_counter()
    run = fit(tiny, tmp_path / "run")
    seconds = run.info()["training"]["seconds"]
    assert 0 <= seconds <= time.perf_counter() - started + 0.1
    assert weights(run) == weights(whole)
    (copy,) = (tmp_path / "cache").rglob(f"{TRAIN[0]}.image.npy")
    written = copy.stat().st_mtime_ns
    open_dataset("la", la_root, "half").cache(TRAIN)
    assert copy.stat().st_mtime_ns == written  # fresh, though the source is from the future
    observed(f"{seconds} s, the same weights")


# --- disks and folders ----------------------------------------------------------------------------


def picture():
    return Figure(figsize=(2, 2))


def on_full_disk(monkeypatch, name):
    """Every file of that name is written to a device on which no space is left."""

    def full(path, mode):
        return open("/dev/full", "wb") if path.name.startswith(f".{name}.") else open(path, mode)

    monkeypatch.setattr(dualseg._util.files, "open", full, raising=False)
    monkeypatch.setattr(
        dualseg._util.files.os, "fsync", lambda descriptor: None
    )  # no disk behind it


FULL = {
    "the run's note": ("run.json", lambda w: fit(w.tiny, w.path / "run", resume=True)),
    "a checkpoint": ("state.safetensors", lambda w: fit(w.tiny, w.path / "run", resume=True)),
    "the last weights": ("last.safetensors", lambda w: fit(w.tiny, w.path / "run", resume=True)),
    "the cache's image": (f"{TRAIN[0]}.image.npy", lambda w: w.dataset.case(TRAIN[0])),
    "the cache's label": (f"{TRAIN[0]}.label.npy", lambda w: w.dataset.case(TRAIN[0])),
    "the cache's note": (f"{TRAIN[0]}.json", lambda w: w.dataset.case(TRAIN[0])),
    "a mask": (f"{TEST[0]}.npz", lambda w: save_masks(w.path / f"{TEST[0]}.npz", w.masks)),
    "a record": ("record.json", lambda w: write_json(w.path / "record.json", {"a": 1})),
    "a picture": ("a.png", lambda w: plotting.save(picture(), w.path / "a.png", alt="empty")),
    "a NIfTI file": ("a.nii.gz", lambda w: w.export("a.nii.gz")),
    "a prepared case": ("scan0.h5", lambda w: w.prepare()),
    "a prepared case's record": ("scan0.json", lambda w: w.prepare()),
    "a list of ids": ("train.list", lambda w: w.prepare()),
    "a manifest": ("manifest.json", lambda w: w.prepare()),
}


class World:
    """What the writers of `FULL` write."""

    def __init__(self, path, tiny):
        self.path, self.tiny = path, tiny
        self.dataset = open_dataset("la", tiny.root, "quarter")
        self.masks = SavedMasks({"mean": np.zeros((4, 4, 4), np.uint8)}, "stamp", 1.0, "CPU", 1.0)

    def export(self, name):
        from dualseg.evaluation.export_case import export_case

        export_case(self.dataset, TRAIN[0], self.path / name)

    def prepare(self):
        for i in range(2):
            for folder, volume in zip(("images", "labels"), volumes(i), strict=True):
                if not (self.path / folder / f"scan{i}.nii").exists():
                    save_as(self.path / folder / f"scan{i}.nii", volume)
        folders = [self.path / name for name in ("images", "labels", "data")]
        prepare("folder", *folders)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("what", FULL)
@fault(
    "the disk is full: each kind of file that is written",
    "one sentence; what stood there is unchanged; with space again the same call ends well",
)
def test_full_disk(tiny, tmp_path, monkeypatch, what):
    monkeypatch.setenv("DUALSEG_CACHE", str(tmp_path / "cache"))
    name, write = FULL[what]
    world = World(tmp_path, tiny.replace(iterations=2))
    (tmp_path / name).write_bytes(b"old")
    with monkeypatch.context() as patch:
        on_full_disk(patch, name)
        with pytest.raises(DualsegError, match=re.escape(name) + ": could not be written"):
            write(world)
    assert (tmp_path / name).read_bytes() == b"old"
    assert not list(tmp_path.rglob(".*"))
    write(world)
    written = [path for path in tmp_path.rglob(name) if path.read_bytes() != b"old"]
    assert written or name == "state.safetensors"  # which is removed in the end


@pytest.mark.parametrize("what", ["out", "cache", "mask"])
@fault("a folder that cannot be written, or is a file", "one sentence that names it")
def test_unwritable(tiny, tmp_path, monkeypatch, what):
    """Under root everything can be written but what the kernel itself keeps."""
    place = Path("/proc/here") if sys.platform == "linux" else tmp_path / "file" / "here"
    (tmp_path / "file").write_text("I am a file")
    for folder in (place, tmp_path / "file"):
        with pytest.raises(DualsegError, match=f"{folder.name}.*: could not be written"):
            if what == "out":
                fit(tiny, folder)
            elif what == "cache":
                monkeypatch.setenv("DUALSEG_CACHE", str(folder))
                try:
                    open_dataset("la", tiny.root).case(TRAIN[0])
                except DualsegError as error:
                    assert "DUALSEG_CACHE" in str(error)
                    raise
            else:
                World(tmp_path, tiny).export(folder / "mask.nii")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "I am a file"


@posix
@pytest.mark.parametrize("what", ["deleted", "moved", "replaced"])
@fault(
    "the run's folder is deleted, moved or replaced under a running training",
    "the training stops at the next checkpoint with one sentence and writes nothing there",
)
def test_folder_taken_away(tiny, tmp_path, monkeypatch, what):
    out = tmp_path / "run"

    def take():
        out.rename(tmp_path / "elsewhere")
        if what == "deleted":
            shutil.rmtree(tmp_path / "elsewhere")
        if what == "replaced":
            out.mkdir()
            (out / "run.json").write_text("another's")
            (out / LOCK).touch()

    monkeypatch.setattr(training._Training, "train_step", stopping_at(2, take))
    with pytest.raises(DualsegError, match="run: was deleted, moved or replaced while"):
        fit(tiny, out)
    kept = {path.name for path in out.iterdir()} if out.exists() else set()
    assert kept == ({"run.json", LOCK} if what == "replaced" else set())


# --- damaged files of a run -----------------------------------------------------------------------


@fault("a checkpoint without its run.json", "refused, not taken for another run's")
def test_state_without_note(tiny, unfinished):
    unfinished.info_path.unlink()
    with pytest.raises(DualsegError, match="expected no checkpoint where there is no run.json"):
        fit(tiny, unfinished.folder)
    assert unfinished.state_path.exists()


@pytest.mark.parametrize("what", ["checkpoint", "weights"])
@fault(
    "one bit of a checkpoint, or of the last weights, flipped on the disk",
    "refused: nothing is trained on, predicted or measured with it",
)
def test_flipped_bit(unfinished, tiny, tmp_path, what):
    if what == "weights":
        fit(tiny, unfinished.folder, resume=True)
    path = unfinished.state_path if what == "checkpoint" else unfinished.weights_path
    before = path.read_bytes()
    for place in (-1, -len(before) // 3):  # in the tensors, which fill most of the file
        damaged = bytearray(before)
        damaged[place] ^= 0x40
        path.write_bytes(damaged)
        with pytest.raises(DualsegError, match="was damaged since it was written"):
            if what == "checkpoint":
                fit(tiny, unfinished.folder, resume=True)
            else:
                evaluate(unfinished.folder)
        assert path.read_bytes() == damaged
        assert not unfinished.record_path().exists()
    path.write_bytes(before)
    read_checkpoint(path)


@pytest.mark.parametrize("damage", ['{"step": 1, "lo\n', "\0\0\0\n", '"text"\n', "[]\n"])
@fault(
    "a damaged line in the middle of the log",
    "the resume names the file, shows the line, and says a way on",
)
def test_damaged_log(unfinished, tiny, damage):
    text = unfinished.log_path.read_text(encoding="utf-8")
    unfinished.log_path.write_text(damage + text)
    with pytest.raises(DualsegError, match="log.jsonl: expected a line of JSON .* found .*; put"):
        fit(tiny, unfinished.folder, resume=True)
    unfinished.log_path.unlink()
    assert fit(tiny, unfinished.folder, resume=True).finished


# --- the table ------------------------------------------------------------------------------------


def test_the_table_has_every_fault():
    """docs/faults.md is written by `python -m benchmarks.faults`; run it after adding a fault."""
    here = Path(__file__).parent
    marked = {
        "".join(re.findall(r'"([^"]*)"', text))
        for path in here.glob("test_*.py")
        for text in re.findall(
            r'^@(?:pytest\.mark\.)?fault\(\s*((?:"[^"]*"\s*)+)',
            path.read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    }
    rows = read_json(here.parent / "figures" / "records" / "benchmarks" / "faults.json")["faults"]
    assert {row["fault"] for row in rows} == marked
    assert len(marked) >= 20
    table = (here.parent / "docs" / "faults.md").read_text(encoding="utf-8")
    assert all(f"| {row['fault']} |" in table for row in rows)
