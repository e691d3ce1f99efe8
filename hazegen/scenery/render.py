"""The photo of a scene: its surfaces, their light, the sky and the camera's response."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hazegen.color import to_uint8
from hazegen.scenery.palette import Rng
from hazegen.scenery.patch import patch_of
from hazegen.scenery.patterns import mix, noise
from hazegen.scenery.raycast import Hits, cast, normals_at
from hazegen.scenery.scene import Lamp, Scene
from hazegen.scenery.shadows import lit_share, openness
from hazegen.scenery.shapes import Ellipsoid, Shape
from hazegen.scenery.vectors import Floats, dots
from hazegen.scenery.view import View, pixel_rays

_CHUNK = 8192  # Pixels that are painted at once: their arrays fit the cache.


def render(scene: Scene, rng: Rng) -> tuple[NDArray[np.uint8], Floats]:
    """The photo of a scene and its depth.

    Every pixel shows the surface that its centre ray meets, without blending across edges:
    textures are smoothed over the pixel, outlines are not.

    Returns:
        sRGB-coded uint8 (h, w, 3), R, G, B; plane depth [m], infinite in the sky, float32 (h, w).
    """
    view, shapes = scene.view, [shape for shape, _ in scene.things]
    hits, rays = cast(shapes, view), pixel_rays(view)
    points = view.origin[:, None, None] + rays * np.where(hits.shape >= 0, hits.depth_m, 0)
    normals, colour, glow = _surfaces(scene, hits, rays, points)
    light = _ambient(scene, points, normals) * openness(shapes, view, points, normals, scene.reach_m)
    for lamp in scene.lamps:
        light += _lamplight(lamp, shapes, view, hits, points, normals)
    radiance = colour * light + glow
    if scene.clouds is not None:
        sky = hits.shape < 0
        radiance[:, sky] = _skylight(scene, scene.clouds, rays[:, sky])
    return _develop(radiance, rng), hits.depth_m


def _surfaces(scene: Scene, hits: Hits, rays: Floats, points: Floats) -> tuple[Floats, Floats, Floats]:
    """Normals, reflectance and own light of every pixel's surface, each float32 (3, h, w)."""
    keys = (hits.shape.astype(np.int32) * 256 + hits.face).ravel()
    order = np.argsort(keys, kind="stable")
    order = order[np.searchsorted(keys[order], 0) :]
    keys, depth_m = keys[order], hits.depth_m.ravel()[order]
    # The pixels of a face side by side: far faster than to gather and scatter them face by face.
    sorted_points, sorted_rays = (np.take(array.reshape(3, -1), order, axis=1) for array in (points, rays))
    found = np.empty((3, 3, len(order)), np.float32)
    cuts = {0, *(np.flatnonzero(np.diff(keys)) + 1).tolist(), *range(0, len(order), _CHUNK), len(order)}
    for start, end in itertools.pairwise(sorted(cuts)):
        number, face = divmod(int(keys[start]), 256)
        shape, paint = scene.things[number]
        here, ray = sorted_points[:, start:end], sorted_rays[:, start:end]
        normals = normals_at(shape, here, face)
        if isinstance(shape, Ellipsoid) and shape.leaf_m > 0:
            # Through a gap the inner side of the far leaves is seen.
            normals = normals * np.where(dots(normals, ray) > 0, np.float32(-1), np.float32(1))
        patch = patch_of(shape, face, here, normals, ray, depth_m[start:end], scene.view, scene.sky)
        colour, glow = paint(patch)
        found[0][:, start:end], found[1][:, start:end], found[2][:, start:end] = normals, colour, glow
    whole = np.zeros((9, hits.shape.size), np.float32)
    for part, values in zip(whole, found.reshape(9, -1), strict=True):
        part[order] = values
    normals, colour, glow = whole.reshape(3, *rays.shape)
    return normals, colour, glow


def _ambient(scene: Scene, points: Floats, normals: Floats) -> Floats:
    """Light from the surroundings: from above, from the side, from below; less of it deep in a street."""
    below, side, above = scene.sky[:, :, None, None] * np.float32(scene.ambient)
    side = side * np.float32(0.6)
    light = side + np.where(normals[2] > 0, (above - side) * 0.5 + side * 0.5, below - side) * np.abs(normals[2])
    if scene.clouds is not None:
        light *= np.float32(0.5) + np.float32(0.5) * np.clip(points[2] / 9, 0, 1)
    return light


