"""Paints: what colour a surface has at each of its points.

Colours are linear reflectances in [0, 1], component first. A paint is a function of a Patch alone;
`functools.partial` binds its colours.
"""

import numpy as np

from hazegen.scenery.palette import Rgb, as_column
from hazegen.scenery.patch import Look, Patch
from hazegen.scenery.patterns import band, cell_random, mix, noise, stripe
from hazegen.scenery.vectors import Floats


def plain(patch: Patch, colour: Rgb, mottle: float = 0.07, grain_m: float = 2.0) -> Look:
    """Paint, plaster, concrete, metal: one colour with stains and grain."""
    size = np.maximum(patch.du, patch.dv)
    stains = noise(patch.u, patch.v, grain_m * 8, size)
    if mottle > 0.03:
        stains = stains + 0.5 * noise(patch.v, patch.u, grain_m, size)
    return as_column(colour) * np.clip(1 + np.float32(mottle) * stains, 0.2, 2), 0.0


def masonry(
    patch: Patch,
    colour: Rgb,
    joint: Rgb,
    cell: tuple[float, float],
    gap: float,
    shift: float = 0.5,
    vary: float = 0.15,
    seed: int = 0,
) -> Look:
    """Bricks, slabs, tiles or boards of `cell` (u, v) metres; each row is shifted against the last."""
    row = np.floor(patch.v / np.float32(cell[1]))
    offset = row * np.float32(shift) if shift <= 0.5 else cell_random(row, row, seed + 1) * 7
    u = patch.u + offset * np.float32(cell[0])
    inside = stripe(u, patch.du, cell[0], cell[0] - gap) * stripe(patch.v, patch.dv, cell[1], cell[1] - gap)
    fade = np.clip(1.5 - patch.du / cell[0], 0, 1) * np.clip(1.5 - patch.dv / cell[1], 0, 1)
    tone = np.float32(2 * vary) * (cell_random(np.floor(u / np.float32(cell[0])), row, seed) - 0.5) * fade
    size = np.maximum(patch.du, patch.dv)
    grain = 0.06 * noise(patch.u, patch.v, 6.0, size) + 0.05 * noise(patch.u * 0.2, patch.v, 0.7, size)
    return mix(as_column(joint), as_column(colour) * (1 + tone), inside) * (1 + grain), 0.0


def striped(patch: Patch, colour: Rgb, second: Rgb, period: float, width: float) -> Look:
    """Wallpaper, curtains, shutters, blinds: upright stripes of two colours."""
    share = stripe(patch.u, patch.du, period, width)
    grain = 1 + 0.04 * noise(patch.u, patch.v, 1.5, np.maximum(patch.du, patch.dv))
    return mix(as_column(colour), as_column(second), share) * grain, 0.0


def spines(patch: Patch, colour: Rgb, seed: int) -> Look:
    """Books in a row: upright stripes of many colours and heights before the dark of the shelf."""
    index = np.floor(patch.u / np.float32(0.035))
    tops = patch.height * (0.72 + 0.26 * cell_random(index, index, seed))
    hues = np.stack([cell_random(index, index * 0 + part, seed + 5) for part in range(3)])
    book = as_column(colour) * (0.25 + 0.5 * hues[:1]) + 0.28 * hues**2
    book = mix(as_column((0.2, 0.16, 0.12)), book, np.clip(1.5 - patch.du / 0.035, 0, 1))
    label = band(patch.v - tops * 0.75, patch.dv, -0.02, 0.02) * (hues[1] > 0.4)
    there = (patch.v < tops) * (0.4 + 0.6 * stripe(patch.u, patch.du, 0.035, 0.031))
    return mix(as_column((0.02, 0.018, 0.015)), book + 0.25 * label, there), 0.0


def picture(patch: Patch, colour: Rgb, second: Rgb, seed: int) -> Look:
    """A framed print: a frame, a white mount and a landscape of two colours."""
    size = np.maximum(patch.du, patch.dv)
    u, v = patch.u + seed * 1.7, patch.v + seed * 0.9
    hills = 0.45 * patch.height + 0.12 * patch.height * noise(u, u * 0 + seed, 9.0, size)
    scene = mix(as_column(colour), as_column(second), np.clip((hills - patch.v) / (size + 0.02), 0, 1))
    scene = scene * (1 + 0.25 * noise(u, v, 1.3, size)) * (0.7 + 0.6 * patch.v / max(patch.height, 0.1))
    mount = _inset(patch, 0.11)
    return mix(
        mix(as_column((0.05, 0.035, 0.025)), as_column((0.75, 0.74, 0.7)), _inset(patch, 0.035)), scene, mount
    ), 0.0


