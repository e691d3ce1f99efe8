"""Scenes as they lie on the disk, also those whose depth map is refused, for the depth doctor."""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hazegen import images, intrinsics, scenes
from hazegen.depth import containers, readers
from hazegen.depth.formats import RELATIVE, DepthFormat
from hazegen.depth.measures import Sample
from hazegen.errors import HazegenError, RefusedError, StoreError
from hazegen.pairing import SceneRef
from hazegen.reading import Reading

# What the nearest and farthest values of a map without metres stand for, until --near and --far say it.
NEAR_M, FAR_M = 1.0, 10.0


def read_samples(refs: Iterable[SceneRef], reading: Reading) -> Iterator[Sample]:
    """The scenes whose image, camera and calibration can be read, one after the other."""
    return read_or_note(refs, reading, [])


def read_or_note(refs: Iterable[SceneRef], reading: Reading, lost: list[str]) -> Iterator[Sample]:
    for ref in refs:
        try:
            yield read_sample(ref, reading)
        except StoreError:
            raise
        except (HazegenError, OSError) as error:
            lost.append(str(error))


def read_sample(ref: SceneRef, reading: Reading) -> Sample:
    """One scene as it lies on the disk; a map that the readers refuse is kept, with their reason.

    Raises:
        HazegenError, OSError: Image, camera file, calibration or mask cannot be read.
    """
    image = scenes.read_clean(ref, reading)
    _, fmt = intrinsics.read_camera(ref, reading, image.shape[1], image.shape[0])
    fmt, path = with_metres(fmt), scenes.depth_path(ref, reading)
    mask, container = scenes.mask_path(ref, reading), path.suffix.lower().removeprefix(".")
    values: NDArray[np.generic] = np.zeros((0, 0), np.uint8)
    try:
        values = containers.read_values(path, fmt, ref.frame)
        depth_m = readers.to_metres(values, fmt, path.name)
    except (RefusedError, OSError) as error:
        seen = values if values.size else _as_picture(path)
        return Sample(ref.key, image, seen, None, fmt, str(error), container)
    if mask is not None:
        depth_m = readers.read_depth(path, fmt, ref.frame, mask)
    return Sample(ref.key, image, values, depth_m, fmt, container=container)


def _as_picture(path: Path) -> NDArray[np.generic]:
    """The pixels of a file that is no map, where it is a picture at least; else nothing."""
    try:
        return images.read_picture(path)
    except (RefusedError, OSError):
        return np.zeros((0, 0), np.uint8)


def with_metres(fmt: DepthFormat) -> DepthFormat:
    """The format with near and far in place of what it needs for metres and nobody has said."""
    if fmt.values == "disparity" and (fmt.focal_px is None or fmt.baseline_m is None):
        fmt = dataclasses.replace(fmt, values="relative-inverse")
    if fmt.values == "transmission" and fmt.beta is None:
        return dataclasses.replace(fmt, beta=1.0 / FAR_M)
    if fmt.values in RELATIVE and (fmt.near_m is None or fmt.far_m is None):
        near = fmt.near_m or (fmt.far_m or FAR_M) * NEAR_M / FAR_M
        return dataclasses.replace(fmt, near_m=near, far_m=fmt.far_m or near * FAR_M / NEAR_M)
    return fmt
