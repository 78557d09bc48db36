"""Training: what a run leaves, resuming bit for bit, and what stops it."""

import errno
import gc
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import torch
from conftest import TRAIN, ball_case, small_experiment, write_la_case
from torch.utils._python_dispatch import TorchDispatchMode

import dualseg._util.files
from dualseg._util.signals import Interrupted, exit_status
from dualseg.cli.main import main
from dualseg.config.training import Progress, TrainConfig
from dualseg.data.known import dataset_spec
from dualseg.errors import DualsegError
from dualseg.evaluation.evaluate import evaluate
from dualseg.methods import METHODS, build_method
from dualseg.runs.checkpoints import load_optimizers, read_checkpoint, write_checkpoint
from dualseg.runs.run import Run
from dualseg.training import loop as training, start as run_start
from dualseg.training.loop import fit

PAIR = ("dual", "supervised")  # the other methods: test_every_method.py


@pytest.fixture(scope="module")
def undisturbed(shared_la, tmp_path_factory) -> dict[str, Run]:
    """Finished runs with the settings of `small`, by method; tests only read them."""
    small, place = small_experiment(shared_la), tmp_path_factory.mktemp("undisturbed")
    return {method: fit(small.replace(method=method), place / method) for method in PAIR}


@pytest.fixture
def finished(undisturbed, tmp_path) -> Run:
    """A copy of the finished run of `dual`, for this test alone."""
    return Run(shutil.copytree(undisturbed["dual"].folder, tmp_path / "run"))


def weights(run: Run) -> dict[str, torch.Tensor]:
    return read_checkpoint(run.weights_path)[0]


def assert_same_weights(a: Run, b: Run) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("method", PAIR)
def test_a_run_leaves_config_data_log_and_weights(small, shared_la, undisturbed, method):
    run = undisturbed[method]
    info = run.info()
    assert run.finished
    assert not run.state_path.exists()
    assert run.experiment() == small.replace(method=method, root=str(shared_la))
    assert info["data"]["split"]["labeled"] == TRAIN[:2]
    assert info["data"]["split"]["validation"] == TRAIN[6:]
    assert info["data"]["largest_shape"] == [48, 36, 22]
    assert info["training"]["step"] == 6
    assert info["training"]["seconds"] > 0
    assert info["training"]["peak_memory_mb"] > 50
    log = run.log()
    assert [line["step"] for line in log] == [1, 2, 3, 4, 5, 6]
    weights = build_method(run.experiment(), dataset_spec("la")).weights(Progress(2, 6))
    measured = set(log[2]) - {"step", "learning_rate", "loss"} - set(weights)
    assert ("disagreement" in measured) == (method == "dual")
    total = sum(weight * log[2][name] for name, weight in weights.items())
    assert log[2]["loss"] == pytest.approx(total)


@pytest.mark.slow
def test_training_learns_the_ball(small, tmp_path):
    run = fit(
        small.replace(iterations=60, learning_rate=0.05, filters=4, checkpoint_every=1000),
        tmp_path / "run",
    )
    losses = [line["loss"] for line in run.log()]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])


def test_same_seed_same_weights_other_seed_other_weights(small, undisturbed, tmp_path):
    assert_same_weights(undisturbed["dual"], fit(small, tmp_path / "same", max_minutes=1e9))
    with pytest.raises(AssertionError):
        assert_same_weights(undisturbed["dual"], fit(small.replace(seed=1), tmp_path / "other"))


@pytest.mark.fault(
    "an exception at any step",
    "resumed, weights and log are bit for bit those of an undisturbed run",
)
@pytest.mark.parametrize("method", PAIR)
@pytest.mark.parametrize("crash_at", [1, 2, 3, 5])
def test_resumed_after_a_crash_bit_identical(
    small, undisturbed, tmp_path, monkeypatch, crash_at, method
):
    small, whole = small.replace(method=method), undisturbed[method]
    step = training._Training.train_step

    def crash(self, progress):
        if progress.step == crash_at:
            raise RuntimeError("power cut")
        return step(self, progress)

    monkeypatch.setattr(training._Training, "train_step", crash)
    with pytest.raises(RuntimeError, match="power cut"):
        fit(small, tmp_path / "cut")
    monkeypatch.undo()
    assert_same_weights(whole, fit(small, tmp_path / "cut", resume=True))
    logs = whole.log(), Run(tmp_path / "cut").log()
    for log in logs:
        seconds = [line.pop("seconds") for line in log]
        assert seconds[0] > 0 and seconds == sorted(set(seconds))
    assert logs[0] == logs[1]


