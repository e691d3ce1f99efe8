"""From the shards of one or more datasets to batches, in one order that is a function of seed and epoch.

A batch of pairs is {hazy, clean}: float32 in [0, 1], (n, height, width, 3). A batch of scenes holds what online.py
draws haze from:

    clean            float32 in [0, 1], (n, height, width, 3)
    distance_m       float32 (n, height, width), infinite where there is no surface
    largest_m        float32 (n,), the whole frame's largest finite distance
    estimated_light  float32 (n, 3), zeros where the recipe estimates none
    along_ray        int32 (n,), 1 where distances are along rays
    image_plane      float32 (n, 2, 3), of decoding.image_plane
    source           int32 (n,), which of the sources it comes from
    draw             int32 (n, 2), the seed of its haze

With `as_bytes`, for a GPU, pictures are uint8 in [0, 255] still and not yet turned, beside them in training

    turn             bool (n, 3), of windows: as decoding.mirrored takes it
    mirrored         bool (n,), of whole frames: whether columns are reversed

and a batch of scenes has in place of distance_m

    distance         uint16 (n, height, width), 65535 where there is no surface
    distance_unit_m  float32 (n,), the length of one unit [m]

of which online.hazy_and_clean makes the same numbers, on the device: a quarter of the memory is written and moved.

The order of the stages: encoded records are read, shuffled and skipped (encoded.py), since they are small; then they
become batches (examples.py).
"""

from collections.abc import Sequence

import tensorflow as tf

from aodnet import decoding, encoded, examples, mixing, shards
from aodnet.encoded import AT_ONCE, OnDamage
from aodnet.examples import Form
from aodnet.mixing import Source, steps_of
from aodnet.salvage import Lost
from hazegen.errors import UsageError
from hazegen.manifest import Manifest

__all__ = [
    "AT_ONCE",
    "Lost",
    "Source",
    "check_crop",
    "explain",
    "key_at",
    "keys_of",
    "steps_of",
    "training_batches",
    "validation_batches",
]


def training_batches(
    sources: Sequence[Source],
    *,
    crop: int | None,
    batch: int,
    seed: int,
    epoch: int | None = None,
    skip: int = 0,
    shuffle_mb: float = 256.0,
    split: str = "train",
    worker: tuple[int, int] = (0, 1),
    on_damage: OnDamage = "fail",
    lost: Lost | None = None,
    as_bytes: bool = False,
) -> tf.data.Dataset:
    """Shuffled, cropped, mirrored and turned batches of one split, the last one included.

    An epoch has as many examples as the sources have records: each record once, or, where the sources have weights,
    drawn by these from endless shuffled passes over each source.

    Args:
        crop: Side of the square windows [px]; None: whole frames, of one size (or in batches of 1), mirrored alone.
        epoch: Order, windows, turns and seeds of haze are a function of (seed, epoch), and the order also of
            TensorFlow's global seed, which `aodnet fit` sets. None: a dataset that draws them afresh each time it is
            gone through, for `model.fit`.
        skip: Batches of the epoch that are done already.
        shuffle_mb: Memory for the shuffle buffers, which hold encoded records.
        worker: (i, n): of each batch, examples i, i + n, ... alone. n workers together see what one would; all have
            the same number of batches, of which the last may be empty.
        on_damage: fail: a damaged shard is an error of TensorFlow's, which `explain` explains. skip: what is lost
            leaves its place in its batch, which is smaller then, or empty.
        lost: Receives what was lost.
        as_bytes: Leaves it to online.hazy_and_clean, on a GPU, to turn pictures and to make numbers of bytes.
    """
    _check(sources, split, crop, batch, worker)
    form = Form(tuple(sources), crop, True, mixing.number_of(seed, epoch or 0), on_damage == "skip", as_bytes)
    dataset = encoded.shuffled(sources, split, seed, epoch, shuffle_mb, on_damage, lost).skip(skip * batch)
    return examples.batches(dataset, form, mixing.count_records(sources, split) - skip * batch, batch, worker)


