"""Focal length and baseline from the calibration files that come with stereo sets."""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from hazegen import images, stores
from hazegen.depth.conventions import CalibrationKind
from hazegen.errors import RefusedError
from hazegen.geometry import Camera

MIDDLEBURY_FILE = "calib.txt"
MM_PER_M = 1000.0
EXPECTED = {
    "middlebury": "lines cam0=[f 0 cx; 0 f cy; 0 0 1], doffs, baseline (mm), width and height",
    "cityscapes": "JSON with intrinsic fx, fy, u0, v0 and extrinsic baseline",
}


@dataclass(frozen=True)
class Calibration:
    """What turns disparity into depth.

    Attributes:
        focal_px: Focal length [px] of the rectified pair.
        baseline_m: Distance between the two cameras [m].
        doffs_px: How far the two principal points lie apart [px]; see geometry.disparity_to_depth.
        camera: Intrinsics of the left picture; None where the file does not tell its size.
    """

    focal_px: float
    baseline_m: float
    doffs_px: float
    camera: Camera | None


def path_of(kind: CalibrationKind, key: str, depth: Path, camera: Path | None) -> Path:
    """The calibration file of a scene.

    Middlebury and ETH3D have a calib.txt in each scene's folder; Cityscapes has NAME_camera.json in a tree like
    that of the pictures.

    Args:
        kind: Kind of file.
        key: Name of the scene.
        depth: Its depth file, beside which the calibration is looked for where `camera` is None.
        camera: File of all scenes, or folder in which each scene has one.

    Raises:
        RefusedError: The one file that is given belongs to another picture.
    """
    if kind == "middlebury":
        if camera is None:
            return depth.parent / MIDDLEBURY_FILE
        if not stores.is_folder(camera):
            return camera
        inner = camera / key / MIDDLEBURY_FILE
        return inner if inner.is_file() else camera / PurePosixPath(key).parent / MIDDLEBURY_FILE
    name = f"{PurePosixPath(key).name}_camera.json"
    if camera is None:
        return depth.parent / name
    if stores.is_folder(camera):
        return camera / PurePosixPath(key).parent / name
    if camera.name != name:
        raise RefusedError(
            f"'{camera.name}' is the camera file of another picture. Expected '{name}' for scene '{key}', received "
            f"'{camera.name}'. Pass the folder of all camera files as --camera."
        )
    return camera


def read_calibration(kind: CalibrationKind, path: Path, size: tuple[int, int] | None = None) -> Calibration:
    """Focal length, baseline and intrinsics of a calibration file.

    Args:
        kind: Kind of file.
        path: File.
        size: Height and width [px] of the picture, which those of the file must equal.

    Raises:
        RefusedError: Missing, without one of its entries, out of range, or of another size than the picture.
    """
    if not path.is_file():
        raise RefusedError(
            f"Calibration file '{path}' is missing. Expected {EXPECTED[kind]}, received no such file. "
            "Add it, or pass --camera."
        )
    try:
        text = images.read_file(path).decode("utf-8")
        return (_middlebury if kind == "middlebury" else _cityscapes)(text, path.name, size)
    except RefusedError:
        raise
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise RefusedError(
            f"Calibration file '{path.name}' cannot be used. Expected {EXPECTED[kind]}, received "
            f"{type(error).__name__}: {error}. Correct the file."
        ) from None


def _middlebury(text: str, name: str, size: tuple[int, int] | None) -> Calibration:
    entries = dict(line.strip().split("=", 1) for line in text.splitlines() if "=" in line)
    matrix = [_number(number) for number in re.split(r"[\s;\[\]]+", entries["cam0"]) if number]
    if len(matrix) != 9:
        raise ValueError(f"cam0 of {len(matrix)} numbers")
    width, height = int(entries["width"]), int(entries["height"])
    if size is not None and size != (height, width):
        raise RefusedError(
            f"Calibration file '{name}' belongs to a picture of another size. Expected {size[1]} x {size[0]}, received "
            f"{width} x {height}. Use the calibration of this size, or scale its entries."
        )
    camera = Camera(width, height, matrix[0], matrix[4], matrix[2], matrix[5])
    return Calibration(matrix[0], _baseline(entries["baseline"]) / MM_PER_M, _number(entries["doffs"]), camera)


def _cityscapes(text: str, name: str, size: tuple[int, int] | None) -> Calibration:  # noqa: ARG001
    content = json.loads(text)
    fx, fy, cx, cy = (_number(content["intrinsic"][key]) for key in ("fx", "fy", "u0", "v0"))
    if fx <= 0:
        raise ValueError(f"fx of {fx}")
    camera = None if size is None else Camera(size[1], size[0], fx, fy, cx, cy)
    return Calibration(fx, _baseline(content["extrinsic"]["baseline"]), 0.0, camera)


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number) or isinstance(value, bool):
        raise ValueError(f"{value!r} where a number belongs")
    return number


def _baseline(value: Any) -> float:
    if (baseline := _number(value)) <= 0:
        raise ValueError(f"a baseline of {value}")
    return baseline
