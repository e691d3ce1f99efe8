"""What can be measured of a restored picture without a clean one: cheap, repeatable, and no proof of quality.

A picture of noise has many edges and a dark dark channel. Look at the pictures too.

References:
    He, Sun, Tang, "Single image haze removal using dark channel prior", CVPR 2009: the dark channel.
    Hautiere, Tarel, Aubert, Dumont, "Blind contrast enhancement assessment by gradient ratioing at visible
    edges", Image Analysis & Stereology, 2008: e and r, here from memory and with simpler edges.
    Choi, You, Bovik, "Referenceless prediction of perceptual fog density and perceptual image defogging",
    IEEE TIP 2015: FADE, by the package fade-python.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from aodnet.baselines import dark_channel
from hazegen import color
from hazegen.appearance import fade, load_fade, saturation

Pixels = NDArray[np.uint8]

__all__ = ["MEASURES", "fade", "load_fade", "measure", "saturation", "visible_edges"]

MEASURES = ("dark_channel", "saturation", "e", "r", "clipped")
# An edge is seen where the contrast within 3 x 3 pixels passes 5 % (as in the definition of visibility), and also
# 2 levels, so that rounding and JPEG do not count as edges in the dark.
_CONTRAST, _LEVELS = 0.05, 2


def measure(hazy: Pixels, restored: Pixels) -> dict[str, float]:
    """All of `MEASURES` of a restored picture beside its hazy one, uint8 (height, width, 3).

    dark_channel: mean of the dark channel in [0, 1], 0.2 and more under haze.
    saturation: mean of (max - min) / max over channels, in [0, 1]; haze lowers it.
    e: new visible edges, (n_restored - n_hazy) / n_hazy, of pixels on visible edges; 0 for the hazy picture.
    r: geometric mean of gradient(restored) / gradient(hazy) over the restored picture's visible edges; 1 for the hazy.
    clipped: share of pixels that became black or white in some channel.
    """
    before, after = (np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8) for pixels in (hazy, restored))
    edges = visible_edges(after)
    seen, new = int(visible_edges(before).sum()), int(edges.sum())
    return {
        "dark_channel": float(dark_channel(color.to_float(restored)).mean()),
        "saturation": saturation(restored),
        "e": (new - seen) / max(seen, 1),
        "r": _gradient_ratio(before, after, edges),
        "clipped": float((_at_limit(restored) & ~_at_limit(hazy)).mean()),
    }


def visible_edges(gray: Pixels) -> NDArray[np.bool_]:
    """Whether (max - min) / max within 3 x 3 pixels passes 5 %, and max - min 2 levels; (height, width)."""
    window = np.ones((3, 3), np.uint8)
    most = cv2.dilate(gray, window, borderType=cv2.BORDER_REPLICATE).astype(np.float32)
    span = most - cv2.erode(gray, window, borderType=cv2.BORDER_REPLICATE)
    return np.asarray((span > _CONTRAST * most) & (span > _LEVELS))


def _gradient_ratio(before: Pixels, after: Pixels, edges: NDArray[np.bool_]) -> float:
    """Geometric mean over `edges`; gradients below one level count as one."""
    if not edges.any():
        return 1.0
    ratio = np.log(np.maximum(_gradient(after)[edges], 1.0)) - np.log(np.maximum(_gradient(before)[edges], 1.0))
    return math.exp(float(ratio.mean()))


def _gradient(gray: Pixels) -> NDArray[np.float64]:
    """Length of the Sobel gradient; a step of one level has 1."""
    across, down = (
        cv2.Sobel(gray, cv2.CV_64F, *axes, scale=0.25, borderType=cv2.BORDER_REPLICATE) for axes in ((1, 0), (0, 1))
    )
    return np.asarray(np.hypot(across, down), np.float64)


def _at_limit(pixels: Pixels) -> NDArray[np.bool_]:
    return np.asarray(((pixels == 0) | (pixels == 255)).any(axis=2))
