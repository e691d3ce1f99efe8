"""Builds one shard: the unit of work of hazegen make."""

import dataclasses
import json
import platform
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import cv2

from hazegen import engine, manifest, memory, records, scene_records, scenes, shards, stores, variants, warm
from hazegen.errors import RefusedError, StoreError
from hazegen.fingerprints import DIGEST_COLUMNS, fingerprint, versions
from hazegen.manifest import Shard
from hazegen.pairing import SceneRef
from hazegen.reading import Reading
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
    """All that a worker needs to know to build one shard.

    Attributes:
        plan: Its scenes.
        out: Folder that it is written in.
        settings: What decides its records.
        of_plan: shards.plan_digest of the plan in `out`, which has to lie there still when the shard is done; empty
            where `out` is a work place without a plan.
    """

    plan: ShardPlan
    out: Path
    settings: Settings
    of_plan: str = ""


@dataclass(frozen=True)
class Built:
    """A finished shard, and what the manifest is put together from.

    Attributes:
        shard: The file.
        rows: Lines of the table of inputs, in the order of the plan's scenes.
        sizes: Heights and widths of its images, each pair once [px].
        versions: Of what decided its bytes.
        peak_mb: Largest memory so far of the process that has built it [MB]; 0 of one that was built before.
        of_plan: As its task has it.
    """

    shard: Shard
    rows: list[dict[str, Any]]
    sizes: list[tuple[int, int]]
    versions: dict[str, str]
    peak_mb: float = 0.0
    of_plan: str = ""


class _Finished(Exception):
    """The dataset has been finished meanwhile by others: this shard is a late twin, which nobody needs."""


def build_shard(task: ShardTask, report: engine.Report) -> Built:
    """Builds one shard, and beside it the result that the manifest is put together from.

    Args:
        report: Is called with the number of records just done.

    Raises:
        StoreError: This machine does not see the inputs.
        RefusedError: Another plan lies in the folder now; nothing was written.
    """
    check_reach(task.settings.reading)
    if task.settings.variants and task.settings.kind == "pairs":
        warm.keep_going_without_cache()
    cv2.setNumThreads(1)  # the workers are the parallelism
    rows: list[dict[str, Any]] = []
    sizes: set[tuple[int, int]] = set()
    with ExitStack() as stack:
        pile = _Pile(task.out, stack)
        for ref in task.plan.scenes:
            digests = fingerprint(ref, task.settings.reading)
            try:
                scene = scenes.load(ref, task.settings.reading, task.settings.recipe)
            except scenes.SceneRejected as error:
                split = task.plan.split
                rows.append(input_row(ref, split=split, code=error.code, reason=str(error)) | digests)
                continue
            rows.append(_used_row(ref, scene, task) | digests)
            height, width = scene.clean.shape[:2]
            sizes.add((height, width))
            for key, record in records_of(scene, task.settings):
                pile.add(key, record)
                report(1)
        try:
            shard = shards.write_shard(task.out / task.plan.name, _while_it_is_wanted(task, pile.in_hash_order()))
        except _Finished:
            shard = next(shard for shard in manifest.load(task.out).shards if shard.name == task.plan.name)
    built = Built(shard, rows, sorted(sizes), versions(), memory.peak_mb(), task.of_plan)
    if not task.of_plan or _is_wanted(task):
        write_result(task.out, built)
        if task.of_plan and not _is_wanted(task):  # finished in this very moment
            forget_result(task.out, task.plan.name)
    return built


def records_of(scene: Scene, settings: Settings) -> Iterator[tuple[str, bytes]]:
    """Key and record of each pair of a scene, or of the scene itself, whichever the settings say."""
    of_kind = scene_records.scene_records if settings.kind == "scenes" else variants.scene_records
    return of_kind(scene, settings)


def _while_it_is_wanted(task: ShardTask, parts: Iterator[bytes]) -> Iterator[bytes]:
    """The records; after the last, before the file gets its name, a look whether the dataset still waits for it."""
    yield from parts
    if task.of_plan and not _is_wanted(task):
        raise _Finished


def _is_wanted(task: ShardTask) -> bool:
    """Whether the dataset of the task's plan is not finished yet.

    Raises:
        RefusedError: Another plan lies there.
    """
    if shards.plan_digest(task.out) != task.of_plan:
        raise RefusedError(
            f"The plan in '{task.out}' was replaced while shard '{task.plan.name}' of the one before was built. "
            "Expected the plan that the task was given for, received another. Nothing was written; end all tasks of "
            "the old plan."
        )
    return not shards.is_finished(task.out)


