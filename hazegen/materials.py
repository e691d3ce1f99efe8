"""Procedural materials: what colour a surface has at each of its points, smoothed to the pixel's size.

Colours are linear reflectances in [0, 1], component first. Patterns of lines and cells are box
filtered exactly over the pixel's footprint and noise is read from a pyramid, so nothing flickers far away.
A paint is a function of a Patch alone; `functools.partial` binds its colours.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hazegen.raycast import Convex, Floats, Shape, View

Rgb = Sequence[float]
_NOISE_SIZE = 256


@dataclass(frozen=True)
class Patch:
    """The n pixels that show one face of one shape.

    Attributes:
        u, v: Place on the face [m] from its lower left corner, v upwards on walls, (n,).
        du, dv: Size of the pixel on the face along u and v [m], (n,).
        width, height: Size of the face [m]; 0 without bounds.
        face: Number of the face, as in raycast.
        rise: Upward part of the mirrored view ray, 1 straight up, (n,).
        sky: Radiance that a mirror shows below, at and above the horizon, (3, 3).
    """

    u: Floats
    v: Floats
    du: Floats
    dv: Floats
    width: float
    height: float
    face: int
    rise: Floats
    sky: Floats


# Reflectance (3, n), and the radiance (3, n) that is seen besides, whatever light falls on the surface.
Look = tuple[Floats, Floats | float]
Paint = Callable[[Patch], Look]


def patch_of(shape: Shape, face: int, points: Floats, normals: Floats, rays: Floats, depth_m: Floats, view: View, sky: Floats) -> Patch:
    """Lays texture coordinates on the pixels (3, n) of one face."""
    length = np.sqrt((rays * rays).sum(axis=0))
    facing = (normals * rays).sum(axis=0)
    rise = (rays[2] - 2 * facing * normals[2]) / length
    pixel = depth_m / np.float32(view.camera.fx)
    if not isinstance(shape, Convex):
        # A skewed frame: no direction of a curved surface is without texture.
        u, v = points[0] + 0.6 * points[1], points[2] + 0.3 * points[1] - 0.2 * points[0]
        size = pixel / np.maximum(np.abs(facing) / length, 0.2)
        return Patch(u, v, size, size, 0.0, 0.0, face, rise, sky)
    across, up = _face_axes(shape.normals[face])
    low, high = _extent(shape.corners, across), _extent(shape.corners, up)
    facing = np.where(np.abs(facing) < 1e-3, np.float32(1e-3), facing)
    du, dv = (_footprint(axis, shape.normals[face], rays, facing, pixel, view) for axis in (across, up))
    u = _along(across, points) - low[0]
    v = _along(up, points) - high[0]
    return Patch(u, v, du, dv, low[1], high[1], face, rise, sky)


def noise(u: Floats, v: Floats, tile_m: float, footprint_m: Floats) -> Floats:
    """Fractal noise, mean 0, standard deviation 1 before smoothing, that repeats after `tile_m`."""
    texels, starts = _noise_pyramid()
    level = np.log2(footprint_m * np.float32(_NOISE_SIZE / tile_m) + np.float32(1e-9))
    level = np.clip(level + 0.5, 0, len(starts) - 1).astype(np.int32)
    size = np.right_shift(_NOISE_SIZE, level)
    x, y = u * (size / np.float32(tile_m)).astype(np.float32), v * (size / np.float32(tile_m)).astype(np.float32)
    left, top = np.floor(x), np.floor(y)
    x, y = x - left, y - top
    x0, y0 = left.astype(np.int32) & (size - 1), top.astype(np.int32) & (size - 1)
    x1, y1 = (x0 + 1) & (size - 1), (y0 + 1) & (size - 1)
    row0, row1 = starts[level] + y0 * size, starts[level] + y1 * size
    upper = texels[row0 + x0] * (1 - x) + texels[row0 + x1] * x
    lower = texels[row1 + x0] * (1 - x) + texels[row1 + x1] * x
    return upper * (1 - y) + lower * y


def stripe(x: Floats, dx: Floats, period: float, width: float) -> Floats:
    """Share of [x - dx/2, x + dx/2] that lies in stripes [0, width) repeated every `period`."""
    x = x - np.floor(x / np.float32(period)) * np.float32(period)
    dx = np.maximum(dx, np.float32(1e-4))
    return (_striped(x + dx / 2, period, width) - _striped(x - dx / 2, period, width)) / dx


def band(x: Floats, dx: Floats, low: float, high: float) -> Floats:
    """Share of [x - dx/2, x + dx/2] that lies in [low, high]."""
    dx = np.maximum(dx, np.float32(1e-4))
    return np.clip((np.minimum(x + dx / 2, high) - np.maximum(x - dx / 2, low)) / dx, 0, 1)


def cell_random(i: Floats, j: Floats, seed: int) -> Floats:
    """A number in [0, 1) for each cell (i, j), the same wherever the cell is seen."""
    table = _cell_table()
    first = (i.astype(np.int32) + (seed * 37 & 1023)) & 1023
    return table[(table[first] * np.float32(1024)).astype(np.int32) + j.astype(np.int32) & 1023]


def mix(low: Floats, high: Floats, share: Floats) -> Floats:
    """From low to high as the share goes from 0 to 1."""
    return low + (high - low) * share


def plain(patch: Patch, colour: Rgb, mottle: float = 0.07, grain_m: float = 2.0) -> Look:
    """Paint, plaster, concrete, metal: one colour with stains and grain."""
    size = np.maximum(patch.du, patch.dv)
    stains = noise(patch.u, patch.v, grain_m * 8, size) + 0.5 * noise(patch.v, patch.u, grain_m, size)
    return _rgb(colour) * np.clip(1 + np.float32(mottle) * stains, 0.2, 2), 0.0


def masonry(
    patch: Patch, colour: Rgb, joint: Rgb, cell: tuple[float, float], gap: float, shift: float = 0.5, vary: float = 0.15, seed: int = 0
) -> Look:
    """Bricks, slabs, tiles or boards of `cell` (u, v) metres; each row is shifted against the last."""
    row = np.floor(patch.v / np.float32(cell[1]))
    offset = row * np.float32(shift) if shift <= 0.5 else cell_random(row, row, seed + 1) * 7
    u = patch.u + offset * np.float32(cell[0])
    inside = stripe(u, patch.du, cell[0], cell[0] - gap) * stripe(patch.v, patch.dv, cell[1], cell[1] - gap)
    tone = cell_random(np.floor(u / np.float32(cell[0])), row, seed) - 0.5
    tone = 2 * np.float32(vary) * tone * np.clip(1.5 - patch.du / cell[0], 0, 1) * np.clip(1.5 - patch.dv / cell[1], 0, 1)
    grain = 0.06 * noise(patch.u, patch.v, 6.0, np.maximum(patch.du, patch.dv))
    grain = grain + 0.05 * noise(patch.u * 0.2, patch.v, 0.7, np.maximum(patch.du, patch.dv))
    return mix(_rgb(joint), _rgb(colour) * (1 + tone), inside) * (1 + grain), 0.0


def striped(patch: Patch, colour: Rgb, second: Rgb, period: float, width: float) -> Look:
    """Wallpaper, curtains, shutters, blinds: upright stripes of two colours."""
    share = stripe(patch.u, patch.du, period, width)
    grain = 1 + 0.04 * noise(patch.u, patch.v, 1.5, np.maximum(patch.du, patch.dv))
    return mix(_rgb(colour), _rgb(second), share) * grain, 0.0


def spines(patch: Patch, colour: Rgb, seed: int) -> Look:
    """Books in a row: upright stripes of many colours and heights before the dark of the shelf."""
    index = np.floor(patch.u / np.float32(0.035))
    tops = patch.height * (0.72 + 0.26 * cell_random(index, index, seed))
    hues = np.stack([cell_random(index, index * 0 + part, seed + 5) for part in range(3)])
    book = _rgb(colour) * (0.25 + 0.5 * hues[:1]) + 0.28 * hues**2
    book = mix(_rgb((0.2, 0.16, 0.12)), book, np.clip(1.5 - patch.du / 0.035, 0, 1))
    label = band(patch.v - tops * 0.75, patch.dv, -0.02, 0.02) * (hues[1] > 0.4)
    there = (patch.v < tops) * (0.4 + 0.6 * stripe(patch.u, patch.du, 0.035, 0.031))
    return mix(_rgb((0.02, 0.018, 0.015)), book + 0.25 * label, there), 0.0


def picture(patch: Patch, colour: Rgb, second: Rgb, seed: int) -> Look:
    """A framed print: a frame, a white mount and a landscape of two colours."""
    size = np.maximum(patch.du, patch.dv)
    u, v = patch.u + seed * 1.7, patch.v + seed * 0.9
    hills = 0.45 * patch.height + 0.12 * patch.height * noise(u, u * 0 + seed, 9.0, size)
    scene = mix(_rgb(colour), _rgb(second), np.clip((hills - patch.v) / (size + 0.02), 0, 1))
    scene = scene * (1 + 0.25 * noise(u, v, 1.3, size)) * (0.7 + 0.6 * patch.v / max(patch.height, 0.1))
    mount = _inset(patch, 0.11)
    return mix(mix(_rgb((0.05, 0.035, 0.025)), _rgb((0.75, 0.74, 0.7)), _inset(patch, 0.035)), scene, mount), 0.0


def foliage(patch: Patch, colour: Rgb, grain_m: float = 2.5) -> Look:
    """Leaves, hedges, grass, woods: clumps of light and dark green."""
    size = np.maximum(patch.du, patch.dv)
    clumps = noise(patch.u, patch.v, grain_m * 3, size)
    leaves = noise(patch.v + 0.3 * patch.u, patch.u - 0.3 * patch.v, grain_m * 0.7, size)
    tone = np.clip(1 + 0.3 * clumps + 0.4 * leaves, 0.15, 2.2)
    hue = _rgb(colour) * (1 + _rgb((0.12, 0.02, -0.1)) * clumps)
    return np.maximum(hue * tone, 0.004), 0.0


def asphalt(patch: Patch, half_width: float, lanes: int, colour: Rgb, crossing_m: float, verge: Rgb) -> Look:
    """A road along y about x = 0 with its markings, and grass or earth beside it."""
    size = np.maximum(patch.du, patch.dv)
    x, y = patch.u, patch.v
    patches = noise(x * 2.0, y * 0.4, 23.0, size)
    tone = 1 + 0.12 * patches + 0.16 * noise(x, y, 1.3, size) + 0.1 * (noise(x, y, 90.0, size) > 1.1)
    lane_m = 2 * half_width / lanes
    wheels = np.abs(np.abs((x + half_width) % lane_m - lane_m / 2) - lane_m * 0.25)
    road = _rgb(colour) * (tone - 0.08 * np.clip(1 - wheels / 0.4, 0, 1))
    dashes = stripe(x + half_width + 0.06, patch.du, lane_m, 0.12) * stripe(y, patch.dv, 9.0, 3.0)
    edges = band(np.abs(x), patch.du, half_width - 0.35, half_width - 0.23)
    dashes = np.where(np.abs(x) < half_width - 0.5, dashes, edges)
    zebra = stripe(x + half_width, patch.du, 1.0, 0.5) * band(y, patch.dv, crossing_m, crossing_m + 3.5)
    near_zebra = band(y, patch.dv, crossing_m - 1.5, crossing_m + 5.0)
    worn = np.clip(0.8 + 0.25 * noise(x, y, 2.1, size), 0.1, 1)
    road = mix(road, _rgb((0.62, 0.61, 0.57)), worn * np.maximum(zebra, dashes * (1 - near_zebra)))
    grass, _ = foliage(patch, verge, 1.2)
    return mix(grass, road, band(x, patch.du, -half_width, half_width)), 0.0


@dataclass(frozen=True)
class Windows:
    """A grid of windows on a wall: sizes [m], and colours of frame, glass and ground floor."""

    wall: Paint
    bay: float
    storey: float
    width: float
    height: float
    frame: Rgb
    shop: Rgb | None
    seed: int


def facade(patch: Patch, windows: Windows, roof: Rgb) -> Look:
    """A wall with windows in whole bays and storeys, sills, and doors or shops at the ground.

    Face 2, the top of a box, is a flat roof.
    """
    if patch.face == 2:
        return plain(patch, roof)
    wall, _ = windows.wall(patch)
    bays, storeys = max(1, round(patch.width / windows.bay)), max(1, round(patch.height / windows.storey))
    bay, storey = np.float32(patch.width / bays), np.float32(patch.height / storeys)
    column, row = np.floor(patch.u / bay), np.floor(patch.v / storey)
    streaks = 1 + 0.07 * noise(patch.u * 3, patch.v * 0.3, 19.0, np.maximum(patch.du, patch.dv))
    damp = 1 - 0.18 * np.clip(1 - patch.v / 0.8, 0, 1)
    wall = wall * (streaks * damp)
    low = (row == 0) & (windows.shop is not None)
    width = np.where(low, bay * np.float32(0.82), np.float32(min(windows.width, bay * 0.9)))
    height = np.where(low, storey * np.float32(0.72), np.float32(min(windows.height, storey * 0.88)))
    x = patch.u - column * bay - bay / 2
    y = patch.v - row * storey - np.where(low, storey * np.float32(0.1), storey - height - np.float32(0.35))
    opening = _within(x, y, width, height, 0.0, patch)
    glass = _within(x, y, width, height, 0.07, patch) * (1 - 0.8 * band(x, patch.du, -0.03, 0.03) * ~low)
    sill = _within(x, y + 0.14, width + 0.2, height * 0 + np.float32(0.14), 0.0, patch)
    stone = mix(wall, _rgb((0.45, 0.43, 0.4)), 0.7 * sill)
    framed = mix(stone, _frame_colour(windows, low, column), opening)
    shade = 1 - 0.6 * np.clip(1 - (height - y) / 0.35, 0, 1)
    body, glow = _glass(patch, column, row, y / height, windows.seed)
    return mix(framed, body * shade, glass), glow * (glass * shade)


def glazed(patch: Patch, colour: Rgb) -> Look:
    """Dark glossy glass or lacquer that mirrors the sky."""
    body, _ = plain(patch, colour, 0.02)
    return body, _mirror(patch, patch.rise) * np.float32(0.35)


def lacquer(patch: Patch, colour: Rgb) -> Look:
    """Car paint: a plain colour under a faint mirror."""
    body, _ = plain(patch, colour, 0.015)
    return body, _mirror(patch, patch.rise) * np.float32(0.07)


def glowing(patch: Patch, colour: Rgb) -> Look:
    """A lamp's shade."""
    return _rgb(colour) * 0.4 + patch.u * 0, _rgb(colour) * (1 + patch.u * 0)


