"""Runs on a machine without a network: packed, done by the piece, collected, measured."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from conftest import TEST, make_la
from rawdata import save_as, volumes
from safetensors.numpy import load_file

from dualseg.cli import main
from dualseg.config import Experiment
from dualseg.errors import DualsegError
from dualseg.evaluate import evaluate
from dualseg.files import read_json
from dualseg.lock import held
from dualseg.offline import work
from dualseg.offline.pack import pack, plan_runs
from dualseg.offline.parcel import Parcel
from dualseg.offline.results import collect, export, round_weights
from dualseg.prepare import prepare
from dualseg.runs import Run
from dualseg.signals import stop_noted
from dualseg.train import fit

STEPS = 30
SETTINGS = (
    f"iterations={STEPS}",
    "checkpoint_every=5",
    "patch=16,16,16",
    "stride=8,8,8",
    "filters=2",
    "resolution=half",
)
NAME = "la_dual_improved_2labels_smoke_seed0"


def runs(root: Path | None, names=("improved",), seeds=(0,), settings=SETTINGS):
    dataset = "la" if root is None else f"la={root}"
    return plan_runs(dataset, names, [2], seeds, "smoke", settings)


def merged(parts: list[Path], to: Path) -> Parcel:
    """What a user does on the other machine: all parts' contents into one folder."""
    for part in parts:
        shutil.copytree(part, to, dirs_exist_ok=True)
    return Parcel(to)


def _with_needs(names) -> set[str]:
    """Packages with all that they need, of what is installed."""
    found: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name in found:
            continue
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        left += [re.match(r"[\w.-]+", need)[0] for need in needs if "extra ==" not in need]
    return found


@pytest.fixture(scope="session")
def bare(tmp_path_factory) -> Path:
    """Site-packages of a machine that has PyTorch, NumPy and h5py, and nothing else."""
    site = tmp_path_factory.mktemp("bare")
    for name in _with_needs(["torch", "numpy", "h5py"]) - {"setuptools", "tqdm", "scipy"}:
        for file in metadata.files(name):
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (site / top).exists():
                (site / top).symlink_to(Path(metadata.distribution(name).locate_file(top)))
    return site


