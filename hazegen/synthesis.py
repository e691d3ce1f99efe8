"""A clean image, its distances and the haze between: the readable reference of the synthesis."""

import numpy as np
from numpy.typing import NDArray

from hazegen import color, physics
from hazegen.sampling import HazeParams


def transmission_of(distance_m: NDArray[np.float32], haze: HazeParams) -> NDArray[np.float32]:
    """Transmission of `haze` over `distance_m` (height, width): (height, width, 1), or 3 if beta has colour."""
    beta = np.array(haze.beta if len(set(haze.beta)) > 1 else haze.beta[:1], np.float32)
    return np.asarray(physics.transmission(beta, distance_m[..., None]), np.float32)


def render(
    clean: NDArray[np.uint8], transmission: NDArray[np.float32], haze: HazeParams, color_space: str
) -> NDArray[np.uint8]:
    """The hazy image of a clean one: I = J t + A (1 - t), rounded to 8 bits.

    Args:
        clean: sRGB code values, (height, width, 3).
        transmission: From `transmission_of`.
        haze: Its atmospheric light is used.
        color_space: 'srgb' applies the equation to the code values as the published sets do;
            'linear' to linear light, and codes the result again. The two differ by 24 to 30 dB.

    Returns:
        sRGB code values, uint8 (height, width, 3).
    """
    light = np.array(haze.atmospheric_light, np.float32)
    radiance = color.to_float(clean)
    if color_space == "srgb":
        return color.to_uint8(physics.add_haze(radiance, transmission, light))
    hazy = physics.add_haze(color.srgb_to_linear(radiance), transmission, light)
    return color.to_uint8(color.linear_to_srgb(hazy))
