"""What an exported network says of itself, whatever its format; TensorFlow is not needed to read it."""

import hashlib
import importlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aodnet.tiles import MARGIN
from hazegen.errors import RefusedError, UsageError

VERSION = 1
SUFFIXES = {"onnx": ".onnx", "litert": ".tflite", "litert-int8": ".tflite"}
# What writes and runs each format, and the extra that brings it.
_PACKAGES = {"onnx": ("onnx", "onnxruntime"), "litert": ("ai_edge_litert.interpreter", "flatbuffers")}
INPUT, OUTPUT = "hazy", "clean"
# Under this name the metadata lie in ONNX's metadata_props and in LiteRT's table of metadata.
KEY = "aodnet"
# Kernel sizes of the five convolutions, and what each one sees, in the paper's order.
LAYERS = (
    ("conv1", 1, (INPUT,)),
    ("conv2", 3, ("conv1",)),
    ("conv3", 5, ("conv1", "conv2")),
    ("conv4", 7, ("conv2", "conv3")),
    ("k", 3, ("conv1", "conv2", "conv3", "conv4")),
)
# 256 filters have 40 MB; no file of ours is larger, and no larger one is read.
MAX_BYTES = 64_000_000
SIDES = (2 * MARGIN + 2, 16384)  # of a fixed height or width: a tile needs an inside

# Kernel (height, width, in, out) and bias (out,) of each convolution, in the paper's order.
Layers = list[tuple[NDArray[np.float32], NDArray[np.float32]]]


@dataclass(frozen=True)
class Metadata:
    """Written into each file as JSON.

    Attributes:
        filters: Of each of the first four convolutions.
        weights_sha256: Of the float32 weights it was made from (`weights_digest`).
        content_sha256: Of what else decides its output, where the format is not read back into weights.
        height, width: The one size that it takes [px]; null: any.
        quantization: 'none', or what the ranges of its integers come from.
        versions: Of the packages that made it.
        input, output: Their names; both float32 (count, height, width, 3).
        layout, colour_order, range: What they hold.
        margin: How far an output pixel looks [px]: what a tile needs around it.
        format_version: Of this table.
    """

    filters: int
    weights_sha256: str
    content_sha256: str | None = None
    height: int | None = None
    width: int | None = None
    quantization: str = "none"
    versions: dict[str, str] = field(default_factory=dict)
    input: str = INPUT
    output: str = OUTPUT
    layout: str = "NHWC"
    colour_order: str = "RGB"
    range: str = "sRGB-coded, 0 to 1; the output may exceed 1: clip it"
    margin: int = MARGIN
    format_version: int = VERSION

    def to_json(self) -> str:
        """As it is written."""
        return json.dumps(asdict(self), sort_keys=True)


def read_metadata(text: str | bytes | None, name: str) -> Metadata:
    """The metadata of a file.

    Raises:
        RefusedError: None, or not as `aodnet export` writes them.
    """
    if text is None:
        raise not_ours(name, "metadata under the name 'aodnet'", "none")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise not_ours(name, "metadata as JSON", f"{text[:40]!r}") from None
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != VERSION:
        raise not_ours(name, f"format_version {VERSION}", repr(version))
    known = {item.name for item in fields(Metadata)}
    if set(content) != known:
        raise not_ours(name, "the known keys of metadata", f"others ({sorted(set(content) ^ known)[:3]})")
    metadata = Metadata(**content)
    sizes = (metadata.height, metadata.width)
    right = all(size is None or (type(size) is int and SIDES[0] <= size <= SIDES[1]) for size in sizes)
    right = right and type(metadata.filters) is int and 1 <= metadata.filters <= 256
    right = right and isinstance(metadata.versions, dict) and isinstance(metadata.weights_sha256, str)
    same = Metadata(0, "")
    fixed = ("input", "output", "layout", "colour_order", "range", "margin")
    if not right or any(getattr(metadata, key) != getattr(same, key) for key in fixed):
        raise not_ours(name, f"{', '.join(fixed)} of this version and sizes that are integers", "others")
    return metadata


def weights_digest(layers: Layers) -> str:
    """SHA-256 of the weights as little-endian float32: kernel, then bias, in the paper's order."""
    digest = hashlib.sha256()
    for kernel, bias in layers:
        digest.update(np.ascontiguousarray(kernel, "<f4").tobytes())
        digest.update(np.ascontiguousarray(bias, "<f4").tobytes())
    return digest.hexdigest()


def read_bytes(path: Path) -> bytes:
    """The bytes of an exported file.

    Raises:
        RefusedError: No file, or larger than one of ours can be.
    """
    if not path.is_file():
        raise not_ours(path.name, "a file of `aodnet export`", "nothing" if not path.exists() else "a folder")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise not_ours(path.name, f"at most {MAX_BYTES:,} bytes", f"{size:,}")
    return path.read_bytes()


def package(name: str, extra: str) -> Any:
    """A package that comes with an extra.

    Raises:
        UsageError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"The format '{extra}' needs a package that is not installed. Expected {name}, received: {error}. "
            f"Run pip install 'hazegen[{extra}]'."
        ) from None


def check_output(form: str, out: Path, height: int | None, width: int | None) -> None:
    """Holds what `aodnet export` is asked for against what can be, before any work.

    Raises:
        UsageError: A size or a suffix that cannot be, or a package is missing.
        RefusedError: A folder is in the way.
    """
    for name, value in (("--height", height), ("--width", width)):
        if value is not None and not SIDES[0] <= value <= SIDES[1]:
            raise UsageError(
                f"{name} is out of range. Expected {SIDES[0]} to {SIDES[1]} pixels, received {value}. Leave it out for "
                "any size."
            )
    suffix = SUFFIXES.get(form)
    if suffix is not None and out.suffix != suffix:
        raise UsageError(
            f"The output has another suffix. Expected a name that ends in {suffix}, received '{out.name}'. Change "
            "--out."
        )
    if suffix is not None and out.is_dir():
        raise RefusedError(f"'{out}' is a folder. Expected a file or nothing, received a folder. Choose another --out.")
    if suffix is None and (out.exists() or out.is_symlink()):
        raise RefusedError(f"'{out}' exists. Expected a new folder, received an old one. Choose another --out.")
    extra = form.removesuffix("-int8")
    for name in _PACKAGES.get(extra, ()):
        package(name, extra)


def not_ours(name: str, expected: str, received: str) -> RefusedError:
    """The error about a file that `aodnet export` has not written."""
    return RefusedError(
        f"'{name}' is no exported AOD-Net. Expected {expected}, received {received}. Only files of `aodnet export` "
        "are run: export the weights again."
    )
