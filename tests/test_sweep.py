"""Sweeps: which runs; as jobs here and on a pretended Slurm cluster; stopped, killed, restarted."""

import hashlib
import importlib
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import TEST, TRAIN
from fake_slurm import install

from dualseg._util.literals import read_as
from dualseg._util.lock import InUse, held
from dualseg._util.signals import Interrupted, stop_noted
from dualseg.cli.main import main as cli
from dualseg.config.experiment import Experiment
from dualseg.errors import DualsegError
from dualseg.many_runs import jobs, slurm, sweep as sweeping
from dualseg.many_runs.jobs import Resources
from dualseg.many_runs.sweep import over_seeds, plan
from dualseg.runs.records import mean_of_runs
from dualseg.runs.run import Run

pytestmark = pytest.mark.slow

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc, sends signals")
TRAIN_AND_MEASURE = sweeping.train_and_measure
SETTINGS = {"method": "supervised", "labeled": 2, "validation": 2, "iterations": 6, "filters": 2}
SETTINGS |= {
    "patch": (16, 16, 16),
    "stride": (8, 8, 8),
    "resolution": "half",
    "checkpoint_every": 1000,
}
SMALL = ["patch=16,16,16", "stride=8,8,8", "filters=2", "resolution=half", "validation=2"]


def command(root: Path, out: Path, *words: str, steps: int = 6) -> list[str]:
    base = ["sweep", "--out", out, "--dataset", f"la={root}", "--profile", "smoke"]
    base += ["--labeled", 2, "--set", *SMALL, f"iterations={steps}", "checkpoint_every=1000"]
    return [*map(str, base), *map(str, words)]


def run(capsys, words) -> tuple[int, str, str]:
    status = cli(words)
    out = capsys.readouterr()
    return status, out.out, out.err


@pytest.fixture(autouse=True)
def _quick_jobs(monkeypatch):
    """One thread, and no pictures: they take longer than these trainings. Jobs find this file."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(sweeping, "train_and_measure", without_pictures)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)


def without_pictures(experiment, folder, do=TRAIN_AND_MEASURE):
    """What a job does, in a process of its own, whose pictures this takes away for good."""
    importlib.import_module("dualseg.evaluation.evaluate").draw = lambda *_: None
    do(experiment, folder)


def _command(words: list[str], output: Path, environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.setsid()
    file = os.open(output, os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, encoding="utf-8") for n in (1, 2))
    sweeping.train_and_measure = without_pictures
    os._exit(cli(words))


@contextmanager
def in_a_process(words: list[str], output: Path):
    """The command in a process of its own that leads a process group, with all its children.

    Forked from a server that has nothing but the imports: a fork of this one could hang on a lock
    that another of its threads held.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "dualseg.many_runs.sweep"])
    process = context.Process(target=_command, args=(words, output, dict(os.environ)))
    process.start()
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.join()


