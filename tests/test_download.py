"""Fetching from a local server: checked, resumed, never overwriting, every failure named."""

import hashlib
import io
import json
import signal
import subprocess
import sys
import threading
import time
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import numpy as np
import pytest

from dualseg.cli.main import main
from dualseg.data import download
from dualseg.data.dataset import open_dataset
from dualseg.data.download import checksums, fetch
from dualseg.data.known import dataset_spec, published_lists
from dualseg.data.preparation.inspect import check
from dualseg.errors import DualsegError

TRAIN, TEST = published_lists("la")
CASES = [*TRAIN[:4], *TEST[:2]]


@cache
def content(case: str) -> bytes:
    """A small file as the public ones are, another one for each case."""
    rng = np.random.default_rng(list(case.encode()))
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["image"] = rng.normal(size=(9, 8, 7)).astype(np.float32)
        file["label"] = np.pad(np.ones((3, 3, 3), np.uint8), [(3, 3), (3, 2), (2, 2)])
    return buffer.getvalue()


class Handler(SimpleHTTPRequestHandler):
    """Counts requests, and waits before each answer where asked to."""

    def do_GET(self):
        self.server.hits.append(self.path)
        time.sleep(self.server.delay)
        super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    """Six files under an address with a space in it, as the public one has."""
    folder = tmp_path / "served" / "the data"
    for case in CASES:
        path = folder / case / "mri_norm2.h5"
        path.parent.mkdir(parents=True)
        path.write_bytes(content(case))
    handler = partial(Handler, directory=str(tmp_path / "served"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.hits, server.delay, server.folder = [], 0, folder
    server.address = f"http://127.0.0.1:{server.server_port}/the data"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def expected():
    return {case: hashlib.sha256(content(case)).hexdigest() for case in CASES}


def files(root: Path) -> list[str]:
    """The cases' files that are there."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*.h5"))


def whole() -> list[str]:
    return sorted(str(Path(case, "mri_norm2.h5")) for case in CASES)


def test_fetches_everything_once(server, expected, tmp_path):
    root = tmp_path / "LA"
    new = fetch("la", root, server.address + "/", expected)
    assert sorted(map(str, new)) == [str(root / name) for name in whole()]
    assert files(root) == whole()
    assert (root / CASES[3] / "mri_norm2.h5").read_bytes() == content(CASES[3])
    assert len(server.hits) == 6
    assert fetch("la", root, server.address, expected) == []  # a second time there is nothing to do
    assert len(server.hits) == 6


def test_what_was_fetched_is_described_and_opens_as_it_is(server, expected, tmp_path):
    root = tmp_path / "LA"
    fetch("la", root, server.address, expected)
    manifest = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["recipe"], manifest["orientation"]) == (None, "LPS")
    record = manifest["cases"][CASES[5]]
    assert record["file"] == f"{CASES[5]}/mri_norm2.h5"
    assert (record["shape"], record["spacing"]) == ([9, 8, 7], [0.625] * 3)
    assert record["label_voxels"] == {"0": 9 * 8 * 7 - 27, "1": 27}
    assert (root / "alignment.png").stat().st_size > 10_000
    for dataset in (open_dataset(str(root)), open_dataset("la", root)):
        assert (dataset.train, dataset.test) == (TRAIN[:4], TEST[:2])
        assert dataset.read(CASES[5]).label.sum() == 27
    assert check(str(root))[1] == []
    (root / CASES[1] / "mri_norm2.h5").write_bytes(content(CASES[0]))
    problems = check(str(root))[1]
    assert any(f"case {CASES[1]}: expected the voxels that the manifest" in p for p in problems)
    assert any(f"cases {CASES[0]} and {CASES[1]}: expected two scans" in p for p in problems)


def test_lists_of_the_users_own_stay(server, expected, tmp_path):
    root = tmp_path / "LA"
    root.mkdir()
    own = {"train": [TRAIN[2], TRAIN[0]], "test": [TEST[1]]}
    for name, ids in own.items():
        (root / f"{name}.list").write_text("\n".join(ids) + "\n")
    fetch("la", root, server.address, expected)
    dataset = open_dataset(str(root))
    assert [list(dataset.train), list(dataset.test)] == list(own.values())


def test_a_description_that_was_interrupted_is_made_up_for(server, expected, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    root = tmp_path / "LA"
    monkeypatch.setattr(download, "case_record", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch("la", root, server.address, expected)
    assert files(root) == whole()
    monkeypatch.undo()
    assert fetch("la", root, server.address, expected) == []
    assert (root / "manifest.json").is_file()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("la-challenge", ("lgemri.nrrd", "data prepare la --images RAW", "cite")),
        ("pancreas", ("label0001.nii.gz", "0025", "data prepare pancreas --images RAW", "cite")),
        ("brats2019", ("_flair.nii.gz", "data prepare brats2019 --images RAW", "cite")),
    ],
)
def test_what_cannot_be_fetched_is_explained(name, words, capsys):
    assert main(["data", "fetch", name, "--root", "RAW"]) == 0
    out = capsys.readouterr().out
    assert [word for word in words if word not in out] == []
    assert all(len(line) <= 100 for line in out.splitlines())


@pytest.mark.fault(
    "a download that is killed",
    "the files that arrived stay; the rest is fetched",
)
def test_a_killed_fetch_goes_on_where_it_stopped(server, expected, tmp_path):
    root, server.delay = tmp_path / "LA", 0.5
    code = (
        f"from dualseg.data.download import fetch; fetch('la', {str(root)!r}, {server.address!r}, "
    )
    process = subprocess.Popen([sys.executable, "-c", code + f"{expected!r})"])
    deadline = time.monotonic() + 60
    while len(list(root.glob("*/mri_norm2.h5"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = len(list(root.glob("*/mri_norm2.h5")))
    assert 2 <= there < 6
    server.hits.clear()
    server.delay = 0
    fetch("la", root, server.address, expected)
    assert files(root) == whole()
    assert len(server.hits) <= 6 - there


@pytest.mark.fault(
    "a download with another checksum",
    "refused by name; the others are kept",
)
def test_a_corrupted_file_is_refused_by_name_and_the_others_are_kept(server, expected, tmp_path):
    (server.folder / CASES[2] / "mri_norm2.h5").write_bytes(b"no more what it was")
    root = tmp_path / "LA"
    with pytest.raises(DualsegError, match=rf"1 of 6 files(.|\n)*{CASES[2]}.*another SHA-256"):
        fetch("la", root, server.address, expected)
    assert files(root) == [name for name in whole() if CASES[2] not in name]


def test_a_missing_file_is_reported(server, expected, tmp_path):
    (server.folder / CASES[4] / "mri_norm2.h5").unlink()
    root = tmp_path / "LA"
    with pytest.raises(DualsegError, match=rf"{CASES[4]}.*answered 404"):
        fetch("la", root, server.address, expected)
    assert len(files(root)) == 5


def test_no_server(expected, tmp_path):
    with pytest.raises(DualsegError, match=r"6 of 6 files(.|\n)*could not be fetched \(Connection"):
        fetch("la", tmp_path / "LA", "http://127.0.0.1:9", expected)
    with pytest.raises(DualsegError, match=r"could not be fetched \(MissingSchema\)"):
        fetch("la", tmp_path / "LA", "mirror.org/data", expected)


def test_a_file_with_other_content_is_never_overwritten(server, expected, tmp_path):
    mine = tmp_path / "LA" / CASES[1] / "mri_norm2.h5"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"repacked by me")
    with pytest.raises(DualsegError, match=rf"{CASES[1]}.*stands there with other content"):
        fetch("la", tmp_path / "LA", server.address, expected)
    assert mine.read_bytes() == b"repacked by me"
    assert len(files(tmp_path / "LA")) == 6


def test_a_folder_that_cannot_be_written_is_named(server, expected, tmp_path):
    (tmp_path / "LA").write_text("a file where the folder should be")
    with pytest.raises(DualsegError, match=rf"LA.{CASES[0]}.*could not be"):
        fetch("la", tmp_path / "LA", server.address, expected)


def test_checksums_are_of_the_published_cases():
    assert set(checksums("la")) == {*TRAIN, *TEST}
    assert all(len(value) == 64 for value in checksums("la").values())
    assert "yulequan/UA-MT" in dataset_spec("la").download
    assert "data fetch la" in dataset_spec("la").source_and_terms
