"""Numeric arrays of MATLAB files, version 5 (7.3 is HDF5).

The tags are read here and not by scipy.io: a compressed variable of some kilobytes may claim gigabytes, and is
inflated here as far as its own dimensions justify.

References:
    MathWorks, "MAT-File Format", Level 5: https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
"""

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hazegen import images
from hazegen.depth.arrays import Shapes, check_index, check_size
from hazegen.errors import RefusedError

HEADER, MATRIX, COMPRESSED = 128, 14, 15
# Of an array's class and of stored numbers; MATLAB stores e.g. doubles that are small integers as uint8.
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
COMPLEX = 0x0800
# Flags, dimensions and name come first and take less than this.
HEAD = 4096


@dataclass(frozen=True)
class _Variable:
    """A numeric variable: type of its numbers, shape, and where they begin in its inflated bytes."""

    dtype: str
    shape: tuple[int, ...]
    begin: int


def list_arrays(path: Path) -> Shapes:
    """Names and shapes of the numeric, real arrays; cells, structures, objects and handles are left out."""
    order, data = _open(path)
    try:
        return {name: found.shape for name, _, found in _variables(data, order)}
    except (struct.error, zlib.error, ValueError, KeyError) as error:
        raise _damaged(path.name, error) from None


def read_array(path: Path, dataset: str, index: int | None = None) -> NDArray[Any]:
    """One array, (rows, columns, ...), or one frame of it along the last axis."""
    order, data = _open(path)
    try:
        for name, content, found in _variables(data, order):
            if name == dataset:
                check_size(found.shape, path.name)
                array = _numbers(content, found, order)
                return array if index is None else array[..., check_index(index, found.shape[-1], path.name)]
        raise KeyError(dataset)
    except RefusedError:
        raise
    except (struct.error, zlib.error, ValueError, KeyError) as error:
        raise _damaged(path.name, error) from None


def _damaged(name: str, error: Exception) -> RefusedError:
    return RefusedError(
        f"Depth '{name}' cannot be read as a MATLAB file. Expected a complete file of version 5, 6, 7 or 7.3, "
        f"received: {error}. Save it again in MATLAB with -v7."
    )


def _open(path: Path) -> tuple[str, memoryview]:
    """Byte order ('<' or '>') and bytes of a file of version 5."""
    data = images.read_file(path)
    order = {b"IM": "<", b"MI": ">"}.get(data[126:HEADER])
    if order is None or struct.unpack_from(f"{order}H", data, 124)[0] != 0x0100:
        raise _damaged(path.name, ValueError(f"{len(data)} bytes without the header of version 5"))
    return order, memoryview(data)


def _variables(data: memoryview, order: str) -> Iterator[tuple[str, "_Content", _Variable]]:
    at = HEADER
    while at + 8 <= len(data):
        kind, size, begin, at = _tag(data, at, order)
        if begin + size > len(data):
            raise ValueError("a variable that ends behind the file")
        content = _Content(data[begin : begin + size], kind == COMPRESSED)
        if kind not in (MATRIX, COMPRESSED):
            continue
        head, start = content.first(HEAD), 0
        if kind == COMPRESSED:
            inner, _, start, _ = _tag(head, 0, order)
            if inner != MATRIX:
                continue
        described = _describe(head, start, order)
        if described is not None:
            yield described[0], content, described[1]


@dataclass(frozen=True)
class _Content:
    """Bytes of a variable, inflated as far as they are asked for."""

    data: memoryview
    compressed: bool

    def first(self, size: int) -> memoryview:
        if not self.compressed:
            return self.data[:size]
        return memoryview(zlib.decompressobj().decompress(self.data, size))


def _tag(data: memoryview, at: int, order: str) -> tuple[int, int, int, int]:
    """Type and size of an element, where its bytes begin, and where the next element does."""
    kind, size = struct.unpack_from(f"{order}II", data, at)
    if kind >> 16:  # a small element: size and type share a word, the bytes follow in the next
        return kind & 0xFFFF, kind >> 16, at + 4, at + 8
    padding = 0 if kind == COMPRESSED else -size % 8
    return kind, size, at + 8, at + 8 + size + padding


def _describe(head: memoryview, at: int, order: str) -> tuple[str, _Variable] | None:
    """Name and description of a variable; None where it holds no real numbers."""
    _, _, begin, at = _tag(head, at, order)
    flags = struct.unpack_from(f"{order}I", head, begin)[0]
    dtype = CLASSES.get(flags & 0xFF)
    if dtype is None or flags & COMPLEX:
        return None
    _, size, begin, at = _tag(head, at, order)
    shape = struct.unpack_from(f"{order}{size // 4}i", head, begin)
    _, size, begin, at = _tag(head, at, order)
    if min(shape, default=-1) < 0 or at > len(head):
        raise ValueError(f"dimensions {shape}")
    return bytes(head[begin : begin + size]).decode("latin-1"), _Variable(dtype, shape, at)


def _numbers(content: _Content, found: _Variable, order: str) -> NDArray[Any]:
    count = math.prod(found.shape)
    data = content.first(found.begin + 8 + 8 * count)
    kind, size, begin, _ = _tag(data, found.begin, order)
    stored = np.dtype(STORED[kind]).newbyteorder(order)  # type: ignore[arg-type]
    if size != count * stored.itemsize or begin + size > len(data):
        raise ValueError(f"{size} bytes for {found.shape} numbers")
    values = np.frombuffer(data, stored, count, begin)
    return values.astype(found.dtype).reshape(found.shape, order="F")
