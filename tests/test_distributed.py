"""Several processes: the same step as one process taking their shares in turn; stopping, dying.

Two ranks train on the CPU here (gloo). NCCL, several GPUs and SyncBatchNorm are not tested.
"""

import copy
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing
from ranks import RANKS, become, exit_codes, free_ports

from dualseg._util.lock import is_held
from dualseg.config.experiment import Experiment
from dualseg.config.training import Progress
from dualseg.data.batches import Batch, BatchSampler
from dualseg.data.dataset import open_dataset
from dualseg.errors import DualsegError
from dualseg.methods import METHODS, build_method
from dualseg.runs.checkpoints import read_checkpoint
from dualseg.runs.run import Run
from dualseg.training import loop as training
from dualseg.training.distributed import Ranks, joined
from dualseg.training.loop import fit
from dualseg.training.start import check_batch

PAIR = ("dual", "supervised")  # the paper's two networks
STEPS = 8

# Windows has no SIGTERM to catch, and its torch may come without the store that ranks meet at.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="one process on Windows"),
]


@pytest.fixture
def shared(small) -> Experiment:
    """Each of two ranks takes two labeled samples and one unlabeled."""
    return small.replace(labeled=4, labeled_batch=4, iterations=STEPS, checkpoint_every=1000)


def drawn(experiment: Experiment, ranks: tuple[int, int] = (0, 1)) -> BatchSampler:
    dataset = open_dataset("la", experiment.root, experiment.train.resolution)
    split = dataset.split(experiment.labeled, experiment.validation)
    unlabeled = METHODS[experiment.method].uses_unlabeled
    return BatchSampler(dataset, split, experiment.train, experiment.seed, unlabeled, ranks)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_ranks_together_draw_what_one_process_draws_and_nothing_twice(shared, size):
    experiment = shared.replace(validation=0, unlabeled_batch=4)
    for step in (0, 1, 5):
        whole = drawn(experiment).batch(step)
        assert len(set(whole.ids)) == 8
        parts = [drawn(experiment, (rank, size)).batch(step) for rank in range(size)]
        assert sorted(case for part in parts for case in part.ids) == sorted(whole.ids)
        for part in parts:
            assert part.labeled == 4 // size
            places = [whole.ids.index(case) for case in part.ids]
            assert max(places[: part.labeled]) < 4 <= min(places[part.labeled :])
            assert torch.equal(part.image, whole.image[places])
            assert torch.equal(part.label, whole.label[places[: part.labeled]])


def test_dropout_differs_by_rank_and_rank_0_is_as_a_single_process():
    seeds = {rank: training._step_seed(3, 7, rank) for rank in range(4)}
    assert len(set(seeds.values())) == 4
    assert seeds[0] == np.random.SeedSequence([3, 7]).generate_state(1, np.uint64)[0] >> 1


def test_a_batch_that_cannot_be_shared_is_refused(shared):
    assert Ranks(0, 2).share("labeled_batch", 4) == 2
    with pytest.raises(DualsegError, match="unlabeled_batch: expected a multiple of 4, .* found 2"):
        check_batch(shared, build(shared), Ranks(3, 4))
    alone = shared.replace(method="supervised", patch=(32, 32, 32))
    check_batch(alone, build(alone), Ranks(3, 4))  # draws no unlabeled batch


def test_one_sample_a_rank_that_batch_norm_cannot_take(shared):
    one = shared.replace(method="supervised", labeled_batch=2)
    with pytest.raises(DualsegError, match="patch: expected a side above 16.*--labeled-batch 4"):
        check_batch(one, build(one), Ranks(0, 2))


def build(experiment: Experiment):
    spec = open_dataset("la", experiment.root, experiment.train.resolution).spec
    return build_method(experiment, spec)


def in_turn(experiment: Experiment) -> dict[str, torch.Tensor]:
    """The weights that two ranks should reach, by one process that takes their shares in turn.

    Each rank has its own networks, batch statistics and dropout; both take a step along the mean of
    the two gradients.
    """
    sampler = drawn(experiment)
    methods = [build(experiment).train()]
    methods.append(copy.deepcopy(methods[0]))
    optimizers = [method.optimizers(experiment.train)["main"] for method in methods]
    for step in range(STEPS):
        progress = Progress(step, STEPS)
        whole = sampler.batch(step)
        for rank, method in enumerate(methods):
            source = [experiment.seed, step, 1] if rank == 1 else [experiment.seed, step]
            state = np.random.SeedSequence(source).generate_state(1, np.uint64)[0]
            torch.manual_seed(int(state >> 1))
            known = [rank, rank + 2]
            places = known + ([4 + rank] if method.uses_unlabeled else [])
            ids = tuple(whole.ids[place] for place in places)
            terms = method.loss(Batch(whole.image[places], whole.label[known], ids), progress)
            method.zero_grad()
            sum(w * terms[name] for name, w in method.weights(progress).items()).backward()
        for pair in zip(*(method.parameters() for method in methods), strict=True):
            mean = (pair[0].grad + pair[1].grad) / 2
            for parameter in pair:
                parameter.grad = mean.clone(memory_format=torch.preserve_format)
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = experiment.train.learning_rate_at(progress)
            optimizer.step()
    return methods[0].state_dict()


