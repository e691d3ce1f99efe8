"""Hazy pictures that can be rendered again in small, and the changes of a recipe that are tried on them."""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hazegen import card_views, images, physics, preview, preview_scenes, recovery, render, sampling, warm
from hazegen.geometry import Camera
from hazegen.manifest import Manifest
from hazegen.recipe import Recipe
from hazegen.sampling import HazeParams

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

# Of recovered and stored transmissions: below the first nothing is seen of a distance but that it is long.
LEAST_T = 1e-3
# On the extinction, and added to A.
FACTORS, STEPS = (0.25, 0.5, 0.7, 1.5, 2.0, 4.0, 8.0), (-0.2, -0.1, -0.05, 0.05, 0.1)
# What is added to the camera's blur [px] and noise.
ADDED = {"blur_px": 1.5, "read_noise": 0.03}


@dataclass(frozen=True)
class Hazy:
    """A hazy picture, small, with what it is rendered from.

    Attributes:
        clean, hazy: uint8 (height, width, 3).
        length_m: Optical depth over beta [m], (height, width): of haze that differs in space, too, so that it is
            rendered as if it were the same everywhere; of a stored scene its distances.
        haze: For the picture in full.
        scale: Size of these pictures over that of the full one.
        camera: Of a stored scene, for these pictures.
    """

    clean: Pixels
    hazy: Pixels
    length_m: Floats
    haze: HazeParams
    scale: float
    camera: Camera | None = None

    def render(self, color_space: str, change: Callable[[HazeParams], HazeParams] = lambda haze: haze) -> Pixels:
        """The picture under changed haze."""
        warm.keep_going_without_cache()
        haze = shrunk(change(self.haze), self.scale)
        return render.render(self.clean, self.length_m, haze, color_space, self.camera).hazy


def hazy_of(values: Mapping[str, Any], known: Manifest, side_px: int) -> Hazy:
    """A record in small; of a stored scene under the haze that its recipe draws first."""
    if known.kind == "scenes":
        little = card_views.Little.of(values, known, side_px)
        (drawn,) = preview_scenes.haze_of(dict(values), known, 1)
        scale = little.clean.shape[1] / values["width"]
        one = Hazy(little.clean, little.clean, little.distance_m, drawn, scale, little.camera)
        return dataclasses.replace(one, hazy=one.render(known.color_space))
    clean, hazy = (recovery.small(preview.picture_of(dict(values), n, known), side_px) for n in ("clean", "hazy"))
    told = sampling.from_record(
        values["variant"], values["beta"], values["atmospheric_light"], json.loads(values["haze"])
    )
    even = dataclasses.replace(told, noise_contrast=0.0, height_scale_m=None)
    length_m = -np.log(_transmission(values, clean, hazy, known)) / np.float32(told.beta[1])
    return Hazy(clean, hazy, np.asarray(length_m, np.float32), even, clean.shape[1] / values["width"])


