"""hazegen make: from photos and depth maps to a dataset of hazy/clean pairs."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hazegen import card, collect, depth_source, engine, locks, planning, resume, running, shards
from hazegen.build import Built, ShardTask, build_shard
from hazegen.collect import Counts
from hazegen.depth.network import ModelOptions
from hazegen.errors import RefusedError
from hazegen.make_options import MakeOptions
from hazegen.manifest import About, Manifest, check_shards, check_tables, load
from hazegen.planning import Plan
from hazegen.progress import Progress
from hazegen.recipe import Recipe
from hazegen.resume import Check, Kept
from hazegen.running import Need
from hazegen.shards import ShardPlan
from hazegen.variants import Settings

Tell = Callable[[str], object]


@dataclass(frozen=True)
class Made:
    """What a run of make did.

    Attributes:
        manifest: Of the dataset; None where the run was not to finish it.
        rejected: Number of rejected inputs for each reason's code, as far as it is finished.
        first_reason: Why the first of them was rejected; empty where none was.
        built: Number of shards that this run has built.
        reused: Number of shards that an earlier run had finished.
        left: Number of shards that are still to be built.
        others: Number of files of another name pattern or format.
        seconds: Time taken.
        changed: What was written anew of a dataset that was finished already: fields of About, 'card', or shards.
        took: What progress.summary says of the work on the shards; empty where none was built.
    """

    manifest: Manifest | None
    rejected: dict[str, int] = field(default_factory=dict)
    first_reason: str = ""
    built: int = 0
    reused: int = 0
    left: int = 0
    others: int = 0
    seconds: float = 0.0
    changed: tuple[str, ...] = ()
    took: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Run:
    """A plan that lies in its folder, and what is to be done about it.

    Attributes:
        header: Of the plan.
        scene_bytes: About how many bytes the pairs of a scene take; 0 where nobody knows.
        size: Numbers of shards and scenes of the plan, where they are known without reading it.
        about: The given fields of About.
    """

    options: MakeOptions
    settings: Settings
    header: dict[str, Any]
    scene_bytes: float
    size: tuple[int, int] | None
    about: Mapping[str, str]
    tell: Tell

    @property
    def out(self) -> Path:
        return self.options.out

    def plans(self) -> Iterator[ShardPlan]:
        return shards.read_plan(self.out)[1]

    def check(self) -> Check:
        """How this run looks at shards that are there already."""
        options = self.options
        shown = {"auto": None, "bar": True}.get("off" if options.quiet else options.progress, False)
        workers = options.workers or engine.cores()
        reading, versions = self.settings.reading, self.header["versions"]
        return Check(self.out, reading, versions, options.accept_versions, options.retry_rejected, workers, shown)


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
        size, variants = (len(planned.shards), sum(1 for _ in planned.scenes)), planned.settings.variants
        with running.on_disk(options.out, Need(size[1] * variants, size[1], planned.scene_bytes / variants)):
            _begin(options, planned, header)
        run = _Run(options, planned.settings, header, planned.scene_bytes, size, about, tell)
        others = planned.others
        del planned  # of a million inputs it takes half a gigabyte; the plan is in its file now
        return dataclasses.replace(_work(run), others=others)


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
        return _work(_Run(options, settings, told, 0.0, None, about, tell))


def _work(run: _Run) -> Made:
    """What the options ask for, of a plan that lies in its folder."""
    options = run.options
    # The plan's versions stay the dataset's; of accepted others each shard's result tells.
    run = dataclasses.replace(run, header=shards.read_plan(run.out)[0])
    if shards.is_finished(run.out):
        return _finished_before(run)
    if options.plan_only:
        return Made(None, left=len(collect.missing(run.out, run.plans())))
    if options.finish:
        _check_complete(run)
        return _finish(run)
    if options.task_index is not None:
        return _build_task(run)
    if options.only_shards is not None:
        return _build_only(run, resume.named_shards(run.out, options.only_shards))
    return _build_all(run, resume.kept(run.check(), run.plans()))


def _build_all(run: _Run, kept: Mapping[str, Kept]) -> Made:
    """Builds what is left, and finishes the dataset."""
    took = _build(run, run.plans, kept, size=None if kept else run.size)
    made = _finish(run)
    assert made.manifest is not None
    return dataclasses.replace(made, built=len(made.manifest.shards) - len(kept), reused=len(kept), took=took)


def _build_task(run: _Run) -> Made:
    """Builds the shards of one task of many."""
    options = run.options
    assert options.task_index is not None

    def mine() -> Iterator[ShardPlan]:
        return itertools.islice(run.plans(), options.task_index, None, options.num_tasks)

    kept = resume.kept(run.check(), mine())
    took = _build(run, mine, kept)
    count = sum(1 for _ in mine())
    left = len(collect.missing(run.out, run.plans()))
    return Made(None, built=count - len(kept), reused=len(kept), left=left, took=took)


def _build_only(run: _Run, names: list[str]) -> Made:
    """Builds the named shards of an unfinished dataset, also where they are there."""
    resume.forget(run.out, names)
    took = _build(run, lambda: (plan for plan in run.plans() if plan.name in names), {})
    return Made(None, built=len(names), left=len(collect.missing(run.out, run.plans())), took=took)


def _build(
    run: _Run,
    plans: Callable[[], Iterator[ShardPlan]],
    kept: Mapping[str, Kept],
    out: Path | None = None,
    take: Callable[[Built], object] = lambda _: None,
    size: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Builds those of the shards that are not kept, and says what it took.

    Args:
        plans: Gives the shards anew at each call, as they are read.
        out: Folder to build them in, where it is another than the dataset's.
        take: Receives each of them.
        size: Numbers of shards and scenes that are to be built, where they are known.
    """
    if size is None:
        scenes = [len(plan.scenes) for plan in plans() if plan.name not in kept]
        size = len(scenes), sum(scenes)
    if size[0] == 0:
        return {}
    options, variants, out = run.options, run.settings.variants, out or run.out
    need = Need(size[1] * variants, run.header["found"], run.scene_bytes / variants)
    for one in kept.values():
        need.add(one.shard)
    running.warn_of_space(out, need, run.tell)
    peaks = [0.0]
    tasks = (ShardTask(plan, out, run.settings) for plan in plans() if plan.name not in kept)
    with (
        running.on_disk(out, need),
        Progress(need.pairs, "off" if options.quiet else options.progress) as progress,
        # Its processes end before the lock is given back, also where an error is raised here.
        closing(running.run(build_shard, tasks, size[0], options, progress)) as working,
    ):
        for built in working:
            collect.check_versions(built, run.header["versions"], other_versions=options.accept_versions)
            need.add(built.shard)
            need.pairs -= len(built.rows) * variants
            peaks.append(built.peak_mb)
            take(built)
        alone = options.scheduler is None and running.workers_of(options, size[0]) == 1
        return progress.summary() | {"peak_worker_mb": 0.0 if alone else max(peaks)}


