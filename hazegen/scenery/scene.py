"""All that a picture needs: things, lights and a camera that stands clear of them."""

from dataclasses import dataclass

import numpy as np

from hazegen.geometry import Camera
from hazegen.scenery.patch import Paint
from hazegen.scenery.shapes import Ellipsoid, Shape, distance_to
from hazegen.scenery.vectors import Floats
from hazegen.scenery.view import View, view_from

Thing = tuple[Shape, Paint]


@dataclass(frozen=True)
class Lamp:
    """A light: the sun, a window or a bulb.

    Attributes:
        places: 13 places on it, float32 (13, 3) [m], the middle first.
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


def posed_view(
    camera: Camera, origin: tuple[float, float, float], yaw: float, pitch: float, roll: float
) -> tuple[View, dict[str, float]]:
    """The view from a pose, and the pose as a camera file records it."""
    pose = {"height_m": origin[2], "yaw_deg": yaw, "pitch_deg": pitch, "roll_deg": roll}
    return view_from(camera, origin, yaw, pitch, roll), pose


def clear_of(groups: list[list[Thing]], origin: Floats, margin: float) -> list[Thing]:
    """The things of all groups that keep `margin` metres from the camera; a group stays or goes whole."""
    kept = [group for group in groups if all(_is_clear(shape, origin, margin) for shape, _ in group)]
    return [thing for group in kept for thing in group]


def _is_clear(shape: Shape, origin: Floats, margin: float) -> bool:
    low, high = shape.bounds
    if isinstance(shape, Ellipsoid) and shape.leaf_m > 0:
        margin *= 2  # A crown fills the picture sooner.
    apart = bool(np.any((low - origin > margin) | (origin - high > margin)))
    return apart or float(distance_to(shape, origin)) > margin
