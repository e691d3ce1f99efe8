"""A camera in the world: its rays, and where on the picture a body can be seen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hazegen.geometry import Camera
from hazegen.scenery.vectors import Floats

Rect = tuple[slice, slice]
_NEAR_M = 0.05  # What lies nearer is cut off.


@dataclass(frozen=True)
class View:
    """A camera in the world: its place [m], and its axes right, down and ahead as the rows of (3, 3)."""

    camera: Camera
    origin: Floats
    axes: Floats


def view_from(camera: Camera, origin: Sequence[float], yaw_deg: float, pitch_deg: float, roll_deg: float) -> View:
    """The view of a camera turned right by yaw, then up by pitch, then clockwise by roll [degree]."""
    yaw, pitch, roll = (math.radians(angle) for angle in (yaw_deg, pitch_deg, roll_deg))
    right = np.array([math.cos(yaw), -math.sin(yaw), 0.0])
    level = np.array([math.sin(yaw), math.cos(yaw), 0.0])
    up = np.array([0.0, 0.0, 1.0])
    ahead = level * math.cos(pitch) + up * math.sin(pitch)
    down = level * math.sin(pitch) - up * math.cos(pitch)
    axes = (
        right * math.cos(roll) + down * math.sin(roll),
        down * math.cos(roll) - right * math.sin(roll),
        ahead,
    )
    return View(camera, np.asarray(origin, np.float32), np.asarray(axes, np.float32))


def pixel_rays(view: View) -> Floats:
    """Direction of each pixel's centre ray in the world, 1 along the camera's axis, float32 (3, h, w)."""
    camera = view.camera
    x = ((np.arange(camera.width) - camera.cx) / camera.fx).astype(np.float32)
    y = ((np.arange(camera.height) - camera.cy) / camera.fy).astype(np.float32)
    right, down, ahead = (axis[:, None, None] for axis in view.axes)
    return ahead + right * x[None, None, :] + down * y[None, :, None]


def screen_rects(hulls: Floats, view: View) -> list[Rect | None]:
    """Rows and columns that hold the picture of each hull, None where it is out of view.

    Args:
        hulls: Points of n convex hulls, float32 (n, m, 3) [m].
    """
    local = (hulls - view.origin) @ view.axes.T
    front = local[..., 2] >= _NEAR_M
    low, high = _picture_of(np.where(front[..., None], local, np.nan), view)
    for number in np.flatnonzero(front.any(axis=1) > front.all(axis=1)).tolist():
        ahead, back = local[number, front[number]], local[number, ~front[number]]
        # The hull meets the near plane inside the hull of these crossings.
        share = (_NEAR_M - back[:, None, 2]) / (ahead[None, :, 2] - back[:, None, 2])
        crossings = back[:, None] + share[..., None] * (ahead[None] - back[:, None])
        points = np.concatenate([ahead, crossings.reshape(-1, 3)])
        low[number], high[number] = _picture_of(points, view)
    size = np.array([view.camera.width, view.camera.height])
    seen = front.any(axis=1, keepdims=True)
    low = np.clip(np.where(seen, np.floor(low) - 1, size), 0, size).astype(int)
    high = np.clip(np.where(seen, np.ceil(high) + 2, 0), 0, size).astype(int)
    return [
        (slice(y0, y1), slice(x0, x1)) if x0 < x1 and y0 < y1 else None
        for (x0, y0), (x1, y1) in zip(low.tolist(), high.tolist(), strict=True)
    ]


def area(rect: Rect) -> int:
    """Pixels in the rectangle."""
    return (rect[0].stop - rect[0].start) * (rect[1].stop - rect[1].start)


def _picture_of(points: Floats, view: View) -> tuple[Floats, Floats]:
    """Least and greatest column and row of points (..., m, 3) in the camera's frame, each (..., 2)."""
    camera = view.camera
    places = points[..., :2] / points[..., 2:] * (camera.fx, camera.fy) + (camera.cx, camera.cy)
    return np.fmin.reduce(places, axis=-2), np.fmax.reduce(places, axis=-2)
