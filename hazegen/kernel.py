"""The loops of the renderer over pixels, compiled: each does in one pass, in the processor's cache, what
synthesis.py and fields.py say with whole pictures.

The results are the same bits on every processor, however wide its vectors are: floats are neither reordered nor
contracted (`fastmath` stays off; where a fused multiply-add is meant, it is written), the exponential is written
out here, and sums are sums of integers.

Arguments are contiguous: pictures (height, width, 3) of uint8, all else float32.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
f32, i32, i64 = np.float32, np.int32, np.int64

# Sums of transmissions count in units of 2^-30: as exact as 32-bit floats, and integers.
UNIT = 2.0**-30
# Added and taken away again, it rounds floats below 2^22 to whole numbers, ties to the even one.
_ROUND = f32(1.5 * 2**23)
_LAST = f32(65535.0)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as machine code, kept on the disk for the next process where a folder for it can be written."""
    # error_model: a check for division by zero would keep loops from being vectorised.
    for cache in (True, False):
        try:
            return njit(function, nogil=True, error_model="numpy", cache=cache)
        except RuntimeError:  # numba's word for "no folder to keep it in"
            if not cache:
                raise
    raise AssertionError("unreachable")


def _typed_fma(_: Any, _x: Any, _y: Any, _z: Any) -> Any:
    signature = types.float32(types.float32, types.float32, types.float32)
    return signature, lambda _context, builder, _signature, arguments: builder.fma(*arguments)


def _typed_as_float(_: Any, _bits: Any) -> Any:
    return types.float32(types.int32), _same_bits


def _typed_as_int(_: Any, _number: Any) -> Any:
    return types.int32(types.float32), _same_bits


def _same_bits(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))


# x y + z, rounded once: in hardware on x86-64-v3 and ARM, exact in software elsewhere.
_fma: Any = intrinsic(_typed_fma)
# The float32 that has these bits, and the bits of a float32.
_as_float: Any = intrinsic(_typed_as_float)
_as_int: Any = intrinsic(_typed_as_int)


# --- exponentials of numbers up to 0 ---

# exp(r) = P(r) / Q(r) on [-ln 2 / 2, ln 2 / 2], and ln 2 in two parts (Cody and Waite): the coefficients, and so
# the bits, of NumPy's own loop for float32 on AVX2 and AVX512, which the reference runs through.
_P = [f32(p) for p in (1.0, 0.7257664613233124, 0.2473615434895521, 0.05114512081637298, 0.006757896990527505)]
_P0, _P1, _P2, _P3, _P4 = _P
_P5 = f32(5.082762527590693718096e-04)
_Q1, _Q2 = f32(-2.742335390411667452936e-01), f32(2.159509375685829852307e-02)
_D2 = f32(0.2473615434895521 - 0.02159509375685829852307)
_LN2_HIGH, _LN2_LOW = f32(-6.93145752e-1), f32(-1.42860677e-6)
_LOG2_E, _ONE, _ZERO = f32(math.log2(math.e)), f32(1.0), f32(0.0)
# Below it the result is 0: e^-87 is the last power whose factors are all normal numbers.
_LOWEST = f32(-87.0)


@compiled
def _exp(x: Any) -> Any:
    """e^x for x up to 0, which may be minus infinity."""
    held = x if x > _LOWEST else _LOWEST
    power = (held * _LOG2_E + _ROUND) - _ROUND
    r = _fma(power, _LN2_LOW, _fma(power, _LN2_HIGH, held))
    above = _fma(_fma(_fma(_fma(_fma(_P5, r, _P4), r, _P3), r, _P2), r, _P1), r, _P0)
    below = _fma(_fma(_Q2, r, _Q1), r, _ONE)
    value = above / below * _as_float((i32(power) + i32(127)) << i32(23))
    return value if x > _LOWEST else _ZERO


