"""Reads a depth file: float32 metres, NaN where nothing was measured, infinity where nothing is."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hazegen import images
from hazegen.depth import arrays, containers
from hazegen.depth.formats import RELATIVE, DepthFormat, check_complete
from hazegen.errors import RefusedError

Floats = NDArray[np.float32]
Numbers = NDArray[Any]  # integers or floats
Mask = NDArray[np.bool_]

# Below this reach an 8-bit map was almost surely a 16-bit one that some tool has cut to 8 bits.
SMALLEST_REACH_M = 1.0
# Of the relative kinds: outliers beyond these shares of the values decide neither near nor far.
QUANTILES = (0.005, 0.995)
# A distance of 0, as a transmission of 1 means, becomes this: all that a reader gives is above 0.
NEAREST_M = 1e-6
# How far above 1 a transmission may lie by rounding.
ROUNDING = 1e-4
LARGER_IS_NEARER = ("disparity", "inverse", "relative-inverse")


def read_depth(path: Path, fmt: DepthFormat, index: int | None = None, mask: Path | None = None) -> Floats:
    """Depth or distance [m] of `path`, (height, width), as `fmt` says it is to be understood.

    Args:
        path: File in one of the containers of containers.SUFFIXES.
        fmt: What its numbers mean.
        index: Which frame of a file that holds many.
        mask: Map of the valid pixels (not 0), where the set has one.

    Returns:
        float32; NaN: not measured; infinity: no surface; all other values above 0.

    Raises:
        RefusedError: Unreadable, not one map, an integer map without a unit, negative values.
        UsageError: The format lacks what its kind of values needs.
    """
    check_complete(fmt)
    depth_m = to_metres(containers.read_values(path, fmt, index), fmt, path.name)
    if mask is not None:
        depth_m[~_read_mask(mask, depth_m.shape)] = np.nan
    return depth_m


def read_relative(path: Path, fmt: DepthFormat, index: int | None = None) -> Floats:
    """The numbers of a relative map without near and far: NaN not measured, infinity no surface; see scale.py."""
    values = containers.read_values(path, fmt, index)
    sky, unknown = no_surface(values, fmt), not_measured(values, fmt)
    numbers = _scaled(values, fmt, _unit(values, fmt, path.name))
    numbers[unknown | ~np.isfinite(numbers)] = np.nan  # infinity stays for the sky alone
    numbers[sky] = np.inf
    return numbers


def _read_mask(path: Path, shape: tuple[int, ...]) -> Mask:
    if path.suffix.lower() == ".npy":
        values = arrays.read_npy(images.read_file(path), path.name)
    else:
        values = images.read_picture(path)
    if values.ndim == 3:
        values = values[..., 0]
    if values.shape != shape:
        raise RefusedError(
            f"Mask '{path.name}' is of another size than its depth map. Expected {shape}, received {values.shape}. "
            "Correct the folders."
        )
    return values > 0


def to_metres(values: Numbers, fmt: DepthFormat, name: str) -> Floats:
    """Metres of a file's raw numbers; see `read_depth`."""
    check_complete(fmt)
    unit = _unit(values, fmt, name)
    sky, unknown = no_surface(values, fmt), not_measured(values, fmt)
    numbers = _scaled(values, fmt, unit)
    known = ~(sky | unknown)
    if fmt.values in RELATIVE:
        metres = _from_relative(numbers, known, fmt, name)
    elif fmt.values == "transmission":
        metres = _from_transmission(numbers, known, fmt, name)
    elif fmt.values in LARGER_IS_NEARER:
        metres = _from_inverse(numbers, known, fmt, name)
    else:
        metres = _from_metres(numbers, known, name)
    metres[unknown] = np.nan
    metres[sky] = np.inf
    return metres


def _scaled(values: Numbers, fmt: DepthFormat, unit: float) -> Floats:
    # What overflows or is no number is settled by the two masks.
    with np.errstate(invalid="ignore", over="ignore"):
        return (values.astype(np.float32) + np.float32(fmt.offset)) * np.float32(unit)


def _unit(values: Numbers, fmt: DepthFormat, name: str) -> float:
    integer = np.issubdtype(values.dtype, np.integer)
    if fmt.unit is None and integer and fmt.values == "transmission":
        return 1.0 / np.iinfo(values.dtype).max
    if fmt.unit is None and integer and fmt.values not in RELATIVE:
        raise RefusedError(
            f"Depth '{name}' holds integers of an unknown unit. Expected the metres in one unit, received "
            f"{values.dtype} with nothing said. Pass --depth-scale (0.001 for millimetres), or state "
            "depth.unit_m in the camera file."
        )
    unit = 1.0 if fmt.unit is None else fmt.unit
    reach = 255.0 * unit
    if values.dtype == np.uint8 and fmt.values in ("plane", "ray") and reach < SMALLEST_REACH_M:
        raise RefusedError(
            f"Depth '{name}' looks like a 16-bit map that was cut to 8 bits. Expected 16 bits at "
            f"{unit:g} m per unit, received 8 bits, which reach {reach:.3g} m. Export it with 16 bits, or "
            "correct --depth-scale."
        )
    return unit


