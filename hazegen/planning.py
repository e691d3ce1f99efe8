"""What hazegen make decides before any work: inputs, splits, shards, and what the bytes depend on."""

import dataclasses
import hashlib
import math
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from hazegen import engine, images, records, sampling, scenes, shards, splits
from hazegen.build import ShardTask
from hazegen.depth.formats import DepthFormat
from hazegen.errors import RefusedError, UsageError
from hazegen.geometry import focal_px
from hazegen.recipe import Recipe
from hazegen.scenes import Reading, Rejected, SceneRef

# Mean size of an encoded pixel, for the size of shards alone: JPEG 95 4:4:4 and PNG, both images.
BYTES_PER_PIXEL = {"jpeg": 0.75, "png": 3.2}


@dataclass(frozen=True)
class MakeOptions:
    """What is made, from what, and how.

    Attributes:
        images: Folder of clean photos, in any format of OpenCV, sub-folders included.
        depth: Folder of depth maps: PNG of 8 or 16 bits, .npy, or disparity.
        out: New folder for the dataset. The same command on an unfinished one continues it.
        depth_scale: Metres in one unit of the depth files (0.001 for millimetres); for disparity, pixels
            in one unit. Needed for integers unless the camera files say it.
        depth_kind: Whether the files hold plane depth, distance along the ray, or disparity
            [default: as the camera files say, else plane].
        not_measured: Value of the depth files that means "no measurement" [default: 0]. NaN always does.
        no_surface: Value that means "no surface, infinitely far", as 65535 [default: none]. Infinity does.
        focal_px: Focal length, for disparity.
        baseline_m: Baseline, for disparity.
        camera: Camera file for all scenes, or folder with one (KEY.json) for each.
        fov_deg: Horizontal field of view of all photos, where there is no camera file.
        fit_depth: Resize a depth map of another size to its image, by nearest neighbour.
        image_pattern: What the name of an image is beside its key, as '{key}_leftImg8bit'.
        depth_pattern: The same for depth maps, as '{key}_depth' or '{key}_disparity'.
        variants: Hazy images of each scene [default: the recipe's whole grid, else 10].
        seed: Decides haze and splits; the same seed, inputs and recipe give the same bytes.
        codec: How images are stored: jpeg (4:4:4) or png (lossless, 4 to 6 times slower and larger).
        quality: JPEG quality.
        maps: Store the transmission of each pair too, as a 16-bit PNG.
        splits: Shares of the scenes (or groups).
        group_by: Regular expression whose bracket names a scene's group; a group is never split.
        split_file: CSV with columns key and split (train, validation, test, or none to leave out).
        shard_mb: Size that shards are planned for.
        workers: Threads that work at once [default: all cores].
        limit: Use only the first scenes, in the order of their keys' hashes.
        max_rejected: Share of the inputs that may be rejected before the exit status is 3.
        dry_run: Only count, and estimate size and time.
    """

    images: Path
    depth: Path
    out: Path
    depth_scale: float | None = None
    depth_kind: Literal["plane", "ray", "disparity"] | None = None
    not_measured: float | None = None
    no_surface: float | None = None
    focal_px: float | None = None
    baseline_m: float | None = None
    camera: Path | None = None
    fov_deg: float | None = None
    fit_depth: bool = False
    image_pattern: str = "{key}"
    depth_pattern: str = "{key}"
    variants: int | None = None
    seed: int = 0
    codec: Literal["jpeg", "png"] = "jpeg"
    quality: int = 95
    maps: bool = False
    splits: str = "train=0.8,validation=0.1,test=0.1"
    group_by: str | None = None
    split_file: Path | None = None
    shard_mb: float = 64.0
    workers: int | None = None
    limit: int | None = None
    max_rejected: float = 0.0
    dry_run: bool = False

    def __post_init__(self) -> None:
        checks = (
            ("--quality", self.quality, 1 <= self.quality <= 100, "1 to 100"),
            ("--shard-mb", self.shard_mb, 0 < self.shard_mb < math.inf, "a number above 0"),
            ("--limit", self.limit, self.limit is None or self.limit >= 1, "at least 1"),
            ("--max-rejected", self.max_rejected, 0 <= self.max_rejected <= 1, "a share in [0, 1]"),
        )
        for name, value, sound, expected in checks:
            if not sound:
                raise UsageError(f"{name} is out of range. Expected {expected}, received {value}. Change {name}.")

        if self.split_file is not None and self.group_by is not None:
            raise UsageError(
                "Two ways to split. Expected --split-file or --group-by, received both. Write the groups into the file."
            )

    def reading(self) -> Reading:
        """How the files of a scene are read."""
        given = {
            "kind": self.depth_kind,
            "unit": self.depth_scale,
            "not_measured": self.not_measured,
            "no_surface": self.no_surface,
            "focal_px": self.focal_px,
            "baseline_m": self.baseline_m,
        }
        fields = {name: value for name, value in given.items() if value is not None}
        return Reading(self.images, self.depth, self.camera, self.fov_deg, fields, self.fit_depth)


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


