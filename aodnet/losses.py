"""Training losses, one value an example: weighted sums of L2, its logarithm, L1, Charbonnier, 1 - SSIM and 1 - MS-SSIM.

Every term is a mean over one example's pixels, so that a replica can add its examples up and divide by the
global batch. Everything is computed in float32, whatever the network computes in, and a number that is not
finite comes out as one: what to do about it is the trainer's business.

References:
    Lai, Huang, Ahuja, Yang, "Deep Laplacian Pyramid Networks", CVPR 2017, arXiv 1704.03915: Charbonnier and its
        epsilon (from memory, unconfirmed).
    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment", IEEE TIP 2004: SSIM.
    Wang, Simoncelli, Bovik, "Multiscale structural similarity", Asilomar 2003: MS-SSIM and its exponents.
"""

import functools
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from aodnet.config import parse_loss as parse_loss

EPSILON = 1e-3  # of the Charbonnier loss, in pictures of [0, 1]
LEAST_MSE = 1e-5  # of the logarithm, as in benchmarks/native/search.cpp; a mean squared error of 50 dB PSNR
# As in metrics.py, where the protocol `rgb` is defined.
WINDOW = 11
_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2
EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of MS-SSIM's scales, the finest first
# Ours. A scale's similarity may be negative, of which a fractional power is NaN, and 0 has an infinite slope.
_LEAST = 1e-3


def l2(clean: tf.Tensor, restored: tf.Tensor) -> tf.Tensor:
    """Mean squared error, the loss of the AOD-Net paper."""
    return tf.reduce_mean(tf.square(restored - clean), axis=[1, 2, 3])


def log_mse(clean: tf.Tensor, restored: tf.Tensor) -> tf.Tensor:
    """ln(MSE + 1e-5), from -11.5 for equal pictures up; minimising its mean maximises the mean PSNR.

    PSNR = -10 log10(MSE) = -4.34 ln(MSE), so that a mean over pictures counts a decibel of each alike, where L2 is
    ruled by those that are restored worst. 1e-5, which is 50 dB, keeps the gradient finite for equal pictures.
    """
    return tf.math.log(l2(clean, restored) + LEAST_MSE)


def l1(clean: tf.Tensor, restored: tf.Tensor) -> tf.Tensor:
    """Mean absolute error."""
    return tf.reduce_mean(tf.abs(restored - clean), axis=[1, 2, 3])


def charbonnier(clean: tf.Tensor, restored: tf.Tensor) -> tf.Tensor:
    """Mean of sqrt(difference^2 + epsilon^2), a smooth L1: epsilon, 0.001, for equal pictures."""
    return tf.reduce_mean(tf.sqrt(tf.square(restored - clean) + EPSILON**2), axis=[1, 2, 3])


def ssim(clean: tf.Tensor, restored: tf.Tensor) -> tf.Tensor:
    """1 - SSIM, for pictures in [0, 1] of at least 11 x 11 pixels."""
    return 1.0 - tf.reduce_mean(_similarity(clean, restored)[0], axis=1)


def ms_ssim(clean: tf.Tensor, restored: tf.Tensor) -> tf.Tensor:
    """1 - MS-SSIM, for pictures in [0, 1] of at least 11 x 11 pixels.

    The five scales of the paper need sides of 176 pixels, the window's 11 four times doubled. Smaller pictures
    have as many of the finest scales as fit (128 pixels: four). The exponents are scaled to a sum of 1.
    """
    sides = clean.shape[1:3]
    if None not in sides:
        return _multiscale(clean, restored, scales(min(sides)))
    least = tf.reduce_min(tf.shape(clean)[1:3])
    more = [tf.cast(least >= WINDOW << number, tf.int32) for number in range(1, len(EXPONENTS))]
    branches = [functools.partial(_multiscale, clean, restored, number + 1) for number in range(len(EXPONENTS))]
    return tf.switch_case(tf.add_n(more), branches)


TERMS = {"l2": l2, "log-mse": log_mse, "l1": l1, "charbonnier": charbonnier, "ssim": ssim, "ms-ssim": ms_ssim}


