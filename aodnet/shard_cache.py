"""A folder of whole shards from stores, named by their SHA-256, that processes share within a bound.

All that they have to agree on are files and the kernel's locks on them, which end with their holders, so that a
killed process leaves nothing that keeps others waiting:

    SHA256.tfrecord  a whole shard; whoever reads it holds it locked (shared), and only one that nobody
                     has locked is removed
    SHA256.part      a shard on its way, as large as it will be, locked by the one that fetches it
    NUMBER.reader    bytes that one pass over shards may hold at once, locked as long as the pass lasts
    lock             held while room is made and while one of these files begins or ends
"""

import errno
import fcntl
import os
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hazegen.errors import RefusedError, UsageError
from hazegen.manifest import Shard

WHOLE, PART, READER = ".tfrecord", ".part", ".reader"
# Of our own names alone something is ever removed: the folder may be a user's, with files of these suffixes.
_SHARD_NAME = re.compile(rf"[0-9a-f]{{64}}({re.escape(WHOLE)}|{re.escape(PART)})")
_READER_NAME = re.compile(rf"[0-9a-f]{{32}}{re.escape(READER)}")
# Shards that may lie ready beside those that are read.
AHEAD = 4
_POLL_S = 0.05
# What file systems say that have no such locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

Fetch = Callable[[BinaryIO], None]


class Stopped(Exception):
    """Ends a wait whose pass is over already."""


