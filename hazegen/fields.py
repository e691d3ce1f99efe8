"""Haze that changes in space: patches of fractal noise, and fog that thins with height.

Both come down to one number a pixel, the equivalent length [m]: the path through uniform haze of
the same optical depth, so that tau = beta * length and all that follows is as for uniform haze.

World axes, in metres: x to the right, y up, z level and ahead; the origin lies on the ground below
the camera. Densities are relative: 1 is the haze that beta is given for.

References:
    The noise has von Karman's spectrum of turbulence: density proportional to (k^2 + k0^2)^-11/6 in
    space, k0 the outer scale (from memory, unconfirmed).
"""

import functools
import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hazegen.errors import UsageError
from hazegen.geometry import Camera
from hazegen.sampling import HazeParams

Floats = NDArray[np.floating]
Mean = Callable[[NDArray[np.float32], Floats, Floats, Floats], NDArray[np.float32]]

# The density is looked up once for each square of so many pixels, and interpolated between.
CELL_PX = 8
# The noise repeats after so many of its scales, and is held at so many points along each axis.
_PERIOD_SCALES = 8
_POINTS = 64
# Patches are so many times wider than high: fog lies in layers.
_FLATNESS = 2.0
# Beyond this optical depth the haze is taken as uniform: 0.2 % of the light is left.
_NOISE_OPTICAL_DEPTH = 6.0
# Most look-ups along one shell; of a thicker one the noise is averaged more coarsely.
_MOST_PROBES = 16
# Slope of a ray below which it counts as this steep: height integrals have their limit there.
_LEVEL = 1e-9


def path_length(distance_m: NDArray[np.float32], haze: HazeParams, camera: Camera | None) -> Floats:
    """Length [m] of the path through uniform haze that has the optical depth of each pixel's ray.

    Args:
        distance_m: Distance along the ray, (height, width), infinite where there is no surface.
        haze: Its noise and height are used; without either, the distance itself is returned.
        camera: Intrinsics of the picture; needed for noise and height.

    Returns:
        (height, width), at least 0; infinite for infinite distances, but for rays that leave fog that
        thins with height.

    Raises:
        UsageError: A camera is needed and there is none.
    """
    if not haze.needs_camera:
        return distance_m
    camera = known(camera, distance_m)
    distance: Floats = distance_m.astype(np.float64)
    slope = slopes(camera, haze, 0, camera.height)
    if not haze.noise_contrast:
        return through_height(distance, slope, haze)
    length: Floats = np.zeros_like(distance)
    passed: Floats = np.zeros_like(distance)
    for end, coarse in shells(haze, camera, distance_m):
        until = through_height(np.minimum(distance, end), slope, haze)
        length += upsample(coarse, CELL_PX, camera.height, camera.width) * (until - passed)
        passed = until
    return length + (through_height(distance, slope, haze) - passed)


def known(camera: Camera | None, distance_m: Floats) -> Camera:
    """The camera of a picture of distances, which haze that changes in space cannot do without."""
    if camera is None:
        raise UsageError(
            "Haze that changes in space needs the direction of each pixel's ray. Expected intrinsics beside "
            "noise_contrast and height_scale_m, received none. Pass --fov-deg or --camera."
        )
    assert distance_m.shape == (camera.height, camera.width), (distance_m.shape, camera)
    return camera


def directions(camera: Camera, haze: HazeParams, x: Floats, y: Floats) -> Floats:
    """Unit vectors in the world of the rays through pixels x (columns) and y (rows), (3, rows, columns)."""
    pitch = math.radians(haze.camera_pitch_deg)
    right, down = np.broadcast_arrays((x[None, :] - camera.cx) / camera.fx, (y[:, None] - camera.cy) / camera.fy)
    up = math.sin(pitch) - down * math.cos(pitch)
    ahead = math.cos(pitch) + down * math.sin(pitch)
    return np.stack((right, up, ahead)) / np.sqrt(1.0 + right**2 + down**2)


def slopes(camera: Camera, haze: HazeParams, first: int, last: int) -> Floats:
    """Height gained for each metre along the rays of rows `first` to `last`, in [-1, 1], (rows, width)."""
    x, y = np.arange(camera.width, dtype=np.float64), np.arange(first, last, dtype=np.float64)
    return np.asarray(directions(camera, haze, x, y)[1])


