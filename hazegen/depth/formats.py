"""How the numbers of a depth file become metres."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from hazegen.errors import UsageError


@dataclass(frozen=True)
class DepthFormat:
    """What the numbers of a depth file mean.

    Attributes:
        kind: Plane depth along the camera's axis, distance along the ray, or disparity.
        unit: Metres (for disparity: pixels) in one unit of the file; None where nobody said so,
            which is 1 for floats and refused for integers.
        not_measured: Value that means "no measurement"; NaN always means it.
        no_surface: Value that means "nothing there, as far as infinity"; infinity always means it.
        focal_px, baseline_m: For disparity: focal length [px] and baseline [m].
    """

    kind: Literal["plane", "ray", "disparity"] = "plane"
    unit: float | None = None
    not_measured: float | None = 0.0
    no_surface: float | None = None
    focal_px: float | None = None
    baseline_m: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("plane", "ray", "disparity"):
            raise UsageError(
                f"The kind of depth is unknown. Expected plane, ray or disparity, received '{self.kind}'."
                " Correct --depth-kind or the camera file."
            )
        if self.unit is not None and not 0.0 < self.unit < float("inf"):
            raise UsageError(
                "The unit of the depth maps is out of range. Expected metres per unit above 0, received "
                f"{self.unit}. Correct --depth-scale or the camera file."
            )
        if self.kind == "disparity" and not ((self.focal_px or 0) > 0 and (self.baseline_m or 0) > 0):
            raise UsageError(
                "Disparity needs a focal length and a baseline. Expected both above 0, received "
                f"{self.focal_px} px and {self.baseline_m} m. Give --focal-px and --baseline-m."
            )


def from_camera_file(fields: dict[str, Any], options: dict[str, Any]) -> DepthFormat:
    """The format of one scene: the camera file's `depth` entry, with the command line's options above it.

    Raises:
        UsageError: The entry holds a field that DepthFormat does not have.
    """
    renamed = {"unit" if name == "unit_m" else name: value for name, value in fields.items()}
    known = {field.name for field in dataclasses.fields(DepthFormat)}
    if unknown := sorted(set(renamed) - known):
        raise UsageError(
            f"The camera file's depth entry has unknown fields. Expected {sorted(known)}, received {unknown}. "
            "Correct the camera file."
        )
    for name, value in renamed.items():
        if name != "kind" and not (value is None or (isinstance(value, int | float) and not isinstance(value, bool))):
            raise UsageError(
                f"The camera file's depth entry cannot be used. Expected a number for '{name}', received "
                f"{value!r}. Correct the camera file."
            )
    return DepthFormat(**{**renamed, **options})
