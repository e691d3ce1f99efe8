"""The layout of a street: what stands where along a road."""

import math
from functools import partial

import numpy as np

from hazegen.geometry import camera_from_fov
from hazegen.scenery import materials
from hazegen.scenery.buildings import building
from hazegen.scenery.cars import car_at
from hazegen.scenery.lights import daylight
from hazegen.scenery.palette import GREENS, Rng, pick, vary
from hazegen.scenery.pavement import litter_bin, person, street_lamp
from hazegen.scenery.plants import garden, tree
from hazegen.scenery.scene import Scene, Thing, clear_of, posed_view
from hazegen.scenery.shapes import Ellipsoid, box, ground
from hazegen.scenery.view import View


def street(width: int, height: int, rng: Rng) -> Scene:
    """A road between two rows of buildings, with cars, trees, lamps and people."""
    style = ("suburb", "town", "city")[rng.choice(3, p=(0.35, 0.4, 0.25))]
    half = float(rng.uniform(3.2, 4.6) if style == "suburb" else rng.uniform(4.0, 7.5))
    pavement = float(rng.uniform(1.8, 4.2))
    yard = float(rng.uniform(2.5, 7.0)) if style == "suburb" else float(rng.choice([0.0, 0.0, 1.5]))
    end = float(rng.uniform(110, 250))
    view, pose = _street_view(width, height, half, pavement, rng)
    verge = pick(GREENS, rng)
    crossing = float(rng.uniform(9, 60))
    colour = vary((0.085, 0.085, 0.09), rng, 0.3)
    road = partial(
        materials.asphalt,
        half_width=half,
        lanes=2 if half < 6 else 4,
        colour=colour,
        crossing_m=crossing,
        verge=verge,
    )
    things: list[Thing] = [(ground(), road), *_kerbs(half, pavement, end, rng)]
    groups: list[list[Thing]] = []
    for side in (-1.0, 1.0):
        groups += _row(style, side, half + pavement + yard, end, rng)
        groups += _kerbside(side, half, pavement, yard, end, rng)
    groups += _traffic(half, rng) + _horizon(style, end, rng)
    things += clear_of(groups, view.origin, 2.0)
    lamps, sky, clouds = daylight(rng)
    return Scene(things, view, pose, lamps, sky, 1.0, clouds, 1.2)


def _street_view(width: int, height: int, half: float, pavement: float, rng: Rng) -> tuple[View, dict[str, float]]:
    camera = camera_from_fov(float(rng.uniform(50, 90)), width, height)
    reach = half + pavement - 0.6
    x = float(rng.uniform(-reach, reach))
    z = float(rng.uniform(1.2, 2.1) if rng.random() < 0.75 else rng.uniform(2.1, 5.5))
    yaw = float(np.clip(rng.normal(-x / reach * 9, 8), -28, 28))
    return posed_view(
        camera, (x, 0.0, z), yaw, float(rng.normal(0.5 - 1.2 * (z - 1.6), 3.0)), float(rng.normal(0, 0.8))
    )


def _kerbs(half: float, pavement: float, end: float, rng: Rng) -> list[Thing]:
    slab = float(rng.uniform(0.4, 0.9))
    grey = vary((0.3, 0.29, 0.27), rng, 0.2)
    paving = partial(
        materials.masonry,
        colour=grey,
        joint=(0.12, 0.115, 0.1),
        cell=(slab, slab * 1.5),
        gap=0.015,
        vary=0.13,
    )
    stone = partial(materials.masonry, colour=(0.36, 0.35, 0.33), joint=(0.15, 0.15, 0.14), cell=(0.15, 1.0), gap=0.015)
    things: list[Thing] = []
    for side in (-1, 1):
        things.append((box((side * (half + 0.075), end / 2 - 15, 0), (0.15, end + 30, 0.13)), stone))
        things.append((box((side * (half + 0.15 + pavement / 2), end / 2 - 15, 0), (pavement, end + 30, 0.12)), paving))
    return things


