"""Examples a second of the input pipeline alone, beside the decode floor: in one run, in turn, on all cores.

    python benchmarks/input.py --out input.json
    python benchmarks/input.py --short
    python benchmarks/input.py --images PHOTOS --depth DEPTH --depth-scale METRES_PER_UNIT --scenes 12 --seconds 2

Of each case (pairs or scenes, of a codec, in windows or whole frames):

    floor     the same windows of the same records decoded by the same operations, as many threads as cores, from
              memory; nothing else is done
    reading   the records of the shards read and held against their checksums; nothing else is done
    pipeline  data.training_batches as a device takes them: read, shuffled, parsed, decoded, mirrored, turned, put
              into batches of bytes
    numbers   the pipeline, and bytes made numbers on the CPU
    hazed     of scenes: the pipeline, and haze drawn and applied on the CPU (compiled)

Rates are medians of the rounds, in which the ways take turns, and shares of the floor are medians of the rounds'
shares; CPU seconds are those of the whole process. Photos are procedural (hazegen samples) unless --images and --depth
are given; all are held in the page cache.
"""

import argparse
import dataclasses
import itertools
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from hazegen import config, engine, manifest, records
from hazegen.make import make
from hazegen.make_options import MakeOptions
from hazegen.recipe import Recipe

KINDS, CODECS = ("pairs", "scenes"), ("jpeg", "png", "raw")
SIZE = (480, 640)
# What the floor holds in memory.
FLOOR_BYTES = 300e6
# Examples that the floor decodes in one call, at whose end threads wait for the last of them; and with --short.
FLOOR_AT_ONCE, SHORT_AT_ONCE = 64, 16
KINDS_OF = {"pairs": ("hazy", "clean"), "scenes": ("clean", "distance")}
CORES_OF_A_HOST = 16
# Records of an epoch of the pipeline, at least.
EPOCH = 20_000
# Share of a turn in which nothing is counted: what was decoded ahead in another's turn is used up first.
SETTLING = 0.3
# A process that takes less than a tenth of a core over so long is idle; how long that is waited for.
IDLE_S, LONGEST_WAIT_S = 0.05, 3.0


@dataclass(frozen=True)
class Case:
    """What is measured: records of one kind and codec, in windows of `crop` pixels, or whole."""

    kind: str
    codec: str
    crop: int | None

    def __str__(self) -> str:
        return f"{self.kind}, {self.codec}, {self.crop or 'full frames'}"


@dataclass(frozen=True)
class Rate:
    """Examples a second, by the clock and by the CPU time of all threads."""

    by_clock: float
    by_cpu: float


def main() -> None:
    given = read_options()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with tempfile.TemporaryDirectory(prefix="input-") as temporary:
        root = Path(temporary)
        images, depth, scale = photos(given, root)
        results = []
        for kind, codec in itertools.product(given.kinds, given.codecs):
            folder = dataset(root, images, depth, scale, kind, codec, given)
            for crop in given.crops:
                results.append(measure(folder, Case(kind, codec, crop), given))
                print(line(results[-1]), flush=True)
    content = {"date": str(date.today()), "machine": machine(), "cores": engine.cores(), "options": vars(given)}
    print("\n" + markdown(results))
    if given.out:
        given.out.write_text(json.dumps(content | {"results": results}, indent=1, default=str) + "\n", encoding="utf-8")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="photos [default: procedural ones]")
    parser.add_argument("--depth", type=Path, help="their depth maps")
    parser.add_argument("--depth-scale", type=float, default=0.001, help="metres in one unit of these [default: 0.001]")
    parser.add_argument("--scenes", type=int, default=24, help="how many procedural photos [default: 24]")
    parser.add_argument("--variants", type=int, default=2, help="pairs of each photo [default: 2]")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each way in each round [default: 0.5]")
    parser.add_argument(
        "--rounds", type=int, default=5, help="in which the ways take turns; half of PNG and raw [default: 5]"
    )
    parser.add_argument("--batch", type=int, default=8, help="examples in a batch [default: 8]")
    parser.add_argument("--crop", type=int, default=256, help="side of the windows [px] [default: 256]")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--codecs", nargs="+", choices=CODECS, default=list(CODECS))
    parser.add_argument("--windows", choices=("crops", "frames", "both"), default="both")
    parser.add_argument("--short", action="store_true", help="few photos and one round: shows that all of it runs")
    parser.add_argument("--out", type=Path, help="JSON file for all figures")
    given = parser.parse_args()
    if given.short:
        given.scenes, given.variants, given.seconds, given.rounds = 4, 2, 0.3, 1
    given.crops = [given.crop] * (given.windows != "frames") + [None] * (given.windows != "crops")
    return given


