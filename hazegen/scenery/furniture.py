"""Pieces of furniture, each built at a place on a wall."""

from functools import partial

import numpy as np

from hazegen.scenery import materials
from hazegen.scenery.palette import BRICKS, CLOTHES, GREENS, PLASTERS, WOODS, Rng, pick, vary
from hazegen.scenery.patch import Paint
from hazegen.scenery.scene import Thing
from hazegen.scenery.shapes import Cylinder, Ellipsoid
from hazegen.scenery.spot import Spot


def bookcase(spot: Spot, wide: float, tall: float, rng: Rng) -> list[Thing]:
    """A case of shelves, most of them with books."""
    wood, deep, shelves = wood_paint(rng), 0.32, int(rng.integers(4, 7))
    step = (tall - 0.1) / shelves
    things = [spot.box((0, 0.01, 0), (wide, 0.02, tall), wood)]
    things += [spot.box((side * (wide / 2 - 0.012), deep / 2, 0), (0.024, deep, tall), wood) for side in (-1, 1)]
    for shelf in range(shelves + 1):
        z = 0.06 + shelf * step
        things.append(spot.box((0, deep / 2, z), (wide - 0.05, deep, 0.024), wood))
        if shelf < shelves and rng.random() < 0.88:
            across = (wide - 0.06) * float(rng.uniform(0.45, 1.0))
            middle = float(rng.choice([-1, 1])) * (wide - 0.06 - across) / 2
            books = partial(materials.spines, colour=pick(BRICKS + WOODS, rng), seed=int(rng.integers(1000)))
            things.append(
                spot.box(
                    (middle, 0.13, z + 0.024),
                    (across, 0.2, (step - 0.03) * float(rng.uniform(0.7, 0.92))),
                    books,
                )
            )
    return things


def cupboard(spot: Spot, wide: float, tall: float, rng: Rng) -> list[Thing]:
    """A cupboard with doors and knobs."""
    wood, deep = wood_paint(rng), float(rng.uniform(0.4, 0.6)) if tall > 1 else 0.42
    metal = partial(materials.lacquer, colour=(0.35, 0.34, 0.32))
    foot = 0.08
    things = [
        spot.box((0, deep / 2, foot), (wide, deep, tall - foot), wood),
        spot.box((0, deep / 2 - 0.03, 0), (wide - 0.06, deep - 0.06, foot), wood),
    ]
    doors = max(2, round(wide / 0.5))
    for door in range(doors):
        x = (door + 0.5) * wide / doors - wide / 2
        things.append(spot.box((x, deep + 0.01, foot + 0.02), (wide / doors - 0.012, 0.02, tall - foot - 0.04), wood))
        knob = x + (wide / doors / 2 - 0.06) * (1 if door % 2 == 0 else -1)
        things.append(spot.box((knob, deep + 0.035, tall * 0.5), (0.018, 0.03, 0.12), metal))
    return things


def sideboard(spot: Spot, wide: float, tall: float, rng: Rng) -> list[Thing]:
    """A low cupboard with a screen, a lamp or vases on it."""
    things = cupboard(spot, wide, tall, rng)
    if rng.random() < 0.45:
        dark = partial(materials.glazed, colour=(0.01, 0.01, 0.012))
        across = min(wide * 0.85, 1.25)
        things.append(spot.box((0, 0.2, tall + 0.07), (across, 0.04, across * 0.56), dark))
        return [*things, spot.box((0, 0.2, tall), (across * 0.4, 0.18, 0.07), dark)]
    for x in rng.uniform(-0.4, 0.4, int(rng.integers(1, 4))) * wide:
        clay = partial(materials.plain, colour=vary(pick(BRICKS + PLASTERS + CLOTHES, rng), rng, 0.2))
        base = np.array(spot.at(float(x), 0.2, tall), np.float32)
        things.append((Cylinder(base, float(rng.uniform(0.04, 0.09)), float(rng.uniform(0.12, 0.34))), clay))
    return things


