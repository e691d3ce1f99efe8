"""Reads back the transaction file of a run, run-<id>.wandb: what wandb would send, or has sent, to the server.

The file is a LevelDB log: after a header of 7 bytes, blocks of 32 KiB hold pieces of records, each piece with a CRC-32,
its length and whether it is a whole record or the first, a middle or the last piece of one.
"""

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2 as wandb_proto

HEADER = b":W&B"
HEADER_BYTES = 7
BLOCK_BYTES = 32 * 1024
PIECE = struct.Struct("<IHB")
WHOLE, FIRST, LAST = 1, 2, 4


def read_records(path: Path) -> Iterator[wandb_proto.Record]:
    """The records of a file; one that was cut off at the end of the file, by a crash, is left out.

    Raises:
        ValueError: It is no such file, or a CRC is wrong.
    """
    content = path.read_bytes()
    if not content.startswith(HEADER):
        raise ValueError(f"{path} is not a transaction file of wandb")
    joined = b""
    position = HEADER_BYTES
    while position + PIECE.size <= len(content):
        left_in_block = BLOCK_BYTES - position % BLOCK_BYTES
        if left_in_block < PIECE.size:
            position += left_in_block
            continue
        crc, size, kind = PIECE.unpack_from(content, position)
        start = position + PIECE.size
        piece = content[start : start + size]
        if len(piece) < size:
            return
        if crc != zlib.crc32(piece, zlib.crc32(bytes([kind]))):
            raise ValueError(f"{path} is damaged at byte {position}")
        joined = piece if kind in (WHOLE, FIRST) else joined + piece
        if kind in (WHOLE, LAST):
            yield wandb_proto.Record.FromString(joined)
        position = start + size


def history(path: Path) -> list[dict[str, Any]]:
    """The logged rows, with wandb's own columns `_step`, `_runtime` and `_timestamp`; nested keys joined by dots."""
    return [
        {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in read_records(path)
        if record.WhichOneof("record_type") == "history"
    ]


def config(path: Path) -> dict[str, Any]:
    """The last value of each entry of the run's config."""
    values: dict[str, Any] = {}
    for record in read_records(path):
        kind = record.WhichOneof("record_type")
        changes = record.run.config if kind == "run" else record.config
        for item in changes.update if kind in ("run", "config") else []:
            values[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)
    return {key: value for key, value in values.items() if not key.startswith("_wandb")}


def artifacts(path: Path) -> list[wandb_proto.ArtifactRecord]:
    """The logged artifacts in their order: type, name, digest, aliases, metadata (JSON) and manifest.contents.

    A manifest of very many files is not in the record, but in the file manifest.manifest_file_path.
    """
    found = []
    for record in read_records(path):
        if record.WhichOneof("record_type") == "artifact":
            found.append(record.artifact)
        elif record.request.WhichOneof("request_type") == "log_artifact":
            found.append(record.request.log_artifact.artifact)
    return found
