"""Stripes, cells and noise, smoothed to the pixel's size.

Lines and cells are box filtered exactly over the pixel's footprint and noise is read from a pyramid,
so nothing flickers far away.
"""

import functools

import numpy as np
from numpy.typing import NDArray

from hazegen.scenery.vectors import Floats, single

_NOISE_SIZE = 256


def noise(u: Floats, v: Floats, tile_m: float, footprint_m: Floats) -> Floats:
    """Fractal noise, mean 0, standard deviation 1 before smoothing, that repeats after `tile_m`."""
    texels, starts, sizes = _noise_pyramid()
    level = np.log2(footprint_m * np.float32(_NOISE_SIZE / tile_m) + np.float32(1e-9))
    level = np.minimum(np.maximum(level + 0.5, 0), len(starts) - 1).astype(np.intp)
    size = sizes[level]
    scale = single(sizes / np.float32(tile_m))[level]
    x, y = u * scale, v * scale
    left, top = np.floor(x), np.floor(y)
    x, y = x - left, y - top
    last = size - 1
    x0, y0 = left.astype(np.int32) & last, top.astype(np.int32) & last
    x1, y1 = (x0 + 1) & last, (y0 + 1) & last
    row0, row1 = starts[level] + y0 * size, starts[level] + y1 * size
    rest = 1 - x
    upper = texels[row0 + x0] * rest + texels[row0 + x1] * x
    lower = texels[row1 + x0] * rest + texels[row1 + x1] * x
    return upper * (1 - y) + lower * y


def stripe(x: Floats, dx: Floats, period: float, width: float) -> Floats:
    """Share of [x - dx/2, x + dx/2] that lies in stripes [0, width) repeated every `period`."""
    x = x - np.floor(x / np.float32(period)) * np.float32(period)
    dx = np.maximum(dx, np.float32(1e-4))
    return (_striped(x + dx / 2, period, width) - _striped(x - dx / 2, period, width)) / dx


def band(x: Floats, dx: Floats, low: Floats | float, high: Floats | float) -> Floats:
    """Share of [x - dx/2, x + dx/2] that lies in [low, high]."""
    dx = np.maximum(dx, np.float32(1e-4))
    return np.clip((np.minimum(x + dx / 2, high) - np.maximum(x - dx / 2, low)) / dx, 0, 1)


def cell_random(i: Floats, j: Floats, seed: int) -> Floats:
    """A number in [0, 1) for each cell (i, j), the same wherever the cell is seen."""
    table = _cell_table()
    first = (i.astype(np.int32) + (seed * 37 & 1023)) & 1023
    return table[(table[first] * np.float32(1024)).astype(np.int32) + j.astype(np.int32) & 1023]


def mix(low: Floats, high: Floats, share: Floats) -> Floats:
    """From low to high as the share goes from 0 to 1."""
    return low + (high - low) * share


def _striped(x: Floats, period: float, width: float) -> Floats:
    whole = np.floor(x / np.float32(period))
    return whole * np.float32(width) + np.minimum(x - whole * np.float32(period), np.float32(width))


@functools.lru_cache(maxsize=1)
def _noise_pyramid() -> tuple[Floats, NDArray[np.int32], NDArray[np.int32]]:
    """All levels of one square of 1/f noise, one after the other, where each begins, and its rows."""
    frequency = np.fft.fftfreq(_NOISE_SIZE) * _NOISE_SIZE
    strength = np.hypot(frequency[:, None], frequency[None, :])
    strength[0, 0] = np.inf
    white = np.random.default_rng(7).normal(size=(_NOISE_SIZE, _NOISE_SIZE))
    level = np.fft.ifft2(np.fft.fft2(white) / np.maximum(strength, 3.0)).real
    level = level / level.std()
    levels: list[NDArray[np.float64]] = []
    while len(level) > 1:
        levels.append(level.ravel())
        level = (level[::2, ::2] + level[1::2, ::2] + level[::2, 1::2] + level[1::2, 1::2]) / 4
    levels.append(level.ravel())
    starts = np.cumsum([0] + [len(flat) for flat in levels[:-1]])
    sizes = np.right_shift(_NOISE_SIZE, np.arange(len(starts)))
    return single(np.concatenate(levels)), starts.astype(np.int32), sizes.astype(np.int32)


@functools.lru_cache(maxsize=1)
def _cell_table() -> Floats:
    return np.random.default_rng(11).permutation(1024).astype(np.float32) / np.float32(1024)
