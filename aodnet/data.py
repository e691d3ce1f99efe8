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

The order of the stages: encoded records are read, shuffled and skipped, since they are small; a window of each is
decoded alone, in parallel; bytes become numbers in whole batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from aodnet import decoding, encoded, mixing, shards
from aodnet.encoded import AT_ONCE, OnDamage
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

Batch = dict[str, tf.Tensor]
_OF_PAIRS = ("clean", "hazy", "height", "width")
_OF_SCENES = ("clean", "distance", "height", "width", "distance_unit_m", "largest_m", "along_ray", "camera")
_NO_SURFACE = 65535


@dataclass(frozen=True)
class _Form:
    """How records become examples: all that is known before the first of them."""

    sources: tuple[Source, ...]
    kind: str
    crop: int | None
    augmented: bool
    key: int
    may_be_lost: bool

    @property
    def blank(self) -> tuple[int, int]:
        """Height and width of what stands for a lost record in its batch until it is taken out."""
        smallest = self.sources[0].manifest.smallest
        return (self.crop, self.crop) if self.crop else (smallest["height"], smallest["width"])


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
    """
    _check(sources, split, crop, batch, worker)
    form = _form(sources, crop, on_damage, mixing.number_of(seed, epoch or 0), augmented=True)
    dataset = encoded.shuffled(sources, split, seed, epoch, shuffle_mb, on_damage, lost).skip(skip * batch)
    return _batches(dataset, form, mixing.count_records(sources, split) - skip * batch, batch, worker)


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
) -> tf.data.Dataset:
    """All records of a split in the order of sources and shards: whole frames, or centre crops; never augmented.

    Whole frames of different sizes need a batch of 1. The seeds of haze are those of the places, always the same.

    Args:
        every: One record of so many is decoded, the first and so on.
    """
    _check(sources, split, crop, batch, worker)
    form = _form(sources, crop, on_damage, mixing.number_of("validation"), augmented=False)
    dataset = encoded.in_order(sources, split, on_damage, lost).shard(every, 0)
    return _batches(dataset, form, -(-mixing.count_records(sources, split) // every), batch, worker)


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


# --- examples and batches ---

# There is no Python control flow on tensors here; looking for it takes far longer than all the tracing.
_as_written = tf.autograph.experimental.do_not_convert


def _form(sources: Sequence[Source], crop: int | None, on_damage: OnDamage, key: int, *, augmented: bool) -> _Form:
    return _Form(tuple(sources), sources[0].manifest.kind, crop, augmented, key, on_damage == "skip")


def _batches(dataset: tf.data.Dataset, form: _Form, count: int, batch: int, worker: tuple[int, int]) -> tf.data.Dataset:
    """Batches of this worker's share of `count` encoded records."""
    (own, workers), whole, rest = worker, count // batch, count % batch
    size = len(range(own, batch, workers))
    if workers > 1:
        dataset = dataset.enumerate().filter(lambda place, _: place % batch % workers == own).map(lambda _, one: one)
        dataset = encoded.counted(dataset, whole * size + len(range(own, rest, workers)))
    dataset = dataset.map(
        _as_written(lambda *record: _example(form, *record)), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    ).batch(size)
    if own >= rest > 0:  # the others have a last batch: nobody may wait for one who has none
        dataset = dataset.concatenate(tf.data.Dataset.from_tensors(_empty(dataset.element_spec)))
    return dataset.map(
        _as_written(lambda some: _finished(form, some)), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    ).prefetch(tf.data.AUTOTUNE)


def _empty(specs: dict[str, tf.TensorSpec]) -> Batch:
    """A batch of nothing."""
    return {
        name: tf.zeros([0, *(side or 0 for side in spec.shape.as_list()[1:])], spec.dtype)
        for name, spec in specs.items()
    }


def _example(form: _Form, record: tf.Tensor, source: tf.Tensor, number: tf.Tensor) -> Batch:
    """One window of a record: bytes, still, and numbers."""
    if not form.may_be_lost:
        return _decoded(form, record, source, number)
    here = tf.strings.length(record) > 0
    found = tf.cond(here, lambda: _decoded(form, record, source, number), lambda: _blank(form))
    return found | {"here": here}


