"""The record: one table of features, and both directions beside each other.

A record is a tf.train.Example in a TFRecord file, written and read here without TensorFlow (which
would cost each generator worker 500 MB and 2.6 s); the tests hold the bytes against TensorFlow's own.

References:
    TensorFlow, core/example/example.proto and feature.proto; the TFRecord framing of
    core/lib/io/record_writer.h: length, masked CRC-32C of the length, data, masked CRC-32C of the data.
"""

import hashlib
import itertools
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import crc32c

from hazegen.errors import VerifyError

SCHEMA_VERSION = 3

# What the records of a dataset are.
Kind = Literal["pairs", "scenes"]
Type = Literal["text", "bytes", "float", "int"]


@dataclass(frozen=True)
class Feature:
    """One feature of a record: its type, how many values it has, and what they mean."""

    kind: Type
    size: int
    meaning: str
    optional: bool = False


FEATURES: dict[str, Feature] = {
    "key": Feature("text", 1, "name of the pair: SCENE#VARIANT"),
    "scene": Feature("text", 1, "name of the scene, the same for all its variants"),
    "variant": Feature("int", 1, "number of the variant within its scene"),
    "clean": Feature("bytes", 1, "clean image J: the photo's own bytes where it is of the manifest's codec"),
    "hazy": Feature("bytes", 1, "hazy image I, encoded as the manifest says"),
    "height": Feature("int", 1, "height of both [px]"),
    "width": Feature("int", 1, "width of both [px]"),
    "beta": Feature("float", 3, "extinction coefficient for red, green, blue [1/m]"),
    "atmospheric_light": Feature("float", 3, "A for red, green, blue, in the equation's colour space"),
    "visibility_m": Feature("float", 1, "meteorological optical range, 5 % [m]"),
    "mean_transmission": Feature("float", 1, "mean of t over the picture and its channels"),
    "haze": Feature("text", 1, "the other parameters of the haze, as JSON"),
    "transmission": Feature(
        "bytes", 1, "t as a 16-bit PNG, 65535 = 1; three channels where the haze has colour", optional=True
    ),
}

SCENE_FEATURES: dict[str, Feature] = {
    "key": Feature("text", 1, "name of the scene"),
    "scene": Feature("text", 1, "the same"),
    "clean": FEATURES["clean"],
    "height": Feature("int", 1, "height of clean and distance [px]"),
    "width": Feature("int", 1, "width of both [px]"),
    "distance": Feature(
        "bytes",
        1,
        "d before its depth_norm, little-endian uint16, row by row, in units of distance_unit_m; 0: not measured "
        "(holes are filled, so none is), 65535: no surface, infinitely far",
    ),
    "distance_unit_m": Feature("float", 1, "length of one unit of distance [m]"),
    "largest_m": Feature("float", 1, "largest finite d of the frame [m]"),
    "along_ray": Feature("int", 1, "1: d is along each pixel's ray; 0: along the camera's axis"),
    "camera": Feature("float", 4, "fx, fy, cx, cy [px]; zeros where they are not known"),
    "estimated_light": Feature(
        "float", 3, "A for red, green, blue, where the recipe estimates it from the picture", optional=True
    ),
}

TABLES: dict[str, dict[str, Feature]] = {"pairs": FEATURES, "scenes": SCENE_FEATURES}


def encode(values: Mapping[str, Any], kind: str = "pairs") -> bytes:
    """The serialised tf.train.Example of one record, with its features sorted by name.

    Args:
        kind: Of the dataset: which table the features are in.

    Raises:
        TypeError: A feature is missing, unknown, of another type or of another number of values.
    """
    table = TABLES[kind]
    required = {name for name, feature in table.items() if not feature.optional}
    if not required <= set(values) <= set(table):
        raise TypeError(f"Expected the features {sorted(table)}, received {sorted(values)}.")
    # Parts are joined once, at the end: pictures would be copied once for each message that they lie in.
    entries = (
        _message(1, [*_message(1, [name.encode()]), *_message(2, _encode_feature(name, table[name], values[name]))])
        for name in sorted(values)
    )
    return b"".join(_message(1, list(itertools.chain.from_iterable(entries))))


def decode(record: bytes, kind: str = "pairs") -> dict[str, Any]:
    """The features of a serialised tf.train.Example, as `encode` was given them.

    Raises:
        ValueError: Not such a message, or one with other features than the table's.
    """
    table = TABLES[kind]
    values: dict[str, Any] = {}
    for features in _fields(record, 1):
        for entry in _fields(features, 1):
            name = b"".join(_fields(entry, 1)).decode()
            if name not in table:
                raise ValueError(f"Expected the features {sorted(table)}, received '{name}'.")
            values[name] = _decode_feature(name, table[name], b"".join(_fields(entry, 2)))
    missing = {name for name, feature in table.items() if not feature.optional} - set(values)
    if missing:
        raise ValueError(f"Expected the features {sorted(table)}, received none of the name {sorted(missing)}.")
    return values


