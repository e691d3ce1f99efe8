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

import numpy as np
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
    losses = _losses(sources, on_damage, lost)
    if len(sources) == 1:
        dataset = _labelled(_shuffled(sources[0], split, [(seed, at)], shuffle_mb, again, losses[0]), 0)
    else:
        chosen = mixing.choose(sources, split, seed, at)
        streams = []
        for number, source in enumerate(sources):
            turns = -(-int((chosen == number).sum()) // source.manifest.records_of(split))
            keys = [(seed, at, number, turn) for turn in range(turns)]
            some = _shuffled(source, split, keys, shuffle_mb / len(sources), again, losses[number])
            streams.append(_labelled(some, number))
        places = tf.data.Dataset.from_tensor_slices(chosen).map(lambda one: tf.cast(one, tf.int64))
        dataset = tf.data.Dataset.choose_from_datasets(streams, places)
    if again:
        numbers = tf.data.Dataset.random(seed=mixing.number_of(seed), rerandomize_each_iteration=True)
        return counted(tf.data.Dataset.zip(dataset, numbers).map(lambda one, number: (*one, number)), count)
    return _numbered(counted(dataset, count), count)


def in_order(sources: Sequence[Source], split: str, on_damage: OnDamage, lost: Lost | None) -> tf.data.Dataset:
    """All records of a split in the order of sources and shards."""
    losses, count = _losses(sources, on_damage, lost), mixing.count_records(sources, split)
    parts = [
        _labelled(_in_order(source, source.manifest.shards_of(split), losses[number]), number)
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


# Where losses are counted, and what stands there before a shard's name; None: a damaged shard is an error.
_Loss = tuple[Lost, str] | None


def _losses(sources: Sequence[Source], on_damage: OnDamage, lost: Lost | None) -> list[_Loss]:
    """Of each source. Not by its folder: counts outlive a dataset's move."""
    if on_damage == "fail":
        return [None] * len(sources)
    kept = lost if lost is not None else Lost()
    return [(kept, f"{number}/" if len(sources) > 1 else "") for number in range(1, len(sources) + 1)]


def _shuffled(
    source: Source, split: str, keys: Sequence[tuple[int, ...]], shuffle_mb: float, again: bool, loss: _Loss
) -> tf.data.Dataset:
    """Passes over the records of a source, one after another, each in the order that belongs to its key.

    Shards in random order, several at once, then a buffer: each record may meet every other. Encoded bytes are
    shuffled: 1,000 decoded pairs of 640 x 480 would take 7.4 GB.
    """
    shards_, numbers = source.manifest.shards_of(split), [mixing.number_of(*key) for key in keys]
    count = sum(shard.records for shard in shards_)
    mean_bytes = sum(shard.bytes for shard in shards_) / count
    buffer = max(1, min(count, int(shuffle_mb * 1e6 / mean_bytes)))
    orders = np.array([_order(shards_, number) for number in numbers], np.int32).reshape(-1, len(shards_))

    def one_pass(order: Any, number: Any) -> tf.data.Dataset:
        dataset = _reading(source, shards_, order, AT_ONCE, loss)
        return dataset.shuffle(buffer, seed=number, reshuffle_each_iteration=again)

    if len(keys) == 1:
        return one_pass(orders[0], numbers[0])

    # One graph for all passes: a small dataset beside a large one goes round thousands of times.
    @tf.autograph.experimental.do_not_convert
    def seeded_pass(order: tf.Tensor, number: tf.Tensor) -> tf.data.Dataset:
        tf.compat.v1.set_random_seed(1)  # of this graph alone: TensorFlow cannot join a global seed of 0 and a tensor
        return one_pass(order, number)

    seeds = tf.data.Dataset.from_tensor_slices(np.array(numbers, np.int64))
    if again:
        seeds = tf.data.Dataset.random(seed=mixing.number_of(*keys), rerandomize_each_iteration=True)
    return tf.data.Dataset.zip(tf.data.Dataset.from_tensor_slices(orders), seeds).flat_map(seeded_pass)


def _order(shards_: Sequence[Shard], number: int) -> list[int]:
    """Places of the shards, in an order that belongs to a number."""
    return sorted(range(len(shards_)), key=lambda place: records.hash_order(f"{number} {shards_[place].name}"))


def _in_order(source: Source, shards_: Sequence[Shard], loss: _Loss) -> tf.data.Dataset:
    return _reading(source, shards_, np.arange(len(shards_), dtype=np.int32), 1, loss)


def _reading(source: Source, shards_: Sequence[Shard], order: Any, at_once: int, loss: _Loss) -> tf.data.Dataset:
    """Records of shards in an order, int32 (shards,), wherever they lie, `at_once` of them in turn."""
    stream = source.stream or open_stream(source.folder, CacheOptions())
    at_once = min(at_once, len(shards_))
    if stream is not None or loss is not None:
        return _held_shards(
            lambda places: _holding(source, stream, [shards_[place] for place in places], at_once, loss), order, at_once
        )
    paths = tf.gather(tf.constant([str(source.folder / shard.name) for shard in shards_]), order)
    if at_once == 1:
        return _read(paths)
    return tf.data.Dataset.from_tensor_slices(paths).interleave(
        _read, cycle_length=at_once, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
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
    lost, prefix = loss
    return lost.keeping(salvage.readable(path, source.folder, source.manifest, shard, lost, prefix + shard.name))


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


def _held_shards(
    begin: Callable[[Sequence[int]], AbstractContextManager[Hold]], order: Any, at_once: int
) -> tf.data.Dataset:
    """Records of shards that are held while they are read, in the order of `_reading`.

    A pass over the shards, and in it each shard, is held as long as its iterator lives, read to its end or not.
    """
    passes: dict[int, Hold] = {}
    numbers = itertools.count()

    @contextmanager
    def begin_pass(places: Any) -> Iterator[int]:
        with begin(places.tolist()) as hold:
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
    return _held(begin_pass, tf.int64, order).flat_map(
        lambda of_pass: tf.data.Dataset.range(order.shape[0]).interleave(
            lambda number: _held(open_shard, tf.string, of_pass, number).flat_map(_read), cycle_length=at_once
        )
    )


def _held(block: Callable[..., AbstractContextManager[Any]], kind: tf.DType, *arguments: tf.Tensor) -> tf.data.Dataset:
    """The one value of a `with` block, which is left when the dataset has been gone through or its iterator ends."""

    def values(*given: Any) -> Iterator[Any]:
        with block(*given) as value:
            yield value

    return tf.data.Dataset.from_generator(values, output_signature=tf.TensorSpec([], kind), args=arguments)
