"""Checkpoints of a training run: one file each, complete or not there at all.

A checkpoint holds arrays and one JSON text, nothing that is executed when it is read. The position
in the data is (seed, epoch, step): the order is computed again from it, so no buffer is saved.

The file is a .npz; the comment at its end is the SHA-256 of all the bytes before, written last. It is the mark
of a complete file, and no bit of the file can change without being found.
"""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aodnet.arrays import MAX_ARRAYS, parse_npz, read_whole
from hazegen import stores
from hazegen.errors import RefusedError

FOLDER = "checkpoints"
KEPT = 2
# The widest network, of 10.3 million weights, with both moments of Adam and an average: 165 MB.
MAX_BYTES = 256_000_000
_NAME = re.compile(r"epoch-(\d{5,12})-step-(\d{7,15})\.npz")
_META = "meta"
_MARK = b"sha256:"
_DIGEST = 64  # hexadecimal digits


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run: everything that the next step depends on.

    Attributes:
        epoch, step: The next step to take is step `step` of epoch `epoch`, both from 0.
        arrays: Values of all variables, in the order in which the trainer lists them.
        meta: Plain values: the settings and the digest of the dataset.
        names: Of the variables, in the same order.
    """

    epoch: int
    step: int
    arrays: list[NDArray[Any]]
    meta: dict[str, Any]
    names: tuple[str, ...] = ()


def of_variables(epoch: int, step: int, variables: Sequence[Any], meta: dict[str, Any]) -> Checkpoint:
    """The state of Keras variables, with their names."""
    arrays = [variable.numpy() for variable in variables]
    return Checkpoint(epoch, step, arrays, meta, tuple(variable.path for variable in variables))


def assign(saved: Checkpoint, variables: Sequence[Any]) -> None:
    """Sets every variable to its saved value; all of them are looked at before any is touched.

    Raises:
        RefusedError: The checkpoint is of another network or optimizer: other names, shapes or types.
    """
    expected = [(variable.path, tuple(variable.shape), str(variable.dtype)) for variable in variables]
    received = [
        (name, array.shape, str(array.dtype)) for name, array in zip(saved.names, saved.arrays, strict=False)
    ]  # fmt: skip
    if received != expected or len(saved.arrays) != len(saved.names):
        raise RefusedError(
            f"The checkpoint does not fit. Expected the {len(expected)} variables of this network and optimizer, "
            f"received {_difference(expected, received)}. Pass the run's own settings, or start a new run."
        )
    for variable, array in zip(variables, saved.arrays, strict=True):
        variable.assign(array)


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Writes a checkpoint (temp, fsync, rename, fsync of the folder) and removes all but the newest two.

    What a killed run has left half written goes, and so do checkpoints of a later position: a run that has gone
    back to an older one does not believe them any more. One process at a time may write in a folder.

    Raises:
        RefusedError: An array holds something else than finite numbers, or all of them are too large to be read
            again; nothing is written.
    """
    data = _encode(checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    stores.sweep(folder, "epoch-")
    path = folder / f"epoch-{checkpoint.epoch:05d}-step-{checkpoint.step:07d}.npz"
    with stores.whole_file(path) as file:
        file.write(data)
    paths = _all(folder)
    place = paths.index(path)
    for old in paths[: max(0, place + 1 - KEPT)] + paths[place + 1 :]:
        if not old.is_dir():  # nothing of ours
            old.unlink(missing_ok=True)
    return path


def load_newest(folder: Path) -> tuple[Checkpoint, list[str]]:
    """The newest checkpoint that is whole, and newer ones that are not: the name of each, and why.

    Raises:
        RefusedError: There is none.
    """
    damaged: list[str] = []
    for path in reversed(_all(folder)):
        try:
            return _load(path), damaged
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            damaged.append(f"{path.name} ({error})")
    received = f"only damaged ones: {'; '.join(damaged)}" if damaged else "none"
    raise RefusedError(
        f"There is no checkpoint to resume from. Expected one in '{folder}', received {received}. Start again without "
        "--resume, in a new folder."
    )


def set_aside(folder: Path, loaded: Checkpoint) -> list[str]:
    """Renames what lies after a loaded checkpoint: damaged ones, which would count among the two that are kept.

    Returns:
        The new names.
    """
    names = []
    for position, path in _placed(folder):
        if position > (loaded.epoch, loaded.step) and not path.is_dir():
            path.replace(path.with_name(f"{path.name}.damaged"))
            names.append(f"{path.name}.damaged")
    return names


def newest_path(folder: Path) -> Path:
    """The newest checkpoint's file."""
    return _all(folder)[-1]


def _encode(checkpoint: Checkpoint) -> bytes:
    for number, array in enumerate(checkpoint.arrays):
        if wrong := _wrong_numbers(array):
            raise RefusedError(
                f"Variable {number} ({''.join(checkpoint.names[number : number + 1])}) cannot be saved. Expected "
                f"finite numbers, received {wrong}. Go on from the checkpoint before with --resume."
            )
    position = {"epoch": checkpoint.epoch, "step": checkpoint.step, "names": checkpoint.names}
    meta = json.dumps({**position, "arrays": len(checkpoint.arrays), "run": checkpoint.meta}, sort_keys=True)
    content: dict[str, Any] = {f"array{number:05d}": array for number, array in enumerate(checkpoint.arrays)}
    content[_META] = np.array(meta)
    buffer = io.BytesIO()
    np.savez(buffer, **content)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = _MARK + b"0" * _DIGEST
    data = buffer.getvalue()[:-_DIGEST]
    if len(data) + _DIGEST > MAX_BYTES or len(content) > MAX_ARRAYS:
        raise RefusedError(
            f"The checkpoint cannot be saved. Expected at most {MAX_BYTES:,} bytes in {MAX_ARRAYS:,} arrays, received "
            f"{len(data) + _DIGEST:,} in {len(content):,}: nothing larger is read again. Lower --filters."
        )
    return data + _digest(data)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def _load(path: Path) -> Checkpoint:
    """One checkpoint.

    Raises:
        ValueError: Says what is wrong with it.
        OSError, KeyError, TypeError, AttributeError, RecursionError: Others do.
    """
    data = read_whole(path, MAX_BYTES)
    if not data[:-_DIGEST].endswith(_MARK):
        raise ValueError("cut, or no checkpoint: the mark of a complete one is not there")
    if _digest(data[:-_DIGEST]) != data[-_DIGEST:]:
        raise ValueError("its bytes are not those that were written")
    content = parse_npz(data, MAX_BYTES)
    meta = json.loads(str(content.pop(_META)))
    checkpoint = Checkpoint(
        meta["epoch"], meta["step"], [content[name] for name in sorted(content)], meta["run"], tuple(meta["names"])
    )
    _check(checkpoint, meta["arrays"], path.name)
    return checkpoint


def _check(checkpoint: Checkpoint, arrays: int, name: str) -> None:
    """Raises ValueError unless a checkpoint is what its own name and numbers say."""
    numbers = (checkpoint.epoch, checkpoint.step, arrays)
    if any(type(number) is not int for number in numbers) or not isinstance(checkpoint.meta, dict):
        raise ValueError("its facts are of other types")
    if (checkpoint.epoch, checkpoint.step) != _position(name):
        raise ValueError(f"it is of epoch {checkpoint.epoch}, step {checkpoint.step}")
    if arrays != len(checkpoint.arrays) or len(checkpoint.names) not in (0, arrays):
        raise ValueError(f"it has {len(checkpoint.arrays)} of {arrays} arrays")
    if any(not isinstance(text, str) for text in checkpoint.names):
        raise ValueError("its names are no text")
    for number, array in enumerate(checkpoint.arrays):
        if wrong := _wrong_numbers(array):
            raise ValueError(f"array {number} has {wrong}")


def _wrong_numbers(array: NDArray[Any]) -> str:
    """What is in an array beside finite numbers; empty where nothing is."""
    if array.dtype.kind not in "biuf":
        return f"values of type {array.dtype}"
    return "" if np.isfinite(array).all() else "NaN or infinity"


def _position(name: str) -> tuple[int, int] | None:
    found = _NAME.fullmatch(name)
    return (int(found[1]), int(found[2])) if found else None


def _all(folder: Path) -> list[Path]:
    """All checkpoints, the oldest first."""
    return [path for _, path in _placed(folder)]


def _placed(folder: Path) -> list[tuple[tuple[int, int], Path]]:
    """All checkpoints with their epochs and steps, in the order of these."""
    paths = folder.iterdir() if folder.is_dir() else ()
    return sorted((position, path) for path in paths if (position := _position(path.name)) is not None)


def _difference(expected: Sequence[Any], received: Sequence[Any]) -> str:
    """The first variable that is another, or how many there are."""
    for ours, theirs in zip(expected, received, strict=False):
        if ours != theirs:
            return f"'{theirs[0]}', {theirs[1]} of {theirs[2]}, in place of '{ours[0]}', {ours[1]} of {ours[2]}"
    return f"{len(received)}"
