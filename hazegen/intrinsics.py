"""Intrinsics of a scene: from its camera file, from the calibration of its set, or from a field of view."""

import json
from pathlib import Path
from typing import Any

from hazegen import geometry, images, stores
from hazegen.depth import calibration, conventions
from hazegen.depth.conventions import Convention
from hazegen.depth.formats import DepthFormat, check_given, from_camera_file
from hazegen.errors import RefusedError
from hazegen.geometry import Camera
from hazegen.pairing import SceneRef
from hazegen.reading import Reading


def read_camera(ref: SceneRef, reading: Reading, width: int, height: int) -> tuple[Camera | None, DepthFormat]:
    """The scene's intrinsics, where any are known, and the format of its depth map."""
    convention, path = conventions.find(reading.convention), intrinsics_path(ref, reading)
    if path is None:
        camera = geometry.camera_from_fov(reading.fov_deg, width, height) if reading.fov_deg else None
        return camera, from_camera_file({}, reading.depth_format, convention.format)
    if convention.calibration is not None:
        return _calibrated(path, reading, convention, (height, width))
    camera, depth_fields = load_camera(path)
    if (camera.width, camera.height) != (width, height):
        raise RefusedError(
            f"The intrinsics of scene '{ref.key}' belong to another size. Expected those of {width} x {height}, "
            f"received {camera.width} x {camera.height}. Scale fx, fy, cx, cy in '{path.name}'."
        )
    entry = depth_fields if reading.depth_entries else {}
    fmt = from_camera_file(entry, reading.depth_format, convention.format)
    check_given(fmt, reading.depth_format)
    return camera, fmt


def _calibrated(
    path: Path, reading: Reading, convention: Convention, size: tuple[int, int]
) -> tuple[Camera | None, DepthFormat]:
    """Intrinsics and format by the calibration file that the convention's sets bring along."""
    assert convention.calibration is not None
    told = calibration.read_calibration(convention.calibration, path, size)
    fields = {"focal_px": told.focal_px, "baseline_m": told.baseline_m, "doffs_px": told.doffs_px}
    return told.camera, from_camera_file(fields, reading.depth_format, convention.format)


def intrinsics_path(ref: SceneRef, reading: Reading) -> Path | None:
    """The file of a scene's intrinsics: its convention's calibration, the camera file of its key, or that of all."""
    kind = conventions.find(reading.convention).calibration
    if kind is not None:
        return calibration.path_of(kind, ref.key, reading.depth / ref.depth, reading.camera)
    if reading.camera is not None and stores.is_folder(reading.camera):
        return reading.camera / f"{ref.key}.json"
    return reading.camera


def load_camera(path: Path) -> tuple[Camera, dict[str, Any]]:
    """Intrinsics and the `depth` entry (empty where there is none) of a camera file.

    Raises:
        RefusedError: Missing, not JSON, or without one of the intrinsics.
    """
    try:
        content = json.loads(images.read_file(path))
        numbers = {name: content[name] for name in ("width", "height", "fx", "fy", "cx", "cy")}
        if wrong := [name for name, number in numbers.items() if isinstance(number, bool)]:
            raise TypeError(f"{wrong[0]} is {numbers[wrong[0]]}, no number")
        return Camera(**numbers), dict(content.get("depth", {}))
    except RefusedError:
        raise
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise RefusedError(
            f"Camera file '{path.name}' cannot be used. Expected JSON with width, height, fx, fy, cx, cy in "
            f"pixels, received: {type(error).__name__}: {error}. Correct the file."
        ) from None