# --- datasets ---


def photos(given: argparse.Namespace, root: Path) -> tuple[Path, Path, float]:
    """Folders of photos and depth maps, and the metres in one unit of these."""
    if given.images:
        return given.images, given.depth, given.depth_scale
    import cv2

    from hazegen.images import encode
    from hazegen.samples import make_sample

    for folder in ("images", "depth"):
        (root / folder).mkdir()
    cv2.setNumThreads(1)
    with ThreadPoolExecutor(engine.cores()) as pool:
        for index, sample in enumerate(pool.map(lambda i: make_sample(0, i, SIZE[1], SIZE[0]), range(given.scenes))):
            (root / "images" / f"{index:05d}.png").write_bytes(encode(sample.image, ".png"))
            (root / "depth" / f"{index:05d}.png").write_bytes(encode(sample.depth, ".png"))
    return root / "images", root / "depth", 0.001


def dataset(
    root: Path, images: Path, depth: Path, scale: float, kind: Any, codec: Any, given: argparse.Namespace
) -> Path:
    """All photos in one split, made as hazegen make makes them."""
    options = MakeOptions(
        images=images, depth=depth, out=root / f"{kind}-{codec}", depth_scale=scale, splits="train=1", kind=kind,
        codec=codec, variants=given.variants if kind == "pairs" else None, shard_mb=64.0,
    )  # fmt: skip
    recipe = {"name": "input", "path": "plane", "depth_norm": "max", "beta": "uniform(0.6, 1.8)", "max_holes": 0.9}
    make(options, config.build(Recipe, recipe))
    return options.out


def read_all(folder: Path) -> list[bytes]:
    """Encoded records, as many as the floor may hold."""
    found, size = [], 0
    for shard in manifest.load(folder).shards:
        for record in records.read_shard(folder / shard.name):
            found.append(record)
            size += len(record)
            if size > FLOOR_BYTES:
                return found
    return found


# --- ways ---


