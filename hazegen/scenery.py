"""Streets and rooms: where things stand, what they are made of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from hazegen import materials
from hazegen.geometry import Camera, camera_from_fov
from hazegen.materials import Look, Paint, Patch, Rgb, Windows
from hazegen.raycast import Convex, Cylinder, Ellipsoid, Floats, Shape, View, box, distance_to, ground, prism, view_from

Thing = tuple[Shape, Paint]
Rng = np.random.Generator


@dataclass(frozen=True)
class Lamp:
    """A light: the sun, a window or a bulb.

    Attributes:
        places: Nine places on it, float32 (9, 3) [m].
        rgb: Light that it sheds on a surface that faces it; at 1 m where it fades.
        facing: Where a window faces, float32 (3,); None for a light that does not fade, the sun.
        opening: Two opposite corners of the window that the sun shines through, (2, 3) [m]; None outdoors.
    """

    places: Floats
    rgb: Floats
    facing: Floats | None = None
    opening: Floats | None = None


@dataclass(frozen=True)
class Scene:
    """All that a picture needs.

    Attributes:
        lamps: Lights with shadows.
        sky: Colour of the surroundings below, at and above the horizon, float32 (3, 3).
        ambient: How strongly they light everything.
        clouds: Share of the sky under clouds; None for a room.
        reach_m: How far a surface darkens its neighbours [m].
    """

    things: list[Thing]
    view: View
    pose: dict[str, float]
    lamps: list[Lamp]
    sky: Floats
    ambient: float
    clouds: float | None
    reach_m: float


BRICKS = ((0.32, 0.12, 0.08), (0.38, 0.2, 0.13), (0.25, 0.13, 0.1), (0.45, 0.33, 0.22))
PLASTERS = ((0.62, 0.58, 0.5), (0.66, 0.56, 0.38), (0.55, 0.42, 0.33), (0.5, 0.53, 0.54), (0.68, 0.66, 0.62))
WOODS = ((0.3, 0.17, 0.08), (0.42, 0.28, 0.16), (0.16, 0.09, 0.05), (0.55, 0.43, 0.3))
CLOTHES = ((0.05, 0.06, 0.1), (0.3, 0.05, 0.05), (0.1, 0.16, 0.3), (0.4, 0.38, 0.34), (0.08, 0.15, 0.08), (0.02, 0.02, 0.02))
CARS = ((0.02, 0.02, 0.025), (0.5, 0.5, 0.5), (0.16, 0.17, 0.18), (0.35, 0.03, 0.03), (0.03, 0.07, 0.2), (0.6, 0.59, 0.56), (0.1, 0.12, 0.1))
GREENS = ((0.07, 0.12, 0.03), (0.1, 0.14, 0.04), (0.05, 0.09, 0.035), (0.16, 0.14, 0.04))


def street(width: int, height: int, rng: Rng) -> Scene:
    """A road between two rows of buildings, with cars, trees, lamps and people."""
    style = ("suburb", "town", "city")[rng.choice(3, p=(0.35, 0.4, 0.25))]
    half = float(rng.uniform(3.2, 4.6) if style == "suburb" else rng.uniform(4.0, 7.5))
    pavement = float(rng.uniform(1.8, 4.2))
    yard = float(rng.uniform(2.5, 7.0)) if style == "suburb" else float(rng.choice([0.0, 0.0, 1.5]))
    end = float(rng.uniform(110, 250))
    view, pose = _street_view(width, height, half, pavement, rng)
    verge = _pick(GREENS, rng)
    crossing = float(rng.uniform(9, 60))
    colour = _vary((0.085, 0.085, 0.09), rng, 0.3)
    road = partial(
        materials.asphalt, half_width=half, lanes=2 if half < 6 else 4, colour=colour, crossing_m=crossing, verge=verge
    )
    things: list[Thing] = [(ground(), road)]
    groups = _kerbs(half, pavement, end, rng)
    for side in (-1.0, 1.0):
        groups += _row(style, side, half + pavement + yard, end, rng)
        groups += _kerbside(style, side, half, pavement, yard, end, rng)
    groups += _traffic(half, end, rng) + _horizon(style, end, rng)
    things += _clear_of(groups, view.origin, 1.5)
    lamps, sky, clouds = _daylight(rng)
    return Scene(things, view, pose, lamps, sky, 1.0, clouds, 1.2)


def _street_view(width: int, height: int, half: float, pavement: float, rng: Rng) -> tuple[View, dict[str, float]]:
    camera = camera_from_fov(float(rng.uniform(50, 90)), width, height)
    reach = half + pavement - 0.6
    x = float(rng.uniform(-reach, reach))
    z = float(rng.uniform(1.2, 2.1) if rng.random() < 0.75 else rng.uniform(2.1, 5.5))
    yaw = float(np.clip(rng.normal(-x / reach * 9, 8), -28, 28))
    return _view(camera, (x, 0.0, z), yaw, float(rng.normal(0.5 - 1.2 * (z - 1.6), 3.0)), float(rng.normal(0, 0.8)))


def _view(camera: Camera, origin: tuple[float, float, float], yaw: float, pitch: float, roll: float) -> tuple[View, dict[str, float]]:
    pose = {"height_m": origin[2], "yaw_deg": yaw, "pitch_deg": pitch, "roll_deg": roll}
    return view_from(camera, origin, yaw, pitch, roll), pose


def _daylight(rng: Rng) -> tuple[list[Lamp], Floats, float]:
    """Sun, sky and clouds: a clear sky with a sharp sun, or a bright grey one with a blurred sun."""
    elevation, azimuth = math.radians(rng.uniform(14, 62)), math.radians(rng.uniform(-180, 180))
    way = (math.cos(elevation) * math.sin(azimuth), math.cos(elevation) * math.cos(azimuth), math.sin(elevation))
    grey = float(np.clip(rng.normal(0.25, 0.35), 0, 1))
    warm = math.exp(-elevation / 0.35)
    sun = np.array([1.0, 0.93 - 0.35 * warm, 0.84 - 0.6 * warm]) * (3.4 - 1.0 * warm) * (1 - grey) ** 1.5
    blue = np.array([[0.22, 0.21, 0.19], [0.78 + 0.2 * warm, 0.82, 0.88 - 0.2 * warm], [0.2, 0.38, 0.75]])
    dull = np.array([[0.3, 0.3, 0.3], [0.95, 0.96, 0.98], [0.68, 0.72, 0.78]])
    sky = (blue + (dull - blue) * grey).astype(np.float32)
    lamp = Lamp(_disc(np.array(way) * 1e4, 60 + 900 * grey), sun.astype(np.float32))
    return [lamp], sky, float(np.clip(rng.uniform(0.0, 0.6) + 0.5 * grey, 0, 1))


def _disc(centre: Floats, radius: float) -> Floats:
    """Nine places on a square about `centre` that faces the world's origin."""
    way = centre / np.linalg.norm(centre)
    across = np.cross(way, (0.0, 0.0, 1.0))
    across = across / np.linalg.norm(across)
    steps = np.array([(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)]) * radius * 0.7
    return (centre + steps[:, :1] * across + steps[:, 1:] * np.cross(way, across)).astype(np.float32)


