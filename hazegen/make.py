"""hazegen make: from photos and depth maps to a dataset of hazy/clean pairs."""

import csv
import dataclasses
import io
import json
import math
import platform
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from tqdm import tqdm

from hazegen import engine, images, records, sampling, scenes, shards, splits
from hazegen.build import INPUT_COLUMNS, ShardTask, build_shard, input_row
from hazegen.depth.formats import DepthFormat
from hazegen.errors import RefusedError, UsageError, VerifyError
from hazegen.geometry import focal_px
from hazegen.manifest import INPUTS, MANIFEST, SPLITS, Manifest, Shard, load
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
        workers: Worker processes [default: all cores].
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
class Made:
    """What a run of make did.

    Attributes:
        manifest: Of the dataset.
        rejected: Number of rejected inputs for each reason's code.
        first_reason: Why the first of them was rejected; empty where none was.
        reused: Number of shards that an earlier run had finished.
        seconds: Time taken.
    """

    manifest: Manifest
    rejected: dict[str, int]
    first_reason: str
    reused: int
    seconds: float


def make(options: MakeOptions, recipe: Recipe) -> Made:
    """Makes the dataset, or what an interrupted run has left of it.

    Raises:
        UsageError, RefusedError, StoreError: As their classes say; nothing finished is lost.
    """
    began = time.monotonic()
    tasks, rejected, found = plan(options, recipe)
    header = {"recipe": recipe.as_dict(), "found": found, **_deciding(tasks[0]), "versions": versions()}
    shards.write_plan(options.out, header, [task.plan for task in tasks])
    if shards.is_finished(options.out):
        return _finished_before(options.out, tasks, began)
    (options.out / shards.WORK).mkdir(exist_ok=True)
    left = [task for task in tasks if not shards.is_done(options.out, task.plan)]
    pairs = sum(len(task.plan.scenes) for task in left) * tasks[0].variants
    with tqdm(total=pairs, unit="pair", desc="making haze", disable=None) as bar:
        for _ in engine.run(build_shard, left, options.workers or engine.cores(), bar.update):
            pass
    manifest, rows = _collect(options.out, tasks, rejected, header)
    if manifest.inputs["used"] == 0:
        raise RefusedError(
            f"No scene could be used. Expected at least one, received {found} inputs, all rejected; "
            f"first reason: {rows[0]['reason']} Nothing was made: delete '{options.out}' before the next try."
        )
    _write_inputs(options.out, rows)
    shards.write_text(options.out / MANIFEST, [manifest.to_json()])
    _remove_work(options.out, tasks)
    return _summary(manifest, rows, len(tasks) - len(left), began)


def plan(options: MakeOptions, recipe: Recipe) -> tuple[list[ShardTask], list[Rejected], int]:
    """Every decision: which scenes, which split and shard, how many variants.

    Returns:
        The tasks, the inputs rejected by their names alone, and the number of inputs found.
    """
    engine.check_workers(options.workers if options.workers is not None else 1)
    variants = sampling.count_variants(recipe, options.variants)
    reading = options.reading()
    _check_convention(reading, recipe)
    found, rejected = scenes.find_scenes(options.images, options.depth, options.image_pattern, options.depth_pattern)
    found = sorted(found, key=lambda ref: records.hash_order(ref.key))[: options.limit]
    total = len(found) + len(rejected)
    split_of, left_out = _split(found, options)
    used = [ref for ref in found if ref.key in split_of]
    if not used:
        raise RefusedError(_nothing_found(options, rejected, total))
    pixels = _pixels_of(used[0], reading)
    scene_mb = BYTES_PER_PIXEL[options.codec] * pixels * variants / 1e6
    per_shard = max(1, round(options.shard_mb / scene_mb))
    plans = shards.plan_shards(used, split_of, per_shard)
    settings = (reading, recipe, variants, options.seed, options.codec, options.quality, options.maps)
    return [ShardTask(p, options.out, *settings) for p in plans], rejected + left_out, total


