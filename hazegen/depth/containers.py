"""Reads the raw numbers out of a depth file, whatever its container; sizes are known before memory is taken."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hazegen import images, stores
from hazegen.depth import arrays, hdf5, matlab, rasters
from hazegen.depth.formats import DepthFormat
from hazegen.errors import RefusedError

Numbers = NDArray[Any]  # integers or floats
PICTURES = (".png", ".pgm", ".pnm", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
MEMBERS = (".npz", ".mat", ".h5", ".hdf5")
SUFFIXES = (*PICTURES, ".pfm", ".exr", ".npy", *MEMBERS)
JPEG = b"\xff\xd8\xff"
# A grey map in three channels comes back from JPEG with channels this far apart, but for a few pixels at edges
# (a published map: 8 of 816 000, up to 11); false colours are farther apart in most.
JPEG_GREY, JPEG_ODD = 8, 0.001


def read_values(path: Path, fmt: DepthFormat, index: int | None = None) -> Numbers:
    """The raw numbers of a depth file, (height, width), unpacked, in the type that the file has.

    Args:
        path: File; its suffix names the container, and one that is not in SUFFIXES is read as a picture.
        fmt: Which array and channel of the file, and how its numbers are packed.
        index: Which frame of a file that holds many.

    Raises:
        RefusedError: Unreadable, too large, not one map, or several maps and none named.
    """
    name, suffix = path.name, path.suffix.lower()
    if suffix in MEMBERS:
        with stores.local_copy(path) as file:
            values = _read_array(file, _choose(_members(file, fmt.dataset), fmt, index, name), index)
    elif suffix == ".npy":
        values = arrays.read_npy(images.read_file(path), name, index)
    else:
        _check_single(index, name)
        values = _read_raster(path, fmt)
    if values.dtype.kind not in "uif":
        raise RefusedError(
            f"Depth '{name}' holds no numbers. Expected integers or floats, received {values.dtype}. Export depth."
        )
    return _unpack(_as_map(values, fmt, name, 0), fmt, name)


def count_frames(path: Path, fmt: DepthFormat) -> int:
    """How many frames a file of many holds."""
    with stores.local_copy(path) as file:
        found = _members(file, fmt.dataset)
    shape = found[_choose(found, fmt, 0, path.name)]
    return shape[-1] if path.suffix.lower() == ".mat" else shape[0]


def read_stacked_photo(path: Path, index: int, dataset: str = "images") -> NDArray[np.uint8]:
    """Photo of one frame of a MATLAB file of many: sRGB, uint8 (height, width, 3)."""
    with stores.local_copy(path) as file:
        found = _members(file, dataset)
        if len(found.get(dataset, ())) != 4 or found[dataset][2] != 3:
            raise RefusedError(
                f"'{path.name}' holds no photos. Expected '{dataset}' of (height, width, 3, frames), received "
                f"{found.get(dataset, 'none')}. Correct --depth-kind."
            )
        return images.as_rgb8(_read_array(file, dataset, index), path.name)


def _check_single(index: int | None, name: str) -> None:
    if index is not None:
        raise RefusedError(
            f"Depth '{name}' holds one frame. Expected a file of many (.npy, .npz, .mat, .h5), received frame "
            f"{index} of a picture. Name the files' own convention by --depth-kind."
        )


def _read_raster(path: Path, fmt: DepthFormat) -> Numbers:
    suffix = path.suffix.lower()
    if suffix == ".exr":
        with stores.local_copy(path) as file:
            return rasters.read_exr(file, fmt.dataset)
    data = images.read_file(path)
    if suffix == ".pfm":
        return rasters.read_pfm(data, path.name)
    pixels = rasters.read_picture(data, path.name)
    if not data.startswith(JPEG):
        return pixels
    if fmt.packing != "none":
        raise RefusedError(
            f"Depth '{path.name}' is packed into a JPEG. Expected a lossless format, received JPEG, whose losses "
            "change the packed bits. Export it as PNG."
        )
    return pixels if fmt.channel is not None else _as_map(pixels, fmt, path.name, JPEG_GREY)


def _members(path: Path, wanted: str | None) -> arrays.Shapes:
    """Names and shapes of the numeric arrays in a file of several, the wanted one among them."""
    if path.suffix.lower() == ".npz":
        return arrays.list_npz(path)
    if _is_matlab_5(path):
        return matlab.list_arrays(path)
    return (hdf5.list_arrays(path, wanted) if wanted else {}) or hdf5.list_arrays(path)


def _is_matlab_5(path: Path) -> bool:
    return path.suffix.lower() == ".mat" and not hdf5.is_hdf5(path)


def _read_array(path: Path, dataset: str, index: int | None) -> Numbers:
    if path.suffix.lower() == ".npz":
        return arrays.frame(arrays.read_npz(path, dataset), index, path.name)
    return (matlab if _is_matlab_5(path) else hdf5).read_array(path, dataset, index)


def _choose(found: arrays.Shapes, fmt: DepthFormat, index: int | None, name: str) -> str:
    """The array that is meant: the one that the format names, or the only one that can be a map."""
    if fmt.dataset in found:
        return str(fmt.dataset)
    maps = [key for key, shape in found.items() if fmt.dataset is None and _may_be_map(shape, fmt, index)]
    if len(maps) == 1:
        return maps[0]
    listed = ", ".join(f"{key} {shape}" for key, shape in found.items()) or "no array of numbers"
    raise RefusedError(
        f"Depth '{name}' does not tell which array is the depth. Expected {fmt.dataset or 'exactly one map'}, "
        f"received {listed}. State depth.dataset in the camera file."
    )


def _may_be_map(shape: tuple[int, ...], fmt: DepthFormat, index: int | None) -> bool:
    if len(shape) == 2:
        return index is None and fmt.channel is None and min(shape) > 1
    return len(shape) == 3 and (shape[-1] == 1 or index is not None or fmt.channel is not None)


def _as_map(values: Numbers, fmt: DepthFormat, name: str, tolerance: int) -> Numbers:
    """The one map of an array of two axes, or of three; `tolerance`: difference of channels that count as equal."""
    if fmt.packing == "carla" or (values.ndim == 2 and fmt.channel is None):
        return values
    if fmt.channel is not None:
        if values.ndim != 3 or not 0 <= fmt.channel < values.shape[2]:
            raise RefusedError(
                f"Depth '{name}' has no channel {fmt.channel}. Expected three axes, the last long enough, "
                f"received {values.shape}. Correct depth.channel in the camera file."
            )
        return values[..., fmt.channel]
    if values.ndim == 3 and values.shape[2] in (1, 3, 4) and _is_grey(values[..., :3], tolerance):
        # Of the three, green is the one that JPEG leaves closest to the grey that was written.
        values = values[..., min(1, values.shape[2] - 1)]
    return values


def _is_grey(channels: Numbers, tolerance: int) -> bool:
    first = channels[..., :1]
    if channels.dtype.kind == "f":
        return bool(((channels == first) | (np.isnan(channels) & np.isnan(first))).all())
    odd = float((np.ptp(channels.astype(np.int64), axis=2) > tolerance).mean())
    return odd <= (JPEG_ODD if tolerance else 0.0)


def _unpack(values: Numbers, fmt: DepthFormat, name: str) -> Numbers:
    """The numbers that the file's integers stand for."""
    if fmt.packing == "carla":
        if values.dtype != np.uint8 or values.ndim != 3 or values.shape[2] < 3:
            raise _not_packed(name, "8 bits in three channels", values)
        red, green, blue = (values[..., i].astype(np.uint32) for i in range(3))
        return red + 256 * green + 65536 * blue
    if values.ndim != 2 or not values.size:
        raise RefusedError(
            f"Depth '{name}' is not a map of one channel. Expected (height, width), received {values.shape}: "
            "a picture in false colours has lost its depth. Export the raw values."
        )
    if fmt.packing == "rotated":
        if values.dtype != np.uint16:
            raise _not_packed(name, "16 bits in one channel", values)
        return (values >> 3) | (values << 13)
    return values


def _not_packed(name: str, expected: str, values: Numbers) -> RefusedError:
    return RefusedError(
        f"Depth '{name}' is not packed as its convention says. Expected {expected}, received {values.dtype} "
        f"{values.shape}. Correct --depth-kind."
    )
