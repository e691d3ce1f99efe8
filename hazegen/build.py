"""Builds one shard: the unit of work of hazegen make. Each scene in it takes four calls."""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hazegen import color, engine, images, light, records, render, sampling, scenes, shards
from hazegen.pairing import SceneRef
from hazegen.reading import Reading
from hazegen.recipe import Recipe
from hazegen.scenes import Scene
from hazegen.shards import ShardPlan

SUFFIX = {"jpeg": ".jpg", "png": ".png"}
INPUT_COLUMNS = ("key", "image", "depth", "split", "fate", "code", "reason")
# Of the used inputs alone: what the depth file was taken to mean, and what was found in it.
DEPTH_COLUMNS = ("depth_kind", "depth_values", "depth_unit", "holes", "sky", "largest_m")


@dataclass(frozen=True)
class ShardTask:
    """All that a worker needs to know to build one shard."""

    plan: ShardPlan
    out: Path
    reading: Reading
    recipe: Recipe
    variants: int
    seed: int
    codec: images.Codec
    quality: int
    maps: bool


def build_shard(task: ShardTask, report: engine.Report) -> None:
    """Builds one shard, and beside it the result that the manifest is put together from."""
    cv2.setNumThreads(1)  # the pool of workers is the parallelism
    encoded: dict[str, bytes] = {}
    rows: list[dict[str, Any]] = []
    sizes: list[tuple[int, int]] = []
    for ref in task.plan.scenes:
        try:
            scene = scenes.load(ref, task.reading, task.recipe)
        except scenes.SceneRejected as error:
            rows.append(input_row(ref.key, ref.image, ref.depth, "rejected", "", error.code, str(error)))
            report(task.variants)
            continue
        rows.append(_used_row(ref, scene, task))
        sizes.append(scene.clean.shape[:2])
        for key, record in scene_records(scene, task):
            encoded[key] = record
            report(1)
    shard = shards.write_shard(
        task.out / task.plan.name, (encoded[key] for key in sorted(encoded, key=records.hash_order))
    )
    result = {"shard": dataclasses.asdict(shard), "rows": rows, "sizes": sorted(set(sizes))}
    shards.write_text(shards.result_path(task.out, task.plan.name), [json.dumps(result)])


def scene_records(scene: Scene, task: ShardTask) -> Iterator[tuple[str, bytes]]:
    """Key and record of each variant of one scene."""
    recipe, suffix = task.recipe, SUFFIX[task.codec]
    clean = images.encode(scene.clean, suffix, task.quality)
    for haze in draw_haze(scene, recipe, task.seed, task.variants):
        rendered = render.render(scene.clean, scene.distance_m, haze, recipe.color_space, scene.camera)
        values: dict[str, Any] = {
            "key": f"{scene.key}#{haze.variant:04d}",
            "scene": scene.key,
            "variant": haze.variant,
            "clean": clean,
            "hazy": images.encode(rendered.hazy, suffix, task.quality),
            "height": scene.clean.shape[0],
            "width": scene.clean.shape[1],
            "beta": haze.beta,
            "atmospheric_light": haze.atmospheric_light,
            "visibility_m": haze.visibility_m,
            "mean_transmission": float(rendered.transmission.mean(dtype=np.float64)),
            "haze": json.dumps(sampling.as_json_fields(haze), sort_keys=True),
        }
        if task.maps:
            values["transmission"] = images.encode(_map(rendered.transmission), ".png")
        yield values["key"], records.encode(values)


def draw_haze(scene: Scene, recipe: Recipe, seed: int, variants: int) -> list[sampling.HazeParams]:
    """The haze of each variant of one scene."""
    unit_m = sampling.metres_per_unit(recipe, scene.largest_m)
    estimated = None
    if isinstance(recipe.atmospheric_light, str):
        estimated = light.estimate(scene.clean, scene.distance_m, recipe.atmospheric_light, recipe.color_space)
    return sampling.draw_variants(recipe, seed, scene.key, variants, unit_m, estimated)


def _map(transmission: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Transmission in 16 bits: one channel, or three where the haze has colour."""
    pixels = color.to_uint16(transmission)
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def input_row(key: str, image: str, depth: str, fate: str, split: str, code: str, reason: str) -> dict[str, Any]:
    """One line of the table of inputs."""
    row = dict(zip(INPUT_COLUMNS, (key, image, depth, split, fate, code, reason), strict=True))
    return row | dict.fromkeys(DEPTH_COLUMNS, "")


def _used_row(ref: SceneRef, scene: Scene, task: ShardTask) -> dict[str, Any]:
    fmt = scene.depth_format
    unit = 1.0 if fmt.unit is None else fmt.unit
    meant = (task.reading.convention, fmt.values, unit)
    shares = (f"{scene.holes:.6f}", f"{scene.sky:.6f}", f"{scene.largest_m:.6g}")
    row = input_row(ref.key, ref.image, ref.depth, "used", task.plan.split, "", "")
    return row | dict(zip(DEPTH_COLUMNS, (*meant, *shares), strict=True))
