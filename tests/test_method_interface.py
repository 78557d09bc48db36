"""What a method may ask of the training loop, shown by the toy method, and how it is taken up."""

import json
import os
import signal
import sys

import pytest
import torch
from ranks import become, exit_codes, free_ports
from toy_method import Toy, ToySettings

from dualseg.cli.main import main
from dualseg.config.experiment import Experiment
from dualseg.config.training import Progress
from dualseg.data.batches import BatchSampler
from dualseg.data.dataset import open_dataset
from dualseg.errors import DualsegError
from dualseg.methods import METHODS, Method, build_method
from dualseg.runs.checkpoints import read_checkpoint
from dualseg.runs.run import Run
from dualseg.training.loop import _step_seed, fit

STEPS = 8


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(METHODS, "toy", Toy)


@pytest.fixture
def toy(small) -> Experiment:
    """Eight steps of four labeled and four unlabeled crops, a checkpoint after every second."""
    start = Experiment("la", "smoke", "own", method="toy", root=small.root, labeled=4, validation=0)
    sizes = {"patch": (16, 16, 16), "stride": (8, 8, 8), "resolution": "half"}
    return start.replace(iterations=STEPS, checkpoint_every=2, learning_rate=0.05, **sizes)


def weights(run: Run) -> dict[str, torch.Tensor]:
    return read_checkpoint(run.weights_path)[0]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


def breaking(kind: type[Method], step: int) -> type[Method]:
    """The method, but the process breaks at the end of a step."""

    class Broken(kind):
        def after_step(self, progress):
            super().after_step(progress)
            if progress.step == step:
                raise RuntimeError("power cut")

    return Broken


def broken_and_resumed(experiment, out, step, monkeypatch) -> Run:
    kind = METHODS[experiment.method]
    with monkeypatch.context() as patch:
        patch.setitem(METHODS, experiment.method, breaking(kind, step))
        with pytest.raises(RuntimeError, match="power cut"):
            fit(experiment, out)
    return fit(experiment, out, resume=True)


def test_the_loop_does_what_the_method_asks(toy, tmp_path):
    """The same weights as a loop written out: two optimizers, own schedule, a fresh start."""
    run = fit(toy, tmp_path / "run")
    dataset = open_dataset("la", toy.root, "half")
    method = build_method(toy, dataset.spec).train()
    sampler = BatchSampler(dataset, dataset.split(4), toy.train, toy.seed, unlabeled=True)
    for step in range(STEPS):
        rate = 0.05 if step < STEPS // 2 else 0.05 * 0.1
        if step in (0, STEPS // 2):
            sgd = torch.optim.SGD(method.student.parameters(), 0.05, 0.9, weight_decay=1e-4)
            adam = torch.optim.Adam(method.critic.parameters(), 1e-3)
        sgd.param_groups[0]["lr"] = rate
        torch.manual_seed(_step_seed(toy.seed, step, 0))
        terms = method.loss(sampler.batch(step), Progress(step, STEPS))
        method.zero_grad()
        loss = terms["supervised"] + 0.5 * terms["teacher"] + terms["critic"] + 0.1 * terms["fool"]
        loss.backward()
        sgd.step()
        adam.step()
        for mine, its in zip(method.teacher.parameters(), method.student.parameters(), strict=True):
            mine.data.mul_(0.5).add_(its.data, alpha=0.5)  # "own" keeps half
    found = weights(run)
    for name, tensor in method.state_dict().items():
        torch.testing.assert_close(found[f"weight:{name}"], tensor, rtol=1e-6, atol=1e-7)
    log = run.log()
    assert [line["learning_rate"] for line in log] == [0.05] * 4 + [pytest.approx(0.005)] * 4
    assert [line["teacher"] for line in log[:4]] == [0.0] * 4
    assert [line["agreement"] is None for line in log] == [True] * 4 + [False] * 4


# Checkpoints are at 2, 4 (from where the optimizers start afresh) and 6.
@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 4, 5, 6])
def test_broken_off_and_resumed_bit_for_bit(toy, tmp_path, monkeypatch, step):
    whole = fit(toy, tmp_path / "whole")
    cut = broken_and_resumed(toy, tmp_path / "cut", step, monkeypatch)
    assert same(weights(whole), weights(cut))
    logs = whole.log(), cut.log()
    for log in logs:
        for line in log:
            del line["seconds"]
    assert logs[0] == logs[1]


