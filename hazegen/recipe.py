"""The recipe: which haze is drawn for a scene, and in which convention the equation is applied.

The fields are what the published datasets differ in; configs/recipes/ holds theirs and ours.
"""

import dataclasses
import math
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
        sweep: Random: each variant draws its own haze. Grid: every combination of the lists once.
        beta: Extinction coefficient per unit of d, above 0: '[0.04, 0.08]' or 'uniform(0.6, 1.8)'.
        visibility_m: Meteorological optical range [m], above 0, as 'log-uniform(50, 2000)'; beta = 2.996 / V.
        atmospheric_light: Atmospheric light A in [0, 1], in the colour space of the equation.
        light_channels: One A for the three channels (gray), or one drawn for each (independent).
        sky: Pixels without a surface are infinitely far (I = A), as far as the farthest surface, or a
            reason to reject the scene.
        max_holes: Largest share of pixels without a measured depth, in [0, 1); above it the scene is
            rejected.
    """

    name: str = "unnamed"
    path: Literal["plane", "ray"] = "ray"
    depth_norm: Literal["metres", "tenths", "max"] = "metres"
    color_space: Literal["srgb", "linear"] = "srgb"
    sweep: Literal["random", "grid"] = "random"
    beta: Draw | None = None
    visibility_m: Draw | None = None
    atmospheric_light: Draw = Draw("uniform", (0.7, 1.0))
    light_channels: Literal["gray", "independent"] = "gray"
    sky: Literal["infinite", "farthest", "reject"] = "infinite"
    max_holes: float = 0.5

    def __post_init__(self) -> None:
        if (self.beta is None) == (self.visibility_m is None):
            raise UsageError(
                "A recipe draws either beta or visibility_m. Expected exactly one of them, received "
                f"beta={self.beta} and visibility_m={self.visibility_m}. Set the other to null."
            )
        if self.visibility_m is not None and self.depth_norm != "metres":
            raise UsageError(
                "A visibility in metres needs depth in metres. Expected depth_norm 'metres' beside "
                f"visibility_m, received '{self.depth_norm}'. Set depth_norm: metres, or draw beta."
            )
        if self.beta is not None:
            _check_range("beta", self.beta, 0.0, math.inf)
        if self.visibility_m is not None:
            _check_range("visibility_m", self.visibility_m, 0.0, math.inf)
        _check_range("atmospheric_light", self.atmospheric_light, 0.0, 1.0, low_allowed=True)
        if not 0.0 <= self.max_holes < 1.0:
            raise UsageError(
                f"max_holes is out of range. Expected a share in [0, 1), received {self.max_holes}. Correct the recipe."
            )
        if self.sweep == "grid":
            self._check_grid()

    def _check_grid(self) -> None:
        lists = self.extinction.law == self.atmospheric_light.law == "values"
        if not lists or self.light_channels != "gray":
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

    def grid_size(self) -> int:
        """Number of combinations of a grid sweep."""
        return len(self.extinction.values) * len(self.atmospheric_light.values)

    def as_dict(self) -> dict[str, object]:
        """The resolved recipe as plain values, as a recipe file would hold it."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: str(value) if isinstance(value, Draw) else value for name, value in fields.items()}


def _check_range(name: str, draw: Draw, low: float, high: float, low_allowed: bool = False) -> None:
    """Raises UsageError unless every number that `draw` can give lies in (low, high]."""
    high = min(high, 1e30)  # records hold 32-bit floats
    ok = all(n <= high and (n > low or (low_allowed and n == low)) for n in draw.values)
    if not ok:
        bracket = "[" if low_allowed else "("
        limit = f"{bracket}{low:g}, {high:g}]"
        why = " (0 times the infinite distance of the sky is not a number)" if name == "beta" else ""
        raise UsageError(
            f"{name} is out of range. Expected numbers in {limit}{why}, received {draw}. "
            f"Correct {name} in the recipe or on the command line."
        )
