"""K of AOD-Net as a picture: the same colours for the same K, whatever the picture, the epoch or the run."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

# K of the two ends of the colours, which go by factors. K = 1 leaves a pixel as it is, K > 1 takes haze away.
LOW, HIGH = 0.5, 4.0


def coloured(k: NDArray[np.float32]) -> NDArray[np.uint8]:
    """K (height, width, 3), averaged over its channels, in the colours of viridis: purple LOW, yellow HIGH."""
    mean = np.maximum(k.astype(np.float32).mean(axis=2), 1e-6)
    share = np.clip(np.log2(mean / LOW) / math.log2(HIGH / LOW), 0.0, 1.0)
    drawn = cv2.applyColorMap(np.rint(share * 255.0).astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    return np.asarray(cv2.cvtColor(drawn, cv2.COLOR_BGR2RGB), np.uint8)


def scale(width: int = 256, height: int = 14) -> NDArray[np.uint8]:
    """All colours from LOW to HIGH, from left to right."""
    k = LOW * (HIGH / LOW) ** np.linspace(0.0, 1.0, width, dtype=np.float32)
    return coloured(np.broadcast_to(k[None, :, None], (height, width, 3)))


def middle(k: NDArray[np.float32]) -> float:
    """The median of K."""
    return float(np.median(k))
