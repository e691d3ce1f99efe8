"""Moves depth edges onto the edges of the photo, so that haze has no fringe round what stands in front.

A depth map that is a few pixels off, or blunt at its edges, leaves a rim of clear air or of haze along each outline.
The refinement 'edges' first gives each value on the slope of a blunt edge to one of its two ends. Then each pixel near
a depth edge asks those round it on which side it stands; a vote counts the more, the closer its pixel is in place
and in colour. Where the other side is clearly more alike, the pixel takes the distance of its best voter there.
Distances are selected, never averaged, so none appears that the map did not have. A plane has no depth edge, whatever
its texture, and is left alone. (Weights as in the joint bilateral filter, a vote of two sides in place of its mean.)

The refinement 'guided' is the guided filter of the transmission, to compare with Foggy Cityscapes. It averages: the
photo's texture leaks into the haze, and a depth edge of weak contrast is blurred over the whole window.

References:
    Petschnigg et al., "Digital Photography with Flash and No-Flash Image Pairs", SIGGRAPH 2004: the joint bilateral
    filter.
    He, Sun, Tang, "Guided Image Filtering", ECCV 2010.
    Sakaridis, Dai, Van Gool, "Semantic Foggy Scene Understanding with Synthetic Data", IJCV 2018 (Foggy Cityscapes):
    guided filter with a window of 41 px and mu = 1e-3.
"""

from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from hazegen.errors import UsageError

Method = Literal["edges", "guided"]
Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Places = NDArray[np.intp]

# By this share of the width an edge may be off: 6 px of 640. Of the voters within REACH times that most stand right.
SHIFT_SHARE = 0.01
REACH = 2.5
# Of a larger window some of its pixels are asked, about half as many as one of 13 x 13 has; pixels ask in parts that
# stay in the processor's cache.
VOTERS = 13
PART = 30_000
# Later rounds look again at what lies round the changes of the last one.
ROUNDS = 3
# A pixel is near an edge where its inverse depth departs by this share from the mean round it. On a plane, which is
# linear in inverse depth, it departs by nothing.
DEPARTURE = 0.03
# A blunt edge: at least RUN steps from pixel to pixel that go one way, each above this share of the lower value.
SLOPE, RUN = 0.05, 3
# Code values of 255: a voter this far off in colour counts exp(-1/2).
COLOUR_SCALE = 12.0
ALIKE = np.exp(-0.5 * (np.arange(256) / COLOUR_SCALE) ** 2).astype(np.float32)
# What it takes to change sides; docs/fidelity.md. Votes are weighed against the root of their number: by their sum
# the larger side would win and thin things vanish, by their mean a few stray pixels of the right colour would do.
MAJORITY, MORE_ALIKE = 2.0, 1.6