def validation_batches(
    sources: Sequence[Source],
    *,
    split: str = "validation",
    crop: int | None = None,
    batch: int = 1,
    every: int = 1,
    worker: tuple[int, int] = (0, 1),
    on_damage: OnDamage = "fail",
    lost: Lost | None = None,
    as_bytes: bool = False,
) -> tf.data.Dataset:
    """All records of a split in the order of sources and shards: whole frames, or centre crops; never augmented.

    Whole frames of different sizes need a batch of 1. The seeds of haze are those of the places, always the same.

    Args:
        every: One record of so many is decoded, the first and so on.
    """
    _check(sources, split, crop, batch, worker)
    form = Form(tuple(sources), crop, False, mixing.number_of("validation"), on_damage == "skip", as_bytes)
    dataset = encoded.in_order(sources, split, on_damage, lost).shard(every, 0)
    return examples.batches(dataset, form, -(-mixing.count_records(sources, split) // every), batch, worker)


def keys_of(
    sources: Sequence[Source],
    *,
    batch: int,
    seed: int,
    epoch: int,
    step: int,
    shuffle_mb: float = 256.0,
    split: str = "train",
    on_damage: OnDamage = "fail",
) -> list[str]:
    """The keys of the whole batch that is step `step` of an epoch, found by going through the same order again."""
    dataset = encoded.shuffled(sources, split, seed, epoch, shuffle_mb, on_damage, None)
    return _keys(dataset.skip(step * batch).take(batch), sources)


def key_at(sources: Sequence[Source], place: int, *, split: str = "validation", on_damage: OnDamage = "fail") -> str:
    """The key of the record at one place of validation_batches with a batch of 1; empty where it is lost."""
    return "".join(_keys(encoded.in_order(sources, split, on_damage, None).skip(place).take(1), sources))


def _keys(dataset: tf.data.Dataset, sources: Sequence[Source]) -> list[str]:
    spec = decoding.feature_spec("key", kind=sources[0].manifest.kind)
    found = [record.numpy() for record, _, _ in dataset]
    return [tf.io.parse_single_example(record, spec)["key"].numpy().decode() for record in found if record]


def explain(
    error: tf.errors.OpError, sources: Sequence[Source], splits: Sequence[str], lost: Lost | None = None
) -> None:
    """Raises what is behind an error of TensorFlow's that a batch ended with, if it is a store or a damaged shard.

    Args:
        lost: Where damaged records are skipped: what they cost; they are not what the batch ended with.

    Raises:
        VerifyError: Names shard, record, and what to do.
        StoreError, OSError: The store of a source failed, or a disk.
    """
    if lost is not None and lost.failure is not None:
        raise lost.failure from None
    for source in sources:
        if source.stream is not None and source.stream.failure is not None:
            raise source.stream.failure from None
    told = (tf.errors.DataLossError, tf.errors.NotFoundError, tf.errors.FailedPreconditionError)
    if lost is None and isinstance(error, (*told, tf.errors.InvalidArgumentError)):
        for source in sources:
            chosen = [shard for split in splits for shard in source.manifest.shards if shard.split == split]
            shards.name_damage(source.folder, chosen, source.stream)


def check_crop(manifest: Manifest, crop: int) -> None:
    """Raises UsageError unless every image of the dataset has a window of `crop` pixels."""
    least = min(manifest.smallest.values())
    if not 1 <= crop <= least:
        raise UsageError(
            f"The crop is out of range. Expected 1 to {least} pixels, the least side of this dataset's images, "
            f"received {crop}. Change --crop."
        )


def _check(sources: Sequence[Source], split: str, crop: int | None, batch: int, worker: tuple[int, int]) -> None:
    mixing.check_sources(sources, split)
    for source in sources if crop is not None else ():
        check_crop(source.manifest, crop or 0)
    if batch < worker[1]:
        raise UsageError(
            f"The batch is too small to be dealt out. Expected at least one example for each of {worker[1]} workers, "
            f"received a batch of {batch}. Enlarge --batch, or use fewer workers."
        )
