"""Builds the shards of a plan by one of the engines, and tells what is still needed where a disk is full."""

import errno
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hazegen import engine, stores
from hazegen.build import Built, ShardTask
from hazegen.errors import StoreError
from hazegen.make_options import MakeOptions
from hazegen.manifest import Shard
from hazegen.progress import Progress
from hazegen.records import Kind

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Of the tables and the card, which are written in the end.
BYTES_PER_SCENE = 600

Build = Callable[[ShardTask, engine.Report], Built]


@dataclass
class Need:
    """How many bytes a run still has to write; counts as shards come in.

    Attributes:
        pairs: Records (pairs, or scenes) that are in no finished shard yet.
        scenes: Scenes of all shards.
        guess: Bytes of a record, as long as none is there.
        made_pairs, made_bytes: Of the finished shards.
        kind: What the records are.
    """

    pairs: int
    scenes: int
    guess: float
    made_pairs: int = 0
    made_bytes: int = 0
    kind: Kind = "pairs"

    def add(self, shard: Shard) -> None:
        self.made_pairs += shard.records
        self.made_bytes += shard.bytes

    @property
    def bytes(self) -> int:
        # The larger of both: what is named has to be enough.
        mean = max(self.guess, self.made_bytes / self.made_pairs if self.made_pairs else 0.0)
        return int(self.pairs * mean + self.scenes * BYTES_PER_SCENE)


@contextmanager
def on_disk(out: Path, need: Need) -> Iterator[None]:
    """Turns a full disk, or a quota that is used up, into a message that says how many bytes are needed."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        if error.errno == errno.EFBIG:
            raise StoreError(
                f"'{out}' cannot take a file of that size ({error.strerror}). Expected no limit below that of a shard, "
                f"received one (ulimit -f, or that of the file system); about {need.bytes:,} more bytes are needed "
                f"({need.pairs} {need.kind}). Raise the limit and run the same command again: finished shards stay."
            ) from error
        raise StoreError(
            f"'{out}' cannot take more ({error.strerror}). Expected room for about {need.bytes:,} more bytes "
            f"({need.pairs} {need.kind}), received {free_bytes(out):,} bytes free on its disk, or a quota below that. "
            "Free so much and run the same command again: finished shards stay."
        ) from error


def free_bytes(out: Path) -> int:
    """Bytes that are free on the disk of a folder, which need not be there yet."""
    folder = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.is_dir())
    return shutil.disk_usage(folder).free


def warn_of_space(out: Path, need: Need, tell: Callable[[str], object]) -> None:
    """Tells, before the work, that it will probably not fit."""
    if not stores.is_remote(out) and need.bytes > (free := free_bytes(out)):
        tell(
            f"The dataset may not fit on its disk. Expected about {need.bytes / 1e6:,.0f} MB free for '{out}', "
            f"received {free / 1e6:,.0f} MB. Free some, or choose fewer --variants, a lower --quality or another disk."
        )


def run(
    build: Build, tasks: Iterable[ShardTask], count: int, options: MakeOptions, progress: Progress, variants: int
) -> Generator[Built, None, None]:
    """The built shards, in the order in which they end.

    Args:
        build: What builds one.
        count: Number of tasks.
        variants: Pairs of a scene, which nobody makes of a rejected one.
    """
    for built in _by_engine(build, tasks, workers_of(options, count), options.scheduler, progress.pairs):
        rejected = sum(row["fate"] == "rejected" for row in built.rows)
        progress.shard(built.shard.bytes, rejected, rejected * variants)
        yield built


def workers_of(options: MakeOptions, count: int) -> int:
    """How many work at once on so many shards; one works in this process."""
    return min(options.workers or engine.cores(), count)


def _by_engine(
    build: Build, tasks: Iterable[ShardTask], workers: int, scheduler: str | None, report: engine.Report
) -> Iterator[Built]:
    if scheduler is not None:
        from hazegen import cluster

        return cluster.run(build, tasks, scheduler, report)
    if workers > 1:
        from hazegen import pool

        return pool.run(build, tasks, workers, report)
    return (build(task, report) for task in tasks)
