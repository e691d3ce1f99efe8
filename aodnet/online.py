"""Haze drawn afresh for each batch of scenes, in the graph, on the device that trains.

The law is that of hazegen.sampling and the pixels are those of hazegen.synthesis, to 1 code value: the equation, the
colours and the units are theirs, called with tensors. Everything is computed in float32, whatever the model's
precision.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from aodnet import decoding, threefry
from aodnet.recipes import Recipes, read_recipes
from hazegen import color, physics, sampling
from hazegen.recipe import Draw, Recipe

__all__ = ["Haze", "Recipes", "add_haze", "distances", "draw", "hazy_and_clean", "read_recipes"]

# A 0 times the infinite distance of the sky is no number; these are the bounds of hazegen.sampling.
_LEAST_BETA, _LARGEST_BETA = 1e-30, 1e30
_CODES = 255.0
# Numbers in [0, 1) that an example's haze takes: one each for recipe, extinction, exponent, illumination, shot noise,
# read noise and gamma; three each for light and bias.
_DRAWS = 13


class Haze(NamedTuple):
    """The haze of n examples, as sampling.HazeParams has it for one; all float32 or bool.

    Attributes:
        beta: Extinction coefficient for red, green, blue [1/m], (n, 3).
        atmospheric_light: A in [0, 1], in the recipe's colour space, (n, 3).
        illumination, shot_noise, read_noise, gamma: (n,).
        linear: Whether the equation is applied to linear light, (n,).
        far: Whether pixels without a surface are as far as the farthest surface, (n,).
        along_ray: Whether the haze is given for distances along rays, (n,).
    """

    beta: tf.Tensor
    atmospheric_light: tf.Tensor
    illumination: tf.Tensor
    shot_noise: tf.Tensor
    read_noise: tf.Tensor
    gamma: tf.Tensor
    linear: tf.Tensor
    far: tf.Tensor
    along_ray: tf.Tensor


def hazy_and_clean(batch: Mapping[str, tf.Tensor], recipes: Recipes | None) -> tuple[tf.Tensor, tf.Tensor]:
    """The pairs of a batch, float32 (n, height, width, 3) in [0, 1]: its own, or hazed now.

    Args:
        batch: As data.training_batches yields it, of pairs or of scenes, with bytes or with numbers.
        recipes: As read_recipes gave them for the batch's datasets.
    """
    batch = decoding.to_numbers(batch)
    if "hazy" in batch:
        return batch["hazy"], batch["clean"]
    assert recipes is not None, "scenes need recipes"
    haze = draw(recipes, batch)
    clean = tf.cast(batch["clean"], tf.float32)
    return add_haze(clean, distances(batch, haze, recipes), haze, recipes.effects, batch["draw"]), clean


# --- drawing: the law of hazegen.sampling ---


def draw(recipes: Recipes, batch: Mapping[str, tf.Tensor]) -> Haze:
    """The haze of each example, a function of its seed `draw`, its largest distance and its estimated light."""
    numbers = threefry.uniform(batch["draw"], _DRAWS)
    drawn = [_draw_one(recipe, numbers[:, 1:], batch) for recipe in recipes.recipes]
    if len(drawn) == 1:
        return drawn[0]
    chosen = batch["source"] if recipes.weights is None else _choose(recipes.weights, numbers[:, 0])
    return Haze(*(tf.gather(tf.stack(values, 1), chosen, batch_dims=1) for values in zip(*drawn, strict=True)))


def _choose(weights: tuple[float, ...], number: tf.Tensor) -> tf.Tensor:
    ends = [sum(weights[: count + 1]) / sum(weights) for count in range(len(weights) - 1)]
    return tf.reduce_sum(tf.cast(number[:, None] >= tf.constant(ends, tf.float32), tf.int32), 1)


def _draw_one(recipe: Recipe, numbers: tf.Tensor, batch: Mapping[str, tf.Tensor]) -> Haze:
    """As sampling.draw; a point of a grid, whose axes are lists, has the law of its two lists."""
    extinction, exponent = _number(recipe.extinction, numbers[:, 0]), _number(recipe.angstrom_exponent, numbers[:, 1])
    per_unit = extinction if recipe.beta else physics.beta_from_visibility(extinction)
    unit_m = sampling.metres_per_unit(recipe, batch["largest_m"])
    wavelengths = tf.constant(recipe.wavelengths_nm, tf.float32)
    beta = physics.beta_at_wavelength((per_unit / unit_m)[:, None], wavelengths, exponent[:, None])
    later = (recipe.illumination, recipe.shot_noise, recipe.read_noise, recipe.gamma)
    return Haze(
        tf.clip_by_value(beta, _LEAST_BETA, _LARGEST_BETA),
        _light(recipe, numbers[:, 2:8], batch),
        *(_number(how, numbers[:, 8 + place]) for place, how in enumerate(later)),
        *(
            tf.fill(tf.shape(extinction), yes)
            for yes in (recipe.color_space == "linear", recipe.sky == "far", recipe.path == "ray")
        ),
    )


def _light(recipe: Recipe, numbers: tf.Tensor, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Atmospheric light with its tint and bias, (n, 3), of six numbers for each example."""
    if isinstance(recipe.atmospheric_light, str):
        light = batch["estimated_light"]
    elif recipe.light_channels == "independent":
        light = _number(recipe.atmospheric_light, numbers[:, :3])
    else:
        light = _number(recipe.atmospheric_light, numbers[:, :1])
    tinted = light * tf.constant(recipe.light_color, tf.float32) + _number(recipe.light_bias, numbers[:, 3:])
    return tf.clip_by_value(tinted, 0.0, 1.0)


