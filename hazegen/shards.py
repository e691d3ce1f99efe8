"""The plan of a dataset, its shards, and what is there of them already."""

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path
from typing import Any, cast

from hazegen import stores
from hazegen.errors import RefusedError
from hazegen.manifest import MANIFEST, PLAN, SPLITS, Shard, is_plain
from hazegen.pairing import SceneRef
from hazegen.records import frame, hash_order

# Results of finished shards lie here until the manifest is written.
WORK = ".work"
# Held while a run works in the folder; see locks.py.
LOCK = ".lock"
# So many differences between two plans are told.
SHOWN = 5
# Bytes of a plan's first line that its digest is of: it has some 3,000.
MOST_OF_HEADER = 1 << 20


@dataclass(frozen=True)
class ShardPlan:
    """One unit of work: the scenes of one shard, in the order of their keys' hashes."""

    name: str
    split: str
    scenes: tuple[SceneRef, ...]


def plan_shards(ordered: Sequence[SceneRef], splits: Mapping[str, str], scenes_per_shard: int) -> list[ShardPlan]:
    """Deals the scenes of each split to shards, as evenly as whole scenes allow.

    Args:
        ordered: In hash order, which each shard keeps.
        splits: Split of each scene's key.
        scenes_per_shard: Most scenes in a shard.
    """
    by_split: dict[str, list[SceneRef]] = {}
    for scene in ordered:
        by_split.setdefault(splits[scene.key], []).append(scene)
    plans: list[ShardPlan] = []
    for split, members in sorted(by_split.items()):
        rest = iter(members)
        for name, size in sizes_of_shards(split, len(members), -(-len(members) // scenes_per_shard)):
            plans.append(ShardPlan(name, split, tuple(itertools.islice(rest, size))))
    return plans


def sizes_of_shards(split: str, scenes: int, count: int) -> Iterator[tuple[str, int]]:
    """Names of the shards of a split, and how many of its scenes each has."""
    for number in range(count):
        size = scenes * (number + 1) // count - scenes * number // count
        yield f"{split}-{number:05d}-of-{count:05d}.tfrecord", size


def in_hash_order(scenes: Iterable[SceneRef]) -> list[SceneRef]:
    """The scenes in the order in which shards hold them."""
    return sorted(scenes, key=lambda scene: hash_order(scene.key))


def write_plan(
    out: Path, header: Mapping[str, Any], plans: Iterable[ShardPlan], *, other_versions: bool = False
) -> bool:
    """Writes the plan, or finds that the same one is there already.

    Args:
        other_versions: Whether a plan of other versions, but the same in all else, is gone on with.

    Returns:
        Whether it is new.

    Raises:
        RefusedError: There is the plan of another run.
    """
    plans = list(plans)
    if not (out / PLAN).exists() and stores.write_new(out / PLAN, plan_lines(header, plans)):
        return True
    check_same(out, header, plans, other_versions=other_versions)
    return False


def check_same(
    out: Path, header: Mapping[str, Any], plans: Sequence[ShardPlan], *, other_versions: bool = False
) -> None:
    """Raises RefusedError unless the plan in a folder is this one."""
    told, _ = read_plan(out)
    if told.get("found") != header.get("found"):  # what differs first is what the user has changed
        check_header(out, told | {"found": header.get("found")}, header, other_versions=other_versions)
        counts = f"found: {told.get('found')} before, {header.get('found')} now"
        raise another_plan(out, f"list of inputs, {counts}{_new_and_gone(out, plans)}")
    check_header(out, told, header, other_versions=other_versions)
    with (out / PLAN).open("rb") as file:
        was = (line.decode("ascii", "replace") for line in itertools.islice(file, 1, None))
        now = itertools.islice(plan_lines(header, plans), 1, None)
        same = all(old == new for old, new in itertools.zip_longest(was, now))
    if not same:
        raise another_plan(out, f"list of inputs, splits, or size of shards{_new_and_gone(out, plans)}")


def _new_and_gone(out: Path, plans: Iterable[ShardPlan]) -> str:
    """The first scene that the plan in a folder does not have, and the first that is in it alone, in words."""
    before = {ref.key for plan in read_plan(out)[1] for ref in plan.scenes}
    now = {ref.key for plan in plans for ref in plan.scenes}
    named = {"new": min(now - before, default=None), "gone": min(before - now, default=None)}
    return "".join(f"; {what}: '{key}'" for what, key in named.items() if key is not None)


def plan_lines(header: Mapping[str, Any], plans: Iterable[ShardPlan]) -> Iterator[str]:
    """The lines of a plan: its header, then one for each scene."""
    yield json.dumps(header, sort_keys=True) + "\n"
    for plan in plans:
        shard = quoted(plan.name)
        for scene in plan.scenes:
            # As json.dumps has it, in a fifth of the time: a plan may have millions of lines.
            number = "" if scene.frame is None else f'"frame": {scene.frame}, '
            names = f'"image": {quoted(scene.image)}, "key": {quoted(scene.key)}'
            yield f'{{"depth": {quoted(scene.depth)}, {number}{names}, "shard": {shard}}}\n'


def read_plan(out: Path) -> tuple[dict[str, Any], Iterator[ShardPlan]]:
    """The header of a plan, and its shards one by one as they are read.

    Raises:
        RefusedError: There is none, or it cannot be read; of its shards, while they are read: also where a name is
            none of a shard, for files of these names are written and removed.
    """
    try:
        with (out / PLAN).open("rb") as file:
            header = json.loads(file.readline())
    except FileNotFoundError:
        raise _no_plan(out) from None
    except (ValueError, RecursionError) as error:
        raise _unreadable(out, error) from None
    if not isinstance(header, dict):
        raise _unreadable(out, TypeError(f"its first line is no mapping but {type(header).__name__}"))
    return header, _read_shards(out)


def plan_digest(out: Path) -> str:
    """SHA-256 of the first line of a plan: what tells it from another one in the same folder.

    Raises:
        RefusedError: There is none.
    """
    path = out / PLAN
    try:
        if stores.is_remote(path):
            # One request for the line alone: a plan may have hundreds of megabytes.
            line = cast(Any, path).read_part(0, MOST_OF_HEADER).partition(b"\n")[0]
        else:
            with path.open("rb") as file:
                line = file.readline().rstrip(b"\n")
    except FileNotFoundError:
        raise _no_plan(out) from None
    return hashlib.sha256(line[:MOST_OF_HEADER]).hexdigest()


def _read_shards(out: Path) -> Iterator[ShardPlan]:
    try:
        with (out / PLAN).open("rb") as file:
            lines = (json.loads(line) for line in itertools.islice(file, 1, None))
            for name, members in itertools.groupby(lines, lambda line: line["shard"]):
                _check_name(name)
                scenes = tuple(SceneRef(m["key"], m["image"], m["depth"], m.get("frame")) for m in members)
                yield ShardPlan(name, name.split("-")[0], scenes)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _unreadable(out, error) from None


def _no_plan(out: Path) -> RefusedError:
    return RefusedError(
        f"'{out}' has no plan. Expected a {PLAN} in it, received none. Check the path, or run hazegen make."
    )


def _check_name(name: object) -> None:
    if not is_plain(name) or str(name).split("-")[0] not in SPLITS:
        raise ValueError(f"a shard of the name {name!r}, which is none")


def _unreadable(out: Path, error: Exception) -> RefusedError:
    return RefusedError(
        f"'{out / PLAN}' cannot be read. Expected the plan that hazegen make wrote, received: "
        f"{type(error).__name__}: {error}. Run hazegen repair {out}, or delete the folder and make the dataset again."
    )


def check_header(out: Path, told: Mapping[str, Any], now: Mapping[str, Any], *, other_versions: bool = False) -> None:
    """Holds the header of the plan in a folder against that of this run.

    Raises:
        RefusedError: They differ; names what does, at most SHOWN of it, and of versions all.
    """
    if "derived" in told:
        raise another_plan(out, f"dataset: it was made by hazegen {told['derived']}")
    now = json.loads(json.dumps(now))
    if found := list(_differences({**told, "versions": {}}, {**now, "versions": {}})):
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise another_plan(out, "; ".join(found[:SHOWN]) + more)
    differing = differing_versions(told.get("versions", {}), now["versions"])
    if differing and not other_versions:
        raise RefusedError(
            f"The dataset in '{out}' is of other versions, which may give other bytes. Expected those of its plan, "
            f"received another {differing}. Install them again, pass --accept-versions to go on with these (the "
            "manifest will say so), or --restart to begin anew."
        )


def _differences(told: Mapping[str, Any], now: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """What differs between two headers, each with its name, as recipe.visibility_m."""
    for name in sorted(told.keys() | now.keys()):
        before, after = told.get(name), now.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{above}{name}.")
        elif before != after:
            yield f"{above}{name}: {before} before, {after} now"


def differing_versions(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The versions that differ, in words; empty where none does."""
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    return "; ".join(f"{name}: {before.get(name)} before, {now.get(name)} now" for name in names)


def another_plan(out: Path, difference: str) -> RefusedError:
    """The refusal to mix two datasets in one folder."""
    return RefusedError(
        f"The output folder '{out}' holds a dataset of another plan. Expected the same inputs, recipe and seed, "
        f"received a different {difference}. Choose another --out, or pass --restart to remove it and begin anew."
    )


def check_out(out: Path) -> bool:
    """Whether the output folder holds a plan already; what killed runs leave before it means nothing.

    Raises:
        RefusedError: It is a file, or holds something else than a dataset.
    """
    if out.is_file():
        raise RefusedError(
            f"The output '{out}' is a file. Expected a new folder, received a file. Choose another --out."
        )
    others = [name for name in listing(out) if name != LOCK and not stores.is_temporary(name)]
    if PLAN not in others and set(others) - {WORK}:
        raise RefusedError(
            f"The output folder '{out}' is not empty. Expected a new folder or an unfinished dataset of the same "
            f"plan, received {len(others)} other files, '{sorted(others)[0]}' among them. Choose another --out."
        )
    return PLAN in others


def listing(folder: Path) -> set[str]:
    """Names of what lies in a folder, by one listing; empty where there is none."""
    try:
        return {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return set()


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


def is_finished(out: Path) -> bool:
    """Whether the dataset has its manifest."""
    return (out / MANIFEST).is_file()
