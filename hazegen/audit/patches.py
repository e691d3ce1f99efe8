"""Fits the haze equation to a pair without distances: every small patch has a transmission of its own.

For a given A the best t of a patch is in closed form, so A alone is searched for.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hazegen.audit.fit import (
    CLIPPED,
    QUANTISATION,
    Array,
    ColorSpace,
    Fit,
    as_rgb,
    into,
    is_gray,
    slope,
    standard_errors,
)

# Patches of 2 x 2 pixels and 3 channels: in larger ones the distance varies more.
PATCH_VALUES, PATCHES = 12, 10_000
# One value in so many counts as independent: what varies inside patches, and from one to the next, is the same
# over whole surfaces. Set as audit_fit.DEPENDENT is.
DEPENDENT = 400.0


@dataclass(frozen=True)
class _Moments:
    """Weighted sums over each patch: of w, w I, w J by channel (patches, 3), of w I^2, w I J, w J^2 (patches,)."""

    one: Array
    hazy: Array
    clean: Array
    hazy_hazy: Array
    hazy_clean: Array
    clean_clean: Array


def fit_patches(hazy: Array, clean: Array, space: ColorSpace) -> Fit | None:
    """A of a pair without distances: every patch of 2 x 2 pixels has a transmission of its own.

    For a given A the best t of a patch is sum (I - A)(J - A) / sum (J - A)^2 over its pixels and channels,
    so the residual is a function of A alone.

    Args:
        hazy, clean: sRGB-coded values in [0, 1] of `blocks`, (patches, 4, 3).

    Returns:
        None where no patch is free of clipped values.
    """
    whole = _unclipped(hazy, clean)
    if not whole.any():
        return None
    hazy, clean = hazy[whole], clean[whole]
    moments = _moments(into(hazy, space), into(clean, space), slope(hazy, space) ** 2)
    light = np.full(3, _gray_light(moments))
    for _ in range(2):
        moments = _even(moments, light)
        light = np.full(3, _gray_light(moments))
    coloured = _descend(moments, light)
    count = len(moments.one) * PATCH_VALUES
    squares = float(_left(moments, coloured).sum()), float(_left(moments, light).sum())
    gray = is_gray(*squares, count, coloured, DEPENDENT)
    light = light if gray else coloured
    rmse = math.sqrt(max(float(_left(moments, light).sum()), 0.0) / count)
    t = np.quantile(_patch_transmission(moments, light)[0], (0.05, 0.5, 0.95))
    return Fit(None, math.inf, as_rgb(light), _light_error(moments, light, gray, rmse), gray, rmse, as_rgb(t))


def blocks(picture: NDArray[Any]) -> NDArray[Any]:
    """Patches of 2 x 2 pixels, spread evenly over a picture (height, width, 3): (patches, 4, 3)."""
    height, width = picture.shape[:2]
    # An even step keeps the patches on the grid of subsampled chroma.
    step = 2 * max(1, round(math.sqrt(height * width / PATCHES) / 2.0))
    rows, columns = height // step, width // step
    grid = picture[: rows * step, : columns * step].reshape(rows, step, columns, step, 3)
    return grid[:, :2, :, :2].swapaxes(1, 2).reshape(rows * columns, 4, 3)


def _unclipped(hazy: Array, clean: Array) -> NDArray[np.bool_]:
    """Which patches hold no 0 and no 255."""
    low, high = CLIPPED / 4.0, 1.0 - CLIPPED / 4.0
    inside = (hazy > low) & (hazy < high) & (clean > low) & (clean < high)
    return np.asarray(inside.all(axis=(1, 2)))


def _moments(hazy: Array, clean: Array, weight: Array) -> _Moments:
    by_channel = [product.sum(axis=1) for product in (weight, weight * hazy, weight * clean)]
    products = (hazy * hazy, hazy * clean, clean * clean)
    return _Moments(*by_channel, *(np.einsum("ijk,ijk->i", weight, product) for product in products))


def _patch_transmission(m: _Moments, light: Array) -> tuple[Array, Array, Array]:
    """The best t in [0, 1] of each patch for a given A, and sum (J - A)^2 and sum (I - A)(J - A)."""
    own = m.one @ light**2
    clean = m.clean_clean - 2.0 * (m.clean @ light) + own
    both = m.hazy_clean - (m.hazy + m.clean) @ light + own
    t = np.divide(both, clean, out=np.ones_like(both), where=clean > 1e-12)
    return np.clip(t, 0.0, 1.0), clean, both


def _left(m: _Moments, light: Array) -> Array:
    """Sum of squares that A leaves in each patch when it has its best t."""
    t, clean, both = _patch_transmission(m, light)
    hazy = m.hazy_hazy - 2.0 * (m.hazy @ light) + m.one @ light**2
    return np.asarray(hazy - 2.0 * t * both + t**2 * clean)


def _even(moments: _Moments, light: Array) -> _Moments:
    """The patches without an edge of the distance in them: those that one t explains about as well as most."""
    left = _left(moments, light)
    keep = left <= 2.0 * np.median(left) + PATCH_VALUES * QUANTISATION**2
    return _Moments(*(values[keep] for values in vars(moments).values()))


def _gray_light(moments: _Moments) -> float:
    """The gray A in [0, 1.2] with the least squares: an even grid, then Brent's method."""
    from scipy import optimize

    def squares(light: float) -> float:
        return float(_left(moments, np.full(3, light)).sum())

    grid = np.linspace(0.0, 1.2, 25)
    best = int(np.argmin([squares(point) for point in grid]))
    bounds = grid[max(best - 1, 0)], grid[min(best + 1, grid.size - 1)]
    return float(optimize.minimize_scalar(squares, bounds=bounds, method="bounded", options={"xatol": 1e-7}).x)


def _descend(moments: _Moments, light: Array) -> Array:
    """The A of three channels with the least squares, from a gray start."""
    from scipy import optimize

    scale = max(float(_left(moments, light).sum()), 1e-12)

    def squares(light: Array) -> float:
        return float(_left(moments, light).sum()) / scale

    simplex = light + 0.05 * np.eye(4, 3, -1)
    found = optimize.minimize(
        squares,
        light,
        method="Nelder-Mead",
        options={"xatol": 1e-5, "fatol": 1e-7, "maxiter": 400, "initial_simplex": simplex},
    )
    return np.asarray(found.x)


def _light_error(moments: _Moments, light: Array, gray: bool, rmse: float) -> float:
    """Largest standard error of A from the curvature of the squares, half of which is the normal matrix."""
    step = 0.01
    axes = np.ones((1, 3)) * step if gray else np.eye(3) * step
    size = len(axes)
    matrix = np.empty((size, size))
    for i in range(size):
        for j in range(size):
            ends = [_left(moments, light + a * axes[i] + b * axes[j]).sum() for a in (1, -1) for b in (1, -1)]
            matrix[i, j] = (ends[0] - ends[1] - ends[2] + ends[3]) / (8.0 * step**2)
    return float(standard_errors(matrix, rmse, DEPENDENT).max())
