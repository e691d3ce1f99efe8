"""Rays: exact depth against an independent loop, one ray at a time, in float64; gaps of leaves; shadows."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from hazegen.geometry import Camera, camera_from_fov
from hazegen.scenery.raycast import FAR_M, cast
from hazegen.scenery.shadows import lit_share
from hazegen.scenery.shapes import Cylinder, Ellipsoid, Shape, box, ground
from hazegen.scenery.view import pixel_rays, view_from

CAMERA = Camera(24, 18, 16.0, 17.0, 11.0, 9.5)
VIEW = view_from(CAMERA, (0.4, -0.7, 1.6), 7.0, -5.0, 3.0)


def single(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def turn(yaw_deg: float, pitch_deg: float, roll_deg: float) -> NDArray[np.float64]:
    """Columns right, ahead, up of a camera: roll about ahead, then pitch about right, then yaw about up."""
    y, p, r = (math.radians(angle) for angle in (-yaw_deg, pitch_deg, roll_deg))
    about_up = np.array([[math.cos(y), -math.sin(y), 0], [math.sin(y), math.cos(y), 0], [0, 0, 1]])
    about_right = np.array([[1, 0, 0], [0, math.cos(p), -math.sin(p)], [0, math.sin(p), math.cos(p)]])
    about_ahead = np.array([[math.cos(r), 0, math.sin(r)], [0, 1, 0], [-math.sin(r), 0, math.cos(r)]])
    return about_up @ about_right @ about_ahead


Meets = Callable[[NDArray[np.float64], NDArray[np.float64]], list[float]]


def slow_depth(meets: Meets) -> NDArray[np.float64]:
    """Plane depth of each pixel from a function of (origin, direction) that lists the ray's crossings."""
    axes, origin = turn(7.0, -5.0, 3.0), np.array([0.4, -0.7, 1.6])
    depth = np.full((CAMERA.height, CAMERA.width), np.inf)
    for y, x in np.ndindex(depth.shape):
        way = axes @ np.array([(x - CAMERA.cx) / CAMERA.fx, 1.0, -(y - CAMERA.cy) / CAMERA.fy])
        depth[y, x] = min((t for t in meets(origin, way) if t > 0), default=np.inf)
    return depth


def meets_ground(origin: NDArray[np.float64], way: NDArray[np.float64]) -> list[float]:
    return [-origin[2] / way[2]] if way[2] < 0 else []


def meets_box(origin: NDArray[np.float64], way: NDArray[np.float64]) -> list[float]:
    """The six faces in turn, of a box of (1.5, 2, 1.2) m turned right by 30 degrees about (0.3, 5, 0.2)."""
    back = turn(30.0, 0.0, 0.0).T
    start, step = back @ (origin - np.array([0.3, 5.0, 0.2])), back @ way
    low, high = np.array([-0.75, -1.0, 0.0]), np.array([0.75, 1.0, 1.2])
    found = []
    for axis, limit in itertools.product(range(3), (low, high)):
        t = (limit[axis] - start[axis]) / step[axis]
        place = np.delete(start + t * step, axis)
        if np.all(place >= np.delete(low, axis)) and np.all(place <= np.delete(high, axis)):
            found.append(t)
    return found


def meets_ellipsoid(origin: NDArray[np.float64], way: NDArray[np.float64]) -> list[float]:
    start, step = ((part / np.array([1.5, 0.8, 1.1])) for part in (origin - np.array([-0.5, 6.0, 1.2]), way))
    a, b, c = step @ step, start @ step, start @ start - 1
    return [(-b + sign * math.sqrt(b * b - a * c)) / a for sign in (-1, 1)] if b * b > a * c else []


def meets_cylinder(origin: NDArray[np.float64], way: NDArray[np.float64]) -> list[float]:
    """Of radius 0.9 m from z = 0.1 to 1.1 m about (0.2, 4): its side, then its two ends."""
    start, step = origin[:2] - np.array([0.2, 4.0]), way[:2]
    a, b, c = step @ step, start @ step, start @ start - 0.81
    root = math.sqrt(b * b - a * c) if b * b > a * c else math.nan
    side = [t for t in ((-b - root) / a, (-b + root) / a) if 0.1 <= origin[2] + t * way[2] <= 1.1]
    ends = [(z - origin[2]) / way[2] for z in (0.1, 1.1)]
    return side + [t for t in ends if np.linalg.norm(start + t * step) <= 0.9]


