"""Which furniture a room gets, and where it stands."""

from functools import partial

from hazegen.scenery import materials
from hazegen.scenery.furniture import (
    bed,
    bookcase,
    chair,
    crates,
    cupboard,
    desk,
    doorway,
    framed_picture,
    potted_plant,
    sideboard,
    sofa,
    table,
    wood_paint,
)
from hazegen.scenery.palette import CLOTHES, PLASTERS, Rng, pick, vary
from hazegen.scenery.scene import Thing
from hazegen.scenery.spot import Spot


def along_wall(
    spot: Spot, length: float, window: tuple[float, float] | None, side: bool, taken: set[str], rng: Rng
) -> list[list[Thing]]:
    """Furniture in a row along a wall, clear of its window, and pictures above what is low.

    `taken` gathers what the room has, so that it gets one bed, desk, door and sofa at most.
    """
    groups: list[list[Thing]] = []
    x, end = -length / 2 + (1.0 if side else 0.1), length / 2 - (1.0 if side else 0.1)
    while x < end - 0.5:
        x += float(rng.exponential(0.18))
        name = str(rng.choice(list(_FURNITURE), p=(0.16, 0.13, 0.17, 0.15, 0.08, 0.11, 0.1, 0.06, 0.04)))
        if name in taken:
            continue
        wide, tall = _furniture_size(name, rng)
        if x + wide > end:
            break
        taken |= {name} & {"sofa", "bed", "desk", "door"}
        covered = window is not None and x < window[1] and x + wide > window[0]
        if not (covered and tall > 0.75):
            place = Spot(*spot.at(x + wide / 2, 0, 0)[:2], spot.yaw_deg)
            groups.append(_FURNITURE[name](place, wide, tall, rng))
            if tall < 1.0 and not covered and rng.random() < 0.7:
                groups.append(framed_picture(place, min(wide, 1.1), rng))
        x += wide
    return groups


def _furniture_size(name: str, rng: Rng) -> tuple[float, float]:
    """Width and height [m] of a piece of furniture."""
    wide, tall = {
        "bookcase": ((0.7, 1.3), (1.6, 2.2)),
        "cupboard": ((0.9, 1.6), (1.8, 2.2)),
        "sideboard": ((1.1, 1.8), (0.45, 0.9)),
        "sofa": ((1.5, 2.3), (0.75, 0.75)),
        "bed": ((1.2, 1.8), (0.7, 0.7)),
        "desk": ((1.1, 1.6), (0.73, 0.73)),
        "door": ((0.95, 0.95), (2.06, 2.06)),
        "plant": ((0.6, 0.7), (0.74, 0.74)),
        "crates": ((0.5, 0.8), (0.6, 0.7)),
    }[name]
    return float(rng.uniform(*wide)), float(rng.uniform(*tall))


_FURNITURE = {
    "bookcase": bookcase,
    "cupboard": cupboard,
    "sideboard": sideboard,
    "sofa": sofa,
    "bed": bed,
    "desk": desk,
    "door": doorway,
    "plant": potted_plant,
    "crates": crates,
}


def in_the_middle(wide: float, deep: float, rng: Rng) -> list[list[Thing]]:
    """A rug, and on it a low table or a table with chairs, where the room is large enough."""
    groups: list[list[Thing]] = []
    spot = Spot(float(rng.uniform(-0.08, 0.08)) * wide, deep * float(rng.uniform(0.5, 0.6)), 0.0)
    if rng.random() < 0.6:
        colour = vary(pick((*CLOTHES[1:4], *PLASTERS), rng), rng, 0.2)
        rug = partial(
            materials.striped,
            colour=colour,
            second=tuple(0.7 * part for part in colour),
            period=0.35,
            width=0.1,
        )
        groups.append([spot.box((0, 0, 0), (min(2.4, wide - 2.0), min(1.7, deep - 2.4), 0.012), rug)])
    if wide > 3.6 and rng.random() < 0.75:
        wood, seats = wood_paint(rng), wood_paint(rng)
        if rng.random() < 0.5:
            groups.append(table(spot, (float(rng.uniform(0.8, 1.2)), 0.6, 0.42), 0.0, wood))
        else:
            groups.append(table(spot, (float(rng.uniform(1.0, 1.5)), 0.85, 0.74), 0.0, wood))
            groups += [
                chair(spot, x, side * 0.62, side, seats)
                for x in (-0.3, 0.3)
                for side in (-1.0, 1.0)
                if rng.random() < 0.8
            ]
    return groups
