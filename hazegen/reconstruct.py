"""The manifest of a dataset that has lost it, told again from its plan, its table of inputs and its shards."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hazegen import collect, config, engine, records, resume, sampling, shards, verify
from hazegen.errors import HazegenError, RefusedError, UsageError, VerifyError
from hazegen.manifest import INPUTS, MANIFEST, SEAL, SPLITS, TABLES, About, Manifest, Shard, seal, sha256
from hazegen.planning import DECIDING
from hazegen.recipe import Recipe
from hazegen.records import SCHEMA_VERSION
from hazegen.shards import ShardPlan


@dataclass(frozen=True)
class Read:
    """What lies under the name of a shard, held against the plan.

    Attributes:
        shard: As a manifest would state it.
        sizes: Heights and widths of its pictures [px].
        problem: Empty where it holds exactly the records that the plan gives it, in their order, all checksums right.
    """

    shard: Shard
    sizes: set[tuple[int, int]]
    problem: str


@dataclass(frozen=True)
class _Task:
    path: Path
    plan: ShardPlan
    used: frozenset[str]
    recipe: Recipe
    header: Mapping[str, Any]


def read_shards(folder: Path, workers: int, report: engine.Report) -> list[Read]:
    """All shards of the plan, held against plan and inputs.csv.

    Raises:
        RefusedError, VerifyError: Plan or inputs.csv cannot be read, or the plan is that of a derived dataset.
    """
    header, _ = shards.read_plan(folder)
    check_own_plan(header)
    recipe = _recipe(header)
    tasks = (
        _Task(folder / plan.name, plan, frozenset(r["key"] for r in rows if r["fate"] == "used"), recipe, header)
        for plan, rows in resume.with_rows(folder)
    )
    return sorted(engine.run(_read_shard, tasks, workers, report), key=lambda read: read.shard.name)


# What the header of a plan has to say, and as what.
HEADER = {"recipe": dict, "reading": dict, "versions": dict, "found": int}
HEADER |= {"kind": str, "variants": int, "seed": int, "codec": str, "quality": int, "maps": bool}
# No record is smaller: the names of its features take more.
LEAST_BYTES = 100


def check_own_plan(header: Mapping[str, Any]) -> None:
    """Refuses a plan that holds no scenes, as those of split, merge and sample.

    Raises:
        VerifyError: It is one, or no plan at all.
    """
    sound = all(isinstance(header.get(name), kind) for name, kind in HEADER.items()) and {*DECIDING} <= header.keys()
    sound = sound and header["kind"] in records.TABLES
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


def _keys(task: _Task) -> list[str]:
    """Keys of the records of a shard, in their order."""
    if task.header["kind"] == "scenes":
        return sorted(task.used, key=records.hash_order)
    seed, variants = task.header["seed"], task.header["variants"]
    keys = [
        f"{ref.key}#{haze.variant:04d}"
        for ref in task.plan.scenes
        if ref.key in task.used
        # Which variants a scene has depends neither on its unit nor on its light.
        for haze in sampling.draw_variants(task.recipe, seed, ref.key, variants, 1.0, np.ones(3, np.float32))
    ]
    return sorted(keys, key=records.hash_order)


def _read_shard(task: _Task, report: engine.Report) -> Read:
    digest, size = hashlib.sha256(), 0
    sizes: set[tuple[int, int]] = set()
    keys: list[str] = []
    problem = ""
    count = len(task.used) * task.header["variants"]
    expected = f"expected the {count} {task.header['kind']} of the plan"
    try:
        # Before keys are drawn: the header may claim any number of variants.
        if count * LEAST_BYTES > (bytes_ := task.path.stat().st_size):
            raise VerifyError(f"{expected}, received {bytes_} bytes, which cannot hold them")
        for record in records.read_shard(task.path):
            framed = records.frame(record)
            digest.update(framed)
            size += len(framed)
            values = records.decode(record, task.header["kind"])
            keys.append(values["key"])
            sizes.add((values["height"], values["width"]))
            report(1)
    except (OSError, HazegenError, ValueError) as error:
        problem = verify.problem_of(verify.of_the_file(task.path, error))
    if not problem and keys != _keys(task):
        problem = f"{expected} in their order, received {len(keys)} others"
    return Read(Shard(task.plan.name, task.plan.split, size, len(keys), digest.hexdigest()), sizes, problem)


def manifest_again(
    folder: Path, reads: Sequence[Read], tools: tuple[dict[str, str], ...] = ()
) -> tuple[Manifest, bool]:
    """The manifest of a dataset whose own is lost, edited or damaged.

    Plan, inputs.csv and shards tell all of it but licence, citation, source, and other versions that some shards were
    made with. These are taken from what lies there only where the digest that it carries proves the whole.

    Args:
        tools: Other versions than the plan's, that some shards have just been built with.

    Returns:
        The manifest, and whether it is proven to be the lost one.

    Raises:
        RefusedError, VerifyError: inputs.csv does not list what the plan does.
    """
    header, _ = shards.read_plan(folder)
    totals = collect.Totals()
    for read in reads:
        totals.add_shard(read.shard, read.sizes)
    try:
        for row in collect.read_table(folder):
            totals.add_row(row)
        known = collect.manifest_of(header, totals)
    except (KeyError, ValueError) as error:
        raise VerifyError(
            f"'{folder / INPUTS}' is not what hazegen make wrote. Expected its columns and numbers, received "
            f"{type(error).__name__}: {error}. Copy the file again, or make the dataset again."
        ) from None
    counts = totals.counts
    if header["found"] != counts.found or not set(counts.used) <= set(SPLITS):
        raise VerifyError(
            f"'{folder / INPUTS}' is not what the plan says. Expected its {header['found']} inputs, received "
            f"{counts.found} in the splits {sorted(counts.used)}. Copy the file again, or make the dataset again."
        )
    known = dataclasses.replace(known, tables={name: sha256(folder / name) for name in TABLES})
    known, proven = _as_proven(known, _lost(folder))
    # What is proven is the lost one, byte for byte: whatever was built again came out the same.
    return (known if proven else dataclasses.replace(known, also_made_with=tools)), proven


def check_version(folder: Path) -> None:
    """Refuses a manifest that is sound, but of another schema version: it must not be told again as one of ours.

    Raises:
        RefusedError: It is one.
    """
    content = _lost(folder)
    version, told = content.get("schema_version"), content.get(SEAL)
    # One without a digest is older than digests. Where the version was edited, the digest does not fit.
    if type(version) is int and version != SCHEMA_VERSION and told in (None, seal(content)):
        raise RefusedError(
            f"'{folder / MANIFEST}' has another schema version. Expected {SCHEMA_VERSION}, received {version}, and "
            "nothing that says it is damaged. Repair it with the hazegen that made it, or make the dataset again."
        )


def lost_about(folder: Path) -> dict[str, str]:
    """Licence, citation and source as a manifest states them that is not to be trusted; those that are text."""
    told = _lost(folder).get("about")
    texts = {name: told.get(name) for name in vars(About())} if isinstance(told, dict) else {}
    found = {name: text for name, text in texts.items() if isinstance(text, str) and text}
    try:
        About(**found)
    except UsageError:  # a secret in a URL is not repeated
        return {}
    return found


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