def outdoors(patch: Patch, brightness: float, green: Rgb, seed: int) -> Look:
    """A window pane with daylight behind it: sky above, blurred trees and walls below."""
    size = np.maximum(patch.du, patch.dv)
    line = patch.height * (0.42 + 0.1 * noise(patch.u + seed, patch.u * 0, 7.0, size))
    tone = 1 + 0.3 * noise(patch.u + seed, patch.v, 2.2, size)
    sky = _rgb((0.78, 0.88, 1.0)) * (0.85 + 0.25 * patch.v / max(patch.height, 0.1))
    view = mix(sky, 0.7 * _rgb(green) * tone, np.clip((line - patch.v) / 0.12, 0, 1))
    return 0.03 + 0 * view, view * np.float32(brightness)


def _glass(patch: Patch, column: Floats, row: Floats, share: Floats, seed: int) -> tuple[Floats, Floats]:
    fade = np.clip(2 - patch.du / 1.2, 0, 1)
    chance, tilt = (cell_random(column, row, seed + k) * fade + 0.5 * (1 - fade) for k in (2, 9))
    drawn = np.clip((share - chance * 1.6 + 0.25) / 0.02, 0, 1) * (chance < 0.62)
    body = mix(_rgb((0.025, 0.027, 0.03)), _rgb((0.42, 0.4, 0.36)), drawn * 0.75)
    glow = _mirror(patch, patch.rise + (tilt - 0.5) * 0.12) * (np.float32(0.16) + 0.5 * (1 - np.abs(patch.rise)) ** 4 + 0.12 * tilt)
    return body, glow * (1 - 0.6 * drawn)


