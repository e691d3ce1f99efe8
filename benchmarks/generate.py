"""Pairs a second of hazegen make beside the codec alone, the script people write, and other packages: in one run.

    HAZEGEN_TEST_DATA=FOLDER python benchmarks/generate.py --out generate.json
    python benchmarks/generate.py --images PHOTOS --depth DEPTH --depth-scale METRES_PER_UNIT --short

Every method runs on the same photos, haze and flags of the codec, in its own processes, one thread each, in turn:

    ours            build_shard through the pool, as hazegen make does it: read, draw, render, encode, record, checksum,
                    SHA-256, a synced shard of TFRecords on the disk
    stored          the same with --kind scenes, in scenes a second: read, quantise, record, checksum, SHA-256, a shard
    floor           the codec alone: each photo decoded once, each of our hazy pictures encoded, from memory to memory
    script          one image after another in float64 NumPy: cv2.imread, J t + A (1 - t), cv2.imwrite
    albumentations  its RandomFog in place of the equation, which knows no depth; else as the script
    euler           the uniform fog of euler-preprocess in place of the equation; else as the script

A package that is not installed is said to be missing. Rates leave out the start of the processes and what comes before
the first scene. Photos of another size are made by resizing: clean by area, depth by nearest neighbour.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hazegen import build, config, engine, images, planning, pool, render, scenes, shards, variants
from hazegen.pairing import SceneRef
from hazegen.reading import Reading
from hazegen.recipe import Recipe

PACKAGES = {"albumentations": "albumentations", "euler": "euler-preprocess"}
FLAGS = {
    "jpeg": [
        *(cv2.IMWRITE_JPEG_QUALITY, 95),
        *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    ],
    "png": [],
}
# Of the pictures that the floor holds ready, in all workers; and about those of a shard, which ends with a sync.
FLOOR_BYTES, SHARD_BYTES, MOST_SCENES = 300e6, 64e6, 300


@dataclass(frozen=True)
class Job:
    """One worker's share of a run.

    Attributes:
        refs: Its scenes, which it goes through again and again.
        settings: How they are read, hazed and stored.
        folder: Where its files go.
        gate: Folder in which all workers wait for each other before the clock starts.
        workers: How many these are.
        seconds: How long it works; what was begun is ended.
    """

    refs: tuple[SceneRef, ...]
    settings: variants.Settings
    folder: Path
    gate: Path
    workers: int
    seconds: float

    def ref(self, number: int) -> SceneRef:
        """The scene of this turn."""
        return self.refs[number % len(self.refs)]


@dataclass(frozen=True)
class Ran:
    """How many pairs (or scenes) a worker made, in how long [s], how much of it on a core, its largest memory [MB]."""

    pairs: int
    seconds: float
    cpu_seconds: float
    peak_mb: float


def ours(job: Job, report: engine.Report) -> Ran:
    """hazegen make's own work, shard after shard."""
    height, width = images.read_picture(job.settings.reading.images / job.refs[0].image).shape[:2]
    scene_bytes = planning.BYTES_PER_PIXEL[job.settings.codec] * height * width * job.settings.variants
    count = min(max(1, round(SHARD_BYTES / scene_bytes)), MOST_SCENES)

    def shard(number: int, scenes_in_it: int) -> int:
        refs = tuple(job.ref(number * scenes_in_it + place) for place in range(scenes_in_it))
        plan = shards.ShardPlan(f"train-{os.getpid()}", "train", refs)
        built = build.build_shard(build.ShardTask(plan, job.folder, job.settings), report)
        (job.folder / plan.name).unlink()
        return built.shard.records

    if job.seconds == 0.0:
        count = 1
    shard(0, 1)  # what is compiled or read once in a process
    return _timed(job, lambda number: shard(number, count))


def stored(job: Job, report: engine.Report) -> Ran:
    """hazegen make --kind scenes' own work: a record for each scene."""
    return ours(replace(job, settings=replace(job.settings, kind="scenes", variants=1)), report)


