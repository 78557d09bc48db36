"""Which settings make a short training better? Trials on validation cases, never on test cases.

`python -m benchmarks.lesson_search --root LA` trains each of `TRIALS` with the lesson's networks, 8
labels, and the last 8 cases of the training list held out; then it measures the held-out cases in
four ways: with the last weights and with their moving average, each with and without mirroring. A
trial that is in the record already is not repeated, so the search can be stopped and goes on.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import tyro
from torch import Tensor

from dualseg import Experiment, fit
from dualseg._util.environment import describe_device, pick_device, versions
from dualseg._util.files import write_json
from dualseg._util.tables import as_markdown
from dualseg.config.training import Progress, TrainConfig
from dualseg.data.dataset import Dataset, open_dataset
from dualseg.errors import DualsegError, require_one_of
from dualseg.methods import Method, build_method

from .measured_training import dice, predicted, recorded

OUT = Path("figures/records/benchmarks/lesson_search.json")
LABELED, HELD_OUT = 8, 8
DECAY = 0.99  # of the moving average of the weights; smaller in the first steps
MIRRORS: tuple[tuple[int, ...], ...] = ((), (-3,), (-2,), (-3, -2))  # x, y, both: as in training


@dataclass(frozen=True)
class Trial:
    """What differs from a lesson: settings of the package, and two tricks that it does not have.

    Parameters
    ----------
    settings : of the experiment
    clip : longest allowed gradient of all parameters together; 0: any
    adam_w : train with AdamW (weight decay 0.01) in place of SGD
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    clip: float = 0.0
    adam_w: bool = False


_IMPROVED = {"preset": "improved", "iterations": 800, "learning_rate": 0.05}
_IMPROVED |= {"head_dropout": 0.0, "flips": True}
_PLAIN = _IMPROVED | {"flips": False}
_FAST = _PLAIN | {"learning_rate": 0.1}

TRIALS: dict[str, Trial] = {
    "no head dropout": Trial(_IMPROVED),
    "head dropout 0.5": Trial(_IMPROVED | {"head_dropout": 0.5}),
    "rate 0.1": Trial(_IMPROVED | {"learning_rate": 0.1}),
    "no flips": Trial(_PLAIN),
    "no flips, rate 0.1": Trial(_FAST),
    "no flips, rate 0.2": Trial(_FAST | {"learning_rate": 0.2}),
    "no flips, rate 0.1, gradients clipped at 1": Trial(_FAST, clip=1.0),
    "no flips, AdamW with rate 0.002": Trial(_FAST | {"learning_rate": 0.002}, adam_w=True),
    "paper, rate 0.1": Trial(_IMPROVED | {"preset": "paper", "learning_rate": 0.1}),
    "no flips, 1200 steps": Trial(_PLAIN | {"iterations": 1200}),
    "paper, no flips": Trial(_PLAIN | {"preset": "paper"}),
    "paper, no flips, rate 0.1": Trial(_FAST | {"preset": "paper"}),
    "supervised, no flips": Trial(_PLAIN | {"method": "supervised", "preset": "default"}),
    "supervised, no flips, rate 0.1": Trial(_FAST | {"method": "supervised", "preset": "default"}),
}


def main(
    root: Path | None = None,
    only: tuple[str, ...] = (),
    seed: int = 0,
    runs: Path = Path("runs/lesson_search"),
    out: Path = OUT,
    markdown: bool = False,
) -> None:
    """Run the trials that the record lacks, and write each into it as it ends.

    Args:
        root: Folder of the LA data.
        only: Names of trials; by default all.
        seed: Of the trainings.
        runs: Folder of the runs.
        out: The record, a JSON.
        markdown: Only print the table of the record there.
    """
    for name in only:
        require_one_of("only", name, TRIALS)
    wanted = () if markdown else only or tuple(TRIALS)
    for name in wanted:
        if not any((t["name"], t["seed"]) == (name, seed) for t in recorded(out, "trials")):
            result = run_trial(TRIALS[name], seed, root and str(root), runs / f"{name} seed {seed}")
            # Read again: another process may have added to it.
            trials = [*recorded(out, "trials"), {"name": name, "seed": seed} | result]
            write_json(out, {"trials": trials})
    print(table(recorded(out, "trials")))