def _scratch(out: Path) -> IO[bytes]:
    """A file without a name for the records that do not fit in memory: on the dataset's disk, if it has one."""
    if stores.is_remote(out):
        return tempfile.TemporaryFile()
    (out / shards.WORK).mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryFile(dir=out / shards.WORK)


@dataclass
class _Pile:
    """The records of a shard until all are there: in memory, and those beyond IN_MEMORY on the disk.

    Attributes:
        out: Folder of the shard.
        stack: Closes the file, if there is one.
        parts: For each record the hash of its key; itself, or where it begins in the file and how long it is.
    """

    out: Path
    stack: ExitStack
    parts: list[tuple[bytes, bytes | tuple[int, int]]] = field(default_factory=list)
    bytes: int = 0
    file: IO[Any] | None = None

    def add(self, key: str, record: Any) -> None:
        if self.bytes + len(record) <= IN_MEMORY:
            self.bytes += len(record)
            self.parts.append((records.hash_order(key), record))
            return
        if self.file is None:
            self.file = self.stack.enter_context(_scratch(self.out))
        self.parts.append((records.hash_order(key), (self.file.tell(), len(record))))
        self.file.write(record)

    def in_hash_order(self) -> Iterator[Any]:
        for _, part in sorted(self.parts, key=lambda part: part[0]):
            if isinstance(part, tuple):
                assert self.file is not None
                self.file.seek(part[0])
                yield self.file.read(part[1])
            else:
                yield part


def check_reach(reading: Reading) -> None:
    """Raises StoreError where a folder of the inputs is not there at all: no scene is bad for that.

    In a store an empty folder is none, and a store that cannot be reached says so itself.
    """
    folders = {"photos": reading.images} | ({"depth maps": reading.depth} if reading.flat_m is None else {})
    for name, path in folders.items():
        if not stores.is_remote(path) and not path.exists():
            raise StoreError(
                f"The folder of the {name} is not seen from here ({platform.node()}). Expected '{path}', received "
                "nothing of that name. Mount it under this name on every machine that builds shards, and run the same "
                "command again."
            )


def write_result(out: Path, built: Built) -> None:
    """Writes down a finished shard's result, until the manifest is written."""
    path = shards.result_path(out, built.shard.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in dataclasses.asdict(built).items() if name != "peak_mb"}
    stores.write_text(path, [json.dumps(kept)])


def forget_result(out: Path, name: str) -> None:
    """Removes the result of a shard, and the folder of results where it was the last one."""
    shards.result_path(out, name).unlink(missing_ok=True)
    if not stores.is_remote(out):
        with suppress(OSError):
            (out / shards.WORK).rmdir()


def read_result(out: Path, name: str) -> Built:
    """The result of a finished shard, as `write_result` has written it.

    Raises:
        OSError, ValueError, KeyError, TypeError: There is none, or it is no such file.
    """
    content = json.loads(shards.result_path(out, name).read_bytes())
    sizes = [(int(height), int(width)) for height, width in content["sizes"]]
    rows, tools = [dict(row) for row in content["rows"]], dict(content["versions"])
    return Built(Shard(**content["shard"]), rows, sizes, tools, of_plan=content["of_plan"])


def input_row(ref: SceneRef, *, split: str = "", code: str = "", reason: str = "") -> dict[str, Any]:
    """One line of the table of inputs: of a scene that is used, or rejected for a reason.

    Args:
        split: Of the shard that the plan puts the scene in, also where it was rejected when it was read; empty where
            it was rejected by its name, and no shard has it.
    """
    fate = "rejected" if code else "used"
    row = zip(INPUT_COLUMNS, (ref.key, ref.image, ref.depth, split, fate, code, reason), strict=True)
    return dict.fromkeys(COLUMNS, "") | dict(row)


def _used_row(ref: SceneRef, scene: Scene, task: ShardTask) -> dict[str, Any]:
    fmt = scene.depth_format
    unit = 1.0 if fmt.unit is None else fmt.unit
    meant = (task.settings.reading.convention, fmt.values, unit)
    shares = (f"{scene.holes:.6f}", f"{scene.sky:.6f}", f"{scene.largest_m:.6g}")
    return input_row(ref, split=task.plan.split) | dict(zip(DEPTH_COLUMNS, (*meant, *shares), strict=True))
