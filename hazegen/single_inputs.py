"""What hazegen.add_haze is given: checked, and brought into one form."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hazegen import config, geometry
from hazegen.errors import RefusedError, UsageError
from hazegen.geometry import Camera
from hazegen.recipe import Recipe

Floats = NDArray[np.floating]
Pixels = NDArray[Any]  # uint8 or floats

DEFAULT_LIGHT = 0.9


def checked_image(image: NDArray[Any]) -> Pixels:
    """The picture, in memory that the compiled renderer takes as it is."""
    pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise RefusedError(
            f"The image has another shape. Expected (height, width, 3) in the order R, G, B, received {pixels.shape}. "
            "Repeat grey three times, drop alpha, or move the channels to the end."
        )
    floats = np.issubdtype(pixels.dtype, np.floating)
    if pixels.dtype != np.uint8 and not floats:
        raise RefusedError(
            f"The image has another type. Expected uint8, or floats in [0, 1], received {pixels.dtype}. Convert it, "
            "16 bits for instance by image / 65535."
        )
    if floats and not (pixels.min() >= 0.0 and pixels.max() <= 1.0):  # NaN is neither
        raise RefusedError(
            f"The image is out of range. Expected floats in [0, 1], received {pixels.min():g} to {pixels.max():g}. "
            "Divide code values by 255, or convert them to uint8."
        )
    return np.require(pixels, requirements=["C", "W"])


def check_choice(given: Mapping[str, object], what: str) -> None:
    """Raises UsageError unless exactly one of the keywords was given."""
    names = [name for name, value in given.items() if value is not None]
    if len(names) != 1:
        raise UsageError(
            f"{what} is said by one keyword. Expected exactly one of {', '.join(given)}, received "
            f"{' and '.join(names) or 'none'}. {'Leave out all but one.' if names else 'Give one.'}"
        )


def checked_length(given: NDArray[Any] | None, name: str, image: Pixels) -> Floats:
    """Depth or distance [m] of the picture's size, every number above 0 or infinite."""
    length_m = np.asarray(given)
    if not np.issubdtype(length_m.dtype, np.floating):
        raise RefusedError(
            f"{name} has another type. Expected metres as floats, received {length_m.dtype}, which may be numbers as "
            f"a file has them. Multiply them by the metres in one unit (0.001 for millimetres)."
        )
    if length_m.shape != image.shape[:2]:
        raise RefusedError(
            f"{name} and image differ in size. Expected equal height and width, received image {image.shape[:2]} and "
            f"{name} {length_m.shape}. Resize it by nearest neighbour: means of near and far are nowhere."
        )
    unknown, zero, below = (int(bad.sum()) for bad in (np.isnan(length_m), length_m == 0.0, length_m < 0.0))
    if unknown or zero or below:
        raise RefusedError(
            f"{name} has holes. Expected metres above 0 everywhere, and np.inf for sky, received {unknown} NaN, {zero} "
            f"zeros and {below} numbers below 0. Set what was not measured to NaN and fill it by "
            f"hazegen.depth.completion.fill({name}, image), and set the sky to np.inf."
        )
    return np.require(length_m, np.float64 if image.dtype == np.float64 else np.float32, ["C", "W"])


def checked_camera(camera: Camera | float | None, image: Pixels) -> Camera | None:
    height, width = image.shape[:2]
    if camera is None:
        return None
    if not isinstance(camera, Camera):
        return geometry.camera_from_fov(_number("camera", camera), width, height)
    if (camera.width, camera.height) != (width, height):
        raise UsageError(
            f"The camera is of another picture. Expected intrinsics for {width} x {height} (width x height), received "
            f"{camera.width} x {camera.height}. Scale them by the ratio of the sizes."
        )
    return camera


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UsageError(
            f"{name} is no number. Expected one number, received {value!r}. Correct {name}, or pass a recipe."
        ) from None


def as_recipe(extinction: Mapping[str, float | None], own: Mapping[str, Any], path: str, seed: int | None) -> Recipe:
    """The recipe that draws what the keywords say, and nothing else."""
    if seed is not None:
        raise UsageError(
            f"seed changes nothing here. Expected it beside recipe, received seed={seed} alone. Leave it out: nothing "
            "is drawn."
        )
    if own["color_space"] not in (None, "srgb", "linear"):
        raise UsageError(
            f"color_space is unknown. Expected 'srgb' or 'linear', received {own['color_space']!r}. Correct "
            "color_space."
        )
    ((name, value),) = ((name, value) for name, value in extinction.items() if value is not None)
    values = {
        name: str(_number(name, value)),
        "atmospheric_light": "1",
        "light_color": _light(own["atmospheric_light"]),
    }
    space = {} if own["color_space"] is None else {"color_space": own["color_space"]}
    return config.build(Recipe, {"name": "add_haze", "path": path, **values, **space})


def _light(given: float | Sequence[float] | None) -> tuple[float, ...]:
    """A of red, green and blue."""
    values = np.asarray(DEFAULT_LIGHT if given is None else given)
    numbers = np.issubdtype(values.dtype, np.number) and values.shape in ((), (3,))
    if not numbers or not (values.min() >= 0.0 and values.max() <= 1.0):
        raise UsageError(
            "atmospheric_light is out of range. Expected one number or three in [0, 1], received "
            f"{given!r}. Divide code values by 255."
        )
    red, green, blue = np.broadcast_to(values.astype(np.float64), 3).tolist()
    return red, green, blue


def found_recipe(recipe: str | Path | Recipe, own: Mapping[str, Any], seed: int | None) -> Recipe:
    """The recipe that is meant."""
    extra = [name for name, value in own.items() if value is not None]
    if extra:
        raise UsageError(
            f"The recipe says {' and '.join(extra)}. Expected the recipe alone, received {', '.join(extra)} beside it. "
            "Leave it out, or pass a Recipe with other fields."
        )
    if not isinstance(seed, Integral):
        raise UsageError(
            f"A recipe draws at random. Expected a whole number as seed beside it, received {seed!r}. Pass seed=0, for "
            "instance."
        )
    if isinstance(recipe, Recipe):
        return recipe
    path = config.find_config(str(recipe), "recipes")
    return config.build(Recipe, config.read_config(path, Recipe))
