"""Addresses in a store (s3://, gs://) with the methods of pathlib.Path that the project uses of a path.

One client a process, for all threads. Whatever fails in a store becomes a StoreError (store_file.py), so that no
caller takes a store that does not answer for a file that is missing or damaged.
"""

import fnmatch
import functools
import io
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import PurePosixPath
from typing import IO, Any

from hazegen.store_file import Guarded, failures

# Each try of a request ends after these seconds of silence.
CONNECT_S, READ_S = 5, 15
# Tries of a request that botocore makes, with pauses that double; and rounds of these that s3fs makes where the
# connection fails, three more where it fails in the middle of an object. A store that takes connections and never
# answers costs 3 minutes, or 9 where an object is read; one that says 500 some seconds.
TRIES, ROUNDS = 4, 3
# Bytes of one part of an upload (smaller files are one request) and of one request of a file that is read in pieces.
PART_BYTES = 16 * 2**20


def options(scheme: str) -> dict[str, Any]:
    """What a store's client is told; the address of the store and the credentials come from the environment."""
    if scheme != "s3":
        return {"use_listings_cache": False}
    tries = {"mode": "standard", "total_max_attempts": TRIES}
    config = {"connect_timeout": CONNECT_S, "read_timeout": READ_S, "retries": tries, "max_pool_connections": 32}
    # Listings are not cached: other processes write there too. One transfer a file: files are read side by side.
    return {"use_listings_cache": False, "max_concurrency": 1, "config_kwargs": config}


@functools.cache
def _client(scheme: str, process: int) -> Any:  # noqa: ARG001 - a forked process needs a client of its own
    import fsspec  # type: ignore[import-untyped,import-not-found,unused-ignore]

    client = fsspec.filesystem(scheme, skip_instance_cache=True, **options(scheme))
    client.retries = ROUNDS
    return client


def forget_clients() -> None:
    """The next request makes a new client, which reads the environment again: for tests, which change it."""
    _client.cache_clear()