def test_the_fresh_start_matters(toy, tmp_path, monkeypatch):
    whole = fit(toy, tmp_path / "whole")
    monkeypatch.setattr(Toy, "starts_afresh", lambda self, progress: False)
    assert not same(weights(whole), weights(fit(toy, tmp_path / "other")))


def test_the_shared_schedules_are_there_for_every_method(toy, tmp_path):
    run = fit(toy.replace(schedule="poly"), tmp_path / "run")
    rates = [line["learning_rate"] for line in run.log()]
    assert rates == pytest.approx([0.05 * (1 - step / STEPS) ** 0.9 for step in range(STEPS)])


OPTIMIZERS = {
    "AdamW": lambda p: torch.optim.AdamW(p, 1e-3, amsgrad=True),
    "RMSprop": lambda p: torch.optim.RMSprop(p, 1e-3, momentum=0.9, centered=True),
    "Adagrad": lambda p: torch.optim.Adagrad(p, 1e-3),
    "NAdam": lambda p: torch.optim.NAdam(p, 1e-3),
    "no momentum": lambda p: torch.optim.SGD(p, 1e-3),
}


def with_optimizer(name: str) -> type[Method]:
    class Other(Toy):
        def optimizers(self, config):
            trained = [p for p in self.parameters() if p.requires_grad]
            return {"main": OPTIMIZERS[name](trained)}

        def starts_afresh(self, progress):
            return False

    return Other


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_any_optimizer_is_resumed_bit_for_bit(toy, tmp_path, monkeypatch, name):
    monkeypatch.setitem(METHODS, "toy", with_optimizer(name))
    whole = fit(toy, tmp_path / "whole")
    cut = broken_and_resumed(toy, tmp_path / "cut", 5, monkeypatch)
    assert same(weights(whole), weights(cut))


