"""Camera geometry: plane depth, distance along the ray, disparity, field of view.

Pixel centres lie at whole coordinates: the centre of the top left pixel is (0, 0), so the axis of
an ideal camera meets a picture of width w and height h at ((w - 1) / 2, (h - 1) / 2).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hazegen.errors import UsageError

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion.

    Attributes:
        width, height: Size of the picture that the intrinsics belong to [px].
        fx, fy: Focal lengths [px], above 0.
        cx, cy: Where the optical axis meets the picture [px], pixel centres at whole coordinates.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        numbers = (self.width, self.height, self.fx, self.fy, self.cx, self.cy)
        if not all(math.isfinite(number) for number in numbers) or min(numbers[:4]) <= 0:
            raise UsageError(
                "A camera's intrinsics are out of range. Expected finite numbers, width, height, fx "
                f"and fy above 0, received {self}. Correct the camera file or the options."
            )


def focal_px(fov_deg: float, size_px: int) -> float:
    """Focal length [px] of a camera that sees `fov_deg` across `size_px` pixels.

    f = size / (2 tan(fov / 2))

    Args:
        fov_deg: Full angle of view along that side [degree], in (0, 180).
        size_px: Length of the side [px].

    Raises:
        UsageError: The angle is out of range.
    """
    if not 0.0 < fov_deg < 180.0:
        raise UsageError(
            "The field of view is out of range. Expected degrees in (0, 180), "
            f"received {fov_deg}. Give the full horizontal angle."
        )
    return size_px / (2.0 * math.tan(math.radians(fov_deg) / 2.0))


def camera_from_fov(fov_deg: float, width: int, height: int) -> Camera:
    """The camera with square pixels and a centred axis whose horizontal field of view is given."""
    focal = focal_px(fov_deg, width)
    return Camera(width, height, focal, focal, (width - 1) / 2.0, (height - 1) / 2.0)


def ray_length(camera: Camera) -> Floats:
    """How much longer each pixel's ray is than its depth: the length of the ray with z = 1.

    sqrt(1 + ((x - cx) / fx)^2 + ((y - cy) / fy)^2), at least 1.

    Returns:
        float32 (height, width).
    """
    x = (np.arange(camera.width, dtype=np.float64) - camera.cx) / camera.fx
    y = (np.arange(camera.height, dtype=np.float64) - camera.cy) / camera.fy
    return np.sqrt(1.0 + x[None, :] ** 2 + y[:, None] ** 2).astype(np.float32)


def plane_to_ray(depth_m: Floats, camera: Camera) -> Floats:
    """Distance along the ray [m] from plane depth [m]: d = z * ray_length. Infinity stays infinite."""
    return depth_m * _ray_length_for(depth_m, camera)


def ray_to_plane(distance_m: Floats, camera: Camera) -> Floats:
    """Plane depth [m] from distance along the ray [m]: z = d / ray_length."""
    return distance_m / _ray_length_for(distance_m, camera)


def disparity_to_depth(disparity_px: Floats, focal_px: float, baseline_m: float) -> Floats:
    """Plane depth [m] from disparity [px]: z = f B / disparity; 0 is infinitely far, NaN stays NaN.

    Args:
        disparity_px: Shift between the two views [px], at least 0.
        focal_px: Focal length [px], above 0.
        baseline_m: Distance between the two cameras [m], above 0.

    Raises:
        UsageError: The focal length or the baseline is not above 0.
    """
    if not (focal_px > 0.0 and baseline_m > 0.0):
        raise UsageError(
            "Disparity needs a focal length and a baseline. Expected both above 0, received "
            f"focal length {focal_px} px and baseline {baseline_m} m. Give --focal-px and --baseline-m."
        )
    far = np.full_like(disparity_px, np.inf)
    # Not 'above 0': NaN must be divided too, and so stay NaN.
    return np.divide(np.float32(focal_px * baseline_m), disparity_px, out=far, where=disparity_px != 0)


def _ray_length_for(depth: Floats, camera: Camera) -> Floats:
    assert depth.shape == (camera.height, camera.width), (depth.shape, camera)
    return ray_length(camera)
