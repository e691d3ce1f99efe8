"""What tells the inputs and the tools of one run from those of another."""

import errno
import functools
import hashlib
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, cast

import cv2

from hazegen import images, intrinsics, scenes, stores
from hazegen.errors import HazegenError, StoreError
from hazegen.pairing import SceneRef
from hazegen.reading import Reading

# Of a larger file so many bytes are read at three places, to tell it from another of its name and size: 0.15 ms
# where all of 2 MB takes 1.2 ms (one core, files in the page cache).
PART = 64 * 1024
# A smaller object of a store is read by one request, of a larger one its three parts by one each.
ONE_REQUEST = 4 * 1024 * 1024
# What an OSError says of a file or its name. All others are of the machine, and say nothing of the scene.
OF_THE_FILE = {errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG}
DIGEST_COLUMNS = ("image_digest", "depth_digest", "mask_digest", "sparse_digest", "camera_digest")


def fingerprint(ref: SceneRef, reading: Reading) -> dict[str, str]:
    """What tells the files of a scene from changed ones of the same names: digests of a part, of the camera's whole.

    Times tell nothing: a copy has another time, and a file that was unpacked an old one. A file that is missing or
    cannot be read is left out: its scene is rejected with the reason.

    Returns:
        Digests by their names in DIGEST_COLUMNS.

    Raises:
        StoreError, OSError: A store or the machine failed; whether the file is there is not known.
    """
    stacked = ref.frame is not None
    large = _digest_of_copy if stacked else _digest_of_parts
    parts: tuple[tuple[Callable[[], Path | None], Callable[[Path], str]], ...] = (
        (lambda: reading.images if stacked else reading.images / ref.image, large),
        (lambda: scenes.depth_path(ref, reading) if reading.flat_m is None else None, large),
        (lambda: scenes.mask_path(ref, reading), _digest_of_parts),
        (lambda: scenes.sparse_path(ref, reading), _digest_of_parts),
        (lambda: intrinsics.intrinsics_path(ref, reading), _digest),
    )
    told = zip(DIGEST_COLUMNS, (_of_file(find, measure) for find, measure in parts), strict=True)
    return {name: value for name, value in told if value is not None}


def _of_file(find: Callable[[], Path | None], measure: Callable[[Path], str]) -> str | None:
    try:
        path = find()
        return None if path is None else measure(path)
    except StoreError:
        raise
    except OSError as error:
        if error.errno not in OF_THE_FILE and not isinstance(error, FileNotFoundError):  # a store's has no number
            raise
        return None
    except HazegenError:
        return None


def _digest_of_parts(path: Path) -> str:
    """SHA-256 of a file's size and of PART bytes at its begin, middle and end: of all of it, where it is small.

    Not told is a change of a larger file that leaves its size and all three parts as they were.
    """
    if not stores.is_remote(path):
        with path.open("rb") as file:
            return _digest_of(functools.partial(_part_of, file), os.fstat(file.fileno()).st_size)
    size = path.stat().st_size
    if size > ONE_REQUEST:
        return _digest_of(cast(Any, path).read_part, size)
    data = path.read_bytes()
    return _digest_of(lambda start, stop: data[start:stop], len(data))


def _digest_of_copy(path: Path) -> str:
    """The same of a file of many frames, which is copied from a store once, to be read."""
    with stores.local_copy(path) as local:
        return _digest_of_parts(local)


def _part_of(file: IO[bytes], start: int, stop: int) -> bytes:
    file.seek(start)
    return file.read(stop - start)


def _digest_of(read: Callable[[int, int], bytes], size: int) -> str:
    """The digest of a file whose bytes from one place to before another `read` gives."""
    digest = hashlib.sha256(f"{size}:".encode())
    for start in (0, max(PART, (size - PART) // 2), max(2 * PART, size - PART)):
        # A store refuses a range that begins at the end or after it.
        digest.update(read(start, min(start + PART, size)) if start < size else b"")
    return digest.hexdigest()


def _digest(path: Path) -> str:
    return hashlib.sha256(images.read_file(path)).hexdigest()


def versions() -> dict[str, str]:
    """Versions of what decides the bytes of a dataset."""
    return dict(_versions())


@functools.cache
def _versions() -> dict[str, str]:
    # Once a process: each version is parsed from the package's metadata on the disk.
    names = ("hazegen", "numpy", "scipy", "numba", "llvmlite")
    return {name: version(name) for name in names} | {"opencv": cv2.__version__, "machine": platform.machine()}
