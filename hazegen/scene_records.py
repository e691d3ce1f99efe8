"""The record of a scene for haze that is drawn in training: the clean picture and its distances, stored once.

Distances are 16-bit numbers without compression, so that a window of them costs a trainer no more than the
picture's: unit = largest finite distance / 65534. They are off by half a unit at most, those below half a unit by one.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hazegen import clean_bytes, config, images, records, render, sampling, variants, warm
from hazegen.geometry import Camera
from hazegen.manifest import Manifest
from hazegen.recipe import Recipe
from hazegen.sampling import HazeParams
from hazegen.scenes import Scene
from hazegen.variants import Settings

Floats = NDArray[np.float32]

NOT_MEASURED, NO_SURFACE = 0, 65535
NEAREST, FARTHEST = 1, 65534
# A frame whose distances are all 0 needs a unit all the same [m].
_LEAST_M = 1e-30


def scene_records(scene: Scene, settings: Settings) -> Iterator[tuple[str, bytes]]:
    """Key and record of one scene; nothing where no variant is wanted.

    Raises:
        RefusedError: The recipe may draw a beta for this scene that no record of a pair could hold.
    """
    recipe, (height, width) = settings.recipe, scene.clean.shape[:2]
    sampling.check_extinction(recipe, sampling.metres_per_unit(recipe, scene.largest_m))
    if not settings.variants:
        return
    clean = clean_bytes.stored(scene.photo, settings.codec, height, width)
    units, unit_m = quantise(scene.distance_m, scene.largest_m)
    values: dict[str, Any] = {
        "key": scene.key,
        "scene": scene.key,
        "clean": images.encode_stored(scene.clean, settings.codec, settings.quality) if clean is None else clean,
        "height": height,
        "width": width,
        "distance": units.tobytes(),
        "distance_unit_m": unit_m,
        "largest_m": scene.largest_m,
        "along_ray": int(recipe.path == "ray"),
        "camera": _intrinsics(scene.camera),
    }
    light = variants.estimated_light(scene, recipe)
    if light is not None:
        values["estimated_light"] = tuple(map(float, light))
    yield scene.key, records.encode(values, "scenes")


def quantise(distance_m: Floats, largest_m: float) -> tuple[NDArray[np.uint16], float]:
    """Distances [m] as 16-bit numbers, little-endian, and the length of their unit [m], a 32-bit number.

    Args:
        distance_m: d, at least 0, infinite where there is no surface.
        largest_m: The largest finite one.
    """
    unit_m = float(np.float32(max(largest_m, _LEAST_M) / FARTHEST))
    units = np.rint(np.minimum(distance_m, largest_m) / unit_m).clip(NEAREST, FARTHEST).astype("<u2")
    units[np.isinf(distance_m)] = NO_SURFACE
    return units, unit_m


def distances(values: Mapping[str, Any]) -> Floats:
    """Distances [m] of a record, float32 (height, width); infinite where there is no surface."""
    units = np.frombuffer(values["distance"], "<u2").reshape(values["height"], values["width"])
    distance_m = units.astype(np.float32) * np.float32(values["distance_unit_m"])
    distance_m[units == NO_SURFACE] = np.inf
    return distance_m


def recipe_of(known: Manifest) -> Recipe:
    """The recipe of a dataset of scenes."""
    return config.build(Recipe, dict(known.recipe), "recipe.")


def check(values: Mapping[str, Any], recipe: Recipe) -> None:
    """Holds the numbers of a record against each other and against the recipe of its dataset.

    Raises:
        ValueError: Names the first that cannot be so.
    """
    height, width, unit_m, largest_m = (values[name] for name in ("height", "width", "distance_unit_m", "largest_m"))
    if len(values["distance"]) != 2 * height * width:
        raise ValueError(f"distance expected {height} x {width} x 2 bytes, received {len(values['distance'])}")
    units = np.frombuffer(values["distance"], "<u2")
    farthest = int(np.max(units, where=units != NO_SURFACE, initial=NOT_MEASURED))
    if units.min() == NOT_MEASURED or farthest == NOT_MEASURED:
        what = "a pixel that is not measured" if units.min() == NOT_MEASURED else "no pixel with a surface"
        raise ValueError(f"distance expected numbers from {NEAREST} to {FARTHEST}, and sky, received {what}")
    # A NaN compares as false.
    if not (0.0 < unit_m < math.inf and abs(farthest * unit_m - largest_m) <= unit_m):
        raise ValueError(f"largest_m expected {farthest} units of {unit_m:.6g} m, received {largest_m:.6g} m")
    fx, fy, *_ = values["camera"]
    focal = (fx > 0.0 and fy > 0.0) or not any(values["camera"])
    if not focal or not np.isfinite(values["camera"]).all():
        raise ValueError(f"camera expected focal lengths above 0, or zeros, received {fx:.6g}, {fy:.6g}")
    along_ray = int(recipe.path == "ray")
    if values["key"] != values["scene"] or values["along_ray"] != along_ray:
        raise ValueError(
            f"key and along_ray expected the scene's name and {along_ray}, received '{values['key']}' of "
            f"'{values['scene']}' and {values['along_ray']}"
        )
    light = values.get("estimated_light")
    wanted = "a colour in [0, 1]" if recipe.light_is_estimated else None
    if (light is None) != (wanted is None) or not all(0.0 <= channel <= 1.0 for channel in light or ()):
        raise ValueError(f"estimated_light expected {wanted or 'none'}, received {light or 'none'}")


def _intrinsics(camera: Camera | None) -> tuple[float, float, float, float]:
    return (0.0, 0.0, 0.0, 0.0) if camera is None else tuple(map(float, (camera.fx, camera.fy, camera.cx, camera.cy)))  # type: ignore[return-value]


def camera_of(values: Mapping[str, Any]) -> Camera | None:
    """The intrinsics of a record, where they are known."""
    return Camera(values["width"], values["height"], *values["camera"]) if any(values["camera"]) else None


def draw_haze(values: Mapping[str, Any], recipe: Recipe, seed: int | None, count: int) -> list[HazeParams]:
    """The haze that a dataset of pairs of this recipe and seed would have for the scene of a record.

    Args:
        seed: As the manifest has it: none where several datasets were put together, which counts as 0.
    """
    light = values.get("estimated_light")
    unit_m = sampling.metres_per_unit(recipe, values["largest_m"])
    estimated = None if light is None else np.array(light, np.float32)
    return sampling.draw_variants(recipe, seed or 0, values["scene"], count, unit_m, estimated)


def render_haze(
    values: Mapping[str, Any], clean: NDArray[np.uint8], haze: HazeParams, color_space: str
) -> render.Rendered:
    """The hazy picture of a record's scene.

    Args:
        clean: Its decoded picture.
    """
    warm.keep_going_without_cache()
    return render.render(clean, distances(values), haze, color_space, camera_of(values))
