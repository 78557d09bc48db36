"""Atomic writing: all or nothing."""

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dualseg._util.files import cache_folder, write_atomically
from dualseg.errors import DualsegError


def test_writes_and_replaces_with_usual_permissions(tmp_path):
    path = tmp_path / "new" / "file"
    for content in (b"one", b"two"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert path.stat().st_mode == plain.stat().st_mode


def test_threads_that_write_at_once_leave_the_umask_alone(tmp_path, monkeypatch):
    """The umask is one for all threads: whoever sets it for a moment changes the others' files."""
    both, real = threading.Barrier(2), os.umask
    before = real(0o027)

    def umask(mask):
        found = real(mask)
        both.wait(timeout=10)  # the other thread, too, finds it as this one has just set it
        return found

    try:
        monkeypatch.setattr(os, "umask", umask)
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda n: write_atomically(tmp_path / n, b""), "ab"))
    finally:
        after = real(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert (after, modes) == (0o027, {"a": 0o640, "b": 0o640})


@pytest.mark.fault(
    "a write that fails half way",
    "the old file stays, no half file is left",
)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_failure_keeps_the_old_file_and_leaves_no_temporary_file(tmp_path, monkeypatch, number):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(file):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DualsegError, match=f"file: could not be written .{os.strerror(number)}"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_windows_is_asked_again_while_somebody_reads_the_old_file(tmp_path, monkeypatch):
    path, real, calls = tmp_path / "file", os.replace, []

    def replace(source, target):
        calls.append(target)
        if len(calls) < refused:
            raise PermissionError(errno.EACCES, "Access is denied")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr("sys.platform", "win32")
    refused = 4
    write_atomically(path, b"new")
    assert (path.read_bytes(), len(calls)) == (b"new", 4)
    refused = 100
    with pytest.raises(DualsegError, match="could not be written .Access is denied"):
        write_atomically(path, b"newer")
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == b"new"


def test_the_cache_may_be_said_to_lie_at_home(tmp_path, monkeypatch):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("DUALSEG_CACHE", "~/kept")  # as Jupyter's %env leaves it
    assert cache_folder() == tmp_path / "kept"


def test_an_interrupted_write_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupt(file):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", b"new")
    assert list(tmp_path.iterdir()) == []
