"""What the records of a shard say, read without their pictures: a terabyte is passed over by seeking."""

import hashlib
import io
import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from hazegen import records
from hazegen.errors import VerifyError
from hazegen.manifest import UNIT
from hazegen.store_path import StorePath

PICTURES = {
    kind: tuple(name for name, feature in table.items() if feature.kind == "bytes")
    for kind, table in records.TABLES.items()
}
# All but the pictures of a record takes about 1 kB; a field that claims more is no number and no name.
MOST_BYTES = 1 << 20
# Bytes of a record's frame before and after it: its length and two checksums.
BEFORE, AFTER = 12, 4
ADVICE = "Run hazegen verify on the dataset, then hazegen repair, or download the shard again."
# Bytes of one request of a shard in a store: the numbers between two pictures fit into it.
RANGE_BYTES = 4096
# What is read at once of a picture that is passed over while its shard is hashed.
STEP_BYTES = 1 << 20
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


def read_heads(path: Path, sha256: str | None = None, kind: records.Kind = "pairs") -> Iterator[Head]:
    """The heads of all records of a shard, in their order. Checksums are not held against the pictures.

    Args:
        sha256: Of the whole shard, which is then read whole and held against it after its last head; without it
            pictures are passed over, by seeking or, in a store, by requests of small ranges.
        kind: Of the dataset.

    Raises:
        VerifyError: The bytes are no records of this kind (names the shard and the record, counted from 0), or others.
    """
    size = path.stat().st_size
    with _opened(path, whole=sha256 is not None) as file:
        offset = number = 0
        while offset < size:
            try:
                length = _length(file, size - offset)
                head = _without_pictures(file, offset + BEFORE + length, PICTURES[kind])
                values = records.decode(head, kind)
            except ValueError as error:
                raise VerifyError(
                    f"Record {number} of shard '{path.name}' cannot be read. Expected the features of a {UNIT[kind]}, "
                    f"received: {error} {ADVICE}"
                ) from None
            yield Head(offset, length, values)
            offset, number = offset + BEFORE + length + AFTER, number + 1
            file.seek(offset)
        if isinstance(file, _Hashed) and (received := file.digest.hexdigest()) != sha256:
            raise VerifyError(
                f"Shard '{path.name}' is not what the manifest says. Expected SHA-256 {str(sha256)[:12]}..., received "
                f"{received[:12]}.... {ADVICE}"
            )


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
            f"received other bytes. {ADVICE}"
        )
    return record


def _read(path: Path, offset: int, count: int) -> bytes:
    if isinstance(path, StorePath):
        return path.read_part(offset, offset + count)
    with path.open("rb") as file:
        file.seek(offset)
        return bytes(file.read(count))


# --- what a shard is read through ---


class _File(Protocol):
    def read(self, count: int, /) -> bytes: ...

    def seek(self, offset: int, /) -> int: ...

    def tell(self) -> int: ...


@contextmanager
def _opened(path: Path, *, whole: bool) -> Iterator[_File]:
    if isinstance(path, StorePath) and not whole:
        yield io.BufferedReader(_Ranges(path), RANGE_BYTES)
        return
    with path.open("rb") as file:
        yield _Hashed(file) if whole else file


class _Ranges(io.RawIOBase):
    """An object of a store of which only the ranges are fetched that are read."""

    def __init__(self, path: StorePath) -> None:
        self._path, self._at, self._size = path, 0, path.stat().st_size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        stop = min(self._at + len(buffer), self._size)
        data = self._path.read_part(self._at, stop) if stop > self._at else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class _Hashed:
    """A file that is read through to its end; going forward hashes what it passes over."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._at = file, 0
        self.digest = hashlib.sha256()

    def read(self, count: int, /) -> bytes:
        data = self._file.read(count)
        self.digest.update(data)
        self._at += len(data)
        return data

    def seek(self, offset: int, /) -> int:
        while self._at < offset and self.read(min(offset - self._at, STEP_BYTES)):
            pass
        return self._at

    def tell(self) -> int:
        return self._at


def _length(file: _File, left: int) -> int:
    """Length of the record whose frame begins here, within the `left` bytes of its shard."""
    begin = file.read(BEFORE)
    length: int = struct.unpack("<Q", begin[:8])[0] if len(begin) == BEFORE else left
    if length > left - BEFORE - AFTER:
        raise ValueError("the record is cut off.")
    return length


# --- protocol buffers: a map of features, as records.py writes it ---


def _without_pictures(file: _File, end: int, pictures: Collection[str]) -> bytes:
    """The record that ends at byte `end`, with empty pictures; the file's position is its begin."""
    entries: list[bytes] = []
    if _enter(file, end) != end:
        raise ValueError("the record is longer than its features.")
    while file.tell() < end:
        stop = _enter(file, end)
        name = _take(file, _enter(file, stop))
        if name.decode("utf-8", "replace") in pictures:
            content = _EMPTY
            file.seek(stop)
        else:
            content = _take(file, stop)
        entries += records._message(1, [*records._message(1, [name]), content])
    return b"".join(records._message(1, entries))


def _enter(file: _File, end: int) -> int:
    """Where the field 1 that begins here ends, at most at byte `end`; goes to the begin of its content."""
    if file.read(1) != b"\x0a":
        raise ValueError("a field is no part of a record.")
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


def _take(file: _File, stop: int) -> bytes:
    count = stop - file.tell()
    if count > MOST_BYTES:
        raise ValueError(f"a field that is no picture has {count} bytes.")
    return file.read(count)
