"""aodnet export: AOD-Net for other runtimes, held against the Keras model before the file has its name."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal, get_args

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from aodnet import calibration, litert_file, onnx_file, runtimes, saved_model, weights
from aodnet.exported import Layers, Metadata, check_output, package, weights_digest
from aodnet.model import build_aodnet, convolutions
from aodnet.tiles import Restorer
from hazegen import stores
from hazegen.errors import RefusedError

Format = Literal["savedmodel", "onnx", "litert", "litert-int8"]
FORMATS: tuple[Format, ...] = get_args(Format)
# Float arithmetic in another order differs by some 1e-6; a wrong layer differs by more than 1e-2.
LARGEST_ERROR = 1e-4
# The package's and the published weights gave 37 to 56 dB, photo by photo (benchmarks/integers.py); an error of 30 dB
# is seen.
LOWEST_PSNR = 30.0
# Seed of the procedural pictures that this is measured on too; those that give ranges have 0.
UNSEEN = 1
# Height and width of what is compared: the smallest, thinner than the receptive field, odd, and a photo's.
SIZES = ((1, 1), (1, 23), (31, 1), (7, 5), (33, 47), (240, 320))

Picture = NDArray[np.float32]


@dataclass(frozen=True)
class Exported:
    """What was written, and how it agrees with the Keras model.

    Attributes:
        path: File or folder.
        bytes: Of all its files.
        max_error: Largest absolute difference of an output value, where clipped to [0, 1] for integers.
        psnr_db: Of integers alone: over the representative pictures, or over procedural ones which gave no ranges, the
            lower.
        metadata: What the file says of itself.
        sizes: Height and width of the pictures that were compared.
    """

    path: Path
    bytes: int
    max_error: float
    psnr_db: float | None
    metadata: Metadata
    sizes: Sequence[tuple[int, int]]


def export(
    model: keras.Model,
    form: Format,
    out: Path,
    *,
    height: int | None = None,
    width: int | None = None,
    pictures: Sequence[Picture] = (),
    origin: str = "",
) -> Exported:
    """Writes `model` for another runtime, runs what was written there, and compares.

    Args:
        model: AOD-Net with its weights; those below 1e-20 are written as 0.
        form: One of FORMATS.
        out: The file, which is replaced, or for a SavedModel the folder, which must be new.
        height, width: The one size it takes [px]; None: any.
        pictures: For litert-int8: representative hazy pictures, (height, width, 3) in [0, 1].
        origin: Where these come from, for the metadata.

    Raises:
        UsageError: A suffix or size that cannot be, or a package is missing.
        RefusedError: The folder exists, or the outputs differ too much; then nothing is left under the name.
    """
    check_output(form, out, height, width)
    given, model = model, build_aodnet(filters=layers_of(model)[0][0].shape[3])
    model.set_weights(given.get_weights())
    weights.flush_small(model)  # of the copy: the caller's stay as they are
    metadata = describe(model, form, height, width, f"8 bits, ranges of {origin}" if form == "litert-int8" else "none")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        temporary = Path(folder) / out.name
        metadata, restorer = _write(model, form, temporary, metadata, pictures)
        with _whole_float32():
            if form == "litert-int8":
                unseen = [_at_least(one, height, width) for one in calibration.procedural(UNSEEN)]
                told = [_agreement(model, restorer, some) for some in (pictures, unseen)]
                error, psnr_db = max(error for error, _ in told), min(psnr_db for _, psnr_db in told)
                sizes = sorted({hazy.shape[:2] for hazy in [*pictures, *unseen]})
            else:
                psnr_db = None
                error, sizes = _largest_error(model, restorer, height, width)
        _publish(temporary, out)
    size = sum(path.stat().st_size for path in [out, *out.rglob("*")] if path.is_file())
    return Exported(out, size, error, psnr_db, metadata, sizes)


def describe(
    model: keras.Model, form: str, height: int | None = None, width: int | None = None, quantization: str = "none"
) -> Metadata:
    """The metadata of an export of `model`."""
    layers = layers_of(model)
    made_by = {"hazegen": version("hazegen"), "keras": version("keras"), "numpy": version("numpy")}
    made_by |= (
        {"onnx": package("onnx", "onnx").__version__} if form == "onnx" else {"tensorflow": version("tensorflow")}
    )
    return Metadata(
        filters=layers[0][0].shape[3], weights_sha256=weights_digest(layers), height=height, width=width,
        quantization=quantization, versions=made_by,
    )  # fmt: skip


def layers_of(model: keras.Model) -> Layers:
    """Kernels and biases in the paper's order."""
    return [(kernel, bias) for kernel, bias in (layer.get_weights() for layer in convolutions(model))]


