"""From encoded records to batches: a window of each is decoded alone, turned as bytes, and put together.

In parallel, by tf.data. Bytes become numbers in whole batches. Where that is asked for, the device does both later.
"""

from dataclasses import dataclass

import tensorflow as tf

from aodnet import decoding, encoded
from aodnet.mixing import Source

Batch = dict[str, tf.Tensor]
_OF_PAIRS = ("clean", "hazy", "height", "width")
_OF_SCENES = ("clean", "distance", "height", "width", "distance_unit_m", "largest_m", "along_ray", "camera")
# What image_plane takes.
_PLACES = ("camera", "window", "turn")

# There is no Python control flow on tensors here; looking for it takes far longer than all the tracing.
_as_written = tf.autograph.experimental.do_not_convert


@dataclass(frozen=True)
class Form:
    """How records become examples: all that is known before the first of them.

    Attributes:
        crop: Side of the windows [px]; None: whole frames.
        augmented: Whether windows are drawn, mirrored and turned; else they are the centres.
        key: What the draws are seeded with, beside the number of each record.
        may_be_lost: Whether empty records stand for lost ones.
        as_bytes: Whether batches keep pictures and distances as bytes, and the device turns them.
    """

    sources: tuple[Source, ...]
    crop: int | None
    augmented: bool
    key: int
    may_be_lost: bool
    as_bytes: bool

    @property
    def kind(self) -> str:
        """What the records are: 'pairs' or 'scenes'."""
        return self.sources[0].manifest.kind

    @property
    def blank(self) -> tuple[int, int]:
        """Height and width of what stands for a lost record in its batch until it is taken out."""
        smallest = self.sources[0].manifest.smallest
        return (self.crop, self.crop) if self.crop else (smallest["height"], smallest["width"])


def batches(dataset: tf.data.Dataset, form: Form, count: int, batch: int, worker: tuple[int, int]) -> tf.data.Dataset:
    """Batches of this worker's share of `count` encoded records; the arguments are those of data.training_batches."""
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


def _example(form: Form, record: tf.Tensor, source: tf.Tensor, number: tf.Tensor) -> Batch:
    """One window of a record: bytes, still, and numbers."""
    if not form.may_be_lost:
        return _decoded(form, record, source, number)
    here = tf.strings.length(record) > 0
    found = tf.cond(here, lambda: _decoded(form, record, source, number), lambda: _blank(form))
    return found | {"here": here}


def _decoded(form: Form, record: tf.Tensor, source: tf.Tensor, number: tf.Tensor) -> Batch:
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
    found = dict(zip(pictures, _turned(form, list(pictures.values()), turn), strict=True)) | {"turn": turn}
    if scenes:
        found |= {name: values[name] for name in ("distance_unit_m", "largest_m", "estimated_light")}
        found["camera"] = values["camera"]
        found["window"] = tf.concat([[0, 0], size], 0) if window is None else window
        found["along_ray"], found["source"] = tf.cast(values["along_ray"], tf.int32), source
        # The low bits of both; a shift of 32 would leave them signed.
        found["draw"] = tf.cast(tf.stack([tf.cast(form.key, tf.int64), number]), tf.int32)
    return found


def _window_and_turn(form: Form, size: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor | None, tf.Tensor]:
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


def _picture(form: Form, data: tf.Tensor, source: tf.Tensor, size: tf.Tensor, window: tf.Tensor | None) -> tf.Tensor:
    codecs = [one.manifest.codec for one in form.sources]
    if len(set(codecs)) == 1:
        return decoding.decode_image(data, codecs[0], size, window)
    branches = [lambda codec=codec: decoding.decode_image(data, codec, size, window) for codec in codecs]
    return tf.switch_case(source, branches)


def _turned(form: Form, pictures: list[tf.Tensor], turn: tf.Tensor) -> list[tf.Tensor]:
    if form.augmented and not form.as_bytes:
        if form.crop is None:
            pictures = decoding.columns_reversed(pictures, turn[1])
        else:
            pictures = decoding.mirrored(pictures, turn)
    return [tf.ensure_shape(picture, [form.crop, form.crop, 3][: picture.shape.rank]) for picture in pictures]


def _blank(form: Form) -> Batch:
    """What has the form of an example, and is none."""
    height, width = form.blank
    picture, turn = tf.zeros([height, width, 3], tf.uint8), tf.zeros([3], tf.bool)
    if form.kind == "pairs":
        return {"hazy": picture, "clean": picture, "turn": turn}
    numbers: Batch = {name: tf.zeros([]) for name in ("distance_unit_m", "largest_m")}
    numbers |= {"estimated_light": tf.zeros([3]), "camera": tf.zeros([4]), "turn": turn}
    numbers |= {"window": tf.zeros([4], tf.int32), "draw": tf.zeros([2], tf.int32)}
    numbers |= {name: tf.zeros([], tf.int32) for name in ("along_ray", "source")}
    return numbers | {"clean": picture, "distance": tf.zeros([height, width], tf.uint16)}


def _finished(form: Form, batch: Batch) -> Batch:
    """A batch without what was lost, and with numbers in place of bytes unless the device makes them."""
    if form.may_be_lost:
        here = batch["here"]
        batch = {name: tf.boolean_mask(values, here) for name, values in batch.items() if name != "here"}
    turn, rest = batch["turn"], {name: values for name, values in batch.items() if name not in _PLACES}
    if form.kind == "scenes":
        rest["image_plane"] = decoding.image_plane(*(batch[name] for name in _PLACES))
    if not form.as_bytes:
        return decoding.to_numbers(rest)
    if form.augmented:
        rest |= {"turn": turn} if form.crop else {"mirrored": turn[:, 1]}
    return rest