def floor(job: Job, report: engine.Report) -> Ran:  # noqa: ARG001
    """Decoding and encoding, and nothing else."""
    cv2.setNumThreads(1)
    settings = job.settings
    suffix, flags = images.SUFFIXES[settings.codec], FLAGS[settings.codec]
    held: list[tuple[Any, list[Any]]] = []
    size = 0
    for ref in job.refs:
        scene = scenes.load(ref, settings.reading, settings.recipe)
        size += settings.variants * scene.clean.nbytes
        if held and size > FLOOR_BYTES / job.workers:
            break
        held.append((np.frombuffer(scene.photo, np.uint8), [view.bgr for view in _views(scene, settings)]))

    def once(number: int) -> int:
        clean, hazy = held[number % len(held)]
        cv2.imdecode(clean, cv2.IMREAD_COLOR)
        for picture in hazy:
            cv2.imencode(suffix, picture, flags)
        return len(hazy)

    return _timed(job, once)


def _views(scene: scenes.Scene, settings: variants.Settings) -> Iterator[render.View]:
    for haze in variants.draw_haze(scene, settings.recipe, settings.seed, settings.variants):
        yield render.view(scene.clean, scene.distance_m, haze, settings.recipe.color_space, scene.camera)


def script(job: Job, report: engine.Report) -> Ran:  # noqa: ARG001
    """What people write."""
    unit_m = job.settings.reading.depth_format["unit"]

    def haze(clean: Any, depth: Any, beta: float, light: float) -> Any:
        t = np.exp(-beta * depth.astype(np.float64) * unit_m)[..., None]
        return ((clean / 255.0 * t + light * (1.0 - t)) * 255.0).clip(0, 255).astype(np.uint8)

    return _files(job, haze)