def _clear_of(groups: list[list[Thing]], origin: Floats, margin: float) -> list[Thing]:
    """The things of all groups that keep `margin` metres from the camera; a group stays or goes whole."""
    return [thing for group in groups if min(float(distance_to(shape, origin)) for shape, _ in group) > margin for thing in group]


def _kerbs(half: float, pavement: float, end: float, rng: Rng) -> list[list[Thing]]:
    slab = float(rng.uniform(0.4, 0.9))
    grey = _vary((0.3, 0.29, 0.27), rng, 0.2)
    paving = partial(materials.masonry, colour=grey, joint=(0.12, 0.115, 0.1), cell=(slab, slab * 1.5), gap=0.015, vary=0.13)
    stone = partial(materials.masonry, colour=(0.36, 0.35, 0.33), joint=(0.15, 0.15, 0.14), cell=(0.15, 1.0), gap=0.015)
    groups: list[list[Thing]] = []
    for side in (-1, 1):
        groups.append([(box((side * (half + 0.075), end / 2 - 15, 0), (0.15, end + 30, 0.13)), stone)])
        groups.append([(box((side * (half + 0.15 + pavement / 2), end / 2 - 15, 0), (pavement, end + 30, 0.12)), paving)])
    return groups


def _row(style: str, side: float, front: float, end: float, rng: Rng) -> list[list[Thing]]:
    """Buildings along one side of the road, with lanes and lawns between some of them."""
    groups: list[list[Thing]] = []
    y = float(rng.uniform(-32, -22))
    level = float(rng.uniform(2.6, 4.6))
    while y < end:
        wide = float(rng.uniform(8, 13) if style == "suburb" else rng.uniform(9, 24))
        storeys = _storeys(style, level, rng)
        setback = float(rng.uniform(0, 1.5) if rng.random() < 0.3 else 0.0)
        groups.append(_building(style, side, front + setback, y + wide / 2, wide, storeys, rng))
        y += wide
        if rng.random() < {"suburb": 0.95, "town": 0.15, "city": 0.3}[style]:
            y += float(rng.uniform(2.5, 9.0))
    return groups