_TYPES: dict[Type, type] = {"text": str, "bytes": bytes, "float": float, "int": int}
_TAGS: dict[Type, int] = {"text": 1, "bytes": 1, "float": 2, "int": 3}


def _encode_feature(name: str, feature: Feature, value: Any) -> list[bytes]:
    items = [value] if feature.size == 1 else list(value)
    if len(items) != feature.size or not all(type(item) is _TYPES[feature.kind] for item in items):
        raise TypeError(
            f"Feature '{name}' has another type. Expected {feature.size} x {_TYPES[feature.kind].__name__}, "
            f"received {[type(item).__name__ for item in items]}."
        )
    if feature.kind == "float":
        content = _message(1, [struct.pack(f"<{len(items)}f", *items)])
    elif feature.kind == "int":
        content = _message(1, [_varint(item & 0xFFFFFFFFFFFFFFFF) for item in items])
    else:
        raw = (item.encode("utf-8", "surrogateescape") if isinstance(item, str) else item for item in items)
        content = [part for item in raw for part in _message(1, [item])]
    return _message(_TAGS[feature.kind], content)


def _decode_feature(name: str, feature: Feature, data: bytes) -> Any:
    lists = list(_fields(data, _TAGS[feature.kind]))
    raw = [item for content in lists for item in _fields(content, 1)]
    if feature.kind == "float":
        packed = b"".join(raw)
        if len(packed) % 4:
            raise ValueError(f"Feature '{name}' expected whole numbers of 4 bytes, received {len(packed)} bytes.")
        items: list[Any] = list(struct.unpack(f"<{len(packed) // 4}f", packed))
    elif feature.kind == "int":
        items = list(_varints(b"".join(raw)))
    else:
        items = [item.decode("utf-8", "surrogateescape") if feature.kind == "text" else item for item in raw]
    if len(items) != feature.size:
        raise ValueError(f"Feature '{name}' expected {feature.size} values, received {len(items)}.")
    return items[0] if feature.size == 1 else tuple(items)


# --- protocol buffers: the few lines of the wire format that an Example uses ---


_BYTES = tuple(bytes((value,)) for value in range(0x80))


def _varint(number: int) -> bytes:
    if number < len(_BYTES):
        return _BYTES[number]
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _message(tag: int, content: list[bytes]) -> list[bytes]:
    """A length-delimited field (wire type 2), in parts, as its content is."""
    return [_varint(tag << 3 | 2), _varint(sum(map(len, content))), *content]


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("A number in the record is cut off.")
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return number, at


def _varints(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        number, at = _read_varint(data, at)
        yield number - (1 << 64) if number >> 63 else number


def _fields(data: bytes, tag: int) -> Iterator[bytes]:
    """Contents of the length-delimited fields `tag` of a message that holds no others."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        if key & 7 != 2:
            raise ValueError(f"Expected length-delimited fields, received wire type {key & 7}.")
        length, at = _read_varint(data, at)
        if at + length > len(data):
            raise ValueError("A field of the record is cut off.")
        if key >> 3 == tag:
            yield data[at : at + length]
        at += length


# --- TFRecord framing ---


def frame(record: bytes) -> bytes:
    """`record` as it stands in a TFRecord file."""
    length = struct.pack("<Q", len(record))
    return b"".join((length, struct.pack("<I", _masked_crc(length)), record, struct.pack("<I", _masked_crc(record))))


def read_shard(path: Path) -> Iterator[bytes]:
    """The records of a TFRecord file, each held against its checksums.

    Raises:
        VerifyError: Names the shard and the number of the record, counted from 0.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        for number in range(size):
            head = file.read(12)
            if not head:
                return
            length = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else 0
            intact = len(head) == 12 and struct.unpack("<I", head[8:])[0] == _masked_crc(head[:8])
            # A length that passed its checksum is still held against the file before memory is taken.
            if not intact or length > size - file.tell() - 4:
                raise _damaged(path, number)
            record, checksum = file.read(length), file.read(4)
            if len(checksum) != 4 or struct.unpack("<I", checksum)[0] != _masked_crc(record):
                raise _damaged(path, number)
            yield record


def _damaged(path: Path, number: int) -> VerifyError:
    return VerifyError(
        f"Shard '{path.name}' is damaged at record {number}. Expected a complete record with matching checksums, "
        "received other bytes. Run hazegen repair on the dataset, or download the shard again."
    )


def _masked_crc(data: bytes) -> int:
    crc = crc32c.crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def hash_order(key: str) -> bytes:
    """Sorting by this brings keys into an order that has nothing to do with their names."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
