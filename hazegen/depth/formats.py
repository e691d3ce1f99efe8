"""What the numbers of a depth file mean."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

from hazegen.errors import UsageError

Values = Literal["plane", "ray", "disparity", "inverse", "relative", "relative-inverse", "transmission"]
Packing = Literal["none", "rotated", "carla"]
RELATIVE = ("relative", "relative-inverse")
# Of these kinds a raw 0 is a value like any other: the nearest, the farthest, or an opaque haze.
ZERO_IS_A_VALUE = (*RELATIVE, "transmission")
# Of units and lengths: beyond it their products leave the range of float32.
LARGEST = 1e15
# Fields that say something about some kinds of values alone, and the options that give them.
_OF_KINDS = {
    "near_m": ("--near", RELATIVE),
    "far_m": ("--far", RELATIVE),
    "focal_px": ("--focal-px", ("disparity",)),
    "baseline_m": ("--baseline-m", ("disparity",)),
}
TEXTS, WHOLE = ("values", "packing", "dataset"), ("channel",)


@dataclass(frozen=True)
class DepthFormat:
    """What the numbers of a depth file mean.

    Attributes:
        values: Plane depth along the camera's axis [m]; distance along the ray [m]; disparity [px]; inverse
            plane depth [1/m]; relative (affine in plane depth, larger is farther); relative-inverse (affine
            in inverse depth, larger is nearer); transmission exp(-beta d).
        unit: Metres (px, 1/m) in one unit of the file; None where nobody said so, which is 1 for floats and
            refused for integers (1 for the relative kinds, the whole range 0..1 for transmissions).
        offset: Added to the raw number before the unit: (v + offset) * unit.
        not_measured: Raw values that mean "no measurement"; NaN always means it.
        no_surface: Raw value that means "nothing there, as far as infinity"; it stands above not_measured.
            Infinity always means it, but where larger is nearer: there infinity is not measured.
        no_surface_from: Raw value at or above which there is no surface: the far plane of a renderer.
        packing: How the raw number is packed into the file's integers: rotated by 3 bits (SUN RGB-D), or
            R + 256 G + 65536 B (CARLA).
        dataset: Name of the array inside a .mat, .npz or .h5 file; of the channel inside an .exr file.
        channel: Index into the last axis of an array with three.
        focal_px, baseline_m, doffs_px: For disparity: z = focal_px * baseline_m / (disparity + doffs_px).
        beta: For transmission: the extinction [1/m] that the maps were made with.
        near_m, far_m: For the relative kinds: plane depth [m] that the nearest and farthest values stand for.
    """

    values: Values = "plane"
    unit: float | None = None
    offset: float = 0.0
    not_measured: tuple[float, ...] = (0.0,)
    no_surface: float | None = None
    no_surface_from: float | None = None
    packing: Packing = "none"
    dataset: str | None = None
    channel: int | None = None
    focal_px: float | None = None
    baseline_m: float | None = None
    doffs_px: float = 0.0
    beta: float | None = None
    near_m: float | None = None
    far_m: float | None = None

    def __post_init__(self) -> None:
        _check_choice("values", self.values, get_args(Values))
        _check_choice("packing", self.packing, get_args(Packing))
        if self.unit is not None and not 0.0 < self.unit < LARGEST:
            raise UsageError(
                "The unit of the depth maps is out of range. Expected metres per unit above 0, received "
                f"{self.unit}. Correct --depth-scale or the camera file."
            )
        for name in ("offset", "doffs_px"):
            if not abs(getattr(self, name)) < LARGEST:
                raise UsageError(_out_of_range(name, "a finite number", getattr(self, name)))
        for name in ("focal_px", "baseline_m", "beta", "near_m", "far_m"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < LARGEST:
                raise UsageError(_out_of_range(name, "a finite number above 0", value))
        if self.near_m is not None and self.far_m is not None and not self.near_m < self.far_m:
            raise UsageError(_out_of_range("near_m", f"less than far_m = {self.far_m}", self.near_m))


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(
            f"The {name} of a depth format are unknown. Expected {', '.join(choices)}, received '{value}'. "
            "Correct --depth-values or the camera file."
        )


def _out_of_range(name: str, expected: str, received: object) -> str:
    return (
        f"'{name}' of a depth format is out of range. Expected {expected}, received {received}. "
        "Correct the option or the camera file."
    )


def check_given(fmt: DepthFormat, options: dict[str, Any]) -> None:
    """Whether every field that the command line gives has a part in the values.

    Args:
        fmt: Format of a scene, by convention, camera file and options together.
        options: Fields of DepthFormat that the command line gives.

    Raises:
        UsageError: One has none, as near and far beside metres.
    """
    for name, (option, kinds) in _OF_KINDS.items():
        if name in options and fmt.values not in kinds:
            raise UsageError(
                f"{option} has no part in {fmt.values} depth. Expected it beside {' or '.join(kinds)} values, received "
                f"'{fmt.values}'. Take it out, or correct --depth-kind, --depth-values or the camera file."
            )


def check_complete(fmt: DepthFormat) -> None:
    """Whether the format says all that its kind of values needs to become metres.

    Raises:
        UsageError: Focal length and baseline, beta, or near and far are missing.
    """
    if fmt.values == "disparity" and (fmt.focal_px is None or fmt.baseline_m is None):
        raise UsageError(
            "Disparity needs a focal length and a baseline. Expected both above 0, received "
            f"{fmt.focal_px} px and {fmt.baseline_m} m. Give --focal-px and --baseline-m (without them: "
            "--depth-values relative-inverse with --near and --far)."
        )
    if fmt.values == "transmission" and fmt.beta is None:
        raise UsageError(
            "Transmission needs the extinction that it was made with. Expected beta in 1/m, received none. "
            "State depth.beta in the camera file."
        )
    if fmt.values in RELATIVE and (fmt.near_m is None or fmt.far_m is None):
        raise UsageError(
            "Relative depth has no metres of its own. Expected the distances of its nearest and farthest "
            f"values, received {fmt.near_m} m and {fmt.far_m} m. Pass --near and --far in metres."
        )


def from_camera_file(
    fields: dict[str, Any], options: dict[str, Any], convention: DepthFormat | None = None
) -> DepthFormat:
    """The format of one scene: a convention, the camera file's `depth` entry above it, options above both.

    Without a convention, 0 is a value like any other where values are said to be relative or transmissions.

    Args:
        fields: The entry: a "convention" (a name of the table) and any field of DepthFormat; "unit_m" is
            the unit, and not_measured may be one number.
        options: Fields of DepthFormat that the command line gives.
        convention: Convention of the command line; one that the entry names stands above it.

    Raises:
        UsageError: The entry holds an unknown field, a value of another type, or a convention that only the
            command line can name, since it says more than the format.
    """
    from hazegen.depth import conventions  # which imports this module

    given = {"unit" if name == "unit_m" else name: value for name, value in fields.items()}
    name = given.pop("convention", None)
    if name is not None:
        named = conventions.find(_text("convention", name))
        # Not 'equal': custom and diode have equal formats, and are two conventions.
        if named.is_more_than_format and named.format is not convention:
            raise UsageError(
                f"A camera file's depth entry names the convention '{name}', which says more than what numbers mean. "
                "Expected one without masks, calibration files, frames or rules of its own for sky and size, received "
                f"it. Pass --depth-kind {name}, or state values, unit_m and not_measured in its place."
            )
        convention = named.format
    known = {field.name for field in dataclasses.fields(DepthFormat)}
    if unknown := sorted(set(given) - known):
        raise UsageError(
            f"The camera file's depth entry has unknown fields. Expected {sorted(known | {'convention'})}, "
            f"received {unknown}. Correct the camera file."
        )
    base = convention or DepthFormat()
    stated = {name: _checked(name, value) for name, value in given.items()} | options
    if base == DepthFormat() and stated.get("values") in ZERO_IS_A_VALUE:
        stated.setdefault("not_measured", ())
    return dataclasses.replace(base, **stated)


def _checked(name: str, value: Any) -> Any:
    """A value of the camera file in the type of its field."""
    if value is None and name not in ("values", "packing", "not_measured", "offset", "doffs_px"):
        return None
    if name in TEXTS:
        return _text(name, value)
    if name == "not_measured":
        return tuple(_number(name, one) for one in (value if isinstance(value, list) else [value]))
    number = _number(name, value)
    if name in WHOLE and not isinstance(number, int):
        raise UsageError(_wrong_type(name, "a whole number", value))
    return number


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise UsageError(_wrong_type(name, "a name", value))
    return value


def _number(name: str, value: Any) -> int | float:
    too_large = isinstance(value, int) and abs(value) > LARGEST  # JSON's whole numbers have no end
    if isinstance(value, bool) or not isinstance(value, int | float) or too_large:
        raise UsageError(_wrong_type(name, "a number", value))
    return value


def _wrong_type(name: str, expected: str, value: Any) -> str:
    return (
        f"The camera file's depth entry cannot be used. Expected {expected} for '{name}', received "
        f"{value!r}. Correct the camera file."
    )
