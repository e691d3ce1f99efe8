"""What the sliders of the demo say, as a recipe of hazegen."""

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hazegen import color
from hazegen.errors import UsageError
from hazegen.recipe import Draw, Recipe

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


def settings_of(values: dict[str, object]) -> Settings:
    """The settings of what the page's controls hold.

    Raises:
        UsageError: Another type than the control's, or no finite number.
    """
    for field in dataclasses.fields(Settings):
        value, default = values[field.name], field.default
        if isinstance(default, bool | str):
            if not isinstance(value, type(default)):
                raise not_a(f"'{field.name}'", type(default).__name__, value)
        else:
            check_number(f"'{field.name}'", value)
    return Settings(**values)  # type: ignore[arg-type]


def check_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise not_a(name, "a finite number", value)


def not_a(name: str, expected: str, value: object) -> UsageError:
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
        raise not_a(f"'{name}'", "a number or nothing", text) from None
    check_number(f"'{name}'", number)
    return number
