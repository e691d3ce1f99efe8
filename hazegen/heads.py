"""What the records of a shard say, read without their pictures: a terabyte is passed over by seeking."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from hazegen import records
from hazegen.errors import VerifyError
from hazegen.store_path import StorePath

PICTURES = tuple(name for name, feature in records.FEATURES.items() if feature.kind == "bytes")
# All but the pictures of a record takes about 1 kB; a field that claims more is no number and no name.
MOST_BYTES = 1 << 20
# Bytes of a record's frame before and after it: its length and two checksums.
BEFORE, AFTER = 12, 4
# A feature that holds one empty text of bytes, as field 2 of its entry.
_EMPTY = b"\x12\x04\x0a\x02\x0a\x00"


@dataclass(frozen=True, slots=True)
class Head:
    """One record without its pictures.

    Attributes:
        offset: Where its frame begins in the shard [bytes].
        length: Of the record, without its frame [bytes].
        values: Its features, as records.decode gives them; pictures are empty.
    """

    offset: int
    length: int
    values: dict[str, Any]


def read_heads(path: Path) -> Iterator[Head]:
    """The heads of all records of a shard, in their order. Checksums are not held against the pictures.

    Raises:
        VerifyError: The bytes are no records of pairs; names the shard and the record, counted from 0.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        offset = number = 0
        while offset < size:
            try:
                length = _length(file, size - offset)
                values = records.decode(_without_pictures(file, offset + BEFORE + length))
            except ValueError as error:
                raise VerifyError(
                    f"Record {number} of shard '{path.name}' cannot be read. Expected the features of a pair, "
                    f"received: {error} Run hazegen verify on the dataset, and make or download the shard again."
                ) from None
            yield Head(offset, length, values)
            offset, number = offset + BEFORE + length + AFTER, number + 1
            file.seek(offset)


def read_record(path: Path, offset: int, length: int) -> bytes:
    """One record, held against both of its checksums; of a shard in a store with one request.

    Raises:
        VerifyError: Other bytes are there.
    """
    framed = _read(path, offset, BEFORE + length + AFTER)
    record = framed[BEFORE:-AFTER]
    if framed != records.frame(record):
        raise VerifyError(
            f"Shard '{path.name}' is damaged at byte {offset}. Expected a complete record with matching checksums, "
            "received other bytes. Run hazegen verify on the dataset, and make or download the shard again."
        )
    return record


def _read(path: Path, offset: int, count: int) -> bytes:
    if isinstance(path, StorePath):
        return path.read_part(offset, offset + count)
    with path.open("rb") as file:
        file.seek(offset)
        return bytes(file.read(count))


def _length(file: IO[bytes], left: int) -> int:
    """Length of the record whose frame begins here, within the `left` bytes of its shard."""
    begin = file.read(BEFORE)
    length: int = struct.unpack("<Q", begin[:8])[0] if len(begin) == BEFORE else left
    if length > left - BEFORE - AFTER:
        raise ValueError("the record is cut off.")
    return length


# --- protocol buffers: a map of features, as records.py writes it ---


def _without_pictures(file: IO[bytes], end: int) -> bytes:
    """The record that ends at byte `end`, with empty pictures; the file's position is its begin."""
    entries = []
    if _enter(file, end) != end:
        raise ValueError("the record is longer than its features.")
    while file.tell() < end:
        stop = _enter(file, end)
        name = _take(file, _enter(file, stop))
        entry = b"\x0a" + _varint(len(name)) + name
        if name.decode("utf-8", "replace") in PICTURES:
            entries.append(entry + _EMPTY)
            file.seek(stop)
        else:
            entries.append(entry + _take(file, stop))
    content = b"".join(_field(entry) for entry in entries)
    return _field(content)


def _enter(file: IO[bytes], end: int) -> int:
    """Where the field 1 that begins here ends, at most at byte `end`; goes to the begin of its content."""
    if file.read(1) != b"\x0a":
        raise ValueError("a field is no part of a pair.")
    length = shift = 0
    more = True
    while more:
        byte = file.read(1)
        if not byte or shift > 63:
            raise ValueError("a number is cut off.")
        length |= (byte[0] & 0x7F) << shift
        shift += 7
        more = byte[0] > 0x7F
    if file.tell() + length > end:
        raise ValueError("a field is cut off.")
    return file.tell() + length


def _take(file: IO[bytes], stop: int) -> bytes:
    count = stop - file.tell()
    if count > MOST_BYTES:
        raise ValueError(f"a field that is no picture has {count} bytes.")
    return file.read(count)


def _field(content: bytes) -> bytes:
    return b"\x0a" + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))