def children(process) -> list[int]:
    """The jobs of a sweep, which lead sessions of their own."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(number) for number in path.read_text(encoding="utf-8").split()]


def steps(run: Run) -> int:
    return len(run.log())


def until(condition, seconds: float = 180):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def hashes(folder: Path) -> dict[str, tuple[str, int]]:
    """SHA-256 and time of everything in the folder of a run."""
    return {
        str(p.relative_to(folder)): (
            hashlib.sha256(p.read_bytes()).hexdigest(),
            p.stat().st_mtime_ns,
        )
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


@linux
def test_killed_sweep_goes_on_with_what_is_missing(la_root, tmp_path, capsys, monkeypatch):
    out = tmp_path / "sweep"
    words = command(la_root, out, "--seeds", 0, 1, "--presets", "paper", "--workers", 2)
    members = [
        Run(out / f"la_{what}_2labels_smoke_seed{seed}")
        for what in ("supervised", "dual_paper")
        for seed in (0, 1)
    ]
    with in_a_process(words, tmp_path / "output") as process:
        until(lambda: sum(m.record_path().is_file() for m in members) >= 1)
        until(lambda: any(m.exists and not m.finished for m in members))
        for number in (process.pid, *children(process)):
            os.kill(number, signal.SIGKILL)
        process.join()
    before = {m.folder.name: hashes(m.folder) for m in members if m.record_path().is_file()}
    assert 1 <= len(before) < 4

    status, shown, _ = run(capsys, [*words, "--dry-run"])
    assert status == 0
    assert len(re.findall(r"seed\d +finished", shown)) == len(before)
    assert f"4 runs, {len(before)} finished, {4 - len(before)} to do." in shown

    status, shown, _ = run(capsys, words)
    assert status == 0
    for member in members:
        assert member.finished and steps(member) == 6
        assert [line["step"] for line in member.log()] == [1, 2, 3, 4, 5, 6]
        if member.folder.name in before:
            kept = hashes(member.folder)
            changed = {n for n, seen in before[member.folder.name].items() if kept[n] != seen}
            assert changed == set()
    started = {path.parent.name: path for path in (out / "jobs").glob("*/log.txt")}
    assert set(started) == {m.folder.name for m in members}
    check_table(shown, members)

    status, shown_again, progress = run(capsys, words)
    assert (status, shown_again) == (0, shown)
    assert "failed" not in progress

    assert (out / "tables.txt").read_text(encoding="utf-8").strip() == shown.strip()

    with held(out):  # as another sweep would
        status, shown, error = run(capsys, words)
    assert status == 1 and shown == "" and "is in use by process" in error

    status, _, error = run(capsys, command(la_root, out, "--seeds", 0, steps=7))
    assert status == 1 and "was started with iterations = 6, now asked for iterations = 7" in error

    # Beside a run that is done, one that is refused and one that hits a bug.
    monkeypatch.setattr(sweeping, "train_and_measure", failing)
    words = command(la_root, out, "--seeds", 0, 7, 8, "--methods", "supervised", "--workers", 2)
    status, shown, error = run(capsys, words)
    assert status == 1
    assert "2 of 3 runs failed" in error
    assert "la_supervised_2labels_smoke_seed7: its scans are torn.\n" in error
    assert "la_supervised_2labels_smoke_seed8: ZeroDivisionError: division by zero\n" in error
    logs = [Path(path) for path in re.findall(r"^ +(/.*log.txt)$", error, re.MULTILINE)]
    assert ["Traceback" in path.read_text(encoding="utf-8") for path in logs] == [True, True]
    assert "la_supervised_2labels_smoke_seed0" in shown and "seed7" not in shown


def failing(experiment, folder):
    if experiment.seed == 7:
        raise DualsegError("its scans are torn.")
    1 / 0  # noqa: B018


def check_table(shown: str, members: list[Run]) -> None:
    """The lines over seeds are what NumPy makes of the cases in the records."""
    for method, preset in (("supervised", ""), ("dual", "paper")):
        records = [json.loads(m.record_path().read_text(encoding="utf-8")) for m in members]
        records = [r for r in records if r["config"]["method"] == method]
        dices = np.array([np.mean([case["dice"] for case in r["cases"]]) for r in records])
        assert dices.shape == (2,)
        wanted = f"{dices.mean():.2f} ± {dices.std(ddof=1):.2f}"
        line = next(x for x in shown.splitlines() if re.match(rf"la +{method} +{preset} *2 +2 ", x))
        assert wanted in line


@linux
def test_ctrl_c_stops_the_jobs_with_a_checkpoint(la_root, tmp_path):
    out = tmp_path / "sweep"
    words = command(la_root, out, "--seeds", 0, "--methods", "supervised", steps=5000)
    member = Run(out / "la_supervised_2labels_smoke_seed0")
    with in_a_process(words, tmp_path / "output") as process:
        until(lambda: steps(member) >= 2)
        (job,) = children(process)
        os.killpg(process.pid, signal.SIGINT)  # what a terminal does
        process.join()
    assert process.exitcode == 130
    shown = (tmp_path / "output").read_text(encoding="utf-8")
    assert shown.count("the same command goes on") == 1 and "Traceback" not in shown
    assert member.state_path.is_file() and not member.finished
    with pytest.raises(ProcessLookupError):
        os.kill(job, 0)
    assert 2 <= steps(member) < 5000


@linux
def test_jobs_of_a_killed_sweep_stop_with_a_checkpoint(la_root, tmp_path):
    words = command(
        la_root, tmp_path / "sweep", "--seeds", 0, "--methods", "supervised", steps=5000
    )
    member = Run(tmp_path / "sweep" / "la_supervised_2labels_smoke_seed0")
    with in_a_process(words, tmp_path / "output") as process:
        until(lambda: steps(member) >= 2)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        until(member.state_path.is_file)


@linux
def test_a_killed_job_is_a_failure_and_the_others_go_on(tmp_path):
    calls = {"killed": partial(os._exit, 9), "fine": write_environment(tmp_path / "fine")}
    failed = jobs.run_jobs(calls, Resources(), tmp_path / "jobs")
    assert (tmp_path / "fine").is_file()
    assert list(failed) == ["killed"] and "ended without a result" in failed["killed"].reason


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("prepared_again", ["a training case", "a test case", "a test list"])
def test_a_finished_run_of_other_data_is_not_kept(la_root, tmp_path, capsys, prepared_again):
    words = command(la_root, tmp_path / "sweep", "--seeds", 0, "--methods", "supervised")
    words += ["--dry-run"]
    experiment = Experiment("la", "smoke", root=str(la_root), **SETTINGS)
    run_folder = tmp_path / "sweep" / "la_supervised_2labels_smoke_seed0"
    TRAIN_AND_MEASURE(experiment, run_folder)
    assert run(capsys, words)[:2] == (
        0,
        f"{run_folder.name}  finished\n1 runs, 1 finished, 0 to do.\n",
    )
    before = hashes(run_folder)
    if prepared_again != "a test list":
        case = TRAIN[3] if prepared_again == "a training case" else TEST[0]
        with h5py.File(la_root / case / "mri_norm2.h5", "r+") as file:
            file["image"][0, 0, 0] += 1
    else:
        (la_root / "test.list").write_text("TESTA\n")
    status, shown, error = run(capsys, words)
    assert (status, shown) == (1, "")
    what = "test cases" if prepared_again == "a test case" else "data"
    assert f"{run_folder}: the {what} have changed since this run was" in error
    assert hashes(run_folder) == before


@linux
def test_slurm_job_that_is_preempted_goes_on_from_its_checkpoint(la_root, tmp_path, monkeypatch):
    from submitit import JobEnvironment, SlurmJob

    monkeypatch.setattr(JobEnvironment, "USR_SIG", "USR1")  # what jobs are warned with
    install(tmp_path / "bin")
    (tmp_path / "cluster").mkdir()
    monkeypatch.setenv("FAKE_SLURM", str(tmp_path / "cluster"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    out = tmp_path / "sweep"
    words = command(la_root, out, "--seeds", 0, "--methods", "supervised", steps=60)
    words += ["--cluster", "slurm", "--gpus", "1", "--hours", "2"]
    words += ["--cpus", "1"]
    member = Run(out / "la_supervised_2labels_smoke_seed0")
    folder = out / "jobs" / member.folder.name
    with in_a_process(words, tmp_path / "output") as process:
        until(lambda: steps(member) >= 2)
        os.kill(process.pid, signal.SIGKILL)  # the login session is gone, the job is not
        process.join()
    with in_a_process(words, tmp_path / "output2") as process:
        SlurmJob(folder, "100")._interrupt(timeout=False)  # SIGTERM, then the warning
        process.join()
    assert process.exitcode == 0, (tmp_path / "output2").read_text(encoding="utf-8")
    assert member.finished and member.record_path().is_file()
    assert [line["step"] for line in member.log()] == list(range(1, 61))
    assert len(list(folder.glob("*_submitted.pkl"))) == 1  # not submitted a second time
    log = (folder / "100_0_log.out").read_text(encoding="utf-8")
    assert "Requeued job 100" in log
    # Its bar starts where the first left off: no checkpoint was due, so it is the signal's.
    second = log.split("Requeued job 100")[1]
    assert int(re.search(r"\| (\d+)/60 \[", second)[1]) >= 2
    script = (tmp_path / "cluster" / "100.script").read_text(encoding="utf-8")
    for line in (
        "gpus-per-node=1",
        "time=120",
        "cpus-per-task=1",
        "requeue",
        "signal=USR1@90",
    ):
        assert f"#SBATCH --{line}\n" in script
    assert "export OMP_NUM_THREADS=1" in script


@linux
@pytest.mark.parametrize("warned", [True, False])
@pytest.mark.parametrize("usual", [True, False])
def test_a_job_goes_on_later_if_slurm_warned_it_in_whatever_order(monkeypatch, warned, usual):
    """Slurm's SIGTERM and its warning, both of which a training answers with one checkpoint."""
    monkeypatch.setattr(slurm, "GRACE", 0.1)
    numbers = [signal.SIGTERM, *[signal.SIGUSR1] * warned][:: 1 if usual else -1]

    def call():
        with stop_noted() as received:
            for each in numbers:
                signal.raise_signal(each)
            raise Interrupted(received[0], received)

    def queue_again(number, frame):
        raise SystemExit("queued again")

    before = signal.signal(signal.SIGUSR1, queue_again)  # as submitit does
    try:
        with pytest.raises(SystemExit if warned else Interrupted):
            slurm.Requeued(call)()
    finally:
        signal.signal(signal.SIGUSR1, before)