def plan(options: MakeOptions, recipe: Recipe) -> Plan:
    """Every decision: which scenes, which split and shard, how many variants."""
    engine.check_workers(options.workers if options.workers is not None else 1)
    variants = sampling.count_variants(recipe, options.variants)
    reading = options.reading()
    _check_convention(reading, recipe)
    patterns = (options.image_pattern, options.depth_pattern)
    found, rejected, others = scenes.find_scenes(options.images, options.depth, *patterns)
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


def _check_convention(reading: Reading, recipe: Recipe) -> None:
    if reading.fov_deg is not None:
        focal_px(reading.fov_deg, 1)
    if reading.camera is None:
        DepthFormat(**reading.depth_format)
    elif "unit" in reading.depth_format:
        DepthFormat(unit=reading.depth_format["unit"])
    if reading.camera is not None and not reading.camera.exists():
        raise UsageError(
            f"--camera names nothing. Expected a JSON file or a folder of them, received '{reading.camera}'. Check it."
        )
    if reading.camera is not None and reading.fov_deg is not None:
        raise UsageError("Two sources of intrinsics. Expected --camera or --fov-deg, received both. Leave one out.")
    have = "ray" if reading.depth_format.get("kind") == "ray" else "plane"
    if have != recipe.path and reading.camera is None and reading.fov_deg is None:
        raise UsageError(
            f"Recipe '{recipe.name}' measures along the {recipe.path}, the depth maps hold {have} depth. Expected "
            "intrinsics to convert them, received none. Pass --fov-deg DEGREES or --camera FILE|DIR, or "
            f"--recipe.path {have}."
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
    return (
        f"No scene to use. Expected images in '{options.images}' with depth maps of the same names in "
        f"'{options.depth}', received {total} inputs, {len(rejected)} of them rejected{first} "
        "Check the folders, --image-pattern and --depth-pattern."
    )


def _pixels_of(ref: SceneRef, reading: Reading) -> int:
    """Pixels of an image by its header, 640 x 480 where that cannot be read (it is rejected later)."""
    try:
        path = reading.images / ref.image
        header = images.check_header(images.read_file(path), path.name)
    except RefusedError:
        return 640 * 480
    return header.width * header.height


def fingerprint(ref: SceneRef, reading: Reading) -> dict[str, Any]:
    """What tells the files of a scene from changed ones of the same names: sizes, and the camera's content."""
    sizes = {"image_bytes": reading.images / ref.image, "depth_bytes": reading.depth / ref.depth}
    told: dict[str, Any] = {name: path.stat().st_size if path.exists() else None for name, path in sizes.items()}
    if reading.camera is not None:
        path = scenes.camera_path(reading.camera, ref)
        told["camera_sha256"] = hashlib.sha256(images.read_file(path)).hexdigest() if path.is_file() else None
    return told


def deciding(task: ShardTask) -> dict[str, Any]:
    """What decides the bytes beside inputs and recipe, without the machine's paths."""
    reading = dataclasses.asdict(task.reading)
    reading = {name: reading[name] for name in ("depth_format", "fov_deg", "fit_depth")}
    reading["camera_files"] = task.reading.camera is not None
    names = ("variants", "seed", "codec", "quality", "maps")
    return {"reading": reading, **{name: getattr(task, name) for name in names}}


def versions() -> dict[str, str]:
    """Versions of what decides the bytes of a dataset."""
    return {
        "hazegen": version("hazegen"),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "scipy": version("scipy"),
        "machine": platform.machine(),
    }
