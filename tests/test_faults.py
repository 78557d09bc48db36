"""What a run survives. Each test names its fault and the promise; `python -m benchmarks.faults`
runs them (and those of other files that carry the mark) and writes FAULTS.md from what happened."""

import errno
import gzip
import io
import json
import multiprocessing
import os
import pickle
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import TEST, TRAIN, ball_case, make_la, write_la_case
from crashes import train_until
from matplotlib.figure import Figure
from rawdata import save_as, volumes
from safetensors.torch import save

import dualseg.evaluate as evaluation
import dualseg.lock
from dualseg import plotting
from dualseg import train as training
from dualseg.cases import read_h5
from dualseg.cli import main
from dualseg.config import Experiment
from dualseg.datasets import open_dataset
from dualseg.errors import DualsegError
from dualseg.evaluate import evaluate
from dualseg.files import read_json, write_json
from dualseg.lock import held
from dualseg.masks import SavedMasks, load_masks, save_masks
from dualseg.nifti import read_nifti
from dualseg.prepare import prepare
from dualseg.records import publish
from dualseg.runs import Run, read_checkpoint
from dualseg.train import fit
from dualseg.volumes import read_volume

fault = pytest.mark.fault
HOSTILE = "one sentence; no code runs, nothing is written elsewhere, little memory is taken"
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


@pytest.fixture
def tiny(small):
    """A training of a second."""
    return small.replace(iterations=4, checkpoint_every=1, method="supervised")


@pytest.fixture
def finished(tiny, tmp_path):
    return fit(tiny, tmp_path / "run")


def stop_after_two_steps(experiment, out, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(training._Training, "train_step", stopping_at(2))
        with pytest.raises(RuntimeError, match="power cut"):
            fit(experiment, out)
    return Run(out)


@pytest.fixture
def unfinished(tiny, tmp_path, monkeypatch):
    return stop_after_two_steps(tiny, tmp_path / "run", monkeypatch)


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory):
    """An experiment, and the folder of a run of it that was stopped; to be copied."""
    path = tmp_path_factory.mktemp("once")
    sizes = {"resolution": "half", "patch": (16,) * 3, "stride": (8,) * 3, "filters": 2}
    steps = {"iterations": 4, "checkpoint_every": 1, "labeled": 2}
    experiment = Experiment.default("la", "smoke", root=str(make_la(path / "LA")), **sizes, **steps)
    with pytest.MonkeyPatch.context() as patch:
        stop_after_two_steps(experiment, path / "run", patch)
    return experiment, path / "run"


@pytest.fixture(scope="module")
def finished_once(stopped_once):
    """The folder of a finished run; to be copied."""
    experiment, folder = stopped_once
    finished = shutil.copytree(folder, folder.with_name("finished"))
    return fit(experiment, finished, resume=True).folder


@pytest.fixture
def little_memory():
    """Here the system gives no more than 500 MB beyond what the process has."""
    if sys.platform != "linux":
        yield
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(
        resource.RLIMIT_AS, (pages * resource.getpagesize() + 500 * 10**6, limits[1])
    )
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


def stopping_at(step, then=None):
    """A `train_step` that breaks, or calls `then`, before it takes the given step."""
    real = training._Training.train_step

    def train_step(self, progress):
        if progress.step == step:
            if then is None:
                raise RuntimeError("power cut")
            then()
        return real(self, progress)

    return train_step


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
def test_twenty_kills(tiny, tmp_path, monkeypatch, observed):
    tiny = tiny.replace(iterations=40)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["crashes"])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # for that preload
    rng, places = np.random.default_rng(0), tmp_path / "places"

    def life(out, deadly):
        process = context.Process(target=train_until, args=(tiny, out, places, deadly))
        process.start()
        process.join(60)
        return process.exitcode

    assert life(tmp_path / "whole", None) == 0
    kills = 0
    while kills < 20:
        kills += life(tmp_path / "cut", int(rng.integers(1, 32))) == -signal.SIGKILL
    assert not Run(tmp_path / "cut").finished
    assert life(tmp_path / "cut", None) == 0
    whole, cut = Run(tmp_path / "whole"), Run(tmp_path / "cut")
    assert weights(cut) == weights(whole)
    assert cut.log() == whole.log()
    assert not list(cut.folder.rglob(".*"))
    where = places.read_text().splitlines()
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
    number, real, calls = getattr(signal, name), evaluation.predict_volume, []

    def predict(*arguments):
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), number)
        return real(*arguments)

    monkeypatch.setattr(evaluation, "predict_volume", predict)
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
    import dualseg.nifti as module

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
        "import sys, time; from pathlib import Path; from dualseg.lock import held\n"
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
        assert str(os.getpid()) in (finished.folder / dualseg.lock.NAME).read_text()


