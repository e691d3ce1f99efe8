"""The layout of a room."""

from functools import partial

import numpy as np

from hazegen.geometry import camera_from_fov
from hazegen.scenery import materials
from hazegen.scenery.furnishing import along_wall, in_the_middle
from hazegen.scenery.lights import room_light
from hazegen.scenery.palette import Rng
from hazegen.scenery.scene import Scene, Thing, clear_of, posed_view
from hazegen.scenery.shapes import Cylinder, box
from hazegen.scenery.spot import Spot
from hazegen.scenery.view import View
from hazegen.scenery.walls import floor_paint, shell_paint, skirting, wallpaper, window_in


def room(width: int, height: int, rng: Rng) -> Scene:
    """A furnished room with a window, by day or, one in five, by lamplight."""
    wide, deep, high = (
        float(rng.uniform(3.2, 6.2)),
        float(rng.uniform(3.8, 7.2)),
        float(rng.uniform(2.4, 3.1)),
    )
    view, pose = _room_view(width, height, wide, rng)
    night = bool(rng.random() < 0.2)
    sides = {
        "left": (Spot(-wide / 2, deep / 2, 90), deep),
        "right": (Spot(wide / 2, deep / 2, -90), deep),
        "back": (Spot(0, deep, 180), wide),
    }
    lighted = ("left", "right", "back")[rng.integers(3)]
    shell = partial(shell_paint, floor=floor_paint(rng), wall=wallpaper(rng), ceiling=(0.74, 0.73, 0.71))
    things: list[Thing] = [(box((0, deep / 2, 0), (wide, deep, high), inside=True), shell)]
    groups = [skirting(wide, deep, rng)]
    window, opening, lamp = window_in(*sides[lighted], high, night, rng)
    groups.append(window)
    taken: set[str] = set()
    for name, (spot, length) in sides.items():
        groups += along_wall(spot, length, opening if name == lighted else None, name != "back", taken, rng)
    groups += in_the_middle(wide, deep, rng) + [_ceiling_lamp(deep, high, night)]
    things += clear_of(groups, view.origin, 0.45)
    lamps, sky = room_light(sides[lighted][0], lamp, deep, high, night, rng)
    return Scene(things, view, pose, lamps, sky, 0.55 if night else 0.75, None, 0.45)


def _room_view(width: int, height: int, wide: float, rng: Rng) -> tuple[View, dict[str, float]]:
    camera = camera_from_fov(float(rng.uniform(55, 88)), width, height)
    x, y, z = (
        float(rng.uniform(-0.3, 0.3)) * wide,
        float(rng.uniform(0.35, 0.9)),
        float(rng.uniform(1.1, 1.75)),
    )
    yaw = float(np.clip(-x / wide * 60 + rng.normal(0, 14), -38, 38))
    return posed_view(camera, (x, y, z), yaw, float(rng.normal(-6 * (z - 0.7), 4.0)), float(rng.normal(0, 0.8)))


def _ceiling_lamp(deep: float, high: float, night: bool) -> list[Thing]:
    shade = (
        partial(materials.glowing, colour=(1.6, 1.35, 1.0))
        if night
        else partial(materials.plain, colour=(0.66, 0.64, 0.6))
    )
    cord = partial(materials.plain, colour=(0.05, 0.05, 0.05))
    at = np.array([0, deep * 0.5, high - 0.42], np.float32)
    return [
        (Cylinder(at, 0.008, 0.42), cord),
        (Cylinder(at - np.array([0, 0, 0.1], np.float32), 0.2, 0.16), shade),
    ]
