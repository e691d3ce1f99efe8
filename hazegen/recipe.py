"""The recipe: which haze is drawn for a scene, and in which convention the equation is applied.

The fields are what the published datasets differ in; configs/recipes/ holds theirs and ours.
"""

import dataclasses
import re
from dataclasses import dataclass
from typing import Literal

from hazegen.errors import UsageError


@dataclass(frozen=True)
class Draw:
    """How one quantity is drawn: one of `values`, or a number in [low, high] by `law`.

    Written as text: `[0.04, 0.08]`, `uniform(0.6, 1.8)` or `log-uniform(50, 2000)`.
    """

    law: Literal["values", "uniform", "log-uniform"]
    values: tuple[float, ...]

    @property
    def low(self) -> float:
        """The smallest number that can be drawn."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The largest number that can be drawn."""
        return max(self.values)

    def __str__(self) -> str:
        numbers = ", ".join(str(value) for value in self.values)
        return f"[{numbers}]" if self.law == "values" else f"{self.law}({numbers})"


def parse_draw(text: object) -> Draw:
    """The draw that `text` names: a number, a list of numbers, or 'law(low, high)'.

    Raises:
        UsageError: It is none of these, the list is empty, or low is not below high.
    """
    if isinstance(text, Draw):
        return text
    match = re.fullmatch(
        r"(?:(uniform|log-uniform)\s*\(([^()\[\]]*)\)|\[([^()\[\]]*)\]|([^()\[\],]*))", str(text).strip()
    )
    law, *bodies = match.groups() if match else (None, "")
    body = next(part for part in bodies if part is not None)
    try:
        values = tuple(float(number) for number in body.split(","))
    except ValueError:
        values = ()
    ends_wrong = law and not (len(values) == 2 and values[0] < values[1])
    if not values or ends_wrong or (law == "log-uniform" and values[0] <= 0):
        raise UsageError(
            "A draw cannot be read. Expected a list as [0.04, 0.08], or uniform(low, high) or "
            f"log-uniform(low, high) with low below high, received {text!r}. Correct the recipe."
        )
    if law == "uniform":
        return Draw("uniform", values)
    return Draw("log-uniform" if law else "values", values)


_ZERO, _ONE = Draw("values", (0.0,)), Draw("values", (1.0,))


