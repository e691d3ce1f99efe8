"""New datasets from finished ones: hazegen split, merge and sample. Records are copied, no picture is encoded again.

What lies where is decided from an index of the sources before any record is copied, so that neither the number
of workers nor an interruption changes a byte of the result.
"""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hazegen import card, engine, heads, locks, manifest, records, shards, stores
from hazegen.derive_index import Index, Source, check_outside, read_index
from hazegen.derive_manifest import Tables, check_agreement, manifest_of, write_inputs
from hazegen.errors import RefusedError, UsageError
from hazegen.manifest import INPUTS, MANIFEST, PLAN, Manifest, Shard
from hazegen.pairing import SceneRef

# What a run makes in its folder before its plan.
OURS = (shards.WORK, locks.NAME)
# These copy every record, so that each shard is read whole anyway.
WHOLE = ("split", "merge")


@dataclass(frozen=True, kw_only=True)
class CopyOptions:
    """How records are copied.

    Attributes:
        shard_mb: Size that shards are planned for.
        workers: Threads that work at once [default: all cores].
    """

    shard_mb: float = 64.0
    workers: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.shard_mb < math.inf:
            raise UsageError(
                f"--shard-mb is out of range. Expected a number above 0, received {self.shard_mb}. Change --shard-mb."
            )
        engine.check_workers(1 if self.workers is None else self.workers)


@dataclass(frozen=True)
class Choice:
    """What a new dataset consists of.

    Attributes:
        splits: Split of each scene that is in it, by key.
        pairs: Of each row of the index, whether it may be in it: it is, if its scene is.
        rejected: Whether the inputs that were rejected in the sources are listed.
        left_out: Why scenes that are not in it count as rejected inputs; where empty, they are not listed.
    """

    splits: Mapping[str, str]
    pairs: NDArray[np.bool_]
    rejected: bool
    left_out: str = ""


@dataclass(frozen=True)
class Derived:
    """What a run of split, merge or sample did.

    Attributes:
        out: Folder of the new dataset.
        manifest: Of it.
        reused: Number of shards that an earlier run had finished.
        finished_before: Whether there was nothing to do.
        seconds: Time taken.
    """

    out: Path
    manifest: Manifest
    reused: int
    finished_before: bool
    seconds: float


@dataclass(frozen=True)
class _Task:
    """One shard: the numbers of its pairs in the index, in the order of their keys' hashes."""

    name: str
    out: Path
    sources: Sequence[Source]
    index: Index
    rows: NDArray[np.int64]


def derive(
    verb: str,
    sources: Sequence[Source],
    out: Path,
    options: CopyOptions,
    decided: Mapping[str, Any],
    choose: Callable[[Index], Choice],
) -> Derived:
    """Makes the new dataset, or what an interrupted run has left of it, and its card.

    Args:
        decided: The options that decide its bytes, without the machine's paths.
        choose: What is in it.

    Raises:
        UsageError, RefusedError, VerifyError, OSError: As their classes say; nothing finished is lost.
    """
    began = time.monotonic()
    check_outside(out, (source.folder for source in sources))
    check_agreement([source.known for source in sources])
    header = {
        "derived": verb,
        "options": {"shard_mb": options.shard_mb, **decided},
        "sources": [manifest.digest(source.known) for source in sources],
    }
    if _is_finished(out, header):
        with locks.lock(out):
            return _finished_before(out, began)
    workers = options.workers or engine.cores()
    index = read_index(sources, workers, whole=verb in WHOLE)
    choice = choose(index)
    tasks = _deal(index, choice, sources, out, options.shard_mb)
    if not stores.is_remote(out):
        (out / shards.WORK).mkdir(parents=True, exist_ok=True)
    with locks.lock(out):
        if _is_finished(out, header):
            return _finished_before(out, began)
        if not stores.write_new(out / PLAN, [json.dumps(header, sort_keys=True) + "\n"]):
            _check_same(out, header)
        left = [task for task in tasks if _result(task) is None]
        unit = sources[0].known.unit
        with tqdm(total=sum(len(task.rows) for task in left), unit=unit, desc="copying", disable=None) as bar:
            for _ in engine.run(_copy_shard, left, workers, bar.update):
                pass
        known = _finish(sources, index, choice, tasks)
    return Derived(out, known, len(tasks) - len(left), False, time.monotonic() - began)


# --- the folder: claimed first, marked last ---


def _is_finished(out: Path, header: Mapping[str, Any]) -> bool:
    """Whether the folder holds the same dataset finished; it may be new, empty, or hold it unfinished.

    Raises:
        RefusedError: It holds something else.
    """
    if not out.exists():
        return False
    if (out / PLAN).is_file():
        _check_same(out, header)
        return (out / MANIFEST).is_file()
    # What a run that was killed before it wrote its plan has left means nothing.
    names = (path.name for path in out.iterdir()) if out.is_dir() else iter([out.name])
    other = next((name for name in names if name not in OURS and not stores.is_temporary(name)), None)
    if other is not None:
        raise RefusedError(
            f"'{out}' cannot take the dataset. Expected a new or empty folder, or the same dataset unfinished, "
            f"received {f'a folder with {other!r} in it' if out.is_dir() else 'a file'}. Choose another --out."
        )
    return False