def _storeys(style: str, level: float, rng: Rng) -> int:
    if style == "suburb":
        return int(rng.integers(1, 3))
    return max(2, round(level + rng.normal(0, 0.7))) if style == "town" else int(rng.integers(4, 15))


def _building(style: str, side: float, front: float, y: float, wide: float, storeys: int, rng: Rng) -> list[Thing]:
    deep, storey = float(rng.uniform(8.5, 14)), float(rng.uniform(2.8, 3.5))
    high = storeys * storey
    wall, colour = _wall(style, rng)
    windows = _windows(style, wall, storey, rng)
    roof = _vary(((0.2, 0.08, 0.05), (0.09, 0.09, 0.1), (0.14, 0.12, 0.1))[rng.integers(3)], rng, 0.2)
    x = side * (front + deep / 2)
    things: list[Thing] = [(box((x, y, 0), (deep, wide, high)), partial(materials.facade, windows=windows, roof=(0.2, 0.2, 0.19)))]
    if style == "suburb" or (style == "town" and rng.random() < 0.65):
        return things + _pitched(x, y, deep, wide, high, roof, colour, style, rng)
    trim = partial(materials.plain, colour=_vary(colour, rng, 0.15))
    things.append((box((x, y, high), (deep + 0.5, wide, 0.45)), trim))
    if storeys > 2 and rng.random() < 0.6:
        things.append((box((x, y, storey - 0.15), (deep + 0.3, wide, 0.3)), trim))
    if rng.random() < 0.6:
        things.append((box((x, y + float(rng.uniform(-2, 2)), high + 0.4), (deep * 0.4, wide * 0.3, 2.4)), trim))
    if rng.random() < 0.45:
        things += _balconies(side * front, side, y, wide, storeys, storey, windows, trim)
    return things


def _balconies(x: float, side: float, y: float, wide: float, storeys: int, storey: float, windows: Windows, trim: Paint) -> list[Thing]:
    bays = max(1, round(wide / windows.bay))
    rail = partial(materials.striped, colour=(0.03, 0.03, 0.03), second=(0.25, 0.25, 0.25), period=0.12, width=0.07)
    things: list[Thing] = []
    for level in range(1, min(storeys, 6)):
        for bay in range(0, bays, 2):
            middle = y - wide / 2 + (bay + 0.5) * wide / bays
            across = min(windows.bay * 0.9, wide / bays * 0.9)
            things.append((box((x - side * 0.5, middle, level * storey), (1.0, across, 0.15)), trim))
            things.append((box((x - side * 0.97, middle, level * storey + 0.15), (0.06, across, 0.85)), rail))
    return things[:24]


