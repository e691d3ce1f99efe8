"""The atmospheric light of a picture, estimated from its clean image and its distances.

References:
    dark-channel: He, Sun, Tang, "Single Image Haze Removal Using Dark Channel Prior", CVPR 2009, with the
    choices of Foggy Cityscapes: a window of 15 pixels, the 0.1 % of pixels with the brightest dark
    channel, and of these the one whose gray value is the median.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hazegen import color

WINDOW_PX = 15
_DARK_SHARE, _FAR_SHARE, _BRIGHT_SHARE = 0.001, 0.01, 0.1
# Weights of red, green and blue in a gray value: ITU-R BT.601.
_GRAY = np.array([0.299, 0.587, 0.114], np.float32)


def estimate(
    clean: NDArray[np.uint8],
    distance_m: NDArray[np.float32],
    how: Literal["dark-channel", "brightest-far"],
    color_space: str,
) -> NDArray[np.float32]:
    """Atmospheric light A of a clean image, in the colour space of the equation.

    Args:
        clean: sRGB code values, (height, width, 3).
        distance_m: (height, width), infinite where there is no surface.
        how: dark-channel: the colour of one of the pixels whose surroundings are nowhere dark;
            brightest-far: the mean of the brightest tenth of the farthest hundredth of all pixels.
        color_space: 'srgb' or 'linear'.

    Returns:
        float32 (3,) in [0, 1].
    """
    chosen = _haziest(clean) if how == "dark-channel" else _brightest_far(clean, distance_m)
    values = color.to_float(chosen)
    return np.asarray((color.srgb_to_linear(values) if color_space == "linear" else values).mean(axis=0), np.float32)


def dark_channel(clean: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The darkest value of any channel within the window around each pixel, (height, width)."""
    from scipy.ndimage import minimum_filter

    return np.asarray(minimum_filter(clean.min(axis=2), WINDOW_PX, mode="nearest"))


def _haziest(clean: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The one pixel (1, 3) that the dark channel prior takes for pure haze."""
    candidates = _largest(dark_channel(clean).ravel(), _DARK_SHARE)
    pixels = clean.reshape(-1, 3)[candidates]
    order = np.argsort(pixels @ _GRAY, kind="stable")
    return pixels[order[(len(order) - 1) // 2]][None]


def _brightest_far(clean: NDArray[np.uint8], distance_m: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Pixels (n, 3); all of the sky counts as farthest, be it more than a hundredth."""
    nearest = distance_m.ravel()[_largest(distance_m.ravel(), _FAR_SHARE)].min()
    far = clean[distance_m >= nearest]
    return far[_largest(far @ _GRAY, _BRIGHT_SHARE)]


def _largest(values: NDArray[np.generic], share: float) -> NDArray[np.intp]:
    """Where the largest `share` of the values stand, at least one."""
    return np.argsort(values, kind="stable")[-max(round(len(values) * share), 1) :]
