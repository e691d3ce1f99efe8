"""The synthesis, fast: strips of rows that stay in the processor's cache, in 32-bit floats.

What it computes is said in synthesis.py, which it is held against: before the camera, at most 1 code
value differs, whatever the recipe. The camera is the same function for both, but where views differ by 1
its picture can differ by more: noise in linear light and a gamma below 1 widen a step in the dark, and JPEG
spreads it over a block.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from hazegen import color, fields, scattering
from hazegen.camera import coded, take
from hazegen.geometry import Camera
from hazegen.sampling import HazeParams
from hazegen.synthesis import Rendered

Floats = NDArray[np.float32]

# Pixels of a strip: some six planes of them, 4 bytes a pixel, fit into a core's own cache.
_STRIP_PX = 2**15


def render(
    clean: NDArray[np.uint8],
    distance_m: Floats,
    haze: HazeParams,
    color_space: str,
    camera: Camera | None = None,
) -> Rendered:
    """As synthesis.render: the same arguments and result, to 1 code value before the camera's part."""
    length_m = _lengths(distance_m, haze, camera)
    transmission = _transmission(length_m, haze)
    radiance, glow = _detours(clean, distance_m, length_m, transmission, haze, color_space)
    hazy = np.empty(clean.shape, np.uint8)
    for rows in _strips(*distance_m.shape):
        planes = _radiance(clean[rows], color_space) if radiance is None else radiance[:, rows]
        _add_haze(planes, transmission[rows], haze.atmospheric_light)
        if glow is not None:
            planes += glow[:, rows]
        hazy[rows] = _codes(planes, color_space)
    return Rendered(take(hazy, haze), transmission)


def _strips(height: int, width: int) -> Iterator[slice]:
    """Slices of rows; all but the last hold whole cells of `fields`."""
    rows = max(_STRIP_PX // width // fields.CELL_PX, 1) * fields.CELL_PX
    return (slice(first, min(first + rows, height)) for first in range(0, height, rows))


def _lengths(distance_m: Floats, haze: HazeParams, camera: Camera | None) -> Floats:
    """As fields.path_length."""
    if not haze.needs_camera:
        return distance_m
    camera = fields.known(camera, distance_m)
    length_m = np.empty(distance_m.shape, np.float32)
    shells: list[tuple[np.float32, Floats]] = []
    if haze.noise_contrast:
        shells = [(np.float32(end), coarse) for end, coarse in fields.shells(haze, camera, distance_m)]
    for rows in _strips(*distance_m.shape):
        slope = distance_m[rows]  # of no account where height is of none
        if haze.height_scale_m is not None:
            slope = fields.slopes(camera, haze, rows.start, rows.stop).astype(np.float32)
        length_m[rows] = _lengths_of_rows(distance_m[rows], slope, rows, haze, shells)
    return length_m


def _lengths_of_rows(
    distance_m: Floats, slope: Floats, rows: slice, haze: HazeParams, shells: list[tuple[np.float32, Floats]]
) -> Floats:
    length = np.zeros_like(distance_m)
    passed = np.zeros_like(distance_m)
    farthest = distance_m.max()
    for end, coarse in shells:
        until = fields.through_height(np.minimum(distance_m, end), slope, haze)
        density = _density_of_rows(coarse, rows, distance_m.shape[1])
        density *= until - passed
        length += density
        passed = until
        if end >= farthest:
            break
    length += fields.through_height(distance_m, slope, haze) - passed
    return length


def _density_of_rows(coarse: Floats, rows: slice, width: int) -> Floats:
    """The rows of fields.upsample, from the cells around them."""
    first = max(rows.start // fields.CELL_PX - 1, 0)
    cells = coarse[first : -(-rows.stop // fields.CELL_PX) + 1]
    top = rows.start - first * fields.CELL_PX
    return _upsample(cells, fields.CELL_PX)[top : top + rows.stop - rows.start, :width]


def _transmission(length_m: Floats, haze: HazeParams) -> Floats:
    """As synthesis.transmission_of."""
    betas = haze.beta if len(set(haze.beta)) > 1 else haze.beta[:1]
    transmission = np.empty((*length_m.shape, len(betas)), np.float32)
    for rows in _strips(*length_m.shape):
        for channel, beta in enumerate(betas):
            depth = length_m[rows] * np.float32(-beta)
            transmission[rows, :, channel] = np.exp(depth, out=depth)
    return transmission


def _detours(
    clean: NDArray[np.uint8],
    distance_m: Floats,
    length_m: Floats,
    transmission: Floats,
    haze: HazeParams,
    color_space: str,
) -> tuple[Floats | None, Floats | None]:
    """Radiance and glow of scattering.detours where it is needed, else nothing: strips will do."""
    if not scattering.needed(haze):
        return None, None
    lamp = scattering.lamps(clean, distance_m, haze)
    through = np.moveaxis(transmission, 2, 0)
    optical_depth = np.float32(haze.beta[1]) * length_m
    found = scattering.detours(_radiance(clean, color_space), lamp, through, optical_depth, haze, _spread)
    return found[0].astype(np.float32, copy=False), found[1].astype(np.float32, copy=False)


def _spread(plane: NDArray[np.floating], layer: int) -> Floats:
    """As scattering.spread."""
    height, width = plane.shape
    cell = 2**layer
    below, right = -height % cell, -width % cell
    padded = cv2.copyMakeBorder(plane, 0, below, 0, right, cv2.BORDER_CONSTANT) if below or right else plane
    size = (padded.shape[1] // cell, padded.shape[0] // cell)
    cells = cv2.resize(padded, size, interpolation=cv2.INTER_AREA)
    taps = 2 * scattering.CELL_RADIUS + 1
    blurred = cv2.GaussianBlur(cells, (taps, taps), scattering.CELL_BLUR, borderType=cv2.BORDER_CONSTANT)
    return _upsample(np.asarray(blurred, np.float32), cell)[:height, :width]


def _upsample(coarse: Floats, factor: int) -> Floats:
    size = (coarse.shape[1] * factor, coarse.shape[0] * factor)
    return np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR), np.float32)


def _radiance(clean: NDArray[np.uint8], color_space: str) -> Floats:
    """J, channel first: planes are what NumPy is fast on."""
    values = color.to_float(np.arange(256, dtype=np.uint8))
    table = values if color_space == "srgb" else np.asarray(color.srgb_to_linear(values), np.float32)
    radiance = np.empty((3, *clean.shape[:2]), np.float32)
    cv2.split(cv2.LUT(clean, table), list(radiance))
    return radiance


def _add_haze(planes: Floats, transmission: Floats, light: tuple[float, float, float]) -> None:
    """J, which becomes J t + A (1 - t)."""
    through = cv2.split(transmission)
    for channel, plane in enumerate(planes):
        t = np.asarray(through[channel % len(through)], np.float32)
        plane *= t
        airlight = np.subtract(np.float32(1.0), t)
        airlight *= np.float32(light[channel])
        plane += airlight


def _codes(planes: Floats, color_space: str) -> NDArray[np.uint8]:
    codes = coded if color_space == "linear" else _rounded
    return np.asarray(cv2.merge([codes(plane) for plane in planes]), np.uint8)


def _rounded(plane: Floats) -> NDArray[np.uint8]:
    """As color.to_uint8, of values that are at least 0."""
    return np.asarray(cv2.convertScaleAbs(plane, alpha=255.0), np.uint8)