@pytest.mark.fault(
    "kill -9 from outside, then --resume on the command line",
    "the weights are bit for bit those of an undisturbed run",
)
@pytest.mark.slow
def test_killed_process_resumes_bit_identical(small, tmp_path, capsys):
    """SIGKILL half way, from outside, then --resume on the command line."""
    small = small.replace(iterations=16, checkpoint_every=5)
    whole = fit(small, tmp_path / "whole")
    out = tmp_path / "killed"
    command = [
        sys.executable,
        "-m",
        "dualseg",
        "train",
        "--dataset",
        "la",
        "--profile",
        "smoke",
        "--root",
        small.root,
        "--out",
        str(out),
        "--labeled",
        "2",
        "--validation",
        "2",
        "--iterations",
        "16",
        "--checkpoint-every",
        "5",
        "--filters",
        "2",
        "--resolution",
        "half",
        "--patch",
        "16",
        "16",
        "16",
        "--stride",
        "8",
        "8",
        "8",
        "--flips",
    ]
    # As many threads as here: sums are taken in another order with another number.
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, encoding="utf-8")
    deadline = time.time() + 120
    while len(Run(out).log()) < 7:
        assert process.poll() is None, process.stderr.read()
        assert time.time() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not Run(out).finished
    words = [*command[3:], "--resume"]
    assert main(words) == 0
    assert "finished, 16 steps" in capsys.readouterr().out
    assert_same_weights(whole, Run(out))
    assert main(words) == 0
    assert "this run is finished; nothing to do" in capsys.readouterr().out


@pytest.mark.fault(
    "Ctrl-C, SIGTERM or SIGUSR1 during a training",
    "the step is finished, a checkpoint is written; resumed bit for bit",
)
@pytest.mark.skipif(sys.platform == "win32", reason="signals differ on Windows")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_signal_writes_a_checkpoint_and_resumes(small, undisturbed, tmp_path, monkeypatch, name):
    number = getattr(signal, name)  # Windows has no SIGUSR1
    handler = signal.getsignal(number)
    small = small.replace(checkpoint_every=1000)
    step = training._Training.train_step

    def interrupted_step(self, progress):
        if progress.step == 3:
            os.kill(os.getpid(), number)
        return step(self, progress)

    monkeypatch.setattr(training._Training, "train_step", interrupted_step)
    with pytest.raises(Interrupted) as stopped:
        fit(small, tmp_path / "cut")
    assert exit_status(stopped.value) == 128 + number
    run = Run(tmp_path / "cut")
    assert read_checkpoint(run.state_path)[1]["step"] == 4
    assert len(run.log()) == 4
    monkeypatch.undo()
    assert signal.getsignal(number) == handler
    assert_same_weights(undisturbed["dual"], fit(small, tmp_path / "cut", resume=True))


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ on Windows")
def test_a_second_signal_while_the_first_is_answered_is_told_too(small, tmp_path, monkeypatch):
    step, save = training._Training.train_step, training._Training.save

    def interrupted_step(self, progress):
        signal.raise_signal(signal.SIGTERM)
        return step(self, progress)

    def interrupted_save(self, log):
        save(self, log)
        signal.raise_signal(signal.SIGUSR1)

    monkeypatch.setattr(training._Training, "train_step", interrupted_step)
    monkeypatch.setattr(training._Training, "save", interrupted_save)
    with pytest.raises(Interrupted) as stopped:
        fit(small, tmp_path / "run")
    assert stopped.value.number == signal.SIGTERM
    assert stopped.value.received == [signal.SIGTERM, signal.SIGUSR1]