def measure(folder: Path, case: Case, given: argparse.Namespace) -> dict[str, Any]:
    """Rates of all ways, and what they are of the floor."""
    ways: dict[str, Callable[[], Iterator[int]]] = {
        "floor": floor(folder, case, SHORT_AT_ONCE if given.short else FLOOR_AT_ONCE),
        "reading": lambda: reading(folder),
        "pipeline": lambda: pipeline(folder, case, given, as_bytes=True),
        "numbers": lambda: pipeline(folder, case, given, as_bytes=False),
    }
    if case.kind == "scenes":
        ways["hazed"] = hazed(folder, case, given)
    running = {name: way() for name, way in ways.items()}
    for name, one in running.items():
        for _ in itertools.islice(one, 1 if name == "floor" else 4):  # traced, threads started, buffers filled
            pass
    count = given.rounds if case.codec == "jpeg" else -(-given.rounds // 2)
    rounds = [{name: timed(one, given.seconds) for name, one in running.items()} for _ in range(count)]
    rates = {name: [turn[name] for turn in rounds] for name in ways}
    result: dict[str, Any] = {"case": str(case), **vars(case)}
    for name, found in rates.items():
        result[name] = {"by_clock": [r.by_clock for r in found], "by_cpu": [r.by_cpu for r in found]}
        result[f"{name}_median"] = statistics.median(r.by_clock for r in found)
        result[f"{name}_median_cpu"] = statistics.median(r.by_cpu for r in found)
    for name, by in (("share", "by_clock"), ("share_cpu", "by_cpu")):
        pairs = zip(result["pipeline"][by], result["floor"][by], strict=True)
        result[name] = statistics.median(pipeline / floor for pipeline, floor in pairs)
    return result


def timed(running: Iterator[int], seconds: float) -> Rate:
    """The rate of what is running already, over some seconds."""
    wait_for_the_others()
    began = time.perf_counter()
    while time.perf_counter() - began < SETTLING * seconds:
        next(running)
    count, began, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        count += next(running)
    return Rate(count / (time.perf_counter() - began), count / max(time.process_time() - cpu, 1e-9))


def wait_for_the_others() -> None:
    """Until the buffers of what ran before are full: else it would go on in the next one's turn, at its cost."""
    until = time.perf_counter() + LONGEST_WAIT_S
    while time.perf_counter() < until:
        cpu = time.process_time()
        time.sleep(IDLE_S)
        if time.process_time() - cpu < 0.1 * IDLE_S:
            return


def floor(folder: Path, case: Case, at_once: int) -> Callable[[], Iterator[int]]:
    """Windows drawn at random, decoded by TensorFlow's own threads, as many as there are cores, in one graph."""

    def run() -> Iterator[int]:
        import tensorflow as tf

        from aodnet import decoding

        rng = np.random.default_rng(0)
        jobs = [job(record, case, rng) for record in read_all(folder)]

        def decoded(kind: str, data: Any, size: Any, window: Any) -> Any:
            if kind == "distance":
                return decoding.decode_distance(data, size, window)
            return decoding.decode_image(data, case.codec, size, window)

        @tf.function
        def decode(some: list[list[tuple[Any, Any, Any]]]) -> Any:
            kinds = KINDS_OF[case.kind]
            parts = [decoded(kind, *one) for job in some for kind, one in zip(kinds, job, strict=True)]
            # One number of each is used: TensorFlow leaves out what nobody asks for.
            return [part[(0,) * len(part.shape)] for part in parts]

        for first in itertools.count(0, at_once):
            decode([jobs[number % len(jobs)] for number in range(first, first + at_once)])
            yield at_once

    return run


def job(record: bytes, case: Case, rng: np.random.Generator) -> list[tuple[Any, Any, Any]]:
    """What has to be decoded of a record, as tensors: bytes, size and window."""
    import tensorflow as tf

    values = records.decode(record, case.kind)
    height, width, crop = values["height"], values["width"], case.crop
    window = None
    if crop is not None:
        corner = rng.integers(0, (height - crop + 1, width - crop + 1))
        window = tf.constant([*corner, crop, crop], tf.int32)
    size = tf.constant([height, width], tf.int32)
    return [(tf.constant(values[name]), size, window) for name in KINDS_OF[case.kind]]


def reading(folder: Path) -> Iterator[int]:
    """TensorFlow reads the shards, again and again."""
    import tensorflow as tf

    paths = [str(folder / shard.name) for shard in manifest.load(folder).shards]
    dataset = tf.data.TFRecordDataset(paths, buffer_size=1 << 20, num_parallel_reads=min(8, len(paths)))
    for _ in dataset.repeat():
        yield 1


def batches_of(folder: Path, case: Case, given: argparse.Namespace, *, as_bytes: bool) -> Iterator[dict[str, Any]]:
    from aodnet import data

    known = manifest.load(folder)
    # An epoch as long as that of a real dataset: its beginning, when the buffer of records is filled, is not the rule.
    turns = -(-EPOCH // known.records_of("train"))
    source = data.Source(folder, dataclasses.replace(known, shards=known.shards * turns))
    for epoch in itertools.count():
        yield from data.training_batches(
            [source], crop=case.crop, batch=given.batch, seed=0, epoch=epoch, as_bytes=as_bytes
        )


def pipeline(folder: Path, case: Case, given: argparse.Namespace, *, as_bytes: bool) -> Iterator[int]:
    """The batches, and nothing done with them."""
    for batch in batches_of(folder, case, given, as_bytes=as_bytes):
        yield int(batch["clean"].shape[0])


def hazed(folder: Path, case: Case, given: argparse.Namespace) -> Callable[[], Iterator[int]]:
    """The batches of scenes, hazed on this machine's CPU."""

    def run() -> Iterator[int]:
        import tensorflow as tf

        from aodnet import online

        recipes = online.read_recipes(None, [manifest.load(folder)])
        step = tf.function(lambda batch: online.hazy_and_clean(batch, recipes)[0], jit_compile=True)
        for batch in batches_of(folder, case, given, as_bytes=True):
            yield len(step(batch).numpy())

    return run


# --- tables ---


def machine() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def line(result: dict[str, Any]) -> str:
    """One case in words, as soon as it is measured."""
    rates = ", ".join(
        f"{name} {result[f'{name}_median']:.0f}/s ({result[f'{name}_median_cpu']:.0f} a CPU-second)"
        for name in ("floor", "reading", "pipeline", "numbers", "hazed")
        if name in result
    )
    return f"{result['case']}: {rates}; {result['share']:.2f} of the floor ({result['share_cpu']:.2f} by CPU time)"


def markdown(results: list[dict[str, Any]]) -> str:
    """The table of docs/input.md: examples a CPU-second, and the rates of a host of 16 cores by multiplication."""
    ways = ("floor", "reading", "pipeline", "numbers", "hazed")
    rows = [
        f"| records | {' | '.join(ways)} | of the floor by CPU time | by the clock | x {CORES_OF_A_HOST} cores |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        rates = [f"{result[f'{name}_median_cpu']:,.0f}" if name in result else "-" for name in ways]
        rows.append(
            f"| {result['case']} | {' | '.join(rates)} | {result['share_cpu']:.2f} | {result['share']:.2f} | "
            f"{CORES_OF_A_HOST * result['pipeline_median_cpu']:,.0f} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
