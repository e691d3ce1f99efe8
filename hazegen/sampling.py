"""From a recipe and a generator to the haze of one variant: drawn first, applied later.

Nothing depends on the order of scenes, on workers or on what else is in the dataset: each
generator is keyed by the seed, the scene's key and the variant.
"""

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hazegen import physics
from hazegen.errors import RefusedError, UsageError
from hazegen.recipe import SWITCHES, Draw, Recipe

Floats = NDArray[np.floating]

DEFAULT_VARIANTS = 10
# What a record has features of its own for.
_FEATURES = ("variant", "beta", "atmospheric_light")
# Fields of HazeParams that belong to effects, and what switches those on.
_BELONGS_TO = {name: switches for name, switches in SWITCHES.items() if name != "wavelengths_nm"}
_BELONGS_TO |= {"noise_seed": ("noise_contrast",), "camera_seed": ("shot_noise", "read_noise")}
# Of beta [1/m]: what a 32-bit float holds with room to spare; a 0 times the infinite distance of the sky is no number.
_LEAST_BETA, _LARGEST_BETA = 1e-30, 1e30

# Drawn after extinction and light, in this order: their draws are then the same with and without these.
# A new field goes to the end.
_DRAWN_LATER = (
    "noise_contrast",
    "noise_scale_m",
    "height_scale_m",
    "camera_height_m",
    "camera_pitch_deg",
    "scattering_blur",
    "illumination",
    "glow",
    "blur_px",
    "shot_noise",
    "read_noise",
    "gamma",
    "jpeg_quality",
)


@dataclass(frozen=True)
class HazeParams:
    """The haze of one variant: all that rendering it again needs beside the scene and its colour space.

    Attributes:
        variant: Number of the variant within its scene; in a grid sweep, of the combination.
        beta: Extinction coefficient for red, green, blue [1/m], above 0.
        atmospheric_light: A for red, green, blue in [0, 1], in the recipe's colour space.
        metres_per_unit: Length [m] of the unit that the recipe gives beta for: 1, 10, or the
            scene's largest finite depth.
        noise_seed: Key of the generator of patchy haze.
        camera_seed: Key of the generator of the sensor's noise.

    The other attributes are one number each of the recipe's field of that name. Those of an effect that is off
    have their defaults here.
    """

    variant: int
    beta: tuple[float, float, float]
    atmospheric_light: tuple[float, float, float]
    metres_per_unit: float
    noise_contrast: float = 0.0
    noise_scale_m: float = 20.0
    noise_samples: int = 24
    noise_seed: int = 0
    height_scale_m: float | None = None
    camera_height_m: float = 1.5
    camera_pitch_deg: float = 0.0
    scattering_blur: float = 0.0
    illumination: float = 1.0
    glow: float = 0.0
    lamp_threshold: float = 0.9
    blur_px: float = 0.0
    shot_noise: float = 0.0
    read_noise: float = 0.0
    camera_seed: int = 0
    gamma: float = 1.0
    jpeg_quality: int | None = None

    @property
    def visibility_m(self) -> float:
        """Meteorological optical range [m] of the green channel's beta."""
        return float(physics.visibility_from_beta(self.beta[1]))

    @property
    def needs_camera(self) -> bool:
        """Whether the haze changes in space, so that each pixel's ray has to be known."""
        return self.noise_contrast > 0.0 or self.height_scale_m is not None


def generator(seed: int, *parts: str | int) -> np.random.Generator:
    """The random generator that belongs to `seed` and `parts`, and to nothing else."""
    text = "\x1f".join(str(part) for part in (seed, *parts))
    key = int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:16], "little")
    return np.random.Generator(np.random.Philox(key=key))


def metres_per_unit(recipe: Recipe, largest_m: float) -> float:
    """Length [m] of one unit of d in `recipe` for a frame whose largest finite depth is `largest_m`."""
    return {"metres": 1.0, "tenths": 10.0, "max": largest_m}[recipe.depth_norm]


