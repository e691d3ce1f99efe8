import errno
import json
import os
import signal
import subprocess
import sys

import pytest

from hazegen import locks
from hazegen.errors import RefusedError

HOLD = """
import sys
from pathlib import Path
from hazegen import locks
with locks.lock(Path(sys.argv[1]), shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(folder, how="alone"):
    """A process that holds the lock of a folder until its stdin is closed."""
    command = [sys.executable, "-c", HOLD, str(folder), how]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def end(process):
    process.communicate()
    assert process.returncode == 0


def test_lock_is_there_while_held_and_gone_after(tmp_path):
    with locks.lock(tmp_path):
        said = json.loads((tmp_path / locks.NAME).read_text())
        assert said["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_second_run_is_refused_and_told_who_works_there(tmp_path):
    other = hold(tmp_path)
    with (
        pytest.raises(RefusedError, match=rf"Another run works in .* process {other.pid} on .* since .* Wait"),
        locks.lock(tmp_path),
    ):
        pass
    end(other)
    with locks.lock(tmp_path):
        pass


def test_lock_of_a_killed_process_is_nobodys(tmp_path):
    other = hold(tmp_path)
    other.send_signal(signal.SIGKILL)
    other.communicate()
    assert (tmp_path / locks.NAME).exists()
    with locks.lock(tmp_path):
        pass
    assert not (tmp_path / locks.NAME).exists()


def test_tasks_share_the_lock_and_keep_others_out(tmp_path):
    other = hold(tmp_path, "shared")
    with locks.lock(tmp_path, shared=True):
        pass
    assert (tmp_path / locks.NAME).exists()
    with pytest.raises(RefusedError, match="Another run works"), locks.lock(tmp_path):
        pass
    end(other)
    assert not (tmp_path / locks.NAME).exists()


def test_task_is_refused_while_one_run_holds_all(tmp_path):
    with (
        locks.lock(tmp_path),
        pytest.raises(RefusedError, match="Another run works"),
        locks.lock(tmp_path, shared=True),
    ):
        pass


@pytest.mark.parametrize("shared", [False, True])
def test_what_killed_writers_left_is_removed_only_when_alone(tmp_path, shared):
    (tmp_path / ".work").mkdir()
    left = [tmp_path / "train.tfrecord.1-0a1b2c3d-0.tmp", tmp_path / ".work" / "a.json.1-0a1b2c3d-1.tmp"]
    kept = [tmp_path / name for name in ("train.tfrecord", "notes.tmp", "notes.1-2.tmp")]
    for path in (*left, *kept):
        path.write_bytes(b"x")
    with locks.lock(tmp_path, shared=shared):
        assert [path.exists() for path in left] == [shared, shared]
    assert all(path.exists() for path in kept)


def test_folder_of_the_name_of_a_temporary_file_is_left_alone(tmp_path):
    folder = tmp_path / "x.1-0a1b2c3d-0.tmp"
    folder.mkdir()
    with locks.lock(tmp_path):
        assert folder.is_dir()


def test_lock_file_that_was_removed_meanwhile_does_not_count(tmp_path, monkeypatch):
    """Its holder unlinks it between our opening and our locking: then we would hold a file that nobody else sees."""
    flock, opened = locks.fcntl.flock, []

    def removing(file, how):
        if not opened:
            (tmp_path / locks.NAME).unlink()
        opened.append(file)
        return flock(file, how)

    monkeypatch.setattr(locks.fcntl, "flock", removing)
    with locks.lock(tmp_path):
        assert (tmp_path / locks.NAME).exists()
    assert len(opened) == 3  # in vain, for good, and to let go


def test_file_system_without_locks_is_told_and_used(tmp_path, monkeypatch):
    def refuse(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    said = []
    with locks.lock(tmp_path, tell=said.append):
        pass
    assert len(said) == 1
    assert "has no locks (No locks available)" in said[0]


def test_other_failures_of_the_lock_are_failures_of_the_disk(tmp_path, monkeypatch):
    def fail(file, how):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(locks.fcntl, "flock", fail)
    with pytest.raises(OSError, match="Input/output error"), locks.lock(tmp_path):
        pass


@pytest.mark.parametrize("shared", [False, True])
def test_what_killed_workers_leave_is_removed_when_a_run_fails(tmp_path, shared):
    left = tmp_path / "train.tfrecord.1-0a1b2c3d-0.tmp"

    def fail():
        left.write_bytes(b"x")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"), locks.lock(tmp_path, shared=shared):
        fail()
    assert left.exists() == shared
