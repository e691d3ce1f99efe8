"""Where each pair of some finished datasets lies: what split, merge and sample choose from, without a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hazegen import engine, heads, manifest
from hazegen.errors import RefusedError, VerifyError
from hazegen.manifest import Manifest, Shard
from hazegen.records import hash_order

# One pair: number of its scene, its place in the order of keys' hashes, and where it lies.
PAIR = np.dtype(
    [("scene", np.uint32), ("variant", np.uint32), ("order", np.uint64), ("source", np.uint16), ("shard", np.uint32)]
    + [("offset", np.uint64), ("length", np.uint64), ("visibility_m", np.float32), ("mean_transmission", np.float32)]
)


@dataclass(frozen=True)
class Source:
    """A finished dataset that pairs are taken from, and what its scenes' keys get before them ('' or 'NAME/')."""

    folder: Path
    known: Manifest
    prefix: str = ""


@dataclass(frozen=True)
class Index:
    """All pairs of some datasets: 46 bytes for each, and the key of each scene.

    Attributes:
        keys: Of the scenes, as they are called in the new dataset.
        splits: Split of each scene in the dataset that it comes from.
        sizes: Height and width of each scene [px], (scenes, 2).
        pairs: One row of PAIR for each pair.
    """

    keys: list[str]
    splits: list[str]
    sizes: NDArray[np.int64]
    pairs: NDArray[np.void]


@dataclass(frozen=True)
class _Task:
    source: int
    number: int
    path: Path
    shard: Shard
    prefix: str


@dataclass(frozen=True)
class _Part:
    """The pairs of one shard; their `scene` counts within it."""

    task: _Task
    keys: list[str]
    sizes: list[tuple[int, int]]
    pairs: NDArray[np.void]


def read_index(sources: Sequence[Source], workers: int) -> Index:
    """Reads what each record says of itself, without its pictures.

    Raises:
        VerifyError: A shard is not what its manifest says, or its scenes are spread over several.
        RefusedError: Two datasets have a scene of the same key.
    """
    tasks: list[_Task] = []
    for source, given in enumerate(sources):
        manifest.check_shards(given.folder, given.known.shards)
        shards = enumerate(given.known.shards)
        tasks += [_Task(source, number, given.folder / s.name, s, given.prefix) for number, s in shards if s.records]
    total = sum(task.shard.records for task in tasks)
    with tqdm(total=total, unit="pair", desc="looking", disable=None) as bar:
        parts = list(engine.run(_read_shard, tasks, workers, bar.update))
    return _join(sorted(parts, key=lambda part: (part.task.source, part.task.number)))


def _read_shard(task: _Task, report: engine.Report) -> _Part:
    scenes: dict[str, int] = {}
    sizes: list[tuple[int, int]] = []
    rows = []
    for head in heads.read_heads(task.path):
        told = head.values
        key = task.prefix + told["scene"]
        number = scenes.setdefault(key, len(scenes))
        if number == len(sizes):
            sizes.append((told["height"], told["width"]))
        order = int.from_bytes(hash_order(task.prefix + told["key"])[:8])
        place = (task.source, task.number, head.offset, head.length)
        rows.append((number, told["variant"], order, *place, told["visibility_m"], told["mean_transmission"]))
        report(1)
    pairs = np.array(rows, PAIR)
    if len(pairs) != task.shard.records or len(np.unique(pairs[["scene", "variant"]])) != len(pairs):
        raise VerifyError(
            f"Shard '{task.shard.name}' is not what the manifest says. Expected {task.shard.records} different pairs, "
            f"received {len(pairs)}, or one twice. Run hazegen verify {task.path.parent}, and make it again."
        )
    return _Part(task, list(scenes), sizes, pairs)


def _join(parts: list[_Part]) -> Index:
    """All parts as one, with scenes numbered through."""
    owners: dict[str, _Task] = {}
    twice: list[str] = []
    for part in parts:
        for key in part.keys:
            if owners.setdefault(key, part.task) is not part.task:
                _check_other_source(key, owners[key], part.task)
                twice.append(key)
        part.pairs["scene"] += len(owners) - len(part.keys) if not twice else 0
    if twice:
        raise RefusedError(
            f"{len(twice)} scenes have the same key in two datasets, '{sorted(twice)[0]}' among them. Expected "
            "different keys. If these are different photos, pass --prefix NAME,NAME to put a folder before each "
            "dataset's keys; if they are the same, merge only one of the datasets."
        )
    empty = np.empty(0, PAIR)
    return Index(
        keys=list(owners),
        splits=[part.task.shard.split for part in parts for _ in part.keys],
        sizes=np.array([size for part in parts for size in part.sizes], np.int64).reshape(-1, 2),
        pairs=np.concatenate([empty, *(part.pairs for part in parts)]),
    )


def _check_other_source(key: str, first: _Task, second: _Task) -> None:
    if first.source == second.source:
        raise VerifyError(
            f"Scene '{key}' is spread over several shards. Expected all its pairs in one, received them in "
            f"'{first.shard.name}' and '{second.shard.name}'. Run hazegen verify {first.path.parent}."
        )
