"""Cars, with more parts the nearer they are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from hazegen.scenery import materials
from hazegen.scenery.palette import CARS, Rng, pick, vary
from hazegen.scenery.patch import Paint
from hazegen.scenery.scene import Thing
from hazegen.scenery.shapes import prism

CAR_BODY = ((-1.95, 0.22), (1.95, 0.22), (2.1, 0.42), (2.08, 0.68), (1.9, 0.8), (0.9, 0.93), (-1.95, 0.97))
CAR_REAR = ((-2.1, 0.75), (-2.1, 0.4))


@dataclass(frozen=True)
class Car:
    """Where a car stands, its yaw (it heads to +y at -90, to -y at 90) and its scale along and up."""

    x: float
    y: float
    yaw_deg: float
    long: float
    tall: float

    def part(self, profile: Sequence[tuple[float, float]], width: float, paint: Paint, side: float = 0.0) -> Thing:
        """A profile (ahead, up) drawn out across the car."""
        shape = [(self.long * ahead, self.tall * up) for ahead, up in profile]
        return prism(shape, width, (self.x + side, self.y, 0.0), self.yaw_deg), paint


def car_at(x: float, y: float, yaw: float, rng: Rng) -> list[Thing]:
    """A body, a glass cabin and a roof; nearby also wheels, pillars and lights."""
    long, tall = float(rng.uniform(0.94, 1.08)), float(rng.choice([1.0, 1.0, 1.15]))
    car, rear = Car(x, y, yaw, long, tall), float(rng.choice([1.2, 1.9]))
    paint = partial(materials.lacquer, colour=vary(pick(CARS, rng), rng, 0.15))
    glass = partial(materials.glazed, colour=(0.012, 0.014, 0.016))
    cabin = [(-rear, 0.9), (1.0, 0.9), (0.3, 1.4), (-rear + 0.45, 1.43)]
    roof = [(-rear + 0.4, 1.4), (0.32, 1.37), (0.2, 1.45), (-rear + 0.5, 1.48)]
    things = [car.part(CAR_BODY + CAR_REAR, 1.74, paint), car.part(cabin, 1.5, glass), car.part(roof, 1.46, paint)]
    if y > 38:
        return things
    for at in (-0.45, -rear + 0.3):
        things.append(car.part(_block(at - 0.06, at + 0.06, 0.9, 1.4), 1.515, paint))
    return things + _wheels(car) + _car_lights(car)


def _wheels(car: Car) -> list[Thing]:
    rubber = partial(materials.plain, colour=(0.015, 0.015, 0.016))
    metal = partial(materials.plain, colour=(0.3, 0.3, 0.31))
    things: list[Thing] = []
    for ahead in (-1.3, 1.3):
        things += [car.part(_disc_profile(ahead, 0.32, 12), 0.2, rubber, side) for side in (-0.8, 0.8)]
        things.append(car.part(_disc_profile(ahead, 0.19, 8), 1.82, metal))
    return things


def _car_lights(car: Car) -> list[Thing]:
    red = partial(materials.plain, colour=(0.35, 0.015, 0.01))
    white = partial(materials.lacquer, colour=(0.75, 0.75, 0.72))
    things = [car.part(_block(-2.12, -2.0, 0.42, 0.54), 0.52, white)]
    for side in (-0.68, 0.68):
        things.append(car.part(_block(-2.13, -2.0, 0.62, 0.82), 0.3, red, side))
        things.append(car.part(_block(1.9, 2.11, 0.56, 0.71), 0.36, white, side))
    return things


def _block(rear: float, front: float, low: float, high: float) -> list[tuple[float, float]]:
    return [(rear, low), (front, low), (front, high), (rear, high)]


def _disc_profile(ahead: float, radius: float, sides: int) -> list[tuple[float, float]]:
    """A wheel whose axle is 0.32 m above the road."""
    turns = [2 * math.pi * side / sides for side in range(sides)]
    return [(ahead + radius * math.cos(turn), 0.32 + radius * math.sin(turn)) for turn in turns]
