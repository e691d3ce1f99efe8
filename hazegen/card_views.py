"""Records as the page of a dataset shows them: small pictures, what is known of each pixel's haze, and a caption."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from hazegen import card_sample, images, preview, preview_scenes, recovery, render, scene_records
from hazegen.card_sample import Sample
from hazegen.charts import number
from hazegen.geometry import Camera
from hazegen.heads import Head
from hazegen.manifest import Manifest
from hazegen.recipe import Recipe
from hazegen.records import hash_order
from hazegen.sampling import HazeParams, count_variants

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
_T = TypeVar("_T")

# Longer side of a picture in the page [px]: twice the width that it has there on a telephone, nearly.
SIDE_PX = 420
# Longer side of the maps that are recovered from two pictures: 16 pixels of a VGA frame make one without noise.
RECOVERED_PX = 160
# Every so many pixels of stored maps are enough for a histogram.
STRIDE = 3
# Hazy pictures of the strip beside its clean one.
STEPS = 5
# Between these a transmission tells a distance: outside rounding does.
TELLING = (0.02, 0.98)
# Draws of a recipe's haze from which the strip of a stored scene takes its steps.
DRAWS = 24


@dataclass(frozen=True)
class View:
    """A record in small.

    Attributes:
        key: Its name.
        scene: Its scene's.
        clean, hazy: uint8 (height, width, 3).
        caption: Its haze in words.
        transmission: (height, width), NaN where it is not known.
        distance_m: The recipe's d [m], (height, width), infinite without surface, NaN where it is not known; None where
            the haze is not the same everywhere, so that transmission tells none.
        exact: Whether both are as they were stored; else they were recovered from the two pictures.
        mean_transmission: Of the whole picture, as its record says; NaN of a stored scene.
    """

    key: str
    scene: str
    clean: Pixels
    hazy: Pixels
    caption: str
    transmission: Floats
    distance_m: Floats | None
    exact: bool
    mean_transmission: float


def choose(folder: Path, known: Manifest, count: int) -> list[View]:
    """Records of different scenes, thin and thick haze in turn, as the contact sheet shows them."""
    view = _of_scene if known.kind == "scenes" else _of_pair
    return [view(values, known) for values in preview.choose(folder, count)]


def _of_pair(values: Mapping[str, Any], known: Manifest) -> View:
    clean, hazy = (recovery.small(preview.picture_of(dict(values), n, known), SIDE_PX) for n in ("clean", "hazy"))
    exact = "transmission" in values
    if exact:
        stored = images.decode(values["transmission"], "transmission")
        green = stored if stored.ndim == 2 else stored[..., 1]
        found = cv2.resize(green, clean.shape[1::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 65535.0
    else:
        seen, radiance = (recovery.small(pixels, RECOVERED_PX) for pixels in (hazy, clean))
        found = recovery.transmission(seen, radiance, values["atmospheric_light"], known.color_space)
    distance_m = _lengths(found, values["beta"][1]) if is_even(json.loads(values["haze"])) else None
    told = (values["key"], values["scene"], clean, hazy, caption(values), np.asarray(found, np.float32))
    return View(*told, distance_m, exact, values["mean_transmission"])


def is_even(haze: Mapping[str, Any]) -> bool:
    """Whether the haze of a record is the same everywhere, so that -ln(t) / beta is a distance."""
    return not haze.get("noise_contrast") and haze.get("height_scale_m") is None


def _lengths(transmission: Floats, beta: float) -> Floats:
    low, high = TELLING
    known = np.where((transmission >= low) & (transmission <= high), transmission, np.float32(np.nan))
    return np.asarray(-np.log(known) / np.float32(beta), np.float32)


def _of_scene(values: Mapping[str, Any], known: Manifest) -> View:
    """A stored scene, and its haze as the recipe would draw it first."""
    (haze,) = preview_scenes.haze_of(dict(values), known, 1)
    little = Little.of(values, known)
    rendered = little.under(haze, known)
    transmission = np.asarray(rendered.transmission[..., rendered.transmission.shape[2] // 2], np.float32)
    text = f"{caption(vars(haze) | {'visibility_m': haze.visibility_m})}, drawn here by the recipe"
    told = (values["key"], values["scene"], little.clean, rendered.hazy, text, transmission)
    return View(*told, little.distance_m, exact=True, mean_transmission=float("nan"))


@dataclass(frozen=True)
class Little:
    """A stored scene in small: its picture, distances [m] and camera."""

    clean: Pixels
    distance_m: Floats
    camera: Camera | None

    @classmethod
    def of(cls, values: Mapping[str, Any], known: Manifest, side_px: int = SIDE_PX) -> "Little":
        """The scene of a record. Distances are taken of single pixels: means of near and far are neither."""
        sides = values["height"], values["width"]
        clean = recovery.small(images.decode_stored(values["clean"], known.codec, *sides, "clean"), side_px)
        height, width = clean.shape[:2]
        full = scene_records.distances(values)
        rows, columns = (
            ((np.arange(n) + 0.5) * side / n).astype(int) for n, side in zip((height, width), sides, strict=True)
        )
        camera = scene_records.camera_of(values)
        if camera is not None:
            across, down = width / camera.width, height / camera.height
            centre = (camera.cx + 0.5) * across - 0.5, (camera.cy + 0.5) * down - 0.5
            camera = Camera(width, height, camera.fx * across, camera.fy * down, *centre)
        return cls(clean, np.ascontiguousarray(full[np.ix_(rows, columns)]), camera)

    def under(self, haze: HazeParams, known: Manifest) -> Any:
        """The scene under haze, as render.render gives it."""
        from hazegen import warm

        warm.keep_going_without_cache()
        return render.render(self.clean, self.distance_m, haze, known.color_space, self.camera)


def caption(values: Mapping[str, Any]) -> str:
    """Visibility, beta and A in a line."""
    light = values["atmospheric_light"]
    gray = len(set(light)) == 1
    shown = f"{light[0]:.2f}" if gray else ", ".join(f"{channel:.2f}" for channel in light)
    return f"visibility {_three(values['visibility_m'])} m, beta {_three(values['beta'][1])}/m, A {shown}"


def _three(value: float) -> str:
    """Three digits that count: 1,910, not 1.91e+03."""
    return number(float(f"{value:.3g}"))


# --- one scene under rising haze ---


@dataclass(frozen=True)
class Strip:
    """One scene, clean and under rising haze, each with a caption; and what it is, in a sentence."""

    pictures: Sequence[tuple[Pixels, str]]
    told: str


def strip(sample: Sample, known: Manifest) -> Strip:
    """The scene with most hazy pictures among the sampled ones."""
    groups = card_sample.by_scene(sample)
    name = min(groups, key=lambda scene: (-len(groups[scene]), hash_order(scene)))
    if known.kind == "scenes":
        return _drawn(card_sample.whole(groups[name][0], known.kind), known)
    group = _of_one_light(groups[name])
    views = [_of_pair(card_sample.whole(place, known.kind), known) for place in spread(group, STEPS)]
    several = len(views) > 1
    told = f"Scene {name}: clean, and {len(views)} of its hazy pictures, the clearest first." if several else (
        f"Scene {name}: clean and hazy. No scene has another hazy picture: hazegen make --variants makes more."
    )  # fmt: skip
    clean = (views[0].clean, "clean")
    return Strip([clean, *((view.hazy, _short(view)) for view in views)], told)


def _short(view: View) -> str:
    first, _, light = view.caption.partition(", A ")
    return f"{first.partition(',')[0]}, A {light}, mean t {view.mean_transmission:.2f}"


def _of_one_light(group: Sequence[tuple[Path, Head]]) -> list[tuple[Path, Head]]:
    """Those that share the commonest atmospheric light, where they are enough for a strip; else all."""
    lights: dict[tuple[float, ...], list[tuple[Path, Head]]] = {}
    for place in group:
        lights.setdefault(tuple(place[1].values["atmospheric_light"]), []).append(place)
    most = max(lights.values(), key=len)
    return most if len(most) >= STEPS - 1 else list(group)


def _drawn(values: Mapping[str, Any], known: Manifest) -> Strip:
    """A stored scene under haze of its recipe."""
    drawn = sorted(preview_scenes.haze_of(dict(values), known, DRAWS), key=lambda haze: haze.beta[1])
    little = Little.of(values, known)
    chosen = spread(drawn, STEPS)
    pictures = [(little.under(haze, known).hazy, f"visibility {_three(haze.visibility_m)} m") for haze in chosen]
    told = (
        f"Scene {values['key']}: clean, and under haze that the recipe draws, from {len(drawn)} draws. None is stored."
    )
    return Strip([(little.clean, "clean"), *pictures], told)


def spread(items: Sequence[_T], count: int) -> list[_T]:
    """`count` of the items at equal distances, with the first and the last; all where they are fewer."""
    if len(items) <= count:
        return list(items)
    return [items[round(n * (len(items) - 1) / (count - 1))] for n in range(count)]


def transmissions(views: Sequence[View]) -> Floats:
    """All transmissions that are known, one after the other."""
    found = np.concatenate([_some(view.transmission, view) for view in views])
    return found[np.isfinite(found)]


def distances(views: Sequence[View]) -> Floats:
    """All finite distances [m] that are known, one after the other."""
    parts = [_some(view.distance_m, view) for view in views if view.distance_m is not None]
    found = np.concatenate([np.empty(0, np.float32), *parts])
    return found[np.isfinite(found) & (found > 0.0)]


def _some(values: Floats, view: View) -> Floats:
    step = STRIDE if view.exact else 1
    return values[step // 2 :: step, step // 2 :: step].ravel()


def recovered_error(views: Sequence[View]) -> float | None:
    """Mean of how far the means of recovered transmissions are from those in the records; None where none is one."""
    off = [
        abs(float(np.nanmean(view.transmission)) - view.mean_transmission)
        for view in views
        if not view.exact and np.isfinite(view.transmission).any()
    ]
    return float(np.mean(off)) if off else None


def named(sample: Sample, known: Manifest, scenes: Sequence[str]) -> dict[str, View]:
    """The haziest record of each of these scenes, as far as the sample has one: there faults of depth are seen."""
    groups, view = card_sample.by_scene(sample), _of_scene if known.kind == "scenes" else _of_pair
    return {name: view(card_sample.whole(groups[name][-1], known.kind), known) for name in scenes if name in groups}


def most_draws(recipe: Recipe, count: int) -> int:
    """How many of `count` draws of a recipe differ."""
    return min(count, count_variants(recipe, None))