def _row(style: str, side: float, front: float, end: float, rng: Rng) -> list[list[Thing]]:
    """Buildings along one side of the road, with lanes and lawns between some of them."""
    groups: list[list[Thing]] = []
    y = float(rng.uniform(-32, -22))
    level = float(rng.uniform(2.6, 4.6))
    while y < end:
        wide = float(rng.uniform(8, 13) if style == "suburb" else rng.uniform(9, 24))
        storeys = _storeys(style, level, rng)
        setback = float(rng.uniform(0, 1.5) if rng.random() < 0.3 else 0.0)
        groups.append(building(style, side, front + setback, y + wide / 2, wide, storeys, rng))
        y += wide
        if rng.random() < {"suburb": 0.95, "town": 0.15, "city": 0.3}[style]:
            y += float(rng.uniform(2.5, 9.0))
    return groups


def _storeys(style: str, level: float, rng: Rng) -> int:
    if style == "suburb":
        return int(rng.integers(1, 3))
    return max(2, round(level + rng.normal(0, 0.7))) if style == "town" else int(rng.integers(4, 15))


def _kerbside(side: float, half: float, pavement: float, yard: float, end: float, rng: Rng) -> list[list[Thing]]:
    """What stands along the pavement: trees, lamps, parked cars, hedges, people, bins."""
    groups: list[list[Thing]] = []
    kerb, edge = side * (half + 0.7), side * (half + pavement)
    if rng.random() < 0.7:
        spacing, kind = float(rng.uniform(9, 22)), int(rng.integers(2**31))
        green, start = pick(GREENS, rng), float(rng.uniform(3, 12))
        groups += [tree(kerb, y, green, kind + n) for n, y in enumerate(np.arange(start, min(end, 130), spacing))]
    if rng.random() < 0.8:
        spacing = float(rng.uniform(18, 35))
        groups += [street_lamp(kerb - side * 0.2, y, side) for y in np.arange(rng.uniform(4, 20), 140, spacing)]
    if yard > 2:
        groups += [garden(edge + side * 0.5, y, side, yard, rng) for y in np.arange(-8, 110, 12.0)]
    if rng.random() < 0.75:
        places = np.cumsum(rng.uniform(5.2, 13, 9)) + rng.uniform(-2, 6)
        groups += [car_at(side * (half - 1.05), y, 90 if side < 0 else -90, rng) for y in places]
    for _ in range(int(rng.integers(0, 5))):
        place = edge - side * float(rng.uniform(0.4, pavement - 0.5)), float(rng.uniform(4, 45))
        groups.append(person(*place, rng))
    for y in rng.uniform(4, 50, int(rng.integers(0, 4))):
        groups.append(litter_bin(edge - side * 0.4, y, rng))
    return groups


def _traffic(half: float, rng: Rng) -> list[list[Thing]]:
    lane = half / 2 if half < 6 else half / 4
    places = rng.uniform(8, 110, int(rng.integers(0, 4)))
    return [car_at(float(rng.choice([-1, 1])) * lane, float(y), float(rng.choice([90, -90])), rng) for y in places]


def _horizon(style: str, end: float, rng: Rng) -> list[list[Thing]]:
    """What closes the view: woods and hills all around, and towers behind a city."""
    groups: list[list[Thing]] = []
    for angle in np.arange(-80, 81, 16.0) + rng.uniform(-5, 5):
        away, size = float(rng.uniform(430, 520)), rng.uniform((90, 50, 8), (160, 80, 45))
        centre = (away * math.sin(math.radians(angle)), away * math.cos(math.radians(angle)), -2.0)
        wood = partial(materials.foliage, colour=vary((0.09, 0.12, 0.06), rng, 0.25), grain_m=20.0)
        groups.append([(Ellipsoid(np.array(centre, np.float32), size.astype(np.float32)), wood)])
    for _ in range(10):
        x, y, wide = (
            float(rng.uniform(-140, 140)),
            end + float(rng.uniform(25, 150)),
            float(rng.uniform(12, 30)),
        )
        storeys = {
            "suburb": int(rng.integers(1, 4)),
            "town": int(rng.integers(2, 6)),
            "city": int(rng.integers(3, 22)),
        }[style]
        groups.append(building("city" if style == "city" else "town", 1.0, x, y, wide, storeys, rng))
    for _ in range(10):
        x, y = float(rng.uniform(-120, 120)), end + float(rng.uniform(8, 60))
        if abs(x) > 12:
            groups.append(tree(x, y, pick(GREENS, rng), int(rng.integers(2**31))))
    return groups
