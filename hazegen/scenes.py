"""Reads one scene: a photo, and how far each of its pixels is."""

import errno
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from hazegen import geometry, images, intrinsics, stores
from hazegen.depth import completion, containers, conventions, readers, refinement, scale, sky
from hazegen.depth.alignment import is_resized
from hazegen.depth.formats import RELATIVE, DepthFormat
from hazegen.errors import HazegenError, RefusedError, StoreError
from hazegen.geometry import Camera
from hazegen.pairing import SceneRef
from hazegen.reading import Reading
from hazegen.recipe import Recipe

Floats = NDArray[np.float32]

# Errors that tell of a file by its name or rights. All others, such as no memory, no room for a temporary file, too
# many open files, tell of this machine; EIO too: a broken sector gives it, but so does a share that is away.
OF_THE_FILE = frozenset(
    (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG)
)


class SceneRejected(RefusedError):
    """One scene cannot be used; the others can."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        """With its code: by itself, an error goes to another process with its message alone."""
        return type(self), (self.code, str(self))


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
        photo: The file that `clean` was decoded from; empty where there is none of its own.
    """

    key: str
    clean: NDArray[np.uint8]
    distance_m: Floats
    largest_m: float
    holes: float
    sky: float
    depth_format: DepthFormat
    camera: Camera | None = None
    photo: bytes = b""


def load(ref: SceneRef, reading: Reading, recipe: Recipe) -> Scene:
    """Reads one scene and brings its depth into the recipe's convention.

    Raises:
        SceneRejected: The scene cannot be used; `code` says why in one word.
        StoreError: The store, or this machine, failed while it was read.
    """
    convention = conventions.find(reading.convention)
    clean, photo = _reading("image", ref.key, lambda: _read_photo(ref, reading))
    camera, fmt = _reading(
        "camera", ref.key, lambda: intrinsics.read_camera(ref, reading, clean.shape[1], clean.shape[0])
    )
    depth_m = _reading("depth", ref.key, lambda: _read_depth(ref, reading, fmt, clean.shape[:2]))
    depth_m = fitted(ref.key, depth_m, clean.shape[:2], reading, fmt)
    looks_for_sky = recipe.sky_from_image or convention.sky_is_hole
    if looks_for_sky or recipe.needs_camera:
        _reading("turned", ref.key, lambda: _check_upright(ref, photo))
    if looks_for_sky:
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
    return Scene(ref.key, clean, distance_m, largest_m, holes, unbounded, fmt, camera, photo)


def _largest(key: str, distance_m: Floats) -> float:
    """The largest finite distance [m]."""
    farthest = float(distance_m.max())
    if math.isfinite(farthest):
        return farthest
    finite = distance_m[np.isfinite(distance_m)]
    if not finite.size:
        raise SceneRejected(
            "camera",
            f"The intrinsics of scene '{key}' make every distance infinite. Expected focal lengths of some hundred "
            "pixels, received others. Correct the camera file.",
        )
    return float(finite.max())


def _reading(code: str, key: str, read: Any) -> Any:
    """`read()`, with an error of the file turned into the rejection of the scene."""
    try:
        return read()
    except StoreError:  # says nothing about the scene: the run ends, and goes on when the store does
        raise
    except HazegenError as error:
        raise SceneRejected(code, str(error)) from error
    except OSError as error:
        # Without a number it is what a codec says of a file's content.
        if error.errno is None or error.errno in OF_THE_FILE:
            raise SceneRejected(code, str(error)) from error
        raise StoreError(
            f"Scene '{key}' cannot be read: {error}. Expected a machine that can read files, received an error that "
            "says nothing about this one. Mend it (memory, room in TMPDIR, open files, the disk), or take the file "
            "away if its disk is broken there; the same command goes on."
        ) from error


def read_clean(ref: SceneRef, reading: Reading) -> NDArray[np.uint8]:
    """The photo of a scene, uint8 (height, width, 3)."""
    return _read_photo(ref, reading)[0]


