"""What stands on a pavement: street lamps, people and bins."""

from functools import partial

import numpy as np

from hazegen.scenery import materials
from hazegen.scenery.palette import CLOTHES, Rng, pick, vary
from hazegen.scenery.scene import Thing
from hazegen.scenery.shapes import Cylinder, Ellipsoid, box


def street_lamp(x: float, y: float, side: float) -> list[Thing]:
    """A pole with an arm over the road."""
    metal = partial(materials.plain, colour=(0.13, 0.14, 0.14))
    pole = Cylinder(np.array([x, y, 0], np.float32), 0.075, 6.2)
    foot = Cylinder(np.array([x, y, 0], np.float32), 0.12, 1.0)
    arm = box((x - side * 0.7, y, 6.1), (1.5, 0.08, 0.08))
    head = box((x - side * 1.35, y, 6.02), (0.7, 0.28, 0.1))
    return [(pole, metal), (foot, metal), (arm, metal), (head, metal)]


def person(x: float, y: float, rng: Rng) -> list[Thing]:
    """Somebody who stands or walks along the road."""
    scale = float(rng.uniform(0.9, 1.06))
    coat, trousers = (partial(materials.plain, colour=vary(pick(CLOTHES, rng), rng, 0.3)) for _ in range(2))
    skin = partial(materials.plain, colour=pick(((0.5, 0.31, 0.22), (0.25, 0.14, 0.09), (0.6, 0.4, 0.3)), rng))
    hair = partial(materials.plain, colour=pick(((0.02, 0.015, 0.01), (0.12, 0.07, 0.03), (0.3, 0.28, 0.25)), rng))

    def ball(dx: float, dy: float, z: float, radii: tuple[float, float, float]) -> Ellipsoid:
        return Ellipsoid(
            np.array([x + dx, y + dy, z * scale], np.float32), np.array(radii, np.float32) * np.float32(scale)
        )

    def limb(dx: float, dy: float, z: float, radius: float, length: float) -> Cylinder:
        return Cylinder(np.array([x + dx, y + dy, z * scale], np.float32), radius * scale, length * scale)

    step = float(rng.uniform(0.02, 0.16))
    legs: list[Thing] = [(limb(dx, dy, 0.12, 0.075, 0.8), trousers) for dx, dy in ((-0.09, step), (0.09, -step))]
    arms: list[Thing] = [
        (ball(dx, dy, 1.12, (0.055, 0.07, 0.32)), coat) for dx, dy in ((-0.215, -step / 2), (0.215, step / 2))
    ]
    trunk: list[Thing] = [
        (ball(0, 0, 1.17, (0.22, 0.15, 0.34)), coat),
        (ball(0, 0, 0.9, (0.19, 0.15, 0.2)), trousers),
    ]
    head: list[Thing] = [
        (ball(0, 0, 1.6, (0.085, 0.1, 0.125)), skin),
        (ball(0, 0.015, 1.65, (0.093, 0.105, 0.11)), hair),
    ]
    return legs + arms + trunk + head


def litter_bin(x: float, y: float, rng: Rng) -> list[Thing]:
    """A round or a wheeled bin."""
    colour = partial(
        materials.plain,
        colour=vary(pick(((0.03, 0.09, 0.04), (0.1, 0.1, 0.11), (0.03, 0.05, 0.12)), rng), rng, 0.2),
    )
    if rng.random() < 0.5:
        return [(Cylinder(np.array([x, y, 0], np.float32), 0.27, 0.95), colour)]
    return [(box((x, y, 0.06), (0.56, 0.62, 0.98)), colour), (box((x, y, 1.04), (0.6, 0.68, 0.07)), colour)]
