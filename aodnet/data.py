"""From a dataset's shards to batches, in one order that is a function of seed and epoch.

A batch is (hazy, clean), float32 in [0, 1], (batch, height, width, 3).
"""

import hashlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf

from aodnet.streaming import CacheOptions, Hold, Stream, open_stream
from hazegen import records
from hazegen.errors import UsageError
from hazegen.manifest import Manifest, Shard

# Shards that a training epoch mixes.
AT_ONCE = 8
_READ_BYTES = 1 << 20
_TF_TYPES = {"text": tf.string, "bytes": tf.string, "float": tf.float32, "int": tf.int64}


def feature_spec(*names: str) -> dict[str, tf.io.FixedLenFeature]:
    """TensorFlow's specification of some features of a record, from the one table of them."""
    chosen = {name: records.FEATURES[name] for name in names}
    return {
        name: tf.io.FixedLenFeature([] if feature.size == 1 else [feature.size], _TF_TYPES[feature.kind])
        for name, feature in chosen.items()
    }


def decode_image(data: tf.Tensor, codec: str, window: tf.Tensor | None = None) -> tf.Tensor:
    """Pixels of an encoded image, float32 in [0, 1]; of `window` (top, left, height, width) alone if given.

    The one place where the project decodes with TensorFlow. INTEGER_ACCURATE is bit for bit what
    OpenCV and Pillow decode; the default is up to 18 levels off.
    """
    if codec == "png":
        pixels = tf.io.decode_png(data, channels=3)
        if window is not None:
            pixels = tf.slice(pixels, tf.concat([window[:2], [0]], 0), tf.concat([window[2:], [3]], 0))
    elif window is not None:
        pixels = tf.io.decode_and_crop_jpeg(data, window, channels=3, dct_method="INTEGER_ACCURATE")
    else:
        pixels = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
    return tf.image.convert_image_dtype(pixels, tf.float32)


