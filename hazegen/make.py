"""hazegen make: from photos and depth maps to a dataset of hazy/clean pairs."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

from hazegen import collect, depth_source, locks, planning, progress, running, shards
from hazegen.build import build_shard
from hazegen.depth.network import ModelOptions
from hazegen.make_options import MakeOptions
from hazegen.manifest import About
from hazegen.planning import Plan
from hazegen.recipe import Recipe
from hazegen.running import Need
from hazegen.work import Made, Run, Tell, work


def make(
    options: MakeOptions,
    recipe: Recipe,
    about: Mapping[str, str] | None = None,
    model: ModelOptions | None = None,
    tell: Tell = lambda _: None,
) -> Made:
    """Makes the dataset, or what an interrupted run has left of it, and its card; or a part of it, as the options say.

    Args:
        about: The given fields of About. They decide no byte of the shards; a dataset that is finished
            already takes them over, and keeps those that are not given.
        model: How depth is estimated, with `options.depth_model`.
        tell: Takes warnings, before the work begins.

    Raises:
        UsageError, RefusedError, StoreError, OSError: As their classes say; nothing finished is lost.
    """
    began = time.monotonic()
    given = dict(about or {})
    About(**given)  # raises where they cannot be taken
    if options.scheduler is not None:
        options = options.from_anywhere()
    if options.progress == "json":
        progress.tell_event("planning")
    is_task = options.task_index is not None or options.finish
    if is_task and (options.finish or shards.check_out(options.out)):
        made = _task_of_plan(options, recipe, given, model, tell)
    else:
        made = _planned(options, recipe, given, model, tell)
    return dataclasses.replace(made, seconds=time.monotonic() - began)


def _planned(
    options: MakeOptions, recipe: Recipe, about: Mapping[str, str], model: ModelOptions | None, tell: Tell
) -> Made:
    """Lists the inputs, plans, and works on that plan."""
    failed: dict[str, str] = {}
    if model is not None:
        options, failed = depth_source.estimate_depth(options, recipe, model)
    planned = planning.plan(options, recipe, failed)
    network = depth_source.model_of(model) if model is not None else None
    header = planning.header_of(planned.settings, planned.found, network)
    exists = shards.check_out(options.out)
    if options.restart or not shards.is_finished(options.out):
        depth_source.check_depth(planned, options, tell)
    options.out.mkdir(parents=True, exist_ok=True)
    with locks.lock(options.out, shared=options.task_index is not None, tell=tell):
        if options.restart and exists:
            collect.remove(options.out)
        size, settings = (len(planned.shards), sum(1 for _ in planned.scenes)), planned.settings
        per_record = planned.scene_bytes / settings.variants
        need = Need(size[1] * settings.variants, size[1], per_record, kind=settings.kind)
        with running.on_disk(options.out, need):
            _begin(options, planned, header)
        run = Run(options, planned.settings, header, planned.scene_bytes, size, about, tell, build_shard)
        others = planned.others
        del planned  # of a million inputs it takes half a gigabyte; the plan is in its file now
        return dataclasses.replace(work(run), others=others)


def _begin(options: MakeOptions, planned: Plan, header: Mapping[str, Any]) -> None:
    """Puts the plan in its folder, with the inputs that it leaves out."""
    shards.write_plan(options.out, header, planned.shards, other_versions=options.accept_versions)
    if not shards.is_finished(options.out):
        collect.write_rejected(options.out, planned.rejected)


def _task_of_plan(
    options: MakeOptions, recipe: Recipe, about: Mapping[str, str], model: ModelOptions | None, tell: Tell
) -> Made:
    """Works on the plan that lies in the folder, without a look at the inputs."""
    if model is not None:
        options = depth_source.as_estimated(options, model)
    settings = planning.settings_for(options, recipe)
    told, _ = shards.read_plan(options.out)
    network = depth_source.model_of(model) if model is not None else None
    header = planning.header_of(settings, told.get("found", 0), network)
    shards.check_header(options.out, told, header, other_versions=options.accept_versions)
    with locks.lock(options.out, shared=options.task_index is not None, tell=tell):
        return work(Run(options, settings, told, 0.0, None, about, tell, build_shard))