def count_variants(recipe: Recipe, variants: int | None) -> int:
    """How many variants a scene gets: as asked, else the whole grid, 1 where all would be the same, else 10.

    Raises:
        UsageError: Below 1, or more than the grid holds, or more than differ.
    """
    size = recipe.grid_size() if recipe.sweep == "grid" else 1 if recipe.is_constant else None
    count = variants if variants is not None else size or DEFAULT_VARIANTS
    if count < 1 or (size is not None and count > size):
        whole = "the size of the recipe's grid" if recipe.sweep == "grid" else "since the recipe draws one haze alone"
        limit = f"1 to {size}, {whole}" if size else "at least 1"
        raise UsageError(
            f"The number of variants is out of range. Expected {limit}, received {count}. "
            "Change --variants, or widen the recipe."
        )
    return count


def draw_variants(
    recipe: Recipe, seed: int, key: str, count: int, unit_m: float, light: Floats | None = None
) -> list[HazeParams]:
    """The haze of every variant of scene `key`, in the order of their numbers.

    A grid sweep below its full size takes `count` combinations without replacement, chosen by the
    scene's own generator.

    Args:
        light: What light.estimate found in the scene, (3,), for a recipe whose atmospheric light is estimated.
    """
    if recipe.sweep == "random":
        return [draw(recipe, generator(seed, key, v), variant=v, unit_m=unit_m, light=light) for v in range(count)]
    chosen = generator(seed, key, "grid").choice(recipe.grid_size(), size=count, replace=False)
    return [_grid_point(recipe, generator(seed, key, int(v)), int(v), unit_m, light) for v in sorted(chosen)]


