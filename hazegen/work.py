"""What hazegen make does about a plan that lies in its folder: builds shards, goes on, finishes, looks again."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hazegen import card, collect, engine, resume, running, shards, warm
from hazegen.build import Built, ShardTask
from hazegen.collect import Counts
from hazegen.errors import HazegenError, RefusedError
from hazegen.make_options import MakeOptions
from hazegen.manifest import UNIT, Manifest, check_shards, check_tables, load
from hazegen.progress import Progress, tell_event
from hazegen.resume import Check, Kept
from hazegen.running import Build, Need
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
class Run:
    """A plan that lies in its folder, and what is to be done about it.

    Attributes:
        header: Of the plan.
        scene_bytes: About how many bytes the records of a scene take; 0 where nobody knows.
        size: Numbers of shards and scenes of the plan, where they are known without reading it.
        about: The given fields of About.
        build: What builds one shard.
        of_plan: shards.plan_digest of the plan.
    """

    options: MakeOptions
    settings: Settings
    header: dict[str, Any]
    scene_bytes: float
    size: tuple[int, int] | None
    about: Mapping[str, str]
    tell: Tell
    build: Build
    of_plan: str = ""

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


def work(run: Run) -> Made:
    """What the options ask for, of a plan that lies in its folder."""
    options = run.options
    # The plan's versions stay the dataset's; of accepted others each shard's result tells.
    run = dataclasses.replace(run, header=shards.read_plan(run.out)[0], of_plan=shards.plan_digest(run.out))
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


def _build_all(run: Run, kept: Mapping[str, Kept]) -> Made:
    """Builds what is left, and finishes the dataset."""
    took = _build(run, run.plans, kept, size=None if kept else run.size)
    made = _finish(run)
    assert made.manifest is not None
    return dataclasses.replace(made, built=len(made.manifest.shards) - len(kept), reused=len(kept), took=took)


def _build_task(run: Run) -> Made:
    """Builds the shards of one task of many."""
    options = run.options
    assert options.task_index is not None

    def mine() -> Iterator[ShardPlan]:
        return itertools.islice(run.plans(), options.task_index, None, options.num_tasks)

    kept = resume.kept(run.check(), mine())
    took = _build(run, mine, kept)
    if shards.is_finished(run.out):  # by a twin of this task and a --finish
        return _finished_before(run)
    count = sum(1 for _ in mine())
    left = len(collect.missing(run.out, run.plans()))
    return Made(None, built=count - len(kept), reused=len(kept), left=left, took=took)


def _build_only(run: Run, names: list[str]) -> Made:
    """Builds the named shards of an unfinished dataset, also where they are there."""
    resume.forget(run.out, names)
    took = _build(run, lambda: (plan for plan in run.plans() if plan.name in names), {})
    return Made(None, built=len(names), left=len(collect.missing(run.out, run.plans())), took=took)


def _build(
    run: Run,
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
    kind = run.settings.kind
    need = Need(size[1] * variants, run.header["found"], run.scene_bytes / variants, kind=kind)
    for one in kept.values():
        need.add(one.shard)
    running.warn_of_space(out, need, run.tell)
    alone = options.scheduler is None and running.workers_of(options, size[0]) == 1
    if not alone and options.scheduler is None and kind == "pairs":
        warm.warm_up(run.settings, run.tell)
    if options.progress == "json":
        workers = None if options.scheduler else running.workers_of(options, size[0])
        tell_event("starting", shards=size[0], workers=workers)
    peaks = [0.0]
    of_plan = run.of_plan if out == run.out else ""
    tasks = (ShardTask(plan, out, run.settings, of_plan) for plan in plans() if plan.name not in kept)
    with (
        running.on_disk(out, need),
        Progress(need.pairs, "off" if options.quiet else options.progress, UNIT[kind]) as progress,
        # Its processes end before the lock is given back, also where an error is raised here.
        closing(running.run(run.build, tasks, size[0], options, progress, variants)) as working,
    ):
        for built in _counted(working, size[0]):
            collect.check_versions(built, run.header["versions"], other_versions=options.accept_versions)
            need.add(built.shard)
            need.pairs -= len(built.rows) * variants
            peaks.append(built.peak_mb)
            take(built)
        return progress.summary() | {"peak_worker_mb": 0.0 if alone else max(peaks)}


def _counted(working: Iterator[Built], count: int) -> Iterator[Built]:
    """The same; an interrupt says how far it came."""
    done = 0
    try:
        for built in working:
            done += 1
            yield built
    except KeyboardInterrupt as interrupt:
        raise type(interrupt)(f"{done} of {count} shards of this run are finished") from None


def _finish(run: Run) -> Made:
    """Puts the dataset together from the results of all shards, and writes its card."""
    with running.on_disk(run.out, Need(0, run.header["found"], 0.0)):
        try:
            known, counts = collect.finish(run.out, run.header, run.about, other_versions=run.options.accept_versions)
            made = _made(known, counts, reused=len(known.shards))
        except (HazegenError, OSError):
            if (twin := _finished_by_another(run)) is None:
                raise
            made = twin
        card.write_missing(run.out)
    return made


def _finished_by_another(run: Run) -> Made | None:
    """The dataset, where another run of the same plan has finished it meanwhile, and taken the results away.

    On a disk the lock keeps the two apart; a store has none.
    """
    if not shards.is_finished(run.out) or shards.plan_digest(run.out) != run.of_plan:
        return None
    known = load(run.out)
    check_shards(run.out, known.shards)
    collect.remove_work(run.out)
    run.tell(f"Another run of the same plan has finished '{run.out}' meanwhile; nothing was left to do.")
    return _made(known, _counts(run.out), reused=len(known.shards))


def _check_complete(run: Run) -> None:
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


def _finished_before(run: Run) -> Made:
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


def _build_same(run: Run, known: Manifest, names: list[str]) -> dict[str, Any]:
    """Builds shards of a finished dataset again; they come out the same, or are left as they are."""
    with resume.workplace(run.out, shards.WORK) as folder:
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
