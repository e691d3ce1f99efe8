"""One run at a time in a folder: a lock that the kernel releases when its holder dies, so that none is ever stale."""

import contextlib
import errno
import fcntl
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hazegen import stores
from hazegen.errors import RefusedError

NAME = ".lock"
# What file systems say that have no such locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def lock(folder: Path, *, shared: bool = False, tell: Callable[[str], object] = lambda _: None) -> Iterator[None]:
    """Holds the lock of a folder that exists; alone in it, removes what killed writers have left there.

    In a store nothing is locked and nothing has to be: every object there appears whole, and which plan a
    folder belongs to is decided by the one object that can be made only once (stores.write_new).

    Args:
        shared: Hold it together with others that share it, as the tasks of one plan do.
        tell: Takes a warning where the file system has no locks.

    Raises:
        RefusedError: Another run holds it.
    """
    if stores.is_remote(folder):
        yield
        return
    file = _acquire(folder, shared, tell)
    try:
        if not shared:
            _sweep(folder)
        yield
    finally:
        # Workers that were killed because another one failed have left theirs, too.
        with contextlib.suppress(OSError):
            if not shared:
                _sweep(folder)
        # The last one removes the file while it holds it: whoever has opened it meanwhile sees that it is gone.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_named(file, folder / NAME):
                (folder / NAME).unlink()
        os.close(file)


def _sweep(folder: Path) -> None:
    stores.sweep(folder)
    stores.sweep(folder / ".work")


def _acquire(folder: Path, shared: bool, tell: Callable[[str], object]) -> int:
    """The opened and locked file of the folder."""
    while True:
        file = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                tell(
                    f"The file system of '{folder}' has no locks ({error.strerror}): nothing keeps a second run from "
                    "working there at the same time. Start none."
                )
                return file
            holder = _holder(file)
            os.close(file)
            if not isinstance(error, BlockingIOError):
                raise
            raise RefusedError(
                f"Another run works in '{folder}'. Expected to be alone there, received a lock held by {holder}. Wait "
                "until it ends, or choose another folder."
            ) from None
        if _is_named(file, folder / NAME):
            _sign(file)
            return file
        os.close(file)  # its holder removed it between our opening and our locking


def _is_named(file: int, path: Path) -> bool:
    """Whether an opened file is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _sign(file: int) -> None:
    """Writes who holds the lock; of several, the last one."""
    said = {"host": platform.node(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    os.ftruncate(file, 0)
    os.pwrite(file, json.dumps(said).encode(), 0)


def _holder(file: int) -> str:
    try:
        said = json.loads(os.pread(file, 1000, 0))
        return f"process {said['pid']} on {said['host']} since {said['since']}"
    except (ValueError, KeyError, TypeError):
        return "a process that has not said its name"
