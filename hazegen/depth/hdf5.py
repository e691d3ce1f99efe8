"""Numeric arrays of HDF5 files, among them MATLAB's version 7.3: no other file is followed, no plug-in run."""

import math
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hazegen import images
from hazegen.depth.arrays import Shapes, check_index, check_machine, check_size
from hazegen.errors import RefusedError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MATLAB_BLOCK = 512  # bytes of text before the signature in MATLAB's files
GZIP = 1
# gzip, shuffle, fletcher32: the filters whose output can be bounded before it is taken into memory.
FILTERS = {GZIP, 2, 3}
MAX_CHUNKS = 100_000
MAX_DEPTH = 4
# The library keeps state for the whole process.
_LOCK = threading.Lock()


def is_hdf5(path: Path) -> bool:
    """Whether the file begins as HDF5 does, or as MATLAB's files of version 7.3."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(MATLAB_BLOCK + len(SIGNATURE))
    return SIGNATURE in (head[: len(SIGNATURE)], head[MATLAB_BLOCK:])


def list_arrays(path: Path, only: str | None = None) -> Shapes:
    """Names and shapes of the numeric arrays, in MATLAB's order of axes for a .mat file.

    Args:
        path: File.
        only: The one array that is looked for: some files hold thousands.
    """
    with _opened(path) as file:
        found = {name: dataset.shape for name, dataset in _datasets(file, "", 0, only)}
    return {name: shape[::-1] if _is_matlab(path) else shape for name, shape in found.items()}


def read_array(path: Path, dataset: str, index: int | None = None) -> NDArray[Any]:
    """One array, or one frame of it: along the first axis, in a .mat file along MATLAB's last.

    MATLAB writes columns first, so all axes of its arrays stand in reverse in the file.

    Raises:
        RefusedError: Too large, in other files, or behind a filter whose output cannot be bounded.
    """
    with _opened(path) as file:
        found = dict(_datasets(file, "", 0, dataset))[dataset]
        frame = () if index is None else (check_index(index, found.shape[0], path.name),)
        check_size(found.shape[len(frame) :], path.name)
        _check_storage(found, frame, path.name)
        array = np.asarray(found[frame])
    array = array.astype(array.dtype.newbyteorder("="))
    return array.T if _is_matlab(path) else array


def _is_matlab(path: Path) -> bool:
    return path.suffix.lower() == ".mat"


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import h5py  # 0.2 s to import, and most depth maps are pictures

    if not is_hdf5(path):
        raise _refused(path.name, "another kind of file")
    try:
        # Without the lock of files: network disks do not have it, and nothing is written.
        with _LOCK, h5py.File(path, "r", locking=False) as file:
            yield file
    except RefusedError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, zlib.error) as error:
        check_machine(error)
        raise _refused(path.name, str(error)) from None


def _refused(name: str, received: str) -> RefusedError:
    return RefusedError(
        f"Depth '{name}' cannot be read as HDF5. Expected a complete file whose arrays lie in itself, plain or "
        f"compressed with gzip, received {received}. Save it again with h5py, compression='gzip'."
    )


def _datasets(group: Any, prefix: str, depth: int, only: str | None) -> Iterator[tuple[str, Any]]:
    """Numeric arrays below `group`, or the one called `only`; links to other places are not followed."""
    import h5py

    for name in group if only is None else [only.removeprefix(prefix).split("/")[0]]:
        # MATLAB keeps the cells of its cell arrays in groups whose names begin with '#'.
        if name.startswith("#") or not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        item = group[name]
        if isinstance(item, h5py.Dataset) and item.shape is not None and item.dtype.kind in "uif":
            yield prefix + name, item
        elif isinstance(item, h5py.Group) and depth < MAX_DEPTH:
            yield from _datasets(item, f"{prefix}{name}/", depth + 1, only)


def _check_storage(dataset: Any, frame: tuple[int, ...], name: str) -> None:
    if dataset.is_virtual or dataset.external:
        raise _refused(name, f"'{dataset.name}', whose numbers lie in another file")
    pipeline = dataset.id.get_create_plist()
    filters = [pipeline.get_filter(i)[0] for i in range(pipeline.get_nfilters())]
    if not set(filters) <= FILTERS or filters.count(GZIP) > 1:
        raise _refused(name, f"'{dataset.name}' behind the filters {filters}")
    if dataset.chunks is not None:
        _check_chunks(dataset, frame, GZIP in filters, name)


def _check_chunks(dataset: Any, frame: tuple[int, ...], gzip: bool, name: str) -> None:
    """Whether each chunk that is read inflates to its own size; HDF5 itself sets no limit to it."""
    size = math.prod(dataset.chunks) * dataset.dtype.itemsize
    begin = [at // step * step for at, step in zip((*frame, *[0] * dataset.ndim), dataset.chunks, strict=False)]
    grids = [
        range(start, start + 1 if axis < len(frame) else length, step)
        for axis, (start, length, step) in enumerate(zip(begin, dataset.shape, dataset.chunks, strict=True))
    ]
    if size > images.MAX_PIXELS * 8 or math.prod(len(grid) for grid in grids) > MAX_CHUNKS:
        raise _refused(name, f"'{dataset.name}' in chunks of {dataset.chunks}")
    for at in np.ndindex(*(len(grid) for grid in grids)) if gzip else ():
        corner = tuple(grid[i] for grid, i in zip(grids, at, strict=True))
        if dataset.id.get_chunk_info_by_coord(corner).size and not _fits(dataset, corner, size):
            raise _refused(name, f"'{dataset.name}' with a chunk that inflates to more than {size} bytes")


def _fits(dataset: Any, corner: tuple[int, ...], size: int) -> bool:
    skipped, data = dataset.id.read_direct_chunk(corner)
    if skipped:
        return len(data) <= 2 * size
    # Four bytes more than the numbers: a checksum that was taken before the compression.
    inflated = zlib.decompressobj()
    return len(inflated.decompress(data, size + 4)) <= size + 4 and not inflated.unconsumed_tail
