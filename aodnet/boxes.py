"""Boxes around objects: how far two overlap, which stay, which agree; how a picture lies in a network's input."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Corners = NDArray[np.float64]

# The colour of the borders that Ultralytics' exports are trained with.
BORDER = (114, 114, 114)


@dataclass(frozen=True)
class Boxes:
    """What a detector has found in one picture, the surest first.

    Attributes:
        corners: Left, top, right, bottom of each [px], from the picture's upper left corner; float64 (n, 4).
        scores: Confidence of each, in [0, 1]; (n,).
        classes: Number of the class of each, from 0; (n,).
    """

    corners: Corners
    scores: NDArray[np.float64]
    classes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> "Boxes":
        return Boxes(self.corners[chosen], self.scores[chosen], self.classes[chosen])


def ranked(boxes: Boxes, limit: int) -> Boxes:
    """The `limit` surest boxes, the surest first; of equally sure ones the earlier first."""
    return boxes.take(np.argsort(-boxes.scores, kind="stable")[:limit])


def overlaps(a: Corners, b: Corners) -> NDArray[np.float64]:
    """Intersection over union of each box of `a` with each of `b`: (len(a), len(b)), 0 where both are empty."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0.0), axis=2)
    union = _areas(a)[:, None] + _areas(b)[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0.0)


def _areas(corners: Corners) -> NDArray[np.float64]:
    areas: NDArray[np.float64] = np.prod(np.maximum(corners[:, 2:] - corners[:, :2], 0.0), axis=1)
    return areas


def suppress(boxes: Boxes, threshold: float) -> Boxes:
    """Non-maximum suppression within each class: a box goes where a surer one overlaps it by more than `threshold`."""
    kept: list[int] = []
    for number in np.unique(boxes.classes):
        own = np.flatnonzero(boxes.classes == number)
        sides = np.hstack([boxes.corners[own, :2], boxes.corners[own, 2:] - boxes.corners[own, :2]])
        # No threshold of scores: that was applied before.
        chosen = cv2.dnn.NMSBoxes(sides.tolist(), boxes.scores[own].tolist(), 0.0, threshold)
        kept += own[np.asarray(chosen, np.intp)].tolist()
    return ranked(boxes.take(np.sort(np.asarray(kept, np.intp))), len(kept))


def match(found: Boxes, reference: Boxes, threshold: float) -> NDArray[np.int64]:
    """The box of `reference` that each box of `found` agrees with, -1 for none.

    Greedy: the surest box chooses first, and takes the box of its class, not yet taken, that it overlaps
    most, if by at least `threshold`.

    Args:
        found: The surest first, as Boxes always are.
    """
    partners, free = np.full(len(found), -1, np.int64), np.ones(len(reference), bool)
    for row in range(len(found)) if len(reference) else ():
        fitting = free & (reference.classes == found.classes[row])
        shared = np.where(fitting, overlaps(found.corners[row : row + 1], reference.corners)[0], 0.0)
        best = int(np.argmax(shared))
        if shared[best] >= threshold:
            partners[row], free[best] = best, False
    return partners


# --- a picture in a network's input ---


@dataclass(frozen=True)
class Placement:
    """Where a picture lies in a network's input: x' = scale_x x + left, y' = scale_y y + top [px].

    Coordinates are those of edges: 0 is the left edge of the first pixel, the width the right edge of the last.
    """

    scale_x: float
    scale_y: float
    left: int
    top: int


def stretched(width: int, height: int, size: tuple[int, int]) -> Placement:
    """The picture fills an input of `size` (width, height), its proportions lost."""
    return Placement(size[0] / width, size[1] / height, 0, 0)


def letterboxed(width: int, height: int, size: tuple[int, int]) -> Placement:
    """The picture as large as it fits, its proportions kept, in the middle of an input of `size` (width, height)."""
    factor = min(size[0] / width, size[1] / height)
    new = [max(1, round(side * factor)) for side in (width, height)]
    return Placement(new[0] / width, new[1] / height, (size[0] - new[0]) // 2, (size[1] - new[1]) // 2)


def place(
    pixels: NDArray[np.uint8], placement: Placement, size: tuple[int, int], interpolation: int
) -> NDArray[np.uint8]:
    """The network's input, uint8 (height, width, 3), grey where the picture does not reach."""
    new = round(pixels.shape[1] * placement.scale_x), round(pixels.shape[0] * placement.scale_y)
    canvas = np.full((size[1], size[0], 3), BORDER, np.uint8)
    inside = canvas[placement.top : placement.top + new[1], placement.left : placement.left + new[0]]
    inside[:] = cv2.resize(pixels, new, interpolation=interpolation)
    return canvas


def to_picture(corners: Corners, placement: Placement, width: int, height: int) -> Corners:
    """Boxes in a network's input as boxes in the picture, cut at its borders."""
    offset = np.array([placement.left, placement.top] * 2, np.float64)
    scale = np.array([placement.scale_x, placement.scale_y] * 2)
    return np.clip((corners - offset) / scale, 0.0, np.array([width, height] * 2, np.float64))
