"""Reads .npz files: arrays of numbers and text alone, nothing that is executed."""

import io
import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from hazegen.depth.arrays import DAMAGED

MAX_BYTES = 64_000_000  # a file of AOD-Net has 27 kB, one of the widest network 41 MB
MAX_ARRAYS = 10_000
_KINDS = "biufU"  # truth values, integers, floats, text
_COMPRESSION = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what numpy writes; others take what memory they please
_ENTRY = b"PK\x01\x02"  # begins each member's entry in the directory of a zip


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of a .npz file. Pickles are refused.

    Raises:
        ValueError: Damaged, cut, not a .npz file, too large, or with something else than arrays in it.
        OSError: Cannot be opened.
    """
    return parse_npz(read_whole(path))


def read_whole(path: Path, limit: int = MAX_BYTES) -> bytes:
    """All bytes of a file of at most `limit`.

    Raises:
        ValueError: It is larger, or something that has no end, as a pipe.
        OSError: Cannot be opened.
    """
    if not path.is_file():
        raise ValueError("not a file")
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"more than {limit:,} bytes")
    return data


def parse_npz(data: bytes, limit: int = MAX_BYTES) -> dict[str, NDArray[Any]]:
    """All arrays in the bytes of a .npz file; sizes come from the headers, before anything is unpacked.

    Args:
        limit: Of the bytes when unpacked.

    Raises:
        ValueError: As for `read_npz`.
    """
    if data.count(_ENTRY) > MAX_ARRAYS:
        raise ValueError(f"more than {MAX_ARRAYS:,} members")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            _check_members(members, limit)
            return {member.filename.removesuffix(".npy"): _read(archive, member) for member in members}
    except (*DAMAGED, TypeError, KeyError, RuntimeError, MemoryError, OverflowError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _check_members(members: list[zipfile.ZipInfo], limit: int) -> None:
    """Holds what a zip says it will unpack to against the limit."""
    size = sum(member.file_size for member in members)
    if size > limit:
        raise ValueError(f"{size:,} bytes when unpacked, more than {limit:,}")
    if any(member.compress_type not in _COMPRESSION for member in members):
        raise ValueError("compressed in a way that numpy does not use")
    if len({member.filename for member in members}) != len(members):
        raise ValueError("two arrays of one name")


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(member) as file:
        _check_header(file, member.file_size)
    with archive.open(member) as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return array


def _check_header(file: IO[bytes], size: int) -> None:
    """Numpy takes what memory the header asks for before it reads a number."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.kind not in _KINDS:
        raise ValueError(f"numbers of type {dtype}")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size - file.tell():
        raise ValueError(f"{dtype} of shape {shape} in {size - file.tell()} bytes")
