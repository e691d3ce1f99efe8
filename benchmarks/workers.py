"""Threads or processes for hazegen's workers: pairs a second of both, in turn, in one run.

Makes procedural photos in a temporary folder (or takes yours), plans a dataset of them, and builds all of its shards
in one process, by threads (hazegen.engine) and by processes (hazegen.pool), several times, in turn; then the same
for reading and checking each picture, as hazegen verify does. Prints tables and writes JSON.

    python benchmarks/workers.py --scenes 64 --variants 10 --workers 2 --repeats 3 --out workers.json
    python benchmarks/workers.py --scenes 100 --images PHOTOS --depth DEPTH --depth-scale METRES_PER_UNIT
    python benchmarks/workers.py --scenes 8 --variants 2 --repeats 1    # the short form
"""

import argparse
import dataclasses
import json
import platform
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import Any

from hazegen import build, config, engine, make, make_options, planning, pool, shards, verify
from hazegen.recipe import Recipe
from hazegen.samples import make_samples

Measured = dict[str, dict[str, list[float]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=32)
    parser.add_argument("--variants", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=Path, help="photos in place of procedural ones")
    parser.add_argument("--depth", type=Path)
    parser.add_argument("--depth-scale", type=float)
    parser.add_argument("--out", type=Path, default=Path("workers.json"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        options = options_of(Path(folder), given)
        recipe = config.build(Recipe, config.read_config(config.find_config("aod-released", "recipes"), Recipe))
        known = make.make(options, recipe).manifest  # what verify reads; and it compiles the kernel
        assert known is not None
        pairs = sum(shard.records for shard in known.shards)
        start = statistics.median(seconds_to_start(options, recipe) for _ in range(given.repeats))
        built = in_turn(given, pairs, lambda run: build_all(options, recipe, run))
        looked = in_turn(given, pairs, lambda run: verify_all(options.out, known, run))
    report({"build": built, "verify": looked}, pairs, start, given)


def options_of(folder: Path, given: argparse.Namespace) -> make_options.MakeOptions:
    """A dataset of eight shards or so under the recipe aod-released."""
    made = folder / "scenes"
    if given.images is None:
        make_samples(made, given.scenes, 0)
    return make_options.MakeOptions(
        images=given.images or made / "images",
        depth=given.depth or made / "depth",
        out=folder / "out",
        depth_scale=given.depth_scale,
        camera=None if given.images else made / "camera",
        variants=given.variants,
        splits="train=1",
        shard_mb=given.scenes * given.variants * 0.25 / 8,
        limit=given.scenes,
        workers=given.workers,
        progress="off",
    )


Run = Callable[[Callable[..., Any], Iterable[Any]], Iterable[Any]]


def ways(workers: int) -> dict[str, Run]:
    """How tasks are run: each takes a function and the tasks."""
    return {
        "this process": lambda function, tasks: (function(task, ignore) for task in tasks),
        f"{workers} threads": lambda function, tasks: engine.run(function, tasks, workers, ignore),
        f"{workers} processes": lambda function, tasks: pool.run(function, tasks, workers, ignore),
    }


def ignore(count: int) -> None:
    """Progress that nobody looks at."""


def in_turn(given: argparse.Namespace, pairs: int, do: Callable[[Run], None]) -> Measured:
    """Pairs a second and milliseconds of processor time a pair of each way, several times, in turn."""
    measured: Measured = {name: {"pairs_per_s": [], "cpu_ms_a_pair": []} for name in ways(given.workers)}
    for _ in range(given.repeats):
        for name, way in ways(given.workers).items():
            began, before = time.perf_counter(), cpu_seconds()
            do(way)
            measured[name]["pairs_per_s"].append(pairs / (time.perf_counter() - began))
            measured[name]["cpu_ms_a_pair"].append(1000 * (cpu_seconds() - before) / pairs)
    return measured


def cpu_seconds() -> float:
    """Of this process, its threads, and the processes that it had."""
    used = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def build_all(options: make_options.MakeOptions, recipe: Recipe, run: Run) -> None:
    for _ in run(build.build_shard, tasks_of(options, recipe)):
        pass


def tasks_of(options: make_options.MakeOptions, recipe: Recipe) -> list[build.ShardTask]:
    """The tasks of all shards, and an empty folder for them."""
    out = options.out.with_name("again")
    shutil.rmtree(out, ignore_errors=True)
    (out / shards.WORK).mkdir(parents=True)
    planned = planning.plan(options, recipe)
    return [build.ShardTask(plan, out, planned.settings) for plan in planned.shards]


def verify_all(folder: Path, known: Any, run: Run) -> None:
    tasks = [verify._Task(folder, shard, known.codec, False) for shard in known.shards]
    assert not any(found.problem for found in run(verify._verify_shard, tasks))


def seconds_to_start(options: make_options.MakeOptions, recipe: Recipe) -> float:
    """How much longer a fresh process takes for one pair than this one: its imports, and the kernel from its cache."""
    task = tasks_of(dataclasses.replace(options, limit=1, variants=1), recipe)[0]
    seconds = []
    for way in ways(1).values():
        began = time.perf_counter()
        assert len(list(way(build.build_shard, [task]))) == 1
        seconds.append(time.perf_counter() - began)
    return seconds[-1] - seconds[0]


def report(jobs: dict[str, Measured], pairs: int, start: float, given: argparse.Namespace) -> None:
    print(f"{pairs} pairs, median of {given.repeats}, start of the pool included; a process starts in {start:.2f} s")
    median = {
        job: {way: {what: statistics.median(values) for what, values in of.items()} for way, of in ways.items()}
        for job, ways in jobs.items()
    }
    for job, of in median.items():
        for way, value in of.items():
            print(f"{job:<8}{way:<14}{value['pairs_per_s']:9.1f} pairs/s {value['cpu_ms_a_pair']:8.2f} ms CPU a pair")
    content = {"date": str(date.today()), "machine": platform.machine(), "cores": engine.cores(), "pairs": pairs}
    content |= {"start_s": start, "measured": jobs, "median": median}
    given.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
