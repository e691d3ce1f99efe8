"""How hazy a picture looks, without a clean one beside it: cheap, repeatable, and no proof of quality.

References:
    He, Sun, Tang, "Single image haze removal using dark channel prior", CVPR 2009: the dark channel.
    Choi, You, Bovik, "Referenceless prediction of perceptual fog density and perceptual image defogging",
    IEEE TIP 2015: FADE, by the package fade-python.
"""

import math
import threading
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hazegen import light
from hazegen.errors import UsageError

Pixels = NDArray[np.uint8]

# FADE cuts the picture into patches of 8 x 8 and fails on fewer than 2 x 2.
_FADE_LEAST_PX = 16

# Numba's own threads, which FADE may use, are not safe to start from several of ours.
_FADE = threading.Lock()


def dark_channel(pixels: Pixels) -> float:
    """Mean of the dark channel (the darkest value within 15 x 15 pixels), in [0, 1]; haze raises it."""
    return float(light.dark_channel(pixels).mean() / 255.0)


def saturation(pixels: Pixels) -> float:
    """Mean of (max - min) / max over channels, in [0, 1], 0 for black; haze lowers it."""
    most = pixels.max(axis=2).astype(np.float64)
    return float(((most - pixels.min(axis=2)) / np.maximum(most, 1.0)).mean())


def contrast(pixels: Pixels) -> float:
    """Standard deviation of the gray values (root mean square contrast), in [0, 0.5]; haze lowers it."""
    return float(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.float64).std() / 255.0)


def fade(pixels: Pixels) -> float:
    """Perceptual fog density: higher is foggier; not a number where the picture is small or has no contrast.

    Raises:
        UsageError: The package is not there.
    """
    run = load_fade()
    if min(pixels.shape[:2]) < _FADE_LEAST_PX or not pixels.std():
        return math.nan
    with _FADE, np.errstate(all="ignore"):
        return float(run(np.ascontiguousarray(pixels)))


def load_fade() -> Any:
    """The function of fade-python.

    Raises:
        UsageError: The package is not there.
    """
    try:
        from pyfade import fade as run  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        raise UsageError(
            "FADE is not installed. Expected the package fade-python, received an environment without it. Run pip "
            "install 'hazegen[metrics]'; its notice allows research, evaluation and internal use."
        ) from None
    return run
