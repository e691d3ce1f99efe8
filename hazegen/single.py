"""Haze for one picture in memory, as hazegen.add_haze: what hazegen make does to a scene, without files."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hazegen import camera as optics
from hazegen import color, config, fields, geometry, light, physics, sampling, scattering
from hazegen.errors import RefusedError, UsageError
from hazegen.geometry import Camera
from hazegen.recipe import Recipe
from hazegen.sampling import HazeParams

Floats = NDArray[np.floating]
Pixels = NDArray[Any]  # uint8 or floats

DEFAULT_LIGHT = 0.9


def add_haze(
    image: NDArray[Any],
    *,
    depth_m: NDArray[Any] | None = None,
    distance_m: NDArray[Any] | None = None,
    camera: Camera | float | None = None,
    visibility_m: float | None = None,
    beta: float | None = None,
    atmospheric_light: float | Sequence[float] | None = None,
    color_space: Literal["srgb", "linear"] | None = None,
    recipe: str | Path | Recipe | None = None,
    seed: int | None = None,
) -> Pixels:
    """The picture as a camera sees it through haze.

    I = J t + A (1 - t), t = exp(-beta d), beta = -ln(0.05) / V = 2.996 / V

    J is the image, d the length of the path to each pixel, A the atmospheric light, V the visibility. A picture of
    uint8 goes through the renderer of `hazegen make` and comes out as its bytes do before they are encoded; one of
    floats goes through the same equation, in its own precision, and is not rounded.

    Exactly one of `depth_m` and `distance_m` is given, and exactly one of `visibility_m`, `beta` and `recipe`.

    Args:
        image: J, the clean picture, sRGB-coded, (height, width, 3) in the order R, G, B: uint8, or floats in [0, 1].
        depth_m: Plane depth z [m], along the camera's axis, (height, width), above 0; infinite where there is no
            surface (sky), which then shows A alone. With a `camera` it is turned into the distance along each ray,
            d = z sqrt(1 + x^2 + y^2); **without one, d = z is assumed**, as most published sets do: in the corner
            of a picture that is 60 degrees wide d is then 19 % too short.
        distance_m: Distance d along each pixel's ray [m], otherwise as `depth_m`.
        camera: Intrinsics for a picture of this size, or its horizontal field of view [degree], in (0, 180), with the
            axis in the middle. Used where one length is turned into the other, and where the haze of a recipe
            changes in space.
        visibility_m: V, the meteorological optical range [m]: 5 % of the light is left over this distance.
        beta: Extinction coefficient [1/m], above 0, the same for all colours.
        atmospheric_light: A in [0, 1], one number or one for red, green and blue [default: 0.9].
        color_space: Values that the equation is applied to: 'srgb', the code values, as in the published sets, or
            'linear', linear light, which is coded again afterwards [default: 'srgb'].
        recipe: A shipped recipe's name, a recipe file, or a Recipe: haze, path and colour space are then drawn as
            `hazegen make` draws them, and what stands in their place here is left out. What a recipe says
            about holes (max_holes, fill, sky_from_image) has no use here: there are none.
        seed: Of what the recipe draws; needed beside it. The same seed draws the same haze.

    Returns:
        I, the hazy picture, a new array of the image's shape and dtype.

    Raises:
        UsageError: Keywords that contradict each other, are missing or out of range, or a missing camera.
        RefusedError: An image of another shape, type or range; depth of another size, of integers, with NaN, zeros
            or numbers below 0; sky under a recipe that refuses it; a picture of floats under a recipe whose effects
            (blur, lamps, sensor, JPEG) are made for 8 bits.

    Example:
        A grey wall 100 m away, at a visibility of 100 m: 5 % of its light is left.

        >>> import hazegen, numpy as np
        >>> wall = np.full((2, 2, 3), 100, np.uint8)
        >>> hazy = hazegen.add_haze(wall, distance_m=np.full((2, 2), 100.0), visibility_m=100, atmospheric_light=1.0)
        >>> hazy[0, 0].tolist(), round(0.05 * 100 + 0.95 * 255)
        ([247, 247, 247], 247)

        The sky is infinitely far; where there is no camera, depth counts as distance.

        >>> depth_m = np.array([[5.0, 20.0], [80.0, np.inf]])
        >>> hazegen.add_haze(wall / 255, depth_m=depth_m, beta=0.03, atmospheric_light=(0.8, 0.85, 0.9))[1, 1]
        array([0.8 , 0.85, 0.9 ])

        Haze as a recipe draws it, twice the same:

        >>> first, again = (hazegen.add_haze(wall, depth_m=depth_m, recipe="reside-its", seed=7) for _ in range(2))
        >>> bool((first == again).all())
        True
    """
    pixels = _checked_image(image)
    _check_choice({"depth_m": depth_m, "distance_m": distance_m}, "The depth of the picture")
    _check_choice({"visibility_m": visibility_m, "beta": beta, "recipe": recipe}, "The haze")
    along_ray = distance_m is not None
    length_m = _checked_length(distance_m if along_ray else depth_m, "distance_m" if along_ray else "depth_m", pixels)
    optic = _checked_camera(camera, pixels)
    own = {"atmospheric_light": atmospheric_light, "color_space": color_space}
    if recipe is not None:
        law = _found(recipe, own, seed)
    else:
        path = "ray" if along_ray or optic else "plane"
        law = _as_recipe({"visibility_m": visibility_m, "beta": beta}, own, path, seed)
    length_m = _along(length_m, "ray" if along_ray else "plane", optic, law)
    small = pixels if pixels.dtype == np.uint8 else color.to_uint8(pixels)
    length_m = _under_policy(length_m, small, law)
    haze = _drawn(small, length_m, law, int(seed or 0))
    if pixels.dtype == np.uint8:
        return _render_codes(pixels, length_m, haze, law, optic)
    return _render_floats(pixels, length_m, haze, law, optic)


# --- what is given ---


def _checked_image(image: NDArray[Any]) -> Pixels:
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


def _check_choice(given: Mapping[str, object], what: str) -> None:
    """Raises UsageError unless exactly one of the keywords was given."""
    names = [name for name, value in given.items() if value is not None]
    if len(names) != 1:
        raise UsageError(
            f"{what} is said by one keyword. Expected exactly one of {', '.join(given)}, received "
            f"{' and '.join(names) or 'none'}. {'Leave out all but one.' if names else 'Give one.'}"
        )


def _checked_length(given: NDArray[Any] | None, name: str, image: Pixels) -> Floats:
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


def _checked_camera(camera: Camera | float | None, image: Pixels) -> Camera | None:
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


# --- the haze ---


def _as_recipe(extinction: Mapping[str, float | None], own: Mapping[str, Any], path: str, seed: int | None) -> Recipe:
    """The recipe that draws what the keywords say, and nothing else."""
    if seed is not None:
        raise UsageError(
            f"seed changes nothing here. Expected it beside recipe, received seed={seed} alone. Leave it out: nothing "
            "is drawn."
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


def _found(recipe: str | Path | Recipe, own: Mapping[str, Any], seed: int | None) -> Recipe:
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


def _along(length_m: Floats, have: str, camera: Camera | None, recipe: Recipe) -> Floats:
    """Plane depth or distance along the ray, whichever the recipe asks for."""
    if camera is None and (have != recipe.path or recipe.needs_camera):
        purpose = "place its haze in space" if have == recipe.path else f"turn {have} depth into its {recipe.path} path"
        raise UsageError(
            f"Recipe '{recipe.name}' needs intrinsics to {purpose}. Expected a camera, received none. Pass "
            "camera=60, a horizontal field of view in degrees, or a hazegen.geometry.Camera."
        )
    if camera is None or have == recipe.path:
        return length_m
    convert: Any = geometry.plane_to_ray if have == "plane" else geometry.ray_to_plane
    return np.asarray(convert(length_m, camera), length_m.dtype)


def _under_policy(length_m: Floats, image: NDArray[np.uint8], recipe: Recipe) -> Floats:
    """The lengths with the edges and the sky that the recipe asks for."""
    sky = np.isinf(length_m)
    if recipe.sky == "reject" and sky.any():
        raise RefusedError(
            f"The picture shows sky. Expected none under recipe '{recipe.name}', received {sky.mean():.1%} of pixels. "
            "Choose another recipe, or cut the sky off."
        )
    if sky.all() and (recipe.depth_norm == "max" or recipe.sky == "far"):
        raise RefusedError(
            f"The picture has no surface. Expected at least one finite depth under recipe '{recipe.name}', whose unit "
            "or sky is the largest one, received sky alone. Choose another recipe."
        )
    if recipe.refine != "none":
        from hazegen.depth import refinement

        length_m = refinement.refine(length_m.astype(np.float32), image, recipe.refine).astype(length_m.dtype)
    return np.where(sky, _largest(length_m), length_m) if recipe.sky == "far" else length_m


def _largest(length_m: Floats) -> Any:
    """The largest finite length [m], in its own type; 1 where all is sky."""
    finite = length_m[np.isfinite(length_m)]
    return finite.max() if finite.size else length_m.dtype.type(1.0)


def _drawn(image: NDArray[np.uint8], length_m: Floats, recipe: Recipe, seed: int) -> HazeParams:
    """One draw of the recipe for this picture."""
    unit_m = sampling.metres_per_unit(recipe, float(_largest(length_m)))
    estimated = None
    if isinstance(recipe.atmospheric_light, str):
        short_m = length_m.astype(np.float32)
        estimated = light.estimate(image, short_m, recipe.atmospheric_light, recipe.color_space)
    (haze,) = sampling.draw_variants(recipe, seed, "", 1, unit_m, estimated)
    return haze


# --- the picture ---


def _render_codes(
    image: NDArray[np.uint8], length_m: Floats, haze: HazeParams, recipe: Recipe, camera: Camera | None
) -> NDArray[np.uint8]:
    from hazegen import render, warm

    warm.keep_going_without_cache()
    return render.render(image, length_m.astype(np.float32, copy=False), haze, recipe.color_space, camera).hazy


def _render_floats(image: Floats, length_m: Floats, haze: HazeParams, recipe: Recipe, camera: Camera | None) -> Floats:
    """As synthesis.render, in the precision of the picture, and without what is made for 8 bits."""
    if scattering.needed(haze) or not optics.is_perfect(haze):
        raise RefusedError(
            f"Recipe '{recipe.name}' has effects of scattering, lamps or the camera, which are made for 8 bits. "
            f"Expected an image of uint8, received {image.dtype}. Convert it: np.rint(image * 255).astype(np.uint8)."
        )
    kind = np.dtype(np.promote_types(image.dtype, np.float32))
    far_m = fields.path_length(length_m.astype(np.float32, copy=False), haze, camera) if haze.needs_camera else length_m
    transmission = physics.transmission(np.array(haze.beta, kind), far_m[..., None].astype(kind))
    linear = recipe.color_space == "linear"
    radiance = color.srgb_to_linear(image.astype(kind)) if linear else image.astype(kind, copy=False)
    hazy = physics.add_haze(radiance, transmission, np.array(haze.atmospheric_light, kind))
    coded = color.linear_to_srgb(hazy) if linear else hazy
    # Rounding may leave the range by its last bit.
    return np.clip(coded, 0.0, 1.0).astype(image.dtype, copy=False)
