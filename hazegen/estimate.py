"""hazegen make --dry-run: what a run would do, from a few scenes, with nothing written."""

import dataclasses
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hazegen import depth_source, engine, planning, records, scenes, variants
from hazegen.depth import estimation
from hazegen.depth.network import ModelOptions
from hazegen.errors import RefusedError
from hazegen.make_options import MakeOptions
from hazegen.recipe import Recipe

PROBED = 3


@dataclass(frozen=True)
class Estimate:
    """What a run would make.

    Attributes:
        found: Number of inputs.
        others: Number of files of another pattern or format.
        rejected: Inputs rejected by their names alone, for each reason's code.
        probe_rejected: Sentences of the probed scenes that could not be read.
        scenes: Scenes for each split.
        pairs, shards: To be written.
        bytes, seconds: Estimated from the probed scenes; 0 where none of them could be read.
        mean_transmission: Of the probed scenes' pairs; None where none of them could be read.
    """

    found: int
    others: int
    rejected: dict[str, int]
    probe_rejected: list[str]
    scenes: dict[str, int]
    pairs: int
    shards: int
    bytes: int
    seconds: float
    mean_transmission: float | None


def estimate(
    options: MakeOptions,
    recipe: Recipe,
    model: ModelOptions | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> Estimate:
    """Plans the run and makes the first few scenes in memory.

    Args:
        model, tell: As make has them; a network estimates the depth of these few scenes alone, and only they are
            looked at.
    """
    if model is None:
        plan = planning.plan(options, recipe)
        depth_source.check_depth(plan.tasks, options, tell)
        return _estimate(options, recipe, plan, {})
    with tempfile.TemporaryDirectory() as folder:
        probing = dataclasses.replace(depth_source.as_estimated(options, model), out=Path(folder) / "out")
        plan = planning.plan(probing, recipe)
        photos = [ref.image for task in plan.tasks for ref in task.plan.scenes][:PROBED]
        began = time.perf_counter()
        done = estimation.estimate_folder(options.images, photos, probing.depth_folder, model)
        seconds = (time.perf_counter() - began) * plan.found / len(photos)
        depth_source.check_depth(plan.tasks, probing, tell, PROBED)
        told = _estimate(probing, recipe, plan, dict(done.failed))
    return dataclasses.replace(told, seconds=told.seconds + seconds)


def _estimate(options: MakeOptions, recipe: Recipe, plan: planning.Plan, failed: Mapping[str, str]) -> Estimate:
    """The estimate from the scenes that are probed; `failed`: photos without a map, and why."""
    tasks = plan.tasks
    by_split: Counter[str] = Counter()
    for task in tasks:
        by_split[task.plan.split] += len(task.plan.scenes)
    refs = [ref for task in tasks for ref in task.plan.scenes][:PROBED]
    problems: list[str] = []
    made: list[bytes] = []
    began = time.perf_counter()
    for ref in refs:
        if ref.image in failed:
            problems.append(failed[ref.image])
            continue
        try:
            scene = scenes.load(ref, tasks[0].settings.reading, recipe)
        except RefusedError as error:
            problems.append(str(error))
            continue
        made += [record for _, record in variants.scene_records(scene, tasks[0].settings)]
    scale = by_split.total() / max(1, len(refs) - len(problems))
    seconds = (time.perf_counter() - began) * scale / (options.workers or engine.cores())
    pairs = by_split.total() * tasks[0].settings.variants
    codes = dict(Counter(r.code for r in plan.rejected))
    counts = (plan.found, plan.others, codes, problems, dict(by_split), pairs, len(tasks))
    thickness = [records.decode(record)["mean_transmission"] for record in made]
    mean = sum(thickness) / len(thickness) if thickness else None
    return Estimate(*counts, int(sum(map(len, made)) * scale), seconds, mean)
