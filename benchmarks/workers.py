"""Threads or processes for hazegen's workers: pairs a second of both, in turn, in one run.

Makes procedural photos in a temporary folder (or takes yours), plans a dataset of them, and builds all
of its shards with each kind of pool, several times, in turn. Prints a table and writes JSON.

    python benchmarks/workers.py --scenes 64 --variants 10 --workers 2 --repeats 3 --out workers.json
    python benchmarks/workers.py --scenes 100 --images PHOTOS --depth DEPTH --depth-scale METRES_PER_UNIT
"""

import argparse
import json
import multiprocessing
import platform
import shutil
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path

from hazegen import build, config, engine, make_options, planning, shards
from hazegen.recipe import Recipe
from hazegen.samples import make_samples


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
        tasks = plan(Path(folder), given)
        pairs = sum(len(task.plan.scenes) for task in tasks) * given.variants
        ways = {"1 process": one, f"{given.workers} threads": threads, f"{given.workers} processes": processes}
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(given.repeats):
            for name, way in ways.items():
                shutil.rmtree(tasks[0].out, ignore_errors=True)
                (tasks[0].out / shards.WORK).mkdir(parents=True)
                began = time.perf_counter()
                way(tasks, given.workers)
                rates[name].append(pairs / (time.perf_counter() - began))
    report(rates, pairs, given)


def plan(folder: Path, given: argparse.Namespace) -> list[build.ShardTask]:
    """Eight shards or so under the recipe aod-released."""
    made = folder / "scenes"
    if given.images is None:
        make_samples(made, given.scenes, 0)
    recipe = config.build(Recipe, config.read_config(config.find_config("aod-released", "recipes"), Recipe))
    options = make_options.MakeOptions(
        images=given.images or made / "images",
        depth=given.depth or made / "depth",
        out=folder / "out",
        depth_scale=given.depth_scale,
        camera=None if given.images else made / "camera",
        variants=given.variants,
        splits="train=1",
        shard_mb=given.scenes * given.variants * 0.25 / 8,
        limit=given.scenes,
    )
    return planning.plan(options, recipe).tasks


def one(tasks: list[build.ShardTask], workers: int) -> None:  # noqa: ARG001
    for task in tasks:
        build.build_shard(task, ignore)


def threads(tasks: list[build.ShardTask], workers: int) -> None:
    for _ in engine.run(build.build_shard, tasks, workers, ignore):
        pass


def processes(tasks: list[build.ShardTask], workers: int) -> None:
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(build.build_shard, tasks, [ignore] * len(tasks)))


def ignore(count: int) -> None:
    """Progress that nobody looks at."""


def report(rates: dict[str, list[float]], pairs: int, given: argparse.Namespace) -> None:
    medians = {name: statistics.median(values) for name, values in rates.items()}
    base = next(iter(medians.values()))
    print(f"{pairs} pairs of 640 x 480, JPEG 95 4:4:4, median of {given.repeats}, start of the pool included")
    for name, rate in medians.items():
        print(f"{name:<14}{rate:8.1f} pairs/s  {rate / base:5.2f} x")
    content = {"date": str(date.today()), "machine": platform.machine(), "cores": engine.cores(), "pairs": pairs}
    content |= {"pairs_per_s": rates, "median": medians}
    given.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
