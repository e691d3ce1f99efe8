"""What a contact sheet shows of a scene whose haze is drawn in training: the recipe, drawn once."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hazegen import images, scene_records
from hazegen.manifest import Manifest
from hazegen.sampling import HazeParams, count_variants

Pixels = NDArray[np.uint8]

# Hazy pictures of a scene; fewer where the recipe has fewer.
SHOWN = 2


def haze_of(values: dict[str, Any], known: Manifest, count: int = SHOWN) -> list[HazeParams]:
    """What a dataset of pairs of the same recipe and seed would have first for this scene."""
    recipe = scene_records.recipe_of(known)
    most = count_variants(recipe, None)
    return scene_records.draw_haze(values, recipe, known.seed, min(count, most))


def pictures(values: dict[str, Any], known: Manifest, haze: list[HazeParams]) -> list[Pixels]:
    """Clean picture, distances in colours, and one hazy picture for each haze."""
    from hazegen.inspect.sheet import false_colors

    clean = images.decode_stored(values["clean"], known.codec, values["height"], values["width"], "clean")
    rendered = (scene_records.render_haze(values, clean, one, known.color_space).hazy for one in haze)
    return [clean, false_colors(scene_records.distances(values)), *rendered]


def describe(values: dict[str, Any], haze: list[HazeParams]) -> str:
    """Two lines: the distances, and the haze, which training draws afresh."""
    distance_m = scene_records.distances(values)
    without = float(np.isinf(distance_m).mean())
    along = "along the ray" if values["along_ray"] else "along the camera's axis"
    seen = ", ".join(f"{one.visibility_m:.4g} m" for one in haze)
    return (
        f"{values['key']}  {float(distance_m.min()):.3g} to {values['largest_m']:.3g} m {along}, {without:.0%} without "
        f"surface\nan example of haze, visibility {seen}; in training it is drawn afresh"
    )
