"""What encloses a room: floor, walls, ceiling, skirting and a window."""

from functools import partial

import numpy as np

from hazegen.scenery import materials
from hazegen.scenery.palette import CLOTHES, GREENS, PLASTERS, WOODS, Rgb, Rng, pick, vary
from hazegen.scenery.patch import Look, Paint, Patch
from hazegen.scenery.scene import Thing
from hazegen.scenery.shapes import box
from hazegen.scenery.spot import Spot
from hazegen.scenery.vectors import Floats


def shell_paint(patch: Patch, floor: Paint, wall: Paint, ceiling: Rgb) -> Look:
    """The paint of a room seen from inside, by the face: floor, ceiling or wall."""
    if patch.face == 0:
        return floor(patch)
    return materials.plain(patch, ceiling, 0.015) if patch.face == 2 else wall(patch)


def floor_paint(rng: Rng) -> Paint:
    """Boards, tiles or carpet."""
    kind, seed = int(rng.integers(3)), int(rng.integers(1000))
    if kind == 0:
        colour = vary(pick(WOODS, rng), rng, 0.2)
        joint = tuple(0.35 * part for part in colour)
        return partial(
            materials.masonry,
            colour=colour,
            joint=joint,
            cell=(1.3, 0.14),
            gap=0.004,
            shift=1.0,
            vary=0.22,
            seed=seed,
        )
    if kind == 1:
        size, colour = float(rng.uniform(0.25, 0.6)), vary((0.5, 0.46, 0.41), rng, 0.35)
        return partial(
            materials.masonry,
            colour=colour,
            joint=(0.25, 0.24, 0.22),
            cell=(size, size),
            gap=0.006,
            shift=0.0,
            vary=0.07,
            seed=seed,
        )
    return partial(
        materials.plain,
        colour=vary(((0.3, 0.27, 0.23), (0.16, 0.18, 0.22), (0.3, 0.2, 0.16))[rng.integers(3)], rng, 0.2),
        mottle=0.12,
        grain_m=0.25,
    )


def wallpaper(rng: Rng) -> Paint:
    """Plain, striped or panelled walls."""
    colour = vary(pick((*PLASTERS, (0.42, 0.5, 0.47), (0.4, 0.46, 0.55), (0.7, 0.68, 0.65)), rng), rng, 0.12)
    kind = rng.choice(3, p=(0.6, 0.25, 0.15))
    if kind == 0:
        return partial(materials.plain, colour=colour, mottle=0.02)
    if kind == 1:
        second = tuple(np.clip(np.asarray(colour) * rng.uniform(0.8, 1.12), 0, 0.8))
        return partial(
            materials.striped, colour=colour, second=second, period=float(rng.uniform(0.08, 0.3)), width=0.05
        )
    joint = tuple(0.6 * part for part in colour)
    return partial(materials.masonry, colour=colour, joint=joint, cell=(0.9, 2.4), gap=0.012, shift=0.0, vary=0.03)


def skirting(wide: float, deep: float, rng: Rng) -> list[Thing]:
    """Boards along the foot of three walls."""
    paint = partial(materials.plain, colour=(0.65, 0.64, 0.61) if rng.random() < 0.6 else pick(WOODS, rng), mottle=0.03)
    size = float(rng.uniform(0.07, 0.13))
    rails = [(box((side * (wide / 2 - 0.009), deep / 2, 0), (0.018, deep, size)), paint) for side in (-1, 1)]
    return [*rails, (box((0, deep - 0.009, 0), (wide, 0.018, size)), paint)]


def window_in(
    spot: Spot, length: float, high: float, night: bool, rng: Rng
) -> tuple[list[Thing], tuple[float, float], Floats]:
    """A window with frame, sill and curtains; its place along the wall; its corners in the world (2, 3)."""
    wide, tall, sill = (
        float(rng.uniform(1.1, min(2.6, length - 1.4))),
        float(rng.uniform(1.1, 1.5)),
        float(rng.uniform(0.75, 0.95)),
    )
    middle = float(rng.uniform(-0.15, 0.15)) * (length - wide)
    bright, seed = (0.03 if night else float(rng.uniform(1.6, 3.0))), int(rng.integers(100))
    pane = partial(materials.outdoors, brightness=bright, green=pick(GREENS, rng), seed=seed)
    white = partial(materials.plain, colour=(0.68, 0.67, 0.65), mottle=0.02)
    things = [spot.box((middle, 0.005, sill), (wide, 0.01, tall), pane)]
    bars = [
        (middle - wide / 2, sill, 0.07, tall),
        (middle + wide / 2, sill, 0.07, tall),
        (middle, sill, 0.06, tall),
    ]
    things += [spot.box((x, 0.03, z), (across, 0.06, up), white) for x, z, across, up in bars]
    for z, out in ((sill - 0.04, 0.2), (sill + tall - 0.03, 0.06), (sill + tall * 0.68, 0.05)):
        things.append(spot.box((middle, out / 2, z), (wide + 0.1, out, 0.05), white))
    if rng.random() < 0.6:
        things += _curtains(spot, middle, wide, min(high - 0.08, sill + tall + 0.22), rng)
    else:
        ribs = partial(materials.striped, colour=(0.66, 0.65, 0.63), second=(0.36, 0.36, 0.35), period=0.06, width=0.02)
        things.append(spot.box((middle, 0.09, 0.12), (wide * 0.8, 0.09, 0.5), ribs))
    corners = np.array(
        [spot.at(middle - wide / 2, 0.0, sill), spot.at(middle + wide / 2, 0.0, sill + tall)], np.float32
    )
    return things, (middle - wide / 2 - 0.4, middle + wide / 2 + 0.4), corners


def _curtains(spot: Spot, middle: float, wide: float, rail: float, rng: Rng) -> list[Thing]:
    """Two curtains beside a window and the rail, at the height `rail`, that they hang from."""
    colour = vary(pick((*CLOTHES[1:4], *PLASTERS), rng), rng, 0.2)
    folds = tuple(0.62 * part for part in colour)
    cloth = partial(materials.striped, colour=colour, second=folds, period=0.11, width=0.05)
    pole = partial(materials.plain, colour=(0.5, 0.48, 0.45))
    hang = wide / 2 + 0.17
    things = [spot.box((middle + side * hang, 0.12, 0.05), (0.36, 0.1, rail - 0.06), cloth) for side in (-1, 1)]
    return [*things, spot.box((middle, 0.12, rail), (wide + 0.9, 0.03, 0.03), pole)]
