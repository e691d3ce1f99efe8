"""Reads .npz files: arrays of numbers and text alone, nothing that is executed."""

import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 64_000_000  # a checkpoint of AOD-Net has 50 kB


def _check_size(file: BinaryIO) -> None:
    """Holds what a zip says it will unpack to against the limit, before any of it is unpacked."""
    with zipfile.ZipFile(file) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > MAX_BYTES:
        raise ValueError(f"{size:,} bytes when unpacked, more than {MAX_BYTES:,}")
    file.seek(0)


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of a .npz file. Pickles are refused.

    Raises:
        ValueError: Damaged, cut, not a .npz file, too large, or with something else than arrays in it.
        OSError: Cannot be opened.
    """
    with path.open("rb") as file:  # ours to close: numpy leaves it open where the zip is damaged
        try:
            _check_size(file)
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise ValueError("one array, not a .npz file of several")
            with loaded:
                return {name: loaded[name] for name in loaded.files}
        except (TypeError, KeyError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None
