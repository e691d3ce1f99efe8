"""Reads one scene: a photo, and how far each of its pixels is."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hazegen import geometry, images
from hazegen.depth import calibration, completion, containers, conventions, readers, refinement, scale, sky
from hazegen.depth.conventions import Convention
from hazegen.depth.formats import RELATIVE, DepthFormat, from_camera_file
from hazegen.errors import HazegenError, RefusedError
from hazegen.geometry import Camera
from hazegen.pairing import SceneRef
from hazegen.recipe import Recipe

Floats = NDArray[np.float32]


class SceneRejected(RefusedError):
    """One scene cannot be used; the others can."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True)
class Reading:
    """How the files of every scene are read.

    Attributes:
        images, depth: Folders; for a convention that stacks its frames, the one file of both.
        camera: One camera file for all scenes, or the folder that holds one for each.
        fov_deg: Horizontal field of view of all scenes [degree], where there is no camera file.
        convention: Name of the convention that the depth maps follow.
        depth_format: Fields of DepthFormat that were given; they stand above camera files and convention.
        fit_depth: Whether a depth map of another size is resized to its image (nearest neighbour).
        sparse: Folder of sparse metric maps that the scale of relative depth is fitted to.
        sparse_scale: Metres in one unit of these; None as DepthFormat.unit.
        flat_m: Plane depth [m] of every pixel of every photo, where there are no depth maps (`depth` is unused).
        depth_entries: Whether the `depth` entry of a camera file is about these maps. It is about files, not about
            flat depth, what a network estimated, or transmissions in place of them.
    """

    images: Path
    depth: Path
    camera: Path | None = None
    fov_deg: float | None = None
    convention: str = "custom"
    depth_format: dict[str, Any] = field(default_factory=dict)
    fit_depth: bool = False
    sparse: Path | None = None
    sparse_scale: float | None = None
    flat_m: float | None = None
    depth_entries: bool = True


@dataclass(frozen=True)
class Scene:
    """A photo and how far each of its pixels is.

    Attributes:
        key: Name of the scene.
        clean: sRGB code values, uint8 (height, width, 3).
        distance_m: Path length d [m] in the recipe's convention, float32 (height, width), completed;
            infinite where there is no surface.
        largest_m: Largest finite path length of the frame [m].
        holes: Share of pixels whose depth was not measured.
        sky: Share of pixels without a surface.
        depth_format: What the numbers of its depth file were taken to mean.
        camera: Intrinsics, where any are known.
    """

    key: str
    clean: NDArray[np.uint8]
    distance_m: Floats
    largest_m: float
    holes: float
    sky: float
    depth_format: DepthFormat
    camera: Camera | None = None


def load(ref: SceneRef, reading: Reading, recipe: Recipe) -> Scene:
    """Reads one scene and brings its depth into the recipe's convention.

    Raises:
        SceneRejected: The scene cannot be used; `code` says why in one word.
    """
    convention = conventions.find(reading.convention)
    clean = _reading("image", lambda: read_clean(ref, reading))
    camera, fmt = _reading("camera", lambda: read_camera(ref, reading, clean.shape[1], clean.shape[0]))
    depth_m = _reading("depth", lambda: _read_depth(ref, reading, fmt, clean.shape[:2]))
    depth_m = _same_size(ref.key, clean, depth_m, reading.fit_depth)
    if recipe.sky_from_image or convention.lidar:
        depth_m = np.where(sky.find_sky(clean, depth_m), np.float32(np.inf), depth_m)
    holes, unbounded = float(np.isnan(depth_m).mean()), float(np.isinf(depth_m).mean())
    _check_shares(ref.key, holes, unbounded, recipe)
    distance_m = _convert(ref.key, completion.fill(depth_m, clean, recipe.fill), fmt, camera, recipe)
    if recipe.refine != "none":
        distance_m = refinement.refine(distance_m, clean, recipe.refine)
    largest_m = _largest(ref.key, distance_m)
    if recipe.sky == "far":
        distance_m = np.where(np.isinf(distance_m), np.float32(largest_m), distance_m)
    if recipe.needs_camera and camera is None:
        raise SceneRejected("camera", _no_camera(ref.key, "to place its haze in space"))
    return Scene(ref.key, clean, distance_m, largest_m, holes, unbounded, fmt, camera)


def _largest(key: str, distance_m: Floats) -> float:
    """The largest finite distance [m]."""
    finite = distance_m[np.isfinite(distance_m)]
    if not finite.size:
        raise SceneRejected(
            "camera",
            f"The intrinsics of scene '{key}' make every distance infinite. Expected focal lengths of some hundred "
            "pixels, received others. Correct the camera file.",
        )
    return float(finite.max())


