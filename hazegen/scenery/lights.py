"""The lights of a scene: the sun and sky, windows and bulbs."""

import math

import numpy as np

from hazegen.scenery.palette import Rng
from hazegen.scenery.scene import Lamp
from hazegen.scenery.spot import Spot
from hazegen.scenery.vectors import Floats


def daylight(rng: Rng) -> tuple[list[Lamp], Floats, float]:
    """Sun, sky and clouds: a clear sky with a sharp sun, or a bright grey one with a blurred sun."""
    elevation, azimuth = math.radians(rng.uniform(14, 62)), math.radians(rng.uniform(-180, 180))
    way = (
        math.cos(elevation) * math.sin(azimuth),
        math.cos(elevation) * math.cos(azimuth),
        math.sin(elevation),
    )
    grey = float(np.clip(rng.normal(0.25, 0.35), 0, 1))
    warm = math.exp(-elevation / 0.35)
    sun = np.array([1.0, 0.93 - 0.35 * warm, 0.84 - 0.6 * warm]) * (3.4 - 1.0 * warm) * (1 - grey) ** 1.5
    blue = np.array([[0.22, 0.21, 0.19], [0.78 + 0.2 * warm, 0.82, 0.88 - 0.2 * warm], [0.2, 0.38, 0.75]])
    dull = np.array([[0.3, 0.3, 0.3], [0.95, 0.96, 0.98], [0.68, 0.72, 0.78]])
    sky = (blue + (dull - blue) * grey).astype(np.float32)
    lamp = Lamp(_disc(np.array(way) * 1e4, 60 + 300 * grey), sun.astype(np.float32))
    return [lamp], sky, float(np.clip(rng.uniform(0.0, 0.6) + 0.5 * grey, 0, 1))


def room_light(
    spot: Spot, opening: Floats, deep: float, high: float, night: bool, rng: Rng
) -> tuple[list[Lamp], Floats]:
    """Daylight and perhaps sun through the window, or a bulb under the ceiling."""
    low, top = opening.min(axis=0), opening.max(axis=0)
    inward = np.array(spot.at(0, 1, 0)) - np.array(spot.at(0, 0, 0))
    if night:
        places = _disc(np.array([0.0, deep * 0.5, high - 0.72]), 0.12)
        bulb = Lamp(places, np.array([4.5, 3.6, 2.5], np.float32), np.array([0, 0, -1], np.float32))
        return [bulb], np.array([[0.2, 0.16, 0.11], [0.3, 0.25, 0.18], [0.34, 0.29, 0.22]], np.float32)
    # A lattice without two places in one row or column; the middle first, the outermost last.
    steps = np.stack([np.arange(13) * 5 % 13, (np.arange(13) + 6) % 13], axis=1) / 12 - 0.5
    steps = steps[np.argsort(np.abs(steps).max(axis=1), kind="stable")]
    share = np.stack([steps[:, 0], steps[:, 0], steps[:, 1]], axis=1) * 0.8 + 0.5
    places = low + share * (top - low) + inward * 0.25
    area = float(np.prod((top - low)[(top - low) > 1e-6]))
    lamps = [
        Lamp(
            places.astype(np.float32),
            np.array([1.5, 1.65, 1.8], np.float32) * area,
            inward.astype(np.float32),
        )
    ]
    if rng.random() < 0.6:
        slope, drift = math.radians(rng.uniform(20, 50)), rng.uniform(-0.7, 0.7)
        along = np.array(spot.at(1, 0, 0)) - np.array(spot.at(0, 0, 0))
        way = -inward + drift * along + math.hypot(1, drift) * math.tan(slope) * np.array([0, 0, 1])
        sun = _disc(way / np.linalg.norm(way) * 1e4, 60)
        lamps.append(Lamp(sun, np.array([3.6, 3.1, 2.4], np.float32), None, np.stack([low, top])))
    return lamps, np.array([[0.3, 0.28, 0.25], [0.32, 0.32, 0.31], [0.28, 0.29, 0.3]], np.float32)


def _disc(centre: Floats, radius: float) -> Floats:
    """13 places on a disc about `centre` that faces the world's origin, the outermost last, (13, 3).

    A spiral: whatever way the edge of a shadow runs, no two places lie on one line along it.
    """
    way = centre / np.linalg.norm(centre)
    across = np.cross(way, (0.0, 0.0, 1.0))
    across = across / np.linalg.norm(across)
    turn, away = np.arange(13) * 2.399963, radius * np.sqrt((np.arange(13) + 0.5) / 13)
    steps = np.outer(np.cos(turn) * away, across) + np.outer(np.sin(turn) * away, np.cross(way, across))
    return (centre + steps).astype(np.float32)
