"""Buildings: walls, windows, balconies and roofs."""

from functools import partial

from hazegen.scenery import materials
from hazegen.scenery.facades import Windows, facade
from hazegen.scenery.palette import BRICKS, CARS, PLASTERS, WOODS, Rgb, Rng, pick, vary
from hazegen.scenery.patch import Look, Paint, Patch
from hazegen.scenery.scene import Thing
from hazegen.scenery.shapes import box, prism


def building(style: str, side: float, front: float, y: float, wide: float, storeys: int, rng: Rng) -> list[Thing]:
    """Walls under a pitched roof or a parapet; `front` is how far they stand from the middle of the road."""
    deep, storey = float(rng.uniform(8.5, 14)), float(rng.uniform(2.8, 3.5))
    high = storeys * storey
    wall, colour = _wall(style, rng)
    windows = _windows(style, wall, storey, rng)
    roof = vary(((0.2, 0.08, 0.05), (0.09, 0.09, 0.1), (0.14, 0.12, 0.1))[rng.integers(3)], rng, 0.2)
    x = side * (front + deep / 2)
    things: list[Thing] = [
        (
            box((x, y, 0), (deep, wide, high)),
            partial(facade, windows=windows, roof=(0.2, 0.2, 0.19)),
        )
    ]
    if style == "suburb" or (style == "town" and rng.random() < 0.65):
        return things + _pitched(x, y, deep, wide, high, roof, colour, style, rng)
    trim = partial(materials.plain, colour=vary(colour, rng, 0.15))
    things.append((box((x, y, high), (deep + 0.5, wide, 0.45)), trim))
    if storeys > 2 and y < 120 and rng.random() < 0.6:
        things.append((box((x, y, storey - 0.15), (deep + 0.3, wide, 0.3)), trim))
    if rng.random() < 0.6:
        things.append((box((x, y + float(rng.uniform(-2, 2)), high + 0.4), (deep * 0.4, wide * 0.3, 2.4)), trim))
    if rng.random() < 0.45:
        things += _balconies(side * front, side, y, wide, storeys, storey, windows, trim)
    return things


def _balconies(
    x: float, side: float, y: float, wide: float, storeys: int, storey: float, windows: Windows, trim: Paint
) -> list[Thing]:
    bays = max(1, round(wide / windows.bay))
    rail = partial(materials.striped, colour=(0.03, 0.03, 0.03), second=(0.25, 0.25, 0.25), period=0.12, width=0.07)
    things: list[Thing] = []
    for level in range(1, min(storeys, 6) if y < 50 else 0):
        for bay in range(0, bays, 2):
            middle = y - wide / 2 + (bay + 0.5) * wide / bays
            across = min(windows.bay * 0.9, wide / bays * 0.9)
            things.append((box((x - side * 0.5, middle, level * storey), (1.0, across, 0.15)), trim))
            things.append((box((x - side * 0.97, middle, level * storey + 0.15), (0.06, across, 0.85)), rail))
    return things[:24]


def _pitched(
    x: float, y: float, deep: float, wide: float, high: float, roof: Rgb, wall: Rgb, style: str, rng: Rng
) -> list[Thing]:
    tiles = partial(
        materials.masonry,
        colour=roof,
        joint=tuple(0.5 * part for part in roof),
        cell=(0.3, 0.22),
        gap=0.02,
        vary=0.2,
    )
    across = style == "suburb" and rng.random() < 0.5
    span, length = (wide, deep) if across else (deep, wide)
    over = 0.4 if style == "suburb" else 0.0
    rise = span / 2 * float(rng.uniform(0.55, 0.95))
    profile = [(-span / 2 - 0.35, high - 0.05), (span / 2 + 0.35, high - 0.05), (0.0, high + rise)]
    gable = partial(_by_face, first=tiles, faces=(1, 2), second=partial(materials.plain, colour=wall))
    things: list[Thing] = [(prism(profile, length + over, (x, y, 0), 90.0 if across else 0.0), gable)]
    stack = partial(materials.masonry, colour=pick(BRICKS, rng), joint=(0.3, 0.28, 0.25), cell=(0.22, 0.075), gap=0.01)
    place = (x + float(rng.uniform(-1, 1)), y + float(rng.uniform(-0.3, 0.3)) * wide, high + rise * 0.4)
    things.append((box(place, (0.6, 0.9, rise * 0.6 + 1.0)), stack))
    return things


def _by_face(patch: Patch, first: Paint, faces: tuple[int, ...], second: Paint) -> Look:
    return first(patch) if patch.face in faces else second(patch)


def _wall(style: str, rng: Rng) -> tuple[Paint, Rgb]:
    kind = rng.choice(
        4, p={"suburb": (0.5, 0.5, 0, 0), "town": (0.4, 0.5, 0.1, 0), "city": (0.2, 0.2, 0.35, 0.25)}[style]
    )
    seed = int(rng.integers(1000))
    if kind == 0:
        colour = vary(pick(BRICKS, rng), rng, 0.2)
        mortar = (0.36, 0.34, 0.3)
        return partial(
            materials.masonry,
            colour=colour,
            joint=mortar,
            cell=(0.225, 0.075),
            gap=0.011,
            vary=0.25,
            seed=seed,
        ), colour
    if kind == 1:
        colour = vary(pick(PLASTERS, rng), rng, 0.12)
        return partial(materials.plain, colour=colour, mottle=0.05), colour
    colour = vary((0.42, 0.41, 0.39) if kind == 2 else (0.12, 0.15, 0.17), rng, 0.2)
    return partial(
        materials.masonry,
        colour=colour,
        joint=(0.15, 0.15, 0.15),
        cell=(2.4, 1.2),
        gap=0.03,
        shift=0.0,
        seed=seed,
    ), colour


def _windows(style: str, wall: Paint, storey: float, rng: Rng) -> Windows:
    frame = ((0.7, 0.69, 0.66), (0.06, 0.06, 0.06), (0.2, 0.12, 0.07))[rng.choice(3, p=(0.6, 0.25, 0.15))]
    shop = vary(pick(CARS[2:6] + WOODS, rng), rng, 0.2) if style != "suburb" and rng.random() < 0.65 else None
    bay = float(rng.uniform(2.2, 3.6))
    wide = bay * float(rng.uniform(0.32, 0.55) if style != "city" else rng.uniform(0.45, 0.9))
    high = storey * float(rng.uniform(0.42, 0.62))
    return Windows(wall, bay, storey, wide, high, frame, shop, int(rng.integers(1000)))
