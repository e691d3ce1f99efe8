"""hazegen make: from photos and depth maps to a dataset of hazy/clean pairs."""

import csv
import dataclasses
import io
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hazegen import card, depth_source, engine, shards, stores
from hazegen.build import DEPTH_COLUMNS, INPUT_COLUMNS, ShardTask, build_shard, input_row
from hazegen.depth.network import ModelOptions
from hazegen.errors import RefusedError
from hazegen.make_options import MakeOptions
from hazegen.manifest import INPUTS, MANIFEST, PLAN, SPLITS, About, Manifest, Shard, check_shards, load
from hazegen.pairing import Rejected
from hazegen.planning import Plan, deciding, fingerprint, plan, versions
from hazegen.recipe import Recipe


@dataclass(frozen=True)
class Made:
    """What a run of make did.

    Attributes:
        manifest: Of the dataset.
        rejected: Number of rejected inputs for each reason's code.
        first_reason: Why the first of them was rejected; empty where none was.
        reused: Number of shards that an earlier run had finished.
        others: Number of files of another name pattern or format.
        seconds: Time taken.
        changed: What was written anew of a dataset that was finished already: fields of About, or 'card'.
    """

    manifest: Manifest
    rejected: dict[str, int]
    first_reason: str
    reused: int
    others: int
    seconds: float
    changed: tuple[str, ...] = ()


def make(
    options: MakeOptions,
    recipe: Recipe,
    about: Mapping[str, str] | None = None,
    model: ModelOptions | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> Made:
    """Makes the dataset, or what an interrupted run has left of it, and its card.

    Args:
        about: The given fields of About. They decide no byte of the shards; a dataset that is finished
            already takes them over, and keeps those that are not given.
        model: How depth is estimated, with `options.depth_model`.
        tell: Takes sentences about depth maps that look wrong, before the work begins.

    Raises:
        UsageError, RefusedError, OSError: As their classes say; nothing finished is lost.
    """
    began = time.monotonic()
    given = dict(about or {})
    stated = About(**given)
    failed: dict[str, str] = {}
    if model is not None:
        options, failed = depth_source.estimate_depth(options, recipe, model)
    planned = plan(options, recipe, failed)
    tasks, found = planned.tasks, planned.found
    header = {"recipe": recipe.as_dict(), "found": found, **deciding(tasks[0].settings), "versions": versions()}
    if model is not None:
        header["reading"] |= {"model": depth_source.model_of(options)}
    if not shards.is_finished(options.out):
        depth_source.check_depth(tasks, options, tell)
    plans = [task.plan for task in tasks]
    shards.write_plan(options.out, header, plans, lambda ref: fingerprint(ref, tasks[0].settings.reading))
    if shards.is_finished(options.out):
        return _finished_before(options.out, planned, given, began)
    (options.out / shards.WORK).mkdir(exist_ok=True)
    left = [task for task in tasks if not shards.is_done(options.out, task.plan)]
    pairs = sum(len(task.plan.scenes) for task in left) * tasks[0].settings.variants
    with tqdm(total=pairs, unit="pair", desc="making haze", disable=None) as bar:
        for _ in engine.run(build_shard, left, options.workers or engine.cores(), bar.update):
            pass
    manifest, rows = _collect(options.out, tasks, planned.rejected, header)
    if manifest.inputs["used"] == 0:
        _take_back(options.out, tasks)
        raise RefusedError(
            f"No scene could be used. Expected at least one, received {found} inputs, all rejected; "
            f"first reason: {rows[0]['reason']} Nothing was left in '{options.out}'."
        )
    _write_inputs(options.out, rows)
    manifest = dataclasses.replace(manifest, about=stated)
    stores.write_text(options.out / MANIFEST, [manifest.to_json()])
    _remove_work(options.out, tasks)
    card.write_card(options.out)
    return _summary(manifest, rows, len(tasks) - len(left), planned.others, began)


def _collect(
    out: Path, tasks: list[ShardTask], rejected: list[Rejected], header: dict[str, Any]
) -> tuple[Manifest, list[dict[str, Any]]]:
    """The manifest and the table of inputs, from the results of all shards."""
    rows = [input_row(r.key, r.image, r.depth, "rejected", "", r.code, r.reason) for r in rejected]
    made: list[Shard] = []
    sizes: list[tuple[int, int]] = []
    for task in tasks:
        result = json.loads(shards.result_path(out, task.plan.name).read_bytes())
        made.append(Shard(**result["shard"]))
        rows += result["rows"]
        sizes += result["sizes"]
    used = Counter(row["split"] for row in rows if row["fate"] == "used")
    found = header["found"]
    assert found == len(rows), (found, len(rows))
    manifest = Manifest(
        kind="pairs",
        color_space=header["recipe"]["color_space"],
        inputs={"found": found, "used": used.total(), "rejected": found - used.total()},
        smallest={"height": min((h for h, _ in sizes), default=0), "width": min((w for _, w in sizes), default=0)},
        splits={s: {"scenes": used[s], "records": sum(x.records for x in made if x.split == s)} for s in SPLITS},
        shards=tuple(sorted(made, key=lambda shard: shard.name)),
        reading=header["reading"] | _resolved(rows),
        **{name: value for name, value in header.items() if name not in ("found", "reading")},
    )
    return manifest, rows


def _resolved(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What depth files were taken to mean in the end, by options, camera files and defaults together."""
    used = [row for row in rows if row["fate"] == "used"]
    names = {"depth_kind": "depth_kinds", "depth_values": "depth_values", "depth_unit": "depth_units"}
    return {plural: sorted({row[name] for row in used}) for name, plural in names.items()}


def _write_inputs(out: Path, rows: list[dict[str, Any]]) -> None:
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, (*INPUT_COLUMNS, *DEPTH_COLUMNS), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    stores.write_text(out / INPUTS, [table.getvalue()])


def _remove_work(out: Path, tasks: list[ShardTask]) -> None:
    for task in tasks:
        shards.result_path(out, task.plan.name).unlink(missing_ok=True)
    if (out / shards.WORK).exists():
        (out / shards.WORK).rmdir()


def _take_back(out: Path, tasks: list[ShardTask]) -> None:
    """Removes the files of a run that came to nothing, so that the next try finds the folder empty."""
    _remove_work(out, tasks)
    for task in tasks:
        (out / task.plan.name).unlink()
    (out / PLAN).unlink()


def _summary(manifest: Manifest, rows: list[dict[str, Any]], reused: int, others: int, began: float) -> Made:
    refused = [row for row in rows if row["fate"] == "rejected"]
    codes = Counter(str(row["code"]) for row in refused)
    reasons = [str(row["reason"]) for row in refused if row["code"] != "left-out"]
    return Made(manifest, dict(codes), next(iter(reasons), ""), reused, others, time.monotonic() - began)


def _finished_before(out: Path, planned: Plan, given: dict[str, str], began: float) -> Made:
    """The summary of a dataset that is there already, after a look whether all its shards still are."""
    known = load(out)
    check_shards(out, known.shards)
    _remove_work(out, planned.tasks)
    changed: tuple[str, ...] = ()
    if not card.has_card(out) or dataclasses.replace(known.about, **given) != known.about:
        known, changed = card.rewrite(out, given)
        changed = changed or ("card",)
    with (out / INPUTS).open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        made = _summary(known, list(csv.DictReader(file)), len(planned.tasks), planned.others, began)
    return dataclasses.replace(made, changed=changed)
