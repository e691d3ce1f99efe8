"""hazegen recipes: the shipped recipes, and one scene under each of them."""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hazegen import config, geometry, images, preview, render, sampling, variants
from hazegen.depth import readers
from hazegen.depth.formats import from_camera_file
from hazegen.recipe import Recipe
from hazegen.samples import Sample, make_sample
from hazegen.scenes import Scene

TILE_WIDTH = 420
COLUMNS = 3
MARGIN = 8
# A street with trees, houses, a long view and sky.
SEED, INDEX, SIZE = 0, 14, (840, 560)
# Its street lamps and two windows: left, top, right, bottom [px]. Lit for recipes with a glow: it shows none by day.
LAMPS = ((640, 120, 668, 126), (473, 226, 484, 230), (40, 230, 73, 283), (111, 237, 133, 278))
# It was taken from the ground, whatever height and pitch a recipe draws.
ON_THE_GROUND = {"camera_height_m": "[1.6]", "camera_pitch_deg": "[0]"}


@dataclass(frozen=True)
class Listed:
    """A shipped recipe, its purpose in a sentence, and its file."""

    recipe: Recipe
    purpose: str
    path: Path


def shipped() -> list[Listed]:
    """The shipped recipes in the order of their names."""
    paths = sorted((config.config_folder() / "recipes").glob("*.yaml"))
    return [
        Listed(config.build(Recipe, config.read_config(path, Recipe)), head(path)["Purpose"], path) for path in paths
    ]


def head(path: Path) -> dict[str, str]:
    """What the comment at the top of a recipe file says under Purpose, Source, Measured, ..."""
    told: dict[str, str] = {}
    name = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if match := re.match(r"# ([A-Z][a-z]+): (.*)", line):
            name = match[1]
        told[name] = f"{told.get(name, '')} {match[2] if match else line.lstrip('# ')}".strip()
    return told


def write_gallery(out: Path) -> int:
    """Writes one picture of a procedural street, clean and under each shipped recipe.

    Returns:
        Number of recipes shown.
    """
    sample = make_sample(SEED, INDEX, *SIZE)
    tiles = [_captioned(sample.image, "clean")]
    recipes = shipped()
    for listed in recipes:
        lit = _with_lamps(sample) if listed.recipe.glow.high > 0.0 else sample
        hazy, haze = under(lit, listed.recipe)
        tiles.append(_captioned(hazy, f"{listed.recipe.name}\nvisibility {haze.visibility_m:.3g} m"))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(images.encode(sheet(tiles), out.suffix, 88))
    return len(recipes)


def under(sample: Sample, recipe: Recipe) -> tuple[NDArray[np.uint8], sampling.HazeParams]:
    """A procedural scene under one draw of a recipe, always the same one."""
    scene = _as_scene(sample, recipe)
    if recipe.needs_camera:
        recipe = config.build(Recipe, recipe.as_dict() | ON_THE_GROUND)
    (haze,) = variants.draw_haze(scene, recipe, SEED, 1)
    return render.render(scene.clean, scene.distance_m, haze, recipe.color_space, scene.camera).hazy, haze


def _as_scene(sample: Sample, recipe: Recipe) -> Scene:
    """A procedural scene, which needs no file to be read and has no holes to be filled."""
    camera = geometry.Camera(**{name: sample.camera[name] for name in ("width", "height", "fx", "fy", "cx", "cy")})  # type: ignore[arg-type]
    fmt = from_camera_file(sample.camera["depth"], {})  # type: ignore[arg-type]
    depth_m = readers.to_metres(sample.depth, fmt, sample.name)
    distance_m = geometry.plane_to_ray(depth_m, camera) if recipe.path == "ray" else depth_m
    finite = np.isfinite(distance_m)
    largest_m, sky = float(distance_m[finite].max()), 1.0 - float(finite.mean())
    return Scene(sample.name, sample.image, distance_m, largest_m, 0.0, sky, fmt, camera)


def _with_lamps(sample: Sample) -> Sample:
    image = sample.image.copy()
    for left, top, right, bottom in LAMPS:
        image[top:bottom, left:right] = 255
    return dataclasses.replace(sample, image=image)


def _captioned(picture: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    small = preview.tile(picture, TILE_WIDTH)
    return np.vstack([small, preview.caption(text, TILE_WIDTH)])


def sheet(tiles: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Tiles of one size in rows of three on white."""
    height, width, _ = tiles[0].shape
    rows = -(-len(tiles) // COLUMNS)
    canvas = np.full((MARGIN + rows * (height + MARGIN), MARGIN + COLUMNS * (width + MARGIN), 3), 255, np.uint8)
    for number, picture in enumerate(tiles):
        y, x = (
            MARGIN + place * (size + MARGIN)
            for place, size in zip(divmod(number, COLUMNS), (height, width), strict=True)
        )
        canvas[y : y + height, x : x + width] = picture
    return canvas