@compiled
def _lost(x: Any) -> Any:
    """1 - e^x for x up to 0: exact where x is small, which 1 - _exp(x) is not."""
    held = x if x > _LOWEST else _LOWEST
    power = (held * _LOG2_E + _ROUND) - _ROUND
    r = _fma(power, _LN2_LOW, _fma(power, _LN2_HIGH, held))
    # P - Q, over r: its first coefficient, P1 - Q1, is 1.
    above = _fma(_fma(_fma(_fma(_P5, r, _P4), r, _P3), r, _D2), r, _ONE)
    below = _fma(_fma(_Q2, r, _Q1), r, _ONE)
    factor = _as_float((i32(power) + i32(127)) << i32(23))
    return (_ONE - factor) - factor * (r * (above / below))


# --- haze of known lengths ---


@compiled
def _transmissions(length_m: Any, minus_beta: Any, t: Any) -> Any:
    """Fills t with exp(-beta length); the sum, in units of `UNIT`."""
    for i in range(t.size):
        t[i] = _exp(length_m[i] * minus_beta)
    total = i64(0)
    for i in range(t.size):
        total += i64(i32(t[i] * f32(2.0**30)))
    return total


@compiled
def _code(value: Any) -> Any:
    """The nearest of 256 codes of a value in [0, 1]: the last bits of a float between 2^23 and 2^24."""
    return np.uint8(_as_int(value * f32(255.0) + _ROUND))


@compiled
def _blend_codes(clean: Any, red: Any, green: Any, blue: Any, light: Any, hazy: Any) -> None:
    """J t + A (1 - t) on code values; `hazy` is B, G, R, and the three transmissions may be one."""
    for i in range(red.size):
        r, g, b = red[i], green[i], blue[i]
        hazy[3 * i] = _code(f32(clean[3 * i + 2]) / f32(255.0) * b + light[2] * (_ONE - b))
        hazy[3 * i + 1] = _code(f32(clean[3 * i + 1]) / f32(255.0) * g + light[1] * (_ONE - g))
        hazy[3 * i + 2] = _code(f32(clean[3 * i]) / f32(255.0) * r + light[0] * (_ONE - r))


@compiled
def _index(linear: Any) -> Any:
    """Where the table of codes has this linear light."""
    place = linear * _LAST + f32(0.5)
    return np.uint16(place if place < _LAST else _LAST)


@compiled
def _blend_linear(clean: Any, red: Any, green: Any, blue: Any, light: Any, values: Any, codes: Any, hazy: Any) -> None:
    """As _blend_codes in linear light: `values` of 256 codes, and `codes` of 65,536 values."""
    for i in range(red.size):
        r, g, b = red[i], green[i], blue[i]
        hazy[3 * i] = codes[_index(values[clean[3 * i + 2]] * b + light[2] * (_ONE - b))]
        hazy[3 * i + 1] = codes[_index(values[clean[3 * i + 1]] * g + light[1] * (_ONE - g))]
        hazy[3 * i + 2] = codes[_index(values[clean[3 * i]] * r + light[0] * (_ONE - r))]


