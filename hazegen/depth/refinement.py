"""Moves depth edges onto the edges of the photo, so that haze has no fringe round what stands in front.

A depth map that is a few pixels off, or blunt at its edges, leaves a rim of clear air or of haze along each outline.
The refinement 'edges' looks only at pixels near a depth edge. Each asks the pixels round it on which side of the
edge it stands: a vote counts the more, the closer its pixel is in place and in colour. Where the vote is
clear and speaks against the depth map, or the depth map has a value between the two sides, the pixel takes the distance of
the best voter of the other side. Distances are selected, never averaged, so none appears that was not there; a plane
has no edge, whatever its texture, and is left alone. It is a joint bilateral vote over two sides.

The refinement 'guided' is the guided filter of transmission, for comparison with Foggy Cityscapes. It averages:
texture leaks into the haze, and edges of weak contrast are blurred over the whole window.

References:
    Petschnigg et al., "Digital Photography with Flash and No-Flash Image Pairs", SIGGRAPH 2004: joint bilateral weights.
    He, Sun, Tang, "Guided Image Filtering", ECCV 2010.
    Sakaridis, Dai, Van Gool, "Semantic Foggy Scene Understanding with Synthetic Data", IJCV 2018: window 41, mu 1e-3.
"""

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from hazegen.errors import UsageError

Method = Literal["edges", "guided"]
Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Places = NDArray[np.intp]

# Depth edges are looked for within this share of the width: 6 px of 640.
RADIUS_SHARE = 0.01
ROUNDS = 3
REACH = 2
POWER = 0.5
# A pixel is near an edge where its inverse depth departs this much from the mean round it; on a plane it does not.
DEPARTURE = 0.03
# A value this much above one neighbour and below the opposite one lies on the slope of a blunt edge.
SLOPE = 0.05
RUN = 3
# Code values of 255: a voter this far off in colour counts exp(-1/2).
COLOUR_SCALE = 12.0
# The other side must have this many times the votes of the pixel's own, or thin things would be voted down.
MAJORITY = 2.0

GUIDED_RADIUS_PX = 20
GUIDED_EPSILON = 1e-3


def refine(distance_m: Floats, image: Pixels, method: Method = "edges") -> Floats:
    """The distances, with their edges where the photo has its own.

    Args:
        distance_m: Depth or distance [m], (height, width), above 0, infinite where there is no surface; no NaN.
        image: The photo, uint8 (height, width, 3).
        method: 'edges' selects, 'guided' filters exp(-d / median d) and takes the logarithm back.

    Returns:
        float32 (height, width). 'edges': each value is one of the map's. 'guided': infinite where the map was.

    Raises:
        UsageError: There is no such method.
    """
    if method not in ("edges", "guided"):
        raise UsageError(
            f"The method of refinement is unknown. Expected edges or guided, received '{method}'. Correct the recipe."
        )
    assert image.shape == (*distance_m.shape, 3)
    if not np.isfinite(distance_m).any():
        return distance_m
    return snap_edges(distance_m, image) if method == "edges" else _guided_distance(distance_m, image)