def training_batches(
    folder: Path,
    manifest: Manifest,
    *,
    crop: int,
    batch: int,
    seed: int,
    epoch: int | None = None,
    skip: int = 0,
    shuffle_mb: float = 256.0,
    split: str = "train",
    stream: Stream | None = None,
) -> tf.data.Dataset:
    """Shuffled, cropped, flipped and turned batches of one split, each record once, the last batch included.

    Args:
        crop: Side of the square windows [px].
        epoch: The order, the windows and the turns are a function of (seed, epoch), and of TensorFlow's
            global seed, which `aodnet fit` sets. None: a dataset that draws them afresh each time it is
            gone through, for `model.fit`.
        skip: Batches of the epoch that are done already.
        shuffle_mb: Memory for the shuffle buffer, which holds encoded records.
        stream: How shards of a store are read [default: through a cache in its default place]. The batches are
            those of a copy on a disk, to the bit.
    """
    check_crop(manifest, crop)
    shards = manifest.shards_of(split)
    count = sum(shard.records for shard in shards)
    again = epoch is None
    key = _seed(seed, epoch or 0)
    order = sorted(shards, key=lambda shard: records.hash_order(f"{key} {shard.name}"))
    mean_bytes = sum(shard.bytes for shard in shards) / count
    buffer = max(1, min(count, int(shuffle_mb * 1e6 / mean_bytes)))
    stream = stream or open_stream(folder, CacheOptions())
    # Shards in random order, several at once, then a buffer: each record may meet every other.
    dataset = _mixed([folder / shard.name for shard in order]) if stream is None else _streamed(stream, order, AT_ONCE)
    # Encoded bytes are shuffled: 1,000 decoded pairs of 640 x 480 would take 7.4 GB.
    dataset = dataset.shuffle(buffer, seed=key, reshuffle_each_iteration=again)
    draws = tf.data.Dataset.random(seed=key, rerandomize_each_iteration=again)
    dataset = tf.data.Dataset.zip(dataset, draws)
    # Resuming skips encoded records: nothing is decoded in vain.
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(count)).skip(skip * batch)
    dataset = dataset.map(
        lambda record, draw: _augmented(record, tf.stack([key, draw]), manifest.codec, crop),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    return dataset.batch(batch).prefetch(tf.data.AUTOTUNE)


def validation_batches(
    folder: Path,
    manifest: Manifest,
    *,
    split: str = "validation",
    crop: int | None = None,
    batch: int = 1,
    stream: Stream | None = None,
) -> tf.data.Dataset:
    """All records of a split in the order of its shards: whole frames, or centre crops; never augmented.

    Whole frames of different sizes need a batch of 1.
    """
    if crop is not None:
        check_crop(manifest, crop)
    shards = manifest.shards_of(split)
    stream = stream or open_stream(folder, CacheOptions())
    dataset = _read([str(folder / shard.name) for shard in shards]) if stream is None else _streamed(stream, shards, 1)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(sum(shard.records for shard in shards)))
    dataset = dataset.map(
        lambda record: _plain(record, manifest.codec, crop), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    return dataset.batch(batch).prefetch(tf.data.AUTOTUNE)


def _seed(seed: int, epoch: int) -> int:
    digest = hashlib.sha256(f"{seed} {epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 2


def _read(paths: Any) -> tf.data.Dataset:
    return tf.data.TFRecordDataset(paths, buffer_size=_READ_BYTES)


def _mixed(paths: list[Path]) -> tf.data.Dataset:
    """Records of files on a disk, AT_ONCE of them in turn."""
    return tf.data.Dataset.from_tensor_slices([str(path) for path in paths]).interleave(
        _read,
        cycle_length=min(AT_ONCE, len(paths)),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def _streamed(stream: Stream, shards: Sequence[Shard], at_once: int) -> tf.data.Dataset:
    """Records of shards in a store, `at_once` of them in turn, in the order of `_mixed`.

    A pass over the shards, and in it each shard, is held as long as its iterator lives, read to its end or not.
    """
    passes: dict[int, Hold] = {}
    numbers = itertools.count()

    @contextmanager
    def begin() -> Iterator[int]:
        with stream.reading(shards, at_once) as hold:
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
    return _held(begin, tf.int64).flat_map(
        lambda of_pass: tf.data.Dataset.range(len(shards)).interleave(
            lambda number: _held(open_shard, tf.string, of_pass, number).flat_map(_read),
            cycle_length=min(at_once, len(shards)),
        )
    )


def _held(block: Callable[..., AbstractContextManager[Any]], kind: tf.DType, *arguments: tf.Tensor) -> tf.data.Dataset:
    """The one value of a `with` block, which is left when the dataset has been gone through or its iterator ends."""

    def values(*given: Any) -> Iterator[Any]:
        with block(*given) as value:
            yield value

    return tf.data.Dataset.from_generator(values, output_signature=tf.TensorSpec([], kind), args=arguments)


def _augmented(record: tf.Tensor, seed: tf.Tensor, codec: str, crop: int) -> tuple[tf.Tensor, tf.Tensor]:
    """One window of a pair, mirrored and turned at random, both images alike."""
    values = tf.io.parse_single_example(record, feature_spec("clean", "hazy", "height", "width"))
    draws = tf.random.stateless_uniform([4], seed)
    room = tf.cast(tf.stack([values["height"], values["width"]]) - crop + 1, tf.float32)
    corner = tf.cast(draws[:2] * room, tf.int32)
    window = tf.concat([corner, [crop, crop]], 0)
    turns = tf.cast(draws[2] * 4.0, tf.int32)

    def turned(data: tf.Tensor) -> tf.Tensor:
        pixels = decode_image(data, codec, window)
        pixels = tf.cond(draws[3] < 0.5, lambda: tf.reverse(pixels, [1]), lambda: pixels)
        return tf.ensure_shape(tf.image.rot90(pixels, turns), [crop, crop, 3])

    return turned(values["hazy"]), turned(values["clean"])


def _plain(record: tf.Tensor, codec: str, crop: int | None) -> tuple[tf.Tensor, tf.Tensor]:
    values = tf.io.parse_single_example(record, feature_spec("clean", "hazy", "height", "width"))
    window = None
    if crop is not None:
        size = tf.cast(tf.stack([values["height"], values["width"]]), tf.int32)
        window = tf.concat([(size - crop) // 2, [crop, crop]], 0)
    return decode_image(values["hazy"], codec, window), decode_image(values["clean"], codec, window)


def check_crop(manifest: Manifest, crop: int) -> None:
    """Raises UsageError unless every image of the dataset has a window of `crop` pixels."""
    least = min(manifest.smallest.values())
    if not 1 <= crop <= least:
        raise UsageError(
            f"The crop is out of range. Expected 1 to {least} pixels, the least side of this dataset's images, "
            f"received {crop}. Change --crop."
        )
