"""What a dataset's manifest, plan and table of inputs tell of each other, where one of them is lost."""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hazegen import collect, config, engine, records, sampling, shards, verify
from hazegen.depth import conventions
from hazegen.derive_manifest import read_inputs
from hazegen.errors import HazegenError, RefusedError, UsageError, VerifyError
from hazegen.fingerprints import DIGEST_COLUMNS
from hazegen.manifest import INPUTS, MANIFEST, PLAN, SEAL, SPLITS, TABLES, About, Manifest, Shard, seal, sha256
from hazegen.pairing import SceneRef
from hazegen.planning import DECIDING
from hazegen.recipe import Recipe
from hazegen.shards import ShardPlan

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Read:
    """What lies under the name of a shard, held against the plan.

    Attributes:
        shard: As a manifest would state it.
        sizes: Heights and widths of its pictures [px].
        problem: Empty where it holds exactly the pairs that the plan gives it, in their order, all checksums right.
    """

    shard: Shard
    sizes: set[tuple[int, int]]
    problem: str


@dataclass(frozen=True)
class _Task:
    path: Path
    plan: ShardPlan
    keys: list[str]


# --- the manifest, from plan, table and shards ---


def read_shards(folder: Path, workers: int, report: engine.Report) -> list[Read]:
    """All shards of the plan, held against plan and inputs.csv.

    Raises:
        RefusedError, VerifyError: Plan or inputs.csv cannot be read, or the plan is that of a derived dataset.
    """
    header, plans = shards.read_plan(folder)
    check_own_plan(header)
    used = {row["key"] for row in read_inputs(folder) if row["fate"] == "used"}
    recipe = _recipe(header)
    tasks = (_Task(folder / plan.name, plan, _keys(plan, used, recipe, header)) for plan in plans)
    return sorted(engine.run(_read_shard, tasks, workers, report), key=lambda read: read.shard.name)


# What the header of a plan has to say, and as what.
HEADER = {"recipe": dict, "reading": dict, "versions": dict, "found": int, "variants": int, "seed": int}


def check_own_plan(header: Mapping[str, Any]) -> None:
    """Refuses a plan that holds no scenes, as those of split, merge and sample.

    Raises:
        VerifyError: It is one, or no plan at all.
    """
    sound = all(isinstance(header.get(name), kind) for name, kind in HEADER.items()) and {*DECIDING} <= header.keys()
    if not sound:
        verb = f"hazegen {header['derived']}" if "derived" in header else "another program"
        raise VerifyError(
            f"The plan does not say how shards are built. Expected one that hazegen make wrote, received that of "
            f"{verb}. Give the command that made the dataset again, with --out NEW."
        )


def _recipe(header: Mapping[str, Any]) -> Recipe:
    try:
        return config.build(Recipe, header["recipe"], "recipe.")
    except UsageError as error:
        raise VerifyError(f"The recipe of the plan cannot be used: {error}") from None


def _keys(plan: ShardPlan, used: set[str], recipe: Recipe, header: Mapping[str, Any]) -> list[str]:
    """Keys of the pairs of a shard, in their order."""
    keys = [
        f"{ref.key}#{haze.variant:04d}"
        for ref in plan.scenes
        if ref.key in used
        # Which variants a scene has depends neither on its unit nor on its light.
        for haze in sampling.draw_variants(
            recipe, header["seed"], ref.key, header["variants"], 1.0, np.ones(3, np.float32)
        )
    ]
    return sorted(keys, key=records.hash_order)


def _read_shard(task: _Task, report: engine.Report) -> Read:
    digest, size = hashlib.sha256(), 0
    sizes: set[tuple[int, int]] = set()
    keys: list[str] = []
    problem = ""
    try:
        for record in records.read_shard(task.path):
            framed = records.frame(record)
            digest.update(framed)
            size += len(framed)
            values = records.decode(record)
            keys.append(values["key"])
            sizes.add((values["height"], values["width"]))
            report(1)
    except (OSError, HazegenError, ValueError) as error:
        problem = verify.problem_of(verify.of_the_file(task.path, error))
    if not problem and keys != task.keys:
        problem = f"expected the {len(task.keys)} pairs of the plan in their order, received {len(keys)} others"
    return Read(Shard(task.plan.name, task.plan.split, size, len(keys), digest.hexdigest()), sizes, problem)


def manifest_again(folder: Path, reads: Sequence[Read]) -> tuple[Manifest, bool]:
    """The manifest of a dataset whose own is lost, edited or damaged.

    Plan, inputs.csv and shards tell all of it but licence, citation, source, and other versions that some shards were
    made with. These are taken from what lies there only where the digest that it carries proves the whole.

    Returns:
        The manifest, and whether it is proven to be the lost one.

    Raises:
        RefusedError, VerifyError: inputs.csv does not list what the plan does.
    """
    header, _ = shards.read_plan(folder)
    rows = list(read_inputs(folder))
    scenes = Counter(row["split"] for row in rows if row["fate"] == "used")
    if header["found"] != len(rows) or not set(scenes) <= set(SPLITS):
        raise VerifyError(
            f"'{folder / INPUTS}' is not what the plan says. Expected its {header['found']} inputs, received "
            f"{len(rows)} in the splits {sorted(scenes)}. Copy the file again, or make the dataset again."
        )
    sizes = {size for read in reads for size in read.sizes}
    made = [read.shard for read in reads]
    known = Manifest(
        kind="pairs",
        color_space=header["recipe"]["color_space"],
        inputs={"found": len(rows), "used": scenes.total(), "rejected": len(rows) - scenes.total()},
        smallest={"height": min((h for h, _ in sizes), default=0), "width": min((w for _, w in sizes), default=0)},
        splits={s: {"scenes": scenes[s], "records": sum(x.records for x in made if x.split == s)} for s in SPLITS},
        shards=tuple(made),
        reading=header["reading"] | _meant(rows),
        tables={name: sha256(folder / name) for name in TABLES},
        **{name: header[name] for name in ("recipe", "versions", *DECIDING)},
    )
    return _as_proven(known, _lost(folder))


