"""Gaps between the leaves of a crown, and the way that its leaves face."""

import numpy as np

from hazegen.scenery.shapes import Ellipsoid
from hazegen.scenery.vectors import Floats, dot, dots

_HEIGHTS, _TURNS = np.linspace(-0.95, 0.95, 7), np.arange(7) * 2.4
# Seven waves in all directions: with fewer, or at random, the leaves fall into rows.
_LEAF_WAVES = (
    np.stack(
        [np.sqrt(1 - _HEIGHTS**2) * np.cos(_TURNS), np.sqrt(1 - _HEIGHTS**2) * np.sin(_TURNS), _HEIGHTS],
        axis=1,
    )
    * np.array([2.9, 4.7, 3.6, 5.9, 3.2, 5.1, 4.1])[:, None]
).astype(np.float32)


def at_leaves(shape: Ellipsoid, origin: Floats, direction: Floats, t: Floats, gap: Floats) -> Floats:
    """The hits at t, infinite where a rough field around 0 lies below `gap`: no leaf there."""
    kept = np.full(t.shape, np.inf, np.float32)
    met = np.flatnonzero(np.isfinite(t))
    if not len(met):
        return kept
    found, size = np.take(t, met), np.float32(shape.leaf_m)
    starts = origin if origin.ndim == 1 else [np.take(part, met) for part in origin]
    places = [(start + found * np.take(part, met)) / size for start, part in zip(starts, direction, strict=True)]
    field = np.zeros_like(found)
    for wave in _LEAF_WAVES:
        field += np.sin(dot(wave, places))
    kept.ravel()[met] = np.where(field > np.take(gap, met), found, np.float32(np.inf))
    return kept


def ruffled(normals: Floats, places: Floats) -> Floats:
    """Normals turned by up to about 45 degrees, leaf by leaf."""
    bent = normals.copy()
    for wave in _LEAF_WAVES:
        bent += np.float32(0.12) * wave[:, None] * np.cos(dot(wave, places))
    return bent / np.maximum(np.sqrt(dots(bent, bent)), 1e-9)
