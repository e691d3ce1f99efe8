"""The statistics of one depth map and its image on which the depth doctor's findings rest."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hazegen.depth import cues, readers
from hazegen.depth.alignment import Alignment, Floats, align
from hazegen.depth.formats import ZERO_IS_A_VALUE, DepthFormat
from hazegen.depth.sky import find_sky

# Quantiles are taken of about this many numbers of a map.
ENOUGH = 100_000


@dataclass(frozen=True)
class Sample:
    """One image and its depth map, as the numbers of the file and as metres.

    Attributes:
        key: Name of the scene.
        image: uint8 (height, width, 3).
        values: The file's numbers, unpacked, (height, width); as they are, with all channels, where these
            are no map.
        depth_m: Depth or distance [m], NaN not measured, infinite without a surface; None where refused.
        fmt: What the numbers were taken to mean.
        problem: Why the map was refused; empty where it was not.
        container: Suffix of the file, without its dot.
    """

    key: str
    image: NDArray[np.uint8]
    values: NDArray[Any]
    depth_m: Floats | None
    fmt: DepthFormat
    problem: str = ""
    container: str = ""


@dataclass(frozen=True)
class Measured:
    """Statistics of one sample; all that the findings rest on.

    Attributes:
        raw, metres: Smallest, median and largest number [file's unit; m], without holes and sky; NaN where
            there is none.
        spread: From the 1 % to the 99 % quantile of raw, in medians.
        reach: The 95 % quantile of metres over the 5 % quantile.
        distinct: How many different numbers the file holds.
        zeros, low_zeros: Share of pixels that are exactly 0; and how many of those lie in the lower half.
        top: Share of pixels that have exactly the largest number.
        holes, sky: Share of pixels not measured, and without a surface.
        sky_holes: Share of pixels not measured that look like sky; see sky.py.
        rise, plane, segments, wraps, swapped: Of cues.py.
        alignment: Of alignment.py; None where map and image cannot be compared.
    """

    key: str
    dtype: str
    shape: tuple[int, ...]
    image_shape: tuple[int, int]
    fmt: DepthFormat
    problem: str
    raw: tuple[float, float, float]
    metres: tuple[float, float, float]
    spread: float
    reach: float
    distinct: int
    zeros: float
    low_zeros: float
    top: float
    holes: float
    sky: float
    sky_holes: float
    rise: float
    plane: float
    segments: int
    wraps: float
    swapped: float
    alignment: Alignment | None
    container: str = ""

    @property
    def is_color(self) -> bool:
        """Whether the file is a coloured picture."""
        return len(self.shape) == 3

    @property
    def is_metric(self) -> bool:
        """Whether the numbers are lengths or shifts with a unit, which relative depth and transmission are not."""
        return self.fmt.values not in ZERO_IS_A_VALUE


def measure(sample: Sample) -> Measured:
    """The statistics of one sample."""
    values, depth_m = sample.values, sample.depth_m
    plain = values.ndim == 2
    known = _known(values, sample.fmt) if plain else np.zeros(0)
    zeros = values == 0 if plain and values.size else np.zeros((1, 1), bool)
    lowest, median, highest = _three(known)
    low, high = _quantiles(known, 0.01, 0.99)
    finite_m = np.zeros(0) if depth_m is None else depth_m[np.isfinite(depth_m)]
    near_m, far_m = _quantiles(finite_m, 0.05, 0.95)
    plane, segments = (math.nan, 0) if depth_m is None else cues.plane_index(depth_m)
    return Measured(
        key=sample.key,
        dtype=values.dtype.name,
        shape=values.shape,
        image_shape=(sample.image.shape[0], sample.image.shape[1]),
        fmt=sample.fmt,
        problem=sample.problem,
        raw=(lowest, median, highest),
        metres=_three(finite_m),
        spread=(high - low) / abs(median) if median else 0.0,
        reach=far_m / near_m if near_m else math.nan,
        distinct=_count_distinct(values),
        zeros=float(zeros.mean()),
        low_zeros=float(zeros[zeros.shape[0] // 2 :].sum() / max(1, zeros.sum())),
        top=float((known == highest).sum() / values.size) if known.size else 0.0,
        holes=math.nan if depth_m is None else float(np.isnan(depth_m).mean()),
        sky=math.nan if depth_m is None else float(np.isposinf(depth_m).mean()),
        sky_holes=_sky_holes(sample),
        rise=math.nan if depth_m is None else cues.rise(depth_m),
        plane=plane,
        segments=segments,
        wraps=cues.wraps(values, 256**values.dtype.itemsize) if _is_short(values) else 0.0,
        swapped=cues.swapped_bytes(values) if plain else 0.0,
        alignment=None if depth_m is None else align(sample.image, depth_m),
        container=sample.container,
    )


def _known(values: NDArray[Any], fmt: DepthFormat) -> NDArray[Any]:
    """The numbers that mean a surface."""
    return values[np.isfinite(values) & ~(readers.no_surface(values, fmt) | readers.not_measured(values, fmt))]


def _sky_holes(sample: Sample) -> float:
    if sample.depth_m is None or sample.depth_m.shape != sample.image.shape[:2]:
        return math.nan
    return float(find_sky(sample.image, sample.depth_m).mean())


def _three(numbers: NDArray[Any]) -> tuple[float, float, float]:
    if not numbers.size:
        return math.nan, math.nan, math.nan
    with np.errstate(over="ignore"):  # the mean of the two middle ones
        return float(numbers.min()), float(np.median(numbers)), float(numbers.max())


def _quantiles(numbers: NDArray[Any], low: float, high: float) -> tuple[float, float]:
    """Two quantiles of not too many of the numbers; 0 where there is none."""
    if not numbers.size:
        return 0.0, 0.0
    some = numbers[:: max(1, numbers.size // ENOUGH)].astype(np.float64)
    first, second = np.quantile(some, (low, high), method="nearest")
    return float(first), float(second)


def _is_short(values: NDArray[Any]) -> bool:
    return values.ndim == 2 and values.dtype in (np.uint8, np.uint16)


def _middle(values: NDArray[Any], side: int = 1024) -> NDArray[Any]:
    """The middle of a large map, which tells as much of neighbours as the whole."""
    top, left = (max(0, (length - side) // 2) for length in values.shape)
    return values[top : top + side, left : left + side]


def _count_distinct(values: NDArray[Any]) -> int:
    if _is_short(values):
        return int(np.count_nonzero(np.bincount(values.ravel())))
    return int(np.unique(values).size)