def _reading(code: str, read: Any) -> Any:
    """`read()`, with an error of the file turned into the rejection of the scene."""
    try:
        return read()
    except (HazegenError, OSError) as error:
        raise SceneRejected(code, str(error)) from error


def read_clean(ref: SceneRef, reading: Reading) -> NDArray[np.uint8]:
    """The photo of a scene, uint8 (height, width, 3)."""
    if ref.frame is not None:
        return containers.read_stacked_photo(reading.images, ref.frame)
    path = reading.images / ref.image
    return images.as_rgb8(images.read_picture(path), path.name)


def depth_path(ref: SceneRef, reading: Reading) -> Path:
    """The file that holds the depth of a scene."""
    return reading.depth if ref.frame is not None else reading.depth / ref.depth


def _read_depth(ref: SceneRef, reading: Reading, fmt: DepthFormat, shape: tuple[int, ...]) -> Floats:
    """Depth or distance [m] as the file has it, with the convention's mask and the fitted scale."""
    if reading.flat_m is not None:
        return np.full(shape, reading.flat_m, np.float32)
    if reading.sparse is not None:
        return _fit_to_sparse(ref, reading, fmt)
    return readers.read_depth(depth_path(ref, reading), fmt, ref.frame, mask_path(ref, reading))


def mask_path(ref: SceneRef, reading: Reading) -> Path | None:
    """The file of a scene's valid pixels, where its convention has one."""
    pattern = conventions.find(reading.convention).mask_pattern
    if pattern is None:
        return None
    stem = reading.depth / pattern.replace("{key}", ref.key)
    found = _with_suffix(stem, (".npy", ".png"))
    if found is None:
        raise RefusedError(
            f"Depth '{ref.depth}' has no mask. Expected one file '{stem.name}.npy' or '.png' as the convention "
            f"'{reading.convention}' has it, received none or both. Add it, or pass --depth-kind custom."
        )
    return found


def _with_suffix(stem: Path, suffixes: Iterable[str]) -> Path | None:
    """The one file of this name with one of these suffixes, where there is exactly one."""
    found = [path for suffix in suffixes if (path := stem.with_name(stem.name + suffix)).is_file()]
    return found[0] if len(found) == 1 else None


def _fit_to_sparse(ref: SceneRef, reading: Reading, fmt: DepthFormat) -> Floats:
    """Relative depth in metres, by least squares to the scene's sparse metric points."""
    if fmt.values not in RELATIVE:
        raise RefusedError(
            f"The depth of scene '{ref.key}' has a scale of its own. Expected values relative or relative-inverse "
            f"beside --sparse, received '{fmt.values}'. Correct its camera file, or pass --depth-values."
        )
    relative = readers.read_relative(depth_path(ref, reading), fmt, ref.frame)
    return scale.to_metres(relative, _read_sparse(ref, reading), inverse=fmt.values == "relative-inverse")


def _read_sparse(ref: SceneRef, reading: Reading) -> Floats:
    path, fmt = sparse_path(ref, reading), DepthFormat(unit=reading.sparse_scale)
    assert path is not None
    values = containers.read_values(path, fmt)
    if fmt.unit is None and np.issubdtype(values.dtype, np.integer):
        raise RefusedError(
            f"Sparse depth '{path.name}' holds integers of an unknown unit. Expected the metres in one unit, received "
            f"{values.dtype} with nothing said. Pass --sparse-scale (0.001 for millimetres, 0.00390625 for KITTI)."
        )
    return readers.to_metres(values, fmt, path.name)


def sparse_path(ref: SceneRef, reading: Reading) -> Path | None:
    """The file of a scene's sparse metric points, where a folder of them is given."""
    if reading.sparse is None:
        return None
    found = _with_suffix(reading.sparse / ref.key, containers.SUFFIXES)
    if found is None:
        raise RefusedError(
            f"Scene '{ref.key}' has no sparse depth. Expected one file of its name in '{reading.sparse}', received "
            "none or several. Add it, or pass --near and --far."
        )
    return found


def read_camera(ref: SceneRef, reading: Reading, width: int, height: int) -> tuple[Camera | None, DepthFormat]:
    """The scene's intrinsics, where any are known, and the format of its depth map."""
    convention, path = conventions.find(reading.convention), intrinsics_path(ref, reading)
    if path is None:
        camera = geometry.camera_from_fov(reading.fov_deg, width, height) if reading.fov_deg else None
        return camera, from_camera_file({}, reading.depth_format, convention.format)
    if convention.calibration is not None:
        return _calibrated(path, reading, convention, (height, width))
    camera, depth_fields = load_camera(path)
    if (camera.width, camera.height) != (width, height):
        raise RefusedError(
            f"The intrinsics of scene '{ref.key}' belong to another size. Expected those of {width} x {height}, "
            f"received {camera.width} x {camera.height}. Scale fx, fy, cx, cy in '{path.name}'."
        )
    entry = depth_fields if reading.depth_entries else {}
    return camera, from_camera_file(entry, reading.depth_format, convention.format)