def bare_python(bare: Path, *words: str, **options) -> subprocess.Popen:
    # -S: without this environment's site-packages.
    return subprocess.Popen(
        [sys.executable, "-S", *words],
        env=os.environ | {"PYTHONPATH": str(bare), "PYTHONUTF8": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        **options,
    )


def piece(bare: Path, parcel: Parcel, *words: str) -> tuple[int, str]:
    process = bare_python(bare, str(parcel.folder / "work.py"), *words)
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def weights(path: Path) -> dict[str, np.ndarray]:
    return load_file(path)


@pytest.fixture(scope="session")
def done(bare, tmp_path_factory):
    """A parcel in parts, of which a bare machine has done all, in two pieces; what was printed."""

    root = make_la(tmp_path_factory.mktemp("data") / "LA")
    place = tmp_path_factory.mktemp("offline")
    parts = pack(runs(root), place / "parcel", part_mb=1.5)
    parcel = merged(parts, place / "there")
    shutil.rmtree(place / "parcel")
    process = bare_python(bare, str(parcel.folder / "work.py"))
    log = parcel.run(NAME).log_path
    for _ in range(3000):
        if process.poll() is not None or (log.is_file() and log.read_bytes().count(b"\n") > 6):
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    first, _ = process.communicate(timeout=120)
    stopped = process.returncode, first, parcel.run(NAME).state_path.is_file()
    return root, parts, parcel, stopped, piece(bare, parcel)


def test_a_bare_machine_lacks_what_it_should(bare):
    code = (
        "import importlib.util as u; import torch, numpy, h5py; print([n for n in ('scipy', "
        "'safetensors', 'tqdm', 'tyro', 'medpy', 'nibabel', 'matplotlib') if u.find_spec(n)])"
    )
    output, _ = bare_python(bare, "-c", code).communicate(timeout=120)
    assert output.strip() == "[]"


@pytest.mark.fault(
    "a piece of work on a machine without a network is stopped (SIGTERM)",
    "a checkpoint; the next piece goes on to the same weights, bit for bit",
)
def test_stopped_and_gone_on_with_gives_the_weights_of_an_undisturbed_run(done, tmp_path):
    root, _, parcel, (status, output, checkpoint), (again, printed) = done
    assert (status, checkpoint) == (143, True), output
    assert again == 0, printed
    experiment = runs(root)[0].experiment
    here = fit(experiment, tmp_path / "here")
    there = weights(parcel.run(NAME).weights_path)
    assert all(np.array_equal(there[name], w) for name, w in weights(here.weights_path).items())
    assert f"{STEPS}/{STEPS}" in printed and "exported" in printed


def test_parts_are_small_enough_and_the_results_too(done):
    _, parts, parcel, *_ = done
    assert len(parts) > 2  # else this shows nothing
    found = sorted(parcel.results.iterdir())
    assert all(path.stat().st_size <= 1.5e6 for path in found)
    assert [path.name for path in found] == [
        f"{NAME}.zip.{n}of{len(found)}" for n in range(1, len(found) + 1)
    ]


def test_parts_of_a_parcel_obey_the_limit(la_root, tmp_path):
    for part in pack(runs(la_root), tmp_path / "parcel", part_mb=1.5):
        sizes = [p.stat().st_size for p in part.rglob("*") if p.name != "plan.json" and p.is_file()]
        assert sum(sizes) <= 1.5e6
    with pytest.raises(DualsegError, match=r"part_mb: expected at least \d"):
        pack(runs(la_root), tmp_path / "small", part_mb=0.01)
    assert not (tmp_path / "small").exists()


def test_collected_run_is_measured_from_the_masks_made_there(done, tmp_path, monkeypatch):
    root, _, parcel, *_ = done
    [run] = collect(parcel.results, tmp_path / "runs")
    assert run.folder.name == NAME
    monkeypatch.setattr("dualseg.predictions.predict_volume", None)  # nothing is predicted anew
    record = evaluate(run.folder, root=str(root))
    assert [case["id"] for case in record["cases"]] == TEST
    assert record["kernels"] == "float16"
    assert record["evaluation"]["seconds_predicting"] >= 0
    # What travelled is the trained run, its kernels rounded as NumPy rounds them.
    full, half = weights(parcel.run(NAME).weights_path), weights(run.weights_path)
    kernels = {name for name, w in full.items() if w.ndim == 5}
    assert kernels and full.keys() == half.keys()
    for name, w in full.items():
        expected = w.astype(np.float16) if name in kernels else w
        assert half[name].dtype == expected.dtype and np.array_equal(half[name], expected)
    assert read_json(run.info_path) == parcel.run(NAME).info() | {"kernels": "float16"}
    assert run.log() == parcel.run(NAME).log()
    # The masks are those of the rounded weights: made anew, they are the same.
    monkeypatch.undo()
    shutil.rmtree(run.folder / "predictions")
    assert evaluate(run.folder, root=str(root))["cases"] == record["cases"]
    assert collect(parcel.results, tmp_path / "runs") == [run]  # there already


def test_the_command_line_packs_and_collects(la_root, done, tmp_path, capsys):
    words = ["offline", "pack", "--dataset", f"la={la_root}", "--runs", "cps", "supervised"]
    words += ["--labeled", "2", "--seeds", "0", "1", "--profile", "smoke"]
    assert main([*words, "--out", str(tmp_path / "parcel")]) == 0
    out = capsys.readouterr().out
    names = re.findall(r"la_\S+seed\d", out)
    assert names == [
        "la_dual_cps_2labels_smoke_seed0",
        "la_supervised_2labels_smoke_seed0",
        "la_dual_cps_2labels_smoke_seed1",
        "la_supervised_2labels_smoke_seed1",
    ]
    assert list(Parcel(tmp_path / "parcel").plan()["runs"]) == names
    assert str(la_root) not in Parcel(tmp_path / "parcel").plan_path.read_text()
    assert main([*words, "--out", str(tmp_path / "parcel")]) == 1
    assert "found one; choose another --out" in capsys.readouterr().err
    assert main(["offline", "collect", str(done[2].results), "--out", str(tmp_path / "r")]) == 0
    assert f"dualseg evaluate {tmp_path / 'r' / NAME} --root DIR" in capsys.readouterr().out


def test_data_that_are_there_already_are_not_packed(la_root, tmp_path, capsys):
    [folder] = pack(runs(None), tmp_path / "parcel")
    parcel = Parcel(folder)
    assert not any(name.startswith("data/") for name in parcel.plan()["files"])
    assert parcel.experiment(NAME, la_root) == runs(la_root)[0].experiment
    assert work.main(folder, ["--check"]) == 1
    assert "--data: expected the folder with the files of 'la'" in capsys.readouterr().err
    assert work.main(folder, ["--check", "--data", str(la_root)]) == 0


@pytest.mark.fault(
    "a parcel of which a file is missing, or was damaged on the way",
    "refused before anything starts, naming the file",
)
@pytest.mark.parametrize("name", ["data/TRAIN3/mri_norm2.h5", "code/dualseg/networks.py"])
@pytest.mark.parametrize("harm", ["missing", "changed"])
def test_incomplete_parcel(la_root, tmp_path, capsys, name, harm, observed):
    [folder] = pack(runs(la_root), tmp_path / "parcel")
    path = folder / name
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert work.main(folder, []) == 1
    said = capsys.readouterr().err
    assert str(path) in said and ("1 missing;" if harm == "missing" else "SHA-256") in said
    assert not (folder / "runs").exists()
    observed(said)


def test_missing_parts_are_named(la_root, tmp_path, capsys):
    parts = pack(runs(la_root), tmp_path / "parcel", part_mb=1.5)
    parcel = merged([parts[0], *parts[2:-1]], tmp_path / "there")
    assert work.main(parcel.folder, []) == 1
    assert f"missing (of part 2, {len(parts)}); copy" in capsys.readouterr().err


def test_a_prepared_folder_is_packed_and_read_there(tmp_path, capsys):
    for i in range(3):
        for folder, volume in zip(("images", "labels"), volumes(i), strict=True):
            save_as(tmp_path / folder / f"scan{i}.nii", volume)
    data = tmp_path / "mine"
    prepare("folder", tmp_path / "images", tmp_path / "labels", data)
    [folder] = pack(plan_runs(str(data), ["supervised"], [1], [0], "smoke"), tmp_path / "parcel")
    parcel = Parcel(folder)
    assert {path.name for path in parcel.data.rglob("*.h5")} == {f"scan{i}.h5" for i in range(3)}
    assert work.main(folder, ["--check"]) == 0
    assert "0 of 1 runs exported" in capsys.readouterr().out
    assert work.main(folder, ["--data", str(data)]) == 1
    assert "--data: the data are in this parcel; leave it out." in capsys.readouterr().err
    with pytest.raises(DualsegError, match="if it holds the files of la, say la="):
        plan_runs(str(tmp_path / "images"), ["supervised"], [1], [0], "smoke")


@pytest.fixture
def here(monkeypatch):
    """Runs are done in this process: each of their own would load PyTorch first."""

    def in_this_process(parcel, name, data, part_mb, deadline):
        if time.monotonic() >= deadline:
            return None
        try:
            work._do(parcel, name, data, part_mb)
        except SystemExit as stop:
            return stop.code
        return 0

    monkeypatch.setattr(work, "_in_a_process", in_this_process)


def done_at_once(parcel, name, *_):
    results = parcel.results / f"{name}.zip.1of1"
    results.parent.mkdir(exist_ok=True)
    results.write_text(f"{parcel.results.exists()}")
    work._mark(parcel, name).parent.mkdir(parents=True, exist_ok=True)
    work._mark(parcel, name).touch()


def test_what_is_exported_is_written_again_only_when_asked(
    la_root, tmp_path, monkeypatch, capsys, here
):
    monkeypatch.setattr(work, "_do", done_at_once)
    [folder] = pack(runs(None), tmp_path / "parcel")
    assert work.main(folder, ["--data", str(la_root)]) == 0
    result = Parcel(folder).results / f"{NAME}.zip.1of1"
    result.unlink()
    assert work.main(folder, []) == 0 and not result.exists()  # without the data, too
    assert "1 of 1 runs exported. To be taken home: 0 files" in capsys.readouterr().out
    assert work.main(folder, ["--again", "--data", str(la_root)]) == 0 and result.exists()


def test_one_piece_at_a_time_and_an_exit_status_that_tells(
    la_root, tmp_path, monkeypatch, capsys, here
):
    monkeypatch.setattr(work, "_do", done_at_once)
    [folder] = pack(runs(la_root, seeds=(0, 1)), tmp_path / "parcel")
    with held(folder / "runs"):
        assert work.main(folder, []) == 1
    assert "is in use by process" in capsys.readouterr().err
    assert work.main(folder, ["--minutes", "0.0001"]) == work.TIME_IS_UP
    assert work.main(folder, ["--only", NAME]) == 0
    assert "1 of 1 runs exported" in capsys.readouterr().out
    assert work.main(folder, []) == 0


def test_check_tells_what_is_amiss(tmp_path, monkeypatch, capsys):
    [folder] = pack(plan_runs("phantom", ["paper"], [], [0], "full"), tmp_path / "parcel")
    monkeypatch.setattr(work.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(work, "DISK_GB", 10.0**9)
    assert work.main(folder, ["--check"]) == 0
    assert re.search(r"device +NO GPU .*\ndisk +LOW", capsys.readouterr().out)
    monkeypatch.setattr(work, "find_spec", lambda name: None)
    assert work.main(folder, ["--check"]) == 1
    assert "drawn with SciPy, found none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ("needs/tqdm", "'tqdm'; copy the parcel again"),
        ("", "'h5py'; PyTorch 2.11, NumPy 2 and h5py"),
    ],
)
def test_what_is_not_there_is_blamed(la_root, tmp_path, bare, gone, words):
    [folder] = pack(runs(None), tmp_path / "parcel")
    site = bare
    if gone:
        shutil.rmtree(folder / gone)
    else:
        site = tmp_path / "site"
        shutil.copytree(bare, site, symlinks=True)
        (site / "h5py").unlink()
    status, output = piece(site, Parcel(folder), "--check")
    assert status == 1 and words in output and "Traceback" not in output