def _transmission(values: Mapping[str, Any], clean: Pixels, hazy: Pixels, known: Manifest) -> Floats:
    """As stored; else recovered, and the picture's median where the haze is not seen, for there it changes nothing."""
    if "transmission" in values:
        stored = images.decode(values["transmission"], "transmission")
        green = stored if stored.ndim == 2 else stored[..., 1]
        small = cv2.resize(green, clean.shape[1::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 65535.0
        return np.clip(small, LEAST_T, 1.0)
    found = recovery.transmission(hazy, clean, values["atmospheric_light"], known.color_space)
    usual = float(np.nanmedian(found)) if np.isfinite(found).any() else values["mean_transmission"]
    return np.clip(np.where(np.isfinite(found), found, np.float32(usual)), LEAST_T, 1.0)


def shrunk(haze: HazeParams, scale: float) -> HazeParams:
    """The haze for a picture of another size: means of blocks have less noise and blur, and no blocks of JPEG."""
    return dataclasses.replace(
        haze,
        blur_px=haze.blur_px * scale,
        shot_noise=haze.shot_noise * scale**2,
        read_noise=haze.read_noise * scale,
        jpeg_quality=None,
    )


@dataclass(frozen=True)
class Change:
    """A change of one field of the recipe: what is done to it, and to the haze that was drawn.

    Attributes:
        is_last: Whether no larger step of its kind is tried.
    """

    field: str
    told: str
    apply: Callable[[HazeParams], HazeParams]
    is_last: bool = False


AS_IT_IS = Change("none", "as it is", lambda haze: haze)


def changes(known: Manifest) -> list[Change]:
    """What is tried, one field at a time, in steps that can be seen."""
    by_visibility = known.recipe.get("visibility_m") is not None
    estimated = not _is_drawn(known.recipe.get("atmospheric_light"))
    found = [_denser(factor, by_visibility) for factor in FACTORS]
    found += [_brighter(step, estimated) for step in STEPS]
    found += [_colored("warmer", (1.0, 0.97, 0.9)), _colored("bluer", (0.93, 0.98, 1.0))]
    found += [_bluer_air(1.0)]
    found += [Change("illumination", "times 0.8", _times("illumination", 0.8))]
    found += [Change("gamma", f"times {factor:g}", _times("gamma", factor)) for factor in (0.8, 1.25)]
    return found + [Change(name, f"{more:g} more (in squares)", _more(name, more)) for name, more in ADDED.items()]


def _is_drawn(light: Any) -> bool:
    return str(light) not in ("dark-channel", "brightest-far")


def _denser(factor: float, by_visibility: bool) -> Change:
    def apply(haze: HazeParams) -> HazeParams:
        red, green, blue = (beta * factor for beta in haze.beta)
        return dataclasses.replace(haze, beta=(red, green, blue))

    if by_visibility:
        return Change("visibility_m", f"times {1.0 / factor:.3g}", apply, factor in (FACTORS[0], FACTORS[-1]))
    return Change("beta", f"times {factor:.3g}", apply, factor in (FACTORS[0], FACTORS[-1]))


def _brighter(step: float, estimated: bool) -> Change:
    def apply(haze: HazeParams) -> HazeParams:
        return _lit(haze, tuple(value + step for value in haze.atmospheric_light))

    name = "light_bias" if estimated else "atmospheric_light"
    return Change(name, f"{step:+g}", apply, step in (STEPS[0], STEPS[-1]))


def _lit(haze: HazeParams, light: tuple[float, ...]) -> HazeParams:
    red, green, blue = (min(max(value, 0.0), 1.0) for value in light)
    return dataclasses.replace(haze, atmospheric_light=(red, green, blue))


def _colored(name: str, factors: tuple[float, float, float]) -> Change:
    def apply(haze: HazeParams) -> HazeParams:
        return _lit(haze, tuple(value * f for value, f in zip(haze.atmospheric_light, factors, strict=True)))

    return Change("light_color", f"times [{', '.join(f'{f:g}' for f in factors)}], {name}", apply)


def _bluer_air(step: float) -> Change:
    """The air's own colour: beta of each channel by Angstrom's law."""

    def apply(haze: HazeParams) -> HazeParams:
        nm = Recipe.wavelengths_nm
        red, green, blue = (
            float(physics.beta_at_wavelength(beta, one, step)) for beta, one in zip(haze.beta, nm, strict=True)
        )
        return dataclasses.replace(haze, beta=(red, green, blue))

    return Change("angstrom_exponent", f"{step:+g}", apply)


def _times(name: str, factor: float) -> Callable[[HazeParams], HazeParams]:
    def apply(haze: HazeParams) -> HazeParams:
        changed: dict[str, Any] = {name: getattr(haze, name) * factor}
        return dataclasses.replace(haze, **changed)

    return apply


def _more(name: str, more: float) -> Callable[[HazeParams], HazeParams]:
    """Standard deviations add up in squares."""

    def apply(haze: HazeParams) -> HazeParams:
        changed: dict[str, Any] = {name: math.hypot(getattr(haze, name), more)}
        return dataclasses.replace(haze, **changed)

    return apply