SHAPES: dict[str, tuple[Shape, Meets]] = {
    "ground": (ground(), meets_ground),
    "box": (box((0.3, 5.0, 0.2), (1.5, 2.0, 1.2), 30.0), meets_box),
    "ellipsoid": (Ellipsoid(single(-0.5, 6.0, 1.2), single(1.5, 0.8, 1.1)), meets_ellipsoid),
    "cylinder": (Cylinder(single(0.2, 4.0, 0.1), 0.9, 1.0), meets_cylinder),
}


@pytest.mark.parametrize("name", SHAPES)
def test_depth_equals_a_slow_loop(name: str) -> None:
    shape, meets = SHAPES[name]
    fast, slow = cast([shape], VIEW).depth_m, slow_depth(meets)
    slow[slow >= FAR_M] = np.inf
    met = np.isfinite(slow)
    assert 10 < met.sum() < met.size
    np.testing.assert_array_equal(np.isfinite(fast), met)
    np.testing.assert_allclose(fast[met], slow[met], rtol=2e-5)


def test_nearest_shape_wins_whatever_the_order() -> None:
    shapes = [shape for shape, _ in SHAPES.values()]
    slow = np.min([slow_depth(meets) for _, meets in SHAPES.values()], axis=0)
    slow[slow >= FAR_M] = np.inf
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        hits = cast([shapes[number] for number in order], VIEW)
        np.testing.assert_allclose(hits.depth_m, slow, rtol=2e-5)
        for number in range(4):
            alone = cast([shapes[order[number]]], VIEW).depth_m
            seen = hits.shape == number
            assert seen.any()
            np.testing.assert_array_equal(hits.depth_m[seen], alone[seen])


def test_ground_under_a_level_camera_is_h_over_tan() -> None:
    camera = camera_from_fov(70.0, 65, 49)
    depth = cast([ground()], view_from(camera, (3.0, 2.0, 1.5), 20.0, 0.0, 0.0)).depth_m
    assert np.isinf(depth[: 24 + 1]).all()
    for row in range(25, 49):
        below = math.atan((row - camera.cy) / camera.fy)
        np.testing.assert_allclose(depth[row], 1.5 / math.tan(below), rtol=1e-5)


def test_room_is_seen_from_inside() -> None:
    walls = box((0.0, 2.0, 0.0), (4.0, 6.0, 2.5), inside=True)
    hits = cast([walls], view_from(CAMERA, (0.0, 1.0, 1.2), 0.0, 0.0, 0.0))
    middle = 9, 11
    assert hits.depth_m[middle] == pytest.approx(4.0, rel=1e-6)
    assert hits.face[middle] == 5
    assert np.isfinite(hits.depth_m).all()


def test_leaves_are_gaps_in_the_same_ellipsoid() -> None:
    plain, leafy = (Ellipsoid(single(0, 5, 1.5), single(1.5, 1.5, 1.5), leaf) for leaf in (0.0, 0.3))
    solid, holed = (cast([shape], VIEW).depth_m for shape in (plain, leafy))
    points = VIEW.origin[:, None, None] + pixel_rays(VIEW) * np.where(np.isfinite(holed), holed, 0)
    away = np.linalg.norm(points - plain.centre[:, None, None], axis=0)[np.isfinite(holed)]
    np.testing.assert_allclose(away, 1.5, rtol=1e-4)
    assert 0 < np.isfinite(holed).sum() < np.isfinite(solid).sum()


def test_shadow_lies_where_the_box_hides_the_lamp() -> None:
    shapes: list[Shape] = [ground(), box((0.0, 6.0, 0.0), (1.0, 1.0, 2.0))]
    view = view_from(camera_from_fov(80.0, 320, 240), (0.0, 0.0, 3.0), 0.0, -20.0, 0.0)
    hits = cast(shapes, view)
    points = view.origin[:, None, None] + pixel_rays(view) * np.where(hits.shape >= 0, hits.depth_m, 0)
    up = np.zeros_like(points)
    up[2] = 1
    lamp = np.repeat(single(-1e4, 0.0, 1e4)[None], 13, axis=0)
    lit = lit_share(shapes, view, hits, points, up, lamp, hits.shape >= 0)
    x, y = points[0] + 0 * lit, points[1]
    floor = hits.shape == 0
    # The sun stands in -x at 45 degrees: the shadow of 2 m reaches from x = 0.5 to 2.5.
    inner = floor & (abs(x - 1.5) < 0.6) & (abs(y - 6) < 0.2)
    outer = floor & ((x < -1.2) | (x > 3.3) | (abs(y - 6) > 1.5))
    assert inner.any()
    assert lit[inner].max() == 0
    assert lit[outer].min() == 1
    assert (lit[hits.shape < 0] == 0).all()
