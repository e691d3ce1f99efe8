"""hazegen make --dry-run: what a run would do, from a few scenes, with nothing written."""

import dataclasses
import heapq
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hazegen import (
    build,
    collect,
    depth_source,
    engine,
    memory,
    planning,
    pool,
    records,
    running,
    scenes,
    shards,
    stores,
    warm,
)
from hazegen.build import ShardTask
from hazegen.depth import estimation
from hazegen.depth.network import ModelOptions
from hazegen.errors import RefusedError
from hazegen.fingerprints import fingerprint
from hazegen.make_options import MakeOptions
from hazegen.recipe import Recipe
from hazegen.shards import ShardPlan

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
        pairs, shards: To be written; of --kind scenes the first counts scenes.
        bytes, seconds: Estimated from the probed scenes; 0 where none of them could be read.
        workers: Processes that the time is divided by.
        worker_mb: Peak memory of one of them with the probed scenes, and the records of a shard beside them [MB].
        free_bytes: On the disk of the output folder; None in a store.
        mean_transmission: Of the probed scenes' pairs; None where none of them could be read, or none is made.
        there: Number of shards that an earlier run has finished.
        finished: Whether the dataset is finished.
        kind: Of the dataset.
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
    workers: int
    worker_mb: float
    free_bytes: int | None
    mean_transmission: float | None
    there: int = 0
    finished: bool = False
    kind: str = "pairs"


@dataclass(frozen=True)
class Probe:
    """What a worker measured on a few scenes.

    Attributes:
        problems: Sentences of the scenes that could not be read.
        sizes: Bytes of each record.
        transmissions: Mean transmission of each pair.
        seconds: Time for one scene.
        peak_mb: Largest resident memory of the worker [MB].
    """

    problems: list[str]
    sizes: list[int]
    transmissions: list[float]
    seconds: float
    peak_mb: float


def estimate(
    options: MakeOptions,
    recipe: Recipe,
    model: ModelOptions | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> Estimate:
    """Plans the run and makes the first few scenes in memory, in a process as the run would start.

    Args:
        model, tell: As make has them; a network estimates the depth of these few scenes alone, and only they are
            looked at.
    """
    began = time.perf_counter()
    if model is None:
        plan = planning.plan(options, recipe)
        there, finished = _what_is_there(options, plan)
        if not finished:
            depth_source.check_depth(plan, options, tell)
        planned = time.perf_counter() - began  # a real run does this too
        told = _estimate(options, plan, {})
        return dataclasses.replace(told, seconds=told.seconds + planned, there=there, finished=finished)
    shards.check_out(options.out)
    with tempfile.TemporaryDirectory() as folder:
        probing = dataclasses.replace(depth_source.as_estimated(options, model), out=Path(folder) / "out")
        plan = planning.plan(probing, recipe)
        photos = [ref.image for _, ref in zip(range(PROBED), plan.scenes, strict=False)]
        began = time.perf_counter()
        done = estimation.estimate_folder(options.images, photos, probing.depth_folder, model)
        seconds = (time.perf_counter() - began) * plan.found / len(photos)
        depth_source.check_depth(plan, probing, tell, PROBED)
        told = _estimate(options, plan, dict(done.failed))
    return dataclasses.replace(told, seconds=told.seconds + seconds)


def _what_is_there(options: MakeOptions, plan: planning.Plan) -> tuple[int, bool]:
    """How many shards are there already, and whether all of the dataset is.

    Raises:
        RefusedError: What a real run would refuse: the folder holds something else.
    """
    if not shards.check_out(options.out):
        return 0, False
    header = planning.header_of(plan.settings, plan.found)
    shards.check_same(options.out, header, plan.shards, other_versions=options.accept_versions)
    if shards.is_finished(options.out):
        return len(plan.shards), True
    return len(plan.shards) - len(collect.missing(options.out, plan.shards)), False


def _estimate(options: MakeOptions, plan: planning.Plan, failed: Mapping[str, str]) -> Estimate:
    """The estimate from the scenes that are probed; `failed`: photos without a map, and why."""
    by_split: Counter[str] = Counter()
    for shard in plan.shards:
        by_split[shard.split] += len(shard.scenes)
    first = [ref for _, ref in zip(range(PROBED), plan.scenes, strict=False)]
    refs = tuple(ref for ref in first if ref.image not in failed)
    task = ShardTask(ShardPlan("probe", "train", refs), options.out, plan.settings)
    began = time.perf_counter()
    (probe,) = pool.run(measure, [task], 1, lambda _: None)
    # What is paid once: a process, its libraries, the compiled kernel.
    start = max(0.0, time.perf_counter() - began - probe.seconds * len(refs))
    problems = [failed[ref.image] for ref in first if ref.image in failed] + probe.problems
    size = int(sum(probe.sizes) * by_split.total() / max(1, len(first) - len(problems)))
    workers = min(options.workers or engine.cores(), len(plan.shards))
    longest = _longest([len(shard.scenes) for shard in plan.shards], min(workers, engine.cores()))
    mean = sum(probe.transmissions) / len(probe.transmissions) if probe.transmissions else None
    return Estimate(
        found=plan.found,
        others=plan.others,
        rejected=dict(Counter(r.code for r in plan.rejected)),
        probe_rejected=problems,
        scenes=dict(by_split),
        pairs=by_split.total() * plan.settings.variants,
        shards=len(plan.shards),
        bytes=size,
        seconds=start + probe.seconds * longest,
        workers=workers,
        worker_mb=probe.peak_mb + min(size / len(plan.shards), build.IN_MEMORY) / 1e6,
        free_bytes=None if stores.is_remote(options.out) else running.free_bytes(options.out),
        mean_transmission=mean,
        kind=plan.settings.kind,
    )


def _longest(scenes: Sequence[int], workers: int) -> int:
    """Scenes of the worker that has most of them, where each takes the next shard as soon as it has done one."""
    taken = [0] * workers
    for count in scenes:
        heapq.heapreplace(taken, taken[0] + count)
    return max(taken)


def measure(task: ShardTask, report: engine.Report) -> Probe:
    """Makes the records of a shard's scenes and throws them away."""
    build.check_reach(task.settings.reading)
    if task.settings.kind == "pairs":
        warm.keep_going_without_cache()
    problems: list[str] = []
    sizes: list[int] = []
    transmissions: list[float] = []
    seconds: list[float] = []

    def noted(pairs: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
        for _, record in pairs:
            sizes.append(len(record))
            if task.settings.kind == "pairs":
                transmissions.append(records.decode(record)["mean_transmission"])
            report(1)
            yield record

    for ref in task.plan.scenes:
        began = time.perf_counter()
        try:
            fingerprint(ref, task.settings.reading)
            scene = scenes.load(ref, task.settings.reading, task.settings.recipe)
            with tempfile.TemporaryDirectory() as folder:  # any disk: --out may not be there yet, and is left as it is
                shards.write_shard(Path(folder) / "probe-0", noted(build.records_of(scene, task.settings)))
        except RefusedError as error:
            problems.append(str(error))
            continue
        seconds.append(time.perf_counter() - began)
    # The first scene pays for what is loaded and compiled once.
    steady = seconds[1:] or seconds
    return Probe(problems, sizes, transmissions, sum(steady) / max(1, len(steady)), memory.peak_mb())
