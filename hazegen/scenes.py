"""Finds photos and their depth maps, pairs them by name, and reads one scene."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hazegen import geometry, images
from hazegen.depth import completion, readers
from hazegen.depth.formats import DepthFormat, from_camera_file
from hazegen.errors import HazegenError, RefusedError, UsageError
from hazegen.geometry import Camera
from hazegen.recipe import Recipe

IMAGE_SUFFIXES = frozenset(
    (".avif", ".bmp", ".gif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".ras")
    + (".sr", ".tif", ".tiff", ".webp")
)
DEPTH_SUFFIXES = IMAGE_SUFFIXES | {".pfm", *readers.ARRAY_SUFFIXES}


@dataclass(frozen=True, slots=True)
class SceneRef:
    """One photo and its depth map, as paths relative to their folders."""

    key: str
    image: str
    depth: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """An input that cannot be used, and why: a short code and a sentence."""

    key: str
    image: str
    depth: str
    code: str
    reason: str


class SceneRejected(RefusedError):
    """One scene cannot be used; the others can."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True)
class Reading:
    """How the files of every scene are read.

    Attributes:
        images, depth: Folders.
        camera: One camera file for all scenes, or the folder that holds one (KEY.json) for each.
        fov_deg: Horizontal field of view of all scenes [degree], where there is no camera file.
        depth_format: Options of DepthFormat that were given; they stand above the camera files.
        fit_depth: Whether a depth map of another size is resized to its image (nearest neighbour).
    """

    images: Path
    depth: Path
    camera: Path | None = None
    fov_deg: float | None = None
    depth_format: dict[str, Any] = field(default_factory=dict)
    fit_depth: bool = False


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
    """

    key: str
    clean: NDArray[np.uint8]
    distance_m: NDArray[np.float32]
    largest_m: float
    holes: float
    sky: float
    depth_format: DepthFormat


def find_scenes(
    images: Path, depth: Path, image_pattern: str, depth_pattern: str
) -> tuple[list[SceneRef], list[Rejected], int]:
    """Pairs photos and depth maps by key, sorted by key.

    The key is the path below the folder without its suffix, with what the pattern adds taken off:
    with '{key}_leftImg8bit' the file 'ulm/000_leftImg8bit.png' has the key 'ulm/000'.

    Returns:
        The scenes; the files that have no partner, or several; and the number of other files, whose
        names are of another pattern or format.
    """
    photos, no_photos = _by_key(images, image_pattern, IMAGE_SUFFIXES)
    maps, no_maps = _by_key(depth, depth_pattern, DEPTH_SUFFIXES)
    others = len(no_photos) + len(no_maps)
    if images.resolve() == depth.resolve():
        claimed = {name for names in maps.values() for name in names}
        photos = {key: names for key, names in photos.items() if not claimed.issuperset(names)}
        others = len(no_photos & no_maps)
    found: list[SceneRef] = []
    rejected: list[Rejected] = []
    for key in sorted(photos.keys() | maps.keys()):
        photo, map_ = photos.get(key, []), maps.get(key, [])
        if len(photo) == 1 and len(map_) == 1:
            found.append(SceneRef(key, photo[0], map_[0]))
        else:
            code, reason = _why_unpaired(key, photo, map_)
            rejected.append(Rejected(key, ";".join(photo), ";".join(map_), code, reason))
    return found, rejected, others


def _why_unpaired(key: str, photo: list[str], map_: list[str]) -> tuple[str, str]:
    if not map_:
        return "no-depth", f"Image '{photo[0]}' has no depth map. Expected a depth file of key '{key}'."
    if not photo:
        return "no-image", f"Depth map '{map_[0]}' has no image. Expected an image of key '{key}'."
    return "duplicate", f"Key '{key}' names several files: {', '.join(photo + map_)}. Expected one of each."


def _by_key(root: Path, pattern: str, suffixes: frozenset[str]) -> tuple[dict[str, list[str]], set[str]]:
    """The files of each key, and those that are none of this pattern or format."""
    expression = _pattern(pattern)
    found: dict[str, list[str]] = {}
    others: set[str] = set()
    for name in sorted(_walk(root)):
        path = PurePosixPath(name)
        match = expression.fullmatch(path.stem) if path.suffix.lower() in suffixes else None
        if match:
            found.setdefault(str(path.parent / match.group("key")), []).append(name)
        else:
            others.add(name)
    return found, others


def _pattern(pattern: str) -> re.Pattern[str]:
    """The regular expression of a name pattern such as '{key}_depth'."""
    if pattern.count("{key}") != 1:
        raise UsageError(
            "A name pattern must say where the key stands. Expected '{key}' once, as in '{key}_depth', "
            f"received '{pattern}'. Correct --image-pattern or --depth-pattern."
        )
    before, after = pattern.split("{key}")
    return re.compile(f"{re.escape(before)}(?P<key>.+){re.escape(after)}", re.DOTALL)


def _walk(root: Path) -> Iterator[str]:
    """Paths of all files below `root`, relative to it, with forward slashes."""
    if not root.is_dir():
        raise UsageError(f"'{root}' is not a folder. Expected a folder of files. Check --images and --depth.")

    def fail(error: OSError) -> None:
        raise error

    for folder, _, names in os.walk(root, onerror=fail):
        relative = PurePosixPath(os.path.relpath(folder, root).replace(os.sep, "/"))
        yield from (str(relative / name) for name in names)


def load(ref: SceneRef, reading: Reading, recipe: Recipe) -> Scene:
    """Reads one scene and brings its depth into the recipe's convention.

    Raises:
        SceneRejected: The scene cannot be used; `code` says why in one word.
    """
    clean = _reading("image", lambda: _read_clean(reading.images / ref.image))
    camera, fmt = _reading("camera", lambda: _read_camera(ref, reading, clean.shape[1], clean.shape[0]))
    depth_m = _reading("depth", lambda: readers.read_depth(reading.depth / ref.depth, fmt))
    depth_m = _same_size(ref.key, clean, depth_m, reading.fit_depth)
    holes, sky = float(np.isnan(depth_m).mean()), float(np.isinf(depth_m).mean())
    _check_shares(ref.key, holes, sky, recipe)
    distance_m = _convert(ref.key, completion.fill_nearest(depth_m), fmt, camera, recipe)
    largest_m = float(distance_m[np.isfinite(distance_m)].max())
    if recipe.sky == "farthest":
        distance_m = np.where(np.isinf(distance_m), np.float32(largest_m), distance_m)
    return Scene(ref.key, clean, distance_m, largest_m, holes, sky, fmt)


def _reading(code: str, read: Any) -> Any:
    """`read()`, with an error of the file turned into the rejection of the scene."""
    try:
        return read()
    except (HazegenError, OSError) as error:
        raise SceneRejected(code, str(error)) from error


def _read_clean(path: Path) -> NDArray[np.uint8]:
    return images.as_rgb8(images.read_picture(path), path.name)


def _read_camera(ref: SceneRef, reading: Reading, width: int, height: int) -> tuple[Camera | None, DepthFormat]:
    """The scene's intrinsics, where any are known, and the format of its depth map."""
    if reading.camera is None:
        camera = geometry.camera_from_fov(reading.fov_deg, width, height) if reading.fov_deg else None
        return camera, DepthFormat(**reading.depth_format)
    path = camera_path(reading.camera, ref)
    camera, depth_fields = load_camera(path)
    if (camera.width, camera.height) != (width, height):
        raise RefusedError(
            f"The intrinsics of scene '{ref.key}' belong to another size. Expected those of {width} x {height}, "
            f"received {camera.width} x {camera.height}. Scale fx, fy, cx, cy in '{path.name}'."
        )
    return camera, from_camera_file(depth_fields, reading.depth_format)