class StorePath:
    """A folder or an object of a store. Folders need not be made, and are there while something is in them."""

    __slots__ = ("_inner", "_scheme")

    def __init__(self, scheme: str, inner: PurePosixPath) -> None:
        self._scheme, self._inner = scheme, inner

    # --- names ---

    def __str__(self) -> str:
        return f"{self._scheme}://{self._inner}"

    def __repr__(self) -> str:
        return f"StorePath({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return StorePath, (self._scheme, self._inner)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StorePath) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __lt__(self, other: "StorePath") -> bool:
        return str(self) < str(other)

    def __truediv__(self, name: object) -> "StorePath":
        return StorePath(self._scheme, self._inner / str(name))

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def stem(self) -> str:
        return self._inner.stem

    @property
    def suffix(self) -> str:
        return self._inner.suffix

    @property
    def parts(self) -> tuple[str, ...]:
        return self._inner.parts

    @property
    def parent(self) -> "StorePath":
        return StorePath(self._scheme, self._inner.parent if len(self._inner.parts) > 1 else self._inner)

    @property
    def parents(self) -> tuple["StorePath", ...]:
        return tuple(StorePath(self._scheme, parent) for parent in self._inner.parents if parent.parts)

    def with_name(self, name: str) -> "StorePath":
        return StorePath(self._scheme, self._inner.with_name(name))

    def with_suffix(self, suffix: str) -> "StorePath":
        return StorePath(self._scheme, self._inner.with_suffix(suffix))

    def relative_to(self, other: "StorePath") -> PurePosixPath:
        return self._inner.relative_to(other._inner)

    def is_relative_to(self, other: object) -> bool:
        return isinstance(other, StorePath) and self._inner.is_relative_to(other._inner)

    def as_posix(self) -> str:
        return str(self)

    def resolve(self) -> "StorePath":
        return self

    absolute = resolve

    def is_absolute(self) -> bool:
        return True

    # --- what is there ---

    def _info(self) -> dict[str, Any]:
        with failures(self):
            return dict(self.fs.info(self.path))

    def stat(self) -> os.stat_result:
        """Size and time of an object, as a file on a disk has them.

        Raises:
            FileNotFoundError: No object of this name; a folder is none.
        """
        info = self._info()
        if info["type"] != "file":
            raise FileNotFoundError(f"'{self}' is a folder of a store")
        changed = info.get("LastModified") or info.get("mtime")
        seconds = int(changed.timestamp()) if changed else 0
        return os.stat_result((stat.S_IFREG | 0o644, 0, 0, 1, 0, 0, int(info["size"]), seconds, seconds, seconds))

    def mark(self) -> str:
        """What changes when the object does."""
        info = self._info()
        return str([info.get(name) for name in ("ETag", "etag", "size", "LastModified", "mtime")])

    def _kind(self) -> str:
        try:
            return str(self._info()["type"])
        except FileNotFoundError:
            return ""

    def exists(self) -> bool:
        return bool(self._kind())

    def is_file(self) -> bool:
        return self._kind() == "file"

    def is_dir(self) -> bool:
        return self._kind() == "directory"

    def iterdir(self) -> Iterator["StorePath"]:
        """What lies in a folder, by one listing."""
        with failures(self):
            found = self.fs.ls(self.path, detail=False)
        for name in found:
            path = StorePath(self._scheme, PurePosixPath(name))
            if path != self:  # some tools put an empty object of the folder's name there
                yield path

    def glob(self, pattern: str) -> Iterator["StorePath"]:
        """What of a folder itself has a name of this pattern; nothing where there is no such folder."""
        with suppress(FileNotFoundError):
            yield from (path for path in self.iterdir() if fnmatch.fnmatchcase(path.name, pattern))

    def names_below(self) -> Iterator[str]:
        """Names of all objects below, relative to this one, a page of the listing at a time."""
        for key in self._keys(""):
            if not key.endswith("/"):
                yield key.removeprefix(f"{self.path}/")

    def names_beginning(self, start: str) -> Iterator[str]:
        """Names of the objects in this folder that begin so, by one listing."""
        for key in self._keys(start):
            if "/" not in (name := key.removeprefix(f"{self.path}/")):
                yield name

    def _keys(self, start: str) -> Iterator[str]:
        """Bucket and key of all objects whose path below this one begins with `start`."""
        if self._scheme != "s3":
            with failures(self):
                yield from self.fs.find(self.path, prefix=start)
            return
        bucket, _, prefix = f"{self.path}/{start}".partition("/")
        more: dict[str, str] = {}
        while True:
            with failures(self):  # find() would keep a million dictionaries: 1 GB
                page = self.fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, **more)
            yield from (f"{bucket}/{entry['Key']}" for entry in page.get("Contents", ()))
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    # --- reading and writing ---

    @property
    def fs(self) -> Any:
        """The client of the store; what it raises is not told in our words."""
        return _client(self._scheme, os.getpid())

    @property
    def path(self) -> str:
        """Bucket and key."""
        return str(self._inner)

    def read_bytes(self) -> bytes:
        """The whole object, by one request: never parts of two versions."""
        with failures(self):
            return bytes(self.fs.cat_file(self.path))

    def read_part(self, start: int, stop: int) -> bytes:
        """Bytes of the object from `start` to before `stop`, or to its end."""
        with failures(self):
            return bytes(self.fs.cat_file(self.path, start=start, end=stop))

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self.read_bytes().decode(encoding, errors)

    def write_bytes(self, data: bytes) -> int:
        with failures(self):
            self.fs.pipe_file(self.path, bytes(data))
        return len(data)

    def write_text(self, text: str, encoding: str = "utf-8", errors: str = "strict") -> int:
        return self.write_bytes(text.encode(encoding, errors))

    def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """A file to read, in pieces; one that is replaced meanwhile is a StoreError. `stores.whole_file` writes."""
        if mode not in ("r", "rb", "rt"):
            raise io.UnsupportedOperation(f"'{self}': files of a store are written whole, by stores.whole_file")
        with failures(self):
            raw = Guarded(self.fs.open(self.path, "rb", block_size=PART_BYTES), self)
        file = io.BufferedReader(raw, buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE)
        return file if mode == "rb" else io.TextIOWrapper(file, encoding or "utf-8", errors, newline)

    def upload(self, *, only_new: bool = False) -> "Guarded":
        """A file to write, that becomes visible when it is closed, and stays unseen when it is discarded.

        Args:
            only_new: Closing fails where an object of this name is there already, in stores that know this condition.
        """
        with failures(self):
            return Guarded(self.fs.open(self.path, "xb" if only_new else "wb", block_size=PART_BYTES), self)

    def unlink(self, missing_ok: bool = False) -> None:
        if not missing_ok:
            self.stat()
        with failures(self), suppress(FileNotFoundError):
            self.fs.rm_file(self.path)

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: a store has no folders of their own."""

    def rmdir(self) -> None:
        """Nothing: a folder is gone with its last object."""
