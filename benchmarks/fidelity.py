"""How far completed and refined depth is from the truth, and the haze made with it; and the time it takes.

Scenes are the procedural ones of hazegen.samples, whose depth is exact, and, where HAZEGEN_TEST_DATA names a folder
with them, labelled frames of NYU Depth v2 (nyu_labeled) and a rendered room (rgbd_iclnuim_5000). Holes are punched
as sensors leave them, filled, and held against what was there; then depth maps are moved and blunted, refined, and
held against what they were. Prints both tables and the times, and writes JSON.

    python benchmarks/fidelity.py --out fidelity.json
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hazegen import images, physics
from hazegen.depth import completion, refinement, sky
from hazegen.samples import NO_SURFACE, make_sample

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Row = dict[str, object]

# Visibility in multiples of the scene's median depth: thin haze for completion, thick for the fringes of edges.
THIN, THICK = 10.0, 3.0
# A step in depth of 8 % is an edge; errors of transmission above 0.03 beyond its rim of one pixel are a fringe.
EDGE, EDGE_PX, FRINGE = 0.08, 3, 0.03


@dataclass(frozen=True)
class Truth:
    """A photo with known depth [m], infinite in the sky; `unit_m`: no finer difference of its depth means anything."""

    image: NDArray[np.uint8]
    depth_m: Floats
    unit_m: float


# --- scenes ---


def procedural(kind: str, count: int, width: int = 640, height: int = 480) -> Iterator[Truth]:
    """The first rooms or streets of seed 3."""
    index = 0
    while count:
        sample = make_sample(3, index, width, height)
        index += 1
        if not sample.name.startswith(kind):
            continue
        unit_m = 0.01 if kind == "street" else 0.001
        depth_m = np.where(sample.depth == NO_SURFACE, np.float32(np.inf), sample.depth * np.float32(unit_m))
        yield Truth(sample.image, depth_m, unit_m)
        count -= 1


def nyu(root: Path, count: int) -> Iterator[Truth]:
    """Labelled frames at equal steps, within the crop that has depth. Their holes were in-painted by the publishers."""
    numbers = sorted(int(path.stem) for path in (root / "nyu_labeled" / "depth").glob("*.png"))
    # The evaluation crop of the set, mirrored as these copies are.
    crop = np.s_[45:471, 39:599]
    for number in numbers[:: len(numbers) // count][:count]:
        unit_m = 10.0 / 255.0
        image = images.read_picture(root / "nyu_labeled" / "image" / f"{number}.jpg")[crop]
        raw = images.read_picture(root / "nyu_labeled" / "depth" / f"{number}.png")[crop]
        yield Truth(np.ascontiguousarray(image), np.maximum(raw, 1) * np.float32(unit_m), unit_m)


def icl_nuim(root: Path, count: int) -> Iterator[Truth]:
    """A rendered living room."""
    folder = root / "rgbd_iclnuim_5000"
    for path in sorted((folder / "depth").glob("*.png"))[:count]:
        raw = images.read_picture(path)
        yield Truth(images.read_picture(folder / "color" / path.name), raw * np.float32(1 / 5000), 1 / 5000)


def kinect_masks(root: Path) -> list[Mask]:
    """Where three raw frames of a depth camera have no depth."""
    folder = root / "rgbd_metric3d_nyu_raw" / "depth"
    return [images.read_picture(path) == 0 for path in sorted(folder.glob("*.png"))]


# --- holes ---


def shadow(truth: Truth, side: int) -> Mask:
    """What a depth camera's projector, 7.5 cm beside its lens, does not reach; a pixel wider all round."""
    depth_m = truth.depth_m[:, ::-1] if side else truth.depth_m
    width = depth_m.shape[1]
    lit_at = np.arange(width) + 0.82 * width * 0.075 / depth_m
    dark = lit_at < np.maximum.accumulate(lit_at, axis=1) - 1.0
    dark = cv2.dilate(dark.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return dark[:, ::-1] if side else dark


def blobs(shape: tuple[int, int], rng: np.random.Generator) -> Mask:
    """Three pixels in ten, in patches of some 20 px."""
    noise = cv2.GaussianBlur(rng.standard_normal(shape).astype(np.float32), (0, 0), 8.0)
    return noise > np.quantile(noise, 0.7)


def between_lines(truth: Truth, rng: np.random.Generator, share: float) -> Mask:
    """All but the lines of a LiDAR, six rows apart and wavy, a share of their points kept, none in the sky."""
    height, width = truth.depth_m.shape
    columns = np.arange(width)
    holes = np.ones((height, width), np.bool_)
    for row in range(0, height, 6):
        rows = np.clip(np.rint(row + 2.0 * np.sin(6.0 * columns / width + row)), 0, height - 1).astype(int)
        kept = rng.random(width) < share
        holes[rows[kept], columns[kept]] = False
    return holes | np.isinf(truth.depth_m)


def punched(truth: Truth, index: int, masks: list[Mask]) -> dict[str, Mask]:
    """Holes of every kind that suits the scene."""
    rng = np.random.default_rng(index)
    height, width = truth.depth_m.shape
    found = {"shadow": shadow(truth, index % 2), "blobs": blobs((height, width), rng)}
    found["lines"] = between_lines(truth, rng, 0.7)
    if masks:
        mask = masks[index % len(masks)]
        mask = [mask, mask[:, ::-1], mask[::-1], mask[::-1, ::-1]][index // len(masks) % 4]
        top, left = (mask.shape[0] - height) // 2, (mask.shape[1] - width) // 2
        found["camera"] = mask[top : top + height, left : left + width]
    return found


# --- completion ---


def fill_nearest(depth_m: Floats, image: NDArray[np.uint8]) -> Floats:
    return completion.fill(depth_m, image, "nearest")


def fill_guided(depth_m: Floats, image: NDArray[np.uint8]) -> Floats:
    return completion.fill(depth_m, image, "guided")


def fill_plain(depth_m: Floats, image: NDArray[np.uint8]) -> Floats:
    """Blind to the photo: normalised convolution of inverse depth, each pixel with the narrowest Gaussian that reaches.

    Sky is where the nearest measured pixel is sky.
    """
    result = fill_nearest(depth_m, image)
    known, left = np.isfinite(depth_m), np.isnan(depth_m) & np.isfinite(result)
    inverse = np.where(known, 1.0 / np.where(known, depth_m, 1.0), 0.0).astype(np.float32)
    sigma = 2.0
    while left.any():
        total, mass = (cv2.GaussianBlur(part, (0, 0), sigma) for part in (inverse, known.astype(np.float32)))
        reached = left & (mass > 1e-3)
        result[reached] = mass[reached] / total[reached]
        left &= ~reached
        sigma *= 2.0
    return result


FILLS: dict[str, Callable[[Floats, NDArray[np.uint8]], Floats]] = {
    "nearest": fill_nearest,
    "plain": fill_plain,
    "guided": fill_guided,
}


def transmission(depth_m: Floats, truth: Truth, visibilities: float) -> Floats:
    """Transmission at a visibility of so many median depths of the scene."""
    median = float(np.median(truth.depth_m[np.isfinite(truth.depth_m)]))
    return np.asarray(physics.transmission(physics.beta_from_visibility(visibilities * median), depth_m), np.float32)


def at_edges(truth: Truth) -> Mask:
    """Pixels within EDGE_PX of a step in depth."""
    logarithm = np.log(np.minimum(truth.depth_m, 1e4))
    window = np.ones((3, 3), np.uint8)
    step = cv2.dilate(logarithm, window) - cv2.erode(logarithm, window)
    return cv2.dilate((step > EDGE).astype(np.uint8), np.ones((2 * EDGE_PX + 1,) * 2, np.uint8)) > 0


def fill_errors(truth: Truth, holes: Mask, filled: Floats) -> dict[str, float]:
    """Of the filled pixels: mean relative error, the same at edges, root mean square error of t, sky mistaken [%]."""
    filled = np.where(np.isinf(filled), filled, np.rint(filled / truth.unit_m) * np.float32(truth.unit_m))
    both = holes & np.isfinite(truth.depth_m) & np.isfinite(filled)
    error = np.zeros(holes.shape)
    error[both] = np.abs(filled[both] / truth.depth_m[both] - 1.0)
    haze = transmission(filled, truth, THIN) - transmission(truth.depth_m, truth, THIN)
    edges = both & at_edges(truth)
    return {
        "error": 100.0 * float(error[both].mean()),
        "error_at_edges": 100.0 * float(error[edges].mean()) if edges.any() else float("nan"),
        "t_rmse": 100.0 * float(np.sqrt(np.mean(haze[holes] ** 2))),
        "sky_wrong": 100.0 * float((np.isinf(filled) != np.isinf(truth.depth_m))[holes].mean()),
    }


def completion_rows(name: str, truths: Iterable[Truth], masks: list[Mask], methods: Iterable[str]) -> list[Row]:
    """One row for each kind of hole and method: means over the scenes."""
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    shares: dict[str, list[float]] = {}
    for index, truth in enumerate(truths):
        for kind, holes in punched(truth, index, masks).items():
            measured = np.where(holes, np.float32(np.nan), truth.depth_m)
            if not (holes.any() and np.isfinite(measured).any()):
                continue
            measured[sky.find_sky(truth.image, measured)] = np.inf
            shares.setdefault(kind, []).append(float(holes.mean()))
            for method in methods:
                errors = fill_errors(truth, holes, FILLS[method](measured, truth.image))
                found.setdefault((kind, method), []).append(errors)
    return [
        {"scenes": name, "holes": kind, "share": float(np.mean(shares[kind])), "method": method} | means(errors)
        for (kind, method), errors in found.items()
    ]


def means(errors: list[dict[str, float]]) -> Row:
    return {name: float(np.nanmean([each[name] for each in errors])) for name in errors[0]}


# --- refinement ---

# How far right the depth map is moved [px], and how far it is blunted (sigma of a Gaussian on inverse depth) [px].
FAULTS = {"none": (0, 0.0), "2 px right": (2, 0.0), "4 px left": (-4, 0.0), "blunt": (0, 1.5), "3 px, blunt": (3, 1.5)}

REFINEMENTS: dict[str, Callable[[Floats, NDArray[np.uint8]], Floats]] = {
    "unrefined": lambda distance_m, image: distance_m,  # noqa: ARG005
    "guided": lambda distance_m, image: refinement.refine(distance_m, image, "guided"),
    "edges": lambda distance_m, image: refinement.refine(distance_m, image, "edges"),
}


def spoiled(depth_m: Floats, shift_px: int, blunt_px: float) -> Floats:
    """A depth map moved against its photo, and blunted."""
    moved = np.float32([[1, 0, shift_px], [0, 1, 0]])
    inverse = cv2.warpAffine(
        1.0 / depth_m, moved, depth_m.shape[::-1], flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
    )
    if blunt_px:
        inverse = cv2.GaussianBlur(inverse, (0, 0), blunt_px)
    # What is farther than 10 km is sky again: the blur leaves a little of the surface beside it.
    return np.where(inverse > 1e-4, 1.0 / np.maximum(inverse, 1e-4), np.inf).astype(np.float32)


def edge_errors(truth: Truth, distance_m: Floats) -> dict[str, float]:
    """In thick haze: mean error of t, and the share of pixels in a fringe, both [%]."""
    exact = transmission(truth.depth_m, truth, THICK)
    window = np.ones((3, 3), np.uint8)
    rim = cv2.dilate(exact, window) - cv2.erode(exact, window) > FRINGE
    error = np.abs(transmission(distance_m, truth, THICK) - exact)
    return {"t_error": 100.0 * float(error.mean()), "fringe": 100.0 * float((error > FRINGE)[~rim].sum() / rim.size)}


def refinement_rows(name: str, truths: Iterable[Truth]) -> list[Row]:
    """One row for each fault and method: means over the scenes."""
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for truth in truths:
        for fault, (shift_px, blunt_px) in FAULTS.items():
            distance_m = spoiled(truth.depth_m, shift_px, blunt_px)
            for method, refine in REFINEMENTS.items():
                found.setdefault((fault, method), []).append(edge_errors(truth, refine(distance_m, truth.image)))
    return [
        {"scenes": name, "fault": fault, "method": method} | means(errors) for (fault, method), errors in found.items()
    ]


# --- time ---


def time_rows(repeats: int) -> list[Row]:
    """Median processor milliseconds of each step, on a room of 640 x 480 and a street of 1242 x 375."""
    room, street = next(procedural("room", 1)), next(procedural("street", 1, 1242, 375))
    rng = np.random.default_rng(0)
    patchy, sparse = blobs(room.depth_m.shape, rng), between_lines(street, rng, 1.0)
    rows: list[Row] = []
    for name, truth, holes in (("640x480", room, patchy), ("1242x375", street, sparse)):
        measured = np.where(holes, np.float32(np.nan), truth.depth_m)
        steps: dict[str, Callable[[Floats, NDArray[np.uint8]], object]] = {
            f"fill {key}": way for key, way in FILLS.items()
        }
        steps["find_sky"] = lambda depth_m, image: sky.find_sky(image, depth_m)
        for step, way in steps.items():
            rows.append(
                {"size": name, "holes": float(holes.mean()), "step": step} | timed(way, measured, truth, repeats)
            )
        for step in ("guided", "edges"):
            spent = timed(REFINEMENTS[step], truth.depth_m, truth, repeats)
            rows.append({"size": name, "holes": 0.0, "step": f"refine {step}"} | spent)
    return rows


def real_time_rows(repeats: int) -> list[Row]:
    """The same for the fills on published maps with holes of their own, where they are at hand."""
    root = Path(os.environ.get("HAZEGEN_TEST_DATA", "/dev/null"))
    folders = {
        "KITTI 1242x375": (root / "rgbd_kitti_depth", "rgb/*.png", "depth/*.png", 1 / 256),
        "NYU raw 640x480": (root / "rgbd_metric3d_nyu_raw", "rgb/*.jpg", "depth/*.png", 1 / 1000),
    }
    rows: list[Row] = []
    for name, (folder, photos, maps, unit_m) in folders.items():
        for photo, depth in zip(sorted(folder.glob(photos)), sorted(folder.glob(maps)), strict=True):
            raw = images.read_picture(depth)
            depth_m = np.where(raw == 0, np.float32(np.nan), raw * np.float32(unit_m))
            truth = Truth(images.as_rgb8(images.read_picture(photo), photo.name), depth_m, unit_m)
            for key, way in FILLS.items():
                spent = timed(way, depth_m, truth, repeats)
                row: Row = {"size": f"{name}, {depth.stem}", "holes": float(np.isnan(depth_m).mean())}
                rows.append(row | {"step": f"fill {key}"} | spent)
    return rows


def timed(
    way: Callable[[Floats, NDArray[np.uint8]], object], depth_m: Floats, truth: Truth, repeats: int
) -> dict[str, float]:
    spent = []
    for _ in range(repeats):
        began = time.process_time()
        way(depth_m, truth.image)
        spent.append(1e3 * (time.process_time() - began))
    return {"median_ms": statistics.median(spent), "least_ms": min(spent)}


# --- report ---


def sets(count: int) -> Iterator[tuple[str, list[Truth], list[Mask]]]:
    """Name, scenes and masks of real holes (where there are any) of each set that is at hand."""
    root = Path(os.environ.get("HAZEGEN_TEST_DATA", "/dev/null"))
    masks = kinect_masks(root) if root.is_dir() else []
    yield "rooms", list(procedural("room", count)), masks
    yield "streets", list(procedural("street", count)), []
    if root.is_dir():
        yield "NYU labelled", list(nyu(root, 30)), masks
        yield "ICL-NUIM", list(icl_nuim(root, 5)), masks


def print_table(rows: list[Row]) -> None:
    """A table in Markdown; numbers with two digits behind the point."""
    print("| " + " | ".join(rows[0]) + " |")
    print("|" + "---|" * len(rows[0]))
    for row in rows:
        print(
            "| " + " | ".join(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row.values()) + " |"
        )
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=8, help="procedural scenes of each kind")
    parser.add_argument("--repeats", type=int, default=7, help="timings of each step")
    parser.add_argument("--out", type=Path, default=Path("fidelity.json"))
    given = parser.parse_args()
    cv2.setNumThreads(1)
    filled: list[Row] = []
    refined: list[Row] = []
    for name, truths, masks in sets(given.scenes):
        filled += completion_rows(name, truths, masks, FILLS)
        refined += refinement_rows(name, truths[: given.scenes])
    spent = time_rows(given.repeats) + real_time_rows(given.repeats)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, one thread, Python {platform.python_version()}"
    print(f"{machine}, OpenCV {cv2.__version__}, {date.today()}\n")
    for rows in (filled, refined, spent):
        print_table(rows)
    content = {
        "date": str(date.today()),
        "machine": machine,
        "completion": filled,
        "refinement": refined,
        "time": spent,
    }
    given.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
