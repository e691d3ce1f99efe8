"""The pixels of one face with their texture coordinates, which is all that a paint sees."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hazegen.scenery.shapes import Convex, Shape
from hazegen.scenery.vectors import Floats, dot, dots
from hazegen.scenery.view import View


@dataclass(frozen=True)
class Patch:
    """The n pixels that show one face of one shape.

    Attributes:
        u, v: Place on the face [m] from its lower left corner, v upwards on walls, (n,).
        du, dv: Size of the pixel on the face along u and v [m], (n,).
        width, height: Size of the face [m]; 0 without bounds.
        face: Number of the face, as in raycast.
        rise: Upward part of the mirrored view ray, 1 straight up, (n,).
        cosine: Cosine between the view ray and the normal, at least 0, (n,).
        sky: Radiance that a mirror shows below, at and above the horizon, (3, 3).
    """

    u: Floats
    v: Floats
    du: Floats
    dv: Floats
    width: float
    height: float
    face: int
    rise: Floats
    cosine: Floats
    sky: Floats

    @property
    def gloss(self) -> Floats:
        """Share of light that a glass face mirrors at this angle, (n,)."""
        return np.float32(0.06) + np.float32(0.94) * (1 - np.minimum(self.cosine, 1)) ** 5


# Reflectance (3, n), and the radiance (3, n) that is seen besides, whatever light falls on the surface.
Look = tuple[Floats, Floats | float]
Paint = Callable[[Patch], Look]


def patch_of(
    shape: Shape,
    face: int,
    points: Floats,
    normals: Floats,
    rays: Floats,
    depth_m: Floats,
    view: View,
    sky: Floats,
) -> Patch:
    """Lays texture coordinates on the pixels (3, n) of one face; the normals of a plane are (3, 1)."""
    length = np.sqrt(dots(rays, rays))
    facing = dots(normals, rays)
    rise = (rays[2] - 2 * facing * normals[2]) / length
    cosine = np.abs(facing) / length
    pixel = depth_m / np.float32(view.camera.fx)
    if not isinstance(shape, Convex):
        # A skewed frame: no direction of a curved surface is without texture.
        u, v = points[0] + 0.6 * points[1], points[2] + 0.3 * points[1] - 0.2 * points[0]
        size = pixel / np.maximum(cosine, 0.2)
        return Patch(u, v, size, size, 0.0, 0.0, face, rise, cosine, sky)
    across, up = _face_axes(shape.normals[face])
    low, high = _extent(shape.corners, across), _extent(shape.corners, up)
    facing = np.where(np.abs(facing) < 1e-3, np.float32(1e-3), facing)
    du, dv = (_footprint(axis, shape.normals[face], rays, facing, pixel, view) for axis in (across, up))
    u = dot(across, points) - low[0]
    v = dot(up, points) - high[0]
    return Patch(u, v, du, dv, low[1], high[1], face, rise, cosine, sky)


def _face_axes(normal: Floats) -> tuple[Floats, Floats]:
    """Unit axes along a plane: level and, on walls, upwards; x and y on floors."""
    if abs(normal[2]) > 0.95:
        return np.array([1, 0, 0], np.float32), np.array([0, 1, 0], np.float32)
    across = np.array([-normal[1], normal[0], 0], np.float32) / np.float32(np.hypot(normal[0], normal[1]))
    x, y, z = normal
    return across, np.array([-z * across[1], z * across[0], x * across[1] - y * across[0]], np.float32)


def _extent(corners: Floats, axis: Floats) -> tuple[np.float32, float]:
    if not len(corners):
        return np.float32(0), 0.0
    places = dot(axis, corners.T)
    low = places.min()
    return low, float(places.max() - low)


def _footprint(axis: Floats, normal: Floats, rays: Floats, facing: Floats, pixel: Floats, view: View) -> Floats:
    """How far a step of one pixel right and one down moves along an axis of the plane [m]."""
    slant = dot(axis, rays) / facing
    right, down = (np.abs(axis @ way - slant * (normal @ way)) for way in view.axes[:2])
    return np.minimum(pixel * (right + down), np.float32(60.0))
