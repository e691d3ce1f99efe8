"""The synthesis, fast: the compiled loops of kernel.py, and what has to be known before they start.

What it computes is said in synthesis.py, which it is held against: before the camera, at most 1 code
value differs, whatever the recipe. The camera is the same function for both, but where views differ by 1
its picture can differ by more: noise in linear light and a gamma below 1 widen a step in the dark, and JPEG
spreads it over a block.
"""

import functools
import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hazegen import color, fields, scattering
from hazegen.camera import codes_of_light, is_perfect, take
from hazegen.geometry import Camera
from hazegen.sampling import HazeParams
from hazegen.synthesis import Rendered

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

# Pixels that the kernel goes through at a time: their transmissions stay in a core's own cache.
_STRIP_PX = 2**12


@dataclass(frozen=True)
class View:
    """A hazy image as the encoder takes it.

    Attributes:
        bgr: sRGB code values in the order B, G, R, uint8 (height, width, 3).
        mean_transmission: Mean of t over pixels and channels.
        transmission: As in Rendered; (0, 0, 0) where nobody asked for it.
    """

    bgr: Pixels
    mean_transmission: float
    transmission: Floats


def render(
    clean: Pixels, distance_m: Floats, haze: HazeParams, color_space: str, camera: Camera | None = None
) -> Rendered:
    """As synthesis.render: the same arguments and result, to 1 code value before the camera's part."""
    seen = view(clean, distance_m, haze, color_space, camera, keep_map=True)
    return Rendered(_swapped(seen.bgr), seen.transmission)


def view(
    clean: Pixels,
    distance_m: Floats,
    haze: HazeParams,
    color_space: str,
    camera: Camera | None = None,
    *,
    keep_map: bool = False,
    out: Pixels | None = None,
) -> View:
    """As `render`, for what is encoded at once.

    Args:
        keep_map: Whether the transmission of each pixel is wanted.
        out: Memory that the picture may be written into, as large as `clean`; without it new memory is taken,
            which costs as much as the haze.
    """
    from hazegen import kernel

    length_m = _lengths(np.ascontiguousarray(distance_m), haze, camera)
    clean, beta = np.ascontiguousarray(clean), _betas(haze)
    keep_map = keep_map or scattering.needed(haze)
    transmission = np.empty((*length_m.shape, len(beta)) if keep_map else (0, 0, 0), np.float32)
    bgr = np.empty(clean.shape, np.uint8) if out is None else out
    light, tables = np.array(haze.atmospheric_light, np.float32), _tables(color_space)
    total = kernel.add_haze(clean, length_m, beta, light, *tables, bgr, transmission, _STRIP_PX)
    if scattering.needed(haze):
        radiance, glow = _detours(clean, distance_m, length_m, transmission, haze, color_space)
        kernel.add_haze_to_planes(radiance, glow, transmission, light, tables[1], bgr)
    if not is_perfect(haze):
        bgr = _swapped(take(_swapped(bgr), haze))
    return View(bgr, total * kernel.UNIT / (length_m.size * len(beta)), transmission)


def _swapped(pixels: Pixels) -> Pixels:
    """R, G, B as B, G, R, and the other way round."""
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), np.uint8)


def _betas(haze: HazeParams) -> Floats:
    """Extinction [1/m] of all channels where they share one, else of each."""
    return np.array(haze.beta if len(set(haze.beta)) > 1 else haze.beta[:1], np.float32)


@functools.cache
def _tables(color_space: str) -> tuple[Floats, Pixels]:
    """Linear light of each code, and codes of linear light; nothing for the equation on code values."""
    if color_space == "srgb":
        return np.empty(0, np.float32), np.empty(0, np.uint8)
    return np.asarray(color.srgb_to_linear(_values()), np.float32), codes_of_light()


def _values() -> Floats:
    return color.to_float(np.arange(256, dtype=np.uint8))


def _lengths(distance_m: Floats, haze: HazeParams, camera: Camera | None) -> Floats:
    """As fields.path_length."""
    from hazegen import kernel

    if not haze.needs_camera:
        return distance_m
    camera = fields.known(camera, distance_m)
    ends_m, coarse = _shells(haze, camera, distance_m)
    scale_m, start_m = np.float32(haze.height_scale_m or 0.0), np.float32(haze.camera_height_m)
    rays = _image_plane(camera, haze)
    return np.asarray(kernel.lengths(distance_m, ends_m, coarse, fields.CELL_PX, *rays, scale_m, start_m))


def _shells(haze: HazeParams, camera: Camera, distance_m: Floats) -> tuple[Floats, Floats]:
    """All of fields.shells: where they end, (n,), and their densities, (n, rows, columns of cells)."""
    from hazegen import kernel

    if not haze.noise_contrast:
        return np.empty(0, np.float32), np.empty((0, 1, 1), np.float32)
    shells = list(fields.shells(haze, camera, distance_m, kernel.mean_along))
    return np.array([end for end, _ in shells], np.float32), np.stack([coarse for _, coarse in shells])


def _image_plane(camera: Camera, haze: HazeParams) -> tuple[Floats, Floats, Floats]:
    """Place of each column and row on the image plane, and how much the rays of each row rise there."""
    pitch = math.radians(haze.camera_pitch_deg)
    right = (np.arange(camera.width) - camera.cx) / camera.fx
    down = (np.arange(camera.height) - camera.cy) / camera.fy
    up = math.sin(pitch) - down * math.cos(pitch)
    return right.astype(np.float32), down.astype(np.float32), up.astype(np.float32)


def _detours(
    clean: Pixels, distance_m: Floats, length_m: Floats, transmission: Floats, haze: HazeParams, color_space: str
) -> tuple[Floats, Floats]:
    """Radiance and glow of scattering.detours."""
    lamp = scattering.lamps(clean, distance_m, haze)
    through = np.moveaxis(transmission, 2, 0)
    optical_depth = np.float32(haze.beta[1]) * length_m
    found = scattering.detours(_radiance(clean, color_space), lamp, through, optical_depth, haze, _spread)
    return np.ascontiguousarray(found[0], np.float32), np.ascontiguousarray(found[1], np.float32)


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
    size = (blurred.shape[1] * cell, blurred.shape[0] * cell)
    return np.asarray(cv2.resize(blurred, size, interpolation=cv2.INTER_LINEAR), np.float32)[:height, :width]


def _radiance(clean: Pixels, color_space: str) -> Floats:
    """J, channel first: planes are what NumPy is fast on."""
    table: Any = _values() if color_space == "srgb" else _tables(color_space)[0]
    radiance = np.empty((3, *clean.shape[:2]), np.float32)
    cv2.split(cv2.LUT(clean, table), list(radiance))
    return radiance