def albumentations(job: Job, report: engine.Report) -> Ran:  # noqa: ARG001
    """RandomFog of albumentations."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would ask the network for a newer version
    from albumentations import RandomFog

    fog = RandomFog(fog_coef_range=(0.3, 1.0), p=1.0)
    return _files(job, lambda clean, depth, beta, light: fog(image=clean)["image"])  # noqa: ARG005


def euler(job: Job, report: engine.Report) -> Ran:  # noqa: ARG001
    """The uniform fog of euler-preprocess, on the processor."""
    from euler_preprocess.fog.models import apply_model

    unit_m = np.float32(job.settings.reading.depth_format["unit"])

    def haze(clean: Any, depth: Any, beta: float, light: float) -> Any:
        fog = {"scattering_coefficient": beta, "atmospheric_light": [light] * 3}
        rgb, depth_m = clean.astype(np.float32) / 255.0, depth.astype(np.float32) * unit_m
        hazy = apply_model(rgb, depth_m, "uniform", fog, np.random.default_rng(0), 0.05, None)[0]
        return np.rint(np.clip(hazy, 0.0, 1.0) * 255.0).astype(np.uint8)

    return _files(job, haze)


METHODS: dict[str, Callable[[Job, engine.Report], Ran]] = {
    "ours": ours,
    "stored": stored,
    "floor": floor,
    "script": script,
    "albumentations": albumentations,
    "euler": euler,
}


def _files(job: Job, haze: Callable[[Any, Any, float, float], Any]) -> Ran:
    """Each photo and its depth read, each of its variants hazed and written, one after another."""
    cv2.setNumThreads(1)
    settings, suffix, flags = job.settings, images.SUFFIXES[job.settings.codec], FLAGS[job.settings.codec]
    rng = np.random.default_rng(0)
    haze(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8), 0.1, 0.9)

    def once(number: int) -> int:
        ref = job.ref(number)
        clean = cv2.imread(str(settings.reading.images / ref.image))
        depth = cv2.imread(str(settings.reading.depth / ref.depth), cv2.IMREAD_UNCHANGED)
        for variant in range(settings.variants):
            beta, light = 0.04 * rng.integers(1, 8), 0.9 + 0.05 * rng.integers(3)
            path = job.folder / f"{os.getpid()}-{ref.key}-{variant}{suffix}"
            cv2.imwrite(str(path), haze(clean, depth, beta, light), flags)
        return settings.variants

    return _timed(job, once)


def _timed(job: Job, once: Callable[[int], int]) -> Ran:
    """Calls `once` until enough pairs are made, from the moment when all workers are ready."""
    (job.gate / str(os.getpid())).touch()
    while sum(1 for _ in job.gate.iterdir()) < job.workers:
        time.sleep(0.01)
    began, worked, pairs, number = time.perf_counter(), time.process_time(), 0, 0
    while not pairs or time.perf_counter() - began < job.seconds:
        pairs += once(number)
        number += 1
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    return Ran(pairs, time.perf_counter() - began, time.process_time() - worked, peak_mb)


# --- one run of a method ---


def measure(
    method: str, refs: list[SceneRef], settings: variants.Settings, workers: int, seconds: float
) -> tuple[float, float, float]:
    """Of some processes: pairs a second while all work, time on a core a pair [ms], largest memory of one [MB]."""
    import generate  # by its name as a module: the workers look it up there

    share = max(len(refs) // workers, 1)
    with tempfile.TemporaryDirectory() as made:
        folder, gate = Path(made, "out"), Path(made, "gate")
        folder.mkdir()
        gate.mkdir()
        parts = [tuple(refs[number * share : (number + 1) * share] or refs) for number in range(workers)]
        jobs = [generate.Job(part, settings, folder, gate, workers, seconds) for part in parts]
        ran = list(pool.run(getattr(generate, method), jobs, workers, ignore))
    cpu_ms = 1000.0 * sum(one.cpu_seconds for one in ran) / sum(one.pairs for one in ran)
    return sum(one.pairs / one.seconds for one in ran), cpu_ms, max(one.peak_mb for one in ran)


def ignore(count: int) -> None:
    """Progress that nobody looks at."""


def prepare(folder: Path, source: Reading, size: tuple[int, int], count: int) -> tuple[Reading, list[SceneRef]]:
    """`count` photos and depth maps of this width and height: the files themselves where they are of it already."""
    refs = []
    for kind in ("images", "depth"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for photo in sorted(path for path in source.images.iterdir() if path.suffix in (".jpg", ".png"))[:count]:
        depth = source.depth / f"{photo.stem}.png"
        clean = cv2.imread(str(photo))
        if (clean.shape[1], clean.shape[0]) == size:
            (folder / "images" / photo.name).write_bytes(photo.read_bytes())
            (folder / "depth" / depth.name).write_bytes(depth.read_bytes())
            refs.append(SceneRef(photo.stem, photo.name, depth.name))
            continue
        resized = cv2.resize(clean, size, interpolation=cv2.INTER_AREA)
        (folder / "images" / f"{photo.stem}.jpg").write_bytes(images.encode(resized, ".jpg", bgr=True))
        values = cv2.imread(str(depth), cv2.IMREAD_UNCHANGED)
        resized = cv2.resize(values, size, interpolation=cv2.INTER_NEAREST_EXACT)
        (folder / "depth" / depth.name).write_bytes(images.encode(resized, ".png"))
        refs.append(SceneRef(photo.stem, f"{photo.stem}.jpg", depth.name))
    return Reading(folder / "images", folder / "depth", depth_format=source.depth_format), refs


def rates(given: argparse.Namespace, source: Reading, folder: Path) -> Iterator[dict[str, Any]]:
    """One row for each size, codec, number of variants and number of workers."""
    recipe = config.build(Recipe, config.read_config(config.find_config(given.recipe, "recipes"), Recipe))
    for size in given.sizes:
        reading, refs = prepare(folder / "x".join(map(str, size)), source, size, given.scenes)
        for codec in given.codecs:
            for count in given.variants:
                for workers in given.workers:
                    settings = variants.Settings(reading, recipe, count, 0, codec, 95, False)
                    row = {"size": "x".join(map(str, size)), "codec": codec, "variants": count, "workers": workers}
                    yield row | _row(given, settings, refs, workers)


def _row(given: argparse.Namespace, settings: variants.Settings, refs: list[SceneRef], workers: int) -> dict[str, Any]:
    """All methods in turn, several times."""
    runs: dict[str, list[tuple[float, float, float]]] = {method: [] for method in given.methods}
    for _ in range(given.repeats):
        for method in given.methods:
            runs[method].append(measure(method, refs, settings, workers, given.seconds))
    names = ("pairs_per_s", "cpu_ms", "peak_mb")
    medians = {
        name: {method: round(statistics.median(column), 3) for method, column in _column(runs, place)}
        for place, name in enumerate(names)
    }
    return medians | {"runs": runs}


def _column(runs: dict[str, list[tuple[float, float, float]]], place: int) -> Iterator[tuple[str, list[float]]]:
    for method, rows in runs.items():
        yield method, [row[place] for row in rows]


def show(rows: list[dict[str, Any]], methods: list[str]) -> Iterator[str]:
    """The table: pairs a second of each method, and what the targets speak of."""
    names = ("size", "codec", "variants", "workers")
    heads = [*names, *methods, "of floor", "of floor by CPU time", "x script", "peak MB"]
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        rate, cpu_ms = row["pairs_per_s"], row["cpu_ms"]
        shares = [
            _ratio(rate, "ours", "floor"),
            _ratio(cpu_ms, "floor", "ours"),
            _ratio(rate, "ours", "script"),
            f"{row['peak_mb']['ours']:.0f}" if "ours" in row["peak_mb"] else "",
        ]
        yield (
            "| "
            + " | ".join([*(str(row[name]) for name in names), *(f"{rate[m]:.4g}" for m in methods), *shares])
            + " |"
        )


def _ratio(figures: dict[str, float], first: str, second: str) -> str:
    return f"{figures[first] / figures[second]:.2f}" if {first, second} <= set(figures) else ""


def main() -> None:
    given = parse()
    missing = [name for name in given.methods if name in PACKAGES and importlib.util.find_spec(_module(name)) is None]
    given.methods = [name for name in given.methods if name not in missing]
    source = Reading(given.images, given.depth, depth_format={"unit": given.depth_scale})
    with tempfile.TemporaryDirectory() as folder:
        rows = list(rates(given, source, Path(folder)))
    for line in show(rows, given.methods):
        print(line)
    for name in missing:
        print(f"{PACKAGES[name]} is missing: pip install --no-deps --target FOLDER {PACKAGES[name]}, PYTHONPATH=FOLDER")
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps({"rows": rows, "missing": missing, **machine(given)}, indent=1) + "\n")


def _module(name: str) -> str:
    return PACKAGES[name].replace("-", "_")


def machine(given: argparse.Namespace) -> dict[str, Any]:
    """What the figures depend on."""
    names = [
        "numpy",
        "numba",
        "opencv-python-headless",
        "crc32c",
        *(PACKAGES[name] for name in given.methods if name in PACKAGES),
    ]
    model = [line.split(":")[1].strip() for line in _cpuinfo().splitlines() if line.startswith("model name")]
    return {
        "date": str(date.today()),
        "machine": model[0] if model else platform.machine(),
        "cores": engine.cores(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in names},
        "recipe": given.recipe,
        "scenes": given.scenes,
    }


def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    real = os.environ.get("HAZEGEN_TEST_DATA")
    parser.add_argument("--images", type=Path, default=real and Path(real, "nyu_labeled", "image"))
    parser.add_argument("--depth", type=Path, default=real and Path(real, "nyu_labeled", "depth"))
    parser.add_argument(
        "--depth-scale", type=float, default=10.0 / 255.0, help="metres in one unit [that of the NYU maps]"
    )
    parser.add_argument("--scenes", type=int, default=32)
    parser.add_argument("--sizes", type=_size, nargs="+", default=[(640, 480), (2048, 1024)], metavar="WIDTHxHEIGHT")
    parser.add_argument("--codecs", nargs="+", choices=list(FLAGS), default=list(FLAGS))
    parser.add_argument("--variants", type=int, nargs="+", default=[1, 10, 35])
    parser.add_argument("--workers", type=int, nargs="+", default=sorted({1, engine.cores()}))
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--recipe", default="aod-released", help="with three lights and seven extinctions")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each method in each row, at least")
    parser.add_argument("--short", action="store_true", help="two scenes, one row, 2 workers: whether it works")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    given = parser.parse_args()
    if given.images is None or given.depth is None:
        parser.error("no photos. Expected --images and --depth, or HAZEGEN_TEST_DATA in the environment.")
    if given.short:
        given.scenes, given.repeats, given.seconds = 2, 1, 0.0
        given.variants, given.workers = [2], [2]
        given.sizes, given.codecs = given.sizes[:1], given.codecs[:1]
    return given


def _size(text: str) -> tuple[int, int]:
    width, height = text.split("x")
    return int(width), int(height)


if __name__ == "__main__":
    main()