@pytest.mark.fault(
    "SIGTERM in the last step of a training",
    "the run is finished; whoever called it is told to stop",
)
def test_a_signal_in_the_last_step_is_not_lost(small, undisturbed, tmp_path, monkeypatch):
    step = training._Training.train_step

    def interrupted_step(self, progress):
        if progress.step == small.train.iterations - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, progress)

    monkeypatch.setattr(training._Training, "train_step", interrupted_step)
    with pytest.raises(Interrupted) as stopped:
        fit(small, tmp_path / "run")
    assert stopped.value.number == signal.SIGTERM
    assert Run(tmp_path / "run").finished and not Run(tmp_path / "run").state_path.exists()
    assert_same_weights(Run(tmp_path / "run"), undisturbed["dual"])


def run_in_pieces(experiment, out) -> list[Run]:
    """Calls whose time is up at once, until the run is finished; what each of them returned."""
    runs = [fit(experiment, out, max_minutes=1e-9)]
    while not runs[-1].finished:
        assert read_checkpoint(runs[-1].state_path)[1]["step"] == len(runs[-1].log()) == len(runs)
        runs.append(fit(experiment, out, resume=True, max_minutes=1e-9))
    return runs


@pytest.mark.fault(
    "the minutes of --max-minutes are up",
    "a checkpoint and the exit status 75; call after call, the same weights, bit for bit",
)
@pytest.mark.parametrize("method", PAIR)
@pytest.mark.slow
def test_minutes_that_are_up_end_a_call_with_a_checkpoint(
    small, undisturbed, tmp_path, observed, method
):
    small = small.replace(method=method, checkpoint_every=1000)
    runs = run_in_pieces(small, tmp_path / "pieces")
    assert_same_weights(runs[-1], undisturbed[method])
    observed(f"{len(runs)} calls of a step each; the same weights")
    assert len(runs) == small.train.iterations


def test_the_command_says_how_to_go_on_when_its_minutes_are_up(small, tmp_path, capsys):
    out = tmp_path / "run"
    words = ["train", "--out", str(out), "--dataset", "la", "--root", small.root, "--filters", "2"]
    words += ["--profile", "smoke", "--labeled", "2", "--iterations", "2", "--resolution", "half"]
    words += ["--patch", "16", "16", "16", "--stride", "8", "8", "8", "--max-minutes", "1e-9"]
    assert main(words) == 75
    said = capsys.readouterr().out
    assert "stopped after 1e-09 minutes, with a checkpoint at step 1 of 2; go on with" in said
    assert f"`dualseg train --out {out} --resume`" in said
    assert main(["train", "--out", str(out), "--resume", "--max-minutes", "1e-9"]) == 0
    assert "finished, 2 steps" in capsys.readouterr().out


@pytest.mark.parametrize("minutes", [0, -1.0, float("nan"), "9"])
def test_minutes_that_are_none(small, tmp_path, minutes):
    with pytest.raises(DualsegError, match="max_minutes: expected a number of minutes above 0, fo"):
        fit(small, tmp_path / "run", max_minutes=minutes)
    assert not (tmp_path / "run").exists()


def test_finished_run_is_left_alone(finished):
    before = finished.weights_path.stat().st_mtime_ns
    assert fit(finished.experiment(), finished.folder, resume=True).finished
    assert finished.weights_path.stat().st_mtime_ns == before


def test_existing_run_is_not_overwritten(finished):
    with pytest.raises(DualsegError, match="holds a finished run already; measure it with"):
        fit(finished.experiment(), finished.folder)


@pytest.mark.fault(
    "a resume with other settings",
    "refused, naming the settings and both values",
)
def test_resume_with_other_settings_is_refused(finished):
    words = "started with seed = 0, iterations = 6, now asked for seed = 1, iterations = 9; resume"
    with pytest.raises(DualsegError, match=words):
        fit(finished.experiment().replace(iterations=9, seed=1), finished.folder, resume=True)


def test_resume_with_another_method_is_refused(small, tmp_path, monkeypatch):
    """Which has settings that the run's own has not."""
    monkeypatch.setattr(training._Training, "run_to_end", lambda self: None)
    fit(small.replace(method="supervised"), tmp_path / "run")
    words = "with method = 'supervised', preset = 'default', now asked for method = 'dual', pres"
    with pytest.raises(DualsegError, match=words):
        fit(small, tmp_path / "run", resume=True)


