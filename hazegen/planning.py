"""What hazegen make decides before any work: inputs, splits, shards, and what the bytes depend on."""

import dataclasses
import hashlib
import math
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from hazegen import engine, images, intrinsics, pairing, records, sampling, scenes, shards, splits
from hazegen.build import ShardTask
from hazegen.depth import containers, conventions, estimation
from hazegen.depth.formats import from_camera_file
from hazegen.depth.options import check_reading
from hazegen.errors import HazegenError, RefusedError, UsageError
from hazegen.make_options import MakeOptions
from hazegen.pairing import Rejected, SceneRef
from hazegen.reading import Reading
from hazegen.recipe import Recipe
from hazegen.variants import Settings

# Of a larger file so many bytes are read at three places, to tell it from another of its name and size: 0.15 ms
# where all of 2 MB takes 1.2 ms (one core, files in the page cache).
PART = 64 * 1024
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
    settings = Settings(reading, recipe, variants, options.seed, options.codec, options.quality, options.maps)
    return Plan([ShardTask(p, options.out, settings) for p in plans], rejected + left_out, total, others)


def find_inputs(
    options: MakeOptions, reading: Reading, failed: Mapping[str, str]
) -> tuple[list[SceneRef], list[Rejected], int]:
    """The scenes, the files that cannot be used, and the number of other files; see pairing.find_scenes."""
    if reading.flat_m is not None:
        return pairing.find_photos(reading.images, options.patterns()[0])
    if options.depth_model is not None:
        found, rejected, others = find_photos(options)
        rejected += [Rejected(r.key, r.image, "", "depth-model", failed[r.image]) for r in found if r.image in failed]
        return [ref for ref in found if ref.image not in failed], rejected, others
    convention = conventions.find(reading.convention)
    if convention.stack:
        return pairing.frames(reading.depth, containers.count_frames(reading.depth, convention.format)), [], 0
    return pairing.find_scenes(reading.images, reading.depth, *options.patterns(), convention.suffixes)


def find_photos(options: MakeOptions) -> tuple[list[SceneRef], list[Rejected], int]:
    """The photos that a network estimates depth for, with the names of their maps, no more than --limit."""
    found, rejected, others = pairing.find_photos(options.images, options.patterns()[0])
    first = sorted(found, key=lambda ref: records.hash_order(ref.key))[: options.limit]
    maps = [str(PurePosixPath(ref.image).with_suffix(estimation.SUFFIX)) for ref in first]
    return [dataclasses.replace(r, depth=name) for r, name in zip(first, maps, strict=True)], rejected, others


def _check_recipe(reading: Reading, recipe: Recipe) -> None:
    """Refuses a recipe that measures along what the depth maps do not hold, where nothing can convert them."""
    convention = conventions.find(reading.convention)
    have = scenes.measured_along(from_camera_file({}, reading.depth_format, convention.format), recipe.path)
    known = reading.camera is not None or reading.fov_deg is not None or convention.calibration is not None
    if (have != recipe.path or recipe.needs_camera) and not known:
        raise UsageError(
            f"Recipe '{recipe.name}' measures along the {recipe.path}, the depth maps hold {have} depth. Expected "
            "intrinsics to convert them, received none. Pass --fov-deg DEGREES or --camera FILE|DIR"
            + ("." if recipe.needs_camera else f", or --recipe.path {have}.")
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
    also = " and --depth-pattern; hazegen inspect tries the usual ones" if maps else ""
    return (
        f"No scene to use. Expected images in '{options.images}'{beside}, received {total} inputs, {len(rejected)} of "
        f"them rejected{first} Check the folders, --image-pattern{also}."
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
    """What tells the files of a scene from changed ones of the same names: digests of a part, of the camera's whole.

    Times tell nothing: a copy has another time, and a file that was unpacked an old one. A file that is missing or
    cannot be read is left out: its scene is rejected with the reason later.
    """
    stacked = ref.frame is not None
    parts: dict[str, tuple[Callable[[], Path | None], Callable[[Path], str]]] = {
        "image": (lambda: reading.images if stacked else reading.images / ref.image, _digest_of_parts),
        "depth": (lambda: scenes.depth_path(ref, reading) if reading.flat_m is None else None, _digest_of_parts),
        "mask": (lambda: scenes.mask_path(ref, reading), _digest_of_parts),
        "sparse": (lambda: scenes.sparse_path(ref, reading), _digest_of_parts),
        "camera": (lambda: intrinsics.intrinsics_path(ref, reading), _digest),
    }
    told = {name: _of_file(find, measure) for name, (find, measure) in parts.items()}
    return {f"{name}_sha256": value for name, value in told.items() if value is not None}


def _of_file(find: Callable[[], Path | None], measure: Callable[[Path], str]) -> str | None:
    try:
        path = find()
        return None if path is None else measure(path)
    except (HazegenError, OSError):
        return None


def _digest_of_parts(path: Path) -> str:
    """SHA-256 of a file's size and of PART bytes at its begin, middle and end: of all of it, where it is small.

    Not told is a change of a larger file that leaves its size and all three parts as they were.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.sha256(f"{size}:".encode())
        for start in (0, max(PART, (size - PART) // 2), max(2 * PART, size - PART)):
            file.seek(start)
            digest.update(file.read(PART))
    return digest.hexdigest()


def _digest(path: Path) -> str:
    return hashlib.sha256(images.read_file(path)).hexdigest()


def deciding(settings: Settings) -> dict[str, Any]:
    """What decides the bytes beside inputs and recipe, without the machine's paths."""
    kept = ("convention", "fov_deg", "fit_depth", "sparse_scale", "flat_m", "depth_entries")
    reading: dict[str, Any] = {name: getattr(settings.reading, name) for name in kept}
    reading["depth_format"] = {name: _as_json(value) for name, value in settings.reading.depth_format.items()}
    reading["camera_files"] = settings.reading.camera is not None
    reading["sparse_files"] = settings.reading.sparse is not None
    names = ("variants", "seed", "codec", "quality", "maps")
    return {"reading": reading, **{name: getattr(settings, name) for name in names}}


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