def _number(how: Draw, number: tf.Tensor) -> tf.Tensor:
    """What `how` makes of numbers that are uniform in [0, 1)."""
    if how.law == "values":
        index = tf.cast(number * len(how.values), tf.int32)
        return tf.gather(tf.constant(how.values, tf.float32), tf.minimum(index, len(how.values) - 1))
    if how.law == "uniform":
        return how.low + number * (how.high - how.low)
    return tf.exp(math.log(how.low) + number * (math.log(how.high) - math.log(how.low)))


# --- applying: the pixels of hazegen.synthesis ---


def distances(batch: Mapping[str, tf.Tensor], haze: Haze, recipes: Recipes) -> tf.Tensor:
    """d [m] as each example's recipe counts it, (n, height, width)."""
    distance_m = tf.cast(batch["distance_m"], tf.float32)
    if "far" in recipes.effects:
        reached = tf.where(haze.far[:, None, None], batch["largest_m"][:, None, None], float("inf"))
        distance_m = tf.minimum(distance_m, reached)
    if not recipes.turns:
        return distance_m
    length, stored = _ray_length(batch["image_plane"], tf.shape(distance_m)), batch["along_ray"] > 0
    to_ray, to_plane = (
        tf.logical_and(haze.along_ray, ~stored)[:, None, None],
        tf.logical_and(~haze.along_ray, stored)[:, None, None],
    )
    return tf.where(to_ray, distance_m * length, tf.where(to_plane, distance_m / length, distance_m))


def _ray_length(image_plane: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """As geometry.ray_length, of windows: (n, height, width).

    Args:
        image_plane: (n, 2, 3): (x - cx) / fx and (y - cy) / fy of the window's first pixel, and by how much they grow
            with its rows and with its columns.
    """
    rows, columns = (tf.cast(tf.range(shape[axis]), tf.float32) for axis in (1, 2))
    first, down, right = (image_plane[:, :, place, None, None] for place in range(3))
    places = first + down * rows[:, None] + right * columns
    return tf.sqrt(1.0 + tf.reduce_sum(places**2, 1))


def add_haze(
    clean: tf.Tensor, distance_m: tf.Tensor, haze: Haze, effects: frozenset[str], seeds: tf.Tensor
) -> tf.Tensor:
    """Hazy pictures, rounded to 8 bits as stored ones are: as synthesis.render, but for what is drawn offline alone.

    Args:
        clean: sRGB-coded, float32 (n, height, width, 3) in [0, 1].
        distance_m: d [m], float32 (n, height, width), infinite where there is no surface.
        effects: As Recipes.effects; what is not named may not be needed.
        seeds: int32 (n, 2), of the sensor's noise.
    """
    radiance = _by_space(clean, color.srgb_to_linear, haze.linear, effects)
    if "illumination" in effects:
        radiance = radiance * haze.illumination[:, None, None, None]
    transmission = physics.transmission(haze.beta[:, None, None, :], distance_m[..., None], tf)
    hazy = physics.add_haze(radiance, transmission, haze.atmospheric_light[:, None, None, :])
    return _taken(_rounded(_by_space(hazy, color.linear_to_srgb, haze.linear, effects)), haze, effects, seeds)


def _by_space(
    pictures: tf.Tensor, convert: Callable[..., tf.Tensor], linear: tf.Tensor, effects: frozenset[str]
) -> tf.Tensor:
    """Pictures, converted where the equation is applied to linear light."""
    if "linear" not in effects:
        return pictures
    converted = convert(pictures, tf)
    return converted if "srgb" not in effects else tf.where(linear[:, None, None, None], converted, pictures)


def _taken(pictures: tf.Tensor, haze: Haze, effects: frozenset[str], seeds: tf.Tensor) -> tf.Tensor:
    """As camera.take: the sensor's noise in linear light, then gamma, each rounded to 8 bits."""
    if "noise" in effects:
        light = color.srgb_to_linear(pictures, tf)
        shot, read = (value[:, None, None, None] for value in (haze.shot_noise, haze.read_noise))
        light += tf.sqrt(shot * light + read**2) * threefry.normal(seeds, tf.shape(pictures)[1:])
        pictures = _rounded(color.linear_to_srgb(tf.clip_by_value(light, 0.0, 1.0), tf))
    if "gamma" in effects:
        pictures = _rounded(pictures ** haze.gamma[:, None, None, None])
    return pictures


def _rounded(values: tf.Tensor) -> tf.Tensor:
    """As color.to_uint8, and back in [0, 1]."""
    return tf.round(tf.clip_by_value(values, 0.0, 1.0) * _CODES) / _CODES
