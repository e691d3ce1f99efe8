"""Fills pixels without a measured depth: from the nearest measured pixel, or along the edges of the photo.

The guided fill lays a membrane over each hole: the inverse depth u = 1/z with the least

    sum over neighbouring pixels i, j of w_ij (u_i - u_j)^2,    w_ij = exp(-|I_i - I_j| / s) + floor,

where the measured pixels stay as they are and |I_i - I_j| is the largest difference of a colour channel. In
inverse depth every plane is linear in the pixel coordinates, so a hole in a plane is filled with that plane; where
the colour changes w is small, so the step from near to far falls on the colour edge. The weights are those of the
weighted least squares smoother; without the data term, as here, it is the colourisation of Levin et al.

References:
    Levin, Lischinski, Weiss, "Colorization using Optimization", SIGGRAPH 2004: filling by colour affinity.
    Hestenes, Stiefel, "Methods of Conjugate Gradients for Solving Linear Systems", 1952: the solver.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from hazegen.errors import UsageError

Method = Literal["nearest", "guided"]
Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Places = NDArray[np.intp]

# Code values: from 2.5 to 5 the errors hardly change, docs/fidelity.md. The floor ties a closed patch of colour to the
# rest.
COLOUR_SCALE = 4.0
FLOOR = 1e-4
# The solver starts from the membrane of half the size, and ends where the residual is this share of its start or after
# so many steps, or more where the pixels are few. Twice as many change no figure of docs/fidelity.md by a twentieth.
TOLERANCE, STEPS = 1e-4, 20
SMALL_STEPS, SMALL_PX = 100, 1_000_000
SMALLEST_PX = 8
# Doubtful rims: up to this share of the width (6 px of 640), beside holes of at least so many pixels, of colours that
# change by less than so many code values from pixel to pixel, and nearer than this times what is close by.
# Only where squares of DENSE_PX are measured whole.
RIM_SHARE, WIDE_PX, SAME_COLOUR, RIM_RATIO = 0.01, 7, 20, 0.5
DENSE_PX = 3


def fill(depth_m: Floats, image: Pixels, method: Method = "guided") -> Floats:
    """Depth [m] of every pixel: the measured ones bit for bit, the others completed.

    Infinity counts as measured. A filled pixel is either infinite or lies between the least and the largest finite
    measurement: sky and surface are never mixed. At least one pixel must be measured.

    Args:
        depth_m: (height, width), NaN where nothing was measured, infinite where there is no surface, else above 0.
        image: The photo, uint8 (height, width, 3).
        method: 'nearest' takes the value of the nearest measured pixel; 'guided' lets depth edges follow colour edges.

    Returns:
        float32 (height, width) without NaN; the array itself where nothing is missing.

    Raises:
        UsageError: There is no such method.
    """
    if method not in ("nearest", "guided"):
        raise UsageError(
            f"The method of completion is unknown. Expected nearest or guided, received '{method}'. Correct the recipe."
        )
    return fill_nearest(depth_m) if method == "nearest" else fill_guided(depth_m, image)


def fill_nearest(depth_m: Floats) -> Floats:
    """Each pixel without a measurement (NaN) takes the value of the nearest measured one.

    Infinity counts as measured: a hole in the sky becomes sky. At least one pixel must be measured.
    """
    from scipy import ndimage  # 0.3 s to import, and most depth maps have no holes

    unknown = np.isnan(depth_m)
    if not unknown.any():
        return depth_m
    assert not unknown.all()
    nearest = ndimage.distance_transform_edt(unknown, return_distances=False, return_indices=True)
    return depth_m[tuple(nearest)]


def fill_guided(depth_m: Floats, image: Pixels) -> Floats:
    """Each pixel without a measurement takes the value of a membrane that gives way at colour edges.

    Doubtful measurements keep their value, but the membrane does not start from them.
    """
    hole = np.isnan(depth_m)
    if not hole.any():
        return depth_m
    assert image.shape == (*depth_m.shape, 3)
    doubtful = _doubtful(depth_m, hole, image)
    return np.where(hole, _membrane(np.where(doubtful, np.float32(np.nan), depth_m), image), depth_m)


def _membrane(depth_m: Floats, image: Pixels) -> Floats:
    """Depth without holes. Sky is decided first, by a membrane of 1 (sky) and 0 (surface): sky is above one half."""
    hole, sky = np.isnan(depth_m), np.isinf(depth_m)
    right, down = conductances(image)
    if sky.any():
        sky |= hole & (relax(sky.astype(np.float32), hole, right, down) > 0.5)
        hole &= ~sky
        right *= ~(sky | np.roll(sky, -1, axis=1))
        down *= ~(sky | np.roll(sky, -1, axis=0))
    result = np.where(sky, np.float32(np.inf), depth_m)
    if hole.any():
        measured = depth_m[np.isfinite(depth_m)]
        low, high = measured.min(), measured.max()
        # Sky takes part as a hole that is tied to nothing.
        inverse = relax(low / np.where(hole, np.float32(np.inf), result), hole | sky, right, down)[hole]
        result[hole] = np.clip(low / np.maximum(inverse, low / high), low, high)
    return result


def _doubtful(depth_m: Floats, hole: Mask, image: Pixels) -> Mask:
    """The rim of a surface beside a wide hole that has the hole's colour, where something far is close by.

    Where a depth map is some pixels off its photo, the rim of the nearer surface lies on the background; the shadow
    beside it would be filled from there. The points of a LiDAR are never doubted: each is all there is round it.
    """
    reach = max(1, round(RIM_SHARE * hole.shape[1]))
    finite = np.isfinite(depth_m)
    inverse = np.where(finite, 1.0 / depth_m, np.float32(np.inf))
    far = cv2.erode(inverse, np.ones((6 * reach + 1, 6 * reach + 1), np.uint8))
    dense = cv2.dilate(_opened(finite, DENSE_PX).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    tied = _opened(hole, WIDE_PX)
    alike_right = _difference(image[:, 1:], image[:, :-1]) < SAME_COLOUR
    alike_down = _difference(image[1:], image[:-1]) < SAME_COLOUR
    for _ in range(reach):
        before = tied.copy()
        tied[:, 1:] |= before[:, :-1] & alike_right
        tied[:, :-1] |= before[:, 1:] & alike_right
        tied[1:] |= before[:-1] & alike_down
        tied[:-1] |= before[1:] & alike_down
    return tied & finite & dense & (far < RIM_RATIO * inverse)


def _opened(mask: Mask, size: int) -> Mask:
    """The pixels of the mask that lie in a square of `size` px within it."""
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((size, size), np.uint8)) > 0


def conductances(image: Pixels) -> tuple[Floats, Floats]:
    """How tightly each pixel is tied to its right and to its lower neighbour, (height, width) each; 0 at the border."""
    table = (np.exp(-np.arange(256) / COLOUR_SCALE) + FLOOR).astype(np.float32)
    right, down = np.zeros((2, *image.shape[:2]), np.float32)
    right[:, :-1] = table[_difference(image[:, 1:], image[:, :-1])]
    down[:-1] = table[_difference(image[1:], image[:-1])]
    return right, down


def _difference(a: Pixels, b: Pixels) -> Pixels:
    """The largest difference of a channel, (height, width)."""
    each = np.maximum(a, b) - np.minimum(a, b)
    return np.maximum(np.maximum(each[..., 0], each[..., 1]), each[..., 2])


def relax(values: Floats, hole: Mask, right: Floats, down: Floats) -> Floats:
    """The membrane through the pixels outside the holes, started from that of half the size."""
    if min(hole.shape) < SMALLEST_PX:
        return _solve(fill_nearest(np.where(hole, np.float32(np.nan), values)), hole, right, down)
    coarse = relax(*_coarser(values, hole, right, down))
    return _solve(np.where(hole, _finer(coarse, hole.shape), values), hole, right, down)


def _coarser(values: Floats, hole: Mask, right: Floats, down: Floats) -> tuple[Floats, Mask, Floats, Floats]:
    """The same problem on blocks of 2 x 2: means of the known values, conductances from block to block."""
    pad = [(0, size % 2) for size in hole.shape]
    values, right, down = (np.pad(part, pad) for part in (values, right, down))
    known = np.pad(~hole, pad).astype(np.float32)
    count = _blocks(known)
    mean = np.asarray(_blocks(known * values) / np.maximum(count, 1.0), np.float32)
    return mean, count == 0, _joined(right), _joined(down.T).T


def _blocks(values: Floats) -> Floats:
    """Sums over blocks of 2 x 2."""
    rows = values[::2] + values[1::2]
    return rows[:, ::2] + rows[:, 1::2]


def _joined(right: Floats) -> Floats:
    """Conductance from block to block: across the border and half of each block in series, two rows in parallel."""
    inner, border = 0.5 / np.maximum(right[:, ::2], FLOOR), right[:, 1::2]
    row = border / (1.0 + border * (inner + np.roll(inner, -1, axis=1)))
    return np.asarray(row[::2] + row[1::2], np.float32)


def _finer(values: Floats, shape: tuple[int, ...]) -> Floats:
    """Each block's value in its pixels."""
    return values.repeat(2, axis=0).repeat(2, axis=1)[: shape[0], : shape[1]]


