"""Sky among the pixels that were not measured."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from hazegen import images
from hazegen.depth import calibration, readers, sky
from hazegen.depth.conventions import find
from hazegen.depth.formats import from_camera_file
from hazegen.samples import NO_SURFACE, make_sample

DATA = Path(os.environ.get("HAZEGEN_TEST_DATA", "/nonexistent"))
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="HAZEGEN_TEST_DATA does not name a folder with the published data sets"
)


def street() -> tuple[np.ndarray, np.ndarray]:
    """Sky in the upper 40 rows, a road to 60 m below; every other row of the road measured, nothing of the sky."""
    image = np.full((100, 160, 3), 70, np.uint8)
    image[:40] = (170, 190, 220)
    depth = np.full((100, 160), np.nan, np.float32)
    depth[41::2] = np.linspace(60.0, 5.0, 30, dtype=np.float32)[:, None]
    return image, depth


def test_sky_is_found_whole():
    image, depth = street()
    found = sky.find_sky(image, depth)
    assert found.dtype == np.bool_
    assert found[:38].all()
    assert not found[40:].any()


def test_measured_pixels_are_never_sky():
    image, depth = street()
    depth[10, 20:40] = 30.0
    found = sky.find_sky(image, depth)
    assert not found[8:13, 20:40].any()
    assert found[:8].all()


@pytest.mark.parametrize("colour", [(60, 70, 90), (220, 180, 120), (200, 90, 205)])
def test_dark_and_warm_surfaces_are_no_sky(colour):
    image, depth = street()
    image[:40] = colour
    assert not sky.find_sky(image, depth).any()


@pytest.mark.parametrize("colour", [(110, 110, 110), (255, 255, 255), (120, 150, 230), (210, 205, 201)])
def test_grey_white_and_blue_sky_are_sky(colour):
    image, depth = street()
    image[:40] = colour
    assert sky.find_sky(image, depth)[:38].all()


def test_texture_is_no_sky():
    image, depth = street()
    image[:40] = np.where(np.indices((40, 160)).sum(axis=0)[..., None] % 2, 150, 230)
    assert not sky.find_sky(image, depth).any()


def test_a_pale_wall_that_does_not_reach_the_upper_border_is_no_sky():
    image, depth = street()
    image[10:14] = 40
    found = sky.find_sky(image, depth)
    assert found[:8].all()
    assert not found[10:].any()


def test_a_room_has_no_sky():
    """A white ceiling without depth, in a room that ends at 9 m."""
    image, depth = street()
    assert not sky.find_sky(image, depth * np.float32(9.0 / 60.0)).any()


@pytest.mark.parametrize(("farthest_m", "found"), [(10.4, False), (11.0, True), (15.0, True)])
def test_sky_is_looked_for_where_the_map_reaches_beyond_rooms(farthest_m, found):
    image, depth = street()
    assert sky.find_sky(image, depth * np.float32(farthest_m / 60.0)).any() == found


def test_a_few_far_pixels_make_no_street_of_a_room():
    """As through a door: the farthest row is 1 in 30 of the measured, 1 in 8 of which is less than 1 %."""
    image, depth = street()
    room = depth * np.float32(9.0 / 60.0)
    room[41, :20] = 30.0
    assert not sky.find_sky(image, room).any()
    room[41, :80] = 30.0
    assert sky.find_sky(image, room).any()


def test_nothing_measured_finds_nothing():
    image, depth = street()
    assert not sky.find_sky(image, np.full_like(depth, np.nan)).any()


def test_sky_that_is_measured_makes_the_scene_deep():
    image, depth = street()
    depth = np.minimum(depth, np.float32(9.0))
    assert not sky.find_sky(image, depth).any()
    depth[:20] = np.inf
    found = sky.find_sky(image, depth)
    assert not found[:20].any()
    assert not found.any()  # cut off from the upper border by the measured sky


def test_sky_of_procedural_streets():
    """Nine tenths of it, and next to nothing else, where the sky is unmeasured and so is all beyond 80 m."""
    shares, wrong = [], []
    for index in (0, 1, 2, 3, 12, 15):
        sample = make_sample(3, index, 320, 240)
        assert sample.name.startswith("street")
        true = sample.depth == NO_SURFACE
        depth = np.where(sample.depth > 8000, np.nan, sample.depth * 0.01).astype(np.float32)
        found = sky.find_sky(sample.image, depth)
        shares.append((found & true).sum() / true.sum())
        wrong.append((found & ~true).mean())
    assert min(shares) > 0.8
    assert np.mean(shares) > 0.9
    assert max(wrong) < 0.002


def metres(path: Path, unit: float) -> np.ndarray:
    raw = images.read_picture(path)
    return np.where(raw == 0, np.nan, raw * unit).astype(np.float32)


@needs_data
@pytest.mark.parametrize(("name", "low", "high"), [("5", 0.06, 0.08), ("50", 0.09, 0.12), ("100", 0.06, 0.085)])
def test_sky_of_kitti(name, low, high):
    """The lidar has no return from the sky; these shares were looked at."""
    folder, file = DATA / "rgbd_kitti_depth", f"{int(name):010d}.png"
    image, depth = images.read_picture(folder / "rgb" / file), metres(folder / "depth" / file, 1 / 256)
    found = sky.find_sky(image, depth)
    assert low < found.mean() < high
    assert not (found & ~np.isnan(depth)).any()
    assert not found[170:].any()
    # Bright where it was said to be sky: the darkest of it is no leaf.
    assert cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[found].min() >= 105


@needs_data
def test_sky_of_a_playground_that_ends_at_15_m():
    """Two patches of white between the roofs; a terrace whose windows mirror the sky has none."""
    for name, low, high in (("playground", 0.05, 0.065), ("terrace", 0.0, 0.0)):
        folder = DATA / "stereo_eth3d_pfm" / name
        told = calibration.read_calibration("middlebury", folder / "calib.txt")
        fields = {"focal_px": told.focal_px, "baseline_m": told.baseline_m}
        depth = readers.read_depth(folder / "disp0.pfm", from_camera_file({}, fields, find("eth3d").format))
        image = images.read_picture(folder / "im0.png")
        found = sky.find_sky(image, depth)
        assert low <= found.mean() <= high
        assert not found[found.shape[0] // 2 :].any()
        if name == "playground":
            patch = (slice(132, 216), slice(810, 940))  # right of the mushroom, above the trees
            assert found[patch].mean() > 0.95
            assert np.median(image[found]) > 240


ROOMS = {
    "rgbd_metric3d_nyu_raw": ("rgb/rgb_{}.jpg", "depth/sync_depth_{}.png", 0.001, ["00000", "00050", "00100"]),
    "rgbd_slambook_pgm": ("color/{}.png", "depth/{}.pgm", 0.001, ["1", "2", "3", "4", "5"]),
    "rgbd_tum_5000": ("{}.png", "{}_depth.png", 0.0002, ["1", "2"]),
    "rgbd_tsdf_fusion/kitchen": (
        *("frame-000{}.color.png", "frame-000{}.depth.png", 0.001),
        ["150", "160", "170", "180", "190"],
    ),
    "rgbd_open3d_formats": ("color/{}.jpg", "depth/{}.png", 0.001, ["00000", "00004"]),
}


@needs_data
@pytest.mark.parametrize("name", ROOMS)
def test_rooms_have_no_sky(name):
    image, depth, unit, keys = ROOMS[name]
    for key in keys:
        depth_m = metres(DATA / name / depth.format(key), unit)
        assert np.isnan(depth_m[0]).mean() > 0.01, "holes at the upper border"
        assert not sky.find_sky(images.read_picture(DATA / name / image.format(key)), depth_m).any()
