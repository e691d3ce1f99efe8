"""Checkpoints of a training run: one file each, complete or not there at all.

A checkpoint holds arrays and one JSON text, nothing that is executed when it is read. The position
in the data is (seed, epoch, step): the order is computed again from it, so no buffer is saved.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aodnet.arrays import read_npz
from hazegen.errors import RefusedError

FOLDER = "checkpoints"
KEPT = 2
_META = "meta"


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run: everything that the next step depends on.

    Attributes:
        epoch, step: The next step to take is step `step` of epoch `epoch`, both from 0.
        arrays: Values of all variables, in the order in which the trainer lists them.
        meta: Plain values: the settings and the digest of the dataset.
    """

    epoch: int
    step: int
    arrays: list[NDArray[Any]]
    meta: dict[str, Any]


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Writes a checkpoint (temp, fsync, rename, fsync of the folder) and removes all but the newest two."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"epoch-{checkpoint.epoch:05d}-step-{checkpoint.step:07d}.npz"
    if any(array.dtype.hasobject for array in checkpoint.arrays):
        raise ValueError("A checkpoint holds numbers. Expected no array of objects, which would be pickled.")
    temporary = path.with_suffix(".tmp")
    position = {"epoch": checkpoint.epoch, "step": checkpoint.step, "arrays": len(checkpoint.arrays)}
    meta = json.dumps({**position, **checkpoint.meta}, sort_keys=True)
    content: dict[str, Any] = {f"array{number:04d}": array for number, array in enumerate(checkpoint.arrays)}
    content[_META] = np.array(meta)
    with temporary.open("wb") as file:
        np.savez(file, **content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    for old in _all(folder)[:-KEPT]:
        old.unlink()
    return path


def load_newest(folder: Path) -> tuple[Checkpoint, list[str]]:
    """The newest checkpoint that can be read, and the names of newer ones that could not.

    Raises:
        RefusedError: There is none.
    """
    damaged: list[str] = []
    for path in reversed(_all(folder)):
        try:
            return _load(path), damaged
        except (OSError, ValueError, KeyError, TypeError):
            damaged.append(path.name)
    raise RefusedError(
        f"There is no checkpoint to resume from. Expected one in '{folder}', received "
        f"{f'only damaged ones ({damaged})' if damaged else 'none'}. Start again without --resume, in a new folder."
    )


def newest_path(folder: Path) -> Path:
    """The newest checkpoint's file."""
    return _all(folder)[-1]


def _load(path: Path) -> Checkpoint:
    content = read_npz(path)
    meta = dict(json.loads(str(content.pop(_META))))
    if meta.pop("arrays") != len(content):
        raise ValueError("arrays are missing")
    return Checkpoint(meta.pop("epoch"), meta.pop("step"), [content[name] for name in sorted(content)], meta)


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*.npz"))