def as_onnx(model: keras.Model, metadata: Metadata | None = None) -> tuple[bytes, Metadata]:
    """The bytes of an ONNX file, and the metadata in it."""
    metadata = metadata or describe(model, "onnx")
    return onnx_file.build(layers_of(model), metadata), metadata


def as_litert(
    model: keras.Model, metadata: Metadata | None = None, pictures: Sequence[Picture] | None = None
) -> tuple[bytes, Metadata]:
    """The bytes of a LiteRT file, of integers where there are representative pictures, and the metadata in it."""
    return litert_file.convert(model, metadata or describe(model, "litert"), pictures)


def _write(
    model: keras.Model, form: Format, path: Path, metadata: Metadata, pictures: Sequence[Picture]
) -> tuple[Metadata, Restorer]:
    """Writes one file or folder, reads it back with the checks of any reader, and opens it in its own runtime."""
    if form == "savedmodel":
        saved_model.write(path, model, metadata)
        return saved_model.check(path), runtimes.open_saved_model(path)
    if form == "onnx":
        data, metadata = as_onnx(model, metadata)
        restorer = runtimes.open_onnx(data, path.name)
    else:
        data, metadata = as_litert(model, metadata, pictures if form == "litert-int8" else None)
        restorer = runtimes.open_litert(data, path.name)
    path.write_bytes(data)
    return metadata, restorer


@contextmanager
def _whole_float32() -> Iterator[None]:
    """Keras on a GPU multiplies with 10 bits (TF32) unless it is told not to: by itself more than the limit."""
    kept = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(kept)


def _largest_error(
    model: keras.Model, restorer: Restorer, height: int | None, width: int | None
) -> tuple[float, list[tuple[int, int]]]:
    sizes = list(dict.fromkeys((height or one[0], width or one[1]) for one in SIZES))
    keras_call, error = runtimes.keras_call(model), 0.0
    rng = np.random.default_rng(0)
    for size in sizes:
        hazy = rng.random((*size, 3), dtype=np.float32)
        expected, got = keras_call(hazy), restorer.call(hazy)
        # NaN is above every limit.
        error = max(error, float(np.nan_to_num(np.abs(got - expected), nan=np.inf).max()))
    if error > LARGEST_ERROR:
        raise RefusedError(
            f"The exported network does not do what the Keras model does. Expected outputs at most {LARGEST_ERROR:g} "
            f"apart, received {error:.2g}. Nothing was written; another version of the format's packages may help."
        )
    return error, sizes


def _at_least(hazy: Picture, height: int | None, width: int | None) -> Picture:
    """A picture, mirrored on to the size that a network of one size takes."""
    more = [max(0, (side or 0) - have) for side, have in zip((height, width), hazy.shape, strict=False)]
    return np.pad(hazy, ((0, more[0]), (0, more[1]), (0, 0)), mode="symmetric")


def _agreement(model: keras.Model, restorer: Restorer, pictures: Sequence[Picture]) -> tuple[float, float]:
    """Largest error and PSNR [dB] over all pixels, of outputs clipped as a picture is."""
    keras_restorer = Restorer(runtimes.keras_call(model))
    total, number, largest = 0.0, 0, 0.0
    for hazy in pictures:
        difference = np.abs(restorer(hazy) - keras_restorer(hazy)).astype(np.float64)
        largest = max(largest, float(difference.max()))
        total, number = total + float((difference**2).sum()), number + difference.size
    psnr_db = float(-10.0 * np.log10(max(total / number, 1e-12)))
    if psnr_db < LOWEST_PSNR:
        raise RefusedError(
            f"Integers of 8 bits do not hold this network. Expected at least {LOWEST_PSNR:g} dB between its outputs "
            f"and the Keras model's, received {psnr_db:.1f} dB. Nothing was written; export float, or give with --data "
            "representative pictures from dark to bright."
        )
    return largest, psnr_db


def _publish(temporary: Path, out: Path) -> None:
    """Renames what is safely on the disk, so that under the final name there is all or nothing."""
    for path in [temporary, *temporary.rglob("*")]:
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    stores.publish(temporary, out)
