"""From a recipe and a generator to the haze of one variant: drawn first, applied later.

Nothing depends on the order of scenes, on workers or on what else is in the dataset: each
generator is keyed by the seed, the scene's key and the variant.
"""

import dataclasses
import hashlib
import math
from dataclasses import dataclass

import numpy as np

from hazegen import physics
from hazegen.errors import UsageError
from hazegen.recipe import Draw, Recipe

DEFAULT_VARIANTS = 10


@dataclass(frozen=True)
class HazeParams:
    """The haze of one variant.

    Attributes:
        variant: Number of the variant within its scene; in a grid sweep, of the combination.
        beta: Extinction coefficient for red, green, blue [1/m], above 0.
        atmospheric_light: A for red, green, blue in [0, 1], in the recipe's colour space.
        metres_per_unit: Length [m] of the unit that the recipe gives beta for: 1, 10, or the
            scene's largest finite depth.
    """

    variant: int
    beta: tuple[float, float, float]
    atmospheric_light: tuple[float, float, float]
    metres_per_unit: float

    @property
    def visibility_m(self) -> float:
        """Meteorological optical range [m] of the green channel's beta."""
        return float(physics.visibility_from_beta(self.beta[1]))


def generator(seed: int, *parts: str | int) -> np.random.Generator:
    """The random generator that belongs to `seed` and `parts`, and to nothing else."""
    text = "\x1f".join(str(part) for part in (seed, *parts))
    key = int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:16], "little")
    return np.random.Generator(np.random.Philox(key=key))


def metres_per_unit(recipe: Recipe, largest_m: float) -> float:
    """Length [m] of one unit of d in `recipe` for a frame whose largest finite depth is `largest_m`."""
    return {"metres": 1.0, "tenths": 10.0, "max": largest_m}[recipe.depth_norm]


def count_variants(recipe: Recipe, variants: int | None) -> int:
    """How many variants a scene gets: as asked, else the whole grid, else 10.

    Raises:
        UsageError: Below 1, or more than the grid holds.
    """
    size = recipe.grid_size() if recipe.sweep == "grid" else None
    count = variants if variants is not None else size or DEFAULT_VARIANTS
    if count < 1 or (size is not None and count > size):
        limit = f"1 to {size}, the size of the recipe's grid" if size else "at least 1"
        raise UsageError(
            f"The number of variants is out of range. Expected {limit}, received {count}. "
            "Change --variants, or widen the recipe."
        )
    return count


def draw_variants(recipe: Recipe, seed: int, key: str, count: int, unit_m: float) -> list[HazeParams]:
    """The haze of every variant of scene `key`, in the order of their numbers.

    A grid sweep below its full size takes `count` combinations without replacement, chosen by the
    scene's own generator.
    """
    if recipe.sweep == "random":
        return [draw(recipe, generator(seed, key, v), variant=v, unit_m=unit_m) for v in range(count)]
    chosen = generator(seed, key, "grid").choice(recipe.grid_size(), size=count, replace=False)
    return [_grid_point(recipe, int(v), unit_m) for v in sorted(chosen)]


def draw(recipe: Recipe, rng: np.random.Generator, *, variant: int, unit_m: float) -> HazeParams:
    """Haze drawn at random from `recipe`.

    Args:
        rng: Generator of this variant alone.
        unit_m: As `metres_per_unit` gives it for the scene.
    """
    extinction = _number(recipe.extinction, rng)
    channels = 3 if recipe.light_channels == "independent" else 1
    light = [_number(recipe.atmospheric_light, rng) for _ in range(channels)]
    return _params(recipe, variant, extinction, light * (3 // channels), unit_m)


def _grid_point(recipe: Recipe, index: int, unit_m: float) -> HazeParams:
    row, column = divmod(index, len(recipe.atmospheric_light.values))
    light = recipe.atmospheric_light.values[column]
    return _params(recipe, index, recipe.extinction.values[row], [light] * 3, unit_m)


def _params(recipe: Recipe, variant: int, extinction: float, light: list[float], unit_m: float) -> HazeParams:
    per_unit = extinction if recipe.beta else float(physics.beta_from_visibility(extinction))
    beta = per_unit / unit_m
    return HazeParams(variant, (beta, beta, beta), (light[0], light[1], light[2]), unit_m)


def _number(how: Draw, rng: np.random.Generator) -> float:
    if how.law == "values":
        return float(how.values[int(rng.integers(len(how.values)))])
    if how.law == "uniform":
        return float(rng.uniform(how.low, how.high))
    return math.exp(float(rng.uniform(math.log(how.low), math.log(how.high))))


def as_json_fields(haze: HazeParams) -> dict[str, object]:
    """The fields of `haze` that the record has no feature of its own for."""
    named = ("variant", "beta", "atmospheric_light")
    return {name: value for name, value in dataclasses.asdict(haze).items() if name not in named}