def _read_photo(ref: SceneRef, reading: Reading) -> tuple[NDArray[np.uint8], bytes]:
    """The photo of a scene, and its file where it has one of its own."""
    if ref.frame is not None:
        return containers.read_stacked_photo(reading.images, ref.frame), b""
    path = reading.images / ref.image
    data = images.read_file(path)
    return images.as_rgb8(images.decode(data, path.name), path.name), data


def _check_upright(ref: SceneRef, photo: bytes) -> None:
    """Refuses a photo that viewers turn: it is used as it is stored, where its first row is not what is above."""
    turn = 1 if ref.frame is not None else images.orientation(photo)
    if turn != 1:
        raise RefusedError(
            f"Image '{ref.image}' is stored turned. Expected EXIF orientation 1 where the haze or the search for sky "
            f"depends on what is above, received {turn}. Turn the image and its depth map alike, and save the image "
            "without the tag."
        )


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
    found = stores.with_suffixes(stem, suffixes)
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


def fitted(key: str, depth_m: Floats, size: tuple[int, ...], reading: Reading, fmt: DepthFormat) -> Floats:
    """The depth map in the size of its photo: as it is, or resized where --fit-depth allows it and that is right.

    Args:
        key: Name of the scene.
        depth_m: Depth or distance [m], (height, width) of the map.
        size: Height and width of the photo.
        reading: Whether to resize, and the convention that the map follows.
        fmt: What the numbers of its file mean.

    Raises:
        SceneRejected: Another size without --fit-depth, other proportions, or resized disparity.
    """
    height, width = size
    if depth_m.shape == (height, width):
        return depth_m
    differ = f"Depth and image of scene '{key}' differ in"
    sizes = f"received image ({height}, {width}) and depth {depth_m.shape}"
    if not reading.fit_depth:
        raise SceneRejected(
            "size",
            f"{differ} size. Expected equal height and width, {sizes}. Pass --fit-depth to resize the depth map.",
        )
    if fmt.values == "disparity":
        raise SceneRejected(
            "size",
            f"{differ} size, and disparity counts pixels. Expected equal height and width, {sizes}. Nobody says which "
            "picture's pixels these are: resize the maps yourself, and their numbers by the ratio of the widths where "
            "they are the small picture's.",
        )
    if not conventions.find(reading.convention).stretched and not (depth_m.size and is_resized(size, depth_m.shape)):
        raise SceneRejected(
            "size",
            f"{differ} proportions. Expected a map of the whole image, {sizes}. --fit-depth does not stretch maps: "
            "crop the image as the map was cropped.",
        )
    # Nearest neighbour: a mean of near and far is a distance that is nowhere in the scene.
    resized = cv2.resize(depth_m, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(resized, np.float32)


def _check_shares(key: str, holes: float, unbounded: float, recipe: Recipe) -> None:
    if holes > recipe.max_holes:
        raise SceneRejected(
            "holes",
            f"Scene '{key}' has too few measured depths. Expected at most {recipe.max_holes:.1%} of pixels "
            f"without one, received {holes:.1%}. Complete the depth map, or raise --recipe.max-holes.",
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
    have = measured_along(fmt, recipe.path)
    if have == recipe.path:
        return depth_m
    if camera is None:
        raise SceneRejected("camera", _no_camera(key, f"to turn {have} depth into the recipe's {recipe.path} distance"))
    convert = geometry.plane_to_ray if have == "plane" else geometry.ray_to_plane
    return convert(depth_m, camera)


def measured_along(fmt: DepthFormat, path: Literal["plane", "ray"]) -> Literal["plane", "ray"]:
    """Which length the maps hold, where `path` is asked for: a transmission's path is whichever is."""
    if fmt.values == "transmission":
        return path
    return "ray" if fmt.values == "ray" else "plane"


def _no_camera(key: str, purpose: str) -> str:
    return f"Scene '{key}' needs intrinsics. Expected a camera {purpose}, received none. Pass --fov-deg or --camera."
