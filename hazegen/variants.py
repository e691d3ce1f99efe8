"""The pairs of one scene: draws the haze of each variant, renders it and encodes the record."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hazegen import clean_bytes, color, images, light, records, render, sampling
from hazegen.reading import Reading
from hazegen.recipe import Recipe
from hazegen.scenes import Scene


@dataclass(frozen=True)
class Settings:
    """What decides the records of every scene, beside the scene itself.

    Attributes:
        reading: How its files are read.
        recipe: What haze is drawn.
        variants: Hazy images of each scene; 1 where scenes are stored alone.
        seed: Of all haze.
        codec, quality: How images are stored; a photo that is stored so already is kept as it is, whatever its
            quality.
        maps: Whether the transmission is stored too.
        kind: Whether pairs are stored, or scenes.
    """

    reading: Reading
    recipe: Recipe
    variants: int
    seed: int
    codec: images.Codec
    quality: int
    maps: bool
    kind: records.Kind = "pairs"


def scene_records(scene: Scene, settings: Settings) -> Iterator[tuple[str, bytes]]:
    """Key and record of each variant of one scene, of which one at a time is held."""
    recipe, codec, quality = settings.recipe, settings.codec, settings.quality
    height, width = scene.clean.shape[:2]
    clean = clean_bytes.stored(scene.photo, codec, height, width)
    if clean is None:
        clean = images.encode_stored(scene.clean, codec, quality)
    picture = np.empty(scene.clean.shape, np.uint8)  # for all variants: new memory costs as much as the haze
    for haze in draw_haze(scene, recipe, settings.seed, settings.variants):
        view = render.view(
            scene.clean, scene.distance_m, haze, recipe.color_space, scene.camera, keep_map=settings.maps, out=picture
        )
        values: dict[str, Any] = {
            "key": f"{scene.key}#{haze.variant:04d}",
            "scene": scene.key,
            "variant": haze.variant,
            "clean": clean,
            "hazy": images.encode_stored(view.bgr, codec, quality, bgr=True),
            "height": height,
            "width": width,
            "beta": haze.beta,
            "atmospheric_light": haze.atmospheric_light,
            "visibility_m": haze.visibility_m,
            "mean_transmission": view.mean_transmission,
            "haze": json.dumps(sampling.as_json_fields(haze), sort_keys=True),
        }
        if settings.maps:
            values["transmission"] = images.encode(_map(view.transmission), ".png")
        yield values["key"], records.encode(values)


def draw_haze(scene: Scene, recipe: Recipe, seed: int, variants: int) -> list[sampling.HazeParams]:
    """The haze of each variant of one scene."""
    unit_m = sampling.metres_per_unit(recipe, scene.largest_m)
    return sampling.draw_variants(recipe, seed, scene.key, variants, unit_m, estimated_light(scene, recipe))


def estimated_light(scene: Scene, recipe: Recipe) -> NDArray[np.float32] | None:
    """Atmospheric light (3,) of a scene, for a recipe that estimates it."""
    if not isinstance(recipe.atmospheric_light, str):
        return None
    return light.estimate(scene.clean, scene.distance_m, recipe.atmospheric_light, recipe.color_space)


def _map(transmission: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Transmission in 16 bits: one channel, or three where the haze has colour."""
    pixels = color.to_uint16(transmission)
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels
