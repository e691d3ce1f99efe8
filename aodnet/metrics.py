"""PSNR, SSIM and CIEDE2000 under one pinned protocol, and the same PSNR and SSIM for use in training.

The protocol `rgb`, in float64 and for each image by itself: PSNR of one mean squared error over
height x width x 3; SSIM for each channel with a Gaussian window of 11 x 11, sigma 1.5, K1 = 0.01,
K2 = 0.03, population covariance, windows that lie wholly inside the picture, then the mean.

There is no default range: images in [0, 1] measured against 255 score 48 dB too much.

References:
    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment", IEEE TIP 2004.
    Sharma, Wu, Dalal, "The CIEDE2000 color-difference formula", 2005 (by scikit-image).
"""

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy import ndimage

from hazegen.errors import RefusedError

Pixels = NDArray[np.uint8] | NDArray[np.float64]

PROTOCOL = "rgb"
WINDOW = 11
_SIGMA = 1.5


def psnr(image: Pixels, reference: Pixels, *, data_range: float) -> float:
    """Peak signal-to-noise ratio [dB]: 10 log10(range^2 / MSE); infinite for equal images.

    Args:
        image, reference: (height, width, 3), in the same range.
        data_range: Difference between white and black: 1.0 or 255.
    """
    _check(image, reference)
    mse = float(np.mean((image.astype(np.float64) - reference.astype(np.float64)) ** 2))
    return float("inf") if mse == 0.0 else float(10.0 * np.log10(data_range**2 / mse))


def ssim(image: Pixels, reference: Pixels, *, data_range: float) -> float:
    """Structural similarity, mean over windows and channels: 1 for equal images.

    Raises:
        RefusedError: Different shapes, or a side below 11 pixels.
    """
    _check(image, reference)
    if min(image.shape[:2]) < WINDOW:
        raise RefusedError(
            f"The images are too small for SSIM. Expected at least {WINDOW} x {WINDOW} pixels, received "
            f"{image.shape[:2]}. Leave them out."
        )
    x, y = image.astype(np.float64), reference.astype(np.float64)
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    var_x, var_y = _window_mean(x * x) - mean_x**2, _window_mean(y * y) - mean_y**2
    covariance = _window_mean(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    # luminance, contrast and structure in one fraction, with C3 = C2 / 2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    )
    return float(similarity.mean())


def ciede2000(image: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    """Mean CIEDE2000 colour difference of two sRGB images: 0 for equal ones, about 1 is just visible."""
    from skimage.color import deltaE_ciede2000, rgb2lab

    _check(image, reference)
    return float(deltaE_ciede2000(rgb2lab(image), rgb2lab(reference)).mean())


def _window_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian mean over each window that lies wholly inside."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(offsets**2) / (2.0 * _SIGMA**2))
    weights /= weights.sum()
    half = WINDOW // 2
    down = ndimage.correlate1d(values, weights, axis=0)[half:-half]
    return ndimage.correlate1d(down, weights, axis=1)[:, half:-half]


def _check(image: Pixels, reference: Pixels) -> None:
    if image.shape != reference.shape or image.ndim != 3:
        raise RefusedError(
            "Two images cannot be compared. Expected equal shapes (height, width, 3), received "
            f"{image.shape} and {reference.shape}. Align them; never resize one to the other."
        )


class PSNR(keras.metrics.Mean):
    """Mean over images of the PSNR of float images in [0, 1], the output clipped to [0, 1]."""

    def __init__(self, name: str = "psnr_rgb") -> None:
        super().__init__(name=name)

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None) -> None:
        restored = tf.clip_by_value(tf.cast(y_pred, tf.float32), 0.0, 1.0)
        super().update_state(tf.image.psnr(tf.cast(y_true, tf.float32), restored, max_val=1.0), sample_weight)


class SSIM(keras.metrics.Mean):
    """Mean over images of the SSIM of float images in [0, 1], the output clipped to [0, 1]."""

    def __init__(self, name: str = "ssim_rgb") -> None:
        super().__init__(name=name)

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None) -> None:
        restored = tf.clip_by_value(tf.cast(y_pred, tf.float32), 0.0, 1.0)
        super().update_state(tf.image.ssim(tf.cast(y_true, tf.float32), restored, max_val=1.0), sample_weight)
