"""Files on a disk or in a store (s3://, gs://): read whole, written whole or not at all.

On a disk a file is written beside its final name, flushed, synced and renamed, and its folder synced. A store
needs no rename (its own is a copy and a deletion, nothing atomic): an object becomes visible when its upload
is complete, and an upload that ends before that leaves no object. docs/stores.md has the evidence.
"""

import argparse
import errno
import fcntl
import functools
import importlib.util
import itertools
import os
import re
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from hazegen.errors import RefusedError, StoreError, UsageError
from hazegen.store_path import StorePath

# Libraries of the stores, and the extras that bring them.
EXTRAS = {"s3": "s3fs", "gs": "gcsfs"}
TEMPORARY = ".tmp"
# What `_beside` names its files: NAME.PROCESS-TOKEN-NUMBER.tmp. A user's notes.tmp is none of them.
_TEMPORARY_NAME = re.compile(rf".+\.\d+-[0-9a-f]{{8}}-\d+{re.escape(TEMPORARY)}", re.DOTALL)

_numbers = itertools.count()
# In containers every process may have the number 1, on one shared disk.
_TOKEN = os.urandom(4).hex()
# An object is copied by one thread at a time: frames of one file are asked for by several at once.
_fetching: "weakref.WeakValueDictionary[StorePath, threading.Lock]" = weakref.WeakValueDictionary()
_guard = threading.Lock()
# What file systems say that have no hard links (exFAT, FUSE, SMB), and those that cannot sync a folder.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)
_NO_SYNC = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP)


class _NoPlace(UsageError, argparse.ArgumentTypeError):
    """An address that cannot be used; argparse shows what this kind of error says, and hides a ValueError's words."""


def place(text: str | Path) -> Path:
    """A path on a disk, or in a store as 's3://bucket/folder': the second has the same methods (StorePath).

    Raises:
        UsageError: Another scheme, no bucket, a password in the address, or the store's library is not installed.
    """
    scheme, mark, inner = str(text).partition("://")
    if not mark or isinstance(text, Path):
        return Path(text)
    if scheme not in EXTRAS:
        raise _NoPlace(
            f"'{scheme}://' is no store that can be used. Expected a folder, s3:// or gs://, received another scheme. "
            "Change the address."
        )
    bucket = inner.split("/")[0]
    if not bucket or "@" in bucket or ":" in bucket:
        received = "something else before or in place of it (not repeated here)" if bucket else "none"
        raise _NoPlace(
            f"The address does not begin with the name of a bucket. Expected {scheme}://BUCKET/FOLDER, received "
            f"{received}. Change the address; credentials come from the environment."
        )
    if importlib.util.find_spec(EXTRAS[scheme]) is None:
        raise _NoPlace(
            f"{scheme}:// needs a library that is not installed. Expected the extra '{scheme}', received an "
            f"installation without it. Run pip install 'hazegen[{scheme}]'."
        )
    return cast(Path, StorePath(scheme, PurePosixPath(inner)))


def is_remote(path: Path) -> bool:
    """Whether a path lies in a store."""
    return isinstance(path, StorePath)


def on_disk(path: Path, name: str) -> Path:
    """`path`, where it lies on a disk.

    Args:
        name: What the path is for, as the user knows it.

    Raises:
        UsageError: It lies in a store.
    """
    if is_remote(path):
        raise UsageError(
            f"{name} has to lie on a disk. Expected a path of this machine, received '{path}'. Copy it, or choose "
            "another place."
        )
    return path


def files_below(root: Path) -> Iterator[str]:
    """Paths of all files below `root`, relative to it, with forward slashes; of a store by one listing.

    Raises:
        UsageError: It is no folder.
        RefusedError: An object has a name that cannot be a path's.
    """
    if is_remote(root):
        yield from _objects_below(cast(Any, root))
        return
    if not root.is_dir():
        raise _no_folder(root)

    def fail(error: OSError) -> None:
        raise error

    ways: dict[str, frozenset[str]] = {str(root): frozenset()}
    for folder, folders, names in os.walk(str(root), onerror=fail, followlinks=True):
        way = ways.pop(folder) | {os.path.realpath(folder)}
        # A link that leads back up would be walked for ever; one to a folder beside it is a folder like any.
        inner = {name: os.path.join(folder, name) for name in sorted(folders)}  # noqa: PTH118
        folders[:] = [name for name, path in inner.items() if os.path.realpath(path) not in way]
        ways |= {inner[name]: way for name in folders}
        # Texts: paths of a million files would take ten seconds.
        relative = os.path.relpath(folder, root).replace(os.sep, "/")
        above = "" if relative == "." else f"{relative}/"
        yield from (above + name for name in names)


