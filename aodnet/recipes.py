"""Which recipes haze is drawn from, while training or for an evaluation, held against what the datasets store."""

import contextlib
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aodnet.mixing import kind_of
from hazegen import config, heads
from hazegen.errors import RefusedError, UsageError, VerifyError
from hazegen.manifest import Manifest
from hazegen.recipe import Recipe

# Effects that need the whole picture, the direction of each ray in the world, or a codec.
_OFFLINE = ("noise_contrast", "height_scale_m", "scattering_blur", "glow", "blur_px", "jpeg_quality")
# What a recipe decides when scenes are made: nothing that is drawn.
_MADE_WITH = ("fill", "refine", "max_holes", "sky_from_image")


@dataclass(frozen=True)
class Recipes:
    """The recipes that a run draws its haze from.

    Attributes:
        recipes: One or more.
        weights: Share of the examples that each gets; None: examples of source i get recipe i.
        turns: Whether distances of some scenes are turned from plane to ray, or back, for some of the recipes.
    """

    recipes: tuple[Recipe, ...]
    weights: tuple[float, ...] | None
    turns: bool = False

    @property
    def effects(self) -> frozenset[str]:
        """What the graph has to hold: of 'srgb', 'linear', 'far', 'illumination', 'noise', 'gamma'."""
        found = {recipe.color_space for recipe in self.recipes} | {"far" for r in self.recipes if r.sky == "far"}
        off = {"illumination": ("illumination",), "noise": ("shot_noise", "read_noise"), "gamma": ("gamma",)}
        for effect, fields in off.items():
            defaults = {field.name: field.default for field in dataclasses.fields(Recipe) if field.name in fields}
            if any(getattr(recipe, name) != defaults[name] for recipe in self.recipes for name in fields):
                found.add(effect)
        return frozenset(found)


def read_recipes(text: str | None, manifests: Sequence[Manifest]) -> Recipes | None:
    """The recipes that `text` names, held against what the datasets store; None for datasets of pairs.

    Args:
        text: Names of shipped recipes, or files, with weights, as 'reside-its=0.6, outdoor-visibility=0.4'; None: each
            dataset's own.
        manifests: Of all datasets of the run, in the order of their sources.

    Raises:
        UsageError: Datasets of both kinds, recipes for pairs, a text that cannot be read, a recipe that cannot be
            drawn while training, or not from these distances.
    """
    if kind_of(manifests) == "pairs":
        if text is not None:
            raise UsageError(
                f"The haze of pairs is in them already. Expected no recipe, received '{text}'. Leave --recipe out, or "
                "make scenes (hazegen make --kind scenes)."
            )
        return None
    if text is None:
        found, weights = tuple(_own(known) for known in manifests), None
        cases = list(zip(found, manifests, strict=True))
    else:
        named = [_named(part) for part in text.split(",")]
        found, weights = tuple(recipe for recipe, _ in named), tuple(weight for _, weight in named)
        cases = [(recipe, known) for recipe in found for known in manifests]
    for recipe, known in cases:
        _check_drawn(recipe)
        _check_stored(recipe, known, on_device=True)
    return Recipes(found, weights, any(_turns(recipe, known) for recipe, known in cases))


def check_cameras(recipes: Recipes, folder: Path, known: Manifest, on_damage: str = "fail") -> None:
    """Looks for scenes without intrinsics, where distances have to be turned with them: they would come out as NaN.

    The heads of all records are read then; of a dataset in a store that is a request each.

    Raises:
        RefusedError: Names the first.
        VerifyError: A shard is damaged, unless `on_damage` is 'skip'.
    """
    if not recipes.turns or not any(_turns(recipe, known) for recipe in recipes.recipes):
        return
    for shard in known.shards:
        with contextlib.suppress(*((VerifyError, FileNotFoundError) if on_damage == "skip" else ())):
            for head in heads.read_heads(folder / shard.name, kind="scenes"):
                if not any(head.values["camera"]):
                    raise RefusedError(
                        f"Scene '{head.values['key']}' of '{folder}' needs intrinsics. Expected a camera to turn its "
                        "distances from plane to ray or back, as --recipe asks for, received none. Choose recipes "
                        "with the path of the scenes' own, or make the scenes with --camera or --fov-deg."
                    )


def resolve(text: str | None) -> tuple[str | None, list[dict[str, object]]]:
    """A text for `read_recipes` without folders, for what leaves this machine, and the fields of each recipe in it."""
    if text is None:
        return None, []
    named = [_named(part) for part in text.split(",")]
    return ", ".join(f"{recipe.name}={weight:g}" for recipe, weight in named), [one.as_dict() for one, _ in named]


def _turns(recipe: Recipe, known: Manifest) -> bool:
    """Whether a recipe has another path than the scenes of a dataset."""
    return any(recipe.path != stored.path for stored in _stored(known))


