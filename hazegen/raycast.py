"""Rays against convex solids, cylinders and ellipsoids: exact plane depth, shadows, openness.

World axes in metres: x to the right, y ahead, z up, the ground at z = 0. Vectors of many points or
rays are held component first, (3, ...). A ray's direction has a component of 1 along the camera's axis,
so the parameter of a hit is its plane depth. Nothing here calls BLAS on pixels: its rounding
changes with the number of threads.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hazegen.geometry import Camera

Floats = NDArray[np.float32]
Rect = tuple[slice, slice]

FAR_M = 650.0  # No surface lies farther, so that 16 bits at 0.01 m hold every depth.
NEAR_M = 0.05
_TINY = np.float32(1e-20)  # Turns a division by a slope of exactly 0 into a very far hit.
_SIGNS = np.array(list(itertools.product((-1.0, 1.0), repeat=3)), np.float32)
_LEAF_WAVES = np.random.default_rng(5).normal(0.0, 2.4, (6, 3)).astype(np.float32)


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


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid along the world's axes; with leaf_m above 0 a shell with gaps of about that size [m]."""

    centre: Floats
    radii: Floats
    leaf_m: float = 0.0


@dataclass(frozen=True)
class Cylinder:
    """An upright cylinder with flat ends; `base` is the centre of its lower end [m]."""

    base: Floats
    radius_m: float
    height_m: float


Shape = Convex | Ellipsoid | Cylinder


@dataclass(frozen=True)
class View:
    """A camera in the world: its place [m], and its axes right, down and ahead as the rows of (3, 3)."""

    camera: Camera
    origin: Floats
    axes: Floats


@dataclass(frozen=True)
class Hits:
    """What each pixel's centre ray meets first.

    Attributes:
        depth_m: Plane depth [m], infinite where nothing is met, float32 (h, w).
        shape: Index of the shape, -1 where nothing is met, int16 (h, w).
        face: Plane of a Convex; 0 side, 1 top, 2 bottom of a Cylinder; 0 of an Ellipsoid, uint8 (h, w).
    """

    depth_m: Floats
    shape: NDArray[np.int16]
    face: NDArray[np.uint8]


def view_from(camera: Camera, origin: Sequence[float], yaw_deg: float, pitch_deg: float, roll_deg: float) -> View:
    """The view of a camera turned right by yaw, then up by pitch, then clockwise by roll [degree]."""
    yaw, pitch, roll = (math.radians(angle) for angle in (yaw_deg, pitch_deg, roll_deg))
    right = np.array([math.cos(yaw), -math.sin(yaw), 0.0])
    level = np.array([math.sin(yaw), math.cos(yaw), 0.0])
    up = np.array([0.0, 0.0, 1.0])
    ahead = level * math.cos(pitch) + up * math.sin(pitch)
    down = level * math.sin(pitch) - up * math.cos(pitch)
    axes = (right * math.cos(roll) + down * math.sin(roll), down * math.cos(roll) - right * math.sin(roll), ahead)
    return View(camera, np.asarray(origin, np.float32), np.asarray(axes, np.float32))


def pixel_rays(view: View) -> Floats:
    """Direction of each pixel's centre ray in the world, 1 along the camera's axis, float32 (3, h, w)."""
    camera = view.camera
    x = ((np.arange(camera.width) - camera.cx) / camera.fx).astype(np.float32)
    y = ((np.arange(camera.height) - camera.cy) / camera.fy).astype(np.float32)
    right, down, ahead = (axis[:, None, None] for axis in view.axes)
    return ahead + right * x[None, None, :] + down * y[None, :, None]


def ground() -> Convex:
    """Everything below z = 0."""
    return Convex(np.array([[0, 0, 1]], np.float32), np.zeros(1, np.float32), np.zeros((0, 3), np.float32))


