"""How depth maps are to be understood: the options that every command with depth maps shares."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hazegen.depth import conventions
from hazegen.depth.formats import DepthFormat, Values, from_camera_file
from hazegen.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class DepthOptions:
    """What the depth maps hold, and where the cameras are.

    Attributes:
        depth_kind: Convention of the depth maps, as kitti, tum or depth-anything; docs/depth.md lists them. With
            custom the options below say it.
        depth_values: What the numbers are: plane depth, distance along the ray, disparity, inverse depth, or a
            relative one without unit [default: as camera files and convention say, else plane].
        depth_scale: Metres in one unit of the files (0.001 for millimetres); for disparity, pixels.
        not_measured: Values of the files that mean "no measurement", as 0,65535 [default: the convention's;
            with custom 0, but none for relative values]. NaN always does; nan alone for no other value.
        no_surface: Value of the files that means "no surface, infinitely far", as 65535. Infinity does.
        focal_px: Focal length, for disparity.
        baseline_m: Baseline, for disparity.
        near: Plane depth in metres of the nearest values of relative depth.
        far: Plane depth in metres of its farthest.
        sparse: Folder of sparse metric depth maps, of the same names, that the scale and shift of each relative
            depth map are fitted to, in place of near and far.
        sparse_scale: Metres in one unit of these.
        camera: Camera file for all scenes, or folder with one (KEY.json) for each.
        fov_deg: Horizontal field of view of all photos, where there is no camera file.
        fit_depth: Resize a depth map of another size to its image, by nearest neighbour.
        image_pattern: What the name of an image is beside its key, as {key}_leftImg8bit [default: the
            convention's].
        depth_pattern: The same for depth maps, as {key}_disparity [default: the convention's].
    """

    depth_kind: str = "custom"
    depth_values: Values | None = None
    depth_scale: float | None = None
    not_measured: str | None = None
    no_surface: float | None = None
    focal_px: float | None = None
    baseline_m: float | None = None
    near: float | None = None
    far: float | None = None
    sparse: Path | None = None
    sparse_scale: float | None = None
    camera: Path | None = None
    fov_deg: float | None = None
    fit_depth: bool = False
    image_pattern: str | None = None
    depth_pattern: str | None = None

    def format_fields(self) -> dict[str, Any]:
        """The fields of DepthFormat that are given."""
        given = {
            "values": self.depth_values,
            "unit": self.depth_scale,
            "not_measured": parse_numbers(self.not_measured),
            "no_surface": self.no_surface,
            "focal_px": self.focal_px,
            "baseline_m": self.baseline_m,
            "near_m": self.near,
            "far_m": self.far,
        }
        return {name: value for name, value in given.items() if value is not None}

    def format(self) -> DepthFormat:
        """The format that convention and options come to, without what camera files add."""
        return from_camera_file({}, self.format_fields(), conventions.find(self.depth_kind).format)

    def patterns(self) -> tuple[str, str]:
        """Name patterns of images and of depth maps."""
        convention = conventions.find(self.depth_kind)
        return self.image_pattern or convention.image_pattern, self.depth_pattern or convention.depth_pattern


def parse_numbers(text: str | None) -> tuple[float, ...] | None:
    """The numbers of '0,65535' without NaN, which is not measured anyway; None where nothing is given.

    Raises:
        UsageError: It is no list of numbers.
    """
    if text is None:
        return None
    try:
        numbers = tuple(float(number) for number in text.split(","))
    except ValueError:
        raise UsageError(
            f"--not-measured cannot be read. Expected numbers with commas between, as 0,65535, received '{text}'. "
            "Correct it."
        ) from None
    return tuple(number for number in numbers if not math.isnan(number))
