"""From one record to numbers: parsed, a window of it decoded alone, mirrored and turned. Everything runs in tf.data."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from hazegen import records

_TF_TYPES = {"text": tf.string, "bytes": tf.string, "float": tf.float32, "int": tf.int64}
# Records are little-endian, whatever the machine.
_RAW: dict[str, Any] = {"little_endian": True}
_NO_SURFACE = 65535.0


def feature_spec(*names: str, kind: str = "pairs") -> dict[str, tf.io.FixedLenFeature]:
    """TensorFlow's specification of some features of a record, from the one table of them; zeros for one left out."""
    chosen = {name: records.TABLES[kind][name] for name in names}
    return {
        name: tf.io.FixedLenFeature(
            [] if feature.size == 1 else [feature.size],
            _TF_TYPES[feature.kind],
            [0] * feature.size if feature.optional and feature.kind in ("float", "int") else None,
        )
        for name, feature in chosen.items()
    }


def decode_image(
    data: tf.Tensor, codec: str, size: tf.Tensor | None = None, window: tf.Tensor | None = None
) -> tf.Tensor:
    """Pixels of an encoded image, uint8 (height, width, 3); of `window` alone if given.

    The one place where the project decodes with TensorFlow. INTEGER_ACCURATE is bit for bit what
    OpenCV and Pillow decode; the default is up to 18 levels off.

    Args:
        size: Height and width of the image, int32 (2,), which `raw` does not say itself.
        window: Top, left, height and width, int32 (4,).
    """
    if codec == "raw":
        assert size is not None
        return _slice_raw(data, tf.uint8, size, window, 3)
    if codec == "png":
        pixels = tf.io.decode_png(data, channels=3)
        if window is None:
            return pixels
        return tf.slice(pixels, tf.concat([window[:2], [0]], 0), tf.concat([window[2:], [3]], 0))
    if window is None:
        return tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
    return tf.io.decode_and_crop_jpeg(data, window, channels=3, dct_method="INTEGER_ACCURATE")


def decode_distance(data: tf.Tensor, size: tf.Tensor, window: tf.Tensor | None = None) -> tf.Tensor:
    """Distances in their unit as a record has them, uint16 (height, width); of `window` alone if given."""
    return _slice_raw(data, tf.uint16, size, window, 1)[..., 0]


def _slice_raw(data: tf.Tensor, kind: tf.DType, size: tf.Tensor, window: tf.Tensor | None, channels: int) -> tf.Tensor:
    """Numbers of a window of an uncompressed picture, (height, width, channels): no copy of more than its rows."""
    if window is None:
        return tf.reshape(tf.io.decode_raw(data, kind, **_RAW), tf.concat([size, [channels]], 0))
    row_bytes = size[1] * (channels * kind.size)
    rows = tf.strings.substr(data, window[0] * row_bytes, window[2] * row_bytes)
    band = tf.reshape(tf.io.decode_raw(rows, kind, **_RAW), tf.stack([window[2], size[1], channels]))
    return band[:, window[1] : window[1] + window[3]]


def mirrored(pictures: list[tf.Tensor], turn: tf.Tensor) -> list[tf.Tensor]:
    """One of the eight mirrored and turned versions of pictures of one size, of all the same.

    Of several ways to do this, the one that costs least: whole rows change places, and pixels only where they have to.

    Args:
        pictures: (height, width) or (height, width, channels).
        turn: Whether rows are reversed, columns are, and then rows and columns change places, bool (3,).
    """
    upright = _where(turn[0], _rows_reversed, pictures)

    def swapped() -> list[tf.Tensor]:
        turned = [tf.transpose(picture, [1, 0, 2][: picture.shape.rank]) for picture in upright]
        return _where(turn[1], _rows_reversed, turned)

    # Not one choice of eight: TensorFlow's executor goes through the operations of branches that are not taken, too.
    return tf.cond(turn[2], swapped, lambda: columns_reversed(upright, turn[1]))


