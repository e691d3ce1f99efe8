"""An ONNX file before a runtime sees it: read here as the protocol buffer that it is, without the package onnx.

How much time and memory a network takes when it runs is not bounded here.

References:
    onnx/onnx.proto: the numbers of the messages' fields.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hazegen import stores
from hazegen.depth.onnx_file import DOMAINS
from hazegen.errors import RefusedError, UsageError

MAX_BYTES = 1_000_000_000
# Protocol buffers allow no deeper nesting either.
MAX_DEPTH = 100
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
    except (ValueError, RecursionError) as error:
        if isinstance(error, RefusedError):
            raise
        received = f"{size} bytes ({error})"
        raise not_usable(path.name, "a complete ONNX file", received, "Copy or export it again.") from None


def _read(name: str, data: bytes) -> OnnxFile:
    model = memoryview(data)
    graphs = _messages(model, 7)
    if len(graphs) != 1 or not _messages(graphs[0], 1):
        raise ValueError("no graph of operators in it")
    _check(name, model)
    # Files of 2019 and before list the weights among the inputs.
    weights = {_text(tensor, 8) for tensor in _messages(graphs[0], 5)}
    inputs = tuple(tensor for item in _messages(graphs[0], 11) if (tensor := _tensor(item)).name not in weights)
    outputs = tuple(_tensor(item) for item in _messages(graphs[0], 12))
    metadata = {_text(entry, 1): _text(entry, 2) for entry in _messages(model, 14)}
    return OnnxFile(name, data, hashlib.sha256(data).hexdigest(), inputs, outputs, metadata)


def _tensor(message: memoryview) -> Tensor:
    """ValueInfoProto: name = 1, type = 2 {tensor_type = 1 {elem_type = 1, shape = 2 {dim = 1}}}."""
    for kind in _messages(message, 2):
        for tensor in _messages(kind, 1):
            shapes = [tuple(map(_axis, _messages(shape, 1))) for shape in _messages(tensor, 2)]
            return Tensor(_text(message, 1), _number(tensor, 1), shapes[0] if shapes else None)
    return Tensor(_text(message, 1), 0, None)


def _axis(message: memoryview) -> Axis:
    """TensorShapeProto.Dimension: dim_value = 1, dim_param = 2."""
    return _number(message, 1) or _text(message, 2) or "?"


# --- what may not be in it ---

# For each message the fields that hold others in which operators and weights can lie.
_INSIDE = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}


def _check(name: str, model: memoryview) -> None:
    known = {*DOMAINS, *(_text(function, 10) for function in _messages(model, 25))}
    for kind, message in _walk("model", model):
        if kind == "node" and (domain := _text(message, 7)) not in known:
            received = f"{f'{domain}.{_text(message, 4)}'!r}"
            raise not_usable(name, "operators that runtimes have built in", received, "Export it without them.")
        if kind == "tensor":
            _check_tensor(name, message)


# Bytes of a number, by onnx.proto's count of types, where they are stored raw.
_SIZES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2, 17: 1, 18: 1, 19: 1, 20: 1}
# Where they are not: 4 float_data, 10 double_data, 7 int64_data, 11 uint64_data, and 5 int32_data for all others.
_FIELDS = {1: 4, 7: 7, 11: 10, 12: 11, 13: 11}


def _check_tensor(name: str, message: memoryview) -> None:
    """TensorProto: dims = 1, data_type = 2, name = 8, raw_data = 9, external_data = 13, data_location = 14.

    OpenCV reads as many numbers as the dims say, whether they are there or not.
    """
    if _number(message, 14) or _messages(message, 13):
        received = f"{_text(message, 8)!r} in another one"
        raise not_usable(name, "all weights in the one file", received, "Export it as one file.")
    count = 1
    for size in _numbers(message, 1):
        count *= size
    kind = _number(message, 2)
    held = _held(message, kind) if kind in _SIZES else None
    # Of the other types (texts, complex ones, half bytes) no number takes less than half a byte.
    if count < 0 or (held != count if held is not None else count > 2 * len(message)):
        received = f"{_text(message, 8)!r} of {count} numbers in {len(message)} bytes"
        raise not_usable(name, "as many weights as their shapes say", received, "Copy or export it again.")


def _held(message: memoryview, kind: int) -> float:
    """How many numbers a tensor holds."""
    if raw := _messages(message, 9):
        return len(raw[-1]) / _SIZES[kind]
    field = _FIELDS.get(kind, 5)
    if field in (4, 10):
        return sum(map(len, _messages(message, field))) / _SIZES[kind]
    return sum(1 for _ in _numbers(message, field))


def _walk(kind: str, message: memoryview, depth: int = 0) -> Iterator[tuple[str, memoryview]]:
    if depth > MAX_DEPTH:
        raise ValueError(f"more than {MAX_DEPTH} messages inside each other")
    yield kind, message
    inside = _INSIDE[kind]
    for field, value in _fields(message) if inside else ():
        if field in inside and isinstance(value, memoryview):
            yield from _walk(inside[field], value, depth + 1)


# --- protocol buffers: the few lines of the wire format that are needed to find fields ---


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and content of each field: an integer, or the bytes of anything else."""
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if wire == 2:
            size, at = _varint(message, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"byte {at} begins no field")
        if at + size > end:
            raise ValueError("cut off within a field")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("cut off within a number")
        byte = message[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number, at
    raise ValueError("a number of more than 10 bytes")


def _messages(message: memoryview, number: int) -> list[memoryview]:
    return [value for field, value in _fields(message) if field == number and isinstance(value, memoryview)]


def _text(message: memoryview, number: int) -> str:
    return "".join(bytes(value).decode("utf-8", "replace") for value in _messages(message, number)[-1:])


def _number(message: memoryview, number: int) -> int:
    # Of an entry that is there twice, the last one counts.
    return sum([value for field, value in _fields(message) if field == number and isinstance(value, int)][-1:])


def _numbers(message: memoryview, number: int) -> Iterator[int]:
    """A repeated integer, packed or one by one; below 0 for those of the upper half of 64 bits."""
    for field, value in _fields(message):
        if field != number:
            continue
        values = [value] if isinstance(value, int) else _unpacked(value)
        yield from (item - (1 << 64) if item >> 63 else item for item in values)


def _unpacked(packed: memoryview) -> list[int]:
    values, at = [], 0
    while at < len(packed):
        value, at = _varint(packed, at)
        values.append(value)
    return values