def through_height(distance_m: Floats, slope: Floats, haze: HazeParams) -> Floats:
    """Equivalent length [m] of paths through fog that thins with height; the path itself if it does not.

    The density is exp(-h / H) at height h above the ground and 1 below it, so that along a ray

        length = exp(-low / H) (H / |s|) (1 - exp(-d |s| / H))

    where s is the slope and low the path's lowest height; what lies under ground counts in full. As s
    goes to 0 this goes to exp(-low / H) d, and for rays upward without end to exp(-low / H) H / s.

    Args:
        distance_m: d, at least 0, may be infinite.
        slope: s, from `slopes`.
    """
    if haze.height_scale_m is None:
        return distance_m
    scale, start = haze.height_scale_m, haze.camera_height_m
    steep, down = np.maximum(np.abs(slope), _LEVEL), slope < 0.0
    above = np.where(down, np.minimum(distance_m, start / steep), distance_m)
    low = np.maximum(np.where(down, start - above * steep, start), 0.0)
    length = np.exp(-low / scale) * (scale / steep) * -np.expm1(-above * (steep / scale))
    return length + np.subtract(distance_m, above, out=np.zeros_like(length), where=down)


def noise(contrast: float, seed: int) -> NDArray[np.float32]:
    """Density of patchy haze on a periodic cube: log-normal, its mean exactly 1, float32 (64, 64, 64).

    Args:
        contrast: Standard deviation over mean, above 0.
        seed: Key of the generator.
    """
    rng = np.random.Generator(np.random.Philox(key=seed))
    spectrum = np.fft.rfftn(rng.standard_normal((_POINTS,) * 3, np.float32))
    spectrum *= _root_of_spectrum()
    spectrum[0, 0, 0] = 0.0
    gauss = np.fft.irfftn(spectrum, (_POINTS,) * 3, axes=(0, 1, 2))
    density = np.exp(gauss * (math.sqrt(math.log1p(contrast**2)) / gauss.std()))
    return np.asarray(density / density.mean(dtype=np.float64), np.float32)


