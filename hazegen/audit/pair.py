"""Looks at one hazy/clean pair: do they lie on each other, and which haze lies between."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hazegen import color, geometry, images, intrinsics, scenes
from hazegen.audit import checks as audit_checks
from hazegen.audit import fit as audit_fit
from hazegen.audit import patches as audit_patches
from hazegen.audit.fit import ColorSpace, Fit
from hazegen.audit.pairing import PairRef
from hazegen.audit.result import Convention, PairAudit, PathKind
from hazegen.depth import readers
from hazegen.errors import HazegenError, StoreError
from hazegen.geometry import Camera
from hazegen.pairing import SceneRef
from hazegen.reading import Reading

Floats = NDArray[np.float32]
Crop = tuple[slice, slice]

SPACES: tuple[ColorSpace, ...] = ("srgb", "linear")
# Pixels of a pair that the fit with distances uses: more change nothing in the third digit of beta and A.
PIXELS = 12_000
# A fit is poor where it leaves so many times what free patches leave, and more than JPEG does.
POOR, POOR_RMSE = 3.0, 0.015
TURNS: dict[str, Callable[[Floats], Floats]] = {
    "left to right": lambda distance_m: distance_m[:, ::-1],
    "top to bottom": lambda distance_m: distance_m[::-1],
    "by 180 degrees": lambda distance_m: distance_m[::-1, ::-1],
}


@dataclass(frozen=True)
class Seen:
    """A pair's result, and the structure of its two pictures to look for better partners."""

    pair: PairAudit
    hazy: NDArray[np.int8] | None = None
    clean: NDArray[np.int8] | None = None


@dataclass(frozen=True)
class _Opened:
    """Two pictures of a pair: hazy, the part of the clean one behind it, which part, and of what size the whole is.

    In 8 bits: as floats they would take eight times the memory, and the fits use some of their pixels alone.
    """

    hazy: NDArray[np.uint8]
    clean: NDArray[np.uint8]
    crop: Crop
    whole: tuple[int, int]


def look(ref: PairRef, hazy: Path, reading: Reading, *, with_depth: bool) -> Seen:
    """One pair: read, laid on each other, compared, fitted. A fault ends it, and is in the result.

    Args:
        hazy: Folder of the hazy pictures.
        reading: How the clean ones, its `images`, and their depth maps are read.
        with_depth: Whether there are depth maps.
    """
    try:
        (hazy_pixels, header), (clean_pixels, clean_header) = _read(hazy / ref.hazy), _read(reading.images / ref.clean)
    except StoreError:
        raise
    except (HazegenError, OSError) as error:
        return Seen(PairAudit(ref, "unreadable", str(error)))
    hazy_gray, clean_gray = _gray(hazy_pixels), _gray(clean_pixels)
    thumbs = audit_checks.thumbnail(hazy_gray), audit_checks.thumbnail(clean_gray)
    pair = PairAudit(
        ref,
        size=(hazy_pixels.shape[1], hazy_pixels.shape[0]),
        hazy_quality=audit_checks.jpeg_quality(header),
        clean_quality=audit_checks.jpeg_quality(clean_header),
        blockiness=audit_checks.blockiness(hazy_gray),
    )
    pair, crop = _laid_on(pair, hazy_gray, clean_gray)
    if crop is None or pair.code not in ("", "constant"):
        return Seen(pair, *thumbs)
    opened = _Opened(hazy_pixels, clean_pixels[crop], crop, clean_gray.shape)
    return Seen(_fitted(pair, opened, reading, with_depth), *thumbs)


def _read(path: Path) -> tuple[NDArray[np.uint8], Image.Image]:
    data = images.read_file(path)
    header = images.check_header(data, path.name)
    return images.as_rgb8(images.decode(data, path.name), path.name), header


def _gray(pixels: NDArray[np.uint8]) -> Floats:
    return color.to_float(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8))


def thumbnail(path: Path) -> NDArray[np.int8] | None:
    """Structure of a clean picture; None where it cannot be read."""
    try:
        return audit_checks.thumbnail(_gray(_read(path)[0]))
    except StoreError:
        raise
    except (HazegenError, OSError):
        return None


