"""Fetching from a local server: checked, resumed, never overwriting, every failure named."""

import hashlib
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dualseg.datasets import published_lists
from dualseg.download import SOURCES, checksums, fetch
from dualseg.errors import DualsegError
from dualseg.specs import dataset_spec

CASES = [f"CASE{i}" for i in range(6)]


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
        path.write_bytes(case.encode() * 1000)
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
    return {case: hashlib.sha256(case.encode() * 1000).hexdigest() for case in CASES}


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def whole() -> list[str]:
    return [str(Path(case, "mri_norm2.h5")) for case in CASES]


def test_fetches_everything_once(server, expected, tmp_path):
    root = tmp_path / "LA"
    new = fetch("la", root, server.address + "/", expected)
    assert sorted(new) == [root / name for name in whole()]
    assert files(root) == whole()
    assert (root / "CASE3" / "mri_norm2.h5").read_bytes() == b"CASE3" * 1000
    assert len(server.hits) == 6
    assert fetch("la", root, server.address, expected) == []  # a second time there is nothing to do
    assert len(server.hits) == 6


def test_a_killed_fetch_goes_on_where_it_stopped(server, expected, tmp_path):
    root, server.delay = tmp_path / "LA", 0.5
    code = f"from dualseg.download import fetch; fetch('la', {str(root)!r}, {server.address!r}, "
    process = subprocess.Popen([sys.executable, "-c", code + f"{expected!r})"])
    deadline = time.monotonic() + 60
    while len(list(root.glob("CASE*/mri_norm2.h5"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = len(list(root.glob("CASE*/mri_norm2.h5")))
    assert 2 <= there < 6
    server.hits.clear()
    server.delay = 0
    fetch("la", root, server.address, expected)
    assert files(root) == whole()
    assert len(server.hits) <= 6 - there


def test_a_corrupted_file_is_refused_by_name_and_the_others_are_kept(server, expected, tmp_path):
    (server.folder / "CASE2" / "mri_norm2.h5").write_bytes(b"no more what it was")
    root = tmp_path / "LA"
    with pytest.raises(DualsegError, match=r"1 of 6 files(.|\n)*CASE2.*another SHA-256"):
        fetch("la", root, server.address, expected)
    assert files(root) == [name for name in whole() if "CASE2" not in name]


def test_a_missing_file_is_reported(server, expected, tmp_path):
    (server.folder / "CASE4" / "mri_norm2.h5").unlink()
    root = tmp_path / "LA"
    with pytest.raises(DualsegError, match=r"CASE4.*answered 404"):
        fetch("la", root, server.address, expected)
    assert len(files(root)) == 5


def test_no_server(expected, tmp_path):
    with pytest.raises(DualsegError, match=r"6 of 6 files(.|\n)*could not be fetched \(Connection"):
        fetch("la", tmp_path / "LA", "http://127.0.0.1:9", expected)


def test_a_file_with_other_content_is_never_overwritten(server, expected, tmp_path):
    mine = tmp_path / "LA" / "CASE1" / "mri_norm2.h5"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"repacked by me")
    with pytest.raises(DualsegError, match=r"CASE1.*stands there with other content"):
        fetch("la", tmp_path / "LA", server.address, expected)
    assert mine.read_bytes() == b"repacked by me"
    assert len(files(tmp_path / "LA")) == 6


def test_a_folder_that_cannot_be_written_is_named(server, expected, tmp_path):
    (tmp_path / "LA").write_text("a file where the folder should be")
    with pytest.raises(DualsegError, match=r"LA.CASE0.*could not be"):
        fetch("la", tmp_path / "LA", server.address, expected)


def test_checksums_are_of_the_published_cases():
    train, test = published_lists("la")
    assert set(checksums("la")) == {*train, *test}
    assert all(len(value) == 64 for value in checksums("la").values())
    assert "yulequan/UA-MT" in SOURCES["la"]
    assert "data fetch la" in dataset_spec("la").terms