def draw(
    recipe: Recipe, rng: np.random.Generator, *, variant: int, unit_m: float, light: Floats | None = None
) -> HazeParams:
    """Haze drawn at random from `recipe`.

    Args:
        rng: Generator of this variant alone.
        unit_m: As `metres_per_unit` gives it for the scene.
        light: As in `draw_variants`.
    """
    extinction = _number(recipe.extinction, rng)
    if isinstance(recipe.atmospheric_light, str):
        return _params(recipe, rng, variant, extinction, _estimated(light), unit_m)
    channels = 3 if recipe.light_channels == "independent" else 1
    drawn = [_number(recipe.atmospheric_light, rng) for _ in range(channels)]
    return _params(recipe, rng, variant, extinction, drawn * (3 // channels), unit_m)


def _grid_point(
    recipe: Recipe, rng: np.random.Generator, index: int, unit_m: float, light: Floats | None
) -> HazeParams:
    if isinstance(recipe.atmospheric_light, str):
        return _params(recipe, rng, index, recipe.extinction.values[index], _estimated(light), unit_m)
    row, column = divmod(index, len(recipe.atmospheric_light.values))
    gray = recipe.atmospheric_light.values[column]
    return _params(recipe, rng, index, recipe.extinction.values[row], [gray] * 3, unit_m)


def _estimated(light: Floats | None) -> list[float]:
    assert light is not None, "a recipe whose atmospheric light is estimated needs it"
    return [float(value) for value in light]


def _params(
    recipe: Recipe, rng: np.random.Generator, variant: int, extinction: float, light: list[float], unit_m: float
) -> HazeParams:
    """The haze of drawn extinction and light, with everything that is drawn after them."""
    betas = _betas(recipe, extinction, _later(recipe.angstrom_exponent, rng), unit_m)
    tinted = [
        value * factor + _later(recipe.light_bias, rng) for value, factor in zip(light, recipe.light_color, strict=True)
    ]
    lights = [min(max(value, 0.0), 1.0) for value in tinted]
    drawn: dict[str, Any] = {name: _later(getattr(recipe, name), rng) for name in _DRAWN_LATER}
    if drawn["jpeg_quality"] is not None:
        drawn["jpeg_quality"] = round(drawn["jpeg_quality"])
    drawn |= {"noise_samples": recipe.noise_samples, "lamp_threshold": recipe.lamp_threshold}
    if drawn["noise_contrast"] > 0.0:
        drawn["noise_seed"] = _seed(rng)
    if drawn["shot_noise"] > 0.0 or drawn["read_noise"] > 0.0:
        drawn["camera_seed"] = _seed(rng)
    drawn = {name: value for name, value in drawn.items() if _does_something(name, drawn)}
    return HazeParams(variant, (betas[0], betas[1], betas[2]), (lights[0], lights[1], lights[2]), unit_m, **drawn)


def check_extinction(recipe: Recipe, unit_m: float) -> None:
    """Raises RefusedError where a scene's unit of d may make a beta that a record cannot hold, whatever is drawn."""
    for extinction in (recipe.extinction.low, recipe.extinction.high):
        for exponent in (recipe.angstrom_exponent.low, recipe.angstrom_exponent.high):
            _betas(recipe, extinction, exponent, unit_m)


def _betas(recipe: Recipe, extinction: float, exponent: float, unit_m: float) -> list[float]:
    """Extinction coefficients of red, green and blue [1/m]."""
    per_unit = extinction if recipe.beta else float(physics.beta_from_visibility(extinction))
    betas = [float(physics.beta_at_wavelength(per_unit / unit_m, nm, exponent)) for nm in recipe.wavelengths_nm]
    _check_betas(betas, unit_m)
    return betas


def _check_betas(betas: list[float], unit_m: float) -> None:
    """Raises RefusedError where a scene's unit of d makes numbers that a record cannot hold."""
    if all(_LEAST_BETA <= beta <= _LARGEST_BETA for beta in betas):
        return
    raise RefusedError(
        f"The haze of a scene is out of range. Expected beta in [{_LEAST_BETA:g}, {_LARGEST_BETA:g}] per metre, "
        f"received {', '.join(f'{beta:.3g}' for beta in betas)} with {unit_m:.3g} m for the unit of depth. Correct the "
        "unit of the depth maps, or the recipe's beta and depth_norm."
    )


def _does_something(name: str, values: Mapping[str, Any]) -> bool:
    """Whether a field is no effect's, or one of the effects that it belongs to is on."""
    return name not in _BELONGS_TO or any(values[switch] for switch in _BELONGS_TO[name])


def _number(how: Draw, rng: np.random.Generator) -> float:
    if how.law == "values":
        return float(how.values[int(rng.integers(len(how.values)))])
    if how.law == "uniform":
        return float(rng.uniform(how.low, how.high))
    return math.exp(float(rng.uniform(math.log(how.low), math.log(how.high))))


def _later(how: Draw | None, rng: np.random.Generator) -> Any:
    """As `_number`, and no number for no draw. A single constant leaves the generator as it was."""
    return None if how is None else _number(how, rng)


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**63))


def as_json_fields(haze: HazeParams) -> dict[str, object]:
    """The fields of `haze` that the record has no feature of its own for, without those of effects that are off."""
    values = {field.name: getattr(haze, field.name) for field in dataclasses.fields(haze)}
    off = {field.name: field.default for field in dataclasses.fields(haze)}
    return {
        name: value
        for name, value in values.items()
        if name not in _FEATURES and (_does_something(name, values) if name in _BELONGS_TO else value != off[name])
    }


def from_record(
    variant: int, beta: Sequence[float], atmospheric_light: Sequence[float], fields: Mapping[str, Any]
) -> HazeParams:
    """The haze of a record, from its features and the fields that `as_json_fields` put beside them.

    Rendering it gives the same pixels: rendering, too, starts from 32-bit floats.
    """
    (red, green, blue), (r, g, b) = beta, atmospheric_light
    return HazeParams(variant, (red, green, blue), (r, g, b), **fields)
