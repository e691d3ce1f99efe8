"""Make haze, without the page: a photo, its depth and the settings of the sliders in; a hazy picture out.

Scenes are read and haze is rendered by hazegen's own code: `hazegen make` with the recipe of `recipe_text` and the
same seed gives the same pixels.
"""

import dataclasses
import functools
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from aodnet.demo_uploads import Rgb, read_for_screen, screen_size
from hazegen import color, images, pairing, render, scenes, variants
from hazegen.depth import readers
from hazegen.depth.formats import DepthFormat
from hazegen.errors import RefusedError, UsageError
from hazegen.reading import Reading
from hazegen.recipe import Draw, Recipe
from hazegen.samples import make_sample
from hazegen.sampling import HazeParams
from hazegen.scenes import Scene

# Of the procedural scenes [px]: as large as a column of the page.
PROCEDURAL_SIZE = (960, 640)
PROCEDURAL_SEED = 0
DEFAULT_SCENE = 14  # a street with trees, houses, a long view and sky
LAST_SCENE = 9999
# A scanner's depth map, most of which is holes, is worth a look here.
MOST_HOLES = 0.95


@dataclass(frozen=True)
class Settings:
    """What the sliders say; the recipe's field of the same name has the meaning.

    Attributes:
        light_color: Colour that the atmospheric light is multiplied by, '#rrggbb'.
        sensor_noise: The recipe's read_noise.
        height_fog: Whether height_scale_m is used: fog that thins with height.
        seed: Of patches and noise.
    """

    visibility_m: float = 150.0
    atmospheric_light: float = 0.85
    light_color: str = "#ffffff"
    angstrom_exponent: float = 0.0
    noise_contrast: float = 0.0
    noise_scale_m: float = 20.0
    sensor_noise: float = 0.0
    height_fog: bool = False
    height_scale_m: float = 20.0
    camera_height_m: float = 1.5
    camera_pitch_deg: float = 0.0
    color_space: Literal["srgb", "linear"] = "srgb"
    seed: int = 0


PRESETS: dict[str, Settings] = {
    "fog, 150 m": Settings(),
    "dense fog, 40 m": Settings(40.0, 0.75, color_space="linear"),
    "blue haze, 800 m": Settings(800.0, 0.75, "#e6f0ff", 1.2, color_space="linear"),
    "dust, 120 m": Settings(120.0, 0.65, "#ffe0b0", 0.2, color_space="linear"),
    "drifting fog, 80 m": Settings(80.0, 0.7, noise_contrast=0.8, noise_scale_m=15.0, color_space="linear"),
    "ground fog, 30 m": Settings(30.0, 0.75, height_fog=True, height_scale_m=3.0, color_space="linear"),
    "fog and a noisy camera": Settings(100.0, 0.6, sensor_noise=0.03, color_space="linear"),
}


@dataclass(frozen=True)
class Source:
    """Files of one scene.

    Attributes:
        photo, depth: The two files.
        key: Name of the scene, which decides its random numbers.
        camera: Camera file, which then also says what the depth map holds.
        depth_scale_m: Metres in one unit of the depth map; None: it holds metres.
        no_surface: Value of the depth map that means sky; infinity always does.
        fov_deg: Horizontal field of view [degree], where there is no camera file.
    """

    photo: Path
    depth: Path
    key: str
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


def settings_of(values: dict[str, object]) -> Settings:
    """The settings of what the page's controls hold.

    Raises:
        UsageError: Another type than the control's, or no finite number.
    """
    for field in dataclasses.fields(Settings):
        value, default = values[field.name], field.default
        if isinstance(default, bool | str):
            if not isinstance(value, type(default)):
                raise _not_a(f"'{field.name}'", type(default).__name__, value)
        else:
            _check_number(f"'{field.name}'", value)
    return Settings(**values)  # type: ignore[arg-type]


def _check_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _not_a(name, "a finite number", value)


def _not_a(name: str, expected: str, value: object) -> UsageError:
    received = "nothing" if value is None else repr(value)[:40]
    return UsageError(f"{name} cannot be used. Expected {expected}, received {received}. Correct it.")


def recipe_of(settings: Settings) -> Recipe:
    """The recipe that always draws what the sliders say.

    Raises:
        UsageError: A number is out of range, or no colour.
    """
    values = {
        "visibility_m": _constant(settings.visibility_m),
        "atmospheric_light": _constant(settings.atmospheric_light),
        "light_color": light_factors(settings.light_color, settings.color_space),
        "angstrom_exponent": _constant(settings.angstrom_exponent),
        "noise_contrast": _constant(settings.noise_contrast),
        "read_noise": _constant(settings.sensor_noise),
    }
    # A field whose effect is off is refused by the recipe.
    if settings.noise_contrast:
        values |= {"noise_scale_m": _constant(settings.noise_scale_m)}
    if settings.height_fog:
        values |= {"height_scale_m": _constant(settings.height_scale_m)}
    if settings.height_fog or settings.noise_contrast:
        values |= {name: _constant(getattr(settings, name)) for name in ("camera_height_m", "camera_pitch_deg")}
    return Recipe(name="demo", color_space=settings.color_space, max_holes=MOST_HOLES, **values)  # type: ignore[arg-type]


def _constant(number: float) -> Draw:
    return Draw("values", (float(number),))