@linux
def test_workers_share_the_cores_and_take_the_gpus_in_turn(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    calls = {str(i): write_environment(tmp_path / str(i)) for i in range(2)}
    assert jobs.run_jobs(calls, Resources(workers=2), tmp_path / "jobs") == {}
    found = sorted((tmp_path / name).read_text(encoding="utf-8") for name in calls)
    assert found == ["4 threads, GPU 3", "4 threads, GPU 5"]
    assert os.environ["OMP_NUM_THREADS"] == "1"


def write_environment(path: Path) -> partial:
    """A call that writes what its job was given (without Python: conftest sets the threads)."""
    line = "$OMP_NUM_THREADS threads, GPU $CUDA_VISIBLE_DEVICES"
    return partial(subprocess.run, ["sh", "-c", f'printf "{line}" > {path}'], check=True)


@linux
def test_notebooks_run_as_jobs_over_values_of_a_parameter(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("dualseg.course.authoring.notebook_files.run_notebook", write_parameters)
    folder = Path(__file__).parent.parent / "notebooks"
    words = ["notebooks", "run", "02", "--folder", folder, "--out", tmp_path, "--workers", 2]
    words += ["-p", "profile", "smoke", "--over", "seed", 4, 5]
    status, shown, error = run(capsys, list(map(str, words)))
    assert status == 1 and "1 of 2 notebooks failed" in error
    (kept,) = tmp_path.glob("seed_*/02_*.ipynb")
    assert kept.parent.name == "seed_4"
    assert json.loads(kept.read_text(encoding="utf-8")) == {"profile": "smoke", "seed": "4"}
    assert re.search(rf"_seed_4: see {re.escape(str(kept))}", shown)
    assert re.search(r"_seed_5: failed, see /.*log\.txt", shown)
    assert (shown + error).count("cell 3 failed.") == 1


def write_parameters(path, given, out):
    if given["seed"] == "5":
        raise DualsegError("cell 3 failed.")
    out.mkdir()
    (out / path.name).write_text(json.dumps(given))


def names(**changes) -> list[str]:
    given = {"datasets": ["phantom"], "methods": ["supervised", "dual"], "labeled": [4]}
    given |= {"presets": ["paper", "improved"], "seeds": [0], "profile": "smoke"}
    return [member.name for member in plan(Path("runs"), **(given | changes))]


def test_plan_has_each_run_once():
    assert names() == [
        "phantom_supervised_4labels_smoke_seed0",
        "phantom_dual_paper_4labels_smoke_seed0",
        "phantom_dual_improved_4labels_smoke_seed0",
    ]
    assert len(names(seeds=[0, 1, 1, 2], labeled=[4, 8])) == 3 * 2 * 3
    assert names(presets=[], methods=["dual", "ua_mt"]) == [
        "phantom_dual_paper_4labels_smoke_seed0",
        "phantom_ua_mt_default_4labels_smoke_seed0",
    ]
    assert names(labeled=[], datasets=["la=/data"], methods=["supervised"]) == [
        "la_supervised_8labels_smoke_seed0"
    ]


def test_settings_are_read_as_what_they_are():
    settings = ["patch=8,8,8", "stride=8,8,8", "learning_rate=1", "flips=true", "schedule=step"]
    members = plan(
        Path("runs"), ["phantom"], ["dual"], ["paper"], [4], [3], "smoke", [*settings, "gamma=90"]
    )
    wanted = {"patch": (8, 8, 8), "stride": (8, 8, 8), "learning_rate": 1.0, "flips": True}
    wanted |= {"schedule": "step", "gamma": 90.0}
    wanted = Experiment("phantom", "smoke", "paper", labeled=4, seed=3, **wanted)
    assert [member.experiment for member in members] == [wanted]


def test_a_setting_that_python_cannot_read_is_one_sentence():
    with pytest.raises(DualsegError, match="seed: expected a value of type int, like 0, found '{"):
        read_as(0, "{[1]: 2}", "seed")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"methods": ["mt"]}, "methods: expected one of"),
        ({"presets": ["best"]}, "preset: expected one of"),
        ({"datasets": ["nowhere"]}, "dataset: expected one of"),
        ({"seeds": []}, "seeds: expected at least one"),
        ({"labeled": [0]}, "labeled: expected a whole number of at least 1"),
        ({"settings": ["seed=3"]}, "--set: expected NAME=VALUE with one of"),
        ({"settings": ["iterations"]}, "--set: expected NAME=VALUE"),
        (
            {"settings": ["iterations=2.5"]},
            "--set iterations: expected a value of type int, like 6, found '2.5'",
        ),
        ({"settings": ["flips=maybe"]}, "--set flips: expected a value of type bool, like False"),
        ({"settings": ["patch={[]}"]}, "--set patch: expected a value of type tuple, like"),
    ],
)
def test_bad_input_is_refused_before_anything_starts(changes, words):
    with pytest.raises(DualsegError, match=re.escape(words)):
        names(**changes)