@compiled
def add_haze(
    clean: Any, length_m: Any, beta: Any, light: Any, values: Any, codes: Any, hazy: Any, transmission: Any, block: int
) -> Any:
    """J t + A (1 - t) of a whole picture, t = exp(-beta length).

    Args:
        clean: J, sRGB code values, R, G, B.
        length_m: (height, width), may be infinite.
        beta: (1,), or (3,) where the haze has colour.
        light: A, (3,).
        values, codes: Linear light of each code, (256,), and uint8 codes of 65,536 values of linear light; both
            empty for the equation on code values.
        hazy: Filled with I, sRGB code values, in the encoder's order: B, G, R.
        transmission: Filled with t, (height, width, channels of beta); not if it is empty.
        block: Pixels that are gone through at a time.

    Returns:
        Sum of t over pixels and channels of beta, in units of `UNIT`.
    """
    channels, size, total = beta.size, length_m.size, i64(0)
    clean, length_m, hazy = clean.ravel(), length_m.ravel(), hazy.ravel()
    t = np.empty((channels, min(block, size)), np.float32)
    for start in range(0, size, block):
        end = min(start + block, size)
        for channel in range(channels):
            total += _transmissions(length_m[start:end], -beta[channel], t[channel, : end - start])
            if transmission.size:
                transmission.reshape(-1, channels)[start:end, channel] = t[channel, : end - start]
        red, green, blue = t[0, : end - start], t[channels // 2, : end - start], t[channels - 1, : end - start]
        pixels = slice(3 * start, 3 * end)
        if codes.size:
            _blend_linear(clean[pixels], red, green, blue, light, values, codes, hazy[pixels])
        else:
            _blend_codes(clean[pixels], red, green, blue, light, hazy[pixels])
    return total


@compiled
def add_haze_to_planes(radiance: Any, glow: Any, transmission: Any, light: Any, codes: Any, hazy: Any) -> None:
    """J t + A (1 - t) + G, for radiance that is no picture any more and light that was added to it.

    Args:
        radiance, glow: J and G, (3, height, width).
        transmission: t, (height, width, 1 or 3).
        light, codes, hazy: As in `add_haze`.
    """
    size, channels = transmission.shape[0] * transmission.shape[1], transmission.shape[2]
    flat, pixels = transmission.reshape(size, channels), hazy.reshape(size, 3)
    for channel in range(3):
        seen, added = radiance[channel].ravel(), glow[channel].ravel()
        for i in range(size):
            t = flat[i, min(channel, channels - 1)]
            value = seen[i] * t + light[channel] * (_ONE - t) + added[i]
            value = value if value < _ONE else _ONE
            pixels[i, 2 - channel] = codes[_index(value)] if codes.size else _code(value)


# --- haze that changes in space ---


@compiled
def _look_up(cube: Any, x: float, y: float, z: float) -> Any:
    """Trilinear interpolation in a periodic cube, whose size is a power of 2."""
    last = len(cube) - 1
    left, low, near = math.floor(x), math.floor(y), math.floor(z)
    u, v, w = x - left, y - low, z - near
    i0, j0, k0 = i64(left) & last, i64(low) & last, i64(near) & last
    i1, j1, k1 = (i0 + 1) & last, (j0 + 1) & last, (k0 + 1) & last
    first = (cube[i0, j0, k0] * (1 - w) + cube[i0, j0, k1] * w) * (1 - v)
    first += (cube[i0, j1, k0] * (1 - w) + cube[i0, j1, k1] * w) * v
    second = (cube[i1, j0, k0] * (1 - w) + cube[i1, j0, k1] * w) * (1 - v)
    second += (cube[i1, j1, k0] * (1 - w) + cube[i1, j1, k1] * w) * v
    return f32(first * (1 - u) + second * u)


@compiled
def mean_along(cube: Any, origin: Any, rays: Any, probes: Any) -> Any:
    """As fields.mean_along."""
    mean = np.empty(rays.shape[1:], np.float32)
    for row in range(mean.shape[0]):
        for column in range(mean.shape[1]):
            x, y, z = rays[0, row, column], rays[1, row, column], rays[2, row, column]
            total = _ZERO
            for probe in probes:
                total += _look_up(cube, origin[0] + probe * x, origin[1] + probe * y, origin[2] + probe * z)
            mean[row, column] = total / f32(len(probes))
    return mean


@compiled
def _slopes(right: Any, down: Any, up: Any, slope: Any) -> None:
    """A row of fields.slopes, of places on the image plane."""
    for x in range(slope.size):
        slope[x] = up / np.sqrt(_ONE + right[x] * right[x] + down * down)


@compiled
def _through_height(distance_m: Any, limit_m: Any, slope: Any, scale_m: Any, start_m: Any, length_m: Any) -> None:
    """fields.through_height of a row, of distances cut at a limit."""
    for x in range(length_m.size):
        far = distance_m[x] if distance_m[x] < limit_m else limit_m
        tilt = slope[x]
        steep = abs(tilt) if abs(tilt) > f32(1e-9) else f32(1e-9)
        ground = start_m / steep
        down = tilt < _ZERO
        above = ground if down and ground < far else far
        low = start_m - above * steep
        low = low if low > _ZERO else _ZERO
        low = low if down else start_m
        length = _exp(-low / scale_m) * (scale_m / steep) * _lost(-above * (steep / scale_m))
        length_m[x] = length + (far - above if down else _ZERO)


@compiled
def _cut(distance_m: Any, limit_m: Any, length_m: Any) -> None:
    for x in range(length_m.size):
        length_m[x] = distance_m[x] if distance_m[x] < limit_m else limit_m


@compiled
def _row_of_density(coarse: Any, row: int, cell: int, cells: Any, density: Any) -> None:
    """A row of fields.upsample, up to the end of the last cell."""
    columns, half = cells.size, cell // 2
    place = min(max((f32(row) + f32(0.5)) / f32(cell) - f32(0.5), _ZERO), f32(len(coarse) - 1))
    low = i64(place)
    share = place - f32(low)
    first, second = coarse[low], coarse[min(low + 1, len(coarse) - 1)]
    for column in range(columns):
        cells[column] = first[column] * (_ONE - share) + second[column] * share
    density[:half] = cells[0]
    density[half + (columns - 1) * cell :] = cells[columns - 1]
    for column in range(columns - 1):
        left, step = cells[column], cells[column + 1] - cells[column]
        part = density[half + column * cell : half + (column + 1) * cell]
        for k in range(cell):
            part[k] = left + step * ((f32(k) + f32(0.5)) / f32(cell))


@compiled
def _add_shell(density: Any, until: Any, passed: Any, length_m: Any) -> None:
    for x in range(length_m.size):
        length_m[x] += density[x] * (until[x] - passed[x])
        passed[x] = until[x]


@compiled
def _until(distance_m: Any, limit_m: Any, slope: Any, scale_m: Any, start_m: Any, length_m: Any) -> None:
    if scale_m > _ZERO:
        _through_height(distance_m, limit_m, slope, scale_m, start_m, length_m)
    else:
        _cut(distance_m, limit_m, length_m)


@compiled
def lengths(
    distance_m: Any, ends_m: Any, coarse: Any, cell: int, right: Any, down: Any, up: Any, scale_m: Any, start_m: Any
) -> Any:
    """As fields.path_length, of all rows.

    Args:
        distance_m: (height, width), may be infinite.
        ends_m, coarse: Where each shell of patchy haze ends, (n,), and its density once a cell, (n, rows, columns);
            n is 0 where there are no patches.
        cell: Pixels along the side of a cell.
        right, down: Place of each column and row on the image plane, (width,) and (height,).
        up: How much the rays of each row rise there, (height,).
        scale_m, start_m: Height over which the fog thins, 0 where it does not, and the camera's height.
    """
    height, width = distance_m.shape
    length_m, endless = np.zeros((height, width), np.float32), f32(np.inf)
    until, passed, slope = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    cells = np.empty(coarse.shape[2], np.float32)
    density = np.empty(coarse.shape[2] * cell, np.float32)
    for row in range(height):
        distance, length = distance_m[row], length_m[row]
        _slopes(right, down[row], up[row], slope)
        passed[:] = _ZERO
        farthest = distance.max()
        for shell in range(ends_m.size):
            _until(distance, ends_m[shell], slope, scale_m, start_m, until)
            _row_of_density(coarse[shell], row, cell, cells, density)
            _add_shell(density, until, passed, length)
            if ends_m[shell] >= farthest:
                break
        _until(distance, endless, slope, scale_m, start_m, until)
        for x in range(width):
            length[x] += until[x] - passed[x]
    return length_m
