"""From the results of all shards to a finished dataset: the table of inputs, the manifest."""

import csv
import dataclasses
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hazegen import card, manifest, shards, stores
from hazegen.build import COLUMNS, Built, input_row, read_result
from hazegen.errors import RefusedError, VerifyError
from hazegen.manifest import INPUTS, MANIFEST, SPLITS, About, Manifest, Shard
from hazegen.pairing import Rejected, SceneRef
from hazegen.planning import DECIDING
from hazegen.shards import WORK, ShardPlan

# Inputs that no shard has, rejected by their names alone; kept until they stand in the table of inputs.
REJECTED = "rejected.jsonl"


@dataclass
class Counts:
    """What the table of inputs adds up to.

    Attributes:
        used: Scenes of each split.
        rejected: Inputs for each reason's code.
        first_reason: Why the first of them was rejected that nobody left out; empty where none was.
    """

    used: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    first_reason: str = ""

    def add(self, row: Mapping[str, Any]) -> None:
        if row["fate"] == "used":
            self.used[row["split"]] += 1
            return
        self.rejected[row["code"]] += 1
        if row["code"] != "left-out":
            self.first_reason = self.first_reason or row["reason"]

    @property
    def found(self) -> int:
        return self.used.total() + self.rejected.total()


@dataclass
class Totals:
    """What the manifest needs of all results, gathered while they go by."""

    counts: Counts = field(default_factory=Counts)
    shards: list[Shard] = field(default_factory=list)
    heights: set[int] = field(default_factory=set)
    widths: set[int] = field(default_factory=set)
    meant: dict[str, set[Any]] = field(default_factory=dict)
    tools: list[dict[str, str]] = field(default_factory=list)

    def add_row(self, row: Mapping[str, Any]) -> None:
        self.counts.add(row)
        if row["fate"] == "used":
            for name in MEANT:
                # A line that was read from a table has texts alone.
                self.meant.setdefault(name, set()).add(float(row[name]) if name == "depth_unit" else row[name])

    def add_shard(self, shard: Shard, sizes: Iterable[tuple[int, int]]) -> None:
        self.shards.append(shard)
        for height, width in sizes:
            self.heights.add(height)
            self.widths.add(width)

    def add(self, built: Built) -> None:
        self.add_shard(built.shard, built.sizes)
        if built.versions not in self.tools:
            self.tools.append(built.versions)


# Columns of the table, and how the manifest names what they come to.
MEANT = {"depth_kind": "depth_kinds", "depth_values": "depth_values", "depth_unit": "depth_units"}


def write_rejected(out: Path, rejected: Iterable[Rejected]) -> None:
    """Keeps the inputs that were rejected by their names; nothing where none was."""
    rows = [input_row(SceneRef(r.key, r.image, r.depth), code=r.code, reason=r.reason) for r in rejected]
    keep_rejected(out, rows)


def keep_rejected(out: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Keeps lines of the table that no shard has."""
    lines = [json.dumps(row) + "\n" for row in rows]
    if lines:
        (out / WORK).mkdir(parents=True, exist_ok=True)
        stores.write_text(out / WORK / REJECTED, lines)


def missing(out: Path, plans: Iterable[ShardPlan]) -> list[tuple[int, str]]:
    """Numbers and names of the shards that are not there with their results."""
    files, results = shards.listing(out), shards.listing(out / WORK)
    names = enumerate(plan.name for plan in plans)
    return [(number, name) for number, name in names if name not in files or f"{name}.json" not in results]


def finish(
    out: Path, header: Mapping[str, Any], about: Mapping[str, str], *, other_versions: bool
) -> tuple[Manifest, Counts]:
    """Puts the finished dataset together and removes what only an unfinished one needs.

    Args:
        about: Fields of About that are given; of a dataset that was finished before, the others stay.
        other_versions: Whether shards of other versions than the plan's are taken.

    Raises:
        RefusedError: No scene could be used: nothing is left in the folder. A result is missing or of other versions.
    """
    former = manifest.load(out / WORK) if (out / WORK / MANIFEST).is_file() else None
    totals = Totals()
    stores.write_text(out / INPUTS, table(_rows(out, header, totals, other_versions=other_versions)))
    if not totals.counts.used:
        remove(out)
        raise RefusedError(
            f"No scene could be used. Expected at least one, received {header['found']} inputs, all rejected; "
            f"first reason: {totals.counts.first_reason} Nothing was left in '{out}'."
        )
    known = dataclasses.replace(manifest_of(header, totals), about=_about(former, about))
    known = manifest.write(out, dataclasses.replace(known, also_made_with=_others(header, totals, former)))
    remove_work(out)
    return known, totals.counts


def _about(former: Manifest | None, given: Mapping[str, str]) -> About:
    return dataclasses.replace(former.about if former else About(), **given)


def _others(header: Mapping[str, Any], totals: Totals, former: Manifest | None) -> tuple[dict[str, str], ...]:
    """Versions other than the plan's that shards were made with, each once."""
    told = [*totals.tools, *(former.also_made_with if former else ())]
    unique = {json.dumps(tools, sort_keys=True) for tools in told if tools != header["versions"]}
    return tuple(json.loads(text) for text in sorted(unique))


def _rows(out: Path, header: Mapping[str, Any], totals: Totals, *, other_versions: bool) -> Iterator[dict[str, Any]]:
    """The lines of the table, one result after the other, while `totals` add up."""
    for row in _rejected_rows(out):
        totals.add_row(row)
        yield row
    _, plans = shards.read_plan(out)
    of_plan = shards.plan_digest(out)
    for plan in plans:
        built = _result(out, plan, of_plan, header["versions"], other_versions=other_versions)
        totals.add(built)
        for row in built.rows:
            totals.add_row(row)
            yield row
    # Before the table gets its name.
    if totals.counts.found != header["found"]:
        raise RefusedError(
            f"Inputs are missing from the results in '{out / WORK}'. Expected {header['found']}, received "
            f"{totals.counts.found}. Run the same command with --plan-only, then this one again."
        )


def _rejected_rows(out: Path) -> Iterator[dict[str, Any]]:
    if (out / WORK / REJECTED).is_file():
        with (out / WORK / REJECTED).open("rb") as file:
            yield from map(json.loads, file)


def _result(out: Path, plan: ShardPlan, of_plan: str, tools: Mapping[str, str], *, other_versions: bool) -> Built:
    try:
        built = read_result(out, plan.name)
        if built.of_plan != of_plan or built.shard.name != plan.name:
            raise ValueError(f"that of '{built.shard.name}' of another plan")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RefusedError(
            f"The result of shard '{plan.name}' cannot be read. Expected what the run that built it wrote, received: "
            f"{type(error).__name__}: {error}. Run hazegen make again with --only-shards {plan.name}."
        ) from None
    check_versions(built, tools, other_versions=other_versions)
    return built


def check_versions(built: Built, tools: Mapping[str, str], *, other_versions: bool) -> None:
    """Refuses a shard that was built by other versions than the plan's, unless they are accepted."""
    if not other_versions and (differing := shards.differing_versions(tools, built.versions)):
        raise RefusedError(
            f"Shard '{built.shard.name}' was built by other versions, which may give other bytes. Expected those of "
            f"the plan, received another {differing}. Install the same everywhere and run the same command again, or "
            "pass --accept-versions."
        )


def table(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The lines of the table of inputs."""
    writer = csv.writer(_Lines(), lineterminator="\n")
    yield writer.writerow(COLUMNS)
    for row in rows:
        yield writer.writerow([row.get(name, "") for name in COLUMNS])


class _Lines:
    """Gives csv's lines back as they come: writerow returns what write returned."""

    def write(self, line: str) -> Any:
        return line


def read_table(out: Path) -> Iterator[dict[str, str]]:
    """The lines of a finished dataset's table of inputs.

    Raises:
        VerifyError: There is none, or one cannot be read, or lacks a key or a fate.
    """
    path = out / INPUTS
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            reader = csv.DictReader(file, restval="")
            for row in reader:
                if None in row or not {"key", "fate", "code"} <= row.keys():
                    raise ValueError(f"another at line {reader.line_num}")
                yield row
    except (ValueError, csv.Error, FileNotFoundError) as error:
        received = "no file" if isinstance(error, FileNotFoundError) else str(error)
        raise VerifyError(
            f"'{path}' cannot be read. Expected the table of inputs that hazegen make wrote, received {received}. Run "
            f"hazegen repair {out}, or copy the file again."
        ) from None


def manifest_of(header: Mapping[str, Any], totals: Totals) -> Manifest:
    """The manifest of a plan whose shards and inputs add up to `totals`; without licence, tables, other versions."""
    used, made = totals.counts.used, sorted(totals.shards, key=lambda shard: shard.name)
    resolved = {plural: sorted(totals.meant[name]) for name, plural in MEANT.items()}
    return Manifest(
        color_space=header["recipe"]["color_space"],
        inputs={"found": totals.counts.found, "used": used.total(), "rejected": totals.counts.rejected.total()},
        smallest={"height": min(totals.heights), "width": min(totals.widths)},
        splits={s: {"scenes": used[s], "records": sum(x.records for x in made if x.split == s)} for s in SPLITS},
        shards=tuple(made),
        reading=header["reading"] | resolved,
        **{name: header[name] for name in ("recipe", "versions", *DECIDING)},
    )


def remove_work(out: Path) -> None:
    """Removes the results, once the manifest has what they say."""
    if not stores.is_remote(out):
        shutil.rmtree(out / WORK, ignore_errors=True)
        return
    for name in shards.listing(out / WORK):
        (out / WORK / name).unlink(missing_ok=True)


def remove(out: Path) -> None:
    """Removes a dataset, finished or not: exactly the files that its own plan names, and those that belong to it.

    The manifest goes first, so that what is left is no dataset, and the plan last, so that it can be gone on with.

    Raises:
        RefusedError: There is no plan that can be read.
    """
    names = [plan.name for plan in shards.read_plan(out)[1]]
    for name in (MANIFEST, INPUTS, *card.FILES, *names):
        (out / name).unlink(missing_ok=True)
    remove_work(out)
    (out / manifest.PLAN).unlink()
