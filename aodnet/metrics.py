"""PSNR, SSIM and CIEDE2000 in float64, each image by itself, and the PSNR and SSIM of training.

`psnr` and `ssim` are the protocol `rgb`: PSNR of one mean squared error over height x width x 3;
SSIM for each channel with a Gaussian window of 11 x 11, sigma 1.5, K1 = 0.01, K2 = 0.03, population
covariance, windows that lie wholly inside the picture, then the mean. protocols.py has the others.

There is no default range: images in [0, 1] measured against 255 score 48 dB too much.

References:
    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment", IEEE TIP 2004.
    Sharma, Wu, Dalal, "The CIEDE2000 color-difference formula", 2005 (by scikit-image).
"""

from collections.abc import Iterator
from typing import Any, Literal

import cv2
import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from hazegen.errors import RefusedError

Pixels = NDArray[np.uint8] | NDArray[np.float64]
Floats = NDArray[np.float64]

PROTOCOL = "rgb"
WINDOW = 11
_SIGMA = 1.5
# Pixels that are worked on at a time: the float64 maps of a whole picture of 80 megapixels would take gigabytes.
_BAND_PX = 2**17


def _gaussian() -> Floats:
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(offsets**2) / (2.0 * _SIGMA**2))
    return np.asarray(weights / weights.sum(), np.float64)


GAUSSIAN = _gaussian()


def psnr(image: Pixels, reference: Pixels, *, data_range: float) -> float:
    """Peak signal-to-noise ratio [dB]: 10 log10(range^2 / MSE); infinite for equal images.

    Args:
        image, reference: (height, width, channels), in the same range.
        data_range: Difference between white and black: 1.0 or 255.
    """
    _check(image, reference)
    return psnr_of(sum(float(np.square(x - y).sum()) for x, y in _bands(image, reference)) / image.size, data_range)


def psnr_of(mse: float, data_range: float) -> float:
    """PSNR [dB] of a mean squared error."""
    return float("inf") if mse == 0.0 else float(10.0 * np.log10(data_range**2 / mse))


def ssim(
    image: Pixels,
    reference: Pixels,
    *,
    data_range: float,
    weights: Floats = GAUSSIAN,
    border: Literal["inside", "zeros", "edge"] = "inside",
    unbiased: bool = False,
) -> float:
    """Structural similarity, mean over windows and channels: 1 for equal images.

    Args:
        image, reference: (height, width, channels), in the same range.
        data_range: Difference between white and black.
        weights: Of one side of the window, an odd number of them, with the sum 1.
        border: Windows that lie wholly inside alone, or one around every pixel, beyond the border 0 or the edge.
        unbiased: Sample covariance (n / (n - 1)) in place of the population's.

    Raises:
        RefusedError: Different shapes, or a side below the window's.
    """
    _check(image, reference)
    size, half = len(weights), len(weights) // 2
    if border == "inside" and min(image.shape[:2]) < size:
        raise RefusedError(
            f"The images are too small for SSIM. Expected at least {size} x {size} pixels, received "
            f"{image.shape[:2]}. Leave them out."
        )
    if border != "inside":
        image, reference = (_padded(pixels, half, border) for pixels in (image, reference))
    bessel = size**2 / (size**2 - 1) if unbiased else 1.0
    total, count = 0.0, 0
    for x, y in _bands(image, reference, overlap=2 * half):
        similarity = _similarity(x, y, weights, data_range, bessel)
        total, count = total + float(similarity.sum()), count + similarity.size
    return total / count


def _similarity(x: Floats, y: Floats, weights: Floats, data_range: float, bessel: float) -> Floats:
    """SSIM of each window that lies wholly inside."""
    mean_x, mean_y = _window_mean(x, weights), _window_mean(y, weights)
    var_x = bessel * (_window_mean(x * x, weights) - mean_x**2)
    var_y = bessel * (_window_mean(y * y, weights) - mean_y**2)
    covariance = bessel * (_window_mean(x * y, weights) - mean_x * mean_y)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    # luminance, contrast and structure in one fraction, with C3 = C2 / 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return np.asarray(similarity / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)), np.float64)


def ciede2000(image: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    """Mean CIEDE2000 colour difference of two sRGB images: 0 for equal ones, about 1 is just visible."""
    from skimage.color import deltaE_ciede2000, rgb2lab

    _check(image, reference)
    bands = _bands(image, reference)
    total = sum(float(deltaE_ciede2000(rgb2lab(x / 255.0), rgb2lab(y / 255.0)).sum()) for x, y in bands)
    return total / (image.size / 3)


def _bands(image: Pixels, reference: Pixels, overlap: int = 0) -> Iterator[tuple[Floats, Floats]]:
    """Both images in float64, some rows at a time, of which each but the last shares `overlap` rows with the next."""
    rows = image.shape[0] - overlap
    step = max(1, _BAND_PX // image.shape[1])
    for top in range(0, rows, step):
        band = slice(top, min(top + step, rows) + overlap)
        yield image[band].astype(np.float64), reference[band].astype(np.float64)


def _padded(pixels: Pixels, half: int, border: Literal["zeros", "edge"]) -> Any:
    around = ((half, half), (half, half), (0, 0))
    return np.pad(pixels, around, mode="edge" if border == "edge" else "constant")


def _window_mean(values: Floats, weights: Floats) -> Floats:
    """Weighted mean over each window that lies wholly inside."""
    half = len(weights) // 2
    smoothed = np.asarray(cv2.sepFilter2D(values, cv2.CV_64F, weights, weights))
    return np.asarray(smoothed[half : smoothed.shape[0] - half, half : smoothed.shape[1] - half], np.float64)


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
