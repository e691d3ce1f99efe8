"""Haze for one picture in memory, as hazegen.add_haze: what hazegen make does to a scene, without files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hazegen import camera as optics
from hazegen import color, fields, geometry, light, physics, sampling, scattering
from hazegen.errors import RefusedError, UsageError
from hazegen.geometry import Camera
from hazegen.recipe import Recipe
from hazegen.sampling import HazeParams
from hazegen.single_inputs import (
    Floats,
    Pixels,
    as_recipe,
    check_choice,
    checked_camera,
    checked_image,
    checked_length,
    found_recipe,
)


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
    pixels = checked_image(image)
    check_choice({"depth_m": depth_m, "distance_m": distance_m}, "The depth of the picture")
    check_choice({"visibility_m": visibility_m, "beta": beta, "recipe": recipe}, "The haze")
    along_ray = distance_m is not None
    length_m = checked_length(distance_m if along_ray else depth_m, "distance_m" if along_ray else "depth_m", pixels)
    optic = checked_camera(camera, pixels)
    own = {"atmospheric_light": atmospheric_light, "color_space": color_space}
    if recipe is not None:
        law = found_recipe(recipe, own, seed)
    else:
        path = "ray" if along_ray or optic else "plane"
        law = as_recipe({"visibility_m": visibility_m, "beta": beta}, own, path, seed)
    length_m = _along(length_m, "ray" if along_ray else "plane", optic, law)
    small = pixels if pixels.dtype == np.uint8 else color.to_uint8(pixels)
    length_m = _under_policy(length_m, small, law)
    haze = _drawn(small, length_m, law, int(seed or 0))
    if pixels.dtype == np.uint8:
        return _render_codes(pixels, length_m, haze, law, optic)
    return _render_floats(pixels, length_m, haze, law, optic)


# --- the haze ---


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
