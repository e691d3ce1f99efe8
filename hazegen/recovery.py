"""The transmission of a pair from its two pictures, where it was not stored: an estimate, and said to be one."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hazegen import color

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

# Where the clean picture and A are nearer to each other (root mean square of the channels), the haze is not seen.
LEAST_CONTRAST = 0.12


def small(pixels: Pixels, longest_px: int) -> Pixels:
    """A picture whose longer side has at most so many pixels, its blocks averaged."""
    height, width = pixels.shape[:2]
    if max(height, width) <= longest_px:
        return pixels
    scale = longest_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def transmission(hazy: Pixels, clean: Pixels, light: Any, color_space: str) -> Floats:
    """t of each pixel from I = J t + A (1 - t), by least squares over the channels; NaN where J is too near to A.

    t = sum((I - A) (J - A)) / sum((J - A)^2)

    Give it small pictures: averages of blocks have less of JPEG and of rounding than single pixels.

    Args:
        hazy, clean: I and J, uint8 (height, width, 3).
        light: A (3,), in the colour space of the equation.
        color_space: 'srgb' or 'linear'.

    Returns:
        (height, width), in [0, 1] or NaN.
    """
    seen, radiance = (_values(pixels, color_space) - np.asarray(light, np.float32) for pixels in (hazy, clean))
    contrast = (radiance * radiance).sum(axis=2)
    found = (seen * radiance).sum(axis=2) / np.maximum(contrast, np.float32(1e-9))
    return np.where(contrast >= 3.0 * LEAST_CONTRAST**2, np.clip(found, 0.0, 1.0), np.float32(np.nan)).astype(
        np.float32
    )


def _values(pixels: Pixels, color_space: str) -> Floats:
    values = color.to_float(pixels)
    return np.asarray(color.srgb_to_linear(values) if color_space == "linear" else values, np.float32)