def no_surface(values: Numbers, fmt: DepthFormat) -> Mask:
    """Where the file says that nothing is there, as far as infinity."""
    mask = np.zeros(values.shape, bool)
    # np.isposinf is 30 times slower on integers, which have no infinity.
    if fmt.values not in LARGER_IS_NEARER and math.inf not in fmt.not_measured and values.dtype.kind == "f":
        mask |= np.isposinf(values)
    if fmt.no_surface is not None:
        mask |= _equal(values, fmt.no_surface)
    if fmt.no_surface_from is not None:
        with np.errstate(over="ignore"):  # a limit beyond half precision is infinity there
            mask |= values >= fmt.no_surface_from
    return mask


def not_measured(values: Numbers, fmt: DepthFormat) -> Mask:
    """Where the file says that nothing was measured; what is marked as no surface too is none of it."""
    mask = np.isnan(values)
    if fmt.values in LARGER_IS_NEARER:
        mask |= np.isposinf(values)  # published disparity maps mark the unknown with infinity
    for raw in fmt.not_measured:
        mask |= _equal(values, raw)
    if fmt.values in RELATIVE:
        # Where 0 is a mark and no value, what lies below it is none either: MegaDepth's ordinal labels.
        mask |= values < 0 if 0.0 in fmt.not_measured else np.isneginf(values)
    return mask


def _equal(values: Numbers, raw: float) -> Mask:
    """Where a raw number stands, in the precision of the file."""
    if values.dtype.kind != "f":
        return np.asarray(values == raw)
    with np.errstate(over="ignore"):
        rounded = values.dtype.type(raw)
    return np.asarray(values == rounded) & bool(np.isinf(rounded) == math.isinf(raw))


def _from_metres(metres: Floats, known: Mask, name: str) -> Floats:
    if np.any(known & (metres < 0)):
        raise RefusedError(
            f"Depth '{name}' has values below 0. Expected metres, 0 or more, received a smallest value of "
            f"{metres[known].min():g}. Correct the map, or say by --not-measured which value means no measurement."
        )
    metres[metres == 0.0] = np.nan
    return metres


def _from_inverse(numbers: Floats, known: Mask, fmt: DepthFormat, name: str) -> Floats:
    """z = f B / (disparity + doffs), or 1 / inverse depth; 0 is no surface, below 0 nothing was measured."""
    product = np.float32(1.0)
    if fmt.values == "disparity":
        assert fmt.focal_px is not None
        assert fmt.baseline_m is not None
        product = np.float32(fmt.focal_px * fmt.baseline_m)
        numbers = numbers + np.float32(fmt.doffs_px)
    if known.any() and not (numbers[known] >= 0).any():
        raise RefusedError(
            f"Depth '{name}' has no {fmt.values} of 0 or more. Expected larger for nearer, received values up to "
            f"{numbers[known].max():g}. Turn its sign, or correct depth.offset and depth.doffs_px in the camera file."
        )
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        metres = product / numbers
    metres[metres == 0] = np.nan  # a number too large to be one
    metres[numbers == 0] = np.inf
    metres[numbers < 0] = np.nan
    return metres


def _from_relative(numbers: Floats, known: Mask, fmt: DepthFormat, name: str) -> Floats:
    """Near and far at the quantiles of the measured values: affine in depth, or in inverse depth.

    z = near + s (far - near), or 1 / z = 1 / far + s (1 / near - 1 / far), s in [0, 1] clipped.
    """
    assert fmt.near_m is not None
    assert fmt.far_m is not None
    if not known.any():
        return np.full(numbers.shape, np.nan, np.float32)
    low, high = np.quantile(numbers[known].astype(np.float64), QUANTILES)
    if not 0.0 < high - low < math.inf:
        raise RefusedError(
            f"Depth '{name}' is constant. Expected relative depth of several values, received {low:g} in 99 % of "
            "its pixels. Leave the map out, or make it again."
        )
    with np.errstate(invalid="ignore"):
        share = np.clip((numbers.astype(np.float64) - low) / (high - low), 0.0, 1.0)
    if fmt.values == "relative":
        return (fmt.near_m + share * (fmt.far_m - fmt.near_m)).astype(np.float32)
    return (1.0 / (1.0 / fmt.far_m + share * (1.0 / fmt.near_m - 1.0 / fmt.far_m))).astype(np.float32)


def _from_transmission(numbers: Floats, known: Mask, fmt: DepthFormat, name: str) -> Floats:
    """d = -ln(t) / beta; t = 0 is no surface, t = 1 the camera itself."""
    assert fmt.beta is not None
    measured = numbers[known]
    if measured.size and not (measured.min() >= 0 and measured.max() <= 1 + ROUNDING):
        raise RefusedError(
            f"Depth '{name}' holds no transmissions. Expected values in 0..1, received {measured.min():g} to "
            f"{measured.max():g}. Correct --depth-values, or --depth-scale."
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        metres = -np.log(numbers) / np.float32(fmt.beta)
    return np.where(np.isnan(metres), metres, np.maximum(metres, np.float32(NEAREST_M))).astype(np.float32)