def prism(
    profile: Sequence[tuple[float, float]], length: float, centre: Sequence[float], yaw_deg: float = 0.0, inside: bool = False
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
    return Convex(*(array.astype(np.float32) for array in (normals, offsets, corners)), inside=inside)


def box(
    centre: Sequence[float], size: Sequence[float], yaw_deg: float = 0.0, inside: bool = False
) -> Convex:
    """A box of `size` (x, y, z) that stands on `centre`, the middle of its lower face. Face 2 is its top.

    Faces: bottom, +x, top, -x, -y, +y.
    """
    x, y, z = size
    return prism([(-x / 2, 0), (x / 2, 0), (x / 2, z), (-x / 2, z)], y, centre, yaw_deg, inside)


def bounds(shape: Shape) -> Floats:
    """Corners (m, 3) [m] whose hull holds the shape; none if it has no bounds."""
    if isinstance(shape, Convex):
        return shape.corners
    if isinstance(shape, Ellipsoid):
        return shape.centre + _SIGNS * shape.radii
    half = np.array([shape.radius_m, shape.radius_m, shape.height_m / 2], np.float32)
    return shape.base + half * (_SIGNS + np.array([0, 0, 1], np.float32))


def screen_rect(corners: Floats, view: View) -> Rect | None:
    """Rows and columns that hold the picture of the corners' hull, None if it is out of view."""
    local = (corners - view.origin) @ view.axes.T
    front, back = local[local[:, 2] >= NEAR_M], local[local[:, 2] < NEAR_M]
    if len(front) and len(back):
        # The hull meets the near plane inside the hull of these crossings.
        share = (NEAR_M - back[:, None, 2]) / (front[None, :, 2] - back[:, None, 2])
        crossings = back[:, None] + share[..., None] * (front[None] - back[:, None])
        front = np.concatenate([front, crossings.reshape(-1, 3)])
    if not len(front):
        return None
    camera = view.camera
    columns = _span(front[:, 0] / front[:, 2] * camera.fx + camera.cx, camera.width)
    rows = _span(front[:, 1] / front[:, 2] * camera.fy + camera.cy, camera.height)
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


def cast(shapes: Sequence[Shape], view: View) -> Hits:
    """What each pixel's centre ray meets first, up to FAR_M of plane depth."""
    rays = pixel_rays(view)
    depth = np.full(rays.shape[1:], np.inf, np.float32)
    hits = Hits(depth, np.full(depth.shape, -1, np.int16), np.zeros(depth.shape, np.uint8))
    for number, shape in enumerate(shapes):
        rect = _rect_of(bounds(shape), view)
        if rect is None:
            continue
        found, face = intersect(shape, view.origin, rays[(slice(None), *rect)])
        nearer = (found < hits.depth_m[rect]) & (found < FAR_M)
        np.copyto(hits.depth_m[rect], found, where=nearer)
        np.copyto(hits.shape[rect], np.int16(number), where=nearer)
        np.copyto(hits.face[rect], face, where=nearer)
    return hits


def intersect(shape: Shape, origin: Floats, direction: Floats) -> tuple[Floats, NDArray[np.uint8]]:
    """Parameter of the first hit ahead of the origin, infinite for a miss, and the face that is hit.

    Args:
        origin: float32 (3,), or (3, ...) like the direction [m].
        direction: float32 (3, ...), of any length.
    """
    with np.errstate(over="ignore"):
        if isinstance(shape, Convex):
            return _hit_convex(shape, origin, direction)
        if isinstance(shape, Ellipsoid):
            return _hit_ellipsoid(shape, origin, direction)
        return _hit_cylinder(shape, origin, direction)


def normals_at(shape: Shape, points: Floats, face: NDArray[np.uint8]) -> Floats:
    """Unit normals towards the side that is seen, (3, n), at points (3, n) of the shape's surface."""
    if isinstance(shape, Convex):
        return (-shape.normals if shape.inside else shape.normals)[face].T
    if isinstance(shape, Ellipsoid):
        slope = (points - shape.centre[:, None]) / (shape.radii**2)[:, None]
        return slope / np.maximum(np.sqrt((slope * slope).sum(axis=0)), 1e-9)
    side = (points - shape.base[:, None]) / np.float32(shape.radius_m)
    cap = np.array([0.0, 1.0, -1.0], np.float32)[face]
    return np.stack([side[0] * (cap == 0), side[1] * (cap == 0), cap])


def distance_to(shape: Shape, points: Floats) -> Floats:
    """About how far points (3, ...) lie outside the shape [m], negative inside it; exact beside a face."""
    if isinstance(shape, Convex):
        gaps = (_dot(normal, points) - offset for normal, offset in zip(shape.normals, shape.offsets, strict=True))
        gap = _fold_max(gaps)
        return -gap if shape.inside else gap
    if isinstance(shape, Ellipsoid):
        unit = (points - _like(shape.centre, points)) / _like(shape.radii, points)
        return (np.sqrt((unit * unit).sum(axis=0)) - 1) * shape.radii.min()
    x, y, z = points - _like(shape.base, points)
    return np.maximum(np.hypot(x, y) - shape.radius_m, np.abs(z - shape.height_m / 2) - shape.height_m / 2)


def lit_share(shapes: Sequence[Shape], view: View, hits: Hits, points: Floats, normals: Floats, lamp: Floats, mask: NDArray[np.bool_]) -> Floats:
    """Share of a lamp that each pixel's surface sees, float32 (h, w); 0 outside the mask.

    Pixels of one 3 x 3 neighbourhood look at nine places of the lamp, and a mean over the
    neighbours on the same face makes the penumbra.

    Args:
        points, normals: float32 (3, h, w), anything where nothing was hit.
        lamp: Nine places of the lamp, float32 (9, 3) [m]; the sun is a lamp that is far away.
        mask: Pixels that can be lit, bool (h, w).
    """
    rows, columns = np.indices(mask.shape, np.uint8) % 3
    to_lamp = lamp.T[:, rows * 3 + columns] - points
    lit = mask & ((normals * to_lamp).sum(axis=0) > 0)
    starts = points + normals * (np.float32(0.004) + np.float32(1e-4) * np.where(lit, hits.depth_m, 0))
    for shape in shapes:
        corners = bounds(shape)
        rect = screen_rect(_with_shadow(corners, lamp), view) if len(corners) else None
        if rect is None or (isinstance(shape, Convex) and shape.inside):
            continue
        _darken(shape, corners, lit[rect], starts[(slice(None), *rect)], to_lamp[(slice(None), *rect)])
    return _mean_on_face(lit.astype(np.float32), hits)


def openness(shapes: Sequence[Shape], view: View, points: Floats, normals: Floats, reach_m: float) -> Floats:
    """Share of ambient light that nearby surfaces leave, float32 (h, w), 1 in the open.

    A surface at the distance s from a point `reach_m` above the surface takes 0.6 (1 - s / reach_m)^2.
    """
    probes = points + normals * np.float32(reach_m)
    share = np.ones(points.shape[1:], np.float32)
    for shape in shapes:
        corners = bounds(shape)
        grown = (corners[:, None] + _SIGNS * np.float32(reach_m)).reshape(-1, 3) if len(corners) else corners
        rect = _rect_of(grown, view)
        if rect is None:
            continue
        gap = distance_to(shape, probes[(slice(None), *rect)])
        taken = np.clip(1 - gap / np.float32(reach_m), 0, 1)
        share[rect] *= 1 - np.float32(0.6) * taken * taken
    return share


def _hit_convex(shape: Convex, origin: Floats, direction: Floats) -> tuple[Floats, NDArray[np.uint8]]:
    enter = np.full(direction.shape[1:], -np.inf, np.float32)
    leave = np.full(direction.shape[1:], np.inf, np.float32)
    face = np.zeros(direction.shape[1:], np.uint8)
    for number, (normal, offset) in enumerate(zip(shape.normals, shape.offsets, strict=True)):
        slope = _dot(normal, direction) + _TINY
        t = (offset - _dot(normal, origin)) / slope
        inward = slope < 0
        chosen = (~inward & (t < leave)) if shape.inside else (inward & (t > enter))
        np.copyto(face, np.uint8(number), where=chosen)
        np.maximum(enter, t, out=enter, where=inward)
        np.minimum(leave, t, out=leave, where=~inward)
    met = (enter < leave) & ((leave if shape.inside else enter) > 0)
    return np.where(met, leave if shape.inside else enter, np.float32(np.inf)), face


def _hit_ellipsoid(shape: Ellipsoid, origin: Floats, direction: Floats) -> tuple[Floats, NDArray[np.uint8]]:
    ray = [part / radius for part, radius in zip(direction, shape.radii, strict=True)]
    start = [(part - c) / r for part, c, r in zip(origin, shape.centre, shape.radii, strict=True)]
    square = ray[0] ** 2 + ray[1] ** 2 + ray[2] ** 2
    middle = -(start[0] * ray[0] + start[1] * ray[1] + start[2] * ray[2]) / square
    # From the middle of the chord, because b^2 - a c loses all digits of a small ball far away.
    closest = [s + middle * r for s, r in zip(start, ray, strict=True)]
    rest = 1 - (closest[0] ** 2 + closest[1] ** 2 + closest[2] ** 2)
    half = np.sqrt(np.maximum(rest, 0) / square)
    first = np.where((rest > 0) & (middle - half > 0), middle - half, np.float32(np.inf))
    if shape.leaf_m > 0:
        second = np.where((rest > 0) & (middle + half > 0), middle + half, np.float32(np.inf))
        first = np.where(_leafy(shape, origin, direction, first), first, np.inf)
        second = np.where(_leafy(shape, origin, direction, second), second, np.inf)
        first = np.minimum(first, second)
    return first.astype(np.float32), np.zeros(first.shape, np.uint8)


def _leafy(shape: Ellipsoid, origin: Floats, direction: Floats, t: Floats) -> NDArray[np.bool_]:
    point = (_like(origin, direction) + np.where(t < FAR_M, t, 0) * direction) / np.float32(shape.leaf_m)
    return sum(np.sin(_dot(wave, point)) for wave in _LEAF_WAVES) > -0.2


def _hit_cylinder(shape: Cylinder, origin: Floats, direction: Floats) -> tuple[Floats, NDArray[np.uint8]]:
    x, y = (origin[axis] - shape.base[axis] for axis in (0, 1))
    square = direction[0] ** 2 + direction[1] ** 2 + _TINY
    middle = -(x * direction[0] + y * direction[1]) / square
    rest = np.float32(shape.radius_m**2) - (x + middle * direction[0]) ** 2 - (y + middle * direction[1]) ** 2
    half = np.sqrt(np.maximum(rest, 0) / square)
    slope = direction[2] + _TINY
    low = (shape.base[2] - origin[2]) / slope
    high = (shape.base[2] + np.float32(shape.height_m) - origin[2]) / slope
    side, cap = middle - half, np.minimum(low, high)
    enter = np.maximum(side, cap)
    met = (rest > 0) & (enter < np.minimum(middle + half, np.maximum(low, high))) & (enter > 0)
    face = np.where(cap > side, np.where(slope < 0, 1, 2), 0).astype(np.uint8)
    return np.where(met, enter, np.float32(np.inf)).astype(np.float32), face


def _dot(vector: Floats, parts: Floats) -> Floats:
    """Dot product of one vector (3,) with many (3, ...), skipping the zeros of upright faces."""
    terms = [scale * part for scale, part in zip(vector, parts, strict=True) if scale != 0]
    return sum(terms[1:], start=terms[0])


def _like(vector: Floats, points: Floats) -> Floats:
    return vector.reshape((3,) + (1,) * (points.ndim - 1)) if vector.ndim == 1 else vector


def _fold_max(arrays: itertools.chain[Floats]) -> Floats:
    total = next(arrays)
    for array in arrays:
        total = np.maximum(total, array)
    return total


def _span(values: Floats, size: int) -> slice:
    low, high = np.clip([values.min(), values.max() + 1], -1, size + 1)
    return slice(max(0, math.floor(low)), min(size, math.ceil(high)))


def _rect_of(corners: Floats, view: View) -> Rect | None:
    if not len(corners):
        return slice(0, view.camera.height), slice(0, view.camera.width)
    return screen_rect(corners, view)


def _with_shadow(corners: Floats, lamp: Floats, reach_m: float = 400.0) -> Floats:
    """The corners and where their shadows end: at the ground, or after `reach_m`."""
    away = corners[None] - lamp[[0, 2, 6, 8], None]
    with np.errstate(divide="ignore"):
        to_ground = np.where(away[..., 2] < 0, corners[:, 2] / -away[..., 2], np.inf)
    share = np.minimum(to_ground, reach_m / np.linalg.norm(away, axis=2))
    return np.concatenate([corners, (corners[None] + away * share[..., None]).reshape(-1, 3)])


def _darken(shape: Shape, corners: Floats, lit: NDArray[np.bool_], starts: Floats, to_lamp: Floats) -> None:
    """Clears `lit` where the shape stands between a surface and the lamp."""
    rows, columns = np.nonzero(lit)
    start, way = starts[:, rows, columns], to_lamp[:, rows, columns]
    centre = (corners.min(axis=0) + corners.max(axis=0)) / 2
    gap = centre[:, None] - start
    along = (gap * way).sum(axis=0) / (way * way).sum(axis=0)
    near = ((gap - along * way) ** 2).sum(axis=0) < ((corners - centre) ** 2).sum(axis=1).max()
    rows, columns = rows[near], columns[near]
    found, _ = intersect(shape, start[:, near], way[:, near])
    blocked = found < 1
    lit[rows[blocked], columns[blocked]] = False


def _mean_on_face(values: Floats, hits: Hits) -> Floats:
    """Mean over the 3 x 3 neighbours that lie on the same face of the same shape."""
    key = np.pad(hits.shape.astype(np.int32) * 256 + hits.face, 1, constant_values=-9)
    padded = np.pad(values, 1)
    height, width = values.shape
    total, count = np.zeros_like(values), np.zeros_like(values)
    for row, column in itertools.product(range(3), repeat=2):
        window = slice(row, row + height), slice(column, column + width)
        same = key[window] == key[1:-1, 1:-1]
        total += padded[window] * same
        count += same
    return total / count