class ShardCache:
    """Shards of datasets in stores on this machine's disk.

    Args:
        folder: Where they lie; others than the files above are never touched there.
        limit: At most so many bytes of them.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit

    def path(self, shard: Shard) -> Path:
        """Where a shard lies when it is there.

        Raises:
            RefusedError: Its SHA-256 is none, and might lead out of the folder.
        """
        if not re.fullmatch("[0-9a-f]{64}", shard.sha256):
            raise RefusedError(
                f"The manifest cannot be read. Expected for shard '{shard.name}' a SHA-256 of 64 hexadecimal digits, "
                f"received {shard.sha256!r}. Do not use this dataset."
            )
        return self.folder / f"{shard.sha256}{WHOLE}"

    def pin(self, shard: Shard, fetch: Fetch, stop: threading.Event) -> int:
        """A descriptor of a whole shard, which stays in the cache until that is closed.

        Args:
            fetch: Called where the shard is not there: writes it into a file, or raises.
            stop: Ends the wait for another process that fetches it.
        """
        while True:
            descriptor = self._open(shard)
            if descriptor is not None:
                return descriptor
            part = self._begin(shard)
            if part is not None:
                return self._fill(part, shard, fetch)
            if stop.wait(_POLL_S):
                raise Stopped

    def drop(self, shard: Shard) -> None:
        """Forgets a shard, whose bytes are not what they were."""
        self.path(shard).unlink(missing_ok=True)

    @contextmanager
    def reserve(self, shards: Sequence[Shard], at_once: int) -> Iterator[int]:
        """Takes the room that a pass over `shards` needs while it reads `at_once` of them at a time.

        Room that is taken before anything is fetched cannot run out later, when each of two
        processes holds what the other one waits for.

        Yields:
            How many shards the pass may hold: `at_once`, and up to AHEAD more where the half of the cache has room.

        Raises:
            UsageError: The cache is too small.
        """
        with self._alone():
            taken = sum(self._reservations())
            need = self.need(shards, at_once)
            self._check_room(need, taken)
            sums = [self.need(shards, count) for count in range(at_once, at_once + AHEAD + 1)]
            count = at_once + sum(size <= max(need, (self.limit - taken) // 2) for size in sums) - 1
            path = self.folder / f"{uuid.uuid4().hex}{READER}"
            descriptor = _locked(path)
            os.write(descriptor, str(self.need(shards, count)).encode())
        try:
            yield count
        finally:
            with self._alone():
                path.unlink(missing_ok=True)
            os.close(descriptor)

    @staticmethod
    def need(shards: Sequence[Shard], at_once: int) -> int:
        """Bytes of the `at_once` largest of `shards`."""
        return sum(sorted((shard.bytes for shard in shards), reverse=True)[:at_once])

    def check_room(self, need: int) -> None:
        """Raises UsageError unless `need` bytes are free for a pass, what other passes hold left aside."""
        with self._alone():
            self._check_room(need, sum(self._reservations()))

    def _check_room(self, need: int, taken: int) -> None:
        if need + taken > self.limit:
            raise UsageError(
                f"The cache in '{self.folder}' is too small. Expected room for the shards that are read at once, "
                f"{need / 1e9:.3g} GB, beside the {taken / 1e9:.3g} GB of other passes, received "
                f"{self.limit / 1e9:.3g} GB. Pass --cache-gb {1.1 * (need + taken) / 1e9:.2g} or more, or make the "
                "dataset with a smaller --shard-mb."
            )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Holds the lock of the folder."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        except PermissionError as error:
            raise UsageError(
                f"The cache in '{self.folder}' cannot be used ({error.strerror}). Expected a folder of this user, who "
                "may write there, received another. Pass --cache with a folder of your own."
            ) from None
        try:
            _lock(descriptor, fcntl.LOCK_EX, self.folder)
            yield
        finally:
            os.close(descriptor)

    def _open(self, shard: Shard) -> int | None:
        """A locked descriptor of a shard that is there; None where it is not."""
        try:
            descriptor = os.open(self.path(shard), os.O_RDONLY)
        except FileNotFoundError:
            return None
        _lock(descriptor, fcntl.LOCK_SH, self.folder)
        status = os.fstat(descriptor)
        if status.st_nlink and status.st_size == shard.bytes:
            os.utime(descriptor)  # the time of its last use, by which the next to go is chosen
            return descriptor
        os.close(descriptor)
        if status.st_nlink:  # else it was removed between our opening and our locking
            self.drop(shard)
        return None

    def _begin(self, shard: Shard) -> int | None:
        """A new, locked part for a shard, with room made for it; None where another one has it, or has just ended."""
        path = self.path(shard).with_suffix(PART)
        with self._alone():
            if self.path(shard).exists():
                return None
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, self.folder)
                os.ftruncate(descriptor, 0)
                self._make_room(shard.bytes)
                # As large as it will be, so that others see the room as taken.
                os.ftruncate(descriptor, shard.bytes)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except BaseException:
                os.close(descriptor)
                raise
        return descriptor

    def _fill(self, descriptor: int, shard: Shard, fetch: Fetch) -> int:
        """Fetches a shard into its part and gives that its final name."""
        path = self.path(shard).with_suffix(PART)
        try:
            with os.fdopen(descriptor, "r+b", closefd=False) as file:
                fetch(file)
                file.flush()
            os.fsync(descriptor)
            with self._alone():
                path.replace(self.path(shard))
                # The kernel may let go of the lock while it changes it: nobody removes anything meanwhile.
                _lock(descriptor, fcntl.LOCK_SH, self.folder)
        except BaseException:
            with self._alone():
                path.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        return descriptor

    def _make_room(self, wanted: int) -> None:
        """Removes what nobody uses, the least recently used first, until `wanted` more bytes are within the limit."""
        found = [path for path in self.folder.iterdir() if _SHARD_NAME.fullmatch(path.name)]
        states = sorted(((path.stat(), path) for path in found), key=lambda state: state[0].st_mtime_ns)
        excess = sum(status.st_size for status, _ in states) + wanted - self.limit
        for status, path in states:
            if excess <= 0:
                return
            if _remove_unused(path):
                excess -= status.st_size

    def _reservations(self) -> Iterator[int]:
        """Bytes of each pass that is under way; what killed ones left is removed."""
        for path in self.folder.iterdir():
            if _READER_NAME.fullmatch(path.name) and not _remove_unused(path):
                yield int(path.read_bytes() or b"0")


def _lock(descriptor: int, how: int, folder: Path) -> None:
    """Locks an opened file.

    Raises:
        BlockingIOError: Another one holds it, and `how` says not to wait.
        UsageError: The file system has no locks.
    """
    try:
        fcntl.flock(descriptor, how)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise UsageError(
                f"The file system of '{folder}' has no locks ({error.strerror}). Expected one that has, so that "
                "processes can share the cache. Pass --cache with a folder on a disk of this machine."
            ) from None
        raise


def _locked(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    _lock(descriptor, fcntl.LOCK_SH, path.parent)
    return descriptor


def _remove_unused(path: Path) -> bool:
    """Removes a file unless somebody has it locked; whether it is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