def run_trial(trial: Trial, seed: int, root: str | None, folder: Path) -> dict[str, Any]:
    """Train, measure the held-out cases in four ways, and return all with the settings."""
    kind = {"method": "dual", "profile": "lesson"} | dict(trial.settings)
    experiment = Experiment(
        "la", root=root, labeled=LABELED, validation=HELD_OUT, seed=seed, schedule="poly", **kind
    )
    dataset = open_dataset("la", root, experiment.train.resolution)
    method = build_method(experiment, dataset.spec)
    averages = _with_tricks(method, trial)
    shutil.rmtree(folder, ignore_errors=True)  # a stopped trial has lost its averages
    run = fit(experiment, folder, dataset=dataset, method=method)
    method.eval()
    found = {}
    for weights, context in (("last weights", contextlib.nullcontext), ("average", averages)):
        with context():
            for mirrored in (False, True):
                name = f"{weights}, mirrored" if mirrored else weights
                found[name] = _dice(method, dataset, experiment.train, mirrored)
    setting = {**asdict(trial), "settings": experiment.flat() | {"root": None}}
    machine = {"device": describe_device(pick_device()), "versions": versions()}
    return {**setting, **machine, "seconds": run.info()["training"]["seconds"], "dice": found}


def _with_tricks(method: Method, trial: Trial) -> Any:
    """Give one method the trial's tricks, and a moving average of its weights.

    Returns a context manager in which the method has the averaged weights.
    """
    usual_optimizers, usual_after_step = method.optimizers, method.after_step
    weights = [t for t in method.state_dict().values() if t.is_floating_point()]
    averaged = [weight.clone() for weight in weights]

    def optimizers(config: TrainConfig) -> dict[str, torch.optim.Optimizer]:
        if trial.adam_w:
            adam = torch.optim.AdamW(method.parameters(), config.learning_rate, weight_decay=0.01)
            return {"main": adam}
        built = usual_optimizers(config)
        if trial.clip:
            clip = partial(torch.nn.utils.clip_grad_norm_, list(method.parameters()), trial.clip)
            built["main"].register_step_pre_hook(lambda *_: clip() and None)
        return built

    @torch.no_grad()
    def after_step(progress: Progress) -> None:
        usual_after_step(progress)
        decay = min(DECAY, (1 + progress.step) / (10 + progress.step))
        torch._foreach_lerp_(averaged, weights, 1 - decay)

    @contextlib.contextmanager
    def averages() -> Iterator[None]:
        last = [weight.clone() for weight in weights]
        torch._foreach_copy_(weights, averaged)
        yield
        torch._foreach_copy_(weights, last)

    for function in (optimizers, after_step):
        setattr(method, function.__name__, function)
    return averages


def in_mirrors(predict: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The mean prediction of a patch and of its mirror images, each mirrored back."""

    def mean(patch: Tensor) -> Tensor:
        return torch.stack([predict(patch.flip(axes)).flip(axes) for axes in MIRRORS]).mean(0)

    return mean


def _dice(
    method: Method, dataset: Dataset, config: TrainConfig, mirrored: bool
) -> dict[str, float]:
    """Dice of each held-out case on the full grid, by its id."""
    plain, cases = method.predict_members, dataset.split(LABELED, HELD_OUT).validation
    if mirrored:
        method.predict_members = in_mirrors(plain)
    found = predicted(method, dataset, cases, config)
    by_case = {case: dice(mask, truth) for case, mask, truth in found}
    method.predict_members = plain
    return by_case


def table(trials: list[dict[str, Any]]) -> str:
    """The mean Dice over the held-out cases, a line a trial, as Markdown."""
    if not trials:
        return "no trials"
    ways = list(trials[0]["dice"])
    lines = [["trial", "seed", *ways, "minutes"]]
    for trial in trials:
        means = [f"{fmean(trial['dice'][way].values()):.1f}" for way in ways]
        lines.append([trial["name"], str(trial["seed"]), *means, f"{trial['seconds'] / 60:.1f}"])
    return as_markdown(lines)


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except DualsegError as error:
        sys.exit(f"lesson_search: {error}")