def camera_path(camera: Path, ref: SceneRef) -> Path:
    """The camera file of a scene: the one of its key in a folder, or the one for all."""
    return camera / f"{ref.key}.json" if camera.is_dir() else camera


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
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedError(
            f"Camera file '{path.name}' cannot be used. Expected JSON with width, height, fx, fy, cx, cy in "
            f"pixels, received: {type(error).__name__}: {error}. Correct the file."
        ) from None


def _same_size(key: str, clean: NDArray[np.uint8], depth_m: NDArray[np.float32], fit: bool) -> NDArray[np.float32]:
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


def _check_shares(key: str, holes: float, sky: float, recipe: Recipe) -> None:
    if holes > recipe.max_holes:
        raise SceneRejected(
            "holes",
            f"Scene '{key}' has too few measured depths. Expected at most {recipe.max_holes:.1%} of pixels "
            f"without one, received {holes:.1%}. Complete the depth map, or raise max_holes.",
        )
    if holes + sky >= 1.0:
        raise SceneRejected(
            "no-surface",
            f"Scene '{key}' has no surface. Expected at least one pixel with a finite depth, received "
            f"{sky:.1%} sky and {holes:.1%} holes. Check which values mean sky and holes.",
        )
    if sky > 0.0 and recipe.sky == "reject":
        raise SceneRejected(
            "sky",
            f"Scene '{key}' shows sky. Expected none under the recipe's sky policy 'reject', received "
            f"{sky:.1%} of pixels. Set sky to infinite or farthest to use it.",
        )


def _convert(
    key: str, depth_m: NDArray[np.float32], fmt: DepthFormat, camera: Camera | None, recipe: Recipe
) -> NDArray[np.float32]:
    """Plane depth or distance along the ray, whichever the recipe asks for."""
    have = "ray" if fmt.kind == "ray" else "plane"
    if have == recipe.path:
        return depth_m
    if camera is None:
        raise SceneRejected(
            "camera",
            f"Scene '{key}' needs intrinsics. Expected a camera to turn {have} depth into the recipe's "
            f"{recipe.path} distance, received none. Pass --fov-deg or --camera, or --recipe.path {have}.",
        )
    convert = geometry.plane_to_ray if have == "plane" else geometry.ray_to_plane
    return convert(depth_m, camera)
