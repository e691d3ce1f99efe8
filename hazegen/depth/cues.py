"""What a map itself tells of having been read the wrong way: inverted, wrapped round, in the wrong byte order."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hazegen.depth.alignment import Floats, close

Values = NDArray[Any]

# Half the length of the segments that are held against a plane [share of the longer side].
HALF_SEGMENT = 24 / 320
# Fewer segments say nothing. A segment must change by 20 % to be no flat wall seen from the front, and
# by less than a factor of 3.3 to lie on one surface.
FEWEST_SEGMENTS = 50
SMALLEST_CHANGE, LARGEST_CHANGE = 0.2, 1.2


def rise(depth_m: NDArray[np.floating]) -> float:
    """Rank correlation of depth with height in the picture: above 0 where higher is farther.

    Floors and roads come nearer towards the lower edge, and the sky is at the top: the correlation is
    positive for nearly all pictures with an upright camera, and changes its sign where near and far
    are interchanged, whatever the unit. Infinity is the farthest; NaN does not count.

    Returns:
        In -1 to 1; NaN where fewer than 100 pixels are measured, all are equal, or all lie in one row.
    """
    small = _shrink(depth_m)
    known = ~np.isnan(small)
    height = -np.broadcast_to(np.arange(small.shape[0])[:, None], small.shape)[known]
    values, place, count = np.unique(small[known], return_inverse=True, return_counts=True)
    if len(height) < 100 or len(values) == 1 or height.min() == height.max():
        return float("nan")
    rank = (np.cumsum(count) - count / 2.0)[place]  # the mean rank of equal depths
    return float(np.corrcoef(rank, height)[0, 1])


def _shrink(depth_m: NDArray[np.floating], size: int = 160) -> NDArray[np.floating]:
    """Every n-th pixel, so that the longer side has about `size`."""
    step = max(1, round(max(depth_m.shape) / size))
    return depth_m[step // 2 :: step, step // 2 :: step]


def plane_index(depth_m: Floats) -> tuple[float, int]:
    """Whether planes are planes: 1 for depth, 0 where inverse depth was taken for depth, below 0 for far - depth.

    Along a line in the picture, the inverse depth 1/z of a plane is linear. So on a segment of a plane
    from z1 to z2 the depth in the middle is their harmonic mean; where the numbers are inverse depth, it
    is the arithmetic mean. The index is the place of the middle between the arithmetic mean (0) and
    the harmonic one (1): the median over all segments on which depth rises or falls steadily.

    Returns:
        The index, and the number of segments; NaN where they are fewer than FEWEST_SEGMENTS.
    """
    if np.isfinite(depth_m).sum() < 100:
        return float("nan"), 0
    small = np.asarray(cv2.GaussianBlur(close(_shrink(depth_m, 320)), (0, 0), 2.0), np.float32)
    half = max(4, round(HALF_SEGMENT * max(small.shape)))
    found = np.concatenate([_middles(small, half), _middles(small.T, half)])
    return (float(np.median(found)) if len(found) >= FEWEST_SEGMENTS else float("nan")), len(found)


def _middles(depth: Floats, half: int) -> Floats:
    """The index of each vertical segment of length 2 `half` on which depth changes steadily."""
    if depth.shape[0] <= 2 * half:
        return np.zeros(0, np.float32)
    quarter = half // 2
    rows = depth.shape[0] - 2 * half
    at = np.stack([depth[offset : offset + rows : 4, ::4] for offset in (0, quarter, half, half + quarter, 2 * half)])
    steps = np.diff(at, axis=0)
    change = np.abs(np.log(at[4] / at[0]))
    steady = (
        ((steps > 0).all(axis=0) | (steps < 0).all(axis=0)) & (change > SMALLEST_CHANGE) & (change < LARGEST_CHANGE)
    )
    first, middle, last = at[0][steady], at[2][steady], at[4][steady]
    arithmetic, harmonic = (first + last) / 2.0, 2.0 * first * last / (first + last)
    return ((arithmetic - middle) / (arithmetic - harmonic)).astype(np.float32)


def wraps(values: Values, modulus: int) -> float:
    """Share of neighbouring pixels between which a number has run over `modulus` and begun again at 0.

    Where a surface recedes over the limit, the number jumps by nearly the whole range. Edges of objects
    seldom jump by more than 3/4 of it, and far oftener by 1/2 to 3/4, so jumps count where they are at
    least half as many as those. The smallest and the largest number, which mark holes and sky, do
    not count.
    """
    numbers = values.astype(np.int64)
    known = (numbers > 0) & (numbers < modulus - 1)
    jumps = [np.abs(np.diff(numbers, axis=axis))[np.logical_and(*_pairs(known, axis))] for axis in (0, 1)]
    jump = np.concatenate(jumps) / modulus
    over, middle = int((jump > 0.75).sum()), int(((jump > 0.5) & (jump <= 0.75)).sum())
    return over / jump.size if jump.size and over > middle / 2 else 0.0


def _pairs(known: NDArray[np.bool_], axis: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    return (known[1:], known[:-1]) if axis == 0 else (known[:, 1:], known[:, :-1])


def swapped_bytes(values: Values) -> float:
    """How much oftener the upper byte alone changes from pixel to pixel than the lower byte alone.

    Small steps change the lower byte: 0.03 at most in sound maps of 16 bits, above 30 where the bytes have
    changed places. 0 for other types, and where the lower byte is the same everywhere (8 bits, shifted).
    """
    if values.dtype.kind not in "ui" or values.dtype.itemsize != 2:
        return 0.0
    known = np.logical_and(*_pairs(values != 0, 1))
    lower, upper = (np.diff(part.astype(np.int32), axis=1)[known] != 0 for part in (values & 255, values >> 8))
    if not lower.any():
        return 0.0
    return float((upper & ~lower).sum() / max(1, (lower & ~upper).sum()))


def zeros_in_surfaces(values: Values) -> bool:
    """Whether zeros lie beside middling numbers, as holes do, and not beside the smallest, as the far end does."""
    zeros, known = values == 0, np.isfinite(values) & (values != 0)
    if zeros.sum() < 20 or not known.any():
        return False
    beside = np.zeros(values.shape, bool)
    beside[1:] |= zeros[:-1]
    beside[:-1] |= zeros[1:]
    beside[:, 1:] |= zeros[:, :-1]
    beside[:, :-1] |= zeros[:, 1:]
    rim = values[beside & known]
    some = values[known][:: max(1, int(known.sum()) // 100_000)].astype(np.float64)
    return bool(rim.size) and float(np.quantile(rim, 0.5, method="nearest")) > float(np.quantile(some, 0.25))