def _laid_on(pair: PairAudit, hazy: Floats, clean: Floats) -> tuple[PairAudit, Crop | None]:
    """The pair with how its pictures lie on each other, and the part of the clean one behind the hazy one."""
    top, left = ((whole - part) // 2 for whole, part in zip(clean.shape, hazy.shape, strict=True))
    if top < 0 or left < 0:
        reason = (
            f"The hazy picture is larger than the clean one. Expected at most {clean.shape[1]} x {clean.shape[0]}, "
            f"received {hazy.shape[1]} x {hazy.shape[0]}."
        )
        return dataclasses.replace(pair, code="size", reason=reason), None
    crop = slice(top, top + hazy.shape[0]), slice(left, left + hazy.shape[1])
    match = audit_checks.compare(hazy, np.ascontiguousarray(clean[crop]))
    if match.code not in ("", "constant") and audit_checks.is_resized(hazy, clean, match.similarity):
        match = dataclasses.replace(match, code="resized", reason="The hazy picture is a resized one, not a crop.")
    pair = dataclasses.replace(pair, offset=(left, top), similarity=match.similarity)
    return dataclasses.replace(pair, code=match.code, reason=match.reason), crop


def _fitted(pair: PairAudit, opened: _Opened, reading: Reading, with_depth: bool) -> PairAudit:
    """The pair with all its fits, and with the reason where they tell too little."""
    hazy, clean = (audit_patches.blocks(pixels) / 255.0 for pixels in (opened.hazy, opened.clean))
    tried = ((space, audit_patches.fit_patches(hazy, clean, space)) for space in SPACES)
    pair = dataclasses.replace(pair, patches={space: fit for space, fit in tried if fit is not None})
    if not with_depth:
        return _judged(pair, pair.patches.values())
    if pair.ref.depth is None:
        return dataclasses.replace(pair, code="depth", reason="No depth map has the name of the clean picture.")
    try:
        maps = _distances(pair.ref, opened, reading)
    except StoreError:
        raise
    except (HazegenError, OSError) as error:
        return dataclasses.replace(pair, code="depth", reason=str(error))
    cut = {path: whole[_inside(whole, opened)] for path, whole in maps.items()}
    fits = dict(_fits(opened, cut))
    pair = dataclasses.replace(pair, fits=fits, largest_m={path: _largest(whole) for path, whole in maps.items()})
    return _explained(pair, opened, cut)


def _distances(ref: PairRef, opened: _Opened, reading: Reading) -> dict[PathKind, Floats]:
    """Distances [m] of the whole map, for each way to measure them that is known."""
    height, width = opened.whole
    scene = SceneRef(ref.key, ref.clean, str(ref.depth))
    camera, fmt = intrinsics.read_camera(scene, reading, width, height)
    path = scenes.depth_path(scene, reading)
    depth_m = readers.read_depth(path, fmt, mask=scenes.mask_path(scene, reading))
    if depth_m.shape != opened.hazy.shape[:2]:  # it may show the part behind the hazy picture alone
        depth_m = scenes.fitted(ref.key, depth_m, opened.whole, reading, fmt)
    have = scenes.measured_along(fmt, "plane")
    maps: dict[PathKind, Floats] = {have: depth_m}
    other: PathKind = "ray" if have == "plane" else "plane"
    if camera is not None and scenes.measured_along(fmt, other) != other:
        convert = geometry.plane_to_ray if have == "plane" else geometry.ray_to_plane
        maps[other] = convert(depth_m, _camera_of(depth_m, camera, opened))
    return maps


def _camera_of(depth_m: Floats, camera: Camera, opened: _Opened) -> Camera:
    """The clean picture's camera, for a map that shows the part behind the hazy picture alone too."""
    if depth_m.shape == opened.whole:
        return camera
    axis = camera.cx - opened.crop[1].start, camera.cy - opened.crop[0].start
    return Camera(depth_m.shape[1], depth_m.shape[0], camera.fx, camera.fy, *axis)


def _inside(distance_m: Floats, opened: _Opened) -> Crop:
    return opened.crop if distance_m.shape == opened.whole else (slice(None), slice(None))


def _largest(distance_m: Floats) -> float:
    finite = distance_m[np.isfinite(distance_m)]
    return float(finite.max()) if finite.size else math.nan


def _fits(opened: _Opened, distances: dict[PathKind, Floats]) -> Iterator[tuple[Convention, Fit]]:
    """The fit of every convention that can be tried, on an even grid of pixels."""
    height, width = opened.hazy.shape[:2]
    step = max(1, round(math.sqrt(height * width / PIXELS)))
    grid = (slice(step // 2, None, step), slice(step // 2, None, step))
    hazy, clean = opened.hazy[grid].reshape(-1, 3) / 255.0, opened.clean[grid].reshape(-1, 3) / 255.0
    for path, distance_m in distances.items():
        d = distance_m[grid].ravel().astype(np.float64)
        known = ~np.isnan(d)
        for space in SPACES:
            fit = audit_fit.fit_distance(hazy[known], clean[known], d[known], space)
            if fit is not None:
                yield (path, space), fit


def _explained(pair: PairAudit, opened: _Opened, distances: dict[PathKind, Floats]) -> PairAudit:
    """The pair, with a code where its depth map explains too little of the haze."""
    if not pair.fits:
        reason = "The depth map holds too few finite distances behind the pair."
        return dataclasses.replace(pair, code="depth", reason=reason)
    rmse, free = _least(pair.fits), _least(pair.patches)
    if rmse <= max(POOR_RMSE, POOR * free):
        return _judged(pair, pair.fits.values())
    for name, turn in TURNS.items():
        turned = dict(_fits(opened, {path: turn(distance_m) for path, distance_m in distances.items()}))
        if _least(turned) < 0.7 * rmse:
            return dataclasses.replace(pair, code="depth-mirrored", reason=f"The depth map is mirrored {name}.")
    reason = f"The depth map does not explain the haze: residual {rmse:.4f}, of patches alone {free:.4f}."
    return dataclasses.replace(pair, code="unexplained", reason=reason)


def _least(fits: dict[Convention, Fit] | dict[ColorSpace, Fit]) -> float:
    return min((fit.rmse for fit in fits.values()), default=math.inf)


def _judged(pair: PairAudit, fits: Iterable[Fit]) -> PairAudit:
    """The pair, with a code where the fits cannot tell beta or A."""
    best = min(fits, key=lambda fit: fit.rmse, default=None)
    reason = audit_fit.why_uncertain(best) if best else "Every patch holds a 0 or a 255: all of it may be clipped."
    return dataclasses.replace(pair, code="uncertain", reason=reason) if reason else pair