def versions() -> dict[str, str]:
    """Versions of what decides the bytes of a dataset."""
    return {
        "hazegen": _own_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "machine": platform.machine(),
    }


def _own_version() -> str:
    from importlib.metadata import version

    return version("hazegen")


def _check_convention(reading: Reading, recipe: Recipe) -> None:
    if reading.fov_deg is not None:
        focal_px(reading.fov_deg, 1)
    if reading.camera is None:
        DepthFormat(**reading.depth_format)
    elif "unit" in reading.depth_format:
        DepthFormat(unit=reading.depth_format["unit"])
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


def _deciding(task: ShardTask) -> dict[str, Any]:
    """What decides the bytes beside inputs and recipe, without the machine's paths."""
    reading = dataclasses.asdict(task.reading)
    reading = {name: reading[name] for name in ("depth_format", "fov_deg", "fit_depth")}
    reading["camera_files"] = task.reading.camera is not None
    names = ("variants", "seed", "codec", "quality", "maps")
    return {"reading": reading, **{name: getattr(task, name) for name in names}}


def _collect(
    out: Path, tasks: list[ShardTask], rejected: list[Rejected], header: dict[str, Any]
) -> tuple[Manifest, list[dict[str, Any]]]:
    """The manifest and the table of inputs, from the results of all shards."""
    rows = [input_row(r.key, r.image, r.depth, "rejected", "", r.code, r.reason) for r in rejected]
    made: list[Shard] = []
    sizes: list[tuple[int, int]] = []
    for task in tasks:
        result = json.loads(shards.result_path(out, task.plan.name).read_bytes())
        made.append(Shard(**result["shard"]))
        rows += result["rows"]
        sizes += result["sizes"]
    used = Counter(row["split"] for row in rows if row["fate"] == "used")
    found = header["found"]
    assert found == len(rows), (found, len(rows))
    manifest = Manifest(
        kind="pairs",
        color_space=header["recipe"]["color_space"],
        inputs={"found": found, "used": used.total(), "rejected": found - used.total()},
        smallest={"height": min((h for h, _ in sizes), default=0), "width": min((w for _, w in sizes), default=0)},
        splits={s: {"scenes": used[s], "records": sum(x.records for x in made if x.split == s)} for s in SPLITS},
        shards=tuple(sorted(made, key=lambda shard: shard.name)),
        **{name: value for name, value in header.items() if name != "found"},
    )
    return manifest, rows


def _write_inputs(out: Path, rows: list[dict[str, Any]]) -> None:
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, INPUT_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    shards.write_text(out / INPUTS, [table.getvalue()])


def _remove_work(out: Path, tasks: list[ShardTask]) -> None:
    for task in tasks:
        shards.result_path(out, task.plan.name).unlink(missing_ok=True)
    if (out / shards.WORK).exists():
        (out / shards.WORK).rmdir()


def _summary(manifest: Manifest, rows: list[dict[str, Any]], reused: int, began: float) -> Made:
    refused = [row for row in rows if row["fate"] == "rejected"]
    codes = Counter(str(row["code"]) for row in refused)
    reasons = [str(row["reason"]) for row in refused if row["code"] != "left-out"]
    return Made(manifest, dict(codes), next(iter(reasons), ""), reused, time.monotonic() - began)


def _finished_before(out: Path, tasks: list[ShardTask], began: float) -> Made:
    """The summary of a dataset that is there already, after a look whether all its shards still are."""
    known = load(out)
    for shard in known.shards:
        path = out / shard.name
        if not path.is_file() or path.stat().st_size != shard.bytes:
            raise VerifyError(
                f"'{out}' is finished but damaged. Expected shard '{shard.name}' of {shard.bytes} bytes, received "
                "another size or no file. Run hazegen verify, then make it again in a new folder."
            )
    _remove_work(out, tasks)
    with (out / INPUTS).open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return _summary(known, list(csv.DictReader(file)), len(tasks), began)
