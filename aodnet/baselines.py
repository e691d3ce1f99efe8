"""What a network must beat: the dark channel prior, and one gain and offset for all pictures."""

import cv2
import numpy as np
from numpy.typing import NDArray

from hazegen import color

# The constants of He, Sun, Tang, CVPR 2009: patch, share of haze removed, floor of t, brightest share.
PATCH = 15
OMEGA = 0.95
FLOOR = 0.1
BRIGHTEST = 0.001
# Of the guided filter, for pictures about 600 pixels high.
RADIUS = 40
EPSILON = 1e-3


def dark_channel_prior(hazy: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A hazy image restored by the dark channel prior, (height, width, 3).

    As published, but for the refinement of the transmission: the guided filter of He, Sun, Tang, ECCV 2010
    (guided by the grey image) stands in place of soft matting. A below 0.05 counts as 0.05.

    References:
        He, Sun, Tang, "Single image haze removal using dark channel prior", CVPR 2009.
    """
    image = color.to_float(hazy)
    light = _atmospheric_light(image, dark_channel(image))
    coarse = 1.0 - OMEGA * dark_channel(image / light)
    transmission = guided_filter(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32), coarse)
    restored = (image - light) / np.maximum(transmission, FLOOR)[..., None] + light  # Eq. 16
    return color.to_uint8(restored)


def dark_channel(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Least value of any channel within a square patch around each pixel (Eq. 5)."""
    darkest = cv2.erode(image.min(axis=2), np.ones((PATCH, PATCH), np.uint8), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(darkest, np.float32)


def _atmospheric_light(image: NDArray[np.float32], dark: NDArray[np.float32]) -> NDArray[np.float32]:
    """The brightest pixel among the 0.1 % with the highest dark channel."""
    count = max(1, int(dark.size * BRIGHTEST))
    candidates = image.reshape(-1, 3)[np.argpartition(dark.ravel(), -count)[-count:]]
    return np.maximum(candidates[candidates.sum(axis=1).argmax()], np.float32(0.05))


def guided_filter(guide: NDArray[np.float32], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """`values` smoothed along the edges of `guide`, both (height, width)."""

    def mean(x: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.blur(x, (2 * RADIUS + 1, 2 * RADIUS + 1)), np.float32)

    mean_guide, mean_values = mean(guide), mean(values)
    slope = (mean(guide * values) - mean_guide * mean_values) / (mean(guide * guide) - mean_guide**2 + EPSILON)
    return mean(slope) * guide + mean(mean_values - slope * mean_guide)


class AffineFit:
    """The one gain and offset for each channel that fit a whole set of pairs best, by least squares over its pixels.

    It is fitted to the very set that it is scored on, so it knows more than a network may.
    """

    def __init__(self) -> None:
        self._sums = np.zeros((5, 3))

    def add(self, hazy: NDArray[np.uint8], clean: NDArray[np.uint8]) -> None:
        """Takes one pair into account."""
        x, y = hazy.reshape(-1, 3) / 255.0, clean.reshape(-1, 3) / 255.0
        ones = np.full(3, float(len(x)))
        self._sums += np.stack([ones, x.sum(0), y.sum(0), (x * x).sum(0), (x * y).sum(0)])

    def apply(self, hazy: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """gain * hazy + offset."""
        count, x, y, xx, xy = self._sums
        gain = (count * xy - x * y) / np.maximum(count * xx - x * x, 1e-9)
        return color.to_uint8(hazy / 255.0 * gain + (y - gain * x) / count)
