"""Arrays of NumPy's files: sizes from the headers, nothing unpickled."""

import errno
import io
import lzma
import math
import os
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from hazegen import images
from hazegen.errors import RefusedError

Numbers = NDArray[Any]  # integers, floats or truth values
Shapes = dict[str, tuple[int, ...]]
_DAMAGED_STREAM = (EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
DAMAGED = (ValueError, OSError, NotImplementedError, tokenize.TokenError, *_DAMAGED_STREAM)
# Errors of the disk, or of the machine, whatever is in the file.
OF_THE_MACHINE = frozenset(
    (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ETIMEDOUT)
    + (errno.ENODEV, errno.ENXIO)
)


def check_machine(error: BaseException) -> None:
    """Raises OSError where a reader failed because the disk did: that says nothing about the file.

    Libraries that are not Python's give the system's error in words alone, as 'errno = 5, Input/output error'.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None and isinstance(error, OSError | RuntimeError):
        number = next((known for known in OF_THE_MACHINE if os.strerror(known) in str(error)), None)
    if number in OF_THE_MACHINE:
        raise OSError(number, str(error)) from error


def check_size(shape: tuple[int, ...], name: str) -> None:
    """Refuses an array that would take more memory than a depth map may.

    Raises:
        RefusedError: It has more than MAX_PIXELS numbers.
    """
    if min(shape, default=1) < 0 or math.prod(shape) > images.MAX_PIXELS:
        raise RefusedError(
            f"Depth '{name}' is too large. Expected at most {images.MAX_PIXELS:,} numbers, received {shape}. "
            "Cut or shrink the map."
        )


def check_index(index: int, frames: int, name: str) -> int:
    """`index`, where the file has such a frame."""
    if not 0 <= index < frames:
        raise RefusedError(f"'{name}' has no frame {index}. Expected 0 to {frames - 1}, received {index}. Correct it.")
    return index


def read_npy(data: bytes, name: str, index: int | None = None) -> Numbers:
    """The array of a .npy file, or one frame along its first axis."""
    try:
        array = _read(io.BytesIO(data))
    except (*DAMAGED, MemoryError) as error:
        raise _refused(name, ".npy file", error) from None
    return frame(array, index, name)


def frame(array: Numbers, index: int | None, name: str) -> Numbers:
    """One frame along the first axis, or the array itself where no frame is asked for."""
    if index is None:
        return array
    if array.ndim < 3:
        raise RefusedError(
            f"'{name}' holds one frame. Expected an array of three axes, received {array.shape}. "
            "Name the files' own convention by --depth-kind."
        )
    return array[check_index(index, array.shape[0], name)]


def list_npz(path: Path) -> Shapes:
    """Names and shapes of the numeric arrays in a .npz file, by their headers."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {
                member.removesuffix(".npy"): shape
                for member in archive.namelist()
                if member.endswith(".npy") and (shape := _shape_of(archive, member)) is not None
            }
    except (*DAMAGED, RuntimeError) as error:  # RuntimeError: the archive is encrypted
        check_machine(error)
        raise _refused(path.name, ".npz file", error) from None


def read_npz(path: Path, dataset: str) -> Numbers:
    """One array of a .npz file."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{dataset}.npy") as member:
            return _read(member)
    except (*DAMAGED, RuntimeError, KeyError, MemoryError) as error:
        check_machine(error)
        raise _refused(path.name, ".npz file", error) from None


def _shape_of(archive: zipfile.ZipFile, member: str) -> tuple[int, ...] | None:
    with archive.open(member) as file:
        shape, _, dtype = _header(file)
    return shape if dtype.kind in "uifb" else None


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and type; `file` then stands before the numbers."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


def _read(file: IO[bytes]) -> Numbers:
    """The numbers of a .npy stream in this machine's byte order; never more bytes than the header says."""
    shape, columns_first, dtype = _header(file)
    if dtype.kind not in "uifb" or min(shape, default=1) < 0 or math.prod(shape) > images.MAX_PIXELS:
        raise ValueError(f"{dtype} {shape}")
    wanted = math.prod(shape) * dtype.itemsize
    data = file.read(wanted)
    if len(data) != wanted:
        raise ValueError(f"{len(data)} of {wanted} bytes")
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if columns_first else "C")
    return array.astype(dtype.newbyteorder("="))


def _refused(name: str, what: str, error: Exception) -> RefusedError:
    return RefusedError(
        f"Depth '{name}' cannot be read as an array. Expected a complete {what} of numbers, at most "
        f"{images.MAX_PIXELS:,} of them, received: {error}. Save it again with numpy."
    )