def _lamplight(lamp: Lamp, shapes: Sequence[Shape], view: View, hits: Hits, points: Floats, normals: Floats) -> Floats:
    """Lambert's law with shadows: rgb cos(angle), for a window times cos(its angle) / (distance^2 + 0.6)."""
    to_lamp = lamp.places[0][:, None, None] - points
    away = np.sqrt(dots(to_lamp, to_lamp))
    strength = np.maximum(dots(normals, to_lamp) / away, 0)
    if lamp.facing is not None:
        turned = -dots(to_lamp, lamp.facing) / away
        strength *= np.maximum(turned, 0) / (away * away + np.float32(0.6))
    mask = hits.shape >= 0
    if lamp.opening is not None:
        mask = mask & _through(lamp.opening, points, to_lamp)
    return lamp.rgb[:, None, None] * (strength * lit_share(shapes, view, hits, points, normals, lamp.places, mask))


def _through(opening: Floats, points: Floats, to_lamp: Floats) -> NDArray[np.bool_]:
    """Which points see the lamp through a flat opening, given by two opposite corners (2, 3)."""
    low, high = opening
    flat = int(np.argmin(high - low))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (low[flat] - points[flat]) / to_lamp[flat]
    seen = (t > 0) & (t < 1)
    for axis in {0, 1, 2} - {flat}:
        place = points[axis] + np.where(seen, t, 0) * to_lamp[axis]
        seen &= (place > low[axis]) & (place < high[axis])
    return seen


def _skylight(scene: Scene, clouds: float, rays: Floats) -> Floats:
    """Radiance of the sky along n rays (3, n): a gradient, a glow about the sun, clouds on a plane overhead."""
    length = np.sqrt(dots(rays, rays))
    rise = np.maximum(rays[2] / length, 0)
    _, side, above = scene.sky[:, :, None]
    sun, rgb = scene.lamps[0].places[0], scene.lamps[0].rgb[:, None]
    near = np.clip(dots(rays, sun / np.linalg.norm(sun)) / length, 0, 1)
    sky = mix(above, side, np.exp(-4 * rise)) + rgb * (0.06 * near**8 + 0.2 * near**200)
    slant = 1 / (length * (rise + np.float32(0.12)))
    size = 0.004 / (rise + np.float32(0.12)) ** 2
    u, v = rays[0] * slant + np.float32(37 * clouds), rays[1] * slant
    field = noise(u, v, 9.0, size) + np.float32(0.5) * noise(v, u, 2.3, size)
    cover = np.clip((field - np.float32(1.8) + np.float32(2.6 * clouds)) / np.float32(1.6), 0, 1)
    cover = cover * cover * (3 - 2 * cover) * np.clip(rise * 9, 0, 1)
    cloud = (side * 0.55 + 0.4 + rgb * 0.1) * (1 - np.float32(0.25) * cover * cover)
    return mix(sky, cloud, np.float32(0.9) * cover)


def _develop(radiance: Floats, rng: Rng) -> NDArray[np.uint8]:
    """The camera: a slight vignette, an exposure for a mean near the middle, noise, 8 bits (h, w, 3)."""
    height, width = radiance.shape[1:]
    y, x = np.linspace(-1, 1, height, dtype=np.float32), np.linspace(-1, 1, width, dtype=np.float32)
    fall = 1 - np.float32(rng.uniform(0.02, 0.14)) * (y[:, None] ** 2 + x[None] ** 2)
    radiance = np.ascontiguousarray(np.moveaxis(radiance * fall, 0, 2))
    goal, low, high = float(rng.uniform(0.4, 0.53)), 0.01, 60.0
    sample = np.ascontiguousarray(radiance[::7, ::7])
    for _ in range(16):
        middle = math.sqrt(low * high)
        dark = _coded(sample * np.float32(middle)).mean() < goal
        low, high = (middle, high) if dark else (low, middle)
    grain = np.float32(rng.uniform(0.002, 0.007))
    return to_uint8(_coded(radiance * np.float32(low)) + rng.standard_normal(radiance.shape, np.float32) * grain)


def _coded(radiance: Floats) -> Floats:
    """A film's response: highlights roll off, then a gamma of 2.2 and an S-curve of contrast."""
    value = np.power(1 - np.exp(-radiance), np.float32(1 / 2.2))
    return value * (np.float32(0.7) + value * (np.float32(0.9) - np.float32(0.6) * value))