def snap_edges(distance_m: Floats, image: Pixels) -> Floats:
    """Distances whose edges stand on the image's, as far as RADIUS_SHARE of the width."""
    radius = max(1, round(RADIUS_SHARE * distance_m.shape[1]))
    distance_m = _sharpened(distance_m, -(-radius // 2))
    for _ in range(ROUNDS):
        distance_m = _vote(distance_m, image, round(REACH * radius))
    return distance_m


def _sharpened(distance_m: Floats, radius: int) -> Floats:
    """Values on the slope of a blunt edge become those of its nearer or its farther end, whichever is closer."""
    window = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    near, far = cv2.erode(distance_m, window), cv2.dilate(distance_m, window)
    ends = np.where(1.0 / distance_m > 0.5 * (1.0 / near + 1.0 / far), near, far)
    return np.where(_on_slope(1.0 / distance_m), ends, distance_m)


def _vote(distance_m: Floats, image: Pixels, radius: int) -> Floats:
    """One round: each pixel near an edge asks those within `radius` px."""
    inverse = distance_m[np.isfinite(distance_m)].min() / distance_m
    near_edge, split = _edges(inverse, radius)
    ys, xs = np.nonzero(near_edge)
    votes, voters = _poll(ys * image.shape[1] + xs, inverse, split[near_edge], image, radius)
    own = (inverse > split)[near_edge].astype(np.intp)
    pixel = np.arange(len(own))
    change = votes[1 - own, pixel] > MAJORITY * votes[own, pixel]
    result = distance_m.copy()
    result[ys[change], xs[change]] = distance_m.ravel()[voters[1 - own, pixel][change]]
    return result


def _edges(inverse: Floats, radius: int) -> tuple[Mask, Floats]:
    """Pixels near a depth edge, and the inverse depth half-way between its two sides."""
    size = (2 * radius + 1, 2 * radius + 1)
    mean = cv2.blur(inverse, size, borderType=cv2.BORDER_REFLECT_101)
    window = np.ones(size, np.uint8)
    split = 0.5 * (cv2.dilate(inverse, window) + cv2.erode(inverse, window))
    return np.abs(inverse - mean) > DEPARTURE * mean, split


def _on_slope(inverse: Floats) -> Mask:
    """Pixels within a slope of at least RUN steep steps that all go one way, along a row or a column."""
    return _on_row_slope(inverse) | _on_row_slope(inverse.T).T


def _on_row_slope(inverse: Floats) -> Mask:
    step = np.diff(inverse, axis=1)
    level = np.minimum(inverse[:, 1:], inverse[:, :-1])
    result = np.zeros(inverse.shape, np.uint8)
    for way in (step, -step):
        steep = (way > SLOPE * level).astype(np.uint8)
        runs = cv2.morphologyEx(
            steep, cv2.MORPH_OPEN, np.ones((1, RUN), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0
        )
        result[:, 1:-1] |= runs[:, 1:] & runs[:, :-1]
    return result > 0


def _poll(
    at: Places, inverse: Floats, split: Floats, image: Pixels, radius: int
) -> tuple[Floats, Places]:
    """Votes for the far and the near side, (2, pixels) in that order, and where the best voter of each stands."""
    height, width = inverse.shape
    ys, xs = np.divmod(at, width)
    colours = [np.ascontiguousarray(image[..., channel]).ravel() for channel in range(3)]
    own = [colour[at].astype(np.int16) for colour in colours]
    alike = np.exp(-0.5 * (np.arange(256) / COLOUR_SCALE) ** 2).astype(np.float32)
    votes, best, count = np.zeros((3, 2, len(at)), np.float32)
    voters = np.zeros((2, len(at)), np.intp)
    inverse = inverse.ravel()
    for dy, dx, near in _window(radius):
        there = np.clip(ys + dy, 0, height - 1) * width + np.clip(xs + dx, 0, width - 1)
        differences = [np.abs(mine - colour[there]) for mine, colour in zip(own, colours, strict=True)]
        weight = near * alike[np.maximum(np.maximum(*differences[:2]), differences[2])]
        front = inverse[there] > split
        for side, mask in enumerate((~front, front)):
            part = weight * mask
            votes[side] += part
            count[side] += near * mask
            better = part > best[side]
            np.copyto(best[side], part, where=better)
            np.copyto(voters[side], there, where=better)
    return votes / np.maximum(count, 1e-6) ** POWER, voters


def _window(radius: int) -> list[tuple[int, int, np.float32]]:
    """Steps to the voters within `radius` px, and the weights of their places; about 120 voters at most."""
    stride = -(-radius // 6)
    reach = range(-(radius // stride) * stride, radius + 1, stride)
    scale = 0.75 * radius
    return [
        (dy, dx, np.float32(np.exp(-0.5 * (dy * dy + dx * dx) / scale**2)))
        for dy in reach
        for dx in reach
        if 0 < dy * dy + dx * dx <= radius * radius
    ]


def guided_transmission(transmission: Floats, image: Pixels, radius: int, epsilon: float) -> Floats:
    """The guided filter of a transmission map, with the photo's three channels as guide.

    In each window w the result is a_w . I + b_w with the least sum of (a_w . I + b_w - t)^2 + epsilon |a_w|^2;
    a pixel takes the mean over the windows that hold it (Eq. 19 to 21 of He et al., TPAMI 2013).

    Args:
        transmission: t in [0, 1], (height, width).
        image: The photo, uint8 (height, width, 3), used in [0, 1].
        radius: Half the window [px]: 20 for 41 x 41.
        epsilon: Above 0; contrasts below its root are smoothed away.

    Returns:
        float32 (height, width), clipped to [0, 1].
    """
    guide = image.astype(np.float32) / 255.0

    def mean(values: Floats) -> Floats:
        return cv2.blur(values, (2 * radius + 1, 2 * radius + 1), borderType=cv2.BORDER_REFLECT)

    centre, level = mean(guide), mean(transmission)
    products = guide[..., :, None] * guide[..., None, :]
    spread = mean(products.reshape(*transmission.shape, 9)).reshape(products.shape)
    spread -= centre[..., :, None] * centre[..., None, :]
    shared = mean(guide * transmission[..., None]) - centre * level[..., None]
    slope = np.linalg.solve(spread + epsilon * np.eye(3, dtype=np.float32), shared[..., None])[..., 0]
    offset = level - (slope * centre).sum(axis=-1)
    return np.clip((mean(slope) * guide).sum(axis=-1) + mean(offset), 0.0, 1.0)


def _guided_distance(distance_m: Floats, image: Pixels) -> Floats:
    """The guided filter on exp(-d / median d), which is bounded, and back; infinite where the map was."""
    finite = np.isfinite(distance_m)
    scale = np.median(distance_m[finite])
    transmission = np.exp(-distance_m / scale)
    smoothed = guided_transmission(transmission, image, GUIDED_RADIUS_PX, GUIDED_EPSILON)
    low, high = transmission[finite].min(), transmission[finite].max()
    result = -scale * np.log(np.clip(smoothed, max(low, 1e-30), high))
    return np.where(finite, result, np.float32(np.inf)).astype(np.float32)