def scales(side: int) -> int:
    """How many of MS-SSIM's scales fit into pictures of this least side [px]: 1 to 5."""
    return sum(side >= WINDOW << number for number in range(1, len(EXPONENTS))) + 1


def least_side(weights: Mapping[str, float]) -> int:
    """The least side of pictures that these terms can be computed of [px]."""
    return WINDOW if {"ssim", "ms-ssim"} & weights.keys() else 1


def least(weights: Mapping[str, float]) -> float:
    """What these terms are not below for any pictures: 0, or less with the logarithm."""
    return weights.get("log-mse", 0.0) * float(np.log(LEAST_MSE))


def without_logarithm(weights: Mapping[str, float]) -> dict[str, float]:
    """The terms with L2 in the place of its logarithm: a share of one loss in another needs a zero."""
    linear = {name: weight for name, weight in weights.items() if name != "log-mse"}
    if "log-mse" in weights:
        linear["l2"] = linear.get("l2", 0.0) + weights["log-mse"]
    return linear


def per_example(weights: Mapping[str, float], clean: tf.Tensor, restored: tf.Tensor) -> tf.Tensor:
    """The weighted sum of the terms for each example, (batch,), float32.

    Args:
        weights: As `parse_loss` gives them.
        clean, restored: (batch, height, width, 3), of any float type, in [0, 1]; the restored may exceed 1.
    """
    clean, restored = tf.cast(clean, tf.float32), tf.cast(restored, tf.float32)
    return tf.add_n([weight * TERMS[name](clean, restored) for name, weight in weights.items()])


def total(weights: Mapping[str, float], clean: tf.Tensor, restored: tf.Tensor) -> tf.Tensor:
    """The mean of `per_example`, a scalar."""
    return tf.reduce_mean(per_example(weights, clean, restored))


def _similarity(clean: tf.Tensor, restored: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """SSIM, and its contrast and structure alone: means over the windows, (batch, channels) each."""
    # Variances as E[x^2] - E[x]^2 lose digits far from 0; a common shift changes none of them.
    centre = tf.stop_gradient(tf.reduce_mean(clean, axis=[1, 2], keepdims=True))
    x, y = clean - centre, restored - centre
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    variances = _window_mean(x * x + y * y) - mean_x**2 - mean_y**2
    covariance = _window_mean(x * y) - mean_x * mean_y
    structure = (2.0 * covariance + _C2) / (variances + _C2)
    mean_x, mean_y = mean_x + centre, mean_y + centre
    luminance = (2.0 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return tf.reduce_mean(luminance * structure, axis=[1, 2]), tf.reduce_mean(structure, axis=[1, 2])


def _multiscale(clean: tf.Tensor, restored: tf.Tensor, count: int) -> tf.Tensor:
    """1 - MS-SSIM by the finest `count` scales: structure of all, luminance of the coarsest alone."""
    exponents = np.array(EXPONENTS[:count]) / sum(EXPONENTS[:count])
    product = tf.ones([], tf.float32)
    for number, exponent in enumerate(exponents, start=1):
        whole, structure = _similarity(clean, restored)
        product *= tf.maximum(whole if number == count else structure, _LEAST) ** exponent
        if number < count:
            clean, restored = (tf.nn.avg_pool2d(picture, 2, 2, "VALID") for picture in (clean, restored))
    return 1.0 - tf.reduce_mean(product, axis=1)


def _window_mean(pictures: tf.Tensor) -> tf.Tensor:
    """Gaussian mean over each window that lies wholly inside, of three channels."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    line = np.exp(-(offsets**2) / (2.0 * _SIGMA**2))
    line = (line / line.sum()).astype(np.float32)
    down = tf.tile(tf.reshape(line, (WINDOW, 1, 1, 1)), (1, 1, 3, 1))
    across = tf.reshape(down, (1, WINDOW, 3, 1))
    rows = tf.nn.depthwise_conv2d(pictures, down, (1, 1, 1, 1), "VALID")
    return tf.nn.depthwise_conv2d(rows, across, (1, 1, 1, 1), "VALID")