def rank_main(rank: int, ports: list[int], threads: int, folder: Path, experiment: Experiment):
    """What each of the two processes does; what it saw is left in `folder`, for the test."""
    become(rank, ports[0], threads)
    seen = {}

    def ending(work) -> list:
        try:
            work()
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            return [type(error).__name__, getattr(error, "code", str(error))]
        return ["none", ""]

    seen["refused"] = ending(lambda: fit(experiment.replace(labeled_batch=3), folder / "refused"))

    os.environ["MASTER_PORT"] = str(ports[1])
    step, loss = training._Training.train_step, METHODS["supervised"].loss
    alone = experiment.replace(method="supervised")

    def watched(self, progress):
        if rank == 1 and progress.step == 3 and self.run.folder.name == "supervised":
            os.kill(os.getpid(), signal.SIGTERM)
        if rank == 1 and progress.step == 5 and self.run.folder.name == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        done = step(self, progress)
        layouts = [(strides(p), strides(p.grad)) for p in self.method.parameters()]
        seen["layouts"] = [len(layouts), sum(ours == theirs for ours, theirs in layouts)]
        return done

    def poisoned(self, batch, progress):
        terms = loss(self, batch, progress)
        if rank == 1 and progress.step == 3:
            terms["supervised_b"] = terms["supervised_b"] * float("nan")
        return terms

    training._Training.train_step = watched
    with joined():  # one connection for all that follows
        fit(experiment, folder / "dual")
        seen["stopped"] = ending(lambda: fit(alone, folder / "supervised"))
        run = Run(folder / "supervised")
        seen["stopped at"] = read_checkpoint(run.state_path)[1]["step"]
        training._Training.train_step = step
        fit(alone, run.folder, resume=True)

        # Rank 0 decides, though the other has all the time.
        minutes = None if rank else 1e-9
        seen["in pieces"] = []
        resume = False
        while not fit(alone, folder / "pieces", resume, max_minutes=minutes).finished:
            resume = True
            state = Run(folder / "pieces").state_path
            seen["in pieces"].append(read_checkpoint(state)[1]["step"])

        METHODS["supervised"].loss = poisoned
        seen["poisoned"] = ending(lambda: fit(alone, folder / "poisoned"))

        METHODS["supervised"].loss, training._Training.train_step = loss, watched
        (folder / f"{rank}.json").write_text(json.dumps(seen))
        killed = alone.replace(iterations=8, checkpoint_every=2)
        seen["killed"] = ending(lambda: fit(killed, folder / "killed"))
        (folder / f"{rank}.json").write_text(json.dumps(seen))


def strides(tensor: torch.Tensor) -> list[int]:
    """Of the sides that are longer than 1: those of the others mean nothing."""
    return [tensor.stride(d) for d in range(tensor.ndim) if tensor.shape[d] > 1]


