"""Make haze, without the page: a photo, its depth and the settings of the sliders in; a hazy picture out.

Scenes are read and haze is rendered by hazegen's own code: `hazegen make` with the recipe of `recipe_text` and the
same seed gives the same pixels.
"""

import dataclasses
import functools
import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from aodnet.demo_recipe import Settings, check_number, recipe_of
from aodnet.demo_uploads import Rgb, read_for_screen, screen_size
from hazegen import color, images, pairing, render, scenes, variants
from hazegen.depth import readers
from hazegen.depth.formats import DepthFormat
from hazegen.errors import RefusedError, UsageError
from hazegen.reading import Reading
from hazegen.recipe import Recipe
from hazegen.samples import make_sample
from hazegen.sampling import HazeParams
from hazegen.scenes import Scene

# Of the procedural scenes [px]: as large as a column of the page.
PROCEDURAL_SIZE = (960, 640)
PROCEDURAL_SEED = 0
DEFAULT_SCENE = 14  # a street with trees, houses, a long view and sky
LAST_SCENE = 99  # each is kept until the demo ends: 1 MB


@dataclass(frozen=True)
class Source:
    """Files of one scene.

    Attributes:
        photo, depth: The two files.
        key: Name of the scene, which decides its random numbers.
        index: Number of a procedural scene, which has a camera file.
        camera: That file, which then also says what the depth map holds.
        depth_scale_m: Metres in one unit of the depth map; None: it holds metres.
        no_surface: Value of the depth map that means sky; infinity always does.
        fov_deg: Horizontal field of view [degree], where there is no camera file.
    """

    photo: Path
    depth: Path
    key: str
    index: int | None = None
    camera: Path | None = None
    depth_scale_m: float | None = None
    no_surface: float | None = None
    fov_deg: float | None = None

    def depth_fields(self) -> dict[str, float]:
        """The fields of DepthFormat that are said."""
        said = {"unit": self.depth_scale_m, "no_surface": self.no_surface}
        return {name: value for name, value in said.items() if value is not None}

    def reading(self) -> Reading:
        fields = self.depth_fields()
        return Reading(
            self.photo.parent, self.depth.parent, self.camera, self.fov_deg, depth_format=fields, fit_depth=True
        )


def recipe_text(recipe: Recipe, seed: int, source: Source) -> str:
    """The recipe as a YAML file for `hazegen make --recipe`, with the command in its head; defaults are left out."""
    off = Recipe(visibility_m=recipe.visibility_m).as_dict()
    kept = ("path", "color_space", "visibility_m", "atmospheric_light")
    lines = [
        f"{name}: {_bare(value)}" for name, value in recipe.as_dict().items() if name in kept or value != off[name]
    ]
    head = ["haze.yaml of the demo", *_commands(source, seed)]
    if recipe.noise_contrast.high or recipe.read_noise.high:
        head.append(f"Patches and noise depend on the photo's name too, which is {json.dumps(source.key)} here.")
    return "\n".join([*(f"# {line}" for line in head), *lines, ""])


def _commands(source: Source, seed: int) -> list[str]:
    """The commands that make this scene's haze again."""
    recipe = f"--recipe haze.yaml --variants 1 --seed {seed} --out DATASET"
    if source.index is not None:
        width, height = PROCEDURAL_SIZE
        size = f"--scenes {source.index + 1} --seed {PROCEDURAL_SEED} --width {width} --height {height}"
        folders = "--images SCENES/images --depth SCENES/depth --camera SCENES/camera"
        return [f"hazegen samples --out SCENES {size}", f"hazegen make {folders} {recipe}"]
    # All digits: a number that is rounded here gives other pixels there.
    scale = "" if source.depth_scale_m is None else f" --depth-scale {source.depth_scale_m!r}"
    scale += "" if source.no_surface is None else f" --no-surface {source.no_surface!r}"
    return [f"hazegen make --images PHOTOS --depth DEPTH{scale} --fit-depth --fov-deg {source.fov_deg!r} {recipe}"]


def _bare(value: object) -> object:
    """A list of one number as the number."""
    only = re.fullmatch(r"\[([^,]+)\]", str(value))
    return only[1] if only else value


