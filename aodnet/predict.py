"""aodnet predict: removes haze from pictures of any size and kind."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from aodnet.model import MARGIN
from hazegen import color, images
from hazegen.errors import HazegenError, RefusedError, UsageError
from hazegen.images import Pixels

# Pixels that go through the network at once: about 400 MB of activations.
TILE_PIXELS = 4_000_000

Restore = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class Predicted:
    """What became of the inputs: files written, and the errors of those that could not be read."""

    written: list[Path]
    problems: list[str]


def predict(model: keras.Model, inputs: list[Path], out: Path) -> Predicted:
    """Restores every picture of `inputs` (files, or folders of files) into the folder `out`.

    Each is written under its own name, in its own format: alpha is kept, grey stays grey, 16 bits
    stay 16 bits, and a picture that its EXIF tag turns is written upright.

    Raises:
        UsageError: Nothing to read, two inputs of one name, or an output that would replace an input.
    """
    files = _list_files(inputs)
    _check_targets(files, out)
    out.mkdir(parents=True, exist_ok=True)
    restore = restorer(model)
    written: list[Path] = []
    problems: list[str] = []
    for path in files:
        try:
            data = images.read_file(path)
            pixels = images.upright(images.decode(data, path.name), images.orientation(data))
            encoded = images.encode(restore_picture(restore, pixels, path.name), path.suffix)
            temporary = out / f".{path.name}.tmp"
            temporary.write_bytes(encoded)
            temporary.replace(out / path.name)
            written.append(out / path.name)
        except (HazegenError, OSError) as error:
            problems.append(f"{path}: {error}")
    return Predicted(written, problems)


def restorer(model: keras.Model) -> Restore:
    """A function from hazy to restored pixels, float32 (height, width, 3) in [0, 1], of any size.

    Pictures above 4 megapixels go through in bands that overlap by the receptive field, so the
    result is the same as in one piece.
    """
    call = tf.function(
        lambda batch: model(batch, training=False), input_signature=[tf.TensorSpec([1, None, None, 3], tf.float32)]
    )

    def restore(hazy: NDArray[np.float32]) -> NDArray[np.float32]:
        height, width = hazy.shape[:2]
        rows = max(1, TILE_PIXELS // width)
        bands = []
        for top in range(0, height, rows):
            start = max(0, top - MARGIN)
            band = call(hazy[None, start : top + rows + MARGIN])[0].numpy()
            bands.append(band[top - start : top - start + min(rows, height - top)])
        return np.clip(np.concatenate(bands), 0.0, 1.0)

    return restore


def restore_picture(restore: Restore, pixels: Pixels, name: str) -> Pixels:
    """`restore` for 8 or 16 bits, grey, RGB or RGBA; the result has the kind of the input."""
    if pixels.dtype not in (np.uint8, np.uint16):
        raise RefusedError(
            f"'{name}' is no photograph. Expected 8 or 16 bits a channel, received {pixels.dtype}. Convert it first."
        )
    to_integers = color.to_uint8 if pixels.dtype == np.uint8 else color.to_uint16
    values = color.to_float(pixels)
    if values.ndim == 2:
        gray = restore(np.repeat(values[..., None], 3, axis=2))
        return to_integers(np.asarray(cv2.cvtColor(gray, cv2.COLOR_RGB2GRAY), np.float32))
    restored = to_integers(restore(np.ascontiguousarray(values[..., :3])))
    return np.concatenate([restored, pixels[..., 3:]], axis=2)


def _list_files(inputs: list[Path]) -> list[Path]:
    from hazegen.pairing import IMAGE_SUFFIXES

    files: list[Path] = []
    for path in inputs:
        inside = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES) if path.is_dir() else [path]
        files += inside
    if not files:
        raise UsageError(
            f"There is nothing to restore. Expected pictures or folders of pictures, received {len(inputs)} paths "
            "without any. Check the paths."
        )
    return files


def _check_targets(files: list[Path], out: Path) -> None:
    names = [path.name for path in files]
    doubled = sorted({name for name in names if names.count(name) > 1})
    replaced = [str(path) for path in files if path.resolve() == (out / path.name).resolve()]
    if doubled or replaced:
        raise UsageError(
            f"Outputs would be overwritten. Expected names that differ and a folder of its own, received {len(doubled)}"
            f" names twice and {len(replaced)} inputs in '{out}' ({(doubled + replaced)[0]}). Choose another --out, or"
            " give one folder at a time."
        )
