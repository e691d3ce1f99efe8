"""Light that reaches the camera on a detour: the blur of what lies behind haze, and the glow of lamps.

Both are Gaussian blurs that widen with optical depth, put together from a few layers of fixed width,
each twice as wide as the one before it. The layers are defined here; `spread`, the blur itself, is an
argument, so that the fast renderer can bring its own. Pictures are held channel first here, (3, height,
width): a plane is what NumPy is fast on.

The forms are common practice in graphics, not a solution of radiative transfer.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from hazegen.fields import upsample
from hazegen.sampling import HazeParams

Floats = NDArray[np.floating]
Spread = Callable[[Floats, int], Floats]

# Standard deviation of a layer's blur in its cells; layer i has cells of 2^i pixels.
CELL_BLUR = 2.0
# Where that blur is cut off, in cells.
CELL_RADIUS = 6
# Widest blur and widest glow, as shares of the image's width.
_WIDEST_BLUR, _WIDEST_GLOW = 0.05, 0.2
# Standard deviation of the glow for each unit of optical depth, as a share of the image's width.
_GLOW_WIDTH = 0.03
# Optical depth beyond which nothing widens any more.
_DEEPEST = np.float32(1e4)
# Range of values below the threshold over which a surface becomes a lamp.
_LAMP_RAMP = 0.05


def needed(haze: HazeParams) -> bool:
    """Whether `detours` changes anything."""
    return bool(haze.scattering_blur or haze.glow or haze.illumination < 1.0)


def detours(
    radiance: Floats, lamp: Floats, transmission: Floats, optical_depth: Floats, haze: HazeParams, spread: Spread
) -> tuple[Floats, Floats]:
    """The scene as it is lit and as its light comes through, and the glow that is added to the hazy image.

    Args:
        radiance: J, (3, height, width).
        lamp: From `lamps`; what is no lamp is dimmed to the haze's illumination.
        transmission: t, (1, height, width) or (3, height, width).
        optical_depth: (height, width), may be infinite.
        haze: Its illumination, glow and scattering_blur are used.

    Returns:
        J and the glow, both (3, height, width).
    """
    dimmed = np.float32(haze.illumination)
    # One name for the radiance, unlit and lit: a caller that keeps no other is not made to hold both.
    radiance = radiance * (dimmed + (1 - dimmed) * lamp)
    added: Floats = np.zeros(radiance.shape, radiance.dtype)
    if haze.glow:
        added = glow(radiance * (np.float32(haze.glow) * lamp * (1 - transmission)), optical_depth, spread)
    if haze.scattering_blur:
        radiance = scatter(radiance, optical_depth, haze.scattering_blur, spread)
    return radiance, added


def spread(plane: Floats, layer: int) -> Floats:
    """Each pixel's light spread over its surroundings, (height, width).

    Nothing comes in from outside the picture, and what goes out is lost.
    """
    from scipy.ndimage import gaussian_filter

    height, width = plane.shape
    cell = 2**layer
    padded = np.pad(plane, ((0, -height % cell), (0, -width % cell)))
    cells = padded.reshape(padded.shape[0] // cell, cell, padded.shape[1] // cell, cell).mean((1, 3))
    blurred = gaussian_filter(cells, CELL_BLUR, radius=CELL_RADIUS, mode="constant")
    return np.asarray(upsample(blurred, cell, height, width), plane.dtype)


def scatter(radiance: Floats, optical_depth: Floats, share: float, spread: Spread) -> Floats:
    """What lies behind the haze as multiple scattering shows it: blurred the more, the deeper it lies.

    A pixel gathers light only from pixels that lie about as deep or deeper: near things leave no halo on
    what is far behind them, and stay sharp. Each result is a mean of values of the radiance.

    Args:
        radiance: J, (3, height, width).
        optical_depth: (height, width), may be infinite.
        share: Standard deviation for each unit of optical depth, as a share of the width.
    """
    result = radiance.copy()
    for layer, member in enumerate(_members(optical_depth, share, _WIDEST_BLUR)):
        gathered = np.maximum(spread(member, layer), np.float32(1e-12))
        for plane, seen in zip(radiance, result, strict=True):
            blurred = spread(plane * member, layer) / gathered
            blurred -= seen
            blurred *= member
            seen += blurred
    return result


def glow(taken: Floats, optical_depth: Floats, spread: Spread) -> Floats:
    """The light that haze took from lamps, where it is seen instead: around them.

    Each lamp's light goes to all layers up to its own width, to each twice as much as to the one before.
    As a layer's area is four times that of the one before, the glow falls with about 1 / r.

    Args:
        taken: Light of lamps that does not arrive straight, (3, height, width).
        optical_depth: (height, width), in front of each lamp.

    Returns:
        (3, height, width); its sum is at most that of `taken`.
    """
    # The layers are gone through twice, so that none has to be kept.
    here = 1 - next(_members(optical_depth, _GLOW_WIDTH, _WIDEST_GLOW))
    whole = sum(_glow_parts(optical_depth), here)
    result = taken * (here / whole)
    for layer, part in enumerate(_glow_parts(optical_depth)):
        part /= whole
        for plane, seen in zip(taken, result, strict=True):
            seen += spread(plane * part, layer)
    return result


def _glow_parts(optical_depth: Floats) -> Iterator[Floats]:
    for layer, member in enumerate(_members(optical_depth, _GLOW_WIDTH, _WIDEST_GLOW)):
        yield member * np.float32(2**layer)


def lamps(clean: NDArray[np.uint8], distance_m: NDArray[np.float32], haze: HazeParams) -> NDArray[np.float32]:
    """How far each pixel is a lamp, in [0, 1]: a surface whose darkest channel is near white.

    White alone makes a lamp: a red sign is bright in one channel and shines no more than a wall. The sky is none, if
    its distance is infinite: a sky that depth maps hold as a far surface cannot be told from a white wall.

    Returns:
        float32 (height, width); all 0 for haze without a glow.
    """
    if not haze.glow:
        return np.zeros(distance_m.shape, np.float32)
    darkest = clean.min(axis=2).astype(np.float32) / np.float32(255.0)
    share = np.clip((darkest - np.float32(haze.lamp_threshold)) / np.float32(_LAMP_RAMP) + np.float32(1.0), 0.0, 1.0)
    return np.where(np.isfinite(distance_m), share, np.float32(0.0))


def _members(optical_depth: Floats, share: float, widest: float) -> Iterator[Floats]:
    """How far each pixel belongs to each layer or a wider one, float32 (height, width), layer by layer.

    It rises from 0 to 1 while the pixel's blur widens from the layer before to this one.
    """
    width = optical_depth.shape[1]
    # Not infinite: 0 times the depth of the sky is not a number.
    blur_px = np.minimum(optical_depth, _DEEPEST).astype(np.float32) * np.float32(share * width)
    narrower, wide = 0.0, CELL_BLUR
    while narrower == 0.0 or wide <= widest * width:
        yield np.clip((blur_px - narrower) / np.float32(wide - narrower), 0.0, 1.0)
        narrower, wide = wide, 2.0 * wide