def recipe_of(known: Manifest, name: str | None) -> Recipe:
    """The recipe that an evaluation draws the haze of scenes from, by the generator's own code.

    Args:
        known: Manifest of the scenes.
        name: Of a shipped recipe, or a file; None: the dataset's own.

    Raises:
        UsageError: None where it has several, one that cannot be read, or not from these distances.
    """
    if name is None:
        return _own(known)
    recipe = _read(name)
    _check_stored(recipe, known, on_device=False)
    return recipe


def _read(name: str) -> Recipe:
    path = config.find_config(name, "recipes")
    return config.build(Recipe, {"name": path.stem} | config.read_config(path, Recipe), "recipe.")


def _named(part: str) -> tuple[Recipe, float]:
    """A recipe and its weight, of 'NAME=WEIGHT' or 'NAME'."""
    name, equals, number = part.strip().rpartition("=")
    try:
        name, weight = (name.strip(), float(number)) if equals else (number, 1.0)
    except ValueError:
        weight = math.nan
    forgotten = "=" in name and not Path(name).is_file()  # a comma, between this recipe and the next
    if forgotten or not (name and 0.0 < weight < math.inf):
        raise UsageError(
            "Recipes cannot be read. Expected names with weights above 0 and commas between them, as 'reside-its=0.6, "
            f"outdoor-visibility=0.4', received '{part.strip()}'. Correct --recipe."
        )
    return _read(name), weight


def _stored(known: Manifest) -> list[Recipe]:
    """The recipes that the scenes of a dataset were made with."""
    told = [source["recipe"] for source in known.sources] or [known.recipe]
    return [config.build(Recipe, recipe, "recipe.") for recipe in told]


def _own(known: Manifest) -> Recipe:
    found = _stored(known)
    # Not by their names: merged datasets may call one recipe differently.
    if any(dataclasses.replace(recipe, name=found[0].name) != found[0] for recipe in found):
        names = ", ".join(sorted({recipe.name for recipe in found}))
        raise UsageError(
            f"The scenes of one dataset were made with several recipes. Expected one, or --recipe, received {names}. "
            "Pass --recipe."
        )
    return found[0]


def _check_drawn(recipe: Recipe) -> None:
    """Raises UsageError where a recipe has effects that are not drawn here."""
    drawn = {name: getattr(recipe, name) for name in _OFFLINE}
    on = [name for name, how in drawn.items() if how is not None and (how.low, how.high) != (0.0, 0.0)]
    if on:
        raise UsageError(
            f"Recipe '{recipe.name}' cannot be drawn while training. Expected none of {', '.join(_OFFLINE)}, received "
            f"{' and '.join(on)}. Make pairs with it (hazegen make --recipe {recipe.name}), or choose another --recipe."
        )


def _check_stored(recipe: Recipe, known: Manifest, *, on_device: bool) -> None:
    """Raises UsageError where a recipe needs other distances than those that scenes were made with."""
    for stored in _stored(known):
        differ = [name for name in _MADE_WITH if getattr(recipe, name) != getattr(stored, name)]
        if stored.sky != recipe.sky and (stored.sky, recipe.sky) != ("infinite", "far") and stored.sky != "reject":
            differ.append("sky")
        if recipe.light_is_estimated and (recipe.atmospheric_light, recipe.color_space) != (
            stored.atmospheric_light,
            stored.color_space,
        ):
            differ.append("atmospheric_light")
        if recipe.path != stored.path and not _can_turn(recipe, stored, known, on_device=on_device):
            differ.append("path")
        if differ:
            raise _other(recipe, stored, differ)


def _can_turn(recipe: Recipe, stored: Recipe, known: Manifest, *, on_device: bool) -> bool:
    """Whether distances can be turned: cameras are known, and the sky is not stored as the frame's largest distance.

    On the device they are turned a pixel at a time, so nothing may ask for that distance, which is kept as it is stored
    alone.
    """
    # With a camera, a convention's calibration or an angle of view; check_cameras looks at each scene.
    reading = known.reading
    cameras = reading.get("camera_files") or reading.get("fov_deg") or reading.get("convention", "custom") != "custom"
    asks = on_device and (recipe.depth_norm == "max" or recipe.sky == "far")
    return bool(cameras) and stored.sky != "far" and not asks


def _other(recipe: Recipe, stored: Recipe, differ: Sequence[str]) -> UsageError:
    def said(which: Recipe) -> str:
        return ", ".join(f"{name} {getattr(which, name)}" for name in differ)

    why = " (of a recipe with depth_norm max or sky far, or scenes without a camera)" if "path" in differ else ""
    return UsageError(
        f"Recipe '{recipe.name}' needs scenes that were made otherwise. Expected {said(recipe)}, received scenes made "
        f"with '{stored.name}': {said(stored)}. What differs is fixed when scenes are made{why}: make them "
        f"with hazegen make --kind scenes --recipe {recipe.name}, or change the recipe."
    )
