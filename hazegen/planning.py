"""What hazegen make decides before any work: inputs, splits, shards, and what the bytes depend on."""

import dataclasses
import gc
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from hazegen import engine, images, pairing, sampling, scenes, shards, splits, stores
from hazegen.depth import containers, conventions, estimation, formats
from hazegen.depth.formats import from_camera_file
from hazegen.depth.options import check_reading
from hazegen.errors import HazegenError, RefusedError, UsageError
from hazegen.fingerprints import versions
from hazegen.make_options import MakeOptions
from hazegen.manifest import PLAN
from hazegen.pairing import Rejected, SceneRef
from hazegen.reading import Reading
from hazegen.recipe import Recipe
from hazegen.shards import ShardPlan
from hazegen.variants import Settings

# Fields of Reading and of Settings that a plan's header has as they are.
KEPT = ("convention", "fov_deg", "fit_depth", "sparse_scale", "flat_m", "depth_entries")
DECIDING = ("kind", "variants", "seed", "codec", "quality", "maps")
# Mean size of an encoded pixel, for the size of shards alone: JPEG 95 4:4:4, PNG and raw, both images of a pair.
BYTES_PER_PIXEL = {"jpeg": 0.75, "png": 3.2, "raw": 6.0}
BYTES_PER_DISTANCE = 2


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        shards: All of them, with their scenes.
        settings: What decides the records of every scene.
        rejected: Inputs rejected by their names alone.
        found: Number of inputs.
        others: Number of files whose names are of another pattern or format, which are no inputs.
        scene_bytes: About how many bytes the records of a scene take.
    """

    shards: list[ShardPlan]
    settings: Settings
    rejected: list[Rejected]
    found: int
    others: int
    scene_bytes: float

    @property
    def scenes(self) -> Iterator[SceneRef]:
        """The scenes of all shards."""
        return (ref for shard in self.shards for ref in shard.scenes)


def plan(options: MakeOptions, recipe: Recipe, failed: Mapping[str, str] | None = None) -> Plan:
    """Every decision: which scenes, which split and shard, how many variants.

    Args:
        failed: Photos, and why the depth network gave no depth for them.
    """
    settings = settings_for(options, recipe)
    with _without_collection():
        return _plan(options, settings, failed or {})


@contextmanager
def _without_collection() -> Iterator[None]:
    """Keeps Python from looking for cycles: among millions of names it finds none, in a quarter of the time of all."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _plan(options: MakeOptions, settings: Settings, failed: Mapping[str, str]) -> Plan:
    reading = settings.reading
    found, rejected, others = find_inputs(options, reading, failed)
    found = shards.in_hash_order(found)[: options.limit]
    total = len(found) + len(rejected)
    split_of, left_out = _split(found, options)
    if left_out:
        found = [ref for ref in found if ref.key in split_of]
    if not found:
        raise RefusedError(_nothing_found(options, rejected + left_out, total))
    scene_bytes = _bytes_per_pixel(settings) * _pixels_of(found[0], reading)
    per_shard = max(1, round(options.shard_mb * 1e6 / scene_bytes))
    plans = shards.plan_shards(found, split_of, per_shard)
    return Plan(plans, settings, rejected + left_out, total, others, scene_bytes)


def _bytes_per_pixel(settings: Settings) -> float:
    """About how many bytes the records of a scene take for each of its pixels."""
    if settings.kind == "scenes":
        return BYTES_PER_PIXEL[settings.codec] / 2 + BYTES_PER_DISTANCE
    return BYTES_PER_PIXEL[settings.codec] * settings.variants


def settings_for(options: MakeOptions, recipe: Recipe) -> Settings:
    """What the options say of every scene, before any input is listed.

    Raises:
        UsageError: Options that contradict the recipe or each other.
    """
    engine.check_workers(options.workers if options.workers is not None else 1)
    variants = 1 if options.kind == "scenes" else sampling.count_variants(recipe, options.variants)
    if options.depth_model is not None and options.depth_values is None:
        raise UsageError(
            "Nobody says how the depth network is used. Expected ModelOptions beside depth_model, received none. Give "
            "make() its model."
        )
    reading = options.reading()
    check_reading(reading)
    _check_recipe(reading, recipe)
    _check_place(options)
    decided = {name: getattr(options, name) for name in DECIDING if name != "variants"}
    return Settings(reading, recipe, variants, **decided)


