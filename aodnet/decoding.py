"""From one record to numbers: parsed, a window of it decoded alone, mirrored and turned. Everything runs in tf.data."""

from typing import Any

import tensorflow as tf

from hazegen import records

_TF_TYPES = {"text": tf.string, "bytes": tf.string, "float": tf.float32, "int": tf.int64}
# Records are little-endian, whatever the machine.
_RAW: dict[str, Any] = {"little_endian": True}


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

    Of several ways to do this, the one that costs least: rows change places as whole rows, and pixels only where they
    have to.

    Args:
        pictures: (height, width) or (height, width, channels).
        turn: Whether rows are reversed, columns are, and then rows and columns change places, bool (3,).
    """
    upright = [_rows_reversed(picture, turn[0]) for picture in pictures]

    def swapped() -> list[tf.Tensor]:
        turned = [tf.transpose(picture, [1, 0, 2][: picture.shape.rank]) for picture in upright]
        return [_rows_reversed(picture, turn[1]) for picture in turned]

    return tf.cond(turn[2], swapped, lambda: [columns_reversed(picture, turn[1]) for picture in upright])


def columns_reversed(picture: tf.Tensor, yes: tf.Tensor) -> tf.Tensor:
    """A picture, mirrored left to right where `yes`."""
    return tf.raw_ops.Reverse(tensor=picture, dims=tf.stack([False, yes, False][: picture.shape.rank]))


def _rows_reversed(picture: tf.Tensor, yes: tf.Tensor) -> tf.Tensor:
    rows = tf.range(tf.shape(picture)[0])
    return tf.gather(picture, tf.where(yes, rows[::-1], rows))


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
