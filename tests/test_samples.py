"""Procedural samples: equal bytes for equal seeds, complete files, plausible pictures, clear refusals."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hazegen.errors import RefusedError, UsageError
from hazegen.geometry import Camera
from hazegen.images import read_picture
from hazegen.samples import code_depth, make_sample, make_samples
from hazegen.scenery.raycast import FAR_M
from hazegen.scenery.view import pixel_rays, view_from

WIDTH, HEIGHT, SCENES = 96, 64, 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("samples") / "new" / "folder"
    summary = make_samples(out, SCENES, 3, width=WIDTH, height=HEIGHT)
    assert summary.streets + summary.rooms == SCENES
    assert min(summary.streets, summary.rooms) > 0, "the tests below need both kinds"
    assert len(list((out / "images").glob("street-*.png"))) == summary.streets
    return out


def depth_of(path: Path) -> NDArray[np.uint16]:
    depth = read_picture(path)
    assert depth.dtype == np.uint16
    assert depth.shape == (HEIGHT, WIDTH)
    return depth.astype(np.uint16)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- Determinism.


def test_scene_does_not_depend_on_how_many_are_made(folder: Path, tmp_path: Path) -> None:
    make_samples(tmp_path, 3, 3, width=WIDTH, height=HEIGHT)
    all_files, few = files_of(folder), files_of(tmp_path)
    assert len(few) == 9
    assert few == {name: all_files[name] for name in few}


def test_seed_and_index_both_change_the_scene() -> None:
    images = [make_sample(seed, index, 48, 32).image.tobytes() for seed, index in ((0, 0), (0, 1), (1, 0))]
    assert len(set(images)) == 3


# ---- Files.


def test_files_are_complete_and_none_is_left_over(folder: Path) -> None:
    names = sorted(path.stem for path in (folder / "images").iterdir())
    assert [int(name[-4:]) for name in sorted(names, key=lambda name: name[-4:])] == list(range(SCENES))
    expected = {f"{part}/{name}{end}" for name in names for part, end in FILES}
    assert set(files_of(folder)) == expected


FILES = (("images", ".png"), ("depth", ".png"), ("camera", ".json"))


def test_image_is_rgb_with_the_sky_bluer_than_red(folder: Path) -> None:
    blue, red = [], []
    for path in sorted((folder / "images").glob("street-*.png")):
        image = read_picture(path)
        assert image.dtype == np.uint8
        assert image.shape == (HEIGHT, WIDTH, 3)
        sky = depth_of(folder / "depth" / path.name) == 65535
        blue.append(image[..., 2][sky])
        red.append(image[..., 0][sky])
    assert np.concatenate(blue).mean() > np.concatenate(red).mean() + 2


def test_brightness_is_that_of_photos(folder: Path) -> None:
    images = [read_picture(path) for path in (folder / "images").iterdir()]
    assert all(90 <= image.mean() <= 150 for image in images)
    assert all(image.std() > 25 for image in images)


def test_camera_file_is_complete(folder: Path) -> None:
    for path in (folder / "camera").iterdir():
        content = json.loads(path.read_text())
        assert set(content) == {"width", "height", "fx", "fy", "cx", "cy", "pose", "depth"}
        camera = Camera(**{name: content[name] for name in ("width", "height", "fx", "fy", "cx", "cy")})
        assert (camera.width, camera.height, camera.cx, camera.cy) == (WIDTH, HEIGHT, 47.5, 31.5)
        assert 50 <= math.degrees(2 * math.atan(WIDTH / 2 / camera.fx)) <= 90
        assert set(content["pose"]) == {"height_m", "yaw_deg", "pitch_deg", "roll_deg"}
        unit_m = 0.01 if path.name.startswith("street") else 0.001
        depth = {"values": "plane", "unit_m": unit_m, "not_measured": 0, "no_surface": 65535}
        assert content["depth"] == depth


def test_depth_is_measured_everywhere_and_sky_is_outdoors_alone(folder: Path) -> None:
    paths = list((folder / "depth").iterdir())
    skies = {path.stem: (depth_of(path) == 65535).mean() for path in paths}
    assert all(depth_of(path).min() > 0 for path in paths)
    assert all(share == 0 for name, share in skies.items() if name.startswith("room"))
    assert all(0 < share < 0.7 for name, share in skies.items() if name.startswith("street"))


def test_sky_lies_above_the_horizon(folder: Path) -> None:
    for path in (folder / "depth").glob("street-*.png"):
        content = json.loads((folder / "camera" / f"{path.stem}.json").read_text())
        camera = Camera(**{name: content[name] for name in ("width", "height", "fx", "fy", "cx", "cy")})
        pose = content["pose"]
        place = (0, 0, pose["height_m"])
        view = view_from(camera, place, pose["yaw_deg"], pose["pitch_deg"], pose["roll_deg"])
        rise = pixel_rays(view)[2]
        # At FAR_M the ground lies this little below the horizon.
        assert rise[depth_of(path) == 65535].min() > -pose["height_m"] / FAR_M - 1e-6


# ---- Coding and refusals.


def test_depth_codes() -> None:
    depth_m = np.array([0.0001, 0.0146, 1.0, 655.34, 900.0, np.inf], np.float32)
    assert code_depth(depth_m, 0.01).tolist() == [1, 1, 100, 65534, 65534, 65535]
    assert code_depth(depth_m, 0.001).tolist() == [1, 15, 1000, 65534, 65534, 65535]


def test_folder_with_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(
        RefusedError, match=r"cannot take the scenes\. Expected a new or empty folder, received a folder"
    ):
        make_samples(tmp_path, 1, 0, width=WIDTH, height=HEIGHT)
    assert files_of(tmp_path) == {"mine.txt": b"keep"}


def test_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("keep")
    with pytest.raises(RefusedError, match=r"received a file\. Choose another --out"):
        make_samples(tmp_path / "file", 1, 0)


@pytest.mark.parametrize("scenes", [0, -3])
def test_too_few_scenes_are_refused(tmp_path: Path, scenes: int) -> None:
    with pytest.raises(UsageError, match=f"Expected at least 1, received {scenes}. Pass --scenes"):
        make_samples(tmp_path / "new", scenes, 0)
    assert not (tmp_path / "new").exists()


def test_negative_seed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"The seed is out of range\. Expected at least 0, received -1"):
        make_samples(tmp_path / "new", 1, -1)


@pytest.mark.parametrize(("width", "height"), [(31, 64), (64, 31), (4097, 64), (64, 4097), (-5, 0)])
def test_silly_sizes_are_refused(tmp_path: Path, width: int, height: int) -> None:
    with pytest.raises(UsageError, match=f"width and height of 32 to 4096 px, received {width} x {height}"):
        make_samples(tmp_path / "new", 1, 0, width=width, height=height)


def test_smallest_size_works(tmp_path: Path) -> None:
    make_samples(tmp_path, 1, 0, width=32, height=32)
    assert len(files_of(tmp_path)) == 3
