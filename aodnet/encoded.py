"""Encoded records of one or more datasets, in an order that is a function of seed and epoch.

An element is (record, number of its source, number that its draws are seeded with).
"""

import functools
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal

import tensorflow as tf

from aodnet import mixing, salvage
from aodnet.mixing import Source
from aodnet.salvage import Lost
from aodnet.streaming import CacheOptions, Hold, Stream, open_stream
from hazegen import records
from hazegen.errors import VerifyError
from hazegen.manifest import Shard

OnDamage = Literal["fail", "skip"]

# Shards that a training epoch mixes.
AT_ONCE = 8
_READ_BYTES = 1 << 20


def shuffled(
    sources: Sequence[Source],
    split: str,
    seed: int,
    epoch: int | None,
    shuffle_mb: float,
    on_damage: OnDamage,
    lost: Lost | None,
) -> tf.data.Dataset:
    """All of an epoch, shuffled; the arguments are those of data.training_batches."""
    count, at, again = mixing.count_records(sources, split), epoch or 0, epoch is None
    loss = _loss(sources, on_damage, lost)
    if len(sources) == 1:
        dataset = _labelled(_shuffled(sources[0], split, (seed, at), shuffle_mb, again, loss), 0)
    else:
        chosen = mixing.choose(sources, split, seed, at)
        streams = []
        for number, source in enumerate(sources):
            held, wanted = source.manifest.records_of(split), int((chosen == number).sum())
            share = shuffle_mb / len(sources)
            passes = [
                _shuffled(source, split, (seed, at, number, turn), share, again, loss)
                for turn in range(-(-wanted // held))
            ]
            some = passes[0] if passes else tf.data.Dataset.from_tensors(b"").take(0)
            for later in passes[1:]:
                some = some.concatenate(later)
            streams.append(_labelled(some, number))
        dataset = tf.data.Dataset.choose_from_datasets(streams, tf.data.Dataset.from_tensor_slices(chosen))
    if again:
        numbers = tf.data.Dataset.random(seed=mixing.number_of(seed), rerandomize_each_iteration=True)
        return counted(tf.data.Dataset.zip(dataset, numbers).map(lambda one, number: (*one, number)), count)
    return _numbered(counted(dataset, count), count)


def in_order(sources: Sequence[Source], split: str, on_damage: OnDamage, lost: Lost | None) -> tf.data.Dataset:
    """All records of a split in the order of sources and shards."""
    loss, count = _loss(sources, on_damage, lost), mixing.count_records(sources, split)
    parts = [
        _labelled(_reading(source, source.manifest.shards_of(split), 1, loss), number)
        for number, source in enumerate(sources)
    ]
    return _numbered(counted(functools.reduce(tf.data.Dataset.concatenate, parts), count), count)


def _labelled(dataset: tf.data.Dataset, number: int) -> tf.data.Dataset:
    return tf.data.Dataset.zip(dataset, tf.data.Dataset.from_tensors(tf.constant(number)).repeat())


def _numbered(dataset: tf.data.Dataset, count: int) -> tf.data.Dataset:
    """With the place of each."""
    return tf.data.Dataset.zip(dataset, tf.data.Dataset.range(count)).map(lambda one, place: (*one, place))


def counted(dataset: tf.data.Dataset, count: int) -> tf.data.Dataset:
    """Held against the number of records that the manifests say."""
    return dataset.apply(tf.data.experimental.assert_cardinality(count))


# What records of a damaged shard are lost, by the shard's name among all; None: a damaged shard is an error.
_Loss = Callable[[Source, Shard], tuple[Lost, str]] | None


def _loss(sources: Sequence[Source], on_damage: OnDamage, lost: Lost | None) -> _Loss:
    if on_damage == "fail":
        return None
    kept = lost if lost is not None else Lost()
    return lambda source, shard: (kept, shard.name if len(sources) == 1 else f"{source.folder}/{shard.name}")


def _shuffled(
    source: Source, split: str, key: tuple[int, ...], shuffle_mb: float, again: bool, loss: _Loss
) -> tf.data.Dataset:
    """One pass over the records of a source.

    Shards in random order, several at once, then a buffer: each record may meet every other. Encoded bytes are
    shuffled: 1,000 decoded pairs of 640 x 480 would take 7.4 GB.
    """
    shards_, number = source.manifest.shards_of(split), mixing.number_of(*key)
    order = sorted(shards_, key=lambda shard: records.hash_order(f"{number} {shard.name}"))
    count = sum(shard.records for shard in shards_)
    mean_bytes = sum(shard.bytes for shard in shards_) / count
    buffer = max(1, min(count, int(shuffle_mb * 1e6 / mean_bytes)))
    dataset = _reading(source, order, AT_ONCE, loss)
    return dataset.shuffle(buffer, seed=number, reshuffle_each_iteration=again)


def _reading(source: Source, shards_: Sequence[Shard], at_once: int, loss: _Loss) -> tf.data.Dataset:
    """Records of shards, wherever they lie, `at_once` of them in turn."""
    stream = source.stream or open_stream(source.folder, CacheOptions())
    if stream is not None or loss is not None:
        return _held_shards(lambda: _holding(source, stream, shards_, at_once, loss), len(shards_), at_once)
    paths = [str(source.folder / shard.name) for shard in shards_]
    if at_once == 1:
        return _read(paths)
    return tf.data.Dataset.from_tensor_slices(paths).interleave(
        _read, cycle_length=min(at_once, len(paths)), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )


def _read(paths: Any) -> tf.data.Dataset:
    return tf.data.TFRecordDataset(paths, buffer_size=_READ_BYTES)


@contextmanager
def _holding(
    source: Source, stream: Stream | None, shards_: Sequence[Shard], at_once: int, loss: _Loss
) -> Iterator[Hold]:
    """A pass over shards of a store, or over ones that may be damaged."""
    if stream is None:
        assert loss is not None
        yield lambda number: _readable(source, shards_[number], source.folder / shards_[number].name, loss)
        return
    with stream.reading(shards_, at_once, tolerant=loss is not None) as hold:
        yield hold if loss is None else lambda number: _fetched(source, stream, shards_[number], hold(number), loss)


def _readable(source: Source, shard: Shard, path: Path | None, loss: Any) -> AbstractContextManager[Path]:
    lost, name = loss(source, shard)
    return salvage.readable(path, source.folder, source.manifest, shard, lost, name)


@contextmanager
def _fetched(
    source: Source, stream: Stream, shard: Shard, held: AbstractContextManager[Path], loss: Any
) -> Iterator[Path]:
    """A shard of a store: what is damaged there never comes into the cache, so all of it is lost; a copy that was
    damaged in the cache is used as far as it goes, and fetched again next time."""
    try:
        with held as path, _readable(source, shard, path, loss) as readable:
            if readable != path:
                stream.cache.drop(shard)
            yield readable
    except VerifyError:
        with _readable(source, shard, None, loss) as readable:
            yield readable


def _held_shards(begin: Callable[[], AbstractContextManager[Hold]], count: int, at_once: int) -> tf.data.Dataset:
    """Records of shards that are held while they are read, in the order of `_reading`.

    A pass over the shards, and in it each shard, is held as long as its iterator lives, read to its end or not.
    """
    passes: dict[int, Hold] = {}
    numbers = itertools.count()

    @contextmanager
    def begin_pass() -> Iterator[int]:
        with begin() as hold:
            number = next(numbers)
            passes[number] = hold
            try:
                yield number
            finally:
                del passes[number]

    @contextmanager
    def open_shard(of_pass: int, number: int) -> Iterator[bytes]:
        with passes[int(of_pass)](int(number)) as path:
            yield os.fsencode(path)

    # Not in parallel: files are opened in turn, each when its first record is due, so that as few are held as can be.
    return _held(begin_pass, tf.int64).flat_map(
        lambda of_pass: tf.data.Dataset.range(count).interleave(
            lambda number: _held(open_shard, tf.string, of_pass, number).flat_map(_read),
            cycle_length=min(at_once, count),
        )
    )


def _held(block: Callable[..., AbstractContextManager[Any]], kind: tf.DType, *arguments: tf.Tensor) -> tf.data.Dataset:
    """The one value of a `with` block, which is left when the dataset has been gone through or its iterator ends."""

    def values(*given: Any) -> Iterator[Any]:
        with block(*given) as value:
            yield value

    return tf.data.Dataset.from_generator(values, output_signature=tf.TensorSpec([], kind), args=arguments)
