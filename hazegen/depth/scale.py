"""Relative depth in metres, by a scale and a shift that are fitted to sparse metric points."""

import math

import numpy as np
from numpy.typing import NDArray

from hazegen.errors import RefusedError

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

FEWEST_POINTS = 10
# Huber's constant: 95 % of the efficiency of least squares where the errors are normal.
HUBER = 1.345
# Standard deviation of a normal error in units of its median magnitude.
MAD = 1.4826
ITERATIONS = 100
SMALLEST_WIDTH = 1e-9
# Of the points and the fitted line: below it the map says nothing about the points.
LEAST_CORRELATION = 0.5


def to_metres(relative: Floats, sparse_m: Floats, *, inverse: bool) -> Floats:
    """Depth [m] of a relative map by sparse metric points: `fit_scale`, then `apply_scale`."""
    scale, shift, _ = fit_scale(relative, sparse_m, inverse)
    return apply_scale(relative, scale, shift, inverse)


def fit_scale(relative: Floats, sparse_m: Floats, inverse: bool) -> tuple[float, float, float]:
    """Scale and shift that bring a relative map to sparse metric points.

    y = scale * relative + shift, with y = depth or 1 / depth, by least squares reweighted with Huber's weights
    until nothing moves: a fifth of the points may be wrong by any amount.

    Args:
        relative: Affine depth (larger is farther) or affine inverse depth (larger is nearer), (height, width);
            NaN not measured, infinite no surface, as readers.read_relative gives it.
        sparse_m: Depth [m] of the same size, NaN where there is no point.
        inverse: Whether the map is affine in inverse depth.

    Returns:
        Scale, shift, and the median of the points' relative errors in depth.

    Raises:
        RefusedError: Sizes differ, fewer than 10 points, a constant map, a map that does not follow the points,
            or that follows them the other way round.
    """
    if relative.shape != sparse_m.shape:
        raise RefusedError(
            f"Relative and sparse depth differ in size. Expected {relative.shape}, received {sparse_m.shape}. "
            "Bring the sparse depth to the size of the map."
        )
    with np.errstate(invalid="ignore"):
        used = np.isfinite(relative) & np.isfinite(sparse_m) & (sparse_m > 0)
    x, metres = relative[used].astype(np.float64), sparse_m[used].astype(np.float64)
    if x.size < FEWEST_POINTS:
        raise RefusedError(
            f"Too few metric points to fit a scale. Expected at least {FEWEST_POINTS} inside the map, received "
            f"{x.size}. Add points, or pass --near and --far."
        )
    scale, shift, correlation = _fit_line(x, 1.0 / metres if inverse else metres)
    if not abs(correlation) >= LEAST_CORRELATION:
        raise RefusedError(
            f"The relative depth does not follow the metric points. Expected a correlation of {LEAST_CORRELATION} "
            f"or more, received {correlation:.2f} at {x.size} points. Check that both belong to one picture."
        )
    if scale <= 0:
        raise RefusedError(
            f"The relative depth looks inverted against its points. Expected values that grow with "
            f"{'nearness' if inverse else 'distance'}, received a scale of {scale:.3g}. Try the other kind: "
            f"--depth-values {'relative' if inverse else 'relative-inverse'}."
        )
    with np.errstate(divide="ignore"):
        fitted = 1.0 / (scale * x + shift) if inverse else scale * x + shift
    return scale, shift, float(np.median(np.abs(fitted - metres) / metres))


def apply_scale(relative: Floats, scale: float, shift: float, inverse: bool) -> Floats:
    """Depth [m] = scale * relative + shift, or the inverse of that.

    Args:
        relative: As for fit_scale: infinity is the mark of no surface in either kind, and no nearness.

    Returns:
        float32; an inverse depth of 0 or less is no surface (infinite), a depth of 0 or less is not measured (NaN).
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        line = scale * relative.astype(np.float64) + shift
        if inverse:
            metres = np.where(line > 0, 1.0 / line, np.where(np.isnan(line), np.nan, np.inf))
        else:
            metres = np.where(line > 0, line, np.nan)
        return np.where(np.isposinf(relative), np.inf, metres).astype(np.float32)


def _fit_line(x: Doubles, y: Doubles) -> tuple[float, float, float]:
    """Slope, intercept and weighted correlation of a robust line; all NaN where x is constant."""
    slope, intercept = _line_of_pairs(x, y)
    correlation = math.nan
    for _ in range(ITERATIONS):
        errors = np.abs(y - slope * x - intercept)
        # The floor is for points without any error, whose median would be 0.
        width = max(HUBER * MAD * float(np.median(errors)), SMALLEST_WIDTH * float(np.median(np.abs(y))))
        before = (slope, intercept)
        slope, intercept, correlation = _weighted_line(x, y, np.minimum(1.0, width / np.maximum(errors, width)))
        if not math.isfinite(slope) or np.allclose(before, (slope, intercept), rtol=SMALLEST_WIDTH, atol=0.0):
            break
    return slope, intercept, correlation


def _line_of_pairs(x: Doubles, y: Doubles) -> tuple[float, float]:
    """Median of the slopes between points half the range apart: a start that a fifth of wrong points cannot spoil."""
    order, half = np.argsort(x, kind="stable"), x.size // 2
    near, far = order[:half], order[-half:]
    apart = x[far] > x[near]
    if not apart.any():
        return math.nan, math.nan
    slope = float(np.median((y[far] - y[near])[apart] / (x[far] - x[near])[apart]))
    return slope, float(np.median(y - slope * x))


def _weighted_line(x: Doubles, y: Doubles, weights: Doubles) -> tuple[float, float, float]:
    """Slope, intercept and correlation of weighted least squares."""
    mean_x, mean_y = np.average(x, weights=weights), np.average(y, weights=weights)
    off_x, off_y = x - mean_x, y - mean_y
    xx, xy, yy = (float(np.sum(weights * product)) for product in (off_x**2, off_x * off_y, off_y**2))
    if not xx > 0:
        return math.nan, math.nan, math.nan
    slope = xy / xx
    return slope, float(mean_y - slope * mean_x), xy / math.sqrt(xx * yy) if yy > 0 else 0.0