def sofa(spot: Spot, wide: float, tall: float, rng: Rng) -> list[Thing]:
    """A sofa with seats, arms, a back and a pillow."""
    cloth, cushion, deep = _cloth(rng), _cloth(rng), 0.88
    things = [
        spot.box((0, deep / 2 + 0.02, 0.1), (wide, deep, 0.2), cloth),
        spot.box((0, 0.13, 0.3), (wide, 0.22, tall - 0.3), cloth),
    ]
    things += [
        spot.box((side * (wide / 2 - 0.09), deep / 2 + 0.02, 0.3), (0.18, deep, 0.28), cloth) for side in (-1, 1)
    ]
    seats = max(1, round((wide - 0.36) / 0.7))
    for seat in range(seats):
        across = (wide - 0.36) / seats
        x = (seat + 0.5) * across - (wide - 0.36) / 2
        things.append(spot.box((x, 0.57, 0.3), (across - 0.015, 0.66, 0.14), cloth))
        things.append(spot.box((x, 0.31, 0.44), (across - 0.03, 0.14, 0.32), cloth))
    pillow = _pillow(spot, (float(rng.uniform(-0.3, 0.3)) * wide, 0.45, 0.6), (0.22, 0.1, 0.19), cushion)
    feet = partial(materials.plain, colour=(0.05, 0.04, 0.03))
    things += [
        spot.box((x, y, 0), (0.06, 0.06, 0.1), feet)
        for x in (-wide / 2 + 0.08, wide / 2 - 0.08)
        for y in (0.1, deep - 0.06)
    ]
    return [*things, pillow]


def bed(spot: Spot, wide: float, tall: float, rng: Rng) -> list[Thing]:
    """A bed with its head at the wall, a blanket and two pillows."""
    wood, sheet = wood_paint(rng), partial(materials.plain, colour=(0.66, 0.65, 0.63), mottle=0.05, grain_m=0.4)
    things = [
        spot.box((0, 0.03, 0), (wide, 0.06, tall + 0.3), wood),
        spot.box((0, 1.05, 0.12), (wide, 2.0, 0.18), wood),
    ]
    things += [
        spot.box((0, 1.04, 0.3), (wide - 0.06, 1.94, 0.2), sheet),
        spot.box((0, 1.36, 0.3), (wide + 0.02, 1.4, 0.25), _cloth(rng)),
    ]
    for x in (-wide / 4, wide / 4):
        things.append(_pillow(spot, (x, 0.33, 0.55), (wide * 0.2, 0.2, 0.1), sheet))
    return things + [
        spot.box((x, y, 0), (0.07, 0.07, 0.13), wood) for x in (-wide / 2 + 0.06, wide / 2 - 0.06) for y in (0.1, 2.0)
    ]


def _pillow(spot: Spot, place: tuple[float, float, float], radii: tuple[float, float, float], paint: Paint) -> Thing:
    turned = np.abs(np.array(spot.at(*radii)) - np.array(spot.at(0, 0, 0)))
    return Ellipsoid(np.array(spot.at(*place), np.float32), turned.astype(np.float32)), paint


def table(spot: Spot, size: tuple[float, float, float], y: float, paint: Paint) -> list[Thing]:
    """A top of `size` (wide, deep, tall) on four legs, `y` metres from the wall to its middle."""
    wide, deep, tall = size
    things = [spot.box((0, y, tall - 0.035), (wide, deep, 0.035), paint)]
    for x in (-wide / 2 + 0.07, wide / 2 - 0.07):
        things += [
            spot.box((x, y + side * (deep / 2 - 0.07), 0), (0.055, 0.055, tall - 0.035), paint) for side in (-1, 1)
        ]
    return things


def chair(spot: Spot, x: float, y: float, back: float, paint: Paint) -> list[Thing]:
    """A chair whose back stands towards `back`, +1 away from the wall, -1 towards it."""
    things = [
        spot.box((x, y, 0.42), (0.42, 0.42, 0.04), paint),
        spot.box((x, y + back * 0.19, 0.62), (0.4, 0.025, 0.3), paint),
    ]
    for dx in (-0.18, 0.18):
        things.append(spot.box((x + dx, y - back * 0.18, 0), (0.035, 0.035, 0.42), paint))
        things.append(spot.box((x + dx, y + back * 0.19, 0), (0.035, 0.03, 0.9), paint))
    return things


def desk(spot: Spot, wide: float, tall: float, rng: Rng) -> list[Thing]:
    """A desk with a screen and a chair."""
    things = table(spot, (wide, 0.65, tall), 0.35, wood_paint(rng))
    dark = partial(materials.glazed, colour=(0.012, 0.012, 0.014))
    things += [
        spot.box((0, 0.2, tall + 0.1), (0.56, 0.03, 0.34), dark),
        spot.box((0, 0.19, tall), (0.2, 0.16, 0.1), dark),
    ]
    return things + chair(spot, float(rng.uniform(-0.15, 0.15)), 0.75, 1.0, wood_paint(rng))