@pytest.mark.fault(
    "a resume with other data",
    "refused by the fingerprint",
)
def test_resume_with_changed_data_is_refused(small, la_root, tmp_path, monkeypatch):
    monkeypatch.setattr(training._Training, "run_to_end", lambda self: None)
    fit(small, tmp_path / "run")
    write_la_case(la_root, TRAIN[0], *ball_case(123))
    with pytest.raises(DualsegError, match="data have changed since this run was started"):
        fit(small, tmp_path / "run", resume=True)


@pytest.mark.fault(
    "the data have moved",
    "a resume takes them from the new place: the fingerprint is of the values",
)
def test_moved_data_are_the_same_data(small, la_root, tmp_path, monkeypatch):
    monkeypatch.setattr(training._Training, "run_to_end", lambda self: None)
    fit(small, tmp_path / "run")
    moved = la_root.rename(tmp_path / "moved")
    fit(small.replace(root=str(moved)), tmp_path / "run", resume=True)


@pytest.mark.fault(
    "a loss that is not a number",
    "stops, naming step, term and cases; the last checkpoint is from before",
)
def test_nan_names_step_term_and_cases_and_keeps_the_checkpoint(small, tmp_path, monkeypatch):
    loss = METHODS["dual"].loss

    def poisoned(self, batch, progress):
        terms = loss(self, batch, progress)
        if progress.step == 3:
            terms["cross_pseudo"] = terms["cross_pseudo"] * float("nan")
        return terms

    monkeypatch.setattr(METHODS["dual"], "loss", poisoned)
    with pytest.raises(DualsegError, match="step 4: the loss term 'cross_pseudo' is nan for") as e:
        fit(small, tmp_path / "run")
    assert sum(case in str(e.value) for case in TRAIN) == 4
    run = Run(tmp_path / "run")
    tensors, progress = read_checkpoint(run.state_path)
    assert progress["step"] == 2
    assert all(t.isfinite().all() for t in tensors.values())
    assert len(run.log()) == 3


@pytest.mark.fault(
    "the disk is full at a later checkpoint",
    "the earlier one stays, and the training goes on from it, bit for bit",
)
@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="no /proc here")
def test_full_disk_keeps_the_old_checkpoint(small, undisturbed, tmp_path, monkeypatch):
    """The second checkpoint fails; the first one is still there, and the run goes on from it."""
    fsync, checkpoints = os.fsync, []

    def full(descriptor):
        if "state.safetensors" in os.readlink(f"/proc/self/fd/{descriptor}"):
            checkpoints.append(descriptor)
            if len(checkpoints) == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(dualseg._util.files.os, "fsync", full)
    with pytest.raises(
        DualsegError, match=r"state.safetensors: could not be written .No space left"
    ):
        fit(small, tmp_path / "cut")
    monkeypatch.undo()
    assert read_checkpoint(Run(tmp_path / "cut").state_path)[1]["step"] == 2
    assert_same_weights(undisturbed["dual"], fit(small, tmp_path / "cut", resume=True))


@pytest.mark.fault(
    "the disk is full when a log line is written",
    "one sentence; the last checkpoint is unchanged",
)
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_full_disk_while_logging_is_one_sentence(small, tmp_path, monkeypatch):
    monkeypatch.setattr(
        training._Training, "_cut_log", lambda self: self.run.log_path.symlink_to("/dev/full")
    )
    with pytest.raises(DualsegError, match=r"log.jsonl: could not be written .No space left"):
        fit(small, tmp_path / "run")


