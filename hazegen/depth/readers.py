"""Reads a depth file: float32 metres, NaN where nothing was measured, infinity where nothing is."""

import io
import tokenize
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hazegen import geometry, images
from hazegen.depth.formats import DepthFormat
from hazegen.errors import RefusedError

ARRAY_SUFFIXES = (".npy",)
# Below this reach an 8-bit map was almost surely a 16-bit one that some tool has cut to 8 bits.
SMALLEST_REACH_M = 1.0


def read_depth(path: Path, fmt: DepthFormat) -> NDArray[np.float32]:
    """Depth or distance [m] of `path`, (height, width), as `fmt` says it is to be understood.

    Returns:
        float32; NaN: not measured; infinity: no surface; all other values above 0.

    Raises:
        RefusedError: Unreadable, not one channel, an integer map without a unit, negative values.
    """
    data = images.read_file(path)
    values = _read_npy(data, path.name) if path.suffix.lower() in ARRAY_SUFFIXES else images.decode(data, path.name)
    return to_metres(_one_channel(values, path.name), fmt, path.name)


def to_metres(values: NDArray[np.generic], fmt: DepthFormat, name: str) -> NDArray[np.float32]:
    """Metres of a file's raw numbers; see `read_depth`."""
    unit = _unit(values, fmt, name)
    raw = values.astype(np.float32)
    known = np.full(raw.shape, True) if fmt.not_measured is None else raw != fmt.not_measured
    if np.any(raw[known] < 0):
        raise RefusedError(
            f"Depth '{name}' has values below 0. Expected metres, 0 or more, received a smallest value of "
            f"{np.nanmin(raw[known]):g}. Correct the map, or mask these pixels with NaN."
        )
    result = raw * np.float32(unit)
    if fmt.kind == "disparity":
        assert fmt.focal_px is not None
        assert fmt.baseline_m is not None
        result = geometry.disparity_to_depth(result, fmt.focal_px, fmt.baseline_m)
        result[np.isinf(raw)] = np.nan  # published disparity maps mark the unknown with infinity
    if fmt.no_surface is not None:
        result[raw == fmt.no_surface] = np.inf
    if fmt.not_measured is not None:
        result[raw == fmt.not_measured] = np.nan
    result[raw == 0.0] = np.inf if fmt.kind == "disparity" and fmt.not_measured != 0.0 else np.nan
    return result


def _unit(values: NDArray[np.generic], fmt: DepthFormat, name: str) -> float:
    integer = np.issubdtype(values.dtype, np.integer)
    if integer and fmt.unit is None:
        raise RefusedError(
            f"Depth '{name}' holds integers of an unknown unit. Expected the metres in one unit, received "
            f"{values.dtype} with nothing said. Pass --depth-scale (0.001 for millimetres), or state "
            "depth.unit_m in the camera file."
        )
    unit = 1.0 if fmt.unit is None else fmt.unit
    reach = 255.0 * unit
    if values.dtype == np.uint8 and fmt.kind != "disparity" and reach < SMALLEST_REACH_M:
        raise RefusedError(
            f"Depth '{name}' looks like a 16-bit map that was cut to 8 bits. Expected 16 bits at "
            f"{unit:g} m per unit, received 8 bits, which reach {reach:.3g} m. Export it with 16 bits, or "
            "correct --depth-scale."
        )
    return unit


def _one_channel(values: NDArray[np.generic], name: str) -> NDArray[np.generic]:
    """The single channel of a map, also where a tool has repeated it in three."""
    if values.ndim == 3 and values.size and (values[..., :1] == values[..., :3]).all():
        values = values[..., 0]
    if values.ndim != 2 or not values.size:
        raise RefusedError(
            f"Depth '{name}' is not a map of one channel. Expected (height, width), received {values.shape}: "
            "a picture in false colours has lost its depth. Export the raw values."
        )
    return values


def _read_npy(data: bytes, name: str) -> NDArray[np.generic]:
    """The array of a .npy file; its size is read from the header, and pickles are refused."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
        if dtype.kind not in "uif" or int(np.prod(shape)) > images.MAX_PIXELS:
            raise ValueError(f"{dtype} {shape}")
        file.seek(0)
        return np.load(file, allow_pickle=False)
    except (ValueError, OSError, EOFError, tokenize.TokenError) as error:
        raise RefusedError(
            f"Depth '{name}' cannot be read as an array. Expected a complete .npy file of numbers, at most "
            f"{images.MAX_PIXELS:,} of them, received: {error}. Save it again with numpy.save."
        ) from None