def _check_place(options: MakeOptions) -> None:
    """Refuses a dataset inside its own inputs, where it would be one of them the next time, or inside another one."""
    out = options.out.resolve()
    for name in ("images", "depth", "transmission", "camera", "sparse"):
        path = getattr(options, name)
        if path is None or stores.is_remote(path) != stores.is_remote(out):
            continue
        if out != path.resolve() and out.is_relative_to(path.resolve()):
            raise UsageError(
                f"--out lies inside of --{name}. Expected a folder elsewhere, received '{options.out}' in '{path}'. "
                "Choose another --out."
            )
    above = None if stores.is_remote(out) else next((one for one in out.parents if (one / PLAN).is_file()), None)
    if above is not None:
        raise UsageError(
            f"--out lies inside of another dataset. Expected a folder elsewhere, received '{options.out}' in "
            f"'{above}', which has a {PLAN}. Choose another --out."
        )


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
    first = shards.in_hash_order(found)[: options.limit]
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


def deciding(settings: Settings) -> dict[str, Any]:
    """What decides the bytes beside inputs and recipe, without the machine's paths."""
    reading: dict[str, Any] = {name: getattr(settings.reading, name) for name in KEPT}
    reading["depth_format"] = {name: _as_json(value) for name, value in settings.reading.depth_format.items()}
    reading["camera_files"] = settings.reading.camera is not None
    reading["sparse_files"] = settings.reading.sparse is not None
    return {"reading": reading, **{name: getattr(settings, name) for name in DECIDING}}


def _as_json(value: Any) -> Any:
    """A value of DepthFormat as JSON has it, which knows no infinity."""
    if isinstance(value, tuple):
        return [_as_json(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def header_of(settings: Settings, found: int, model: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The header of a plan: all that decides its dataset, beside the inputs.

    Args:
        found: Number of inputs.
        model: What decided the depth, where a network estimated it.
    """
    header = {"recipe": settings.recipe.as_dict(), "found": found, **deciding(settings), "versions": versions()}
    if model is not None:
        header["reading"] |= {"model": dict(model)}
    return header


def settings_of(
    header: Mapping[str, Any], images: Path, depth: Path | None, camera: Path | None = None, sparse: Path | None = None
) -> Settings:
    """What a plan's header says, for inputs that lie at these places.

    Args:
        depth: None where all pixels have one depth.

    Raises:
        UsageError: Files that the plan was made with are not given, or others are.
        RefusedError: The header cannot be read.
    """
    from hazegen import config

    try:
        told = header["reading"]
        check_same_files(told, depth, camera, sparse)
        try:
            recipe = config.build(Recipe, header["recipe"], "recipe.")
        except UsageError as error:  # no option of the user said it
            raise RefusedError(f"The recipe of the plan cannot be used: {error}") from None
        kept = {name: told[name] for name in KEPT}
        fmt = {name: _from_json(name, value) for name, value in told["depth_format"].items()}
        reading = Reading(images, depth or images, camera, depth_format=fmt, sparse=sparse, **kept)
        conventions.find(reading.convention)
        return Settings(reading, recipe, **{name: header[name] for name in DECIDING})
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, HazegenError):
            raise
        raise RefusedError(
            "The plan's header cannot be read. Expected what hazegen make wrote, received: "
            f"{type(error).__name__}: {error}. Make the dataset again."
        ) from None


def check_same_files(reading: Mapping[str, Any], depth: Path | None, camera: Path | None, sparse: Path | None) -> None:
    """Raises UsageError unless the same kinds of files are given as the plan was made with."""
    for name, path in (("camera", camera), ("sparse", sparse)):
        if (were_given := reading[f"{name}_files"]) != (path is not None):
            raise UsageError(
                f"The plan was made with{'' if were_given else 'out'} --{name}. Expected the same again, received "
                f"{path or 'none'}. {'Add' if were_given else 'Leave out'} --{name}."
            )
    if reading["flat_m"] is None and depth is None:
        raise UsageError("The plan was made with depth maps. Expected --depth, received none. Add it.")


def _from_json(name: str, value: Any) -> Any:
    """A value of DepthFormat from what `_as_json` made of it."""
    if isinstance(value, list):
        return tuple(float(one) for one in value)
    return float(value) if isinstance(value, str) and name not in formats.TEXTS else value
