"""What the camera makes of a hazy view: the blur of the lens, the sensor's noise, gamma, JPEG."""

import functools

import cv2
import numpy as np
from numpy.typing import NDArray

from hazegen import color
from hazegen.sampling import HazeParams

Image = NDArray[np.uint8]


def take(view: Image, haze: HazeParams) -> Image:
    """The picture of a hazy view; the view itself where the camera is perfect.

    Args:
        view: sRGB code values, (height, width, 3).
        haze: Its blur_px, shot_noise, read_noise, camera_seed, gamma and jpeg_quality are used.
    """
    picture = view
    if haze.blur_px or haze.shot_noise or haze.read_noise:
        picture = _expose(picture, haze)
    if haze.gamma != 1.0:
        picture = cv2.LUT(picture, color.to_uint8(color.to_float(_codes()) ** haze.gamma)).astype(np.uint8)
    if haze.jpeg_quality is not None:
        picture = _through_jpeg(picture, haze.jpeg_quality)
    return picture


def is_perfect(haze: HazeParams) -> bool:
    """Whether `take` changes nothing."""
    effects = haze.blur_px or haze.shot_noise or haze.read_noise or haze.gamma != 1.0
    return not effects and haze.jpeg_quality is None


def _expose(view: Image, haze: HazeParams) -> Image:
    """Blur and noise, both in linear light: the noise has the variance shot x + read^2 at light x."""
    light = np.asarray(cv2.LUT(view, color.srgb_to_linear(color.to_float(_codes()))), np.float32)
    if haze.blur_px:
        light = np.asarray(cv2.GaussianBlur(light, (0, 0), haze.blur_px, borderType=cv2.BORDER_REFLECT_101), np.float32)
    if haze.shot_noise or haze.read_noise:
        rng = np.random.Generator(np.random.Philox(key=haze.camera_seed))
        deviation = np.sqrt(np.float32(haze.shot_noise) * light + np.float32(haze.read_noise**2))
        light += deviation * rng.standard_normal(light.shape, np.float32)
    return coded(light)


def coded(linear: NDArray[np.float32]) -> Image:
    """sRGB code values of linear light, clipped to [0, 1]: at most 0.03 of a code from the formula, unrounded."""
    return codes_of_light()[(np.clip(linear, 0.0, 1.0) * np.float32(65535.0) + np.float32(0.5)).astype(np.uint16)]


@functools.cache
def codes_of_light() -> Image:
    """sRGB code values of 65,536 values of linear light from 0 to 1, (65536,)."""
    return color.to_uint8(color.linear_to_srgb(np.arange(65536, dtype=np.float64) / 65535.0))


def _codes() -> Image:
    return np.arange(256, dtype=np.uint8)


def _through_jpeg(picture: Image, quality: int) -> Image:
    """The picture after JPEG of 8 bits with its colours at half the resolution, as cameras store it."""
    done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR) if done else None
    assert decoded is not None
    return np.ascontiguousarray(decoded[..., ::-1], np.uint8)