@functools.cache
def _root_of_spectrum() -> NDArray[np.float32]:
    """The root of von Karman's spectrum at the frequencies of `noise`."""
    along = np.fft.fftfreq(_POINTS, 1.0 / _POINTS).astype(np.float32)
    half = np.arange(_POINTS // 2 + 1, dtype=np.float32)
    square = along[:, None, None] ** 2 + along[None, :, None] ** 2 + half**2
    return np.asarray((square + _PERIOD_SCALES**2) ** (-11.0 / 12.0), np.float32)


def coarser(density: NDArray[np.float32]) -> NDArray[np.float32]:
    """The means of blocks of 2 x 2 x 2: half as many points along each axis, the same mean."""
    half = len(density) // 2
    return density.reshape(half, 2, half, 2, half, 2).mean((1, 3, 5))


def mean_along(cube: NDArray[np.float32], origin: Floats, rays: Floats, probes: Floats) -> NDArray[np.float32]:
    """Mean of a periodic cube over the points origin + probe * ray, by trilinear interpolation.

    Args:
        cube: (n, n, n).
        origin: In points of the cube, (3,).
        rays: (3, rows, columns), in points of the cube for each unit of `probes`.
        probes: (m,).

    Returns:
        (rows, columns).
    """
    from scipy.ndimage import map_coordinates

    total = np.zeros(rays.shape[1:], np.float32)
    for probe in probes:
        place = origin[:, None, None] + probe * rays
        total += map_coordinates(cube, place, order=1, mode="grid-wrap")
    return total / np.float32(len(probes))


def shells(
    haze: HazeParams, camera: Camera, distance_m: Floats, mean: Mean = mean_along
) -> Iterator[tuple[float, NDArray[np.float32]]]:
    """Distance [m] at which each shell of patchy haze ends, and its density once for each cell of the picture.

    In a shell each ray's density is taken as constant: the mean of look-ups along it, as many as the noise has
    points there. What is finer than half a cell's width at its distance is averaged before it is looked up:
    otherwise distant haze would be a pattern of single samples. Nothing is averaged across the ray beyond that, or
    the patches would lose contrast.

    Args:
        distance_m: (height, width); its largest finite distance is where the shells end.
        mean: `mean_along`, or what does the same faster.

    Yields:
        The distance, and float32 (rows of cells, columns of cells); cell i is centred at pixel 8 i + 3.5.
    """
    ends = shell_ends(haze, distance_m)
    rays = directions(camera, haze, _cell_centres(camera.width), _cell_centres(camera.height))
    levels = [noise(haze.noise_contrast, haze.noise_seed)]
    while len(levels[-1]) > 1:
        levels.append(coarser(levels[-1]))
    point_m = haze.noise_scale_m * _PERIOD_SCALES / _POINTS
    for start, end in pairwise((0.0, *ends)):
        footprint_m = 0.5 * (start + end) * CELL_PX / max(camera.fx, camera.fy)
        finest_m = max(0.5 * footprint_m, (end - start) / _MOST_PROBES)
        level = min(max(round(math.log2(finest_m / point_m)), 0), len(levels) - 1)
        yield end, _shell(levels[level], point_m * 2**level, start, end, rays, haze, mean)


def shell_ends(haze: HazeParams, distance_m: Floats) -> Floats:
    """Distances [m] at which the shells end, (noise_samples,).

    They reach to the frame's largest finite distance, or as far as anything is seen if that is less, so that rays
    to its far surfaces cross them all; they are thin near the camera and grow beyond the noise's scale.
    """
    # The 32-bit number that a record keeps of beta, so that the record alone gives the same shells.
    reach = _NOISE_OPTICAL_DEPTH / float(np.float32(haze.beta[1]))
    farthest = float(np.max(distance_m, where=np.isfinite(distance_m), initial=0.0)) or reach
    share = np.arange(1, haze.noise_samples + 1) / haze.noise_samples
    return haze.noise_scale_m * np.expm1(share * math.log1p(min(reach, farthest) / haze.noise_scale_m))


def _shell(
    density: NDArray[np.float32],
    point_m: float,
    start: float,
    end: float,
    rays: Floats,
    haze: HazeParams,
    mean: Mean = mean_along,
) -> NDArray[np.float32]:
    """Mean density along `rays` from `start` to `end`, in a cube of noise whose points lie `point_m` apart.

    The cube of a coarser level holds means of blocks: its points lie in their middles, half a block off.
    """
    finest_m = haze.noise_scale_m * _PERIOD_SCALES / _POINTS
    count = min(math.ceil((end - start) / point_m), _MOST_PROBES)
    probes_m = start + (end - start) * (np.arange(count) + 0.5) / count
    origin_m = np.array((0.0, _FLATNESS * haze.camera_height_m, 0.0)) + 0.5 * finest_m
    flattened = rays * np.array((1.0, _FLATNESS, 1.0))[:, None, None]
    return mean(density, origin_m / point_m - 0.5, flattened / point_m, probes_m)


def _cell_centres(size: int) -> Floats:
    return np.arange(math.ceil(size / CELL_PX)) * float(CELL_PX) + (CELL_PX - 1) / 2.0


def upsample(coarse: Floats, factor: int, height: int, width: int) -> Floats:
    """Linear interpolation between the centres of square cells of `factor` pixels; constant beyond the outer ones.

    Args:
        coarse: (rows of cells, columns of cells, ...), which cover at least height x width pixels.
    """
    rows = _between(coarse, factor, height)
    return np.swapaxes(_between(np.swapaxes(rows, 0, 1), factor, width), 0, 1)


def _between(coarse: Floats, factor: int, size: int) -> Floats:
    at = np.clip((np.arange(size) + 0.5) / factor - 0.5, 0.0, len(coarse) - 1.0)
    low = np.minimum(at.astype(int), max(len(coarse) - 2, 0))
    share = (at - low).reshape(-1, *(1,) * (coarse.ndim - 1))
    return coarse[low] * (1.0 - share) + coarse[np.minimum(low + 1, len(coarse) - 1)] * share