def _pitched(x: float, y: float, deep: float, wide: float, high: float, roof: Rgb, wall: Rgb, style: str, rng: Rng) -> list[Thing]:
    tiles = partial(materials.masonry, colour=roof, joint=tuple(0.5 * part for part in roof), cell=(0.3, 0.22), gap=0.02, vary=0.2)
    across = style == "suburb" and rng.random() < 0.5
    span, length = (wide, deep) if across else (deep, wide)
    over = 0.4 if style == "suburb" else 0.0
    rise = span / 2 * float(rng.uniform(0.55, 0.95))
    profile = [(-span / 2 - 0.35, high - 0.05), (span / 2 + 0.35, high - 0.05), (0.0, high + rise)]
    gable = partial(_by_face, first=tiles, faces=(1, 2), second=partial(materials.plain, colour=wall))
    things: list[Thing] = [(prism(profile, length + over, (x, y, 0), 90.0 if across else 0.0), gable)]
    stack = partial(materials.masonry, colour=_pick(BRICKS, rng), joint=(0.3, 0.28, 0.25), cell=(0.22, 0.075), gap=0.01)
    place = (x + float(rng.uniform(-1, 1)), y + float(rng.uniform(-0.3, 0.3)) * wide, high + rise * 0.4)
    things.append((box(place, (0.6, 0.9, rise * 0.6 + 1.0)), stack))
    return things


def _by_face(patch: Patch, first: Paint, faces: tuple[int, ...], second: Paint) -> Look:
    return first(patch) if patch.face in faces else second(patch)


def _wall(style: str, rng: Rng) -> tuple[Paint, Rgb]:
    kind = rng.choice(4, p={"suburb": (0.5, 0.5, 0, 0), "town": (0.4, 0.5, 0.1, 0), "city": (0.2, 0.2, 0.35, 0.25)}[style])
    seed = int(rng.integers(1000))
    if kind == 0:
        colour = _vary(_pick(BRICKS, rng), rng, 0.2)
        mortar = (0.36, 0.34, 0.3)
        return partial(materials.masonry, colour=colour, joint=mortar, cell=(0.225, 0.075), gap=0.011, vary=0.25, seed=seed), colour
    if kind == 1:
        colour = _vary(_pick(PLASTERS, rng), rng, 0.12)
        return partial(materials.plain, colour=colour, mottle=0.05), colour
    colour = _vary((0.42, 0.41, 0.39) if kind == 2 else (0.12, 0.15, 0.17), rng, 0.2)
    return partial(materials.masonry, colour=colour, joint=(0.15, 0.15, 0.15), cell=(2.4, 1.2), gap=0.03, shift=0.0, seed=seed), colour


def _windows(style: str, wall: Paint, storey: float, rng: Rng) -> Windows:
    frame = ((0.7, 0.69, 0.66), (0.06, 0.06, 0.06), (0.2, 0.12, 0.07))[rng.choice(3, p=(0.6, 0.25, 0.15))]
    shop = _vary(_pick(CARS[2:6] + WOODS, rng), rng, 0.2) if style != "suburb" and rng.random() < 0.65 else None
    bay = float(rng.uniform(2.2, 3.6))
    wide = bay * float(rng.uniform(0.32, 0.55) if style != "city" else rng.uniform(0.45, 0.9))
    high = storey * float(rng.uniform(0.42, 0.62))
    return Windows(wall, bay, storey, wide, high, frame, shop, int(rng.integers(1000)))


