"""A clean image, its distances and the haze between: the readable reference of the synthesis.

render.py does the same fast, and is held against this: 1 code value at most, before the camera's part.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hazegen import color, fields, physics, scattering
from hazegen.camera import take
from hazegen.geometry import Camera
from hazegen.sampling import HazeParams


@dataclass(frozen=True)
class Rendered:
    """A hazy image and how much of the scene is left in it.

    Attributes:
        hazy: sRGB code values, uint8 (height, width, 3).
        transmission: t in [0, 1], float32 (height, width, 1), or (height, width, 3) if beta has colour.
    """

    hazy: NDArray[np.uint8]
    transmission: NDArray[np.float32]


def render(
    clean: NDArray[np.uint8],
    distance_m: NDArray[np.float32],
    haze: HazeParams,
    color_space: str,
    camera: Camera | None = None,
) -> Rendered:
    """The hazy image of a clean one: I = J t + A (1 - t), rounded to 8 bits, then what the camera adds.

    Args:
        clean: sRGB code values, (height, width, 3).
        distance_m: The recipe's d [m], (height, width), at least 0; infinite where there is no surface.
        haze: All that was drawn.
        color_space: 'srgb' applies the equation to the code values as the published sets do;
            'linear' to linear light, and codes the result again. The two differ by 24 to 30 dB.
        camera: Intrinsics of the image, for haze that changes in space.

    Raises:
        UsageError: The haze changes in space and there is no camera.
    """
    length_m = fields.path_length(distance_m, haze, camera)
    transmission = transmission_of(length_m, haze)
    light = np.array(haze.atmospheric_light, np.float32)
    radiance = color.to_float(clean)
    if color_space == "linear":
        radiance = color.srgb_to_linear(radiance)
    glow: NDArray[np.floating] = np.zeros_like(radiance)
    if scattering.needed(haze):
        optical_depth = np.float32(haze.beta[1]) * length_m
        lamp = scattering.lamps(clean, distance_m, haze)
        planes, through = np.moveaxis(radiance, 2, 0), np.moveaxis(transmission, 2, 0)
        found = scattering.detours(planes, lamp, through, optical_depth, haze, scattering.spread)
        radiance, glow = (np.moveaxis(picture, 0, 2) for picture in found)
    hazy = physics.add_haze(radiance, transmission, light) + glow
    if color_space == "linear":
        hazy = color.linear_to_srgb(hazy)
    return Rendered(take(color.to_uint8(hazy), haze), transmission)


def transmission_of(length_m: NDArray[np.floating], haze: HazeParams) -> NDArray[np.float32]:
    """Transmission of `haze` over paths (height, width): (height, width, 1), or 3 if beta has colour."""
    beta = np.array(haze.beta if len(set(haze.beta)) > 1 else haze.beta[:1], np.float32)
    return np.asarray(physics.transmission(beta, length_m[..., None]), np.float32)
