"""A place on a wall, as a frame for what stands there."""

import math
from dataclasses import dataclass

from hazegen.scenery.patch import Paint
from hazegen.scenery.scene import Thing
from hazegen.scenery.shapes import box


@dataclass(frozen=True)
class Spot:
    """A place on a wall: x runs along the wall, y away from it, z up [m]."""

    x: float
    y: float
    yaw_deg: float

    def at(self, x: float, y: float, z: float) -> tuple[float, float, float]:
        """The world's coordinates of a place beside the spot [m]."""
        cosine, sine = math.cos(math.radians(self.yaw_deg)), math.sin(math.radians(self.yaw_deg))
        return self.x + cosine * x + sine * y, self.y - sine * x + cosine * y, z

    def box(self, place: tuple[float, float, float], size: tuple[float, float, float], paint: Paint) -> Thing:
        """A box that stands on `place`, turned as the wall."""
        return box(self.at(*place), size, self.yaw_deg), paint