def _kerbside(style: str, side: float, half: float, pavement: float, yard: float, end: float, rng: Rng) -> list[list[Thing]]:
    """What stands along the pavement: trees, lamps, parked cars, hedges, people, bins."""
    groups: list[list[Thing]] = []
    kerb, edge = side * (half + 0.7), side * (half + pavement)
    if rng.random() < 0.7:
        spacing, kind = float(rng.uniform(9, 22)), int(rng.integers(2**31))
        green, start = _pick(GREENS, rng), float(rng.uniform(3, 12))
        groups += [_tree(kerb, y, green, kind + n, half) for n, y in enumerate(np.arange(start, min(end, 130), spacing))]
    if rng.random() < 0.8:
        spacing = float(rng.uniform(18, 35))
        groups += [_street_lamp(kerb - side * 0.2, y, side) for y in np.arange(rng.uniform(4, 20), 140, spacing)]
    if yard > 2:
        groups += [_garden(edge + side * 0.5, y, side, yard, rng) for y in np.arange(-8, 110, 12.0)]
    if rng.random() < 0.75:
        places = np.cumsum(rng.uniform(5.2, 13, 9)) + rng.uniform(-2, 6)
        groups += [_car(side * (half - 1.05), y, 90 if side < 0 else -90, rng) for y in places]
    for _ in range(int(rng.integers(0, 5))):
        place = edge - side * float(rng.uniform(0.4, pavement - 0.5)), float(rng.uniform(4, 45))
        groups.append(_person(*place, rng))
    for y in rng.uniform(4, 50, int(rng.integers(0, 4))):
        groups.append(_bin(edge - side * 0.4, y, rng))
    return groups


def _garden(x: float, y: float, side: float, yard: float, rng: Rng) -> list[Thing]:
    """A hedge or a low wall before a house, and sometimes a bush or a tree behind it."""
    length = float(rng.uniform(5, 9))
    green = _vary(_pick(GREENS, rng), rng, 0.2)
    wall = partial(materials.masonry, colour=_pick(BRICKS, rng), joint=(0.3, 0.28, 0.25), cell=(0.225, 0.075), gap=0.011)
    leaves = partial(materials.foliage, colour=green, grain_m=0.9)
    size = (0.6, length, float(rng.uniform(0.8, 1.5)))
    things: list[Thing] = [(box((x, y, 0), size), leaves)] if rng.random() < 0.6 else [(box((x, y, 0), (0.25, length, 0.7)), wall)]
    if rng.random() < 0.5:
        return things + _tree(x + side * yard * 0.5, y, green, int(rng.integers(2**31)), 4.0)
    radius = np.array([0.9, 1.1, 0.9], np.float32) * np.float32(rng.uniform(0.5, 1.2))
    bush = Ellipsoid(np.array([x + side * 1.4, y, radius[2] * 0.6], np.float32), radius, 0.0)
    return [*things, (bush, leaves)]


def _tree(x: float, y: float, green: Rgb, seed: int, room: float) -> list[Thing]:
    """A trunk and a crown of leafy balls; the leaves' size grows with distance, to a pixel or two."""
    rng = np.random.default_rng(seed)
    trunk, radius = float(rng.uniform(2.2, 3.4)), float(rng.uniform(1.3, 2.0))
    bark = partial(materials.plain, colour=(0.11, 0.085, 0.06), mottle=0.3, grain_m=0.4)
    stem = Cylinder(np.array([x, y, 0], np.float32), 0.07 * radius + 0.04, trunk + radius * 0.8)
    things: list[Thing] = [(stem, bark)]
    leaf = max(0.22, 0.006 * math.hypot(x, y))
    tall = float(rng.uniform(0.9, 1.7))
    for _ in range(int(rng.integers(6, 9)) if y < 70 else 3):
        away = rng.normal(0, 0.5, 3).clip(-0.9, 0.9) * (radius, radius, radius * tall)
        size = radius * rng.uniform(0.55, 0.85, 3) * (1, 1, 0.85)
        centre = np.array([x, y, trunk + radius * tall]) + away
        shade = _vary(green, rng, 0.18)
        things.append((Ellipsoid(centre.astype(np.float32), size.astype(np.float32), leaf), partial(materials.foliage, colour=shade)))
    return things


def _street_lamp(x: float, y: float, side: float) -> list[Thing]:
    metal = partial(materials.plain, colour=(0.13, 0.14, 0.14))
    pole = Cylinder(np.array([x, y, 0], np.float32), 0.075, 6.2)
    foot = Cylinder(np.array([x, y, 0], np.float32), 0.12, 1.0)
    arm = box((x - side * 0.7, y, 6.1), (1.5, 0.08, 0.08))
    head = box((x - side * 1.35, y, 6.02), (0.7, 0.28, 0.1))
    return [(pole, metal), (foot, metal), (arm, metal), (head, metal)]