def _check_same(out: Path, header: Mapping[str, Any]) -> None:
    try:
        with (out / PLAN).open("rb") as file:
            before = json.loads(file.readline(1 << 20))
        was, now = _flat(before), _flat(header)
    except (ValueError, AttributeError):
        was, now = {"plan": "one that cannot be read"}, {"plan": "this one"}
    different = next((name for name in was | now if was.get(name) != now.get(name)), None)
    if different is not None:
        raise RefusedError(
            f"'{out}' holds another dataset. Expected the same sources and options, received another {different}: "
            f"{was.get(different, 'nothing')} before, {now.get(different, 'nothing')} now. Choose another --out, or "
            "delete the folder."
        )


def _flat(header: Mapping[str, Any]) -> dict[str, Any]:
    return {"verb": header.get("derived"), "source": header.get("sources"), **header.get("options", {})}


def _finished_before(out: Path, began: float) -> Derived:
    """The summary of a dataset that is there already, after a look whether all its shards still are."""
    known = manifest.load(out)
    manifest.check_shards(out, known.shards)
    _remove_work(out, known)
    card.write_missing(out)
    return Derived(out, known, len(known.shards), True, time.monotonic() - began)


# --- the shards ---


def _deal(index: Index, choice: Choice, sources: Sequence[Source], out: Path, shard_mb: float) -> list[_Task]:
    """Deals whole scenes to shards, in hash order, as hazegen make does."""
    wanted = np.array([key in choice.splits for key in index.keys], bool)
    rows = np.flatnonzero(choice.pairs & wanted[index.pairs["scene"]])
    if not len(rows):
        known = sources[0].known
        raise RefusedError(
            f"No {known.unit} is left. Expected at least one, received {len(index.pairs)} {known.kind} of "
            f"{len(index.keys)} scenes, "
            "none of them chosen. Change the options that choose."
        )
    present = [index.keys[number] for number in np.unique(index.pairs["scene"][rows])]
    scene_mb = float(index.pairs["length"][rows].sum()) / len(present) / 1e6
    refs = shards.in_hash_order(SceneRef(key, "", "") for key in present)
    plans = shards.plan_shards(refs, choice.splits, max(1, round(shard_mb / scene_mb)))
    shard_of = {scene.key: number for number, plan in enumerate(plans) for scene in plan.scenes}
    number_of = np.array([shard_of.get(key, 0) for key in index.keys], np.int32)[index.pairs["scene"][rows]]
    order = np.lexsort((index.pairs["order"][rows], number_of))
    edges = np.searchsorted(number_of[order], np.arange(len(plans) + 1))
    rows = rows[order]
    parts = (rows[edges[number] : edges[number + 1]] for number in range(len(plans)))
    return [_Task(plan.name, out, sources, index, part) for plan, part in zip(plans, parts, strict=True)]


def _copy_shard(task: _Task, report: engine.Report) -> None:
    shard = shards.write_shard(task.out / task.name, _records(task, report))
    path = shards.result_path(task.out, task.name)
    stores.write_text(path, [json.dumps({"shard": dataclasses.asdict(shard)})])


def _records(task: _Task, report: engine.Report) -> Iterator[bytes]:
    for row in task.index.pairs[task.rows]:
        source = task.sources[row["source"]]
        path = source.folder / source.known.shards[row["shard"]].name
        record = heads.read_record(path, int(row["offset"]), int(row["length"]))
        yield _renamed(record, source.prefix, source.known.kind) if source.prefix else record
        report(1)


def _renamed(record: bytes, prefix: str, kind: records.Kind) -> bytes:
    """The record with `prefix` before its key and its scene; the bytes of its pictures are what they were."""
    values = records.decode(record, kind)
    return records.encode(values | {name: prefix + values[name] for name in ("key", "scene")}, kind)


def _result(task: _Task) -> Shard | None:
    """The shard, where an earlier run of the same command has finished it."""
    try:
        told = json.loads(shards.result_path(task.out, task.name).read_bytes())
        shard = Shard(**told["shard"])
        size = (task.out / task.name).stat().st_size
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return shard if (size, shard.records) == (shard.bytes, len(task.rows)) else None


# --- the end ---


def _finish(sources: Sequence[Source], index: Index, choice: Choice, tasks: Sequence[_Task]) -> Manifest:
    """Writes inputs.csv, the manifest and the card; removes what was kept for a resume."""
    out = tasks[0].out
    made = [shard for task in tasks if (shard := _result(task)) is not None]
    assert len(made) == len(tasks), (len(made), len(tasks))
    scenes = index.pairs["scene"][np.concatenate([task.rows for task in tasks])]
    present, pairs = np.unique(scenes, return_counts=True)
    splits = {index.keys[number]: choice.splits[index.keys[number]] for number in present}
    tables = Tables(splits, choice.rejected, choice.left_out)
    counts = write_inputs(out / INPUTS, sources, tables)
    known = manifest_of(
        [source.known for source in sources], made, splits, counts, index.sizes[present], int(pairs.max())
    )
    known = manifest.write(out, known)
    _remove_work(out, known)
    card.write_missing(out)
    return known


def _remove_work(out: Path, known: Manifest) -> None:
    if (out / shards.WORK).exists():
        for shard in known.shards:
            shards.result_path(out, shard.name).unlink(missing_ok=True)
        (out / shards.WORK).rmdir()
