"""Shared fixtures: a cache of its own, a tiny data set in the LA layout, the real LA if at hand."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from dualseg.config.experiment import Experiment

# Two processes test side by side (pyproject.toml): with a thread each, they and what they start
# share two cores.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_modifyitems(items):
    """Files with slow tests first: short ones are left for the end, where a process has to wait."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Tests never read or fill the user's cache."""
    os.environ["DUALSEG_CACHE"] = str(tmp_path_factory.mktemp("cache"))


def write_la_case(root: Path, case_id: str, image: np.ndarray, label: np.ndarray) -> Path:
    path = root / case_id / "mri_norm2.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("image", data=image, compression="gzip")
        file.create_dataset("label", data=label, compression="gzip")
    return path


def ball_case(seed: int, shape=(40, 36, 22)) -> tuple[np.ndarray, np.ndarray]:
    """A bright ball in noise, at a place that depends on the seed; image and label."""
    rng = np.random.default_rng(seed)
    center = np.array(shape) / 2 + rng.uniform(-4, 4, 3)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    label = (np.linalg.norm(grid - center, axis=-1) < 8).astype(np.uint8)
    return (label + rng.normal(0, 0.3, shape)).astype(np.float32), label


TRAIN = [f"TRAIN{i}" for i in range(8)]
TEST = ["TESTB", "TESTA"]


def make_la(root: Path) -> Path:
    """Ten small cases with lists, in the LA layout."""
    for i, case_id in enumerate(TRAIN + TEST):
        write_la_case(root, case_id, *ball_case(i, (40 + i, 36, 22)))
    (root / "train.list").write_text("\n".join(TRAIN) + "\n")
    (root / "test.list").write_text("\n".join(TEST) + "\n")
    return root


@pytest.fixture(scope="session")
def shared_la(tmp_path_factory) -> Path:
    return make_la(tmp_path_factory.mktemp("la") / "LA")


@pytest.fixture
def la_root(shared_la, tmp_path) -> Path:
    """A copy of the data set of `make_la`, for this test alone."""
    return shutil.copytree(shared_la, tmp_path / "LA")


def small_experiment(root: Path, **changes) -> Experiment:
    """A training of seconds on that data set."""
    settings = {
        "labeled": 2,
        "validation": 2,
        "iterations": 6,
        "patch": (16, 16, 16),
        "stride": (8, 8, 8),
        "filters": 2,
        "resolution": "half",
        "flips": True,
    }
    return Experiment("la", "smoke", root=str(root), **settings | changes)


@pytest.fixture
def small(la_root) -> Experiment:
    return small_experiment(la_root)


@pytest.fixture
def forkserver(monkeypatch):
    """Its processes need not import torch: they are forked from a process that has imported it.

    Python starts that process once in a worker, and the first test that needs it (also one of
    test_sweep.py) decides what it imports.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "crashes"])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # where it looks for them
    return context


@pytest.fixture
def no_pictures(monkeypatch, request):
    """For tests that look at no picture: to draw them takes longer than what these look at.

    In a module that takes this for all its tests, the mark `pictures` asks for them.
    """
    if request.node.get_closest_marker("pictures"):
        return
    monkeypatch.setattr("dualseg.data.preparation.pipeline.draw_sheet", lambda out, manifest: None)
    # The package's `evaluation.evaluate` is the function, not the module.
    module = importlib.import_module("dualseg.evaluation.evaluate")
    monkeypatch.setattr(module, "draw", lambda *_: None)


@pytest.fixture(scope="session")
def real_la() -> Path:
    """The real left-atrium data, where the environment says so."""
    folder = os.environ.get("DUALSEG_LA_DIR")
    if not folder:
        pytest.skip("DUALSEG_LA_DIR is not set: no real left-atrium data at hand")
    return Path(folder)


@pytest.fixture
def observed(record_property):
    """Say what a test of a fault saw, for docs/faults.md (see benchmarks/faults.py)."""
    return lambda text: record_property("observed", text)
