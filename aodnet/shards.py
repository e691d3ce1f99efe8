"""Records of a dataset's shards, wherever these lie, and what is said of damaged ones."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from aodnet.streaming import Stream
from hazegen import manifest, records
from hazegen.errors import VerifyError
from hazegen.manifest import Shard


def check_shards(folder: Path, shards: Sequence[Shard], stream: Stream | None) -> None:
    """Holds the size of every shard against the manifest, before any work.

    Raises:
        VerifyError: A shard is missing or has another size.
    """
    if stream is None:
        manifest.check_shards(folder, shards)
    else:
        stream.check(shards)


def read_records(folder: Path, shards: Sequence[Shard], stream: Stream | None) -> Iterator[bytes]:
    """All records of `shards`, in order.

    Raises:
        VerifyError: Names the damaged shard and its record; a damaged copy in the cache is removed.
    """
    if stream is None:
        for shard in shards:
            yield from _read(folder / shard.name, shard, f"Run hazegen repair {folder}, or copy the shard again.")
        return
    remedy = (
        "Its copy in the cache was removed: give the command again (aodnet fit: with --resume), and run hazegen repair "
        f"{folder} if it comes back."
    )
    with stream.reading(shards, 1) as hold:
        for number, shard in enumerate(shards):
            with hold(number) as path:
                try:
                    yield from _read(path, shard, remedy)
                except VerifyError:
                    stream.cache.drop(shard)
                    raise


def name_damage(folder: Path, shards: Sequence[Shard], stream: Stream | None) -> None:
    """Finds the damaged record, after TensorFlow has said no more than that there is one.

    Raises:
        VerifyError: Names shard and record.
    """
    if stream is not None:  # what comes from the store is held against its SHA-256: the cache's copies alone can be it
        shards = [shard for shard in shards if stream.cache.path(shard).is_file()]
    for _ in read_records(folder, shards, stream):
        pass


def _read(path: Path, shard: Shard, remedy: str) -> Iterator[bytes]:
    number = 0
    expected = "a complete record with matching checksums, received other bytes"
    try:
        for record in records.read_shard(path):
            yield record
            number += 1
        if number == shard.records:
            return
        expected = f"{shard.records} records, received {number}"
    except VerifyError:
        pass
    except FileNotFoundError:
        expected = f"{shard.records} records, received no file"
    raise VerifyError(f"Shard '{shard.name}' is damaged at record {number}. Expected {expected}. {remedy}")