def _objects_below(root: StorePath) -> Iterator[str]:
    empty = True
    try:
        for name in root.names_below():
            empty = False
            yield _checked(name, root)
    except FileNotFoundError as error:  # of a bucket: a folder without objects is an empty listing
        raise UsageError(
            f"'{root}' is not a folder. Expected a folder of a bucket that is there, received no such bucket "
            f"({error.strerror}). Check the address."
        ) from error
    if empty:
        raise _no_folder(cast(Path, root))


def _checked(name: str, root: StorePath) -> str:
    """The name of an object, where it is one that a path can have."""
    if {"", ".", ".."}.isdisjoint(name.split("/")):
        return name
    raise RefusedError(
        f"An object below '{root}' has a name that no file can have. Expected no empty part, '.' or '..' between "
        f"slashes, received '{name}'. Rename or remove it, or choose a folder without it."
    )


def _no_folder(root: Path) -> UsageError:
    received = "nothing of that name" if not root.exists() else "an empty one" if root.is_dir() else "a file"
    return UsageError(f"'{root}' is not a folder. Expected a folder of files, received {received}. Check the path.")


@functools.lru_cache(maxsize=64)
def _is_folder_of_store(path: StorePath) -> bool:
    return path.is_dir()


def is_folder(path: Path) -> bool:
    """Whether a path that an option names is a folder; a store is asked once, not for each scene."""
    return _is_folder_of_store(cast(Any, path)) if is_remote(path) else path.is_dir()


def with_suffixes(stem: Path, suffixes: Iterable[str]) -> list[Path]:
    """The files of this name with one of these suffixes that are there; of a store by one listing."""
    paths = [stem.with_name(stem.name + suffix) for suffix in suffixes]
    if not is_remote(stem):
        return [path for path in paths if path.is_file()]
    there = set(cast(Any, stem.parent).names_beginning(f"{stem.name}."))
    return [path for path in paths if path.name in there]


class _Copy:
    """A whole copy of an object on this machine's disk, for as long as somebody refers to it."""

    def __init__(self, path: StorePath) -> None:
        with path.open("rb") as source:
            try:
                folder = tempfile.mkdtemp(prefix="hazegen-")
                weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
                self.path = Path(folder) / path.name
                with self.path.open("wb") as target:
                    shutil.copyfileobj(source, target, 2**20)
            except OSError as error:  # of this machine alone: what fails in the store is a StoreError
                raise StoreError(
                    f"'{path}' cannot be copied to this machine: {error}. Expected room for it in the folder for "
                    "temporary files, received none. Make room, or set TMPDIR; the same command goes on."
                ) from error


@functools.lru_cache(maxsize=2)
def _copy(path: StorePath, mark: str) -> _Copy:  # noqa: ARG001 - a changed object is copied again
    return _Copy(path)


@contextmanager
def _alone(path: StorePath) -> Iterator[None]:
    with _guard:
        lock = _fetching.setdefault(path, threading.Lock())
    with lock:
        yield


