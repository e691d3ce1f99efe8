"""How well the edges of a depth map lie on the edges of its image: mirrored, turned and shifted maps.

Surfaces end where colours change, so the edges of a map and of its photo fall together, and stop doing
so as soon as one of the two is mirrored, turned or shifted. Both edge maps are taken at one small size
and correlated for all shifts at once; the result is a correlation coefficient.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# Longer side of the pictures that are compared [px]: a VGA image is halved.
WORKING_SIZE = 320
# Largest shift that is tried [px of the working size]: 40 px of a VGA image.
REACH = 20
# Offsets of a map that is where it should be: resampling and imperfect registration of sensors.
NEAR_ZERO = 4
# Steps above these say no more: one contrast must not outweigh all others.
LARGEST_GRAY_STEP = 40.0
LARGEST_LOG_STEP = 0.15
# Frames, white borders and the undefined rim of sensors would correlate in every orientation.
BORDER = 0.04
SKY_FACTOR = 3.0
# Depths outside of this are no lengths, and their squares no 32-bit floats.
LIMITS_M = (1e-6, 1e12)
# A map with more holes has edges where nothing was measured, not where surfaces end.
MOST_HOLES = 0.6

# What brings a wrong map back to its image. The first four keep the shape, the others swap its sides.
TURNS: dict[str, Callable[[Floats], Floats]] = {
    "same": lambda a: a,
    "mirrored": lambda a: a[:, ::-1],
    "upside-down": lambda a: a[::-1],
    "turned": lambda a: a[::-1, ::-1],
    "transposed": lambda a: a.T,
    "turned by 90 degrees": lambda a: np.rot90(a, -1),
    "turned by 270 degrees": lambda a: np.rot90(a, 1),
    "transposed and turned": lambda a: a.T[::-1, ::-1],
}
KEEPING, SWAPPING = tuple(TURNS)[:4], tuple(TURNS)[4:]


@dataclass(frozen=True)
class Alignment:
    """How a depth map lies on its image.

    Attributes:
        scores: Correlation of the edges, in -1 to 1, for each orientation of the map that fits the image's
            shape; the best of the shifts up to NEAR_ZERO.
        shifts: Correlation for every shift of the map as it is, (2 REACH + 1, 2 REACH + 1): row and column
            of no shift are REACH. None where the map's sides are swapped.
        scale: Pixels of the image in one pixel of the shifts.
    """

    scores: dict[str, float]
    shifts: Floats | None
    scale: float


def align(image: NDArray[np.uint8], depth_m: Floats) -> Alignment | None:
    """Correlates the edges of a map with those of its image.

    Args:
        image: (height, width, 3).
        depth_m: Depth of any size, NaN where not measured, infinite where there is no surface.

    Returns:
        None where the map cannot be compared: too many holes, nothing measured, or other proportions.
    """
    turns = _turns(image.shape[:2], depth_m.shape)
    if not turns or np.isnan(depth_m).mean() > MOST_HOLES or not np.isfinite(depth_m).any():
        return None
    scale = max(image.shape[:2]) / WORKING_SIZE
    size = (max(8, round(image.shape[1] / scale)), max(8, round(image.shape[0] / scale)))
    gray = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY).astype(np.float32)
    photo = _spectra(_edges(gray, LARGEST_GRAY_STEP))
    small = cv2.resize(depth_m, size if turns[0] == "same" else size[::-1], interpolation=cv2.INTER_NEAREST)
    logs = np.log(close(np.asarray(small, np.float32)))
    tables = {name: _correlate(photo, _edges(TURNS[name](logs), LARGEST_LOG_STEP)) for name in turns}
    near = slice(REACH - NEAR_ZERO, REACH + NEAR_ZERO + 1)
    scores = {name: float(table[near, near].max()) for name, table in tables.items()}
    return Alignment(scores, tables.get("same"), scale)


def _turns(image: tuple[int, ...], depth: tuple[int, ...]) -> tuple[str, ...]:
    """The orientations in which a map of this shape can lie on the image."""
    if image == depth and image[0] == image[1]:
        return KEEPING + SWAPPING
    if same_proportions(image, depth):
        return KEEPING
    return SWAPPING if same_proportions(image, depth[::-1]) else ()


def same_proportions(image: tuple[int, ...], depth: tuple[int, ...]) -> bool:
    """Whether both shapes have the same ratio of sides, to 2 %: near enough to be laid over each other."""
    return abs(image[0] * depth[1] / (image[1] * depth[0]) - 1.0) <= 0.02


def is_resized(image: tuple[int, ...], depth: tuple[int, ...]) -> bool:
    """Whether the map may show the whole image in another size: to the rounding of one of its pixels, or 0.5 %.

    Published maps of ScanNet are 0.4 % off; a crop of so little moves nothing by more than a pixel or two.
    """
    down, across = image[0] / depth[0], image[1] / depth[1]
    return abs(down / across - 1.0) <= max(0.005, 1.0 / depth[0], 1.0 / depth[1])


def close(depth_m: Floats) -> Floats:
    """The map without holes and sky, above 0: each hole takes the farther of its two neighbours in the row.

    The shadow that an object casts in a sensor's map lies on what is behind it, so the object's own
    edge stays where it is; the nearest neighbour would move it by half the shadow.
    """
    finite = depth_m[np.isfinite(depth_m)]
    nearest, farthest = np.clip([finite.min(), finite.max()], *LIMITS_M).astype(np.float32)
    depth_m = np.where(np.isposinf(depth_m), np.float32(SKY_FACTOR) * farthest, np.minimum(depth_m, farthest))
    for _ in ("rows", "columns of the rows that were empty"):
        depth_m = np.fmax(_from_left(depth_m), _from_left(depth_m[:, ::-1])[:, ::-1]).T
    return np.maximum(depth_m, nearest).astype(np.float32)


def _from_left(depth_m: Floats) -> Floats:
    """Each hole takes the last measured value to the left of it, where there is one."""
    columns = np.where(np.isnan(depth_m), 0, np.arange(depth_m.shape[1]))
    return np.take_along_axis(depth_m, np.maximum.accumulate(columns, axis=1), axis=1)


def _edges(values: Floats, largest: float) -> tuple[Floats, Floats]:
    """Strength of the steps to the right and downwards, blurred by a pixel, of mean 0 inside the border."""
    steps = (np.diff(values, axis=1, append=values[:, -1:]), np.diff(values, axis=0, append=values[-1:]))
    rim = max(4, round(BORDER * max(values.shape)))
    inside = np.zeros(values.shape, bool)
    inside[rim:-rim, rim:-rim] = True
    found = []
    for step in steps:
        edge = cv2.GaussianBlur(np.minimum(np.abs(step), largest), (0, 0), 1.0)
        found.append(np.where(inside, edge - (edge[inside].mean() if inside.any() else 0.0), 0.0).astype(np.float32))
    return found[0], found[1]


def _spectra(edges: tuple[Floats, Floats]) -> list[tuple[NDArray[np.complex128], float]]:
    """The spectrum of each edge map, padded for shifts up to REACH, and its energy."""
    shape = tuple(cv2.getOptimalDFTSize(side + REACH + 1) for side in edges[0].shape)
    return [(np.fft.rfft2(edge, shape), float((edge.astype(np.float64) ** 2).sum())) for edge in edges]


def _correlate(photo: list[tuple[NDArray[np.complex128], float]], edges: tuple[Floats, Floats]) -> Floats:
    """Correlation coefficient of the photo's edges and the map's for all shifts, both directions together."""
    shape = tuple(cv2.getOptimalDFTSize(side + REACH + 1) for side in edges[0].shape)
    other = _spectra(edges)
    product = sum(mine * np.conj(its) for (mine, _), (its, _) in zip(photo, other, strict=True))
    energy = sum(mine for _, mine in photo) * sum(its for _, its in other)
    table = np.fft.irfft2(product, shape) / np.sqrt(energy + 1e-12)
    near = np.arange(-REACH, REACH + 1)
    return table[np.ix_(near, near)].astype(np.float32)
