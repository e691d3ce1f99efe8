"""The plan of a dataset, its atomic files, and what is left to do of it."""

import filecmp
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hazegen import stores
from hazegen.errors import RefusedError
from hazegen.manifest import MANIFEST, PLAN, Shard
from hazegen.pairing import SceneRef
from hazegen.records import frame, hash_order

# Results of finished shards lie here until the manifest is written.
WORK = ".work"


@dataclass(frozen=True)
class ShardPlan:
    """One unit of work: the scenes of one shard, in the order of their keys' hashes."""

    name: str
    split: str
    scenes: tuple[SceneRef, ...]


def plan_shards(scenes: list[SceneRef], splits: dict[str, str], scenes_per_shard: int) -> list[ShardPlan]:
    """Deals the scenes of each split to shards, in hash order, as evenly as whole scenes allow.

    Args:
        splits: Split of each scene's key.
        scenes_per_shard: Most scenes in a shard.
    """
    by_split: dict[str, list[SceneRef]] = {}
    for scene in sorted(scenes, key=lambda scene: hash_order(scene.key)):
        by_split.setdefault(splits[scene.key], []).append(scene)
    plans: list[ShardPlan] = []
    for split, members in sorted(by_split.items()):
        count = -(-len(members) // scenes_per_shard)
        edges = [len(members) * number // count for number in range(count + 1)]
        for number in range(count):
            name = f"{split}-{number:05d}-of-{count:05d}.tfrecord"
            plans.append(ShardPlan(name, split, tuple(members[edges[number] : edges[number + 1]])))
    return plans


def write_plan(
    out: Path,
    header: dict[str, Any],
    plans: list[ShardPlan],
    fingerprint: Callable[[SceneRef], dict[str, Any]] = lambda _: {},
) -> None:
    """Writes the plan, or finds that the same one is there already and goes on with it.

    Args:
        fingerprint: What tells a scene's files from changed ones of the same names.

    Raises:
        RefusedError: The folder holds something else, or the plan of another run.
    """
    others = check_out(out)
    out.mkdir(parents=True, exist_ok=True)
    fresh = out / f"{PLAN}.tmp"
    with fresh.open("w", encoding="utf-8", errors="surrogateescape") as file:
        file.writelines(f"{line}\n" for line in _plan_lines(header, plans, fingerprint))
        file.flush()
        os.fsync(file.fileno())
    if not others:
        stores.publish(fresh, out / PLAN)
        return
    same = filecmp.cmp(fresh, out / PLAN, shallow=False)
    difference = None if same else _difference(out / PLAN, fresh)
    fresh.unlink()
    if difference:
        raise RefusedError(
            f"The output folder '{out}' holds a dataset of another plan. Expected the same inputs, recipe and seed, "
            f"received a different {difference}. Choose another --out, or delete the folder."
        )


def check_out(out: Path) -> list[str]:
    """The files that are in the output folder already: none, or those of an unfinished dataset.

    Raises:
        RefusedError: It is a file, or holds something else.
    """
    if out.exists() and not out.is_dir():
        raise RefusedError(
            f"The output '{out}' is a file. Expected a new folder, received a file. Choose another --out."
        )
    # A plan that was being written when its run was killed means nothing.
    others = [] if not out.exists() else [path.name for path in out.iterdir() if path.name != f"{PLAN}.tmp"]
    if others and PLAN not in others:
        raise RefusedError(
            f"The output folder '{out}' is not empty. Expected a new folder or an unfinished dataset of the same "
            f"plan, received {len(others)} other files, '{sorted(others)[0]}' among them. Choose another --out."
        )
    return others


def _plan_lines(
    header: dict[str, Any], plans: list[ShardPlan], fingerprint: Callable[[SceneRef], dict[str, Any]]
) -> Iterator[str]:
    yield json.dumps(header, sort_keys=True)
    for plan in plans:
        for scene in plan.scenes:
            line: dict[str, Any] = {"shard": plan.name, "key": scene.key, "image": scene.image, "depth": scene.depth}
            line |= {} if scene.frame is None else {"frame": scene.frame}
            yield json.dumps(line | fingerprint(scene), sort_keys=True)


def _difference(old: Path, new: Path) -> str:
    """Name of the first entry of the plan's header that differs; else the inputs do."""
    with old.open(encoding="utf-8") as first, new.open(encoding="utf-8") as second:
        try:
            was, now = json.loads(first.readline()), json.loads(second.readline())
        except ValueError:
            return "plan (the old one cannot be read)"
    for name in sorted(was.keys() | now.keys()):
        if was.get(name) != now.get(name):
            return f"{name}: {was.get(name)} before, {now.get(name)} now"
    return "list or content of inputs, splits, or size of shards"


def write_shard(path: Path, records: Iterable[bytes]) -> Shard:
    """Writes a TFRecord file under its final name only when all of it is on the disk."""
    digest, size, count = hashlib.sha256(), 0, 0
    with stores.whole_file(path) as file:
        for record in records:
            framed = frame(record)
            file.write(framed)
            digest.update(framed)
            size, count = size + len(framed), count + 1
    return Shard(path.name, path.name.split("-")[0], size, count, digest.hexdigest())


def result_path(out: Path, name: str) -> Path:
    """Where the result of a finished shard is kept until the manifest is written."""
    return out / WORK / f"{name}.json"


def is_done(out: Path, plan: ShardPlan) -> bool:
    """Whether this shard was finished by an earlier run of the same plan."""
    try:
        result = json.loads(result_path(out, plan.name).read_bytes())
        return (out / plan.name).stat().st_size == result["shard"]["bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def is_finished(out: Path) -> bool:
    """Whether the dataset has its manifest."""
    return (out / MANIFEST).is_file()
