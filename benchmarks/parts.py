"""Where the time goes: the parts of a pair, the start of a process, the plan, and what split and merge do to a pair.

    HAZEGEN_TEST_DATA=FOLDER python benchmarks/parts.py --out parts.json
    python benchmarks/parts.py --images PHOTOS --depth DEPTH --depth-scale METRES_PER_UNIT --short

Each part is done again and again on one core and the least time is taken: what disturbs it can only add. Processor time
where it says so. Parts of a scene are divided by its variants.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import generate  # beside this file
import numpy as np

from hazegen import (
    clean_bytes,
    config,
    derive_index,
    duplicates,
    heads,
    images,
    kernel,
    make,
    manifest,
    physics,
    records,
    render,
    scenes,
    shards,
    variants,
)  # fmt: skip
from hazegen.make_options import MakeOptions
from hazegen.pairing import SceneRef
from hazegen.reading import Reading
from hazegen.recipe import Recipe

RECIPE = "aod-released"


def least_ms(work: Callable[[], Any], repeats: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Least time of some runs of `work` [ms], after one that is not counted."""
    work()
    taken = []
    for _ in range(repeats):
        began = clock()
        work()
        taken.append(clock() - began)
    return 1000.0 * min(taken)


def parts_of_a_pair(ref: SceneRef, settings: variants.Settings, repeats: int, folder: Path) -> dict[str, float]:
    """Milliseconds of each part of a pair of this scene."""
    reading, recipe, count = settings.reading, settings.recipe, settings.variants
    scene = scenes.load(ref, reading, recipe)
    hazes = variants.draw_haze(scene, recipe, settings.seed, count)
    views = [render.view(scene.clean, scene.distance_m, haze, recipe.color_space, scene.camera) for haze in hazes]
    picture = np.empty(scene.clean.shape, np.uint8)
    made = [record for _, record in variants.scene_records(scene, settings)]
    photo, depth = (np.frombuffer(path.read_bytes(), np.uint8) for path in files_of(ref, reading))
    decode_photo = least_ms(lambda: cv2.imdecode(photo, cv2.IMREAD_COLOR), repeats)
    decode_depth = least_ms(lambda: cv2.imdecode(depth, cv2.IMREAD_UNCHANGED), repeats)
    load = least_ms(lambda: scenes.load(ref, reading, recipe), max(1, repeats // 5))
    one, haze = views[0].bgr, hazes[0]
    values = records.decode(made[0])
    framed = [records.frame(record) for record in made]
    (folder / "shard").touch()
    return {
        "encode the hazy picture": least_ms(lambda: images.encode(one, ".jpg", settings.quality, bgr=True), repeats),
        "haze: distance to 8-bit codes, and the mean of t": least_ms(
            lambda: render.view(
                scene.clean, scene.distance_m, haze, recipe.color_space, scene.camera, out=picture
            ),
            repeats,
        ),
        "decode the photo": decode_photo / count,
        "decode the depth map": decode_depth / count,
        "the rest of reading a scene": max(0.0, load - decode_photo - decode_depth) / count,
        "encode the clean picture, or take its own bytes": least_ms(
            lambda: clean_bytes.stored(scene.photo, settings.codec, *scene.clean.shape[:2]), repeats
        )
        / count,
        "draw the haze": least_ms(lambda: variants.draw_haze(scene, recipe, settings.seed, count), repeats) / count,
        "the record, and its frame": least_ms(lambda: records.frame(records.encode(values)), repeats),
        "write it with SHA-256 and a sync": least_ms(
            lambda: shards.write_shard(folder / "shard", made), max(1, repeats // 5)
        )
        / count,
        "write it to the page cache alone": least_ms(
            lambda: (folder / "plain").write_bytes(b"".join(framed)), max(1, repeats // 5)
        )
        / count,
    }  # fmt: skip


def files_of(ref: SceneRef, reading: Reading) -> tuple[Path, Path]:
    """The photo and the depth map of a scene."""
    return reading.images / ref.image, reading.depth / ref.depth


def kernel_parts(repeats: int) -> dict[str, float]:
    """Milliseconds of the compiled loops for 640 x 480, with one beta and with three, on codes and in linear light."""
    rng = np.random.default_rng(0)
    clean = rng.integers(0, 256, (480, 640, 3), np.uint8)
    distance_m = rng.uniform(1.0, 10.0, (480, 640)).astype(np.float32)
    light, out = np.array([0.9, 0.9, 0.9], np.float32), np.empty((480, 640, 3), np.uint8)
    no_map = np.empty((0, 0, 0), np.float32)

    def once(betas: list[float], color_space: str) -> float:
        beta = np.array(betas, np.float32)
        tables = render._tables(color_space)
        return least_ms(
            lambda: kernel.add_haze(clean, distance_m, beta, light, *tables, out, no_map, render._STRIP_PX), repeats
        )

    numpy = least_ms(lambda: physics.transmission(np.float32(0.1), distance_m), repeats)
    return {
        "one beta, code values": once([0.1], "srgb"),
        "three betas, code values": once([0.1, 0.12, 0.15], "srgb"),
        "one beta, linear light": once([0.1], "linear"),
        "NumPy's exp(-beta d) alone, beside it": numpy,
    }


def starts(repeats: int) -> dict[str, float]:
    """Seconds of processor time of a fresh process: Python, what a worker imports, and the kernel from its cache."""
    programs = {
        "Python alone": "pass",
        "what a worker imports": "import hazegen.build",
        "the same, and the kernel from its cache": "import hazegen.build, hazegen.kernel",
    }
    return {name: min(_cpu_seconds(code) for _ in range(max(1, repeats // 50))) for name, code in programs.items()}


def _cpu_seconds(code: str) -> float:
    tell = "import time; print(time.process_time())"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{tell}"], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def plan_us(scenes_in_it: int, folder: Path) -> dict[str, float]:
    """Microseconds of processor time to read a plan, and its bytes, for each scene."""
    refs = [SceneRef(f"frame_{n:07d}", f"{n // 1000:04d}/frame_{n:07d}.jpg", f"{n // 1000:04d}/frame_{n:07d}.png")
            for n in range(scenes_in_it)]  # fmt: skip
    plans = shards.plan_shards(refs, {ref.key: "train" for ref in refs}, 100)
    folder.mkdir()
    (folder / "plan.jsonl").write_text("".join(line for line in shards.plan_lines({"version": 1}, plans)))
    began = time.process_time()
    read = sum(len(plan.scenes) for plan in shards.read_plan(folder)[1])
    assert read == scenes_in_it
    return {
        "us_to_read": 1e6 * (time.process_time() - began) / read,
        "bytes": (folder / "plan.jsonl").stat().st_size / read,
    }


def of_datasets(dataset: Path) -> dict[str, float]:
    """Milliseconds of processor time a pair for what split, merge and sample do."""
    known = manifest.load(dataset)
    source = derive_index.Source(dataset, known)
    pairs = sum(shard.records for shard in known.shards)

    def copy(prefix: str) -> None:
        for number, shard in enumerate(known.shards):
            rows = index.pairs[index.pairs["shard"] == number]
            (dataset.parent / "copy").touch()
            shards.write_shard(dataset.parent / "copy", _records(dataset / shard.name, rows, prefix))

    index = derive_index.read_index([source], 1, whole=False)
    work: dict[str, Callable[[], Any]] = {
        "index": lambda: derive_index.read_index([source], 1, whole=False),
        "index with SHA-256": lambda: derive_index.read_index([source], 1, whole=True),
        "copy": lambda: copy(""),
        "copy with a prefix": lambda: copy("a/"),
    }
    return {name: least_ms(run, 5, time.process_time) / pairs for name, run in work.items()}


def _records(path: Path, rows: Any, prefix: str) -> Iterator[bytes]:
    for row in rows:
        record = heads.read_record(path, int(row["offset"]), int(row["length"]))
        if prefix:
            values = records.decode(record)
            record = records.encode(values | {name: prefix + values[name] for name in ("key", "scene")})
        yield record


def look_alikes(count: int) -> float:
    """Seconds of processor time to compare this many scenes of two splits by made-up hashes."""
    hashes = np.random.default_rng(0).integers(0, 2**63, count, np.uint64)
    known = {f"{n:07d}": ("train" if n % 10 else "test", int(value)) for n, value in enumerate(hashes)}
    began = time.process_time()
    duplicates.across_splits(known)
    return time.process_time() - began


def main() -> None:
    given = parse()
    recipe = config.build(Recipe, config.read_config(config.find_config(RECIPE, "recipes"), Recipe))
    source = Reading(given.images, given.depth, depth_format={"unit": given.depth_scale})
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        reading, refs = generate.prepare(folder / "photos", source, (640, 480), given.scenes)
        settings = variants.Settings(reading, recipe, given.variants, 0, "jpeg", 95, False)
        each = [parts_of_a_pair(ref, settings, given.repeats, folder) for ref in refs[: given.scenes]]
        tables: dict[str, Any] = {
            "pair_ms": {part: float(np.mean([one[part] for one in each])) for part in each[0]},
            "kernel_ms": kernel_parts(given.repeats),
            "start_cpu_s": starts(given.repeats),
            "plan": plan_us(given.plan, folder / "plan"),
        }
        options = MakeOptions(
            images=reading.images, depth=reading.depth, depth_scale=given.depth_scale, out=folder / "dataset",
            variants=given.variants, workers=1, progress="off",
        )  # fmt: skip
        make.make(options, recipe)
        tables["derive_cpu_ms"] = of_datasets(folder / "dataset")
        tables[f"look_alikes_cpu_s_{given.plan}"] = look_alikes(given.plan)
    for title, table in tables.items():
        for name, value in table.items() if isinstance(table, dict) else [(title, table)]:
            print(f"| {title} | {name} | {value:.3g} |")
    if given.out:
        given.methods = []
        tables |= generate.machine(given)
        given.out.write_text(json.dumps(tables, indent=1) + "\n")


def parse() -> argparse.Namespace:
    """The options; short ones only show that it works."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    real = generate.os.environ.get("HAZEGEN_TEST_DATA")
    parser.add_argument("--images", type=Path, default=real and Path(real, "nyu_labeled", "image"))
    parser.add_argument("--depth", type=Path, default=real and Path(real, "nyu_labeled", "depth"))
    parser.add_argument("--depth-scale", type=float, default=10.0 / 255.0)
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--variants", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--plan", type=int, default=300_000, help="made-up scenes of the plan and of the look-alikes")
    parser.add_argument("--short", action="store_true", help="two scenes, two repeats")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    given = parser.parse_args()
    given.recipe = RECIPE
    if given.images is None or given.depth is None:
        parser.error("no photos. Expected --images and --depth, or HAZEGEN_TEST_DATA in the environment.")
    if given.short:
        given.scenes, given.repeats, given.plan, given.variants = 2, 2, 2000, 3
    return given


if __name__ == "__main__":
    main()