def patient(parcel, *_):
    """Stands for a training that takes its time, and writes a checkpoint when asked to stop."""
    with stop_noted() as stop:
        parcel.run("begun").folder.mkdir(parents=True)
        while stop.number is None:
            time.sleep(0.05)
    (parcel.folder / "checkpoint").write_text(str(stop.number))


def test_time_that_is_up_ends_a_run_with_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(work, "_do", patient)
    parcel = Parcel(tmp_path)
    assert work._in_a_process(parcel, NAME, None, 0, time.monotonic() - 1) is None
    assert not parcel.run("begun").folder.exists()
    seconds = 6  # a slow machine takes longer to start
    while not parcel.run("begun").folder.exists():
        deadline = time.monotonic() + seconds
        assert work._in_a_process(parcel, NAME, None, 0, deadline) is None
        assert deadline <= time.monotonic() < deadline + work.GRACE
        seconds *= 2
    assert (tmp_path / "checkpoint").read_text() == str(int(signal.SIGTERM))


def failing_first(parcel, name, *_):
    if name.endswith("seed0"):
        sys.exit(1)
    work._mark(parcel, name).parent.mkdir(parents=True)
    work._mark(parcel, name).touch()


def test_a_run_that_fails_does_not_stop_the_others(la_root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(work, "_do", failing_first)
    [folder] = pack(runs(la_root, seeds=(0, 1)), tmp_path / "parcel")
    assert work.main(folder, []) == 1
    assert f"failed: {NAME} (exit status 1)" in capsys.readouterr().err
    assert work._mark(Parcel(folder), NAME.replace("seed0", "seed1")).is_file()
    assert work.main(folder, ["--only", "nothing"]) == 1
    assert "expected runs of the plan" in capsys.readouterr().err
    assert work.main(folder, ["--minutes", "0"]) == 1
    assert "--minutes: expected a time above 0" in capsys.readouterr().err
    assert work.main(folder, ["--part-mb", "-1"]) == 1
    assert "--part-mb: expected a size above 0" in capsys.readouterr().err


def test_a_machine_with_an_old_torch_is_told_so(tmp_path, monkeypatch, capsys):
    [folder] = pack(plan_runs("phantom", ["paper"], [], [0], "smoke"), tmp_path / "parcel")
    monkeypatch.setattr(work.metadata, "version", lambda name: "2.4.1")
    assert work.main(folder, []) == 1
    assert "torch 2.4.1, needs 2.11 or newer" in capsys.readouterr().err
    assert not (folder / "runs").exists()


def test_what_that_machine_must_have_is_what_the_project_needs():
    needs = [need for need in metadata.requires("dualseg") if "extra ==" not in need]
    assert {f"{name}>={least}" for name, least in work.LEAST.items()} <= set(needs)


def parts_of(run: Run, to: Path, part_mb: float = 0) -> Path:
    export(run, to, part_mb)
    return to


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Run:
    settings = {"iterations": 2, "filters": 2}
    run = fit(Experiment("phantom", "smoke", **settings), tmp_path_factory.mktemp("f") / "a")
    return round_weights(run, tmp_path_factory.mktemp("g") / "a")


@pytest.mark.fault(
    "results of which a part is missing, damaged, or another program's",
    "refused in a sentence; nothing is unpacked",
)
@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ("none", "expected parts of runs"),
        ("missing", "found none of a 2of"),
        ("damaged", "damaged ones"),
        ("cut", "damaged ones"),
        ("torn", "damaged ones"),
        ("two sizes", "parts of two sizes"),
        ("climbing", "found '../../evil' in it"),
        ("foreign", "found 'evil.py' in it"),
        ("no run", "run.json"),
        ("bomb", "expected an array of at most"),
    ],
)
def test_bad_results(finished, tmp_path, monkeypatch, harm, words, observed):
    results = parts_of(finished, tmp_path / "results", 0.5)
    second = sorted(results.iterdir())[1]
    if harm == "none":
        shutil.rmtree(results)
        results.mkdir()
    if harm == "missing":
        second.unlink()
    if harm == "damaged":
        content = bytearray(second.read_bytes())
        content[1000] ^= 1
        second.write_bytes(content)
    if harm == "cut":
        second.write_bytes(second.read_bytes()[:1000])
    if harm == "torn":
        max(results.iterdir()).write_bytes(b"")
    if harm == "two sizes":
        parts_of(finished, results)
    if harm in ("climbing", "foreign", "no run", "bomb"):
        shutil.rmtree(results)
        results.mkdir()
        inside = {"climbing": "../../evil", "foreign": "evil.py"}.get(harm, "log.jsonl")
        with zipfile.ZipFile(results / "a.zip.1of1", "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr(inside, bytes(10**7 if harm == "bomb" else 10))
    if harm == "bomb":
        monkeypatch.setattr("dualseg.memory.machine_memory", lambda: 10**7)
    with pytest.raises(DualsegError, match=re.escape(words)) as raised:
        collect(results, tmp_path / "runs")
    observed(str(raised.value))
    assert not list(tmp_path.rglob("*evil*"))
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


def test_complete_runs_are_collected_though_another_is_not(finished, tmp_path):
    results = parts_of(finished, tmp_path / "results")
    (results / "b.zip.1of2").write_bytes(b"")
    words = f"found none of b 2of2; copy them here, too (1 complete runs are in {tmp_path / 'r'})"
    with pytest.raises(DualsegError, match=re.escape(words)):
        collect(results, tmp_path / "r")
    assert Run(tmp_path / "r" / "a").finished
    (tmp_path / "file").touch()
    with pytest.raises(DualsegError, match="expected a folder for the runs"):
        collect(results, tmp_path / "file" / "runs")


def test_another_run_in_the_way_is_left_alone(finished, tmp_path):
    results = parts_of(finished, tmp_path / "results")
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "run.json").write_text("{}")
    with pytest.raises(DualsegError, match="holds another run already"):
        collect(results, tmp_path / "runs")
    assert (tmp_path / "runs" / "a" / "run.json").read_text() == "{}"


def test_weights_that_half_precision_cannot_hold_are_refused(finished, tmp_path):
    from dualseg.runs import read_checkpoint, write_tensors

    run = Run(tmp_path / "run")
    shutil.copytree(finished.folder, run.folder)
    tensors, progress = read_checkpoint(run.weights_path)
    name = next(name for name, t in tensors.items() if t.ndim == 5)
    tensors[name] = tensors[name].float() * 1e9
    write_tensors(run.weights_path, tensors, progress)
    with pytest.raises(DualsegError, match="below 65504"):
        round_weights(run, tmp_path / "rounded")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"names": ()}, "runs: expected at least one"),
        ({"names": ("nothing",)}, "runs: expected one of cce, cps,"),
        ({"names": ("dual",)}, "runs: expected one of cce, cps,"),
        ({"seeds": ()}, "seeds: expected at least one"),
        ({"settings": ("wrong=1",)}, "--set: expected NAME=VALUE"),
    ],
)
def test_bad_plans(la_root, changes, words):
    with pytest.raises(DualsegError, match=re.escape(words)):
        runs(la_root, **changes)
