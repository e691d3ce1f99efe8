"""Reads .npz files: arrays of numbers and text alone, nothing that is executed."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of a .npz file. Pickles are refused.

    Raises:
        ValueError: Damaged, cut, not a .npz file, or with something else than arrays in it.
        OSError: Cannot be opened.
    """
    with path.open("rb") as file:  # ours to close: numpy leaves it open where the zip is damaged
        try:
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise ValueError("one array, not a .npz file of several")
            with loaded:
                return {name: loaded[name] for name in loaded.files}
        except (TypeError, KeyError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None