@contextmanager
def local_copy(path: Path) -> Iterator[Path]:
    """The path itself on a disk; of an object a whole copy, for libraries that need a file. The last two are kept.

    Raises:
        RefusedError: There is no such object.
        StoreError: The store fails, or the folder for temporary files does.
    """
    if not is_remote(path):
        yield path
        return
    remote = cast(Any, path)
    try:
        with _alone(remote):
            copy = _copy(remote, remote.mark())
            if not copy.path.is_file():  # some machines clear their temporary folders now and then
                _copy.cache_clear()
                copy = _copy(remote, remote.mark())
    except FileNotFoundError:
        raise RefusedError(
            f"'{path}' is not a file. Expected an object of the store, received nothing of that name. Check the path."
        ) from None
    yield copy.path


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A new file that has its final name only when all of it is written; an error leaves what was there."""
    if is_remote(path):
        with _upload(cast(Any, path)) as file:
            yield file
        return
    with _beside(path) as (file, temporary):
        yield file
        _flush(file)
        publish(temporary, path)


def write_new(path: Path, lines: Iterable[str]) -> bool:
    """A text file, as `write_text` writes it, where none of its name is there yet.

    Of several writers at once one succeeds: by a link on a disk (where there are no links, by a lock of the folder,
    which writers of other machines may not see), by the condition 'If-None-Match: *' in a store.
    A store that does not know this condition lets the last one succeed.

    Returns:
        False where there is one already, which may hold anything; in a store also this writer's own, where the
        answer to its upload was lost and the second try found it. Compare what is there.
    """
    if is_remote(path):
        return _upload_new(cast(Any, path), lines)
    with _beside(path) as (file, temporary):
        _write_lines(file, lines)
        _flush(file)
        try:
            _link(temporary, path)
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    return True


def _link(temporary: Path, final: Path) -> None:
    """Gives a file a name that no other file has; it may lose its own.

    Raises:
        FileExistsError: Another has it.
    """
    try:
        os.link(temporary, final)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _rename_new(temporary, final)


def _rename_new(temporary: Path, final: Path) -> None:
    folder = os.open(final.parent, os.O_RDONLY)
    try:
        with suppress(OSError):  # no locks either: then two writers at once are not told apart
            fcntl.flock(folder, fcntl.LOCK_EX)
        if final.exists():
            raise FileExistsError(errno.EEXIST, "File exists", str(final))
        temporary.replace(final)
    finally:
        os.close(folder)


@contextmanager
def _beside(path: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """A temporary file beside `path`, and its own path; removed when the block fails."""
    # Process, machine and a counter: two writers of one name never share a temporary file.
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{_TOKEN}-{next(_numbers)}{TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            yield file, temporary
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def publish(temporary: Path, final: Path) -> None:
    """Gives a file on a disk its final name."""
    temporary.replace(final)
    _sync_folder(final.parent)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(folder)


@contextmanager
def _upload(path: StorePath, *, only_new: bool = False) -> Iterator[IO[bytes]]:
    file = path.upload(only_new=only_new)
    try:
        yield cast(IO[bytes], file)
        file.close()
    except KeyboardInterrupt:  # ends at once; the parts go by the bucket's rule for uploads that nobody completes
        file.leave()
        raise
    except BaseException:
        file.discard()
        raise


def _upload_new(path: StorePath, lines: Iterable[str]) -> bool:
    if path.exists():  # some stores do not know the condition
        return False
    try:
        with _upload(path, only_new=True) as file:
            _write_lines(file, lines)
    except (FileExistsError, StoreError):
        # What a refused condition is called differs from store to store.
        if not path.exists():
            raise
        return False
    return True


def write_text(path: Path, lines: Iterable[str]) -> None:
    """A text file, as `whole_file` writes it; names of files that are no UTF-8 come back as they were."""
    with whole_file(path) as file:
        _write_lines(file, lines)


def _write_lines(file: IO[bytes], lines: Iterable[str]) -> None:
    for line in lines:
        file.write(line.encode("utf-8", "surrogateescape"))


def is_temporary(name: str) -> bool:
    """Whether a file of this name is one that a killed writer has left."""
    return _TEMPORARY_NAME.fullmatch(name) is not None


def sweep(folder: Path, name: str = "") -> int:
    """Removes what killed writers left in a folder on a disk; returns how many files. Call it when no other writes.

    Args:
        name: Of the one file whose writers are meant.
    """
    if is_remote(folder) or not folder.is_dir():
        return 0
    named = (path for path in folder.iterdir() if path.name.startswith(name) and is_temporary(path.name))
    left = [path for path in named if path.is_file() and not path.is_symlink()]
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)