def write_procedural(index: float, folder: Path) -> Source:
    """Writes one procedural scene with exact depth into `folder`, where it is not there yet.

    Raises:
        UsageError: `index` is out of range.
    """
    check_number("The scene's number", index)
    if not 0 <= index <= LAST_SCENE or index != int(index):
        raise UsageError(
            f"The scene's number is out of range. Expected a whole number in 0..{LAST_SCENE}, received {index}. "
            "Correct it."
        )
    folder = folder / f"scene-{int(index)}"
    known = folder / "name"
    if not known.is_file():
        sample = make_sample(PROCEDURAL_SEED, int(index), *PROCEDURAL_SIZE)
        for part in ("images", "depth", "camera"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / "images" / f"{sample.name}.png").write_bytes(images.encode(sample.image, ".png"))
        (folder / "depth" / f"{sample.name}.png").write_bytes(images.encode(sample.depth, ".png"))
        (folder / "camera" / f"{sample.name}.json").write_text(json.dumps(sample.camera), encoding="utf-8")
        known.write_text(sample.name, encoding="utf-8")  # last: the mark of a whole scene
    name = known.read_text(encoding="utf-8")
    photo, depth = folder / "images" / f"{name}.png", folder / "depth" / f"{name}.png"
    return Source(photo, depth, name, int(index), folder / "camera" / f"{name}.json")


def uploaded(
    photo: Path, depth: Path, depth_scale_m: float | None, no_surface: float | None, fov_deg: float | None
) -> Source:
    """The scene of two uploaded files.

    Raises:
        UsageError: A number is missing, or out of range.
        RefusedError: A PNG without a unit, whose numbers could be anything, or a photo that its EXIF tag turns.
    """
    check_number("'Field of view'", fov_deg)
    if images.orientation(images.read_file(photo)) != 1:
        raise RefusedError(
            f"'{photo.name}' is stored turned, and its depth map may not be. Expected EXIF orientation 1, received "
            "another. Turn the photo and its depth map alike, and save the photo without the tag."
        )
    if depth_scale_m is None and depth.suffix.lower() == ".png":
        raise RefusedError(
            f"'{depth.name}' holds whole numbers of an unknown unit. Expected the metres in one unit, received none. "
            "Fill in 'Depth scale': 0.001 for millimetres."
        )
    return Source(photo, depth, photo.stem, None, None, depth_scale_m, no_surface, fov_deg)


@functools.lru_cache(maxsize=2)
def load(source: Source) -> Scene:
    """The scene, read as `hazegen make` reads it; the last two are kept, since sliders ask again and again."""
    return _read(source)


def _read(source: Source) -> Scene:
    ref = pairing.SceneRef(source.key, source.photo.name, source.depth.name)
    # What of a recipe decides how a scene is read is the same in all of this page's recipes.
    return scenes.load(ref, source.reading(), recipe_of(Settings()))


@functools.lru_cache(maxsize=4)
def load_for_screen(source: Source) -> Scene:
    """The same scene at the size of the screen; as it is where it fits."""
    data = images.read_file(source.photo)
    width, height = images.check_header(data, source.photo.name).size
    size = screen_size(height, width)
    if size == (height, width):
        return load(source)
    fmt = DepthFormat(**source.depth_fields())  # type: ignore[arg-type]
    depth_m = readers.read_depth(source.depth, fmt)
    depth_m = scenes.fitted(source.key, depth_m, (height, width), source.reading(), fmt)
    # Nearest: a mean of near and far is a distance that is nowhere in the scene.
    small_m = cv2.resize(depth_m, size[::-1], interpolation=cv2.INTER_NEAREST)
    with tempfile.TemporaryDirectory() as folder:
        photo, depth = Path(folder) / "photo.bmp", Path(folder) / "depth.npy"  # formats that take no time
        photo.write_bytes(images.encode(read_for_screen(source.photo), ".bmp"))
        np.save(depth, small_m)
        return _read(dataclasses.replace(source, photo=photo, depth=depth, depth_scale_m=None, no_surface=None))


def add_haze(scene: Scene, recipe: Recipe, seed: int) -> tuple[Rgb, Rgb, HazeParams]:
    """The hazy picture and the transmission in grey (white: 1), uint8, and what was drawn, as for make's variant 0."""
    (haze,) = variants.draw_haze(scene, recipe, seed, 1)
    seen = render.render(scene.clean, scene.distance_m, haze, recipe.color_space, scene.camera)
    return seen.hazy, color.to_uint8(np.broadcast_to(seen.transmission, scene.clean.shape)), haze