def columns_reversed(pictures: list[tf.Tensor], yes: tf.Tensor) -> list[tf.Tensor]:
    """Pictures, mirrored left to right where `yes`."""
    return _where(yes, _columns_reversed, pictures)


def _where(yes: tf.Tensor, change: Callable[[tf.Tensor], tf.Tensor], pictures: list[tf.Tensor]) -> list[tf.Tensor]:
    """Pictures, changed where `yes`, else not even copied."""
    return tf.cond(yes, lambda: [change(picture) for picture in pictures], lambda: list(pictures))


def _columns_reversed(picture: tf.Tensor) -> tf.Tensor:
    return tf.reverse(picture, [1])


def _rows_reversed(picture: tf.Tensor) -> tf.Tensor:
    return tf.gather(picture, tf.range(tf.shape(picture)[0] - 1, -1, -1))


def to_numbers(batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """A batch with numbers in place of bytes: pictures in [0, 1], distances in metres, infinite without a surface.

    Args:
        batch: As data.training_batches yields it, with bytes, or with numbers, which stay as they are.
    """
    found = {
        name: tf.image.convert_image_dtype(values, tf.float32) if values.dtype == tf.uint8 else values
        for name, values in batch.items()
    }
    if "distance" in found:
        units, unit_m = tf.cast(found.pop("distance"), tf.float32), found.pop("distance_unit_m")
        found["distance_m"] = tf.where(units == _NO_SURFACE, float("inf"), units * unit_m[:, None, None])
    turn, mirror = found.pop("turn", None), found.pop("mirrored", None)
    pictures = {name: found[name] for name in ("hazy", "clean", "distance_m") if name in found}
    if turn is not None:
        found |= {name: _turned(values, turn) for name, values in pictures.items()}
    if mirror is not None:
        found |= {name: _chosen(mirror, values[:, :, ::-1], values) for name, values in pictures.items()}
    return found


def _turned(pictures: tf.Tensor, turns: tf.Tensor) -> tf.Tensor:
    """As `mirrored`, of square pictures (n, side, side, ...) each by its own turn, on a device that computes faster
    than it could choose."""
    pictures = _chosen(turns[:, 0], pictures[:, ::-1], pictures)
    pictures = _chosen(turns[:, 1], pictures[:, :, ::-1], pictures)
    return _chosen(turns[:, 2], tf.transpose(pictures, [0, 2, 1, 3][: pictures.shape.rank]), pictures)


def _chosen(yes: tf.Tensor, these: tf.Tensor, those: tf.Tensor) -> tf.Tensor:
    return tf.where(tf.reshape(yes, [-1] + [1] * (those.shape.rank - 1)), these, those)


def image_plane(cameras: tf.Tensor, windows: tf.Tensor, turns: tf.Tensor) -> tf.Tensor:
    """Where the pixels of mirrored and turned windows lie on the image plane, float32 (n, 2, 3).

    Of (x - cx) / fx and of (y - cy) / fy: that of a window's first pixel, and by how much they grow with each row and
    with each column. NaN where the camera is not known.

    Args:
        cameras: fx, fy, cx, cy [px]; zeros where they are not known, (n, 4).
        windows: Top, left, height and width, int32 (n, 4).
        turns: As in `mirrored`, (n, 3).
    """
    focal, centre = tf.where(cameras[:, :2] > 0.0, cameras[:, :2], float("nan")), cameras[:, 2:]
    corner, size = tf.cast(windows[:, 1::-1], tf.float32), tf.cast(windows[:, 2:], tf.float32)
    # Of x and y, by rows and columns: x grows with columns alone, y with rows.
    steps = tf.constant([[0.0, 1.0], [1.0, 0.0]]) / focal[:, :, None]
    back = tf.cast(turns[:, None, :2], tf.float32)
    first = (corner - centre) / focal + tf.reduce_sum(back * (size[:, None] - 1.0) * steps, 2)
    steps *= 1.0 - 2.0 * back
    steps = tf.where(turns[:, 2, None, None], steps[:, :, ::-1], steps)
    return tf.concat([first[:, :, None], steps], 2)
