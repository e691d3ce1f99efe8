"""How depth maps are to be understood: the options that every command with depth maps shares, and their checks."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hazegen.depth import conventions
from hazegen.depth.conventions import Convention
from hazegen.depth.formats import LARGEST, RELATIVE, DepthFormat, Values, check_complete, check_given, from_camera_file
from hazegen.errors import UsageError
from hazegen.geometry import focal_px
from hazegen.reading import Reading


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

    def reading_of(self, images: Path, depth: Path) -> Reading:
        """How the files of a scene are read.

        Raises:
            UsageError: Options that have no part in a file of many frames.
        """
        unused = [name for name in ("image_pattern", "depth_pattern", "fit_depth") if getattr(self, name)]
        if unused and conventions.find(self.depth_kind).stack:
            raise UsageError(
                f"An option has no part in '{self.depth_kind}', whose photos and depth are one file. Expected only "
                f"options that it uses, received {', '.join('--' + name.replace('_', '-') for name in unused)}. "
                "Take them out."
            )
        return Reading(
            images=images,
            depth=depth,
            camera=self.camera,
            fov_deg=self.fov_deg,
            convention=self.depth_kind,
            depth_format=self.format_fields(),
            fit_depth=self.fit_depth,
            sparse=self.sparse,
            sparse_scale=self.sparse_scale,
        )

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


def check_reading(reading: Reading, *, in_metres: bool = True) -> None:
    """Refuses, before any file is read, what no file can mend.

    Args:
        in_metres: Whether the maps have to become metres.

    Raises:
        UsageError: Options of cameras and depth maps that miss or contradict each other.
    """
    convention = conventions.find(reading.convention)
    if convention.stack:
        check_stack(convention, reading.images, reading.depth)
    _check_cameras(reading, convention)
    _check_sparse(reading)
    entries = reading.camera is not None and reading.depth_entries and convention.calibration is None
    if entries and "values" not in reading.depth_format:
        return  # each camera file may say what its map holds; its scene is held against the options when it is read
    fmt = from_camera_file({}, reading.depth_format, convention.format)
    if reading.sparse is not None and fmt.values not in RELATIVE:
        raise UsageError(
            f"--sparse fits the scale of relative depth. Expected values relative or relative-inverse, received "
            f"'{fmt.values}'. Leave --sparse out, or correct --depth-kind or --depth-values."
        )
    check_given(fmt, reading.depth_format)
    told_by_file = entries or (convention.calibration is not None and fmt.values == "disparity")
    if in_metres and not told_by_file and reading.sparse is None:
        check_complete(fmt)


def check_stack(convention: Convention, images: Path, depth: Path) -> None:
    """Raises UsageError where images and depth of a convention of many frames are not its one file."""
    if images != depth or not depth.is_file():
        raise UsageError(
            f"Convention '{convention.name}' has photos and depth in one file. Expected that file for --images and for "
            f"--depth, received '{images}' and '{depth}'. Pass it twice."
        )


def _check_cameras(reading: Reading, convention: Convention) -> None:
    if reading.fov_deg is not None:
        focal_px(reading.fov_deg, 1)
    if reading.camera is not None and not reading.camera.exists():
        raise UsageError(
            f"--camera names nothing. Expected a JSON file or a folder of them, received '{reading.camera}'. Check it."
        )
    if reading.camera is not None and reading.fov_deg is not None:
        raise UsageError("Two sources of intrinsics. Expected --camera or --fov-deg, received both. Leave one out.")
    if convention.calibration is not None and reading.fov_deg is not None:
        raise UsageError(
            f"Two sources of intrinsics. Expected the calibration files of '{convention.name}' alone, received "
            "--fov-deg too. Leave it out."
        )


def _check_sparse(reading: Reading) -> None:
    if reading.sparse is None:
        if reading.sparse_scale is not None:
            raise UsageError(
                f"--sparse-scale is of no use alone. Expected --sparse beside it, received {reading.sparse_scale} "
                "without. Add --sparse, or take it out."
            )
        return
    if not reading.sparse.is_dir():
        raise UsageError(f"--sparse is no folder. Expected a folder of maps, received '{reading.sparse}'. Check it.")
    if reading.sparse_scale is not None and not 0.0 < reading.sparse_scale < LARGEST:
        raise UsageError(
            f"--sparse-scale is out of range. Expected metres per unit above 0, received {reading.sparse_scale}. "
            "Correct it."
        )
    if not {"near_m", "far_m"}.isdisjoint(reading.depth_format):
        raise UsageError(
            "Two sources of the scale of relative depth. Expected --sparse, or --near and --far, received both. "
            "Leave one out."
        )