@fault("a lock file that a dead process left", "no hindrance: only a living process holds a lock")
def test_stale_lock_file(tiny, tmp_path, observed):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / dualseg.lock.NAME).write_text("process 1 on elsewhere")
    assert fit(tiny, tmp_path / "run").finished
    observed("trained to the end")


@fault("a file system without locks", "a warning; the training goes on")
def test_no_locks(tmp_path, monkeypatch):
    def missing(file):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(dualseg.lock, "_lock", missing)
    with pytest.warns(UserWarning, match="has no locks .No locks available"), held(tmp_path) as it:
        it.check()


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
    "the training stops with one sentence, so no weights come of mixed data",
)
def test_case_replaced_while_training(tiny, la_root, tmp_path, monkeypatch):
    def replace():
        for case_id in TRAIN:
            write_la_case(la_root, case_id, *ball_case(99))
        shutil.rmtree(os.environ["DUALSEG_CACHE"])

    monkeypatch.setenv("DUALSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(training._Training, "train_step", stopping_at(1, replace))
    with pytest.raises(DualsegError, match="has changed since this process began to use it"):
        fit(tiny, tmp_path / "run")


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


class Bomb:
    """Unpickled, it would make a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


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
    make = dualseg.files.tempfile.mkstemp

    def mkstemp(suffix, prefix, folder):
        if prefix != f".{name}.":
            return make(suffix, prefix, folder)
        return os.open("/dev/full", os.O_WRONLY), os.path.join(folder, f"{prefix}never")

    monkeypatch.setattr(dualseg.files.tempfile, "mkstemp", mkstemp)
    monkeypatch.setattr(dualseg.files.os, "fsync", lambda descriptor: None)  # no disk behind it


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
        self.masks = SavedMasks({"mean": np.zeros((4, 4, 4), np.uint8)}, "stamp", 1.0)

    def export(self, name):
        from dualseg.nifti import export_case

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
                open_dataset("la", tiny.root).case(TRAIN[0])
            else:
                World(tmp_path, tiny).export(folder / "mask.nii")
    assert (tmp_path / "file").read_text() == "I am a file"


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
            (out / dualseg.lock.NAME).touch()

    monkeypatch.setattr(training._Training, "train_step", stopping_at(2, take))
    with pytest.raises(DualsegError, match="run: was deleted, moved or replaced while"):
        fit(tiny, out)
    kept = {path.name for path in out.iterdir()} if out.exists() else set()
    assert kept == ({"run.json", dualseg.lock.NAME} if what == "replaced" else set())


# --- damaged and hostile files of a run -----------------------------------------------------------


def header(entries, size=None, body=b""):
    """The bytes of a safetensors file with such a header."""
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + body


def changed_state(progress=None, tensors=None):
    def change(path):
        held_tensors, held_progress = read_checkpoint(path)
        held_progress = {k: repr(v) for k, v in held_progress.items()} | (progress or {})
        made = save({k: t.clone() for k, t in held_tensors.items()} | (tensors or {}))
        length = struct.unpack("<Q", made[:8])[0]
        entries = json.loads(made[8 : 8 + length]) | {"__metadata__": held_progress}
        return header(entries, body=made[8 + length :])

    return change


def two_floats(first, second):
    part = {"dtype": "F32", "shape": [1]}
    return {"a": {**part, "data_offsets": first}, "b": {**part, "data_offsets": second}}


STATES = {
    "cut short": lambda path: path.read_bytes()[:5000],
    "a header of 2^63 bytes": lambda path: header({}, size=2**63),
    "a header of 10 GB": lambda path: header({}, size=10**10),
    "overlapping tensors": lambda path: header(two_floats([0, 4], [2, 6]), body=bytes(6)),
    "a tensor of 10^18 values": lambda path: header(
        {"a": {"dtype": "F32", "shape": [10**18], "data_offsets": [0, 4 * 10**18]}}, body=bytes(8)
    ),
    "nesting of 10^5 levels": lambda path: struct.pack("<Q", 2 * 10**5) + b"[" * (2 * 10**5),
    "a pickle": lambda path: pickle.dumps(Bomb(path.parent / "bang")),
    "a pickle in a zip, as torch.save makes": lambda path: torch_file(Bomb(path.parent / "bang")),
    "weights of another type": changed_state(
        tensors={"weight:b.head.bias": torch.zeros(2, dtype=torch.int64)}
    ),
    "momentum of no parameter": changed_state(
        tensors={"optimizer:9999:momentum_buffer": torch.zeros(1)}
    ),
    "momentum of another shape": changed_state(
        tensors={"optimizer:0:momentum_buffer": torch.zeros(1)}
    ),
    "step nan": changed_state({"step": "nan"}),
    "step -1": changed_state({"step": "-1"}),
    "step 1.5": changed_state({"step": "1.5"}),
    "step 1e300": changed_state({"step": "1e300"}),
    "a step of the future": changed_state({"step": "5"}),
    "a step that is no number": changed_state({"step": "__import__('os')"}),
    "infinite seconds": changed_state({"seconds": "inf"}),
}


def torch_file(thing):
    content = io.BytesIO()
    torch.save(thing, content)
    return content.getvalue()


@fault("a damaged or crafted checkpoint at resume", HOSTILE)
@pytest.mark.parametrize("kind", STATES)
def test_hostile_checkpoint(stopped_once, tmp_path, little_memory, kind):
    tiny, folder = stopped_once
    run = Run(Path(shutil.copytree(folder, tmp_path / "run")))
    content = STATES[kind](run.state_path)
    run.state_path.write_bytes(content)
    with pytest.raises(DualsegError, match=r"state.safetensors: (expected a checkpoint|holds)"):
        fit(tiny, run.folder, resume=True)
    assert run.state_path.read_bytes() == content
    assert not (run.folder / "bang").exists()


@fault("a checkpoint without its run.json", "refused, not taken for another run's")
def test_state_without_note(tiny, unfinished):
    unfinished.info_path.unlink()
    with pytest.raises(DualsegError, match="expected no checkpoint where there is no run.json"):
        fit(tiny, unfinished.folder)
    assert unfinished.state_path.exists()


def nested(depth):
    return "[" * depth + "]" * depth


def with_values(change):
    def write(path):
        info = json.loads(path.read_text(encoding="utf-8"))
        change(info)
        path.write_text(json.dumps(info), encoding="utf-8")

    return write


def huge(path):
    with path.open("wb") as file:
        file.truncate(2**30)  # 1 GiB of zeros, on disk nothing


RUN_NOTES = {
    "empty": lambda path: path.write_text(""),
    "cut short": lambda path: path.write_text(path.read_text()[:300]),
    "no text": lambda path: path.write_bytes(bytes(range(256))),
    "a list": lambda path: path.write_text("[1, 2]"),
    "1 GiB": huge,
    "nesting of 10^5 levels": lambda path: path.write_text(nested(10**5)),
    "an integer of 10^5 digits": lambda path: path.write_text('{"config": ' + "9" * 10**5 + "}"),
    "NaN": lambda path: path.write_text('{"config": NaN}'),
    "no config": with_values(lambda info: info.pop("config")),
    "no split": with_values(lambda info: info["data"].pop("split")),
    "config of another type": with_values(lambda info: info.update(config="all")),
    "10^9 filters": with_values(lambda info: info["config"].update(filters=10**9)),
    "filters as text": with_values(lambda info: info["config"].update(filters="4")),
    "a patch of 10^6": with_values(lambda info: info["config"].update(patch=[10**6] * 3)),
    "a nested patch": with_values(lambda info: info["config"].update(patch=[[1], [2], [3]])),
    "10^9 classes": with_values(lambda info: info["data"]["spec"].update(classes=10**9)),
    "no spacing": with_values(lambda info: info["data"]["spec"].update(spacing=[0, 1, "a"])),
}
STRANGE_IDS = ["../../evil", "/etc/evil", "a/b", "a\\b", "C:evil", "nul\0", "a\n", "", ".", "..", 7]


@fault("a damaged or crafted run.json", HOSTILE)
@pytest.mark.parametrize("kind", [*RUN_NOTES, *(f"id {name!r}" for name in STRANGE_IDS)])
def test_hostile_note(finished_once, tmp_path, little_memory, kind):
    run = Run(Path(shutil.copytree(finished_once, tmp_path / "run")))
    for name in STRANGE_IDS:
        if kind == f"id {name!r}":
            with_values(lambda info, n=name: info["data"]["split"].update(test=[n]))(run.info_path)
    if kind in RUN_NOTES:
        RUN_NOTES[kind](run.info_path)
    before = {path.name for path in tmp_path.rglob("*")}
    with pytest.raises(DualsegError):
        evaluate(run.folder)
    assert {path.name for path in tmp_path.rglob("*")} - before <= {dualseg.lock.NAME}


@pytest.mark.parametrize("damage", ['{"step": 1, "lo\n', "\0\0\0\n", '"text"\n', "[]\n"])
@fault("a damaged line in the middle of the log", "the resume names file and line, and a way on")
def test_damaged_log(unfinished, tiny, damage):
    text = unfinished.log_path.read_text()
    unfinished.log_path.write_text(damage + text)
    with pytest.raises(DualsegError, match="log.jsonl: expected a line of JSON .* in line 1; put"):
        fit(tiny, unfinished.folder, resume=True)
    unfinished.log_path.unlink()
    assert fit(tiny, unfinished.folder, resume=True).finished


# --- hostile data ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in STRANGE_IDS if isinstance(n, str) and n.strip()])
@fault("ids with path tricks in train.list", HOSTILE)
def test_hostile_list(la_root, tmp_path, little_memory, name):
    if "\n" in name:
        pytest.skip("a new line ends an id")
    (la_root / "train.list").write_text("\n".join([name, *TRAIN]))
    with pytest.raises(DualsegError, match="train.list: expected ids that can be file names"):
        open_dataset("la", la_root)


@pytest.fixture(scope="module")
def prepared_once(tmp_path_factory):
    path = tmp_path_factory.mktemp("prepared")
    for i in range(3):
        for folder, volume in zip(("images", "labels"), volumes(i), strict=True):
            save_as(path / folder / f"scan{i}.nii", volume)
    prepare("folder", *(path / name for name in ("images", "labels", "data")))
    return path / "data"


def record_of(name, value):
    return with_values(lambda manifest: manifest["cases"]["scan0"].update({name: value}))


MANIFESTS = {
    "1 GiB": huge,
    "nesting of 10^5 levels": lambda path: path.write_text(nested(10**5)),
    "an absolute file": record_of("file", "/etc/passwd"),
    "a file elsewhere": record_of("file", "../../evil.h5"),
    "a file with NUL": record_of("file", "cases/\0.h5"),
    "a file that is none": record_of("file", 7),
    "a spacing of nothing": record_of("spacing", [0, 0, 0]),
    "a huge spacing": record_of("spacing", [1e300, 1, 1]),
    "an id elsewhere": with_values(lambda m: m["cases"].update({"../evil": m["cases"]["scan0"]})),
    "cases as a list": with_values(lambda m: m.update(cases=[])),
    "an orientation of nothing": with_values(lambda m: m.update(orientation="XYZ")),
    "classes as a number": with_values(lambda m: m.update(classes=3)),
    "a recipe of text": with_values(lambda m: m["recipe"].update(margin="ab")),
    "10^5 modalities": with_values(lambda m: m.update(modalities=["t"] * 10**5)),
}


@fault("a crafted manifest", HOSTILE)
@pytest.mark.parametrize("kind", MANIFESTS)
def test_hostile_manifest(prepared_once, tmp_path, little_memory, kind):
    root = Path(shutil.copytree(prepared_once, tmp_path / "data"))
    MANIFESTS[kind](root / "manifest.json")
    before = set(root.rglob("*"))
    with pytest.raises(DualsegError):
        open_dataset(str(root)).cache(["scan0"])
    assert set(root.rglob("*")) == before


@pytest.mark.parametrize("name", ["../../evil", "/evil", 5])
@fault("a crafted record that names itself a path", HOSTILE)
def test_hostile_record(finished_once, tmp_path, name):
    run = Run(Path(shutil.copytree(finished_once, tmp_path / "run")))
    usual = next(Path(__file__).parents[1].glob("figures/records/phantom_*.json"))
    write_json(run.record_path(), read_json(usual) | {"name": name})
    with pytest.raises(DualsegError, match=r"record.json: expected "):
        publish(run.folder, tmp_path / "a" / "b" / "c")
    assert not list(tmp_path.rglob("*evil*"))


def nifti_header(shape, kind=16, spacing=1.0):
    import nibabel as nib

    head = nib.Nifti1Header()
    head.set_data_shape(shape)
    head["datatype"], head["bitpix"], head["sform_code"] = kind, 32, 1
    head["srow_x"][0] = head["srow_y"][1] = head["srow_z"][2] = spacing
    head["pixdim"][1:4] = spacing
    return head.binaryblock + bytes(4)


SCANS = {
    "a claim of 30000^3 voxels in 1 kB": ("a.nii", lambda: nifti_header([30000] * 3) + bytes(600)),
    "the same, compressed": ("a.nii.gz", lambda: gzip.compress(nifti_header([30000] * 3))),
    "a bomb of 200 MB in 200 kB": (
        "a.nii.gz",
        lambda: gzip.compress(nifti_header([8000] * 3) + bytes(200 * 10**6), 1),
    ),
    "more claimed than there is": ("a.nii", lambda: nifti_header([100] * 3) + bytes(600)),
    "the same, compressed (2)": ("a.nii.gz", lambda: gzip.compress(nifti_header([100] * 3))),
    "colours for numbers": ("a.nii", lambda: nifti_header([4] * 3, kind=128) + bytes(600)),
    "an unknown type": ("a.nii", lambda: nifti_header([4] * 3, kind=999) + bytes(600)),
    "an NRRD that claims 30000^3": (
        "a.nrrd",
        lambda: (
            b"NRRD0004\ntype: float\ndimension: 3\nsizes: 30000 30000 30000\n"
            b"encoding: raw\nendian: little\n\n" + bytes(600)
        ),
    ),
}


@fault("a scan with a false header", HOSTILE)
@pytest.mark.parametrize("kind", SCANS)
def test_hostile_scan(tmp_path, little_memory, kind):
    name, content = SCANS[kind]
    path = tmp_path / name
    path.write_bytes(content())
    with pytest.raises(DualsegError, match=f"{name}: expected "):
        read_volume(path) if path.suffix == ".nrrd" else read_nifti(path)


@pytest.mark.parametrize("spacing", [float("nan"), 1e12, 0.0])
@fault("a scan with impossible voxel sizes", HOSTILE)
def test_hostile_spacing(finished_once, tmp_path, little_memory, spacing):
    path, out = tmp_path / "a.nii", tmp_path / "mask.nii"
    path.write_bytes(nifti_header([8] * 3, spacing=spacing) + bytes(4 * 8**3))
    assert main(["predict", str(finished_once), str(path), "--out", str(out)]) == 1
    assert not out.exists()


@fault("saved masks that are pickles, zip bombs or nothing", "not read; the case is predicted anew")
@pytest.mark.parametrize("kind", ["pickle", "bomb", "claim", "no zip", "another zip"])
def test_hostile_masks(tmp_path, little_memory, monkeypatch, kind, observed):
    path = tmp_path / "a.npz"
    good = SavedMasks({"mean": np.zeros((4, 4, 4), np.uint8)}, "stamp", 1.0)
    save_masks(path, good)
    assert load_masks(path).stamp == "stamp"
    if kind == "pickle":
        np.savez(path, stamp=np.array([Bomb(tmp_path / "bang")], dtype=object), seconds=1.0)
    if kind == "bomb":
        monkeypatch.setattr(dualseg.memory, "machine_memory", lambda: 10**8)
        np.savez_compressed(path, **{"mask mean": np.zeros(30 * 10**6, np.uint8)})
    if kind == "claim":
        claim = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000000,), }\n"
        with zipfile.ZipFile(path, "a") as file:
            file.writestr(
                "mask a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(claim)) + claim
            )
    if kind == "no zip":
        path.write_bytes(pickle.dumps(Bomb(tmp_path / "bang")))
    if kind == "another zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("../../evil.npy", b"text")
    assert load_masks(path) is None
    assert not list(tmp_path.rglob("bang"))
    observed("not read")


H5 = {
    "a claim of 10^18 voxels": lambda file, secret: file.create_dataset(
        "image", (10**6,) * 3, "f4", chunks=(8, 8, 8)
    ),
    "a claim of 40000^3 voxels": lambda file, secret: file.create_dataset(
        "image", (40000,) * 3, "f4", chunks=(8, 8, 8)
    ),
    "a link to another file": lambda file, secret: file.__setitem__(
        "image", h5py.ExternalLink(str(secret), "image")
    ),
    "arrays kept in another file": lambda file, secret: file.create_dataset(
        "image", (4, 4, 4), "u1", external=[(str(secret), 0, 64)]
    ),
    "a view of another file": lambda file, secret: file.create_virtual_dataset(
        "image", layout_of(secret)
    ),
    "text": lambda file, secret: file.__setitem__("image", "text"),
    "a group": lambda file, secret: file.create_group("image"),
    "objects": lambda file, secret: file.create_dataset(
        "image", (4, 4, 4), h5py.special_dtype(vlen=str)
    ),
}


def layout_of(secret):
    layout = h5py.VirtualLayout((4, 4, 4), "f4")
    layout[:] = h5py.VirtualSource(str(secret), "image", shape=(4, 4, 4))
    return layout


@fault("an HDF5 file that claims too much or points to other files", HOSTILE)
@pytest.mark.parametrize("kind", H5)
def test_hostile_h5(tmp_path, little_memory, kind):
    secret, path = tmp_path / "secret.h5", tmp_path / "a.h5"
    with h5py.File(secret, "w") as file:
        file["image"] = np.ones((4, 4, 4), np.float32)
    with h5py.File(path, "w") as file:
        H5[kind](file, secret)
    with pytest.raises(DualsegError, match=r"a.h5: expected "):
        read_h5(path, labeled=False)


# --- the table ------------------------------------------------------------------------------------


def test_the_table_has_every_fault():
    """FAULTS.md is written by `python -m benchmarks.faults`; run it after adding a fault."""
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
    table = (here.parent / "FAULTS.md").read_text(encoding="utf-8")
    assert all(f"| {row['fault']} |" in table for row in rows)
