"""Photos, depth maps and datasets for the tests, all made on the fly from a seed."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import settings
from wandb_fixtures import served, without_settings
from wandb_server import Server

from hazegen import config, images
from hazegen.make import make
from hazegen.make_options import MakeOptions
from hazegen.recipe import Recipe

# Derandomised: the same examples on every machine. No deadline: the machines are shared.
settings.register_profile("suite", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("suite")

WIDTH, HEIGHT = 96, 64
UNIT_M = 0.001
RECIPES = Path(__file__).parent.parent / "configs" / "recipes"


@dataclass(frozen=True)
class Photos:
    """A small set of photos: three folders of files with the same stems, and those stems."""

    images: Path
    depth: Path
    camera: Path
    keys: tuple[str, ...]


def smooth(rng: np.random.Generator, height: int, width: int, channels: int, cells: int = 6) -> np.ndarray:
    """A smooth random texture in [0, 1], float32 (height, width, channels)."""
    coarse = rng.random((cells, cells, channels)).astype(np.float32)
    fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(fine.reshape(height, width, channels), 0.0, 1.0)


def draw_clean(rng: np.random.Generator, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A photo: smooth colours with a few hard-edged boxes, uint8 (height, width, 3)."""
    pixels = smooth(rng, height, width, 3)
    for _ in range(4):
        top, left = int(rng.integers(0, height - 8)), int(rng.integers(0, width - 8))
        pixels[top : top + height // 4, left : left + width // 4] = rng.random(3, dtype=np.float32)
    return np.rint(pixels * 255.0).astype(np.uint8)


def draw_depth(rng: np.random.Generator, clean: np.ndarray) -> np.ndarray:
    """Plane depth of a room, 1 to 9 m, in millimetres: uint16 (height, width), nothing missing.

    Smooth, with steps where the photo has its edges, as real depth has.
    """
    height, width, _ = clean.shape
    gray = clean.mean(axis=2, dtype=np.float32) / 255.0
    metres = 1.0 + 6.0 * smooth(rng, height, width, 1)[..., 0] + 2.0 * gray
    return np.rint(metres / UNIT_M).astype(np.uint16)


def write_photos(root: Path, scenes: int = 8, seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> Photos:
    """Writes PNG photos, 16-bit depth PNGs and camera files (60 degrees across) below `root`."""
    folders = [root / name for name in ("images", "depth", "camera")]
    for folder in folders:
        folder.mkdir(parents=True)
    keys = tuple(f"scene_{number:03d}" for number in range(scenes))
    focal = width / (2.0 * np.tan(np.pi / 6.0))
    camera = {"width": width, "height": height, "fx": focal, "fy": focal, "cx": (width - 1) / 2, "cy": (height - 1) / 2}
    camera["depth"] = {"values": "plane", "unit_m": UNIT_M, "not_measured": 0, "no_surface": 65535}
    for number, key in enumerate(keys):
        rng = np.random.default_rng([seed, number])
        clean = draw_clean(rng, height, width)
        (folders[0] / f"{key}.png").write_bytes(images.encode(clean, ".png"))
        (folders[1] / f"{key}.png").write_bytes(images.encode(draw_depth(rng, clean), ".png"))
        (folders[2] / f"{key}.json").write_text(json.dumps(camera))
    return Photos(*folders, keys)


def shipped_recipe(name: str, **changes: Any) -> Recipe:
    """A recipe of configs/recipes with some of its fields replaced."""
    return config.build(Recipe, config.read_config(RECIPES / f"{name}.yaml", Recipe) | changes)


@pytest.fixture(scope="session", autouse=True)
def wandb_disabled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test logs to W&B unless it asks to: the user's key and settings are out of sight."""
    with without_settings(tmp_path_factory.mktemp("wandb-disabled"), WANDB_MODE="disabled"):
        yield


@pytest.fixture
def wandb_enabled(tmp_path: Path) -> Iterator[None]:
    """W&B as on a new machine: not disabled, no key."""
    with without_settings(tmp_path / "wandb-home"):
        yield


@pytest.fixture
def wandb_server(tmp_path: Path) -> Iterator[Server]:
    """A stand-in for the W&B server that this process has the key of."""
    with served(tmp_path / "wandb-home") as server:
        yield server


@pytest.fixture(scope="module")
def without_curves() -> Iterator[None]:
    """Training runs of a module draw no curves.png, which takes a second an epoch: test_run_folder.py draws them."""
    from aodnet import run_folder

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folder, "plot_curves", lambda *_: None)
        yield


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    """Eight scenes of 96 x 64; to be read only."""
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture
def make_photos(tmp_path: Path) -> Callable[..., Photos]:
    """Writes photos that a test may change: make_photos(scenes=8, seed=0, height=64, width=96)."""
    return lambda name="photos", **options: write_photos(tmp_path / name, **options)


@pytest.fixture(scope="session")
def load_recipe() -> Callable[..., Recipe]:
    """load_recipe('aod-released', path='ray'): a shipped recipe, some of its fields replaced."""
    return shipped_recipe


@pytest.fixture(scope="session")
def make_options() -> Callable[..., MakeOptions]:
    """make_options(photos, out, variants=2, ...): options for `make` in this process."""

    def build(photos: Photos, out: Path, **changes: Any) -> MakeOptions:
        options = MakeOptions(
            images=photos.images, depth=photos.depth, out=out, depth_scale=UNIT_M, workers=1, variants=2
        )
        return dataclasses.replace(options, **changes)

    return build


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished dataset, to be read only: 12 scenes of 96 x 64, 3 variants each, JPEG, several shards a split.

    6 scenes (18 pairs) train, 3 (9) validation, 3 (9) test; recipe aod-released.
    """
    root = tmp_path_factory.mktemp("dataset")
    photos = write_photos(root / "photos", scenes=12)
    options = MakeOptions(
        images=photos.images,
        depth=photos.depth,
        out=root / "pairs",
        depth_scale=UNIT_M,
        variants=3,
        splits="train=0.5,validation=0.25,test=0.25",
        shard_mb=0.03,
        workers=1,
    )
    make(options, shipped_recipe("aod-released"))
    return options.out


@pytest.fixture
def dataset_copy(dataset: Path, tmp_path: Path) -> Path:
    """A copy of `dataset` that a test may damage."""
    return Path(shutil.copytree(dataset, tmp_path / "copy"))