def test_two_ranks_take_the_steps_of_one_process_and_end_together(shared, tmp_path, capfd):
    spawn = torch.multiprocessing.get_context("spawn")  # a forked one would write past `capfd`
    arguments = (free_ports(2), torch.get_num_threads(), tmp_path, shared)
    assert exit_codes(spawn, rank_main, *arguments) == [0, -signal.SIGKILL]
    first, second = (
        json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(RANKS)
    )
    runs = {name: Run(tmp_path / name) for name in (*PAIR, "poisoned", "killed")}

    # Float32 sums in another order differ by rounding; 1e-6 of a tensor's largest value is allowed.
    for name in PAIR:
        expected = in_turn(shared.replace(method=name))
        found = read_checkpoint(runs[name].weights_path)[0]
        assert found.keys() == {f"weight:{key}" for key in expected}
        for key, tensor in expected.items():
            off = (found[f"weight:{key}"].double() - tensor.double()).abs().max()
            assert off <= 1e-6 * tensor.double().abs().max(), (name, key)
        assert [line["step"] for line in runs[name].log()] == list(range(1, STEPS + 1))
        assert runs[name].info()["processes"] == RANKS

    assert first["refused"][0] == "DualsegError"
    assert first["refused"][1].startswith("labeled_batch: expected a multiple of 2")
    assert second["refused"] == ["SystemExit", 1]  # silently: rank 0 has said it
    assert not (tmp_path / "refused").exists()

    assert first["stopped"] == ["Interrupted", ""]  # though only rank 1 was asked to
    assert second["stopped"] == ["SystemExit", 130]
    assert first["stopped at"] == second["stopped at"] == 4
    assert "sessions" not in runs["supervised"].info()

    assert first["in pieces"] == second["in pieces"] == list(range(1, STEPS))
    pieces = read_checkpoint(tmp_path / "pieces" / "last.safetensors")[0]
    in_one = read_checkpoint(runs["supervised"].weights_path)[0]
    assert all(torch.equal(pieces[name], tensor) for name, tensor in in_one.items())

    cases = ", ".join(drawn(shared.replace(method="supervised"), (1, RANKS)).batch(3).ids)
    assert first["poisoned"][0] == "DualsegError"
    expected = f"step 4: the loss term 'supervised_b' is nan for the cases {cases};"
    assert expected in first["poisoned"][1]
    assert second["poisoned"] == ["SystemExit", 1]
    assert len(runs["poisoned"].log()) == 3

    assert first["killed"][0] == "DualsegError"
    assert "processes: one of the 2 ended before the training did" in first["killed"][1]
    assert read_checkpoint(runs["killed"].state_path)[1]["step"] == 4
    killed = runs["killed"].experiment()
    assert fit(killed, tmp_path / "killed", resume=True).finished
    assert [session["processes"] for session in runs["killed"].info()["sessions"]] == [1]

    tensors, kept = first["layouts"]
    assert tensors == kept > 100
    assert "Warning" not in capfd.readouterr().err


def started_by_torchrun(shared: Experiment, out: Path) -> subprocess.Popen:
    """Two ranks in a training without end that has taken three steps."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(RANKS), "-m", "dualseg", "train"]
    command += ["--dataset", "la", "--profile", "smoke", "--root", shared.root, "--out", str(out)]
    command += ["--labeled", "4", "--labeled-batch", "4", "--validation", "2", "--filters", "2"]
    command += ["--resolution", "half", "--patch", *3 * ["16"], "--stride", *3 * ["8"], "--flips"]
    command += ["--iterations", "100000"]
    process = subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    deadline = time.time() + 120
    while len(Run(out).log()) < 3:
        assert process.poll() is None, process.stderr.read()
        assert time.time() < deadline
        time.sleep(0.05)
    return process


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's parent-death signal")
@pytest.mark.fault(
    "torchrun itself killed (kill -9), or hit by a signal that it does not hand on (SIGUSR1)",
    "its processes write a checkpoint and end; none goes on as an orphan",
)
@pytest.mark.parametrize("name", ["SIGKILL", "SIGUSR1"])
def test_torchrun_that_dies_leaves_a_checkpoint_and_no_orphans(shared, tmp_path, name):
    process = started_by_torchrun(shared, tmp_path / "run")
    process.send_signal(getattr(signal, name))
    # Its ranks have the other ends of the pipes: these close when the last of them has ended.
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -getattr(signal, name)
    assert errors.count("dualseg: stopped. What was finished is kept") == 1
    run = Run(tmp_path / "run")
    assert read_checkpoint(run.state_path)[1]["step"] == len(run.log()) >= 3
    assert not is_held(run.folder)


def test_torchrun_stopped_by_a_signal_resumed_by_one_process(shared, tmp_path, monkeypatch):
    out = tmp_path / "run"
    process = started_by_torchrun(shared, out)
    process.send_signal(signal.SIGTERM)
    try:
        printed, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert errors.count("dualseg: stopped. What was finished is kept") == 1
    assert printed == ""
    last = read_checkpoint(Run(out).state_path)[1]["step"]
    assert last == len(Run(out).log()) >= 3

    train_step = training._Training.train_step

    def two_steps(self, progress):
        if progress.step == last + 2:
            raise RuntimeError("enough")
        return train_step(self, progress)

    monkeypatch.setattr(training._Training, "train_step", two_steps)
    with pytest.raises(RuntimeError, match="enough"):
        fit(Run(out).experiment(), out, resume=True)
    steps = [line["step"] for line in Run(out).log()]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) > last
    assert Run(out).info()["processes"] == RANKS
    assert [session["processes"] for session in Run(out).info()["sessions"]] == [1]