def _person(x: float, y: float, rng: Rng) -> list[Thing]:
    scale = float(rng.uniform(0.9, 1.06))
    coat, trousers = (partial(materials.plain, colour=_vary(_pick(CLOTHES, rng), rng, 0.3)) for _ in range(2))
    skin = partial(materials.plain, colour=_pick(((0.5, 0.31, 0.22), (0.25, 0.14, 0.09), (0.6, 0.4, 0.3)), rng))
    hair = partial(materials.plain, colour=_pick(((0.02, 0.015, 0.01), (0.12, 0.07, 0.03), (0.3, 0.28, 0.25)), rng))

    def ball(dx: float, dy: float, z: float, radii: tuple[float, float, float]) -> Ellipsoid:
        return Ellipsoid(np.array([x + dx, y + dy, z * scale], np.float32), np.array(radii, np.float32) * np.float32(scale))

    def limb(dx: float, dy: float, z: float, radius: float, length: float) -> Cylinder:
        return Cylinder(np.array([x + dx, y + dy, z * scale], np.float32), radius * scale, length * scale)

    step = float(rng.uniform(0.02, 0.16))
    legs: list[Thing] = [(limb(dx, dy, 0.12, 0.075, 0.8), trousers) for dx, dy in ((-0.09, step), (0.09, -step))]
    arms: list[Thing] = [(ball(dx, dy, 1.12, (0.06, 0.075, 0.33)), coat) for dx, dy in ((-0.24, -step), (0.24, step))]
    trunk: list[Thing] = [(ball(0, 0, 1.17, (0.22, 0.15, 0.34)), coat), (ball(0, 0, 0.9, (0.19, 0.15, 0.2)), trousers)]
    head: list[Thing] = [(ball(0, 0, 1.6, (0.085, 0.1, 0.125)), skin), (ball(0, 0.015, 1.65, (0.093, 0.105, 0.11)), hair)]
    return legs + arms + trunk + head


def _bin(x: float, y: float, rng: Rng) -> list[Thing]:
    colour = partial(materials.plain, colour=_vary(_pick(((0.03, 0.09, 0.04), (0.1, 0.1, 0.11), (0.03, 0.05, 0.12)), rng), rng, 0.2))
    if rng.random() < 0.5:
        return [(Cylinder(np.array([x, y, 0], np.float32), 0.27, 0.95), colour)]
    return [(box((x, y, 0.06), (0.56, 0.62, 0.98)), colour), (box((x, y, 1.04), (0.6, 0.68, 0.07)), colour)]


def _traffic(half: float, end: float, rng: Rng) -> list[list[Thing]]:
    lane = half / 2 if half < 6 else half / 4
    places = rng.uniform(8, 110, int(rng.integers(0, 4)))
    return [_car(float(rng.choice([-1, 1])) * lane, float(y), float(rng.choice([90, -90])), rng) for y in places]