@pytest.mark.fault(
    "half files that killed processes left in a run",
    "removed by the next process that holds the folder",
)
def test_temporary_files_of_killed_writes_are_removed(small, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(training._Training, "run_to_end", lambda self: None)
        run = fit(small, tmp_path / "run")
    left = run.folder / ".state.safetensors.abc123.tmp"
    left.write_bytes(b"half a checkpoint")
    fit(small, tmp_path / "run", resume=True)
    assert not left.exists()


def test_restored_momentum_lies_in_memory_as_it_was(small, tmp_path):
    """Not as views of the file, which is to be replaced; in the channels-last layout of weights."""
    method = build_method(small, dataset_spec("la"))
    optimizer = method.optimizers(small.train)["main"]
    method(torch.randn(2, 1, 16, 16, 16))[0].logits.sum().backward()
    optimizer.step()
    write_checkpoint(tmp_path / "state.safetensors", method, {"main": optimizer}, {"step": 1})
    other = build_method(small, dataset_spec("la"))
    restored = other.optimizers(small.train)["main"]
    path = tmp_path / "state.safetensors"
    load_optimizers({"main": restored}, read_checkpoint(path)[0], path)
    before, after = optimizer.state_dict()["state"], restored.state_dict()["state"]
    assert before.keys() == after.keys()
    for index in before:
        first, second = before[index]["momentum_buffer"], after[index]["momentum_buffer"]
        assert torch.equal(first, second)
        sides = [d for d in range(first.ndim) if first.shape[d] > 1]  # else strides mean nothing
        assert [first.stride(d) for d in sides] == [second.stride(d) for d in sides]


def test_one_sample_that_batch_norm_cannot_take(small, tmp_path):
    one = small.replace(method="supervised", labeled_batch=1)
    with pytest.raises(DualsegError, match="patch: expected a side above 16 for a batch of one"):
        fit(one, tmp_path / "run")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU trains in bfloat16")
def test_a_cpu_does_not_train_in_bfloat16(small, tmp_path):
    """With torch 2.13 the weights of the deepest level got gradients of 1e33 and NaN there."""
    with pytest.raises(DualsegError, match="precision: expected 'auto' or 'float32' .* on a CPU"):
        fit(small.replace(precision="bfloat16"), tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()
    only = small.replace(method="ss_net", precision="bfloat16", iterations=1)
    assert fit(only, tmp_path / "ss_net").info()["precision"] == "float32"  # always so


def test_a_session_on_another_machine_is_noted(small, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(training._Training, "run_to_end", lambda self: None)
        run = fit(small, tmp_path / "run")
    first = run.info()["device"]
    monkeypatch.setattr(run_start, "describe_device", lambda device: "another machine")
    fit(small, tmp_path / "run", resume=True)
    info = run.info()
    assert info["device"] == first
    assert [session["device"] for session in info["sessions"]] == ["another machine"]


class Reads(TorchDispatchMode):
    """Notes the operations for which the host would have to wait until a GPU knows a value."""

    waiting = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal")

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        masks = [i for i in (args[1] if name == "index" else ()) if i is not None]
        if name in self.waiting or any(index.dtype == torch.bool for index in masks):
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("changes", [{}, {"percentile_within": "class"}, {"method": "supervised"}])
def test_nothing_in_a_step_waits_for_a_value(small, tmp_path, monkeypatch, changes):
    step, reads = training._Training.train_step, Reads()

    def watched(self, progress):
        with reads:
            return step(self, progress)

    monkeypatch.setattr(training._Training, "train_step", watched)
    fit(small.replace(iterations=2, **changes), tmp_path / "run")
    assert reads.seen == []
    with reads:
        assert torch.ones(1).item() == 1 and torch.ones(2)[torch.tensor([True, False])] == 1
    assert {"_local_scalar_dense", "index"} <= set(reads.seen), "else this test could not fail"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_trains_resumes_and_evaluates(small, tmp_path, monkeypatch):
    step = training._Training.train_step

    def crash(self, progress):
        if progress.step == 3:
            raise RuntimeError("power cut")
        return step(self, progress)

    with monkeypatch.context() as patch:
        patch.setattr(training._Training, "train_step", crash)
        with pytest.raises(RuntimeError, match="power cut"):
            fit(small, tmp_path / "run")
    run = fit(small, tmp_path / "run", resume=True)
    assert len(run.log()) == 6
    assert len(evaluate(run.folder)["cases"]) == 2


@pytest.mark.fault(
    "a log whose last line is torn",
    "the torn line is left out",
)
def test_torn_log_line_is_dropped(finished):
    whole = finished.log()
    with finished.log_path.open("a") as file:
        file.write('{"step": 7, "loss"')
    assert finished.log() == whole


def test_unknown_method(small, tmp_path):
    with pytest.raises(
        DualsegError, match="method: expected one of .*dual, .*supervised, .*found 'magic'"
    ):
        fit(small.replace(method="magic"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_dual_without_unlabeled_cases_is_refused(small, tmp_path):
    with pytest.raises(DualsegError, match="needs unlabeled cases, found none left of 8 with 6"):
        fit(small.replace(labeled=6), tmp_path / "run")
    assert fit(small.replace(labeled=6, method="supervised"), tmp_path / "run").finished


def test_volume_smaller_than_the_patch_is_padded(small, tmp_path):
    run = fit(small.replace(patch=(32, 32, 32), stride=(16, 16, 16)), tmp_path / "run")
    assert run.finished  # half resolution: volumes of about 20 x 18 x 11


@pytest.mark.fault(
    "weights of other networks",
    "refused, naming the tensor and both shapes",
)
def test_checkpoint_of_another_architecture(small, finished):
    other = build_method(small.replace(filters=4), dataset_spec("la"))
    write_checkpoint(finished.weights_path, other, {}, {"step": 6})
    with pytest.raises(DualsegError, match="holds other networks than .*tensor 'a.decoder.blocks"):
        finished.load_method(torch.device("cpu"))


@pytest.mark.fault(
    "damaged weights of a finished run",
    "one sentence that names the file",
)
@pytest.mark.parametrize("damage", ["truncated", "text", "empty"])
def test_damaged_checkpoint(finished, damage):
    content = finished.weights_path.read_bytes()
    finished.weights_path.write_bytes(
        {"truncated": content[: len(content) // 2], "text": b"hello", "empty": b""}[damage]
    )
    with pytest.raises(DualsegError, match=r"last.safetensors: expected a checkpoint .*damaged"):
        finished.load_method(torch.device("cpu"))


def test_unfinished_run_is_not_loaded(small, tmp_path, monkeypatch):
    monkeypatch.setattr(training._Training, "run_to_end", lambda self: None)
    run = fit(small, tmp_path / "run")
    with pytest.raises(DualsegError, match="expected a finished run.*--resume"):
        run.load_method(torch.device("cpu"))


def test_folder_without_a_run(tmp_path):
    with pytest.raises(DualsegError, match="expected the folder of a run"):
        Run.open(tmp_path)


def test_learning_rate_steps_of_the_paper():
    config = TrainConfig()
    rates = [config.learning_rate_at(Progress(step, 6000)) for step in (0, 2499, 2500, 4999, 5000)]
    assert rates == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3, 1e-4])
    short = [config.learning_rate_at(Progress(step, 12)) for step in (4, 5, 9, 10)]
    assert short == pytest.approx([1e-2, 1e-3, 1e-3, 1e-4])


def test_polynomial_learning_rate():
    config = TrainConfig(schedule="poly")
    assert config.learning_rate_at(Progress(0, 20000)) == pytest.approx(0.01)
    assert config.learning_rate_at(Progress(10000, 20000)) == pytest.approx(0.01 * 0.5**0.9)


def test_reading_a_checkpoint_again_and_again_leaves_nothing_behind(undisturbed):
    path = undisturbed["dual"].weights_path

    def blocks_after(reads: int) -> int:
        for _ in range(reads):
            tensors, _ = read_checkpoint(path)
        assert len(tensors) > 100
        del tensors
        gc.collect()
        return sys.getallocatedblocks()

    before = blocks_after(2)
    assert blocks_after(5) - before < 100


def test_the_callers_process_is_as_it_was_before(small, tmp_path, monkeypatch):
    def ready_device():
        torch.backends.cudnn.benchmark = True  # as on a GPU
        warnings.simplefilter("error")
        return torch.device("cpu")

    monkeypatch.setattr(training, "ready_device", ready_device)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    filters = warnings.filters[:]
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    fit(small.replace(iterations=1), tmp_path / "run")
    assert torch.equal(torch.rand(3), expected)
    assert torch.backends.cudnn.benchmark is False
    assert warnings.filters == filters
    torch.manual_seed(11)
    Run(tmp_path / "run").load_method(torch.device("cpu"))
    assert torch.equal(torch.rand(3), expected)
