"""Fits the haze equation to a hazy/clean pair and its distances: which beta and A made it, and how sure that is.

With distances d, I = J t + A (1 - t) with t = exp(-beta d): for a given beta the best A is in closed form,
so beta alone is searched for. Without distances every small patch has its own t, and A alone is searched for.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hazegen import color, physics

ColorSpace = Literal["srgb", "linear"]
Array = NDArray[np.float64]

# Optical depths of the middle distance between which beta is searched: t from 0.997 to 3e-6.
THINNEST, THICKEST, STEPS = 0.003, 12.5, 32
# One value in so many counts as independent: JPEG blocks and errors of a depth map have no finer grain. Set so
# that the errors of beta and A, which are known for the released AOD-Net pairs, are within one standard error in
# 68 % of the files or more.
DEPENDENT = 170.0
# Two code values: where the equation's own result is nearer than this to 0 or 255, the file may be clipped.
CLIPPED = 2.0 / 255.0
# Largest standard errors of a fit that is relied upon: a share of beta, and of A as it is.
SURE_BETA, SURE_LIGHT = 0.2, 0.04
QUANTISATION = 1.0 / 255.0 / math.sqrt(12.0)


@dataclass(frozen=True)
class Fit:
    """The haze that explains a pair best, under one convention.

    Attributes:
        beta: Extinction [1/m], None where there were no distances.
        beta_error: Standard error of beta [1/m]; infinite where the pair cannot tell.
        atmospheric_light: A for red, green, blue in [0, 1], in the colour space of the fit; not cut off at 1.
        light_error: Largest standard error of A; infinite where the pair cannot tell.
        gray: Whether one A for the three channels explains the pair as well as three do.
        rmse: Root mean square residual of sRGB-coded values in [0, 1], unclipped pixels alone.
        transmission: Its 5 %, 50 % and 95 % quantile over the picture.
    """

    beta: float | None
    beta_error: float
    atmospheric_light: tuple[float, float, float]
    light_error: float
    gray: bool
    rmse: float
    transmission: tuple[float, float, float]


@dataclass(frozen=True)
class _Pixels:
    """Hazy and clean values (n, 3) in the space of the fit, distance (n, 1), weight of each value (n, 3)."""

    hazy: Array
    clean: Array
    distance: Array
    weight: Array


def fit_distance(hazy: Array, clean: Array, distance_m: Array, space: ColorSpace) -> Fit | None:
    """Beta and A of a pair whose distances are known, by weighted least squares in three rounds.

    The second and third round leave out what the first could not explain (Tukey's biweight) and what the
    equation itself puts beyond the range of a file: to choose by the file's own values would bias the fit.

    Args:
        hazy, clean: sRGB-coded values in [0, 1], (n, 3).
        distance_m: Path length [m], (n,), above 0; infinite where there is no surface.
        space: Values that the equation is applied to.

    Returns:
        None where there is no finite distance or no pixel is left.
    """
    finite = distance_m[np.isfinite(distance_m)]
    if not finite.size:
        return None
    middle = float(np.median(finite))
    steep = slope(hazy, space)
    values = _Pixels(into(hazy, space), into(clean, space), distance_m[:, None], steep**2)
    # Gray or coloured is asked last, of the pixels that are left.
    beta, light = _search(values, THINNEST / middle, THICKEST / middle, gray=False)
    for _ in range(2):
        keep = _trusted(values, steep, beta, light, space)
        if keep.sum() < 100:
            return None
        values = _Pixels(values.hazy, values.clean, values.distance, steep**2 * keep)
        beta, light = _search(values, beta / 3.0, beta * 3.0, gray=False)
    gray_beta, gray_light = _search(values, beta / 3.0, beta * 3.0, gray=True)
    squares = [_squares(values, *found) for found in ((beta, light), (gray_beta, gray_light))]
    gray = is_gray(squares[0], squares[1], int((values.weight > 0).sum()), light, DEPENDENT)
    beta, light = (gray_beta, gray_light) if gray else (beta, light)
    return _judged(values, hazy, beta, light, gray, space)


def into(coded: Array, space: ColorSpace) -> Array:
    """sRGB-coded values in the space of a fit."""
    return coded if space == "srgb" else np.asarray(color.srgb_to_linear(coded))


def _out_of(values: Array, space: ColorSpace) -> Array:
    return values if space == "srgb" else np.asarray(color.linear_to_srgb(values))


def slope(coded: Array, space: ColorSpace) -> Array:
    """Code values per unit of the fit's space: turns its residuals into those of the file."""
    if space == "srgb":
        return np.ones_like(coded)
    step = 1.0 / 255.0
    low, high = np.maximum(coded - step, 0.0), np.minimum(coded + step, 1.0)
    return (high - low) / np.asarray(color.srgb_to_linear(high) - color.srgb_to_linear(low))


def _search(values: _Pixels, low: float, high: float, *, gray: bool) -> tuple[float, Array]:
    """The beta in [low, high] with the least squares, and its A: a logarithmic grid, then Brent's method."""
    from scipy import optimize

    def squares(log_beta: float) -> float:
        return _best_light(values, math.exp(log_beta), gray)[1]

    grid = np.linspace(math.log(low), math.log(high), STEPS if high > 10.0 * low else 5)
    best = int(np.argmin([squares(point) for point in grid]))
    bounds = grid[max(best - 1, 0)], grid[min(best + 1, grid.size - 1)]
    found = optimize.minimize_scalar(squares, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    beta = math.exp(found.x)
    return beta, _best_light(values, beta, gray)[0]


def _best_light(values: _Pixels, beta: float, gray: bool) -> tuple[Array, float]:
    """The A (3,) that fits `beta` best, in closed form, and the weighted sum of squares that it leaves.

    A = sum(w y u) / sum(w u^2) with y = I - J t and u = 1 - t
    """
    t = physics.transmission(beta, values.distance)
    y = values.hazy - values.clean * t
    weighted = values.weight * (1.0 - t)
    yu, uu = np.einsum("ij,ij->j", weighted, y), (1.0 - t)[:, 0] @ weighted
    if gray:
        yu, uu = np.full(3, yu.sum()), np.full(3, uu.sum())
    light = np.divide(yu, uu, out=np.zeros(3), where=uu > 0)
    explained = light @ yu / 3.0 if gray else light @ yu
    return light, float(np.einsum("ij,ij,ij", values.weight, y, y) - explained)


def _squares(values: _Pixels, beta: float, light: Array) -> float:
    residual = values.hazy - physics.add_haze(values.clean, physics.transmission(beta, values.distance), light)
    return float((values.weight * residual**2).sum())


def _trusted(values: _Pixels, steep: Array, beta: float, light: Array, space: ColorSpace) -> Array:
    """Weight in [0, 1] of each value, by how well the equation explains it and whether a file can hold that."""
    expected = physics.add_haze(values.clean, physics.transmission(beta, values.distance), light)
    coded = _out_of(np.clip(expected, 0.0, 1.0), space)
    inside = (coded > CLIPPED) & (coded < 1.0 - CLIPPED)
    if inside.mean() < 0.05:
        inside = np.ones_like(inside)  # all of it is at the edge: rounding bias is less than no answer
    residual = np.abs((values.hazy - expected) * steep)
    scale = max(1.4826 * float(np.median(residual[inside])), QUANTISATION)
    return inside * np.clip(1.0 - (residual / (4.685 * scale)) ** 2, 0.0, 1.0) ** 2


def is_gray(coloured: float, gray: float, count: int, light: Array, dependent: float) -> bool:
    """Whether three values of A explain no more than two more parameters have to (Bayesian information)."""
    independent, floor = count / dependent, count * QUANTISATION**2
    gain = independent * math.log((gray + floor) / (coloured + floor))
    return gain < 2.0 * math.log(max(independent, 2.0)) or float(np.ptp(light)) < 1.0 / 255.0


def _judged(values: _Pixels, hazy: Array, beta: float, light: Array, gray: bool, space: ColorSpace) -> Fit:
    t = physics.transmission(beta, values.distance)
    expected = _out_of(np.clip(physics.add_haze(values.clean, t, light), 0.0, 1.0), space)
    used = values.weight > 0
    rmse = math.sqrt(float(np.mean((hazy - expected)[used] ** 2)))
    beta_error, light_error = _errors(values, beta, light, gray, rmse)
    return Fit(beta, beta_error, as_rgb(light), light_error, gray, rmse, as_rgb(np.quantile(t, (0.05, 0.5, 0.95))))


def as_rgb(values: Array) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def _errors(values: _Pixels, beta: float, light: Array, gray: bool, rmse: float) -> tuple[float, float]:
    """Standard errors of beta and of A, from the normal matrix of both: infinite where it is singular."""
    t = physics.transmission(beta, values.distance)
    far = np.where(np.isfinite(values.distance), values.distance, 0.0)
    by_beta = far * t * (light - values.clean) * beta  # by log beta: a number near 1 like A
    cross = (values.weight * by_beta * (1.0 - t)).sum(axis=0)
    own = (values.weight * (1.0 - t) ** 2).sum(axis=0)
    if gray:
        cross, own = cross.sum(keepdims=True), own.sum(keepdims=True)
    matrix = np.diag(np.concatenate(([(values.weight * by_beta**2).sum()], own)))
    matrix[0, 1:] = matrix[1:, 0] = cross
    errors = standard_errors(matrix, rmse, DEPENDENT)
    return float(errors[0] * beta), float(errors[1:].max())


def standard_errors(matrix: Array, rmse: float, dependent: float) -> Array:
    if not np.isfinite(matrix).all() or np.linalg.cond(matrix) > 1e12:
        return np.full(len(matrix), np.inf)
    variance = dependent * max(rmse, QUANTISATION) ** 2 * np.diag(np.linalg.inv(matrix))
    return np.sqrt(np.where(variance > 0, variance, np.inf))


def why_uncertain(fit: Fit) -> str:
    """Why a fit cannot be relied upon, in a sentence; empty where it can."""
    low, _, high = fit.transmission
    unknown = [] if fit.beta is None or fit.beta_error <= SURE_BETA * fit.beta else ["beta"]
    unknown += [] if fit.light_error <= SURE_LIGHT else ["A"]
    if not unknown:
        return ""
    if high < 0.05:
        why = "the haze is opaque (transmission saturated)"
    elif low > 0.95:
        why = "there is next to no haze"
    else:
        why = "the picture has too little contrast or too even a distance"
    return f"The pair does not tell {' and '.join(unknown)}: {why}."