@dataclass(frozen=True)
class Recipe:
    """A haze recipe. Either `beta` or `visibility_m` is drawn, never both.

    Attributes:
        name: Name that goes into the manifest.
        path: Length d in the equation: depth along the camera's axis (plane, as most published sets) or
            distance along each pixel's ray (physically right; needs intrinsics or a field of view).
        depth_norm: Unit of d that beta is given for: metres; tenths (d / 10 m); or max, the largest
            finite depth of the whole completed frame (d / max d).
        color_space: Values that the equation is applied to: sRGB-coded (as every published set) or linear
            light.
        sweep: Random: each variant draws its own haze. Grid: every combination of the lists of beta (or
            visibility_m) and atmospheric_light once; all else is drawn.
        beta: Extinction coefficient per unit of d, in [1e-12, 1e12]: '[0.04, 0.08]' or 'uniform(0.6, 1.8)'.
        visibility_m: Meteorological optical range [m], in [1e-12, 1e12], as 'log-uniform(50, 2000)';
            beta = 2.996 / V.
        atmospheric_light: Atmospheric light A in [0, 1], in the colour space of the equation; or estimated
            from each clean image: dark-channel (as Foggy Cityscapes), or brightest-far (mean of the brightest
            tenth of the farthest hundredth).
        light_channels: One drawn A for the three channels (gray), or one for each (independent). An
            estimated A keeps its own colour.
        sky: Pixels without a surface are infinitely far (I = A), as far as the farthest surface (far), or a
            reason to reject the scene.
        max_holes: Largest share of pixels without a measured depth, in [0, 1); above it the scene is
            rejected.
        fill: How depth that was not measured is filled in: from the nearest measured pixel, or guided by
            the edges of the image.
        refine: Whether the edges of the depth map are moved onto those of the image: none, edges (each
            pixel takes a depth from its neighbourhood) or guided (smoothed by a guided filter).
        sky_from_image: Pixels without a measured depth that look like sky and touch the upper border count
            as having no surface.
        angstrom_exponent: How much denser the haze is for blue than for red, in [-1, 5]: beta is
            proportional to (wavelength / 550 nm)^-exponent. About 0 for fog, 0.5 to 1.3 for haze, 4 for air.
        wavelengths_nm: Wavelengths of red, green and blue for it [nm], in [300, 1100].
        light_color: Factors in [0, 2] for red, green and blue on the atmospheric light, which stays in [0, 1].
        light_bias: Added to each channel of the atmospheric light, drawn for each, in [-1, 1].
        noise_contrast: Standard deviation of the haze's density in space over its mean, in [0, 3]: patchy
            haze, from 0.3 (uneven) to 1 (drifting banks). Its mean stays 1. Needs path ray and a camera.
        noise_scale_m: Length [m] over which patchy haze thickens and thins once, in [0.1, 10000].
        noise_samples: Number of densities that are summed up along the longest rays of patchy haze, 8 to 256.
        height_scale_m: Height [m] over which the haze thins to 1/e, in [0.01, 1000000]; beta is then the
            ground's. Null: the same at every height. Needs path ray and a camera.
        camera_height_m: Height of the camera above the ground [m], in [0, 10000], for height_scale_m and
            noise_contrast.
        camera_pitch_deg: Angle by which the camera looks up [degree], in [-90, 90], for the same two.
        scattering_blur: Blur by multiple scattering: its standard deviation as a share of the image's width
            for each unit of optical depth, in [0, 0.1].
        illumination: Factor on the light of all surfaces but lamps, in (0, 1]: below 1 for dusk and night.
        glow: Share of the light taken from lamps that is seen as a glow around them, in [0, 100]; above 1
            for lamps brighter than the white of the image; 0: there are no lamps. Not beside sky far, which
            makes a white sky a surface.
        lamp_threshold: Surfaces whose darkest channel is at least this share of white, in (0, 1], are lamps.
        blur_px: Standard deviation of the lens's blur [px], in [0, 50]. This and what follows is done after
            the haze.
        shot_noise: Variance of the sensor's noise at full light, in [0, 1], linear light; grows with light.
        read_noise: Standard deviation of the sensor's noise in the dark, in [0, 1], linear light.
        gamma: Power of the coded values, in [0.1, 10]: above 1 darker.
        jpeg_quality: Quality of a JPEG compression, 1 to 100; null: none.
    """

    name: str = "unnamed"
    path: Literal["plane", "ray"] = "ray"
    depth_norm: Literal["metres", "tenths", "max"] = "metres"
    color_space: Literal["srgb", "linear"] = "srgb"
    sweep: Literal["random", "grid"] = "random"
    beta: Draw | None = None
    visibility_m: Draw | None = None
    atmospheric_light: Draw | Literal["dark-channel", "brightest-far"] = Draw("uniform", (0.7, 1.0))
    light_channels: Literal["gray", "independent"] = "gray"
    sky: Literal["infinite", "far", "reject"] = "infinite"
    max_holes: float = 0.5
    fill: Literal["guided", "nearest"] = "guided"
    refine: Literal["none", "edges", "guided"] = "none"
    sky_from_image: bool = False
    # The wavelengths, and the exponents named above, are from memory, unconfirmed.
    angstrom_exponent: Draw = _ZERO
    wavelengths_nm: tuple[float, float, float] = (610.0, 550.0, 465.0)
    light_color: tuple[float, float, float] = (1.0, 1.0, 1.0)
    light_bias: Draw = _ZERO
    noise_contrast: Draw = _ZERO
    noise_scale_m: Draw = Draw("values", (20.0,))
    noise_samples: int = 24
    height_scale_m: Draw | None = None
    camera_height_m: Draw = Draw("values", (1.5,))
    camera_pitch_deg: Draw = _ZERO
    scattering_blur: Draw = _ZERO
    illumination: Draw = _ONE
    glow: Draw = _ZERO
    lamp_threshold: float = 0.9
    blur_px: Draw = _ZERO
    shot_noise: Draw = _ZERO
    read_noise: Draw = _ZERO
    gamma: Draw = _ONE
    jpeg_quality: Draw | None = None

    def __post_init__(self) -> None:
        if (self.beta is None) == (self.visibility_m is None):
            raise UsageError(
                "A recipe draws either beta or visibility_m. Expected exactly one of them, received "
                f"beta={self.beta} and visibility_m={self.visibility_m}. "
                + ("Set one of them." if self.beta is None else "Set the other to null.")
            )
        if self.visibility_m is not None and self.depth_norm != "metres":
            raise UsageError(
                "A visibility in metres needs depth in metres. Expected depth_norm 'metres' beside "
                f"visibility_m, received '{self.depth_norm}'. Set depth_norm: metres, or draw beta."
            )
        for name in _RANGES:
            _check_range(name, getattr(self, name))
        if not 0.0 <= self.max_holes < 1.0:
            raise UsageError(
                f"max_holes is out of range. Expected a share in [0, 1), received {self.max_holes}. Correct the recipe."
            )
        self._check_together()
        self._check_switches()
        if self.sweep == "grid":
            self._check_grid()

    def _check_together(self) -> None:
        if self.needs_camera and self.path != "ray":
            raise UsageError(
                "Haze that changes in space needs distances along rays. Expected path 'ray' beside "
                f"noise_contrast and height_scale_m, received '{self.path}'. Set path: ray."
            )
        if self.light_is_estimated and self.light_channels != "gray":
            raise UsageError(
                "An estimated atmospheric light is not drawn for each channel. Expected light_channels 'gray' "
                f"beside '{self.atmospheric_light}', received '{self.light_channels}'. Set light_channels: gray; "
                "the estimate keeps its own colour."
            )

        if self.glow.high > 0.0 and self.sky == "far":
            raise UsageError(
                "A sky that is a far surface would glow like a lamp. Expected sky 'infinite' or 'reject' beside glow, "
                f"received '{self.sky}'. Set sky: infinite, or glow: 0."
            )

    def _check_switches(self) -> None:
        """What belongs to an effect is not given without it: it would change nothing."""
        off = {field.name: field.default for field in dataclasses.fields(self)}
        for name, switches in SWITCHES.items():
            if getattr(self, name) != off[name] and not any(_can_be_on(self, switch) for switch in switches):
                raise UsageError(
                    f"{name} changes nothing while its effect is off. Expected it beside {' or '.join(switches)}, "
                    f"received {_plain(getattr(self, name))} alone. Turn {switches[0]} on, or set {name} to its "
                    f"default, {_plain(off[name])}."
                )

    def _check_grid(self) -> None:
        lights = isinstance(self.atmospheric_light, str) or self.atmospheric_light.law == "values"
        if not (lights and self.extinction.law == "values") or self.light_channels != "gray":
            raise UsageError(
                "A grid sweep needs lists to go through. Expected lists of values for beta or visibility_m and "
                f"for atmospheric_light, and light_channels 'gray', received {self.extinction}, "
                f"{self.atmospheric_light} and '{self.light_channels}'. List the values, or set sweep: random."
            )

    @property
    def extinction(self) -> Draw:
        """The draw of beta or of visibility, whichever the recipe has."""
        draw = self.beta or self.visibility_m
        assert draw is not None
        return draw

    @property
    def needs_camera(self) -> bool:
        """Whether the haze changes in space, so that each pixel's ray has to be known."""
        return _can_be_on(self, "noise_contrast") or _can_be_on(self, "height_scale_m")

    @property
    def light_is_estimated(self) -> bool:
        """Whether the atmospheric light comes from the clean image (light.estimate)."""
        return isinstance(self.atmospheric_light, str)

    @property
    def is_constant(self) -> bool:
        """Whether every variant of a scene would be the same: each draw has one value, and there is no noise."""
        drawn = [value for name in self.__dataclass_fields__ if isinstance(value := getattr(self, name), Draw)]
        random = max(self.noise_contrast.high, self.shot_noise.high, self.read_noise.high)
        return all(len(set(draw.values)) == 1 for draw in drawn) and random == 0.0

    def grid_size(self) -> int:
        """Number of combinations of a grid sweep."""
        lights = 1 if isinstance(self.atmospheric_light, str) else len(self.atmospheric_light.values)
        return len(self.extinction.values) * lights

    def as_dict(self) -> dict[str, object]:
        """The resolved recipe as plain values, as a recipe file would hold it."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: _plain(value) for name, value in fields.items()}


# Fields that do nothing unless one of the effects that these fields switch on is on.
SWITCHES: dict[str, tuple[str, ...]] = {
    "wavelengths_nm": ("angstrom_exponent",),
    "noise_scale_m": ("noise_contrast",),
    "noise_samples": ("noise_contrast",),
    "camera_height_m": ("height_scale_m", "noise_contrast"),
    "camera_pitch_deg": ("height_scale_m", "noise_contrast"),
    "lamp_threshold": ("glow",),
}


def _can_be_on(recipe: Recipe, switch: str) -> bool:
    """Whether a field of `SWITCHES` can come out as a number other than 0."""
    how: Draw | None = getattr(recipe, switch)
    return how is not None and (how.low, how.high) != (0.0, 0.0)


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return f"[{', '.join(str(number) for number in value)}]"
    return str(value) if isinstance(value, Draw) else value


# Lowest and highest number of each field, and whether the lowest itself is allowed.
_RANGES: dict[str, tuple[float, float, bool]] = {
    # Far beyond any haze, and well within 32-bit floats, whatever the unit of d and the wavelengths.
    "beta": (1e-12, 1e12, True),
    "visibility_m": (1e-12, 1e12, True),
    "atmospheric_light": (0.0, 1.0, True),
    "angstrom_exponent": (-1.0, 5.0, True),
    "wavelengths_nm": (300.0, 1100.0, True),
    "light_color": (0.0, 2.0, True),
    "light_bias": (-1.0, 1.0, True),
    "noise_contrast": (0.0, 3.0, True),
    "noise_scale_m": (0.1, 10_000.0, True),
    "noise_samples": (8, 256, True),
    "height_scale_m": (0.01, 1e6, True),
    "camera_height_m": (0.0, 10_000.0, True),
    "camera_pitch_deg": (-90.0, 90.0, True),
    "scattering_blur": (0.0, 0.1, True),
    "illumination": (0.0, 1.0, False),
    "glow": (0.0, 100.0, True),
    "lamp_threshold": (0.0, 1.0, False),
    "blur_px": (0.0, 50.0, True),
    "shot_noise": (0.0, 1.0, True),
    "read_noise": (0.0, 1.0, True),
    "gamma": (0.1, 10.0, True),
    "jpeg_quality": (1.0, 100.0, True),
}


def _check_range(name: str, value: Draw | tuple[float, ...] | float | str | None) -> None:
    """Raises UsageError unless every number that the field can give lies in its range."""
    if value is None or isinstance(value, str):
        return
    numbers = value.values if isinstance(value, Draw) else value if isinstance(value, tuple) else (value,)
    low, high, low_allowed = _RANGES[name]
    if all(n <= high and (n > low or (low_allowed and n == low)) for n in numbers):
        return
    limit = f"{'[' if low_allowed else '('}{low:g}, {high:g}]"
    why = " (0 times the infinite distance of the sky is not a number)" if name == "beta" else ""
    raise UsageError(
        f"{name} is out of range. Expected numbers in {limit}{why}, received {_plain(value)}. "
        f"Correct {name} in the recipe or on the command line."
    )
