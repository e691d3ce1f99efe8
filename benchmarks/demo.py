"""Time from a request to the preview and to the whole picture in `aodnet demo`, for 12 megapixels.

    python benchmarks/demo.py --out build/demo.json
    python benchmarks/demo.py --docs docs/demo.md
    python benchmarks/demo.py --short

Both tabs do what they do for a visitor, without the way through the network: the uploaded file is checked and read,
pictures are computed and written as they are sent. 'again' is a slider that is moved: the scene is in memory then.
The process is held to --cores of this machine's cores. The table goes to the screen and, with --docs, between the
marks of that page.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import cv2
import numpy as np

SIZE, SHORT_SIZE = (4000, 3000), (1600, 1200)
MARKS = ("<!-- demo -->", "<!-- /demo -->")


@dataclass(frozen=True)
class Row:
    """Medians and worst times of one kind of request [s]."""

    request: str
    preview_s: float
    preview_worst_s: float
    whole_s: float
    whole_worst_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--cores", type=int, default=2, help="[default: 2]")
    parser.add_argument("--short", action="store_true", help="a small run that only shows that all works")
    parser.add_argument("--out", type=Path, default=Path("demo.json"))
    parser.add_argument("--docs", type=Path, help="a page whose table is replaced")
    given = parser.parse_args()
    # Before TensorFlow counts them.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.cores])
    size, repeats = (SHORT_SIZE, 2) if given.short else (SIZE, given.repeats)
    rows = measure(size, repeats)
    report(rows, size, repeats, given)


def measure(size: tuple[int, int], repeats: int) -> list[Row]:
    from aodnet import demo, demo_dehaze, demo_dehaze_tab, demo_haze, demo_haze_tab, demo_recipe
    from aodnet.demo_setup import Setup
    from aodnet.quiet import load_tensorflow

    load_tensorflow()
    with demo.working_folder() as workplace:
        networks = demo_dehaze.load_networks({"rooms": "rooms"})
        setup = Setup(networks, workplace, 40_000_000, 50_000_000)
        photo, depth = write_inputs(workplace / "scratch", size)
        controls = {name: getattr(demo_recipe.Settings(), name) for name in demo_recipe.Settings.__dataclass_fields__}
        controls |= {"color_space": next(iter(demo_haze_tab.SPACES))}
        scene = {
            "kind": demo_haze_tab.UPLOAD,
            "photo": photo,
            "depth": depth,
            "scale": "0.01",
            "sky": "65535",
            "fov": 60.0,
        }

        def dehaze(folder: Path, _: int) -> Iterator[Any]:
            return demo_dehaze_tab.show_dehazed(setup, photo, networks["rooms"], folder, nothing)

        def make(folder: Path, _: int) -> Iterator[Any]:
            demo_haze.load.cache_clear()
            demo_haze.load_for_screen.cache_clear()
            return demo_haze_tab.show_haze(setup, scene | controls, folder, nothing)

        def again(folder: Path, number: int) -> Iterator[Any]:
            return demo_haze_tab.show_haze(setup, scene | controls | {"visibility_m": 50.0 + number}, folder, nothing)

        requests = {"remove haze": dehaze, "make haze": make, "make haze again": again}
        return [measure_one(name, request, setup.scratch, repeats) for name, request in requests.items()]


def nothing(*_: object, **__: object) -> None:
    """Takes the progress that nobody sees."""


def write_inputs(folder: Path, size: tuple[int, int]) -> tuple[Path, Path]:
    """A procedural street as a photo (JPEG) and depth map (PNG of 16 bits) of so many pixels."""
    from hazegen import images
    from hazegen.samples import make_sample

    sample = make_sample(0, 14, 1200, 900)
    rng = np.random.default_rng(0)
    large = cv2.resize(sample.image, size, interpolation=cv2.INTER_CUBIC).astype(np.float32)
    grain = rng.standard_normal(large.shape, np.float32) * 3.0  # without it a JPEG would be read faster than a photo
    photo, depth = folder / "photo.jpg", folder / "depth.png"
    photo.write_bytes(images.encode(np.rint(np.clip(large + grain, 0, 255)).astype(np.uint8), ".jpg"))
    depth.write_bytes(images.encode(cv2.resize(sample.depth, size, interpolation=cv2.INTER_NEAREST), ".png"))
    return photo, depth


def measure_one(name: str, request: Callable[[Path, int], Iterator[Any]], scratch: Path, repeats: int) -> Row:
    """One untimed request, then the timed ones."""
    previews, wholes = [], []
    for number in range(-1, repeats):
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            began = time.perf_counter()
            showing = request(Path(folder), number)
            next(showing)
            preview_s = time.perf_counter() - began
            for _ in showing:
                pass
            whole_s = time.perf_counter() - began
        if number >= 0:
            previews.append(preview_s)
            wholes.append(whole_s)
    return Row(name, statistics.median(previews), max(previews), statistics.median(wholes), max(wholes))


def report(rows: list[Row], size: tuple[int, int], repeats: int, given: argparse.Namespace) -> None:
    lines = ["| request | preview, median | worst | whole picture, median | worst |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.request} | {row.preview_s:.2f} s | {row.preview_worst_s:.2f} s | {row.whole_s:.2f} s | "
        f"{row.whole_worst_s:.2f} s |"
        for row in rows
    ]
    load = os.getloadavg()[0]
    lines += [
        "",
        f"{size[0]} x {size[1]} pixels, {repeats} requests each, {given.cores} cores of {os.cpu_count()} "
        f"({platform.machine()}), load {load:.1f}, {date.today().isoformat()}: `benchmarks/demo.py`.",
    ]
    text = "\n".join(lines)
    print(text)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    content = {"size": size, "repeats": repeats, "cores": given.cores, "load": load, "rows": [vars(r) for r in rows]}
    given.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if given.docs:
        before, _, rest = given.docs.read_text(encoding="utf-8").partition(MARKS[0])
        after = rest.partition(MARKS[1])[2]
        given.docs.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
