"""Convex solids, cylinders and ellipsoids: how they are built, their bounds, the distance to them."""

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hazegen.scenery.vectors import Floats, dot, like, single

_WIDE_M = 1e4  # Half the size of the ground.
SIGNS = np.array(list(itertools.product((-1.0, 1.0), repeat=3)), np.float32)  # Of the corners of a box.


@dataclass(frozen=True)
class Convex:
    """The points p with normals @ p <= offsets, seen from outside or, a room, from inside.

    Attributes:
        normals: Outward unit normals, float32 (k, 3).
        offsets: Distances of the planes from the world's origin [m], float32 (k,).
        corners: float32 (m, 3) [m]; none for a body without bounds such as the ground.
        inside: Whether the faces are seen from within.
    """

    normals: Floats
    offsets: Floats
    corners: Floats
    inside: bool = False

    @functools.cached_property
    def bounds(self) -> Floats:
        """Lowest and highest coordinates [m], float32 (2, 3)."""
        if not len(self.corners):
            return np.array([[-_WIDE_M, -_WIDE_M, -1], [_WIDE_M, _WIDE_M, 0]], np.float32)
        return np.stack([self.corners.min(axis=0), self.corners.max(axis=0)])


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid along the world's axes; with leaf_m above 0 a shell with gaps of about that size [m]."""

    centre: Floats
    radii: Floats
    leaf_m: float = 0.0

    @functools.cached_property
    def bounds(self) -> Floats:
        """Lowest and highest coordinates [m], float32 (2, 3)."""
        return np.stack([self.centre - self.radii, self.centre + self.radii])


@dataclass(frozen=True)
class Cylinder:
    """An upright cylinder with flat ends; `base` is the centre of its lower end [m]."""

    base: Floats
    radius_m: float
    height_m: float

    @functools.cached_property
    def bounds(self) -> Floats:
        """Lowest and highest coordinates [m], float32 (2, 3)."""
        half = np.array([self.radius_m, self.radius_m, 0], np.float32)
        return np.stack([self.base - half, self.base + half + np.array([0, 0, self.height_m], np.float32)])


Shape = Convex | Ellipsoid | Cylinder


def ground() -> Convex:
    """Everything below z = 0."""
    return Convex(np.array([[0, 0, 1]], np.float32), np.zeros(1, np.float32), np.zeros((0, 3), np.float32))


def prism(
    profile: Sequence[tuple[float, float]],
    length: float,
    centre: Sequence[float],
    yaw_deg: float = 0.0,
    inside: bool = False,
) -> Convex:
    """A convex profile (x, z), anticlockwise, drawn out along y over `length` about `centre`, then turned.

    Faces: one for each edge of the profile in its order, then the end at -y and the end at +y.
    """
    outline = np.asarray(profile, np.float64)
    edges = np.roll(outline, -1, axis=0) - outline
    normals = np.zeros((len(outline) + 2, 3))
    normals[:-2, 0], normals[:-2, 2] = edges[:, 1], -edges[:, 0]
    normals[:-2] /= np.linalg.norm(normals[:-2], axis=1, keepdims=True)
    normals[-2:, 1] = -1.0, 1.0
    corners = np.array([(x, end * length / 2, z) for end in (-1, 1) for x, z in outline])
    cosine, sine = math.cos(math.radians(yaw_deg)), math.sin(math.radians(yaw_deg))
    turn = np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    corners, normals = corners @ turn.T + np.asarray(centre), normals @ turn.T
    normals[np.abs(normals) < 1e-12] = 0.0
    offsets = (normals @ corners.T).max(axis=1)
    return Convex(single(normals), single(offsets), single(corners), inside)


def box(centre: Sequence[float], size: Sequence[float], yaw_deg: float = 0.0, inside: bool = False) -> Convex:
    """A box of `size` (x, y, z) that stands on `centre`, the middle of its lower face. Face 2 is its top.

    Faces: bottom, +x, top, -x, -y, +y.
    """
    x, y, z = size
    return prism([(-x / 2, 0), (x / 2, 0), (x / 2, z), (-x / 2, z)], y, centre, yaw_deg, inside)


def distance_to(shape: Shape, points: Floats) -> Floats:
    """About how far points (3, ...) lie outside the shape [m], negative inside it; exact beside a face."""
    if isinstance(shape, Convex):
        gaps = (dot(normal, points) - offset for normal, offset in zip(shape.normals, shape.offsets, strict=True))
        gap = functools.reduce(np.maximum, gaps)
        return -gap if shape.inside else gap
    if isinstance(shape, Ellipsoid):
        unit = (points - like(shape.centre, points)) / like(shape.radii, points)
        return (np.sqrt((unit * unit).sum(axis=0)) - 1) * shape.radii.min()
    x, y, z = points - like(shape.base, points)
    return np.maximum(np.hypot(x, y) - shape.radius_m, np.abs(z - shape.height_m / 2) - shape.height_m / 2)


def corners_about(shapes: Sequence[Shape]) -> Floats:
    """The eight corners of the box about each shape, (n, 8, 3) [m]."""
    limits = np.stack([shape.bounds for shape in shapes])
    return np.where(SIGNS > 0, limits[:, 1:], limits[:, :1])
