"""A detector's ONNX file before a runtime sees it: what it says of itself."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from hazegen import stores
from hazegen.errors import RefusedError, UsageError
from hazegen.onnx_bytes import Unusable, check, graph_of, integer, messages, text

MAX_BYTES = 1_000_000_000
FLOAT32 = 1

Axis = int | str


@dataclass(frozen=True)
class Tensor:
    """An input or an output of a network.

    Attributes:
        kind: Type of its numbers, as onnx.proto counts them.
        shape: Its axes; a free one has a name, or '?'. None where the file says nothing.
    """

    name: str
    kind: int
    shape: tuple[Axis, ...] | None


@dataclass(frozen=True)
class OnnxFile:
    """A file that may be given to a runtime, and what it says of itself."""

    name: str
    data: bytes
    sha256: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    metadata: dict[str, str]


def not_usable(name: str, expected: str, received: str, todo: str) -> RefusedError:
    """The error about a file that is no detector that can be run."""
    return RefusedError(f"'{name}' is no detector for us. Expected {expected}, received {received}. {todo}")


def read_onnx(path: Path) -> OnnxFile:
    """Reads the file once; what is checked is what a runtime gets.

    Raises:
        UsageError: There is no such file.
        RefusedError: Too large, not a complete ONNX file, weights in other files, or operators of others.
    """
    path = stores.on_disk(path, "--detector")
    if not path.is_file():
        received = "a folder" if path.is_dir() else "nothing"
        raise UsageError(f"'{path}' is no file. Expected a detector in ONNX, received {received}. Check --detector.")
    if (size := path.stat().st_size) > MAX_BYTES:
        expected = f"at most {MAX_BYTES // 1_000_000} MB"
        raise not_usable(path.name, expected, f"{size // 1_000_000} MB", "Take a smaller one.")
    data = path.read_bytes()
    try:
        return _read(path.name, data)
    except Unusable as error:
        raise not_usable(path.name, *error.args) from None
    except (ValueError, RecursionError) as error:
        received = f"{size} bytes ({error})"
        raise not_usable(path.name, "a complete ONNX file", received, "Copy or export it again.") from None


def _read(name: str, data: bytes) -> OnnxFile:
    model = memoryview(data)
    graph = graph_of(model)
    for weight, _ in check(model):
        raise Unusable("all weights in the one file", f"{weight!r} in another one", "Export it as one file.")
    # Files of 2019 and before list the weights among the inputs.
    weights = {text(tensor, 8) for tensor in messages(graph, 5)}
    inputs = tuple(tensor for item in messages(graph, 11) if (tensor := _tensor(item)).name not in weights)
    outputs = tuple(_tensor(item) for item in messages(graph, 12))
    metadata = {text(entry, 1): text(entry, 2) for entry in messages(model, 14)}
    return OnnxFile(name, data, hashlib.sha256(data).hexdigest(), inputs, outputs, metadata)


def _tensor(message: memoryview) -> Tensor:
    """ValueInfoProto: name = 1, type = 2 {tensor_type = 1 {elem_type = 1, shape = 2 {dim = 1}}}."""
    for kind in messages(message, 2):
        for tensor in messages(kind, 1):
            shapes = [tuple(map(_axis, messages(shape, 1))) for shape in messages(tensor, 2)]
            return Tensor(text(message, 1), integer(tensor, 1), shapes[0] if shapes else None)
    return Tensor(text(message, 1), 0, None)


def _axis(message: memoryview) -> Axis:
    """TensorShapeProto.Dimension: dim_value = 1, dim_param = 2."""
    return integer(message, 1) or text(message, 2) or "?"