def _car(x: float, y: float, yaw: float, rng: Rng) -> list[Thing]:
    """A car that heads to +y at a yaw of -90, to -y at 90."""
    scale = float(rng.uniform(0.94, 1.08))
    tall = float(rng.choice([1.0, 1.0, 1.15]))
    colour = _vary(_pick(CARS, rng), rng, 0.15)
    paint = partial(materials.lacquer, colour=colour)
    glass, rubber = partial(materials.glazed, colour=(0.012, 0.014, 0.016)), partial(materials.plain, colour=(0.015, 0.015, 0.016))
    rear = float(rng.choice([1.2, 1.9]))

    def part(profile: list[tuple[float, float]], width: float, paint: Paint, dx: float = 0.0, side: float = 0.0) -> Thing:
        shape = [(scale * (px + dx), scale * pz * tall) for px, pz in profile]
        return prism(shape, width, (x + side, y, 0.0), yaw), paint

    wheel = [(0.32 * math.cos(a), 0.32 + 0.32 * math.sin(a)) for a in np.arange(12) * math.pi / 6]
    hub = [(0.19 * math.cos(a), 0.32 + 0.19 * math.sin(a)) for a in np.arange(8) * math.pi / 4]
    body = [(-1.95, 0.22), (1.95, 0.22), (2.1, 0.42), (2.08, 0.68), (1.9, 0.8), (0.9, 0.93), (-1.95, 0.97), (-2.1, 0.75), (-2.1, 0.4)]
    cabin = [(-rear, 0.9), (1.0, 0.9), (0.3, 1.4), (-rear + 0.45, 1.43)]
    roof = [(-rear + 0.4, 1.4), (0.32, 1.37), (0.2, 1.45), (-rear + 0.5, 1.48)]
    things = [part(body, 1.74, paint), part(cabin, 1.5, glass), part(roof, 1.46, paint)]
    for post in (-0.45, -rear + 0.3):
        things.append(part([(-0.06, 0.9), (0.06, 0.9), (0.06, 1.4), (-0.06, 1.4)], 1.515, paint, post))
    for dx in (-1.3, 1.3):
        for side in (-0.8, 0.8):
            things.append(part(wheel, 0.2, rubber, dx, side))
        things.append(part(hub, 1.82, partial(materials.plain, colour=(0.3, 0.3, 0.31)), dx))
    red, white = partial(materials.plain, colour=(0.35, 0.015, 0.01)), partial(materials.lacquer, colour=(0.75, 0.75, 0.72))
    for side in (-0.68, 0.68):
        things.append(part([(-2.13, 0.62), (-2.0, 0.62), (-2.0, 0.82), (-2.13, 0.8)], 0.3, red, 0.0, side))
        things.append(part([(1.9, 0.56), (2.12, 0.56), (2.1, 0.7), (1.9, 0.72)], 0.36, white, 0.0, side))
    things.append(part([(-2.12, 0.42), (-2.0, 0.42), (-2.0, 0.54), (-2.12, 0.54)], 0.52, white))
    return things


def _horizon(style: str, end: float, rng: Rng) -> list[list[Thing]]:
    """What closes the view: woods and hills all around, and towers behind a city."""
    groups: list[list[Thing]] = []
    for angle in np.arange(-80, 81, 16.0) + rng.uniform(-5, 5):
        away, size = float(rng.uniform(430, 520)), rng.uniform((90, 50, 8), (160, 80, 45))
        centre = (away * math.sin(math.radians(angle)), away * math.cos(math.radians(angle)), -2.0)
        wood = partial(materials.foliage, colour=_vary((0.09, 0.12, 0.06), rng, 0.25), grain_m=20.0)
        groups.append([(Ellipsoid(np.array(centre, np.float32), size.astype(np.float32)), wood)])
    for _ in range(14):
        x, y, wide = float(rng.uniform(-140, 140)), end + float(rng.uniform(25, 150)), float(rng.uniform(12, 30))
        storeys = {"suburb": int(rng.integers(1, 4)), "town": int(rng.integers(2, 6)), "city": int(rng.integers(3, 22))}[style]
        groups.append(_building("city" if style == "city" else "town", 1.0, x, y, wide, storeys, rng))
    for _ in range(16):
        x, y = float(rng.uniform(-120, 120)), end + float(rng.uniform(8, 60))
        if abs(x) > 12:
            groups.append(_tree(x, y, _pick(GREENS, rng), int(rng.integers(2**31)), 5.0))
    return groups


def _pick(choices: Sequence[Rgb], rng: Rng) -> Rgb:
    return choices[int(rng.integers(len(choices)))]


def _vary(colour: Rgb, rng: Rng, spread: float) -> Rgb:
    """The colour, lighter or darker by up to `spread`, and each part of it by a quarter of that."""
    return tuple(np.clip(np.asarray(colour) * rng.uniform(1 - spread, 1 + spread) * rng.uniform(1 - spread / 4, 1 + spread / 4, 3), 0.005, 0.85))
