"""The definitions of PSNR and SSIM under which dehazing papers report, each by a name of its own.

The same pictures score 0.63 to 0.76 in SSIM and several dB apart in PSNR by these alone, so no figure
stands without the name of its protocol. docs/evaluation.md says who uses which, and what from memory is.

References:
    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment", IEEE TIP 2004, and its ssim_index.m.
    ITU-R BT.601: luma, 16 to 235.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aodnet import metrics
from aodnet.measures import protocol_names
from aodnet.metrics import Pixels

Floats = NDArray[np.float64]
Measure = Callable[[Pixels, Pixels, float], float]

# Of red, green and blue: rgb2gray of MATLAB [from memory], the first row of the inverse of its YIQ matrix.
_GRAY = np.array([0.298936021293775, 0.587043074451121, 0.114020904255103])
# BT.601: 16 for black, 235 for white, of codes 0 to 255.
_LUMA, _BLACK = np.array([65.481, 128.553, 24.966]) / 255.0, 16.0 / 255.0
# Side of the pictures that Wang's script is made for: larger ones are shrunk by a whole number.
_SIDE = 256
_UNIFORM = np.full(7, 1.0 / 7.0)


@dataclass(frozen=True)
class Protocol:
    """One pair of definitions.

    Attributes:
        name: As in tables and files.
        definition: What decides the figures, beside the pictures.
        users: Who reports so.
        psnr, ssim: Of a restored and a clean image, (height, width, 3), and the range of both.
    """

    name: str
    definition: str
    users: str
    psnr: Measure
    ssim: Measure


def rgb_psnr(image: Pixels, clean: Pixels, data_range: float) -> float:
    """One mean squared error over height x width x 3."""
    return metrics.psnr(image, clean, data_range=data_range)


def rgb_ssim(image: Pixels, clean: Pixels, data_range: float) -> float:
    """Each channel, 11 x 11 Gaussian windows inside the picture, then the mean."""
    return metrics.ssim(image, clean, data_range=data_range)


def pooled_ssim(image: Pixels, clean: Pixels, data_range: float) -> float:
    """`rgb_ssim` of both pictures shrunk by round(lesser side / 256), each pixel the mean of those it covers."""
    ratio = max(1, round(min(image.shape[:2]) / _SIDE))
    return metrics.ssim(area_pool(image, ratio), area_pool(clean, ratio), data_range=data_range)


def padded_ssim(image: Pixels, clean: Pixels, data_range: float) -> float:
    """A window around every pixel; beyond the border both pictures are 0, which likens them there."""
    return metrics.ssim(image, clean, data_range=data_range, border="zeros")


def luma_psnr(image: Pixels, clean: Pixels, data_range: float) -> float:
    """Of BT.601 luma; the range stays 255 though luma spans 219, which alone adds 1.32 dB."""
    return metrics.psnr(luma(image, data_range), luma(clean, data_range), data_range=data_range)


def luma_ssim(image: Pixels, clean: Pixels, data_range: float) -> float:
    """Of BT.601 luma."""
    return metrics.ssim(luma(image, data_range), luma(clean, data_range), data_range=data_range)


def gray_psnr(image: Pixels, clean: Pixels, data_range: float) -> float:
    """Of gray values rounded to 256 levels."""
    return metrics.psnr(gray(image, data_range), gray(clean, data_range), data_range=data_range)


def gray_ssim(image: Pixels, clean: Pixels, data_range: float) -> float:
    """Of gray values rounded to 256 levels, never shrunk."""
    return metrics.ssim(gray(image, data_range), gray(clean, data_range), data_range=data_range)


def matlab_ssim(image: Pixels, clean: Pixels, data_range: float) -> float:
    """Of rounded gray values, a window around every pixel, beyond the border the edge's values."""
    return metrics.ssim(gray(image, data_range), gray(clean, data_range), data_range=data_range, border="edge")


def uniform_ssim(image: Pixels, clean: Pixels, data_range: float) -> float:
    """Each channel, uniform windows of 7 x 7, sample covariance: what scikit-image does unasked."""
    return metrics.ssim(image, clean, data_range=data_range, weights=_UNIFORM, unbiased=True)


_ALL = (
    Protocol(
        "rgb",
        "PSNR of one MSE over height x width x 3; SSIM per channel, 11 x 11 Gaussian, sigma 1.5, windows inside",
        "BasicSR; scikit-image with gaussian_weights, sigma 1.5, population covariance; tf.image.ssim",
        rgb_psnr,
        rgb_ssim,
    ),
    Protocol(
        "rgb-down",
        "PSNR as rgb at full size; SSIM as rgb after area pooling by round(lesser side / 256)",
        "test.py of DehazeFormer and its descendants",
        rgb_psnr,
        pooled_ssim,
    ),
    Protocol(
        "rgb-same",
        "PSNR as rgb; SSIM as rgb with a window around every pixel, zeros beyond the border",
        "net/metrics.py of FFA-Net",
        rgb_psnr,
        padded_ssim,
    ),
    Protocol(
        "y",
        "PSNR and SSIM (as rgb) of BT.601 luma, 16 to 235, not rounded, against a range of 255",
        "super-resolution papers",
        luma_psnr,
        luma_ssim,
    ),
    Protocol(
        "wang-gray",
        "PSNR and SSIM (as rgb) of gray values rounded to 256 levels, not shrunk",
        "ssim_index.m of Zhou Wang",
        gray_psnr,
        gray_ssim,
    ),
    Protocol(
        "matlab-ipt",
        "PSNR as rgb; SSIM of rounded gray values, a window around every pixel, the edge repeated beyond the border",
        "psnr() and ssim() of MATLAB's Image Processing Toolbox, a replica",
        rgb_psnr,
        matlab_ssim,
    ),
    Protocol(
        "skimage-default",
        "PSNR as rgb; SSIM per channel, 7 x 7 uniform, sample covariance, windows inside",
        "code that calls structural_similarity with no options",
        rgb_psnr,
        uniform_ssim,
    ),
)
PROTOCOLS = {protocol.name: protocol for protocol in _ALL}


def parse_protocols(text: str) -> tuple[Protocol, ...]:
    """The protocols of measures.protocol_names."""
    return tuple(PROTOCOLS[name] for name in protocol_names(text))


def gray(pixels: Pixels, data_range: float) -> Floats:
    """Gray values rounded to 256 levels, (height, width, 1), in the range of `pixels`."""
    return np.rint(pixels @ _GRAY * (255.0 / data_range))[..., None] * (data_range / 255.0)


def luma(pixels: Pixels, data_range: float) -> Floats:
    """BT.601 luma, (height, width, 1), in the range of `pixels`."""
    return np.asarray((pixels @ _LUMA + _BLACK * data_range)[..., None], np.float64)


def area_pool(pixels: Pixels, ratio: int) -> Floats:
    """Pixels of the picture shrunk by `ratio`, as adaptive_avg_pool2d of PyTorch makes them."""
    return _pool_rows(_pool_rows(pixels.astype(np.float64), ratio).swapaxes(0, 1), ratio).swapaxes(0, 1)


def _pool_rows(values: Floats, ratio: int) -> Floats:
    """Row i is the mean of rows floor(i n / m) to ceil((i + 1) n / m) of n rows, with m = floor(n / ratio)."""
    before, after = len(values), len(values) // ratio
    starts = np.arange(after) * before // after
    stops = -(-np.arange(1, after + 1) * before // after)
    sums = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])
    return np.asarray((sums[stops] - sums[starts]) / (stops - starts)[:, None, None], np.float64)