def light_factors(colour: str, color_space: str) -> tuple[float, float, float]:
    """Factors of red, green and blue in [0, 1] of '#rrggbb' or 'rgb(r, g, b)', in the equation's colour space."""
    found = re.fullmatch(r"#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})", colour.strip().lower())
    numbers = [float(int(part, 16)) for part in found.groups()] if found else []
    found = re.fullmatch(r"rgba?\(\s*([\d.]+)\s*,\s*([\d.]+)\s*,\s*([\d.]+)\s*(?:,\s*[\d.]+\s*)?\)", colour.strip())
    numbers = [float(part) for part in found.groups()] if found and not re.search(r"\.[\d]*\.", colour) else numbers
    if len(numbers) != 3 or max(numbers) > 255.0:
        raise UsageError(
            f"The colour of the light cannot be read. Expected '#rrggbb' or 'rgb(r, g, b)' with numbers up to 255, "
            f"received {colour[:40]!r}. Choose another colour."
        )
    coded = np.array(numbers) / 255.0
    factors = color.srgb_to_linear(coded) if color_space == "linear" else coded
    red, green, blue = (round(float(factor), 4) for factor in factors)
    return red, green, blue


def recipe_text(recipe: Recipe, seed: int, source: Source) -> str:
    """The recipe as a YAML file for `hazegen make --recipe`, with the command in its head; defaults are left out."""
    off = Recipe(visibility_m=recipe.visibility_m).as_dict()
    kept = ("path", "color_space", "visibility_m", "atmospheric_light")
    lines = [
        f"{name}: {_bare(value)}" for name, value in recipe.as_dict().items() if name in kept or value != off[name]
    ]
    camera = "--camera CAMERA" if source.camera else f"--fov-deg {source.fov_deg:g}"
    scale = "" if source.depth_scale_m is None else f" --depth-scale {source.depth_scale_m:g}"
    scale += "" if source.no_surface is None else f" --no-surface {source.no_surface:g}"
    inputs = f"--images PHOTOS --depth DEPTH{scale} {camera}"
    command = f"hazegen make {inputs} --recipe haze.yaml --variants 1 --seed {seed} --out DATASET"
    return "\n".join(["# haze.yaml of the demo", f"# {command}", *lines, ""])


def _bare(value: object) -> object:
    """A list of one number as the number."""
    only = re.fullmatch(r"\[([^,]+)\]", str(value))
    return only[1] if only else value


def write_procedural(index: float, folder: Path) -> Source:
    """Writes one procedural scene with exact depth into `folder`, where it is not there yet.

    Raises:
        UsageError: `index` is out of range.
    """
    _check_number("The scene's number", index)
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
    return Source(photo, depth, name, camera=folder / "camera" / f"{name}.json")


def number_or_none(name: str, text: object) -> float | None:
    """The number that a field of text holds; None where it is empty.

    Raises:
        UsageError: It holds something else.
    """
    if text is None or text == "":
        return None
    try:
        number = float(str(text))
    except ValueError:
        raise _not_a(f"'{name}'", "a number or nothing", text) from None
    _check_number(f"'{name}'", number)
    return number


def uploaded(
    photo: Path, depth: Path, depth_scale_m: float | None, no_surface: float | None, fov_deg: float | None
) -> Source:
    """The scene of two uploaded files.

    Raises:
        UsageError: A number is missing, or out of range.
        RefusedError: A PNG without a unit, whose numbers could be anything, or a photo that its EXIF tag turns.
    """
    _check_number("'Field of view'", fov_deg)
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
    return Source(photo, depth, photo.stem, None, depth_scale_m, no_surface, fov_deg)


@functools.lru_cache(maxsize=2)
def load(source: Source) -> Scene:
    """The scene, read as `hazegen make` reads it; the last two are kept, since sliders ask again and again."""
    ref = pairing.SceneRef(source.key, source.photo.name, source.depth.name)
    # What of a recipe decides how a scene is read is the same in all of this page's recipes.
    return scenes.load(ref, source.reading(), recipe_of(Settings()))


@functools.lru_cache(maxsize=4)
def for_screen(source: Source, folder: Path) -> Source:
    """The same scene at the size of the screen, as files in a new folder below `folder`; itself where it fits."""
    data = images.read_file(source.photo)
    width, height = images.check_header(data, source.photo.name).size
    size = screen_size(height, width)
    if size == (height, width):
        return source
    fmt = DepthFormat(**source.depth_fields())  # type: ignore[arg-type]
    depth_m = readers.read_depth(source.depth, fmt)
    depth_m = scenes.fitted(source.key, depth_m, (height, width), source.reading(), fmt)
    # Nearest: a mean of near and far is a distance that is nowhere in the scene.
    small_m = cv2.resize(depth_m, size[::-1], interpolation=cv2.INTER_NEAREST)
    place = folder / f"screen-{abs(hash(source)):x}"
    place.mkdir(exist_ok=True)
    photo, depth = place / "photo.bmp", place / "depth.npy"  # formats that take no time
    photo.write_bytes(images.encode(read_for_screen(source.photo), ".bmp"))
    np.save(depth, small_m)
    return dataclasses.replace(source, photo=photo, depth=depth, depth_scale_m=None, no_surface=None)


def add_haze(scene: Scene, recipe: Recipe, seed: int) -> tuple[Rgb, Rgb, HazeParams]:
    """The hazy picture and the transmission in grey (white: 1), uint8, and what was drawn, as for make's variant 0."""
    (haze,) = variants.draw_haze(scene, recipe, seed, 1)
    seen = render.render(scene.clean, scene.distance_m, haze, recipe.color_space, scene.camera)
    return seen.hazy, color.to_uint8(np.broadcast_to(seen.transmission, scene.clean.shape)), haze
