"""Which unmeasured pixels show the sky: a LiDAR has no return from it, and a stereo camera no match.

The rule, each part of it needed:

1. The map reaches beyond rooms: FAR_SHARE of the measured pixels are FAR_M away or more. Depth cameras for rooms end
   at 10 m (22 maps of six sets: 99 % of the pixels within 8.9 m, the farthest at 10.5 m), so a white
   ceiling, lamp or frame without a depth is no sky. The shallowest map at hand with sky in it, of a playground by
   stereo, has 2.5 % of its pixels beyond 10.5 m and ends at 15 m.
2. Neither the pixel nor one within NEAR_PX of it was measured: a LiDAR leaves four pixels in five of a wall without
   a depth, but not the fifth.
3. It looks like sky: bright, and not warmer than grey (blue is at least red, less a tolerance).
4. It hangs together with the upper border of the picture through such pixels that are smooth as well: no channel
   spans more than TEXTURE in a window round them. The rim where sky meets trees and roofs is not smooth; it is
   added afterwards, as far as a window reaches.

Taken for sky in error: a bright, smooth, bluish or grey wall or ceiling that reaches the upper border where nothing
was measured, in a street or a hall longer than FAR_M. Missed: a red or dark sky, that of a scene which ends nearer
than FAR_M, and patches between leaves and behind wires, which the completion then decides from what lies round them.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

FAR_M, FAR_SHARE = 10.5, 0.01
NEAR_PX = 2
# Code values of 255.
BRIGHT, WARM, TEXTURE = 110, 10, 24
WINDOW_PX = 5

Mask = NDArray[np.bool_]


def find_sky(image: NDArray[np.uint8], depth_m: NDArray[np.float32]) -> Mask:
    """Pixels without a measurement that are sky by the rule above.

    Args:
        image: The photo, uint8 (height, width, 3), the upper border above.
        depth_m: (height, width), NaN where nothing was measured; infinite counts as far.

    Returns:
        (height, width); never True where a depth was measured.
    """
    measured = ~np.isnan(depth_m)
    if not measured.any() or (depth_m[measured] >= FAR_M).mean() < FAR_SHARE:
        return np.zeros(depth_m.shape, np.bool_)
    coloured = _sky_coloured(image) & ~_grown(measured, NEAR_PX)
    sky = _from_above(coloured & _smooth(image))
    return _grown(sky, WINDOW_PX // 2) & coloured


def _sky_coloured(image: NDArray[np.uint8]) -> Mask:
    red, green, blue = (image[..., channel].astype(np.int16) for channel in range(3))
    return (np.minimum(green, blue) >= BRIGHT) & (blue >= red - WARM)


def _smooth(image: NDArray[np.uint8]) -> Mask:
    window = np.ones((WINDOW_PX, WINDOW_PX), np.uint8)
    span = cv2.dilate(image, window) - cv2.erode(image, window)
    return span.max(axis=-1) <= TEXTURE


def _grown(mask: Mask, by_px: int) -> Mask:
    window = np.ones((2 * by_px + 1, 2 * by_px + 1), np.uint8)
    return cv2.dilate(mask.astype(np.uint8), window) > 0


def _from_above(mask: Mask) -> Mask:
    """The parts of the mask that touch the first row."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    wanted = np.unique(labels[0][mask[0]])
    return np.isin(labels, wanted)