def test_the_state_of_another_optimizer_is_refused(toy, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(METHODS, "toy", breaking(with_optimizer("AdamW"), 5))
        with pytest.raises(RuntimeError, match="power cut"):
            fit(toy, tmp_path / "run")
    for name in ("RMSprop", "no momentum"):
        monkeypatch.setitem(METHODS, "toy", with_optimizer(name))
        with pytest.raises(DualsegError, match="holds the state of another optimizer than the run"):
            fit(toy, tmp_path / "run", resume=True)
    monkeypatch.setitem(METHODS, "toy", Toy)  # has two
    with pytest.raises(DualsegError, match="holds the state of another optimizer than the run"):
        fit(toy, tmp_path / "run", resume=True)


def test_each_term_teaches_its_own_side(toy):
    dataset = open_dataset("la", toy.root, "half")
    method = build_method(toy, dataset.spec).train()
    batch = BatchSampler(dataset, dataset.split(4), toy.train, 0, unlabeled=True).batch(0)
    terms = method.loss(batch, Progress(5, STEPS))
    learners = {"supervised": "student", "teacher": "student", "critic": "critic"}
    for name, learner in {**learners, "fool": "student"}.items():
        method.zero_grad()
        terms[name].backward(retain_graph=True)
        reached = {
            parameter.partition(".")[0]
            for parameter, tensor in method.named_parameters()
            if tensor.grad is not None and tensor.grad.any()
        }
        assert reached == {learner}, name


def changing(change) -> type[Method]:
    class Changing(Toy):
        def loss(self, batch, progress):
            return change(super().loss(batch, progress), progress)

    return Changing


def test_a_term_that_comes_or_goes_is_refused(toy, tmp_path, monkeypatch):
    def without(terms, progress):
        return {n: t for n, t in terms.items() if n != "agreement" or progress.step < 3}

    monkeypatch.setitem(METHODS, "toy", changing(without))
    words = (
        "step 4: expected the same terms of the loss as in the steps before, found a diff.* in ag"
    )
    with pytest.raises(DualsegError, match=words):
        fit(toy, tmp_path / "run")
    run = Run(tmp_path / "run")
    tensors, progress = read_checkpoint(run.state_path)
    assert len(run.log()) == 3 and progress["step"] == 2
    # The first optimizer's state is named as when there was only one.
    assert {"optimizer:0:momentum_buffer", "optimizer.critic:0:exp_avg"} <= tensors.keys()
    # Also where a resumed training is the one that differs from the log.
    monkeypatch.setitem(METHODS, "toy", changing(lambda terms, _: terms | {"x": terms["fool"]}))
    with pytest.raises(DualsegError, match="step 3: expected the same terms .* in x;"):
        fit(toy, run.folder, resume=True)


def test_a_weight_without_its_term_is_refused(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(Toy, "weights", lambda self, progress: {"supervised": 1.0, "dice": 1.0})
    with pytest.raises(DualsegError, match="weights: expected names of terms .*found dice;"):
        fit(toy, tmp_path / "run")


def test_the_smallest_pass_counts_not_the_batch(toy, tmp_path):
    with pytest.raises(DualsegError, match="patch: expected a side above 16 for a batch of one"):
        fit(toy.replace(unlabeled_batch=1), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_from_the_help_to_a_row_of_the_table(toy, tmp_path, capsys, monkeypatch):
    command = ["train", "--dataset", "la", "--root", toy.root, "--profile", "smoke"]
    command += ["--method", "toy", "--preset", "own"]
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--decay FLOAT What the teacher keeps of itself in each step. (default: 0.5)" in shown
    assert "--labeled-batch INT Labeled crops a step. (default: 4)" in shown
    assert "--gamma" not in shown
    out = tmp_path / "runs" / "toy_run"
    sizes = ["--labeled", "4", "--iterations", "4", "--resolution", "half", "--decay", "0.75"]
    sizes += ["--patch", *3 * ["16"], "--stride", *3 * ["8"]]
    assert main([*command, *sizes, "--out", str(out)]) == 0
    assert Run(out).experiment().settings == ToySettings(decay=0.75)
    assert main(["evaluate", str(out)]) == 0
    records = tmp_path / "records"
    assert main(["records", "publish", str(out), "--to", str(records)]) == 0
    capsys.readouterr()
    assert main(["records", "table", "--folder", str(records)]) == 0
    row = capsys.readouterr().out.splitlines()[1]
    assert row.startswith("toy_run") and " toy " in row and "own, decay 0.75" in row
    assert main(["explain", "--method", "toy", "--preset", "own"]) == 0
    shown = capsys.readouterr().out
    assert "decay = 0.5" in shown and "Consistency with the teacher" in shown
    # In a place where nobody has entered the method, its record is still in the table.
    monkeypatch.delitem(METHODS, "toy")
    assert main(["records", "table", "--folder", str(records)]) == 0
    assert main(["train", "--out", str(out), "--resume"]) == 1
    error = capsys.readouterr().err
    assert "method: expected one of" in error and "found 'toy'" in error


def rank_main(rank: int, port: int, out: str, experiment: Experiment, work: str) -> None:
    """One of two processes that train together, and of which one may be killed."""
    become(rank, port)

    class Killed(Toy):
        def after_step(self, progress):
            super().after_step(progress)
            if rank == 1 and progress.step == 5:
                os.kill(os.getpid(), signal.SIGKILL)

    METHODS["toy"] = Killed if work == "killed" else Toy
    fit(experiment, out, resume=work == "resumed")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="one process on Windows")
def test_two_processes_one_of_them_killed_resume_bit_for_bit(toy, tmp_path, forkserver):
    for out, work in (("whole", "whole"), ("cut", "killed"), ("cut", "resumed")):
        arguments = (free_ports(1)[0], str(tmp_path / out), toy, work)
        codes = exit_codes(forkserver, rank_main, *arguments)
        assert codes == ([1, -signal.SIGKILL] if work == "killed" else [0, 0])
        assert Run(tmp_path / out).finished == (work != "killed")
    assert same(weights(Run(tmp_path / "whole")), weights(Run(tmp_path / "cut")))
    info = json.loads((tmp_path / "cut" / "run.json").read_text(encoding="utf-8"))
    assert info["processes"] == 2 and info["training"]["step"] == STEPS
