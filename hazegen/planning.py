"""What hazegen make decides before any work: inputs, splits, shards, and what the bytes depend on."""

import dataclasses
import hashlib
import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from hazegen import engine, images, pairing, records, sampling, scenes, shards, splits
from hazegen.build import ShardTask
from hazegen.depth import containers, conventions, estimation
from hazegen.depth.conventions import Convention
from hazegen.depth.formats import LARGEST, RELATIVE, check_complete, from_camera_file
from hazegen.errors import HazegenError, RefusedError, UsageError
from hazegen.geometry import focal_px
from hazegen.make_options import MakeOptions
from hazegen.pairing import Rejected, SceneRef
from hazegen.recipe import Recipe
from hazegen.scenes import Reading

# Of DepthFormat: the option that gives a field, and the kinds of values that it says something about.
_OF_KINDS = {
    "near_m": ("--near", RELATIVE),
    "far_m": ("--far", RELATIVE),
    "focal_px": ("--focal-px", ("disparity",)),
    "baseline_m": ("--baseline-m", ("disparity",)),
}
# Mean size of an encoded pixel, for the size of shards alone: JPEG 95 4:4:4 and PNG, both images.
BYTES_PER_PIXEL = {"jpeg": 0.75, "png": 3.2}


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        tasks: One for each shard.
        rejected: Inputs rejected by their names alone.
        found: Number of inputs.
        others: Number of files whose names are of another pattern or format, which are no inputs.
    """

    tasks: list[ShardTask]
    rejected: list[Rejected]
    found: int
    others: int


def plan(options: MakeOptions, recipe: Recipe, failed: Mapping[str, str] | None = None) -> Plan:
    """Every decision: which scenes, which split and shard, how many variants.

    Args:
        failed: Photos, and why the depth network gave no depth for them.
    """
    engine.check_workers(options.workers if options.workers is not None else 1)
    variants = sampling.count_variants(recipe, options.variants)
    if options.depth_model is not None and options.depth_values is None:
        raise UsageError(
            "Nobody says how the depth network is used. Expected ModelOptions beside depth_model, received none. Give "
            "make() its model."
        )
    reading = options.reading()
    check_reading(reading)
    _check_recipe(reading, recipe)
    found, rejected, others = find_inputs(options, reading, failed or {})
    found = sorted(found, key=lambda ref: records.hash_order(ref.key))[: options.limit]
    total = len(found) + len(rejected)
    split_of, left_out = _split(found, options)
    used = [ref for ref in found if ref.key in split_of]
    if not used:
        raise RefusedError(_nothing_found(options, rejected + left_out, total))
    pixels = _pixels_of(used[0], reading)
    scene_mb = BYTES_PER_PIXEL[options.codec] * pixels * variants / 1e6
    per_shard = max(1, round(options.shard_mb / scene_mb))
    plans = shards.plan_shards(used, split_of, per_shard)
    settings = (reading, recipe, variants, options.seed, options.codec, options.quality, options.maps)
    return Plan([ShardTask(p, options.out, *settings) for p in plans], rejected + left_out, total, others)


def find_inputs(
    options: MakeOptions, reading: Reading, failed: Mapping[str, str]
) -> tuple[list[SceneRef], list[Rejected], int]:
    """The scenes, the files that cannot be used, and the number of other files; see pairing.find_scenes."""
    convention = conventions.find(reading.convention)
    if reading.flat_m is not None:
        return pairing.find_photos(reading.images, options.patterns()[0])
    if options.depth_model is not None:
        found, rejected, others = find_photos(options)
        rejected += [Rejected(r.key, r.image, "", "depth-model", failed[r.image]) for r in found if r.image in failed]
        return [ref for ref in found if ref.image not in failed], rejected, others
    if not convention.stack:
        return pairing.find_scenes(reading.images, reading.depth, *options.patterns(), convention.suffixes)
    if reading.images != reading.depth or not reading.depth.is_file():
        raise UsageError(
            f"Convention '{convention.name}' has photos and depth in one file. Expected that file for --images and for "
            f"--depth, received '{reading.images}' and '{reading.depth}'. Pass it twice."
        )
    return pairing.frames(reading.depth, containers.count_frames(reading.depth, convention.format)), [], 0


def find_photos(options: MakeOptions) -> tuple[list[SceneRef], list[Rejected], int]:
    """The photos that a network estimates depth for, with the names of their maps, no more than --limit."""
    found, rejected, others = pairing.find_photos(options.images, options.patterns()[0])
    first = sorted(found, key=lambda ref: records.hash_order(ref.key))[: options.limit]
    maps = [str(PurePosixPath(ref.image).with_suffix(estimation.SUFFIX)) for ref in first]
    return [dataclasses.replace(r, depth=name) for r, name in zip(first, maps, strict=True)], rejected, others


def check_reading(reading: Reading) -> None:
    """Refuses, before any file is read, what no file can mend.

    Raises:
        UsageError: Options of cameras and depth maps that miss or contradict each other.
    """
    convention = conventions.find(reading.convention)
    _check_cameras(reading, convention)
    _check_sparse(reading)
    if reading.camera is not None and reading.depth_entries and convention.calibration is None:
        return  # the camera files may say what the depth maps hold
    fmt = from_camera_file({}, reading.depth_format, convention.format)
    if reading.sparse is not None and fmt.values not in RELATIVE:
        raise UsageError(
            f"--sparse fits the scale of relative depth. Expected values relative or relative-inverse, received "
            f"'{fmt.values}'. Leave --sparse out, or correct --depth-kind or --depth-values."
        )
    for name, (option, kinds) in _OF_KINDS.items():
        if name in reading.depth_format and fmt.values not in kinds:
            raise UsageError(
                f"{option} has no part in {fmt.values} depth. Expected it beside {' or '.join(kinds)} values, received "
                f"'{fmt.values}'. Take it out, or correct --depth-kind or --depth-values."
            )
    calibrated = convention.calibration is not None and fmt.values == "disparity"
    if not calibrated and reading.sparse is None:
        check_complete(fmt)


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


def _check_recipe(reading: Reading, recipe: Recipe) -> None:
    """Refuses a recipe that measures along what the depth maps do not hold, where nothing can convert them."""
    convention = conventions.find(reading.convention)
    have = scenes.measured_along(from_camera_file({}, reading.depth_format, convention.format), recipe)
    known = reading.camera is not None or reading.fov_deg is not None or convention.calibration is not None
    if (have != recipe.path or recipe.needs_camera) and not known:
        raise UsageError(
            f"Recipe '{recipe.name}' measures along the {recipe.path}, the depth maps hold {have} depth. Expected "
            "intrinsics to convert them, received none. Pass --fov-deg DEGREES or --camera FILE|DIR, or "
            f"--recipe.path {have}."
            if have != recipe.path
            else f"Recipe '{recipe.name}' places its haze in space. Expected intrinsics, received none. Pass "
            "--fov-deg DEGREES or --camera FILE|DIR."
        )


def _split(found: list[SceneRef], options: MakeOptions) -> tuple[dict[str, str], list[Rejected]]:
    """Split of each scene, and the scenes that the split file leaves out."""
    if options.split_file is None:
        shares = splits.parse_shares(options.splits)
        return splits.assign((ref.key for ref in found), shares, options.group_by, options.seed), []
    named = splits.read_split_file(options.split_file)
    kept = {ref.key: named[ref.key] for ref in found if named.get(ref.key, splits.LEFT_OUT) != splits.LEFT_OUT}
    why = f"Left out by the split file '{options.split_file.name}'."
    return kept, [Rejected(ref.key, ref.image, ref.depth, "left-out", why) for ref in found if ref.key not in kept]


def _nothing_found(options: MakeOptions, rejected: list[Rejected], total: int) -> str:
    first = f"; first reason: {rejected[0].reason}" if rejected else "."
    maps = options.depth or options.transmission
    beside = f" with depth maps of the same names in '{maps}'" if maps else ""
    return (
        f"No scene to use. Expected images in '{options.images}'{beside}, received {total} inputs, {len(rejected)} of "
        f"them rejected{first} Check the folders, --image-pattern{' and --depth-pattern' if maps else ''}."
    )


def _pixels_of(ref: SceneRef, reading: Reading) -> int:
    """Pixels of an image by its header, 640 x 480 where that cannot be read (it is rejected later)."""
    try:
        path = reading.images / ref.image
        header = images.check_header(images.read_file(path), path.name)
    except (RefusedError, OSError):
        return 640 * 480
    return header.width * header.height


def fingerprint(ref: SceneRef, reading: Reading) -> dict[str, Any]:
    """What tells the files of a scene from changed ones of the same names: sizes, and the camera's content.

    A file that is missing or cannot be read is left out: its scene is rejected with the reason later.
    """
    stacked = ref.frame is not None
    parts: dict[str, tuple[Callable[[], Path | None], Callable[[Path], object]]] = {
        "image_bytes": (lambda: reading.images if stacked else reading.images / ref.image, _size),
        "depth_bytes": (lambda: scenes.depth_path(ref, reading) if reading.flat_m is None else None, _size),
        "mask_bytes": (lambda: scenes.mask_path(ref, reading), _size),
        "sparse_bytes": (lambda: scenes.sparse_path(ref, reading), _size),
        "camera_sha256": (lambda: scenes.intrinsics_path(ref, reading), _digest),
    }
    told = {name: _of_file(find, measure) for name, (find, measure) in parts.items()}
    return {name: value for name, value in told.items() if value is not None}


def _of_file(find: Callable[[], Path | None], measure: Callable[[Path], object]) -> object:
    try:
        path = find()
        return None if path is None else measure(path)
    except (HazegenError, OSError):
        return None


def _size(path: Path) -> int:
    return path.stat().st_size


def _digest(path: Path) -> str:
    return hashlib.sha256(images.read_file(path)).hexdigest()


def deciding(task: ShardTask) -> dict[str, Any]:
    """What decides the bytes beside inputs and recipe, without the machine's paths."""
    kept = ("convention", "fov_deg", "fit_depth", "sparse_scale", "flat_m", "depth_entries")
    reading: dict[str, Any] = {name: getattr(task.reading, name) for name in kept}
    reading["depth_format"] = {name: _as_json(value) for name, value in task.reading.depth_format.items()}
    reading["camera_files"] = task.reading.camera is not None
    reading["sparse_files"] = task.reading.sparse is not None
    names = ("variants", "seed", "codec", "quality", "maps")
    return {"reading": reading, **{name: getattr(task, name) for name in names}}


def _as_json(value: Any) -> Any:
    """A value of DepthFormat as JSON has it, which knows no infinity."""
    if isinstance(value, tuple):
        return [_as_json(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def versions() -> dict[str, str]:
    """Versions of what decides the bytes of a dataset."""
    return {
        "hazegen": version("hazegen"),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "scipy": version("scipy"),
        "machine": platform.machine(),
    }
