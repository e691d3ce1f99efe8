"""Where each pair of some finished datasets lies: what split, merge and sample choose from, without a picture."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hazegen import engine, heads, manifest, stores
from hazegen.errors import RefusedError, UsageError, VerifyError
from hazegen.manifest import Manifest, Shard
from hazegen.records import Kind, hash_order

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
    """All records of some datasets of one kind: 46 bytes for each, and the key of each scene.

    Attributes:
        keys: Of the scenes, as they are called in the new dataset.
        splits: Split of each scene in the dataset that it comes from.
        sizes: Height and width of each scene [px], (scenes, 2).
        pairs: One row of PAIR for each record; of a scene without haze its variant is 0, and the haze's numbers NaN.
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
    whole: bool
    kind: Kind


@dataclass(frozen=True)
class _Part:
    """The pairs of one shard; their `scene` counts within it."""

    task: _Task
    keys: list[str]
    sizes: list[tuple[int, int]]
    pairs: NDArray[np.void]


def check_outside(out: Path, folders: Iterable[Path]) -> None:
    """Refuses to write into a dataset that is read.

    Raises:
        UsageError: `out` is one of the folders, or lies in one.
    """
    for folder in folders:
        inside = stores.is_remote(out) == stores.is_remote(folder) and out.resolve().is_relative_to(folder.resolve())
        if inside:
            raise UsageError(
                f"--out lies in the dataset that is read. Expected a folder outside of '{folder}', received '{out}'. "
                "Choose another --out."
            )


def read_index(sources: Sequence[Source], workers: int, *, whole: bool) -> Index:
    """Reads what each record says of itself, without its pictures.

    Args:
        whole: Each shard is read whole for it and held against its SHA-256, as those in a store always are: what
            passes over pictures there takes more time than reading them.

    Raises:
        VerifyError: A shard or a table is not what its manifest says, or the scenes of one are spread over several.
        RefusedError: Two datasets have a scene of the same key.
    """
    tasks: list[_Task] = []
    for source, given in enumerate(sources):
        manifest.check_tables(given.folder, given.known)
        manifest.check_shards(given.folder, given.known.shards)
        _check_numbers(given.known.shards)
        how = (given.prefix, whole or stores.is_remote(given.folder), given.known.kind)
        shards = enumerate(given.known.shards)
        tasks += [_Task(source, number, given.folder / s.name, s, *how) for number, s in shards if s.records]
    begins = np.cumsum([0, *(task.shard.records for task in tasks)]).tolist()
    begin_of = {(task.source, task.number): begin for task, begin in zip(tasks, begins, strict=False)}
    pairs = np.empty(begins[-1], PAIR)
    parts = []
    with tqdm(total=len(pairs), unit=sources[0].known.unit, desc="looking", disable=None) as bar:
        for part in engine.run(_read_shard, tasks, workers, bar.update):
            begin = begin_of[part.task.source, part.task.number]
            place = pairs[begin : begin + len(part.pairs)]
            place[:] = part.pairs
            parts.append(dataclasses.replace(part, pairs=place))
    return _join(sorted(parts, key=lambda part: (part.task.source, part.task.number)), pairs)


def _check_numbers(shards: Iterable[Shard]) -> None:
    """Refuses numbers of records that the files are too small for, before memory is taken for them."""
    for shard in shards:
        most = shard.bytes // (heads.BEFORE + heads.AFTER)
        if shard.records > most:
            raise VerifyError(
                f"Shard '{shard.name}' is not what the manifest says. Expected {shard.records} records, received a "
                f"file that has room for {most}. {heads.ADVICE}"
            )


def _read_shard(task: _Task, report: engine.Report) -> _Part:
    scenes: dict[str, int] = {}
    sizes: list[tuple[int, int]] = []
    rows = []
    for head in heads.read_heads(task.path, task.shard.sha256 if task.whole else None, task.kind):
        told = head.values
        key = task.prefix + told["scene"]
        number = scenes.setdefault(key, len(scenes))
        if number == len(sizes):
            sizes.append((told["height"], told["width"]))
        order = int.from_bytes(hash_order(task.prefix + told["key"])[:8])
        place = (task.source, task.number, head.offset, head.length)
        haze = (told.get(name, math.nan) for name in ("visibility_m", "mean_transmission"))
        rows.append((number, told.get("variant", 0), order, *place, *haze))
        report(1)
    pairs = np.array(rows, PAIR)
    if len(pairs) != task.shard.records or len(np.unique(pairs[["scene", "variant"]])) != len(pairs):
        raise VerifyError(
            f"Shard '{task.shard.name}' is not what the manifest says. Expected {task.shard.records} different "
            f"{task.kind}, received {len(pairs)}, or one twice. {heads.ADVICE}"
        )
    return _Part(task, list(scenes), sizes, pairs)


def _join(parts: list[_Part], pairs: NDArray[np.void]) -> Index:
    """All parts, whose rows `pairs` holds in their order, as one, with scenes numbered through."""
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
    return Index(
        keys=list(owners),
        splits=[part.task.shard.split for part in parts for _ in part.keys],
        sizes=np.array([size for part in parts for size in part.sizes], np.int64).reshape(-1, 2),
        pairs=pairs,
    )


def _check_other_source(key: str, first: _Task, second: _Task) -> None:
    if first.source == second.source:
        raise VerifyError(
            f"Scene '{key}' is spread over several shards. Expected all its pairs in one, received them in "
            f"'{first.shard.name}' and '{second.shard.name}'. Run hazegen verify {first.path.parent}."
        )
