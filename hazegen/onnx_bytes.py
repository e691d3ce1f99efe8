"""ONNX files, read as the protocol buffers that they are, without the package onnx, before a runtime sees them.

How much time and memory a network takes when it runs is not bounded here.

References:
    onnx/onnx.proto: the numbers of the messages' fields.
"""

import itertools
import math
from collections.abc import Iterator

import numpy as np

# Operators that runtimes have built in; others would need a library to be loaded.
DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
# Protocol buffers allow no deeper nesting either.
MAX_DEPTH = 100
# No runtime has tensors of so many axes.
MAX_AXES = 64


class Unusable(ValueError):
    """A complete file that may not run.

    Attributes:
        args: What was expected, what was received, and what to do.
    """


def graph_of(model: memoryview) -> memoryview:
    """The one graph of a file.

    Raises:
        ValueError: Not a complete ONNX file.
    """
    graphs = messages(model, 7)
    if len(graphs) != 1 or not messages(graphs[0], 1):
        raise ValueError("no graph of operators in it")
    return graphs[0]


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


def check(model: memoryview) -> set[tuple[str, str]]:
    """Holds everything in a file against what may run.

    Returns:
        Name and file of the weights that lie in other files.

    Raises:
        Unusable: Operators of others, or another number of weights than their shapes say.
        ValueError: Not a complete ONNX file.
    """
    known = {*DOMAINS, *(text(function, 10) for function in messages(model, 25))}
    elsewhere = set[tuple[str, str]]()
    for kind, message in _walk("model", model):
        if kind == "node" and (domain := text(message, 7)) not in known:
            received = f"{f'{domain}.{text(message, 4)}'!r}"
            raise Unusable("operators that runtimes have built in", received, "Export it without them.")
        if kind == "tensor" and (integer(message, 14) or messages(message, 13)):
            where = [text(entry, 2) for entry in messages(message, 13) if text(entry, 1) == "location"]
            elsewhere |= {(text(message, 8), location) for location in where or [""]}
        elif kind == "tensor":
            _check_tensor(message)
    return elsewhere


# Bytes of a number, by onnx.proto's count of types, where they are stored raw.
SIZES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2, 17: 1, 18: 1, 19: 1, 20: 1}
# Where they are not: 4 float_data, 10 double_data, 7 int64_data, 11 uint64_data, and 5 int32_data for all others.
_FIELDS = {1: 4, 7: 7, 11: 10, 12: 11, 13: 11}


def _check_tensor(message: memoryview) -> None:
    """TensorProto: dims = 1, data_type = 2, name = 8, raw_data = 9, external_data = 13, data_location = 14.

    OpenCV reads as many numbers as the dims say, whether they are there or not.
    """
    shape = list(itertools.islice(_integers(message, 1), MAX_AXES + 1))
    if len(shape) > MAX_AXES:
        raise ValueError(f"a tensor of more than {MAX_AXES} axes")
    count, kind = math.prod(shape), integer(message, 2)
    held = _held(message, kind) if kind in SIZES else None
    # Of the other types (texts, complex ones, half bytes) no number takes less than half a byte.
    if count < 0 or (held != count if held is not None else count > 2 * len(message)):
        received = f"{text(message, 8)!r} of {count} numbers in {len(message)} bytes"
        raise Unusable("as many weights as their shapes say", received, "Copy or export it again.")


def _held(message: memoryview, kind: int) -> float:
    """How many numbers a tensor holds."""
    if raw := messages(message, 9):
        return len(raw[-1]) / SIZES[kind]
    field = _FIELDS.get(kind, 5)
    if field in (4, 10):
        return sum(map(len, messages(message, field))) / SIZES[kind]
    values = (value for number, value in _fields(message) if number == field)
    return sum(1 if isinstance(value, int) else _count(value) for value in values)


def _count(packed: memoryview) -> int:
    """How many integers lie packed: the last byte of each is below 128."""
    data = np.frombuffer(packed, np.uint8)
    if len(data) and data[-1] >= 0x80:
        raise ValueError("cut off within a number")
    return int(np.count_nonzero(data < 0x80))


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


def messages(message: memoryview, field: int) -> list[memoryview]:
    """What a field holds each time that it is there: messages, texts, bytes or packed numbers."""
    return [value for number, value in _fields(message) if number == field and isinstance(value, memoryview)]


def text(message: memoryview, field: int) -> str:
    """A text, empty where there is none; of an entry that is there twice, the last one counts."""
    return "".join(bytes(value).decode("utf-8", "replace") for value in messages(message, field)[-1:])


def integer(message: memoryview, field: int) -> int:
    """An integer, 0 where there is none; of an entry that is there twice, the last one counts."""
    return sum([value for number, value in _fields(message) if number == field and isinstance(value, int)][-1:])


def _integers(message: memoryview, field: int) -> Iterator[int]:
    """A repeated integer, packed or one by one; below 0 for those of the upper half of 64 bits."""
    for number, value in _fields(message):
        if number != field:
            continue
        values = [value] if isinstance(value, int) else _unpacked(value)
        yield from (item - (1 << 64) if item >> 63 else item for item in values)


def _unpacked(packed: memoryview) -> Iterator[int]:
    at = 0
    while at < len(packed):
        value, at = _varint(packed, at)
        yield value
