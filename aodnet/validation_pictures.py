"""The pictures that a training run shows of itself: some validation images of different scenes, the same each epoch."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from aodnet import decoding, encoded, k_colours, metrics, online, sheets
from aodnet.model import with_k
from aodnet.run import Run
from aodnet.sheets import Row
from aodnet.strips import tile
from hazegen import color

COUNT = 4
# Images that are looked through for each that is shown: neighbours are often of one scene.
_LOOKED_AT = 8


@dataclass(frozen=True)
class Example:
    """One image.

    Attributes:
        key: Of its record.
        hazy, clean: float32 (1, height, width, 3) in [0, 1].
    """

    key: str
    hazy: tf.Tensor
    clean: tf.Tensor


def choose(run: Run, count: int = COUNT) -> list[Example]:
    """At most so many validation images, spread over the split, no two of one scene.

    Raises:
        RefusedError: All of them are lost.
    """
    total = sum(known.records_of("validation") for known in run.manifests)
    for every in (max(1, total // (_LOOKED_AT * count)), 1):
        found = _scenes(run, every)
        if found:
            count = min(count, len(found))
            chosen = dict(found[number * len(found) // count] for number in range(count))
            batches = enumerate(run.validation_places(every))  # one at a time: whole frames are large
            return [
                Example(chosen[at], *online.hazy_and_clean(batch, run.recipes)) for at, batch in batches if at in chosen
            ]
    raise run.nothing_left("validation")


def _scenes(run: Run, every: int) -> list[tuple[int, str]]:
    """Place and key of the first image of each scene, of one validation image of so many that are not lost."""
    spec = decoding.feature_spec("key", "scene", kind=run.manifests[0].kind)
    stored = encoded.in_order(run.sources, "validation", run.paths.on_damage, None).shard(every, 0)
    firsts: dict[tuple[int, str], tuple[int, str]] = {}
    for place, (record, source, _) in enumerate(stored.as_numpy_iterator()):
        if record:
            values = tf.io.parse_single_example(record, spec)
            key, scene = (values[name].numpy().decode(errors="replace") for name in ("key", "scene"))
            firsts.setdefault((int(source), scene), (place, key))
    return list(firsts.values())


def grid(model: keras.Model, examples: Sequence[Example], title: str = "") -> tuple[NDArray[np.uint8], list[Row]]:
    """Hazy, restored, clean and K side by side, a row for each example; captions with the PSNR of the first two.

    Args:
        title: What is said of the restored pictures, as their epoch.

    Returns:
        The picture, and what its rows show, as sheets.encode takes them.
    """
    network = with_k(model)
    made = [_row(network, example, title) for example in examples]
    return np.vstack([pixels for pixels, _ in made]), [row for _, row in made]


def _row(network: keras.Model, example: Example, title: str) -> tuple[NDArray[np.uint8], Row]:
    output, k = (part.numpy()[0].astype(np.float32) for part in network(example.hazy, training=False))
    restored = np.clip(output, 0.0, 1.0)
    hazy, clean = (picture.numpy()[0] for picture in (example.hazy, example.clean))
    hazy, ours, clean = (color.to_uint8(picture) for picture in (hazy, restored, clean))
    psnr = [metrics.psnr(picture, clean, data_range=255.0) for picture in (hazy, ours)]
    captions = (
        f"hazy {psnr[0]:.2f} dB",
        f"restored{title} {psnr[1]:.2f} dB",
        f"clean: {example.key}",
        f"K, median {k_colours.middle(k):.2f}",
    )
    pictures = (hazy, ours, clean, k_colours.coloured(k))
    tiles = (("hazy", psnr[0]), ("restored", psnr[1]), ("clean", None), ("K", None))
    drawn = np.hstack([tile(*one) for one in zip(pictures, captions, strict=True)])
    return drawn, Row(example.key, sheets.tile_height(hazy), tiles)
