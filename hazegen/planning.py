"""What hazegen make decides before any work: inputs, splits, shards, and what the bytes depend on."""

import dataclasses
import hashlib
import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import cv2
import numpy as np

from hazegen import engine, images, pairing, records, sampling, scenes, shards, splits
from hazegen.build import ShardTask
from hazegen.depth import containers, conventions, estimation
from hazegen.depth.formats import RELATIVE, check_complete, from_camera_file
from hazegen.depth.options import DepthOptions
from hazegen.errors import RefusedError, UsageError
from hazegen.geometry import focal_px
from hazegen.pairing import Rejected, SceneRef
from hazegen.recipe import Recipe
from hazegen.scenes import Reading

# Mean size of an encoded pixel, for the size of shards alone: JPEG 95 4:4:4 and PNG, both images.
BYTES_PER_PIXEL = {"jpeg": 0.75, "png": 3.2}


@dataclass(frozen=True, kw_only=True)
class MakeOptions(DepthOptions):
    """What is made, from what, and how.

    Attributes:
        images: Folder of clean photos, in any format of OpenCV, sub-folders included.
        depth: Folder of depth maps, or the one file of a convention that stacks its frames.
        out: New folder for the dataset. The same command on an unfinished one continues it.
        transmission: Folder of transmission maps, in place of depth.
        transmission_beta: Extinction [1/m] that these were made with: d = -ln(t) / beta.
        depth_model: ONNX file of a network that estimates depth, in place of depth maps (see --model. below).
        flat_depth: Plane depth [m] of every pixel, in place of depth maps: for photos from straight above.
        trust_depth: Go on although the depth maps look wrong.
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
    out: Path
    depth: Path | None = None
    transmission: Path | None = None
    transmission_beta: float | None = None
    depth_model: Path | None = None
    flat_depth: float | None = None
    trust_depth: bool = False
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
            ("--flat-depth", self.flat_depth, self.flat_depth is None or 0 < self.flat_depth < math.inf, "metres above 0"),
            ("--max-rejected", self.max_rejected, 0 <= self.max_rejected <= 1, "a share in [0, 1]"),
        )
        for name, value, sound, expected in checks:
            if not sound:
                raise UsageError(f"{name} is out of range. Expected {expected}, received {value}. Change {name}.")

        if self.split_file is not None and self.group_by is not None:
            raise UsageError(
                "Two ways to split. Expected --split-file or --group-by, received both. Write the groups into the file."
            )
        sources: dict[str, object] = {"--depth": self.depth, "--transmission": self.transmission}
        sources |= {"--depth-model": self.depth_model, "--flat-depth": self.flat_depth}
        given = [name for name, value in sources.items() if value is not None]
        if len(given) != 1:
            raise UsageError(
                f"Distances have one source. Expected one of {', '.join(sources)}, received {' and '.join(given) or 'none'}"
                ". Pass one of them."
            )
        if (self.transmission is None) != (self.transmission_beta is None):
            raise UsageError(
                "Transmission maps and the beta that made them belong together. Expected --transmission and "
                f"--transmission-beta, received {self.transmission} and {self.transmission_beta}. Pass both: with the "
                "recipe's beta equal to it, the haze has exactly the maps' transmission."
            )

    @property
    def depth_folder(self) -> Path:
        """Where the maps of a depth network are kept: beside the dataset, as OUT.depth."""
        return self.out.with_name(f"{self.out.name}.depth")

    def reading(self) -> Reading:
        """How the files of a scene are read."""
        told = self.format_fields()
        depth, convention = self.depth or self.depth_folder, self.depth_kind
        if self.transmission is not None:
            depth, convention = self.transmission, "transmission"
            told |= {"beta": self.transmission_beta}
        cameras = (self.camera, self.fov_deg)
        sparse = (self.sparse, self.sparse_scale)
        return Reading(self.images, depth, *cameras, convention, told, self.fit_depth, *sparse, self.flat_depth)


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
    reading = options.reading()
    _check_convention(options, reading, recipe)
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


def _check_convention(options: MakeOptions, reading: Reading, recipe: Recipe) -> None:
    """Refuses, before any file is read, what no file can mend."""
    if reading.fov_deg is not None:
        focal_px(reading.fov_deg, 1)
    convention = conventions.find(reading.convention)
    if reading.camera is not None and not reading.camera.exists():
        raise UsageError(
            f"--camera names nothing. Expected a JSON file or a folder of them, received '{reading.camera}'. Check it."
        )
    if reading.camera is not None and reading.fov_deg is not None:
        raise UsageError("Two sources of intrinsics. Expected --camera or --fov-deg, received both. Leave one out.")
    if reading.sparse is not None and not reading.sparse.is_dir():
        raise UsageError(f"--sparse is no folder. Expected a folder of maps, received '{reading.sparse}'. Check it.")
    fmt = from_camera_file({}, reading.depth_format, convention.format)
    if reading.sparse is not None and fmt.values not in RELATIVE:
        raise UsageError(
            f"--sparse fits the scale of relative depth. Expected values relative or relative-inverse, received "
            f"'{fmt.values}'. Leave --sparse out, or correct --depth-kind or --depth-values."
        )
    if reading.camera is None and convention.calibration is None and reading.sparse is None:
        check_complete(fmt)
    have = scenes.measured_along(fmt, recipe)
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
    return (
        f"No scene to use. Expected images in '{options.images}' with depth maps of the same names in "
        f"'{options.depth or options.transmission}', received {total} inputs, {len(rejected)} of them rejected{first} "
        "Check the folders, --image-pattern and --depth-pattern."
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
    """What tells the files of a scene from changed ones of the same names: sizes, and the camera's content."""
    image = reading.images if ref.frame is not None else reading.images / ref.image
    sizes = {"image_bytes": image, "depth_bytes": scenes.depth_path(ref, reading)}
    told: dict[str, Any] = {name: path.stat().st_size if path.exists() else None for name, path in sizes.items()}
    if reading.camera is not None:
        path = scenes.camera_path(reading.camera, ref)
        told["camera_sha256"] = hashlib.sha256(images.read_file(path)).hexdigest() if path.is_file() else None
    return told


def deciding(task: ShardTask) -> dict[str, Any]:
    """What decides the bytes beside inputs and recipe, without the machine's paths."""
    reading = dataclasses.asdict(task.reading)
    reading = {name: reading[name] for name in ("convention", "depth_format", "fov_deg", "fit_depth", "sparse_scale", "flat_m")}
    reading["camera_files"] = task.reading.camera is not None
    reading["sparse_files"] = task.reading.sparse is not None
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