def _mirror(patch: Patch, rise: Floats) -> Floats:
    below, horizon, above = patch.sky[..., None]
    street = mix(below, horizon, np.clip(rise * 3 + 0.2, 0, 1))
    return mix(street, above, np.clip(rise * 1.6 - 0.25, 0, 1))


def _frame_colour(windows: Windows, low: NDArray[np.bool_], column: Floats) -> Floats:
    frame = _rgb(windows.frame) + 0 * column
    return np.where(low, _rgb(windows.shop), frame) if windows.shop is not None else frame


def _within(x: Floats, y: Floats, width: Floats, height: Floats, inset: float, patch: Patch) -> Floats:
    columns = band(x, patch.du, inset - width / 2, width / 2 - inset)
    return columns * band(y, patch.dv, inset + height * 0, height - inset)


def _inset(patch: Patch, margin: float) -> Floats:
    across = band(patch.u, patch.du, margin, patch.width - margin)
    return across * band(patch.v, patch.dv, margin, patch.height - margin)


def _rgb(colour: Rgb) -> Floats:
    return np.asarray(colour, np.float32)[:, None]


def _striped(x: Floats, period: float, width: float) -> Floats:
    whole = np.floor(x / np.float32(period))
    return whole * np.float32(width) + np.minimum(x - whole * np.float32(period), np.float32(width))