def _decoded(form: _Form, record: tf.Tensor, source: tf.Tensor, number: tf.Tensor) -> Batch:
    scenes = form.kind == "scenes"
    names = (*_OF_SCENES, "estimated_light") if scenes else _OF_PAIRS
    values = tf.io.parse_single_example(record, decoding.feature_spec(*names, kind=form.kind))
    size = tf.cast(tf.stack([values["height"], values["width"]]), tf.int32)
    window, turn = _window_and_turn(form, size, tf.stack([tf.cast(form.key, tf.int64), number]))
    pictures = {
        name: _picture(form, values[name], source, size, window)
        for name in (("clean",) if scenes else ("hazy", "clean"))
    }
    if scenes:
        pictures["distance"] = decoding.decode_distance(values["distance"], size, window)
    found = dict(zip(pictures, _turned(form, list(pictures.values()), turn), strict=True))
    if scenes:
        found |= {name: values[name] for name in ("distance_unit_m", "largest_m", "estimated_light")}
        found |= {"camera": values["camera"], "turn": turn}
        found["window"] = tf.concat([[0, 0], size], 0) if window is None else window
        found["along_ray"], found["source"] = tf.cast(values["along_ray"], tf.int32), source
        # The low bits of both; a shift of 32 would leave them signed.
        found["draw"] = tf.cast(tf.stack([tf.cast(form.key, tf.int64), number]), tf.int32)
    return found


def _window_and_turn(form: _Form, size: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor | None, tf.Tensor]:
    """Where the window lies, None for the whole frame, and how it is mirrored and turned."""
    if not form.augmented:
        turn = tf.constant([False] * 3)
        return (None if form.crop is None else tf.concat([(size - form.crop) // 2, [form.crop] * 2], 0)), turn
    draws = tf.random.stateless_uniform([5], seed)
    turn = draws[2:] < 0.5
    if form.crop is None:  # rows stay rows: frames of one size stay of one size, and the sky is not to the left
        return None, tf.stack([False, turn[1], False])
    room = tf.cast(size - form.crop + 1, tf.float32)
    return tf.concat([tf.cast(draws[:2] * room, tf.int32), [form.crop] * 2], 0), turn


def _picture(form: _Form, data: tf.Tensor, source: tf.Tensor, size: tf.Tensor, window: tf.Tensor | None) -> tf.Tensor:
    codecs = [one.manifest.codec for one in form.sources]
    if len(set(codecs)) == 1:
        return decoding.decode_image(data, codecs[0], size, window)
    branches = [lambda codec=codec: decoding.decode_image(data, codec, size, window) for codec in codecs]
    return tf.switch_case(source, branches)


def _turned(form: _Form, pictures: list[tf.Tensor], turn: tf.Tensor) -> list[tf.Tensor]:
    if form.augmented:
        whole = form.crop is None
        pictures = (
            [decoding.columns_reversed(picture, turn[1]) for picture in pictures]
            if whole
            else decoding.mirrored(pictures, turn)
        )
    return [tf.ensure_shape(picture, [form.crop, form.crop, 3][: picture.shape.rank]) for picture in pictures]


def _blank(form: _Form) -> Batch:
    """What has the form of an example, and is none."""
    height, width = form.blank
    picture = tf.zeros([height, width, 3], tf.uint8)
    if form.kind == "pairs":
        return {"hazy": picture, "clean": picture}
    numbers: Batch = {name: tf.zeros([]) for name in ("distance_unit_m", "largest_m")}
    numbers |= {"estimated_light": tf.zeros([3]), "camera": tf.zeros([4]), "turn": tf.zeros([3], tf.bool)}
    numbers |= {"window": tf.zeros([4], tf.int32), "draw": tf.zeros([2], tf.int32)}
    numbers |= {name: tf.zeros([], tf.int32) for name in ("along_ray", "source")}
    return numbers | {"clean": picture, "distance": tf.zeros([height, width], tf.uint16)}


def _finished(form: _Form, batch: Batch) -> Batch:
    """A batch without what was lost, and with numbers in place of bytes."""
    if form.may_be_lost:
        here = batch["here"]
        batch = {name: tf.boolean_mask(values, here) for name, values in batch.items() if name != "here"}
    found = {
        name: tf.image.convert_image_dtype(values, tf.float32) if name in ("clean", "hazy") else values
        for name, values in batch.items()
    }
    if form.kind == "scenes":
        found["image_plane"] = decoding.image_plane(*(found.pop(name) for name in ("camera", "window", "turn")))
        units, unit_m = found.pop("distance"), found.pop("distance_unit_m")
        metres = tf.cast(units, tf.float32) * unit_m[:, None, None]
        found["distance_m"] = tf.where(units == _NO_SURFACE, float("inf"), metres)
    return found