def _finish(run: _Run) -> Made:
    """Puts the dataset together from the results of all shards."""
    with running.on_disk(run.out, Need(0, run.header["found"], 0.0)):
        known, counts = collect.finish(run.out, run.header, run.about, other_versions=run.options.accept_versions)
    return _made(known, counts, reused=len(known.shards))


def _check_complete(run: _Run) -> None:
    """Refuses to finish a dataset of which shards are missing, and says whose they are."""
    missing, number = collect.missing(run.out, run.plans()), run.options.num_tasks
    if not missing:
        return
    whose = ""
    if number is not None:
        indices = sorted({position % number for position, _ in missing})
        whose = f", of the task indices {', '.join(map(str, indices[:20]))}{', ...' if len(indices) > 20 else ''}"
    raise RefusedError(
        f"'{run.out}' is not complete. Expected all shards of its plan, received all but {len(missing)}: "
        f"{resume.described([name for _, name in missing])}{whose}. Run these tasks again, or hazegen make without "
        "--finish."
    )


def _finished_before(run: _Run) -> Made:
    """What is left to do of a dataset that is finished, after a look whether it still is what it says."""
    out, options, known = run.out, run.options, load(run.out)
    if options.task_index is not None:
        return Made(known, reused=len(known.shards))
    named = resume.named_shards(out, options.only_shards) if options.only_shards is not None else []
    check_shards(out, [shard for shard in known.shards if shard.name not in named])
    check_tables(out, known)
    with_rejected = resume.check_finished(run.check())
    if options.retry_rejected and with_rejected:
        made = _build_all(run, resume.reopen(out, known, with_rejected))
        return dataclasses.replace(made, changed=tuple(with_rejected))
    took = _build_same(run, known, named) if named else {}
    collect.remove_work(out)
    known, changed = _about_anew(out, known, run.about)
    made = _made(known, _counts(out), reused=len(known.shards) - len(named))
    return dataclasses.replace(made, built=len(named), took=took, changed=(*changed, *named))


def _build_same(run: _Run, known: Manifest, names: list[str]) -> dict[str, Any]:
    """Builds shards of a finished dataset again; they come out the same, or are left as they are."""
    with resume.workplace(run.out) as folder:
        return _build(
            run,
            lambda: (plan for plan in run.plans() if plan.name in names),
            {},
            folder,
            lambda built: resume.put_back(run.out, known, built, folder),
        )


def _about_anew(out: Path, known: Manifest, about: Mapping[str, str]) -> tuple[Manifest, tuple[str, ...]]:
    """Takes over what is said of the photos, and writes a card that is missing; what changed."""
    if card.has_card(out) and dataclasses.replace(known.about, **about) == known.about:
        return known, ()
    known, changed = card.rewrite(out, about)
    return known, changed or ("card",)


def _counts(out: Path) -> Counts:
    counts = Counts()
    for row in collect.read_table(out):
        counts.add(row)
    return counts


def _made(known: Manifest, counts: Counts, reused: int) -> Made:
    return Made(known, dict(counts.rejected), counts.first_reason, reused=reused)
