"""Passes over the shards of a dataset in a store: fetched into the cache ahead of their use, in order."""

import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aodnet.fetching import fetch
from aodnet.shard_cache import ShardCache
from hazegen import stores
from hazegen.errors import UsageError, VerifyError
from hazegen.manifest import Shard
from hazegen.store_path import failures

_FETCHERS = 3
_DEFAULT_GB = 20.0

# The local file of the shard of this number, which stays there as long as the block lasts.
Hold = Callable[[int], AbstractContextManager[Path]]


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """Where shards of a dataset in a store lie on this machine.

    Attributes:
        cache: Folder for shards of a dataset in a store; any number of runs may share it [default: hazegen/shards in
            $XDG_CACHE_HOME or ~/.cache].
        cache_gb: At most so much of them, in 1e9 bytes: what was not used for longest is removed first [default: 20].
    """

    cache: Path | None = None
    cache_gb: float | None = None

    def __post_init__(self) -> None:
        if self.cache_gb is not None and not 0.0 < self.cache_gb < 1e9:
            raise UsageError(
                f"--cache-gb is out of range. Expected a number above 0, received {self.cache_gb}. Change it."
            )
        if self.cache is not None:
            stores.on_disk(self.cache, "--cache")


def open_stream(data: Path, options: CacheOptions) -> "Stream | None":
    """How the shards of the dataset `data` are read from its store; None for a dataset on a disk.

    Raises:
        UsageError: Options of the cache for a dataset that needs none.
    """
    if not stores.is_remote(data):
        if options.cache is not None or options.cache_gb is not None:
            raise UsageError(
                f"--cache and --cache-gb belong to a dataset in a store. Expected one like s3://bucket/dataset, "
                f"received '{data}', which is read where it lies. Leave them out."
            )
        return None
    folder = options.cache or default_folder()
    return Stream(data, ShardCache(folder, round((options.cache_gb or _DEFAULT_GB) * 1e9)))


def default_folder() -> Path:
    """The cache's place below the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hazegen" / "shards"


class Stream:
    """The shards of a dataset in a store, read through a cache.

    Attributes:
        failure: The first error that a pass has ended with; TensorFlow passes on no more than its text.
    """

    def __init__(self, store: Path, cache: ShardCache) -> None:
        self.store = store
        self.cache = cache
        self.failure: Exception | None = None

    @contextmanager
    def reading(self, shards: Sequence[Shard], at_once: int, *, tolerant: bool = False) -> Iterator[Hold]:
        """One pass over `shards`, in their order, `at_once` of them held at a time.

        A shard of a number may be held when all before it were, and no more than `at_once` are at that time.

        Args:
            tolerant: A shard that is damaged in the store is an error of its own alone: the pass goes on.
        """
        try:
            with self.cache.reserve(shards, min(at_once, len(shards))) as window:
                ahead = _Ahead(shards, window, self._pin, tolerant)
                try:
                    yield lambda number: self._hold(shards[number], ahead, number)
                finally:
                    ahead.close()
        except Exception as error:
            self.failure = self.failure or error
            raise

    def check(self, shards: Sequence[Shard]) -> None:
        """Holds the sizes of all shards against the manifest, by one listing of the store.

        Raises:
            VerifyError: A shard is missing there or has another size.
        """
        sizes = _listing(self.store)
        for shard in shards:
            if sizes.get(shard.name) != shard.bytes:
                raise VerifyError(
                    f"Shard '{shard.name}' in '{self.store}' is not what the manifest says. Expected {shard.bytes} "
                    f"bytes, received {sizes.get(shard.name, 'no file')}. Run hazegen repair {self.store}, or copy the "
                    "dataset there again."
                )

    def _pin(self, shard: Shard, stop: threading.Event) -> int:
        return self.cache.pin(shard, lambda file: fetch(self.store, shard, file, stop), stop)

    @contextmanager
    def _hold(self, shard: Shard, ahead: "_Ahead", number: int) -> Iterator[Path]:
        try:
            descriptor = ahead.take(number)
        except Exception as error:
            if ahead.tolerant and isinstance(error, VerifyError):
                ahead.go_on()
            else:
                self.failure = self.failure or error
            raise
        try:
            yield self.cache.path(shard)
        finally:
            os.close(descriptor)
            ahead.go_on()


class _Ahead:
    """Background threads that pin shards in their order, at most `window` that were not given back yet."""

    def __init__(
        self, shards: Sequence[Shard], window: int, pin: Callable[[Shard, threading.Event], int], tolerant: bool
    ) -> None:
        self.shards, self.pin, self.tolerant = shards, pin, tolerant
        self.coming: dict[int, Future[int]] = {number: Future() for number in range(len(shards))}
        self.order = iter(list(self.coming.items()))
        self.wanted: queue.SimpleQueue[tuple[int, Future[int]] | None] = queue.SimpleQueue()
        self.lock, self.stop = threading.Lock(), threading.Event()
        self.failure: Exception | None = None
        for _ in range(window):
            self.go_on()
        # Daemons: a program that ends does not wait for a store.
        self.threads = [threading.Thread(target=self._work, daemon=True) for _ in range(min(_FETCHERS, window))]
        for thread in self.threads:
            thread.start()

    def go_on(self) -> None:
        """Lets one more shard be fetched."""
        if (job := next(self.order, None)) is not None:
            self.wanted.put(job)

    def take(self, number: int) -> int:
        """The descriptor of a pinned shard, which is the caller's from now on.

        After one error every shard has it: TensorFlow asks for more of them before it passes the error on.
        """
        if self.failure is not None:
            raise self.failure
        try:
            descriptor = self.coming[number].result()
        except Exception as error:
            if self.tolerant and isinstance(error, VerifyError):
                raise
            self.failure = error
            self.close()
            raise
        with self.lock:
            del self.coming[number]
        return descriptor

    def close(self) -> None:
        """Ends the threads soon, and gives back what nobody has taken."""
        self.stop.set()
        for _ in self.threads:
            self.wanted.put(None)
        with self.lock:
            for future in self.coming.values():
                if not future.cancel() and not future.exception():
                    os.close(future.result())
            self.coming.clear()

    def _work(self) -> None:
        while (job := self.wanted.get()) is not None and not self.stop.is_set():
            number, future = job
            try:
                descriptor = self.pin(self.shards[number], self.stop)
            except Exception as error:
                self._end(future.set_exception, error)
            else:
                if not self._end(future.set_result, descriptor):
                    os.close(descriptor)

    def _end(self, tell: Callable[[Any], None], what: object) -> bool:
        """Tells how a fetch has ended, unless the pass is over already."""
        with self.lock:
            if not self.stop.is_set():
                tell(what)
            return not self.stop.is_set()


def _listing(store: Any) -> dict[str, int]:
    """Names and sizes of the files in a folder of a store."""
    with failures(store):
        found = store.fs.ls(store.path, detail=True)
    return {entry["name"].rpartition("/")[2]: entry["size"] for entry in found if entry["type"] == "file"}