def _calibrated(
    path: Path, reading: Reading, convention: Convention, size: tuple[int, int]
) -> tuple[Camera | None, DepthFormat]:
    """Intrinsics and format by the calibration file that the convention's sets bring along."""
    assert convention.calibration is not None
    told = calibration.read_calibration(convention.calibration, path, size)
    fields = {"focal_px": told.focal_px, "baseline_m": told.baseline_m, "doffs_px": told.doffs_px}
    return told.camera, from_camera_file(fields, reading.depth_format, convention.format)


def intrinsics_path(ref: SceneRef, reading: Reading) -> Path | None:
    """The file of a scene's intrinsics: its convention's calibration, the camera file of its key, or that of all."""
    kind = conventions.find(reading.convention).calibration
    if kind is not None:
        return calibration.path_of(kind, ref.key, reading.depth / ref.depth, reading.camera)
    if reading.camera is not None and reading.camera.is_dir():
        return reading.camera / f"{ref.key}.json"
    return reading.camera


def load_camera(path: Path) -> tuple[Camera, dict[str, Any]]:
    """Intrinsics and the `depth` entry (empty where there is none) of a camera file.

    Raises:
        RefusedError: Missing, not JSON, or without one of the intrinsics.
    """
    try:
        content = json.loads(images.read_file(path))
        names = ("width", "height", "fx", "fy", "cx", "cy")
        return Camera(**{name: content[name] for name in names}), dict(content.get("depth", {}))
    except RefusedError:
        raise
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise RefusedError(
            f"Camera file '{path.name}' cannot be used. Expected JSON with width, height, fx, fy, cx, cy in "
            f"pixels, received: {type(error).__name__}: {error}. Correct the file."
        ) from None


def _same_size(key: str, clean: NDArray[np.uint8], depth_m: Floats, fit: bool) -> Floats:
    height, width = clean.shape[:2]
    if depth_m.shape == (height, width):
        return depth_m
    if not fit:
        raise SceneRejected(
            "size",
            f"Depth and image of scene '{key}' differ in size. Expected equal height and width, received image "
            f"({height}, {width}) and depth {depth_m.shape}. Pass --fit-depth to resize the depth map.",
        )
    # Nearest neighbour: a mean of near and far is a distance that is nowhere in the scene.
    fitted = cv2.resize(depth_m, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(fitted, np.float32)


def _check_shares(key: str, holes: float, unbounded: float, recipe: Recipe) -> None:
    if holes > recipe.max_holes:
        raise SceneRejected(
            "holes",
            f"Scene '{key}' has too few measured depths. Expected at most {recipe.max_holes:.1%} of pixels "
            f"without one, received {holes:.1%}. Complete the depth map, or raise max_holes.",
        )
    if holes + unbounded >= 1.0:
        raise SceneRejected(
            "no-surface",
            f"Scene '{key}' has no surface. Expected at least one pixel with a finite depth, received "
            f"{unbounded:.1%} sky and {holes:.1%} holes. Check which values mean sky and holes.",
        )
    if unbounded > 0.0 and recipe.sky == "reject":
        raise SceneRejected(
            "sky",
            f"Scene '{key}' shows sky. Expected none under the recipe's sky policy 'reject', received "
            f"{unbounded:.1%} of pixels. Set sky to infinite or far to use it.",
        )


def _convert(key: str, depth_m: Floats, fmt: DepthFormat, camera: Camera | None, recipe: Recipe) -> Floats:
    """Plane depth or distance along the ray, whichever the recipe asks for."""
    have = measured_along(fmt, recipe)
    if have == recipe.path:
        return depth_m
    if camera is None:
        raise SceneRejected("camera", _no_camera(key, f"to turn {have} depth into the recipe's {recipe.path} distance"))
    convert = geometry.plane_to_ray if have == "plane" else geometry.ray_to_plane
    return convert(depth_m, camera)


def measured_along(fmt: DepthFormat, recipe: Recipe) -> str:
    """Which length the maps hold: 'plane' or 'ray'; a transmission's path is the recipe's own."""
    if fmt.values == "transmission":
        return recipe.path
    return "ray" if fmt.values == "ray" else "plane"


def _no_camera(key: str, purpose: str) -> str:
    return f"Scene '{key}' needs intrinsics. Expected a camera {purpose}, received none. Pass --fov-deg or --camera."