GUIDED_RADIUS_PX = 20
GUIDED_EPSILON = 1e-3
# The guided filter goes through the picture in strips of about so many pixels: it takes some 200 bytes for each.
GUIDED_STRIP_PX = 2**16


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
    """Distances whose edges stand on the image's, if they were off by no more than SHIFT_SHARE of the width."""
    shift = max(1, round(SHIFT_SHARE * distance_m.shape[1]))
    result = _sharpened(distance_m, -(-shift // 2))
    radius = round(REACH * shift)
    open_ = np.ones(result.shape, np.bool_)
    for _ in range(ROUNDS):
        before, result = result, _vote(result, image, open_, radius)
        changed = (result != before).astype(np.uint8)
        open_ = cv2.dilate(changed, _square(radius)) > 0
    # The median of nine selects as well: a pixel that changed sides alone goes back.
    return np.where(result != distance_m, cv2.medianBlur(result, 3), result)


def _sharpened(distance_m: Floats, radius: int) -> Floats:
    """Values on the slope of a blunt edge become those of its nearer or its farther end, whichever is closer."""
    near, far = cv2.erode(distance_m, _square(radius)), cv2.dilate(distance_m, _square(radius))
    ends = np.where(1.0 / distance_m > 0.5 * (1.0 / near + 1.0 / far), near, far)
    inverse = _inverse(distance_m)
    # The middle of a slope departs from nothing, its two bends do.
    near_bend = cv2.dilate(_departs(inverse, radius).astype(np.uint8), _square(radius)) > 0
    return np.where(near_bend & _on_slope(inverse), ends, distance_m)


def _inverse(distance_m: Floats) -> Floats:
    """Inverse depth in (0, 1], 0 in the sky."""
    return distance_m[np.isfinite(distance_m)].min() / distance_m


def _departs(inverse: Floats, radius: int) -> Mask:
    """Pixels whose inverse depth is not the mean of the window round it: a plane's is, as far as it goes."""
    # Continued beyond the border as a plane is.
    framed = np.pad(inverse, radius, mode="reflect", reflect_type="odd")
    mean = cv2.blur(framed, (2 * radius + 1, 2 * radius + 1))[radius:-radius, radius:-radius]
    # The blur's running sums leave something above 0 in the sky.
    return np.abs(inverse - mean) > DEPARTURE * np.abs(mean) + 1e-6


def _on_slope(inverse: Floats) -> Mask:
    """Pixels inside the slope of a blunt edge, along their row or their column."""
    return _on_row_slope(inverse) | _on_row_slope(inverse.T).T


def _on_row_slope(inverse: Floats) -> Mask:
    steps, lower = np.diff(inverse, axis=1), np.minimum(inverse[:, 1:], inverse[:, :-1])
    result = np.zeros(inverse.shape, np.bool_)
    for way in (steps, -steps):
        steep = np.pad(way > SLOPE * lower, [(0, 0), (1, 1)]).astype(np.uint8)
        run = cv2.morphologyEx(steep, cv2.MORPH_OPEN, np.ones((1, RUN), np.uint8)) > 0
        result |= run[:, 1:] & run[:, :-1]
    return result


def _vote(distance_m: Floats, image: Pixels, open_: Mask, radius: int) -> Floats:
    """One round: each open pixel near an edge asks those within `radius` px."""
    inverse = _inverse(distance_m)
    near_edge = open_ & _departs(inverse, radius)
    split = 0.5 * (cv2.dilate(inverse, _square(radius)) + cv2.erode(inverse, _square(radius)))[near_edge]
    # A frame that repeats the border: every voter lies inside, and stands a fixed step away in one long row.
    frame = [(radius, radius)] * 2
    width = distance_m.shape[1] + 2 * radius

    def row(values: Any) -> Any:
        return np.pad(values, frame, mode="edge").ravel()

    framed = _Framed(row(inverse), row(_packed(image)), row(distance_m))
    steps = [(dy * width + dx, near) for dy, dx, near in _window(radius)]
    at = np.flatnonzero(np.pad(near_edge, frame))
    chosen = framed.distance_m[at]
    for part in range(0, len(at), PART):
        here = slice(part, part + PART)
        change, voter = _poll(at[here], split[here], framed, steps)
        chosen[here][change] = framed.distance_m[voter[change]]
    result = distance_m.copy()
    result[near_edge] = chosen
    return result


@dataclass(frozen=True)
class _Framed:
    """The picture in one row: inverse depth, colours of four bytes, distances."""

    inverse: Floats
    colours: NDArray[np.uint32]
    distance_m: Floats


def _packed(image: Pixels) -> NDArray[np.uint32]:
    """Each pixel's colour in one number, to be fetched at once."""
    return np.pad(image, [(0, 0), (0, 0), (0, 1)]).view(np.uint32)[..., 0]


def _poll(at: Places, split: Floats, framed: _Framed, steps: list[tuple[int, np.float32]]) -> tuple[Mask, Places]:
    """Which pixels change sides, and the place of each one's best voter on the other side."""
    own_colour, own_side = framed.colours[at].view(np.uint8), framed.inverse[at] > split
    votes, other_votes, other_count, best = np.zeros((4, len(at)), np.float32)
    voter = at.copy()
    for step, near in steps:
        there = at + step
        differences = cv2.absdiff(own_colour, framed.colours[there].view(np.uint8)).reshape(-1, 4)
        vote = near * ALIKE[np.maximum(np.maximum(differences[:, 0], differences[:, 1]), differences[:, 2])]
        other = (framed.inverse[there] > split) != own_side
        votes += vote
        vote *= other
        other_votes += vote
        other_count += near * other
        better = vote > best
        np.copyto(best, vote, where=better)
        np.copyto(voter, there, where=better)
    count = sum(near for _, near in steps) - other_count
    return _outvoted(votes - other_votes, count, other_votes, other_count), voter


def _outvoted(votes: Floats, count: Floats, other_votes: Floats, other_count: Floats) -> Mask:
    """Whether the other side wins: over the root of their numbers clearly, and by the mean vote too."""
    count, other_count = np.maximum(count, 1e-6), np.maximum(other_count, 1e-6)
    clearly = other_votes * np.sqrt(count) > MAJORITY * votes * np.sqrt(other_count)
    return clearly & (other_votes * count > MORE_ALIKE * votes * other_count)


def _window(radius: int) -> list[tuple[int, int, np.float32]]:
    """Steps to the voters within `radius` px, and the weights of their places."""
    step = -(-(2 * radius + 1) // VOTERS)
    around, scale = range(-radius, radius + 1), 0.75 * radius
    return [
        (dy, dx, np.float32(np.exp(-0.5 * (dy * dy + dx * dx) / scale**2)))
        for dy in around
        for dx in around
        # A lattice of knight's moves (1, step): on a straight one odd and even rows would decide apart, like the
        # teeth of a comb.
        if 0 < dy * dy + dx * dx <= radius * radius and (dy + step * dx) % (step * step + 1) == 0
    ]


def _square(radius: int) -> NDArray[np.uint8]:
    return np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)


def guided_transmission(transmission: Floats, image: Pixels, radius: int, epsilon: float) -> Floats:
    """The guided filter of a transmission map, with the photo's three channels as guide.

    In each window w the result is a_w . I + b_w with the least mean of (a_w . I + b_w - t)^2, plus epsilon |a_w|^2;
    a pixel takes the mean over the windows that hold it.

    Args:
        transmission: t in [0, 1], (height, width).
        image: The photo, uint8 (height, width, 3), used in [0, 1].
        radius: Half the window [px]: 20 for 41 x 41.
        epsilon: Above 0; contrasts below its root are smoothed away.

    Returns:
        float32 (height, width), clipped to [0, 1].
    """
    height, width = transmission.shape
    result = np.empty((height, width), np.float32)
    rows = max(GUIDED_STRIP_PX // width, 2 * radius)
    for first in range(0, height, rows):
        # A pixel's value hangs on windows that reach `radius` beyond it, and each of them on as much again.
        above, below = max(first - 2 * radius, 0), min(first + rows + 2 * radius, height)
        here = _guided_strip(transmission[above:below], image[above:below], radius, epsilon)
        result[first : first + rows] = here[first - above : first - above + rows]
    return np.clip(result, 0.0, 1.0, out=result)


def _guided_strip(transmission: Floats, image: Pixels, radius: int, epsilon: float) -> Floats:
    """`guided_transmission` of a strip of rows, not clipped."""
    size = (2 * radius + 1, 2 * radius + 1)

    def mean(values: NDArray[Any]) -> Floats:
        return np.asarray(cv2.blur(values, size, borderType=cv2.BORDER_REFLECT), np.float32)

    guide = image.astype(np.float32) / np.float32(255.0)
    centre, level = mean(guide), mean(transmission)
    spread = np.empty((*transmission.shape, 3, 3), np.float32)
    for i, j in combinations_with_replacement(range(3), 2):
        shared = mean(guide[..., i] * guide[..., j]) - centre[..., i] * centre[..., j]
        spread[..., i, j] = spread[..., j, i] = shared
    spread += epsilon * np.eye(3, dtype=np.float32)
    shared = mean(guide * transmission[..., None]) - centre * level[..., None]
    slope = np.linalg.solve(spread, shared[..., None])[..., 0]
    level -= (slope * centre).sum(axis=-1)
    return np.asarray((mean(slope) * guide).sum(axis=-1) + mean(level), np.float32)


def _guided_distance(distance_m: Floats, image: Pixels) -> Floats:
    """The guided filter on exp(-d / median d), which is bounded, and back; infinite where the map was.

    Within the range of the map's transmissions, so that no distance is nearer or farther than all of the map's.
    """
    finite = np.isfinite(distance_m)
    scale = np.median(distance_m[finite])
    transmission = np.exp(-distance_m / scale)
    least = np.maximum(transmission[finite].min(), np.finfo(np.float32).tiny)
    smoothed = guided_transmission(transmission, image, GUIDED_RADIUS_PX, GUIDED_EPSILON)
    result = -scale * np.log(np.clip(smoothed, least, transmission.max()))
    return np.where(finite, result, np.float32(np.inf)).astype(np.float32)
