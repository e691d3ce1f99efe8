"""Builds one shard: the unit of work of hazegen make."""

import dataclasses
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import cv2

from hazegen import engine, memory, records, scenes, shards, stores, variants
from hazegen.fingerprints import DIGEST_COLUMNS, fingerprint, versions
from hazegen.manifest import Shard
from hazegen.pairing import SceneRef
from hazegen.scenes import Scene
from hazegen.shards import ShardPlan
from hazegen.variants import Settings

INPUT_COLUMNS = ("key", "image", "depth", "split", "fate", "code", "reason")
# Of the used inputs alone: what the depth file was taken to mean, and what was found in it.
DEPTH_COLUMNS = ("depth_kind", "depth_values", "depth_unit", "holes", "sky", "largest_m")
COLUMNS = (*INPUT_COLUMNS, *DEPTH_COLUMNS, *DIGEST_COLUMNS)
# Records of one shard are kept in memory up to so many bytes, beyond that on the disk: a shard of the usual 64 MB
# stays in memory, a scene of a thousand variants does not fill it.
IN_MEMORY = 96 * 1024 * 1024


@dataclass(frozen=True)
class ShardTask:
    """All that a worker needs to know to build one shard."""

    plan: ShardPlan
    out: Path
    settings: Settings


@dataclass(frozen=True)
class Built:
    """A finished shard, and what the manifest is put together from.

    Attributes:
        shard: The file.
        rows: Lines of the table of inputs, in the order of the plan's scenes.
        sizes: Heights and widths of its images, each pair once [px].
        versions: Of what decided its bytes.
        peak_mb: Largest memory so far of the process that has built it [MB]; 0 of one that was built before.
    """

    shard: Shard
    rows: list[dict[str, Any]]
    sizes: list[tuple[int, int]]
    versions: dict[str, str]
    peak_mb: float = 0.0


def build_shard(task: ShardTask, report: engine.Report) -> Built:
    """Builds one shard, and beside it the result that the manifest is put together from.

    Args:
        report: Is called with the number of pairs just done.
    """
    cv2.setNumThreads(1)  # the workers are the parallelism
    rows: list[dict[str, Any]] = []
    sizes: set[tuple[int, int]] = set()
    places: list[tuple[bytes, int, int]] = []
    with tempfile.SpooledTemporaryFile(IN_MEMORY, dir=_scratch(task.out)) as pile:
        for ref in task.plan.scenes:
            digests = fingerprint(ref, task.settings.reading)
            try:
                scene = scenes.load(ref, task.settings.reading, task.settings.recipe)
            except scenes.SceneRejected as error:
                rows.append(input_row(ref, code=error.code, reason=str(error)) | digests)
                report(task.settings.variants)
                continue
            rows.append(_used_row(ref, scene, task) | digests)
            height, width = scene.clean.shape[:2]
            sizes.add((height, width))
            for key, record in variants.scene_records(scene, task.settings):
                places.append((records.hash_order(key), pile.tell(), len(record)))
                pile.write(record)
                report(1)
        shard = shards.write_shard(task.out / task.plan.name, _in_hash_order(pile, places))
    built = Built(shard, rows, sorted(sizes), versions(), memory.peak_mb())
    write_result(task.out, built)
    return built


def _scratch(out: Path) -> str | None:
    """Folder for the records that do not fit in memory: on the dataset's disk, if it has one."""
    if stores.is_remote(out):
        return None
    (out / shards.WORK).mkdir(parents=True, exist_ok=True)
    return str(out / shards.WORK)


def _in_hash_order(pile: IO[bytes], places: list[tuple[bytes, int, int]]) -> Iterator[bytes]:
    """The records by the hashes of their keys, beside which stands where they begin and how long they are."""
    for _, start, length in sorted(places):
        pile.seek(start)
        yield pile.read(length)


def write_result(out: Path, built: Built) -> None:
    """Writes down a finished shard's result, until the manifest is written."""
    path = shards.result_path(out, built.shard.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in dataclasses.asdict(built).items() if name != "peak_mb"}
    stores.write_text(path, [json.dumps(kept)])


def read_result(out: Path, name: str) -> Built:
    """The result of a finished shard, as `write_result` has written it.

    Raises:
        OSError, ValueError, KeyError, TypeError: There is none, or it is no such file.
    """
    content = json.loads(shards.result_path(out, name).read_bytes())
    sizes = [(int(height), int(width)) for height, width in content["sizes"]]
    rows, tools = [dict(row) for row in content["rows"]], dict(content["versions"])
    return Built(Shard(**content["shard"]), rows, sizes, tools)


def input_row(ref: SceneRef, *, split: str = "", code: str = "", reason: str = "") -> dict[str, Any]:
    """One line of the table of inputs: of a scene that is used in a split, or rejected for a reason."""
    fate = "rejected" if code else "used"
    row = zip(INPUT_COLUMNS, (ref.key, ref.image, ref.depth, split, fate, code, reason), strict=True)
    return dict.fromkeys(COLUMNS, "") | dict(row)


def _used_row(ref: SceneRef, scene: Scene, task: ShardTask) -> dict[str, Any]:
    fmt = scene.depth_format
    unit = 1.0 if fmt.unit is None else fmt.unit
    meant = (task.settings.reading.convention, fmt.values, unit)
    shares = (f"{scene.holes:.6f}", f"{scene.sky:.6f}", f"{scene.largest_m:.6g}")
    return input_row(ref, split=task.plan.split) | dict(zip(DEPTH_COLUMNS, (*meant, *shares), strict=True))