def _solve(start: Floats, hole: Mask, right: Floats, down: Floats) -> Floats:
    """The membrane through the values of `start` outside the holes, from those inside.

    The hole pixels are the black and white fields of a chessboard, and each colour touches the other alone:
    b = f + C w and w = g + D b. Without the white ones, (1 - C D) b = f + C g: half as many unknowns and steps.
    """
    width = hole.shape[1] + 2
    # A frame of one pixel: each pixel of a hole has four neighbours, and those in the frame weigh nothing.
    values, across, along = (np.pad(part, 1).ravel() for part in (start, right, down))
    holes = np.pad(hole, 1).ravel()
    at = np.flatnonzero(holes)
    is_black = (at // width + at % width) % 2 == 0
    black, white = at[is_black], at[~is_black]
    total = across + along
    total[1:] += across[:-1]
    total[width:] += along[:-width]
    # Scaled to a diagonal of ones. A pixel tied to nothing comes to 0.
    scale = np.where(holes, np.maximum(total, np.float32(FLOOR)) ** np.float32(-0.5), np.float32(0.0))
    grid = _Grid(width, across, along, scale, np.where(holes, np.float32(0.0), values))
    from_white, load = _equations(black, white, grid)
    from_black, white_load = _equations(white, black, grid)
    solved = conjugate_gradients(
        lambda x: from_white @ (from_black @ x), load + from_white @ white_load, values[black] / scale[black]
    )
    values[black] = solved * scale[black]
    values[white] = (white_load + from_black @ solved) * scale[white]
    return values.reshape(-1, width)[1:-1, 1:-1]


@dataclass(frozen=True)
class _Grid:
    """The framed picture in one row: conductances, scales of the unknowns, measured values (0 in the holes)."""

    width: int
    across: Floats
    along: Floats
    scale: Floats
    known: Floats


def _equations(at: Places, others: Places, grid: _Grid) -> tuple[Any, Floats]:
    """How the pixels `at` depend on those at `others`, and what the measured pixels add."""
    from scipy import sparse

    neighbours = at[:, None] + np.array([-grid.width, -1, 1, grid.width])
    weights = np.stack([grid.along[at - grid.width], grid.across[at - 1], grid.across[at], grid.along[at]], axis=1)
    weights *= grid.scale[at, None]
    number = np.zeros(grid.scale.shape, np.int32)
    number[others] = np.arange(len(others), dtype=np.int32)
    rows = np.arange(0, weights.size + 1, 4, dtype=np.int32)
    entries = (weights * grid.scale[neighbours]).ravel()
    columns = number[neighbours].ravel()
    if not len(others):  # the entries, all 0, name a column that is not there
        entries, columns, rows = entries[:0], columns[:0], np.zeros_like(rows)
    coupling = sparse.csr_array((entries, columns, rows), shape=(len(at), len(others)))
    return coupling, (weights * grid.known[neighbours]).sum(axis=1)


def conjugate_gradients(couple: Callable[[Floats], Floats], load: Floats, x: Floats) -> Floats:
    """Solves x - couple(x) = load from a start. No BLAS: its sums depend on the number of threads."""
    residual = load - (x - couple(x))
    direction = residual.copy()
    square = _dot(residual, residual)
    enough = TOLERANCE**2 * square
    for _ in range(max(STEPS, min(SMALL_STEPS, SMALL_PX // max(len(x), 1)))):
        if square <= enough:
            break
        change = direction - couple(direction)
        step = square / _dot(direction, change)
        x += np.float32(step) * direction
        residual -= np.float32(step) * change
        square, before = _dot(residual, residual), square
        direction *= np.float32(square / before)
        direction += residual
    return x


def _dot(a: Floats, b: Floats) -> float:
    return float((a * b).sum())
