"""Files on a disk or in a store (s3://, gs://): read whole, written whole or not at all.

On a disk a file is written beside its final name, flushed, synced and renamed, and its folder synced. A store
needs no rename (its own is a copy and a deletion, nothing atomic): an object becomes visible when its upload
is complete, and an upload that ends before that leaves no object.
"""

import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from hazegen.errors import UsageError

# Libraries of the stores, and the extras that bring them.
EXTRAS = {"s3": "s3fs", "gs": "gcsfs"}
TEMPORARY = ".tmp"

_numbers = itertools.count()


def place(text: str | Path) -> Path:
    """A path on a disk, or in a store as 's3://bucket/folder': the second has the same methods.

    Raises:
        UsageError: Another scheme, or the store's library is not installed.
    """
    scheme, mark, _ = str(text).partition("://")
    if not mark:
        return Path(text)
    if scheme not in EXTRAS:
        raise UsageError(
            f"'{scheme}://' is no store that can be used. Expected a folder, s3:// or gs://, received another scheme. "
            "Change the address."
        )
    try:
        __import__(EXTRAS[scheme])
        from upath import UPath
    except ImportError:
        raise UsageError(
            f"{scheme}:// needs a library that is not installed. Expected the extra '{scheme}', received an "
            f"installation without it. Run pip install 'hazegen[{scheme}]'."
        ) from None
    # Listings are not cached: other processes write there too.
    return cast(Path, UPath(text, use_listings_cache=False))


def is_remote(path: Path) -> bool:
    """Whether a path lies in a store."""
    return not isinstance(path, Path)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A new file that has its final name only when all of it is written; an error leaves what was there."""
    if is_remote(path):
        with _upload(path) as file:
            yield file
        return
    # The process's number and a counter: two writers of one name never share a temporary file.
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{next(_numbers)}{TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        publish(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def publish(temporary: Path, final: Path) -> None:
    """Gives a file on a disk its final name."""
    temporary.replace(final)
    folder = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _upload(path: Any) -> Iterator[IO[bytes]]:
    file = path.open("wb")
    try:
        yield file
    except BaseException:
        file.discard()
        raise
    file.close()


def write_text(path: Path, lines: Iterable[str]) -> None:
    """A text file, as `whole_file` writes it; names of files that are no UTF-8 come back as they were."""
    with whole_file(path) as file:
        for line in lines:
            file.write(line.encode("utf-8", "surrogateescape"))


def sweep(folder: Path) -> int:
    """Removes what killed writers left in a folder on a disk; returns how many files. Call it when no other writes."""
    if is_remote(folder) or not folder.is_dir():
        return 0
    left = [path for path in folder.iterdir() if path.name.endswith(TEMPORARY)]
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)