def doorway(spot: Spot, wide: float, tall: float, rng: Rng) -> list[Thing]:
    """A door of two panels, its frame and its handle."""
    white = partial(materials.plain, colour=(0.66, 0.65, 0.62), mottle=0.02)
    leaf = white if rng.random() < 0.6 else wood_paint(rng)
    things = [spot.box((side * (wide / 2 - 0.045), 0.02, 0), (0.09, 0.04, tall), white) for side in (-1, 1)]
    things += [
        spot.box((0, 0.02, tall - 0.02), (wide, 0.04, 0.09), white),
        spot.box((0, 0.008, 0), (wide - 0.18, 0.016, tall - 0.02), leaf),
    ]
    for z, up in ((0.18, 0.65), (1.0, 0.85)):
        things += [spot.box((x, 0.014, z), (0.27, 0.028, up), leaf) for x in (-0.18, 0.18)]
    return [
        *things,
        spot.box(
            (wide / 2 - 0.2, 0.04, 1.02),
            (0.12, 0.05, 0.025),
            partial(materials.lacquer, colour=(0.4, 0.38, 0.33)),
        ),
    ]


def potted_plant(spot: Spot, _wide: float, _tall: float, rng: Rng) -> list[Thing]:
    """A pot with leaves, of a size of its own."""
    pot = partial(materials.plain, colour=vary(pick(BRICKS + PLASTERS, rng), rng, 0.2))
    things: list[Thing] = [(Cylinder(np.array(spot.at(0, 0.33, 0), np.float32), 0.17, 0.34), pot)]
    for _ in range(5):
        x, y, z = rng.uniform((-0.13, 0.28, 0.5), (0.13, 0.42, 1.1))
        radii = rng.uniform(0.14, 0.24, 3).astype(np.float32)
        green = partial(materials.foliage, colour=vary((0.06, 0.13, 0.04), rng, 0.2), grain_m=0.3)
        things.append((Ellipsoid(np.array(spot.at(x, y, z), np.float32), radii, 0.045), green))
    return things


def crates(spot: Spot, wide: float, tall: float, rng: Rng) -> list[Thing]:
    """Two cardboard boxes, one on the other."""
    card = partial(materials.plain, colour=vary((0.4, 0.28, 0.17), rng, 0.15), mottle=0.05)
    low = tall * float(rng.uniform(0.5, 0.65))
    return [
        spot.box((0, 0.3, 0), (wide, 0.5, low), card),
        spot.box((0.04, 0.28, low), (wide * 0.7, 0.4, tall - low), card),
    ]


def framed_picture(spot: Spot, wide: float, rng: Rng) -> list[Thing]:
    """A print at eye level on the wall."""
    across = float(rng.uniform(0.4, 1.0)) * wide
    up = across * float(rng.uniform(0.6, 1.2))
    seed, colours = int(rng.integers(100)), BRICKS + PLASTERS + GREENS
    print_ = partial(
        materials.picture,
        colour=vary(pick(PLASTERS, rng), rng, 0.2),
        second=vary(pick(colours, rng), rng, 0.3),
        seed=seed,
    )
    return [spot.box((float(rng.uniform(-0.15, 0.15)) * wide, 0.015, 1.62 - up / 2), (across, 0.03, up), print_)]


def wood_paint(rng: Rng) -> Paint:
    """Boards of wood, or painted white or grey."""
    colour = vary(pick((*WOODS, (0.66, 0.65, 0.62), (0.2, 0.21, 0.22)), rng), rng, 0.15)
    return partial(
        materials.masonry,
        colour=colour,
        joint=colour,
        cell=(4.0, 0.11),
        gap=0.0005,
        shift=1.0,
        vary=0.07,
        seed=int(rng.integers(1000)),
    )


def _cloth(rng: Rng) -> Paint:
    colour = vary(pick((*CLOTHES[1:5], (0.3, 0.3, 0.3), (0.45, 0.42, 0.37)), rng), rng, 0.25)
    return partial(materials.plain, colour=colour, mottle=0.1, grain_m=0.2)