def _face_axes(normal: Floats) -> tuple[Floats, Floats]:
    """Unit axes along a plane: level and, on walls, upwards; x and y on floors."""
    if abs(normal[2]) > 0.95:
        return np.array([1, 0, 0], np.float32), np.array([0, 1, 0], np.float32)
    across = np.array([-normal[1], normal[0], 0], np.float32) / np.float32(np.hypot(normal[0], normal[1]))
    return across, np.cross(normal, across).astype(np.float32)


def _along(axis: Floats, points: Floats) -> Floats:
    return axis[0] * points[0] + axis[1] * points[1] + axis[2] * points[2]


def _extent(corners: Floats, axis: Floats) -> tuple[np.float32, float]:
    if not len(corners):
        return np.float32(0), 0.0
    places = _along(axis, corners.T)
    return places.min(), float(places.max() - places.min())


def _footprint(axis: Floats, normal: Floats, rays: Floats, facing: Floats, pixel: Floats, view: View) -> Floats:
    """How far a step of one pixel right and one down moves along an axis of the plane [m]."""
    slant = _along(axis, rays) / facing
    steps = (abs(axis @ way - slant * (normal @ way)) for way in view.axes[:2])
    return np.minimum(pixel * sum(steps), np.float32(60.0))


@functools.lru_cache(maxsize=1)
def _noise_pyramid() -> tuple[Floats, NDArray[np.int32]]:
    """All levels of one square of 1/f noise, one after the other, and where each begins."""
    frequency = np.fft.fftfreq(_NOISE_SIZE) * _NOISE_SIZE
    strength = np.hypot(frequency[:, None], frequency[None, :])
    strength[0, 0] = np.inf
    white = np.random.default_rng(7).normal(size=(_NOISE_SIZE, _NOISE_SIZE))
    level = np.fft.ifft2(np.fft.fft2(white) / np.maximum(strength, 3.0)).real
    level, levels = level / level.std(), []
    while level.size:
        levels.append(level.ravel())
        level = (level[::2, ::2] + level[1::2, ::2] + level[::2, 1::2] + level[1::2, 1::2]) / 4 if len(level) > 1 else level[:0]
    starts = np.cumsum([0] + [len(flat) for flat in levels[:-1]])
    return np.concatenate(levels).astype(np.float32), starts.astype(np.int32)


@functools.lru_cache(maxsize=1)
def _cell_table() -> Floats:
    return np.random.default_rng(11).permutation(1024).astype(np.float32) / np.float32(1024)