def foliage(patch: Patch, colour: Rgb, grain_m: float = 2.5) -> Look:
    """Leaves, hedges, grass, woods: clumps of light and dark green."""
    size = np.maximum(patch.du, patch.dv)
    clumps = noise(patch.u, patch.v, grain_m * 3, size)
    leaves = noise(patch.v + 0.3 * patch.u, patch.u - 0.3 * patch.v, grain_m * 0.7, size)
    tone = np.clip(1 + 0.3 * clumps + 0.4 * leaves, 0.15, 2.2)
    hue = as_column(colour) * (1 + as_column((0.12, 0.02, -0.1)) * clumps)
    return np.maximum(hue * tone, 0.004), 0.0


def asphalt(patch: Patch, half_width: float, lanes: int, colour: Rgb, crossing_m: float, verge: Rgb) -> Look:
    """A road along y about x = 0 with its markings, and grass or earth beside it."""
    size = np.maximum(patch.du, patch.dv)
    x, y = patch.u, patch.v
    patches = noise(x * 2.0, y * 0.4, 23.0, size)
    tone = 1 + 0.07 * patches + 0.16 * noise(x, y, 0.9, size) + 0.08 * (patches > 1.4)
    lane_m = 2 * half_width / lanes
    wheels = np.abs(np.abs((x + half_width) % lane_m - lane_m / 2) - lane_m * 0.25)
    road = as_column(colour) * (tone - 0.08 * np.clip(1 - wheels / 0.4, 0, 1))
    dashes = stripe(x + half_width + 0.06, patch.du, lane_m, 0.12) * stripe(y, patch.dv, 9.0, 3.0)
    edges = band(np.abs(x), patch.du, half_width - 0.35, half_width - 0.23)
    dashes = np.where(np.abs(x) < half_width - 0.5, dashes, edges)
    zebra = stripe(x + half_width, patch.du, 1.0, 0.5) * band(y, patch.dv, crossing_m, crossing_m + 3.5)
    near_zebra = band(y, patch.dv, crossing_m - 1.5, crossing_m + 5.0)
    worn = np.clip(0.75 + 1.4 * (tone - 1), 0.1, 1)
    road = mix(road, as_column((0.62, 0.61, 0.57)), worn * np.maximum(zebra, dashes * (1 - near_zebra)))
    grass, _ = foliage(patch, verge, 1.2)
    return mix(grass, road, band(x, patch.du, -half_width, half_width)), 0.0


def glazed(patch: Patch, colour: Rgb) -> Look:
    """Dark glossy glass or lacquer that mirrors the sky."""
    body, _ = plain(patch, colour, 0.02)
    return body, mirror(patch, patch.rise) * patch.gloss


def lacquer(patch: Patch, colour: Rgb) -> Look:
    """Car paint: a plain colour under a faint mirror."""
    body, _ = plain(patch, colour, 0.015)
    return body, mirror(patch, patch.rise) * (patch.gloss * np.float32(0.6))


def glowing(patch: Patch, colour: Rgb) -> Look:
    """A lamp's shade."""
    return as_column(colour) * 0.4 + patch.u * 0, as_column(colour) * (1 + patch.u * 0)


def outdoors(patch: Patch, brightness: float, green: Rgb, seed: int) -> Look:
    """A window pane with daylight behind it: sky above, blurred trees and walls below."""
    size = np.maximum(patch.du, patch.dv)
    blurred = np.maximum(size, np.float32(0.12))
    line = patch.height * (0.42 + 0.1 * noise(patch.u + seed, patch.u * 0, 9.0, blurred))
    tone = 1 + 0.35 * noise(patch.u + seed, patch.v, 3.0, np.maximum(size, np.float32(0.04)))
    sky = as_column((0.78, 0.88, 1.0)) * (0.85 + 0.25 * patch.v / max(patch.height, 0.1))
    view = mix(sky, 0.7 * as_column(green) * tone, np.clip((line - patch.v) / 0.12, 0, 1))
    return 0.03 + 0 * view, view * np.float32(brightness)


def mirror(patch: Patch, rise: Floats) -> Floats:
    """Radiance (3, n) that a mirror shows where its rays rise by `rise` (n,)."""
    below, horizon, above = patch.sky[..., None]
    street = mix(below, horizon, np.clip(rise * 3 + 0.2, 0, 1))
    return mix(street, above, np.clip(rise * 1.6 - 0.25, 0, 1))


def _inset(patch: Patch, margin: float) -> Floats:
    across = band(patch.u, patch.du, margin, patch.width - margin)
    return across * band(patch.v, patch.dv, margin, patch.height - margin)