def _meant(rows: Iterable[Row]) -> dict[str, list[Any]]:
    """What the used depth files were taken to mean, as the manifest lists it."""
    used = [row for row in rows if row["fate"] == "used"]
    found = {plural: {row[name] for row in used} for name, plural in collect.MEANT.items()}
    return {name: sorted(map(float, values) if name == "depth_units" else values) for name, values in found.items()}


def _lost(folder: Path) -> dict[str, Any]:
    """What can still be read of a manifest that is not to be trusted."""
    try:
        content = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _as_proven(known: Manifest, lost: Mapping[str, Any]) -> tuple[Manifest, bool]:
    """`known` with the licence and the other versions of the lost manifest, if that is proven to have been the same."""
    # Either of the two may be what was edited. Where it was the digest, nothing proves them.
    for names in (("about", "also_made_with"), ("about",), ("also_made_with",), ()):
        try:
            about = About(**lost["about"]) if "about" in names else known.about
            tools = tuple(lost["also_made_with"]) if "also_made_with" in names else ()
            candidate = dataclasses.replace(known, about=about, also_made_with=tools)
        except (KeyError, TypeError, ValueError):
            continue
        if seal(dataclasses.asdict(candidate)) == lost.get(SEAL):
            return candidate, True
    return known, False


# --- the plan, from manifest and table ---


def plan_again(folder: Path, known: Manifest) -> list[str] | None:
    """The lines of the plan, as the manifest's digest of it proves; None where they cannot be told."""
    try:
        header = {name: getattr(known, name) for name in ("recipe", "versions", *DECIDING)}
        reading = {name: value for name, value in known.reading.items() if name not in collect.MEANT.values()}
        header |= {"found": known.inputs["found"], "reading": reading}
        plans = list(_plans(known, list(read_inputs(folder)), conventions.find(reading["convention"]).stack))
    except (FileNotFoundError, RefusedError, VerifyError, KeyError, ValueError):
        return None
    lines = list(shards.plan_lines(header, plans))
    return lines if _digest(lines) == known.tables[PLAN] else None


def _plans(known: Manifest, rows: Sequence[Row], stacked: bool) -> Iterator[ShardPlan]:
    by_split: dict[str, list[SceneRef]] = {}
    for split, row in _in_plan(rows):
        number = int(row["key"].rpartition("/")[2]) if stacked else None
        by_split.setdefault(split, []).append(SceneRef(row["key"], row["image"], row["depth"], number))
    for split, refs in sorted(by_split.items()):
        count = max(1, sum(shard.split == split for shard in known.shards))
        # As many scenes in a shard as give this number of shards again.
        yield from shards.plan_shards(refs, {ref.key: split for ref in refs}, -(-len(refs) // count))


def _in_plan(rows: Sequence[Row]) -> Iterator[tuple[str, Row]]:
    """The inputs that stand in the plan, in its order, each with its split.

    Inputs that were rejected by their names come first, and have no digests. Of those that were rejected when they
    were read, the table does not say the split: it is that of the row before, as long as hashes of keys rise.
    """
    first = next((n for n, row in enumerate(rows) if any(row[name] for name in DIGEST_COLUMNS)), len(rows))
    split, last = "", b""
    for number, row in enumerate(rows[first:], first):
        order = records.hash_order(row["key"])
        if row["fate"] == "used":
            split = row["split"]
        elif not split or order < last:
            split = next((one["split"] for one in rows[number:] if one["fate"] == "used"), split)
        last = order
        yield split, row


# --- the table, from plan and inputs ---


def table_again(folder: Path, known: Manifest, built: Iterable[Sequence[Row]]) -> list[str] | None:
    """The lines of inputs.csv, as the manifest's digest of it proves; None where they cannot be told.

    Args:
        built: The rows of all scenes of the plan, shard by shard. Those of inputs that were rejected by their names
            are taken from what is left of the table.
    """
    rows = [row for rows in built for row in rows]
    keys = {row["key"] for row in rows}
    lines = list(collect.table([*(row for row in _left_of_table(folder) if row["key"] not in keys), *rows]))
    return lines if _digest(lines) == known.tables[INPUTS] else None


def _left_of_table(folder: Path) -> list[Row]:
    rows: list[Row] = []
    try:
        for row in read_inputs(folder):
            rows.append(row)
    except (FileNotFoundError, VerifyError):
        pass  # what came before the damage
    return rows


def _digest(lines: Iterable[str]) -> str:
    told = hashlib.sha256()
    for line in lines:
        told.update(line.encode("utf-8", "surrogateescape"))
    return told.hexdigest()
