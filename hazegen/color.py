"""sRGB code values and linear light; floats and integers.

The transfer functions work on NumPy and TensorFlow arrays alike (`xp`, as in physics.py).

References:
    IEC 61966-2-1:1999, sRGB.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def srgb_to_linear(coded: Any, xp: Any = np) -> Any:
    """Linear light in [0, 1] of sRGB-coded values in [0, 1]."""
    curve = ((xp.maximum(coded, 0.04045) + 0.055) / 1.055) ** 2.4
    return xp.where(coded <= 0.04045, coded / 12.92, curve)


def linear_to_srgb(linear: Any, xp: Any = np) -> Any:
    """sRGB-coded values in [0, 1] of linear light in [0, 1]."""
    curve = 1.055 * xp.maximum(linear, 0.0031308) ** (1.0 / 2.4) - 0.055
    return xp.where(linear <= 0.0031308, linear * 12.92, curve)


def to_float(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.float32]:
    """Integer code values as float32 in [0, 1]: v / 255 or v / 65535."""
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def to_uint8(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Values clipped to [0, 1], rounded to the nearest of 256 codes (never truncated)."""
    return np.rint(np.clip(values, 0.0, 1.0) * 255.0).astype(np.uint8)


def to_uint16(values: NDArray[np.floating]) -> NDArray[np.uint16]:
    """Values clipped to [0, 1], rounded to the nearest of 65,536 codes."""
    return np.rint(np.clip(values, 0.0, 1.0).astype(np.float64) * 65535.0).astype(np.uint16)
