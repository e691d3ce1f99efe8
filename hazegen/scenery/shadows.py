"""How much of a lamp and of the surroundings each pixel's surface sees."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hazegen.scenery.raycast import Hits, blocks
from hazegen.scenery.shapes import SIGNS, Convex, Ellipsoid, Shape, corners_about, distance_to
from hazegen.scenery.vectors import Floats, Mask, dots, single
from hazegen.scenery.view import View, area, screen_rects

_LOW_M = 0.14  # What stays below casts no shadow worth its time: kerbs, rugs.
_TILE = 16
_CHECKS = np.flatnonzero(np.indices((_TILE, _TILE)).sum(axis=0) % 2 == 0)


def lit_share(
    shapes: Sequence[Shape],
    view: View,
    hits: Hits,
    points: Floats,
    normals: Floats,
    places: Floats,
    mask: Mask,
) -> Floats:
    """Share of a lamp that each pixel's surface sees, float32 (h, w); 0 outside the mask.

    Every second pixel, as on a chequerboard, is traced. Those of one 5 x 5 neighbourhood look at 13 places
    of the lamp, and their mean over the same face makes the penumbra.

    Args:
        points, normals: float32 (3, h, w), anything where nothing was hit.
        places: 13 places of the lamp, float32 (13, 3) [m]; the sun is a lamp that is far away.
        mask: Pixels that can be lit, bool (h, w).
    """
    rows, columns = np.indices(mask.shape)
    # On the chequerboard, the 13 pixels of any 5 x 5 have 13 different values.
    to_lamp = np.take(places.T, (columns + 5 * rows) % 26 // 2, axis=1) - points
    lit = mask & (dots(normals, to_lamp) > 0)
    starts = points + normals * (np.float32(0.004) + np.float32(1e-4) * np.where(lit, hits.depth_m, 0))
    tiles = _tiled(lit)
    alive = np.flatnonzero(tiles.any(axis=1))
    if len(alive):
        spread = np.linalg.norm(places - places[0], axis=1).max()
        picked = np.ix_(alive, _CHECKS)
        start, way = (np.take(_tiled(array)[..., _CHECKS], alive, axis=1) for array in (starts, to_lamp))
        tiles[picked] = _unshaded(_casters(shapes, view), tiles[picked], start, way, float(spread))
    return _mean_on_face(_untiled(tiles, lit.shape), hits)


def openness(shapes: Sequence[Shape], view: View, points: Floats, normals: Floats, reach_m: float) -> Floats:
    """Share of ambient light that nearby surfaces leave, float32 (h, w), 1 in the open.

    A surface at the distance s from a point `reach_m` above takes 0.6 (1 - s / reach_m)^2; leaves take none.
    """
    probes = points + normals * np.float32(reach_m)
    share = np.ones(points.shape[1:], np.float32)
    corners = corners_about(shapes)
    rects = screen_rects(corners + np.float32(reach_m) * SIGNS, view)
    for shape, rect in zip(shapes, rects, strict=True):
        if rect is None or area(rect) < 60 or (isinstance(shape, Ellipsoid) and shape.leaf_m > 0):
            continue
        gap = distance_to(shape, probes[(slice(None), *rect)])
        taken = np.clip(1 - gap / np.float32(reach_m), 0, 1)
        share[rect] *= 1 - np.float32(0.6) * taken * taken
    return share


def _casters(shapes: Sequence[Shape], view: View) -> list[Shape]:
    """The shapes whose shadows can be seen, the largest first, because they finish whole tiles."""
    limits = np.stack([shape.bounds for shape in shapes])
    size = np.linalg.norm(limits[:, 1] - limits[:, 0], axis=1)
    away = np.linalg.norm(limits.mean(axis=1) - view.origin, axis=1)
    casts = (limits[:, 1, 2] > _LOW_M) & (size > 0.02 * away)
    order = np.argsort(-size, kind="stable")
    return [shapes[number] for number in order if casts[number] and not _surrounds(shapes[number])]


def _surrounds(shape: Shape) -> bool:
    return isinstance(shape, Convex) and (shape.inside or not len(shape.corners))


def _unshaded(shapes: Sequence[Shape], lit: Mask, starts: Floats, to_lamp: Floats, spread_m: float) -> Mask:
    """Which of the lit pixels (tiles, pixels) no shape hides from the lamp.

    A shape is tried on the tiles alone whose rays, taken as one thick ray, meet the box about it. The ray
    is as thick as the tile where it starts, and gains what the lamp's places spread by on the way.
    """
    known = np.where(lit, starts, np.float32(np.nan))
    low, high = np.fmin.reduce(known, axis=2), np.fmax.reduce(known, axis=2)
    # Summed in the order of the pixels.
    way = np.ascontiguousarray(np.moveaxis(to_lamp, 2, 0)).mean(axis=0)
    centre, half = (low + high) / 2, (high - low) / 2
    length = np.sqrt(dots(way, way))
    some = np.asarray(lit.any(axis=1))
    for shape in shapes:
        bottom, top = shape.bounds[..., None]
        gap = (bottom + top) / 2 - centre
        reach = np.sqrt(dots(gap, gap)) + np.linalg.norm(top - bottom) / 2
        grow = half + np.float32(spread_m) * np.minimum(1, reach / length)
        with np.errstate(divide="ignore"):
            near, far = (bottom - grow - centre) / way, (top + grow - centre) / way
        first, last = np.minimum(near, far), np.maximum(near, far)
        enter = np.maximum(np.maximum(first[0], first[1]), first[2])
        leave = np.minimum(np.minimum(last[0], last[1]), last[2])
        tiles = np.flatnonzero((enter < leave) & (leave > 0) & (enter < 1) & some)
        if len(tiles):
            hidden = blocks(shape, np.take(starts, tiles, axis=1), np.take(to_lamp, tiles, axis=1))
            lit[tiles] &= ~hidden
            some[tiles] = lit[tiles].any(axis=1)
    return lit


def _tiled(values: NDArray[Any]) -> NDArray[Any]:
    """A picture (..., h, w) cut into squares: (..., tiles, pixels); the last row and column fill up."""
    *parts, height, width = values.shape
    rows, columns = -(-height // _TILE), -(-width // _TILE)
    margins = [(0, 0)] * len(parts) + [(0, rows * _TILE - height), (0, columns * _TILE - width)]
    full = np.pad(values, margins, mode="edge").reshape(*parts, rows, _TILE, columns, _TILE)
    return full.swapaxes(-3, -2).reshape(*parts, rows * columns, _TILE * _TILE)


def _untiled(tiles: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    height, width = shape
    rows, columns = -(-height // _TILE), -(-width // _TILE)
    full = tiles.reshape(rows, columns, _TILE, _TILE).swapaxes(1, 2).reshape(rows * _TILE, columns * _TILE)
    return full[:height, :width]


def _mean_on_face(lit: Mask, hits: Hits) -> Floats:
    """Mean over the chequerboard's pixels in 5 x 5 that lie on the same face; the value itself without any."""
    height, width = lit.shape
    key = np.pad(hits.shape.astype(np.int32) * 256 + hits.face, 2, constant_values=-9)
    # _TILE is even, so the board runs on from tile to tile.
    key[((np.arange(height + 4)[:, None] + np.arange(width + 4)) % 2) == 1] = -9
    padded = np.pad(lit, 2)
    here = hits.shape.astype(np.int32) * 256 + hits.face
    total, count = np.zeros(lit.shape, np.uint8), np.zeros(lit.shape, np.uint8)
    for row, column in itertools.product(range(5), repeat=2):
        window = slice(row, row + height), slice(column, column + width)
        same = key[window] == here
        total += padded[window] & same
        count += same
    return np.where(count > 0, single(total) / single(np.maximum(count, 1)), single(lit))
