"""Makes procedural photos with exact depth and cameras, for a start without data."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hazegen.errors import RefusedError, UsageError
from hazegen.images import encode
from hazegen.scenery.render import render
from hazegen.scenery.room import room
from hazegen.scenery.scene import Scene
from hazegen.scenery.street import street
from hazegen.scenery.vectors import Floats

NO_SURFACE = 65535
STREET_SHARE = 0.6
SIZE_LIMITS = (32, 4096)


@dataclass(frozen=True)
class Summary:
    """How many scenes of each kind were made."""

    streets: int
    rooms: int


@dataclass(frozen=True)
class Sample:
    """One scene: its name, photo (sRGB-coded uint8 R, G, B), coded depth (uint16) and camera file."""

    name: str
    image: NDArray[np.uint8]
    depth: NDArray[np.uint16]
    camera: dict[str, object]


def make_samples(
    out: Path, scenes: int, seed: int, *, width: int = 640, height: int = 480, progress: bool = False
) -> Summary:
    """Writes images/NAME.png, depth/NAME.png and camera/NAME.json for each scene into a new folder.

    Depth is plane depth in 16 bits, 0.01 m a unit in streets and 0.001 m in rooms, 65535 where there is
    no surface. Scene i depends on the seed, i and the size alone, never on how many are made.

    Args:
        out: A folder that is empty or does not exist.
        scenes: How many scenes, at least 1.
        seed: At least 0.
        width, height: Size of the photos [px].
        progress: Whether to show a bar.

    Raises:
        UsageError: A number is out of range.
        RefusedError: The folder is not empty, or is a file.
    """
    _check_numbers(scenes, seed, width, height)
    _check_folder(out)
    for part in ("images", "depth", "camera"):
        (out / part).mkdir(parents=True, exist_ok=True)
    streets = 0
    for index in tqdm(range(scenes), desc="scenes", unit="scene", disable=not progress):
        sample = make_sample(seed, index, width, height)
        _write(out / "images" / f"{sample.name}.png", encode(sample.image, ".png"))
        _write(out / "depth" / f"{sample.name}.png", encode(sample.depth, ".png"))
        _write(out / "camera" / f"{sample.name}.json", json.dumps(sample.camera, indent=2).encode() + b"\n")
        streets += sample.name.startswith("street")
    return Summary(streets, scenes - streets)


def make_sample(seed: int, index: int, width: int, height: int) -> Sample:
    """The scene that the seed and its index decide."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index])))
    outdoors = bool(rng.random() < STREET_SHARE)
    scene = (street if outdoors else room)(width, height, rng)
    unit_m = 0.01 if outdoors else 0.001
    image, depth_m = render(scene, rng)
    name = f"{'street' if outdoors else 'room'}-{index:04d}"
    return Sample(name, image, code_depth(depth_m, unit_m), _camera_file(scene, unit_m))


def code_depth(depth_m: Floats, unit_m: float) -> NDArray[np.uint16]:
    """Depth [m] in whole units, never 0; 65535 where it is infinite, at most 65534 elsewhere."""
    units = np.rint(np.where(np.isfinite(depth_m), depth_m, 0).astype(np.float64) / unit_m)
    return np.where(np.isfinite(depth_m), np.clip(units, 1, NO_SURFACE - 1), NO_SURFACE).astype(np.uint16)


def _camera_file(scene: Scene, unit_m: float) -> dict[str, object]:
    depth = {"values": "plane", "unit_m": unit_m, "not_measured": 0, "no_surface": NO_SURFACE}
    return {**asdict(scene.view.camera), "pose": scene.pose, "depth": depth}


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    part.replace(path)


def _check_numbers(scenes: int, seed: int, width: int, height: int) -> None:
    if scenes < 1:
        raise UsageError(
            f"The number of scenes is out of range. Expected at least 1, received {scenes}. Pass --scenes 24."
        )
    if seed < 0:
        raise UsageError(f"The seed is out of range. Expected at least 0, received {seed}. Pass --seed 0.")
    low, high = SIZE_LIMITS
    if not (low <= width <= high and low <= height <= high):
        raise UsageError(
            f"The size of the scenes is out of range. Expected width and height of {low} to {high} px, "
            f"received {width} x {height}. Pass --width 640 --height 480."
        )


def _check_folder(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RefusedError(
            f"'{out}' cannot take the scenes. Expected a new or empty folder, received "
            f"{'a folder with files in it' if out.is_dir() else 'a file'}. Choose another --out, or remove it."
        )
