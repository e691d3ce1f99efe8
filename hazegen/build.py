"""Builds one shard: the unit of work of hazegen make."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from hazegen import engine, records, scenes, shards, stores, variants
from hazegen.pairing import SceneRef
from hazegen.scenes import Scene
from hazegen.shards import ShardPlan
from hazegen.variants import Settings

INPUT_COLUMNS = ("key", "image", "depth", "split", "fate", "code", "reason")
# Of the used inputs alone: what the depth file was taken to mean, and what was found in it.
DEPTH_COLUMNS = ("depth_kind", "depth_values", "depth_unit", "holes", "sky", "largest_m")


@dataclass(frozen=True)
class ShardTask:
    """All that a worker needs to know to build one shard."""

    plan: ShardPlan
    out: Path
    settings: Settings


def build_shard(task: ShardTask, report: engine.Report) -> None:
    """Builds one shard, and beside it the result that the manifest is put together from."""
    cv2.setNumThreads(1)  # the pool of workers is the parallelism
    encoded: dict[str, bytes] = {}
    rows: list[dict[str, Any]] = []
    sizes: list[tuple[int, int]] = []
    for ref in task.plan.scenes:
        try:
            scene = scenes.load(ref, task.settings.reading, task.settings.recipe)
        except scenes.SceneRejected as error:
            rows.append(input_row(ref.key, ref.image, ref.depth, "rejected", "", error.code, str(error)))
            report(task.settings.variants)
            continue
        rows.append(_used_row(ref, scene, task))
        sizes.append(scene.clean.shape[:2])
        for key, record in variants.scene_records(scene, task.settings):
            encoded[key] = record
            report(1)
    shard = shards.write_shard(
        task.out / task.plan.name, (encoded[key] for key in sorted(encoded, key=records.hash_order))
    )
    result = {"shard": dataclasses.asdict(shard), "rows": rows, "sizes": sorted(set(sizes))}
    stores.write_text(shards.result_path(task.out, task.plan.name), [json.dumps(result)])


def input_row(key: str, image: str, depth: str, fate: str, split: str, code: str, reason: str) -> dict[str, Any]:
    """One line of the table of inputs."""
    row = dict(zip(INPUT_COLUMNS, (key, image, depth, split, fate, code, reason), strict=True))
    return row | dict.fromkeys(DEPTH_COLUMNS, "")


def _used_row(ref: SceneRef, scene: Scene, task: ShardTask) -> dict[str, Any]:
    fmt = scene.depth_format
    unit = 1.0 if fmt.unit is None else fmt.unit
    meant = (task.settings.reading.convention, fmt.values, unit)
    shares = (f"{scene.holes:.6f}", f"{scene.sky:.6f}", f"{scene.largest_m:.6g}")
    row = input_row(ref.key, ref.image, ref.depth, "used", task.plan.split, "", "")
    return row | dict(zip(DEPTH_COLUMNS, (*meant, *shares), strict=True))
