"""The paint of a wall with windows, doors and shops."""

from dataclasses import dataclass

import numpy as np

from hazegen.scenery.materials import mirror, plain
from hazegen.scenery.palette import Rgb, as_column
from hazegen.scenery.patch import Look, Paint, Patch
from hazegen.scenery.patterns import band, cell_random, mix, noise
from hazegen.scenery.vectors import Floats


@dataclass(frozen=True)
class Windows:
    """A grid of windows on a wall: sizes [m], and colours of frames; `shop` is None without a shop below."""

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
    bay = np.float32(patch.width / max(1, round(patch.width / windows.bay)))
    storey = np.float32(patch.height / max(1, round(patch.height / windows.storey)))
    column, row = np.floor(patch.u / bay), np.floor(patch.v / storey)
    shop = (row == 0) & (windows.shop is not None)
    width = np.where(shop, bay * np.float32(0.82), np.minimum(np.float32(windows.width), bay * np.float32(0.9)))
    height = np.where(
        shop, storey * np.float32(0.72), np.minimum(np.float32(windows.height), storey * np.float32(0.88))
    )
    # From the middle of the opening's lower edge.
    x = patch.u - (column + np.float32(0.5)) * bay
    y = patch.v - row * storey - np.where(shop, storey * np.float32(0.1), storey - height - np.float32(0.35))
    frame = np.where(shop, as_column(windows.shop or windows.frame), as_column(windows.frame))
    sill = _within(x, y + np.float32(0.14), width + np.float32(0.2), np.full_like(height, 0.14), 0.0, patch)
    stone = mix(_weathered(patch, windows.wall), as_column((0.45, 0.43, 0.4)), 0.7 * sill)
    framed = mix(stone, frame, _within(x, y, width, height, 0.0, patch))
    glass = _within(x, y, width, height, 0.07, patch) * (1 - 0.8 * band(x, patch.du, -0.03, 0.03) * ~shop)
    shade = 1 - 0.6 * np.clip(1 - (height - y) / 0.35, 0, 1)
    body, glow = _glass(patch, column, row, y / height, windows.seed)
    return mix(framed, body * shade, glass), glow * (glass * shade)


def _weathered(patch: Patch, wall: Paint) -> Floats:
    """The wall with streaks of rain, and damp above the ground."""
    streaks = 1 + 0.07 * noise(patch.u * 3, patch.v * 0.3, 19.0, np.maximum(patch.du, patch.dv))
    return wall(patch)[0] * (streaks * (1 - 0.18 * np.clip(1 - patch.v / 0.8, 0, 1)))


def _glass(patch: Patch, column: Floats, row: Floats, share: Floats, seed: int) -> tuple[Floats, Floats]:
    fade = np.clip(2 - patch.du / 1.2, 0, 1)
    chance, tilt = (cell_random(column, row, seed + k) * fade + 0.5 * (1 - fade) for k in (2, 9))
    drawn = np.clip((share - chance * 1.6 + 0.25) / 0.02, 0, 1) * (chance < 0.5)
    body = mix(as_column((0.02, 0.022, 0.025)), as_column((0.3, 0.28, 0.25)), drawn * 0.6)
    glow = mirror(patch, patch.rise + (tilt - 0.5) * 0.12) * (patch.gloss * 0.9 + 0.06 * tilt)
    return body, glow * (1 - 0.6 * drawn)


def _within(x: Floats, y: Floats, width: Floats, height: Floats, inset: float, patch: Patch) -> Floats:
    columns = band(x, patch.du, inset - width / 2, width / 2 - inset)
    return columns * band(y, patch.dv, inset + height * 0, height - inset)
