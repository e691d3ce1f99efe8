"""Trees, hedges and bushes."""

import math
from functools import partial

import numpy as np

from hazegen.scenery import materials
from hazegen.scenery.palette import BRICKS, GREENS, Rgb, Rng, pick, vary
from hazegen.scenery.scene import Thing
from hazegen.scenery.shapes import Cylinder, Ellipsoid, box
from hazegen.scenery.vectors import Floats


def garden(x: float, y: float, side: float, yard: float, rng: Rng) -> list[Thing]:
    """A hedge or a low wall before a house, and sometimes a bush or a tree behind it."""
    length = float(rng.uniform(5, 9))
    green = vary(pick(GREENS, rng), rng, 0.2)
    wall = partial(materials.masonry, colour=pick(BRICKS, rng), joint=(0.3, 0.28, 0.25), cell=(0.225, 0.075), gap=0.011)
    leaves = partial(materials.foliage, colour=green, grain_m=0.9)
    size = (0.6, length, float(rng.uniform(0.8, 1.5)))
    things: list[Thing] = (
        [(box((x, y, 0), size), leaves)] if rng.random() < 0.6 else [(box((x, y, 0), (0.25, length, 0.7)), wall)]
    )
    if rng.random() < 0.5:
        return things + tree(x + side * yard * 0.5, y, green, int(rng.integers(2**31)))
    radius = np.array([0.9, 1.1, 0.9], np.float32) * np.float32(rng.uniform(0.5, 1.2))
    bush = Ellipsoid(np.array([x + side * 1.4, y, radius[2] * 0.6], np.float32), radius, 0.0)
    return [*things, (bush, leaves)]


def tree(x: float, y: float, green: Rgb, seed: int) -> list[Thing]:
    """A trunk and a crown of leafy balls; the leaves' size grows with distance, to a pixel or two."""
    rng = np.random.default_rng(seed)
    trunk, radius = float(rng.uniform(2.2, 3.4)), float(rng.uniform(1.3, 2.0))
    bark = partial(materials.plain, colour=(0.11, 0.085, 0.06), mottle=0.3, grain_m=0.4)
    stem = Cylinder(np.array([x, y, 0], np.float32), 0.07 * radius + 0.04, trunk + radius * 0.8)
    things: list[Thing] = [(stem, bark)]
    leaf = max(0.1, 0.004 * math.hypot(x, y))
    reach = np.array([radius, radius, radius * float(rng.uniform(0.85, 1.5))])
    middle = np.array([x, y, trunk + reach[2] * 0.75])
    things.append(_crown(middle, reach * 0.72, leaf, vary(green, rng, 0.15)))
    for lobe in range(int(rng.integers(9, 13)) if y < 40 else 5 if y < 80 else 0):
        level = rng.uniform(-0.75, 0.85)
        turn, out = lobe * 2.4 + rng.uniform(0, 0.8), math.sqrt(1 - level**2)
        away = reach * 0.68 * (out * math.cos(turn), out * math.sin(turn), level)
        things.append(_crown(middle + away, reach * rng.uniform(0.3, 0.5, 3), leaf, vary(green, rng, 0.2)))
    return things


def _crown(centre: Floats, radii: Floats, leaf_m: float, colour: Rgb) -> Thing:
    ball = Ellipsoid(centre.astype(np.float32), radii.astype(np.float32), leaf_m)
    return ball, partial(materials.foliage, colour=colour, grain_m=1.2)
