"""What tells the inputs and the tools of one run from those of another."""

import hashlib
import io
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import IO

import cv2

from hazegen import images, intrinsics, scenes, stores
from hazegen.errors import HazegenError, StoreError
from hazegen.pairing import SceneRef
from hazegen.reading import Reading

# Of a larger file so many bytes are read at three places, to tell it from another of its name and size: 0.15 ms
# where all of 2 MB takes 1.2 ms (one core, files in the page cache).
PART = 64 * 1024
# A smaller object of a store is read from memory; a larger one may be a file of many frames, and is copied once.
ONE_REQUEST = 4 * 1024 * 1024
DIGEST_COLUMNS = ("image_digest", "depth_digest", "mask_digest", "sparse_digest", "camera_digest")


def fingerprint(ref: SceneRef, reading: Reading) -> dict[str, str]:
    """What tells the files of a scene from changed ones of the same names: digests of a part, of the camera's whole.

    Times tell nothing: a copy has another time, and a file that was unpacked an old one. A file that is missing or
    cannot be read is left out: its scene is rejected with the reason.

    Returns:
        Digests by their names in DIGEST_COLUMNS.

    Raises:
        StoreError: A store failed; whether the file is there is not known.
    """
    stacked = ref.frame is not None
    parts: tuple[tuple[Callable[[], Path | None], Callable[[Path], str]], ...] = (
        (lambda: reading.images if stacked else reading.images / ref.image, _digest_of_parts),
        (lambda: scenes.depth_path(ref, reading) if reading.flat_m is None else None, _digest_of_parts),
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
    except (HazegenError, OSError):
        return None


def _digest_of_parts(path: Path) -> str:
    """SHA-256 of a file's size and of PART bytes at its begin, middle and end: of all of it, where it is small.

    Not told is a change of a larger file that leaves its size and all three parts as they were.
    """
    if stores.is_remote(path) and path.stat().st_size <= ONE_REQUEST:
        data = path.read_bytes()
        return _digest_of(io.BytesIO(data), len(data))
    with stores.local_copy(path) as local, local.open("rb") as file:
        return _digest_of(file, os.fstat(file.fileno()).st_size)


def _digest_of(file: IO[bytes], size: int) -> str:
    digest = hashlib.sha256(f"{size}:".encode())
    for start in (0, max(PART, (size - PART) // 2), max(2 * PART, size - PART)):
        file.seek(start)
        digest.update(file.read(PART))
    return digest.hexdigest()


def _digest(path: Path) -> str:
    return hashlib.sha256(images.read_file(path)).hexdigest()


def versions() -> dict[str, str]:
    """Versions of what decides the bytes of a dataset."""
    names = ("hazegen", "numpy", "scipy", "numba", "llvmlite")
    return {name: version(name) for name in names} | {"opencv": cv2.__version__, "machine": platform.machine()}
