"""Atmospheric scattering: visibility, transmission, adding and removing haze, AOD-Net's K.

Every function works on NumPy and TensorFlow arrays alike: `xp` is the module that holds exp,
where and maximum for the arrays given (numpy by default). Radiance may be sRGB-coded or linear
light; the equation is the same, its result is not, so callers say which they use.

References:
    Koschmieder (1924); in today's form, and for K: Li, Peng, Wang, Xu, Feng, "AOD-Net", ICCV 2017
    (arXiv 1707.06543), Eq. 1, 2 and 4.
    WMO and ICAO: meteorological optical range, the path over which 5 % of the light is left.
"""

import math
from typing import Any

import numpy as np

# -ln(0.05): optical depth over one meteorological optical range. The 2 % range of older texts,
# 3.912 / beta, is 31 % longer: never mix the two.
OPTICAL_DEPTH_AT_VISIBILITY = math.log(20.0)

# The wavelength that a visibility, and a beta given as one number, refer to: green light.
REFERENCE_NM = 550.0


def beta_from_visibility(visibility_m: Any) -> Any:
    """Extinction coefficient [1/m] at which 5 % of the light is left after `visibility_m` [m].

    beta = -ln(0.05) / V = 2.996 / V
    """
    return OPTICAL_DEPTH_AT_VISIBILITY / visibility_m


def visibility_from_beta(beta: Any) -> Any:
    """Meteorological optical range [m] of the extinction coefficient `beta` [1/m], above 0."""
    return OPTICAL_DEPTH_AT_VISIBILITY / beta


def beta_at_wavelength(beta: Any, wavelength_nm: Any, exponent: Any) -> Any:
    """Extinction coefficient [1/m] at a wavelength [nm], from `beta` at 550 nm: Angstrom's law.

    beta(lambda) = beta (lambda / 550 nm)^-exponent

    An exponent of 0 is gray (the droplets of fog), one above 0 makes blue haze denser than red.
    """
    return beta * (wavelength_nm / REFERENCE_NM) ** -exponent


def transmission(beta: Any, distance_m: Any, xp: Any = np) -> Any:
    """Share of the scene's light that reaches the camera: t = exp(-beta d).

    Args:
        beta: Extinction coefficient [1/m], above 0: at 0 the infinite distance of the sky gives NaN.
        distance_m: Path length [m], at least 0; infinite where there is no surface, which gives 0.

    Returns:
        Transmission in [0, 1], in the broadcast shape of both.
    """
    return xp.exp(-(beta * distance_m))


def add_haze(radiance: Any, transmission: Any, atmospheric_light: Any) -> Any:
    """What the camera sees of a scene through haze: I = J t + A (1 - t).

    Args:
        radiance: J, the clean image, (..., 3) in [0, 1].
        transmission: t in [0, 1], (..., 1) or (..., 3).
        atmospheric_light: A in [0, 1], scalar or (3,).

    Returns:
        I, between J and A: J where t is 1, A where t is 0.
    """
    return radiance * transmission + atmospheric_light * (1.0 - transmission)


def remove_haze(hazy: Any, transmission: Any, atmospheric_light: Any, floor: float = 0.1, xp: Any = np) -> Any:
    """The scene behind known haze: J = (I - A) / max(t, floor) + A, not clipped.

    Below `floor` too little of the scene is left to be divided back; there the result is only a
    part of the way from I to J.
    """
    return (hazy - atmospheric_light) / xp.maximum(transmission, floor) + atmospheric_light


def k_from_haze(
    hazy: Any, transmission: Any, atmospheric_light: Any, bias: float = 1.0, epsilon: float = 1e-6, xp: Any = np
) -> Any:
    """AOD-Net's K in closed form: the K for which K I - K + b is exactly the clean image.

    K = ((I - A) / t + (A - b)) / (I - 1), Eq. 4 of the AOD-Net paper

    K is singular at I = 1: there K I - K + b equals b whatever K is, so no K restores another
    value than b. Where |I - 1| < epsilon the result is 1, the K of the identity for b = 1.

    Args:
        hazy: I in [0, 1], (..., 3).
        transmission: t, above 0.
        atmospheric_light: A in [0, 1].
        bias: b of the paper, 1 there.
    """
    singular = abs(hazy - 1.0) < epsilon
    denominator = xp.where(singular, xp.ones_like(hazy), hazy - 1.0)
    k = ((hazy - atmospheric_light) / transmission + (atmospheric_light - bias)) / denominator
    return xp.where(singular, xp.ones_like(hazy), k)