def test_data_that_are_not_there_are_missed_before_anything_starts(la_root, tmp_path, capsys):
    missing = tmp_path / "nowhere"
    words = ["sweep", "--out", str(tmp_path / "sweep"), "--profile", "smoke", "--dry-run"]
    status, shown, error = run(capsys, [*words, "--dataset", f"la={missing}", "--labeled", "2"])
    assert (status, shown) == (1, "") and str(missing) in error
    status, shown, error = run(capsys, [*words, "--dataset", f"la={la_root}", "--labeled", "99"])
    assert (status, shown) == (1, "") and "labeled: expected at most" in error
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"cluster": "pbs"}, "cluster: expected one of local, slurm"),
        ({"workers": 0}, "workers: expected a whole number of at least 1"),
        ({"hours": 0.0}, "hours: expected a finite number of at least 0.1"),
    ],
)
def test_resources_that_cannot_be_are_refused(given, words):
    with pytest.raises(DualsegError, match=words):
        Resources(**given)


def test_without_slurm_a_sentence_says_where_to_run(monkeypatch, tmp_path):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DualsegError, match="run this on a login node of the cluster"):
        jobs.run_jobs({"a": print}, Resources(cluster="slurm"), tmp_path)


def test_without_submitit_a_sentence_says_how_to_get_it(monkeypatch, tmp_path):
    install(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(DualsegError, match="pip install -c constraints.txt -e"):
        jobs.run_jobs({"a": print}, Resources(cluster="slurm"), tmp_path)


def test_a_run_that_another_process_is_at_is_waited_for(small, tmp_path, monkeypatch):
    tries = []

    def busy(experiment, folder, resume):
        tries.append(folder)
        if len(tries) < 3:
            raise InUse(f"{folder}: is in use by another process.")
        raise DualsegError("then something else")

    monkeypatch.setattr(sweeping, "fit", busy)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(DualsegError, match="something else"):
        TRAIN_AND_MEASURE(small, tmp_path)
    assert len(tries) == 3


def test_a_loss_that_is_not_finite_is_a_failure_with_its_sentence(small, tmp_path, la_root):
    with h5py.File(la_root / TRAIN[0] / "mri_norm2.h5", "r+") as file:
        file["image"][...] = np.nan
    with pytest.raises(DualsegError) as failure:
        TRAIN_AND_MEASURE(small, tmp_path / "run")
    assert TRAIN[0] in str(failure.value)


def test_spread_over_seeds():
    def over(*values):
        return mean_of_runs([{"mean": {"hd95": value}} for value in values], "hd95")

    assert over(70.0, 74.0) == "72.00 ± 2.83"
    assert over(70.0) == "70.00"
    assert over(None, 3.0, 5.0) == "4.00 ± 1.41 (n = 2)"
    assert over(None) == "none"
    assert over_seeds([]).split() == ["data", "method", "preset", "labels", "n", "seeds"] + [
        word for name in sweeping.MEASURES for word in name.split()
    ]
