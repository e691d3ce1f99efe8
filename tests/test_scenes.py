"""One scene from file to distance."""

import dataclasses
import errno
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from depth_fixtures import npy, pfm, write
from PIL import Image

from hazegen import geometry, images
from hazegen.depth.conventions import CONVENTIONS
from hazegen.errors import RefusedError, StoreError
from hazegen.intrinsics import load_camera
from hazegen.pairing import SceneRef
from hazegen.reading import Reading
from hazegen.recipe import Draw, Recipe
from hazegen.scenes import SceneRejected, load

PLANE = Recipe(path="plane", beta=Draw("values", (0.1,)))
RAY = dataclasses.replace(PLANE, path="ray")
CAMERA = {"width": 12, "height": 10, "fx": 8.0, "fy": 9.0, "cx": 5.0, "cy": 4.0}
CLEAN = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)
DEPTH = np.random.default_rng(1).uniform(1.0, 9.0, (10, 12)).astype(np.float32)


@pytest.fixture
def scene(tmp_path):
    """scene(recipe, depth=..., clean=..., camera=..., **reading): one scene, written and loaded."""

    def write_and_load(recipe=PLANE, *, depth=DEPTH, clean=CLEAN, camera=None, **reading):
        np.save(tmp_path / "depth.npy", depth)
        content = clean if isinstance(clean, bytes) else images.encode(clean, ".png")
        (tmp_path / "image.png").write_bytes(content)
        if camera is not None:
            (tmp_path / "scene.json").write_text(camera if isinstance(camera, str) else json.dumps(camera))
            reading["camera"] = reading.get("camera", tmp_path)
        return load(SceneRef("scene", "image.png", "depth.npy"), Reading(tmp_path, tmp_path, **reading), recipe)

    return write_and_load


def rejection(load_scene, *arguments, **options):
    """Code and reason with which a scene is rejected."""
    with pytest.raises(SceneRejected) as caught:
        load_scene(*arguments, **options)
    return caught.value.code, str(caught.value)


def test_scene_is_loaded_as_it_is(scene):
    loaded = scene()
    np.testing.assert_array_equal(loaded.clean, CLEAN)
    np.testing.assert_array_equal(loaded.distance_m, DEPTH)
    assert (loaded.holes, loaded.sky, loaded.largest_m) == (0.0, 0.0, float(DEPTH.max()))


@pytest.mark.parametrize(
    ("recipe", "values", "exponent"), [(PLANE, "plane", 0), (RAY, "plane", 1), (RAY, "ray", 0), (PLANE, "ray", -1)]
)
def test_depth_is_brought_into_the_recipes_convention(scene, recipe, values, exponent):
    loaded = scene(recipe, camera=CAMERA, depth_format={"values": values})
    lengths = geometry.ray_length(geometry.Camera(**CAMERA))
    np.testing.assert_allclose(loaded.distance_m, DEPTH * lengths**exponent, rtol=1e-6)
    assert loaded.largest_m == loaded.distance_m.max()


def test_disparity_is_plane_depth_for_the_recipe(scene):
    reading = {"depth_format": {"values": "disparity", "focal_px": 100.0, "baseline_m": 0.3}}
    np.testing.assert_allclose(scene(PLANE, **reading).distance_m, 30.0 / DEPTH, rtol=1e-6)
    lengths = geometry.ray_length(geometry.camera_from_fov(70.0, 12, 10))
    np.testing.assert_allclose(scene(RAY, fov_deg=70.0, **reading).distance_m, 30.0 / DEPTH * lengths, rtol=1e-6)


def test_unit_and_kind_are_taken_from_the_camera_file(scene):
    depth = (DEPTH * 1000).astype(np.uint16)
    loaded = scene(RAY, depth=depth, camera=CAMERA | {"depth": {"unit_m": 0.001, "values": "ray", "no_surface": 65535}})
    np.testing.assert_allclose(loaded.distance_m, depth * 0.001, rtol=1e-6)


def test_one_camera_file_may_serve_all_scenes(scene, tmp_path):
    loaded = scene(RAY, camera=CAMERA, depth_format={"values": "plane"}).distance_m
    np.testing.assert_array_equal(scene(RAY, camera=CAMERA).distance_m, loaded)
    single = Reading(tmp_path, tmp_path, tmp_path / "scene.json")
    np.testing.assert_array_equal(load(SceneRef("other", "image.png", "depth.npy"), single, RAY).distance_m, loaded)


@pytest.mark.parametrize(("policy", "sky_m"), [("infinite", np.inf), ("far", DEPTH[2:].max())])
def test_sky_policy_says_how_far_the_sky_is(scene, policy, sky_m):
    depth = DEPTH.copy()
    depth[:2] = np.inf
    loaded = scene(dataclasses.replace(PLANE, sky=policy), depth=depth)
    assert (loaded.distance_m[:2] == sky_m).all()
    assert (loaded.sky, loaded.largest_m) == (pytest.approx(0.2), DEPTH[2:].max())


def test_sky_policy_reject_rejects_a_scene_with_sky_alone(scene):
    reject = dataclasses.replace(PLANE, sky="reject")
    assert scene(reject).sky == 0.0
    depth = DEPTH.copy()
    depth[0, :3] = np.inf
    code, reason = rejection(scene, reject, depth=depth)
    assert code == "sky"
    assert "shows sky. Expected none under the recipe's sky policy 'reject', received 2.5% of pixels" in reason


def test_holes_are_completed_up_to_the_limit_and_not_beyond(scene):
    recipe = dataclasses.replace(PLANE, max_holes=0.25, fill="nearest")
    depth = DEPTH.copy()
    depth.flat[:30] = np.nan  # 30 of 120: exactly a quarter
    loaded = scene(recipe, depth=depth)
    assert loaded.holes == 0.25
    assert np.isfinite(loaded.distance_m).all()
    assert set(np.unique(loaded.distance_m)) <= set(np.unique(DEPTH.flat[30:]))
    depth.flat[30] = 0.0
    code, reason = rejection(scene, recipe, depth=depth)
    assert code == "holes"
    assert "Expected at most 25.0% of pixels without one, received 25.8%. Complete the depth map" in reason


def test_scene_without_any_surface_is_rejected(scene):
    depth = np.full((10, 12), np.inf, np.float32)
    depth[0, :3] = np.nan
    code, reason = rejection(scene, depth=depth)
    assert code == "no-surface"
    assert "received 97.5% sky and 2.5% holes" in reason


def test_depth_of_another_size_is_rejected_unless_it_is_to_be_fitted(scene):
    small = DEPTH[::2, ::2]
    code, reason = rejection(scene, depth=small)
    assert code == "size"
    assert reason == (
        "Depth and image of scene 'scene' differ in size. Expected equal height and width, received image (10, 12) "
        "and depth (5, 6). Pass --fit-depth to resize the depth map."
    )
    fitted = scene(depth=small, fit_depth=True).distance_m
    np.testing.assert_array_equal(fitted, np.repeat(np.repeat(small, 2, axis=0), 2, axis=1))


def test_fitted_depth_is_never_a_mean_of_near_and_far(scene):
    depth = np.where(np.arange(8)[None, :] < 3, 1.0, 100.0).astype(np.float32).repeat(7, axis=0)
    assert set(np.unique(scene(depth=depth, fit_depth=True).distance_m)) == {1.0, 100.0}


@pytest.mark.parametrize("columns", [slice(1, 9), slice(None, None, 2)])
def test_depth_of_other_proportions_is_never_stretched(scene, columns):
    code, reason = rejection(scene, depth=DEPTH[:, columns], fit_depth=True)
    assert code == "size"
    assert "differ in proportions. Expected a map of the whole image, received image (10, 12) and depth (10, " in reason
    assert reason.endswith("--fit-depth does not stretch maps: crop the image as the map was cropped.")


def test_convention_whose_maps_are_stretched_says_so(scene):
    grid = np.stack([DEPTH * 0, DEPTH, DEPTH, DEPTH], axis=2)[:, ::2]
    loaded = scene(depth=grid, fit_depth=True, convention="make3d")
    np.testing.assert_array_equal(loaded.distance_m, np.repeat(DEPTH[:, ::2], 2, axis=1))


@pytest.mark.parametrize("fit_depth", [True, False])
def test_disparity_of_another_size_is_refused_for_its_pixels_are_those_of_another_picture(scene, fit_depth):
    half = {"values": "disparity", "focal_px": 100.0, "baseline_m": 0.3}
    code, reason = rejection(scene, depth=DEPTH[::2, ::2] / 2, fit_depth=fit_depth, depth_format=half)
    assert code == "size"
    assert ("and disparity counts pixels. Expected equal height" in reason) == fit_depth
    assert ("Pass --fit-depth" in reason) != fit_depth


def test_half_size_disparity_beside_a_calibration_of_the_photo_is_refused(tmp_path):
    """Read with the photo's focal length it would be twice as far as it is."""
    (tmp_path / "s").mkdir()
    (tmp_path / "s/im0.png").write_bytes(images.encode(CLEAN, ".png"))
    (tmp_path / "s/disp0.pfm").write_bytes(pfm(DEPTH[::2, ::2] / 2))
    (tmp_path / "s/calib.txt").write_text(
        "cam0=[100 0 6; 0 100 5; 0 0 1]\ndoffs=0\nbaseline=200\nwidth=12\nheight=10\n"
    )
    reading = Reading(tmp_path, tmp_path, convention="middlebury", fit_depth=True)
    code, reason = rejection(load, SceneRef("s", "s/im0.png", "s/disp0.pfm"), reading, PLANE)
    assert code == "size"
    assert "resize the maps yourself, and their numbers by the ratio of the widths" in reason


@pytest.mark.parametrize("fit_depth", [True, False])
def test_depth_map_without_pixels_is_rejected(scene, fit_depth):
    assert rejection(scene, depth=np.ones((0, 12), np.float32), fit_depth=fit_depth)[0] in ("depth", "size")


def test_scene_that_needs_a_camera_and_has_none_is_rejected(scene):
    code, reason = rejection(scene, RAY)
    assert code == "camera"
    assert "needs intrinsics. Expected a camera to turn plane depth into the recipe's ray distance" in reason
    assert reason.endswith("received none. Pass --fov-deg or --camera.")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"clean": b"text"}, "image", "'image.png' is not a picture"),
        ({"clean": images.encode(CLEAN, ".png")[:-100]}, "image", "'image.png' cannot be decoded"),
        ({"depth": -DEPTH}, "depth", "values below 0"),
        ({"depth": DEPTH.astype(np.uint16)}, "depth", "integers of an unknown unit"),
        ({"camera": CAMERA | {"width": 13}}, "camera", "Expected those of 12 x 10, received 13 x 10. Scale fx"),
        ({"camera": CAMERA | {"fx": 0.0}}, "camera", "intrinsics are out of range"),
        ({"camera": CAMERA | {"fx": "eight"}}, "camera", "Camera file 'scene.json' cannot be used"),
        ({"camera": CAMERA | {"fx": True}}, "camera", "received: TypeError: fx is True, no number"),
        ({"camera": CAMERA | {"cy": False}}, "camera", "received: TypeError: cy is False, no number"),
        ({"camera": {"width": 12}}, "camera", "received: KeyError: 'height'"),
        ({"camera": "[1, 2]"}, "camera", "Expected JSON with width, height, fx, fy, cx, cy"),
        ({"camera": "{"}, "camera", "Camera file 'scene.json' cannot be used"),
        ({"camera": CAMERA | {"depth": {"scale": 1}}}, "camera", "unknown fields"),
        ({"camera": CAMERA | {"depth": {"unit_m": 0}}}, "camera", "unit of the depth maps is out of range"),
        ({"camera": CAMERA | {"depth": {"unit_m": "1"}}}, "camera", "received"),
        (
            {"camera": CAMERA | {"depth": {"values": "disparity", "focal_px": "9", "baseline_m": 1}}},
            "camera",
            "received",
        ),
    ],
)
def test_scene_whose_file_cannot_be_used_is_rejected_with_the_reason(scene, options, code, message):
    received, reason = rejection(scene, **options)
    assert received == code
    assert message in reason


def test_missing_camera_file_rejects_its_scene(scene, tmp_path):
    scene()
    gone = SceneRef("gone", "image.png", "depth.npy")
    code, reason = rejection(load, gone, Reading(tmp_path, tmp_path, tmp_path), PLANE)
    assert code == "camera"
    assert "gone.json' is not a file" in reason


def failing(number, suffix):
    """Path.read_bytes that fails for files of this suffix."""
    read = Path.read_bytes

    def read_bytes(path):
        if path.suffix == suffix:
            raise OSError(number, os.strerror(number), *([str(path)] if number != errno.EIO else []))
        return read(path)

    return read_bytes


@pytest.mark.parametrize("suffix", [".png", ".npy", ".json"])
@pytest.mark.parametrize(
    "number",
    [errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT],
    ids=errno.errorcode.get,
)
def test_failure_of_this_machine_rejects_no_scene(scene, monkeypatch, number, suffix):
    monkeypatch.setattr(Path, "read_bytes", failing(number, suffix))
    with pytest.raises(StoreError, match=f"Scene 'scene' cannot be read: .*{os.strerror(number)}.* goes on") as caught:
        scene(camera=CAMERA)
    assert caught.value.exit_code == 4


# How HDF5 and OpenEXR tell the system's errors: in words alone.
HDF5_READ = (
    "Can't synchronously read data (file read failed: time = Sun, filename = 'depth.h5', file descriptor = 5, "
    "errno = {}, error message = '{}', buf = 0x0, total read size = 512)"
)


def broken_reader(suffix, error):
    """What a library's reader is replaced by: it fails as that of a disk that is broken."""

    def fail(*_args, **_options):
        raise error

    return {
        ".h5": ("h5py.File", fail),
        ".exr": ("OpenEXR.File", fail),
        ".npz": ("zipfile.ZipFile.open", fail),
    }[suffix]


@pytest.mark.parametrize(
    ("suffix", "error"),
    [
        (".h5", OSError(errno.EIO, os.strerror(errno.EIO))),
        (".h5", OSError(HDF5_READ.format(errno.EIO, os.strerror(errno.EIO)))),
        (".h5", OSError(HDF5_READ.format(errno.ESTALE, os.strerror(errno.ESTALE)))),
        (".exr", RuntimeError(f'Cannot read image file "depth.exr". {os.strerror(errno.EIO)}.')),
        (".exr", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
        (".npz", OSError(errno.EIO, os.strerror(errno.EIO))),
        (".npz", OSError(errno.EMFILE, os.strerror(errno.EMFILE))),
    ],
)
def test_disk_that_fails_below_a_library_rejects_no_scene(tmp_path, monkeypatch, suffix, error):
    write(tmp_path / f"depth{suffix}", DEPTH)
    (tmp_path / "image.png").write_bytes(images.encode(CLEAN, ".png"))
    ref = SceneRef("scene", "image.png", f"depth{suffix}")
    reading = Reading(tmp_path, tmp_path, depth_format={"unit": 1.0})
    assert load(ref, reading, PLANE).largest_m == pytest.approx(float(DEPTH.max()))
    with monkeypatch.context() as patch:
        patch.setattr(*broken_reader(suffix, error))
        with pytest.raises(StoreError, match=r"Scene 'scene' cannot be read: .* goes on") as caught:
            load(ref, reading, PLANE)
    assert caught.value.exit_code == 4
    # What a library says of a damaged file rejects its scene, as before.
    with monkeypatch.context() as patch:
        patch.setattr(*broken_reader(suffix, OSError("truncated file: eof = 96, stored_eof = 2048")))
        with pytest.raises(SceneRejected, match="cannot be read"):
            load(ref, reading, PLANE)


@pytest.mark.parametrize(
    "number",
    [errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG],
    ids=errno.errorcode.get,
)
@pytest.mark.parametrize(("suffix", "code"), [(".png", "image"), (".npy", "depth"), (".json", "camera")])
def test_file_that_cannot_be_opened_by_its_name_or_rights_rejects_its_scene(scene, monkeypatch, number, suffix, code):
    monkeypatch.setattr(Path, "read_bytes", failing(number, suffix))
    found, told = rejection(scene, camera=CAMERA)
    assert found == code
    assert os.strerror(number) in told


def test_camera_file_is_read_with_its_depth_entry(tmp_path):
    path = tmp_path / "c.json"
    path.write_text(json.dumps(CAMERA | {"depth": {"unit_m": 0.01}, "pose": [1, 2, 3]}))
    assert load_camera(path) == (geometry.Camera(**CAMERA), {"unit_m": 0.01})
    path.write_text(json.dumps(CAMERA))
    assert load_camera(path)[1] == {}


@pytest.mark.parametrize(("values", "fx"), [("plane", 1e-300), ("plane", 1e-45)])
def test_intrinsics_that_make_every_distance_infinite_reject_the_scene(scene, values, fx):
    depth = np.where(np.arange(12) == 5, np.nan, DEPTH).astype(np.float32)  # but for the column of the axis
    with np.errstate(over="ignore"):
        code, reason = rejection(
            scene, RAY, depth=depth, camera=CAMERA | {"fx": fx, "fy": fx, "cy": 99.0}, depth_format={"values": values}
        )
    assert code == "camera"
    assert "make every distance infinite. Expected focal lengths of some hundred pixels" in reason


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "received: RecursionError"),
        (json.dumps(CAMERA).replace("8.0", "1" + 400 * "0"), "received: OverflowError"),
        (json.dumps(CAMERA).replace("8.0", "1" + 5000 * "0"), "received: ValueError"),
        (json.dumps(CAMERA).replace("8.0", "NaN"), "intrinsics are out of range"),
        (json.dumps(CAMERA | {"depth": None}), "received: TypeError"),
        (json.dumps(CAMERA | {"depth": ["unit_m"]}), "received: ValueError"),
        (json.dumps(CAMERA | {"depth": {"convention": "kiti"}}), "No depth convention has this name"),
        ("\x00", "Camera file 'scene.json' cannot be used"),
    ],
)
def test_hostile_camera_file_rejects_its_scene(scene, text, message):
    code, reason = rejection(scene, RAY, camera=text)
    assert code == "camera"
    assert message in reason


def test_depth_entry_is_left_alone_where_it_is_about_other_maps(scene):
    camera = CAMERA | {"depth": {"unit_m": 0.001, "values": "ray", "not_measured": 5}}
    np.testing.assert_array_equal(scene(PLANE, camera=camera, depth_entries=False).distance_m, DEPTH)
    assert scene(PLANE, camera=camera, depth_entries=False).depth_format == scene(PLANE).depth_format


def test_flat_depth_needs_no_map(scene, tmp_path):
    loaded = scene(RAY, fov_deg=60.0, flat_m=500.0)
    lengths = geometry.ray_length(geometry.camera_from_fov(60.0, 12, 10))
    np.testing.assert_allclose(loaded.distance_m, 500.0 * lengths, rtol=1e-6)
    (tmp_path / "depth.npy").unlink()
    photo = SceneRef("scene", "image.png", "")
    assert load(photo, Reading(tmp_path, tmp_path / "none", flat_m=3.0), PLANE).largest_m == 3.0


def test_camera_is_kept_for_haze_in_space_and_asked_for(scene):
    patchy = dataclasses.replace(RAY, noise_contrast=Draw("values", (0.5,)))
    ray = {"depth_format": {"values": "ray"}}
    assert scene(patchy, camera=CAMERA, **ray).camera == geometry.Camera(**CAMERA)
    code, reason = rejection(scene, patchy, camera=None, **ray)
    assert code == "camera"
    assert "Expected a camera to place its haze in space, received none" in reason


def test_mask_of_a_convention_hides_what_is_wrong(scene, tmp_path):
    mask = np.ones((10, 12), np.uint8)
    mask[:3] = 0
    np.save(tmp_path / "scene_depth_mask.npy", mask)
    loaded = scene(PLANE, convention="diode", depth=np.where(mask, DEPTH, np.float32(900.0)))
    assert loaded.holes == pytest.approx(0.3)
    assert loaded.largest_m <= DEPTH.max()
    np.save(tmp_path / "scene_depth_mask.npy", mask[:5])
    code, reason = rejection(scene, convention="diode")
    assert code == "depth"
    assert "Mask 'scene_depth_mask.npy' is of another size than its depth map" in reason


def test_16_bit_photo_becomes_8_bit_and_gray_becomes_rgb(scene):
    gray = CLEAN[..., 0].astype(np.uint16) * 257
    np.testing.assert_array_equal(scene(clean=gray).clean, np.stack([CLEAN[..., 0]] * 3, axis=2))


def test_rejection_is_a_refused_input():
    assert SceneRejected("a", "b").exit_code == RefusedError.exit_code == 3


@pytest.mark.parametrize("name", [name for name, one in CONVENTIONS.items() if one.is_more_than_format])
def test_convention_that_is_more_than_a_format_belongs_on_the_command_line(scene, name):
    camera = CAMERA | {"depth": {"convention": name}}
    code, reason = rejection(scene, camera=camera)
    assert code == "camera"
    assert (
        f"names the convention '{name}', which says more than what numbers mean. Expected one without masks" in reason
    )
    assert f"Pass --depth-kind {name}, or state values, unit_m" in reason


def test_convention_of_a_camera_file_may_repeat_that_of_the_command_line(scene):
    camera = CAMERA | {"depth": {"convention": "kitti"}}
    depth = np.full((10, 12), 2560, np.uint16)
    assert scene(depth=depth, camera=camera, convention="kitti").largest_m == 10.0
    tum = CAMERA | {"depth": {"convention": "tum"}}
    assert scene(depth=depth, camera=tum).largest_m == pytest.approx(2560 / 5000)


# --- sky in the holes ---

HEIGHT, WIDTH, SKY_ROWS = 60, 80, 20
STREET = np.random.default_rng(0).integers(40, 120, (HEIGHT, WIDTH, 3), dtype=np.uint8)
STREET[:SKY_ROWS] = (215, 225, 235)
# The farthest rows of the ground are holes too.
STREET_M = np.vstack([np.full((24, WIDTH), np.nan), np.linspace(60.0, 4.0, 36)[:, None].repeat(WIDTH, 1)])
STREET_M = STREET_M.astype(np.float32)
DISPARITY = 30.0 / STREET_M


def as_integers(numbers):
    return images.encode(np.rint(np.nan_to_num(numbers)).astype(np.uint16), ".png")


def street_files(name):
    """Names of image and depth, and the content of each file, as the convention has them."""
    photo = images.encode(STREET, ".png")
    told = f"cam0=[60 0 40; 0 60 30; 0 0 1]\ndoffs=0\nbaseline=500\nwidth={WIDTH}\nheight={HEIGHT}\n"
    cityscapes = {"intrinsic": {"fx": 60, "fy": 60, "u0": 40, "v0": 30}, "extrinsic": {"baseline": 0.5}}
    mask = npy((~np.isnan(STREET_M)).astype(np.float32))
    table = {
        "kitti": {"a.png": photo, "d/a.png": as_integers(STREET_M * 256)},
        "kitti-disparity": {"a.png": photo, "d/a.png": as_integers(721.5 * 0.54 / STREET_M * 256)},
        "eth3d": {"a.png": photo, "d/a.pfm": pfm(np.where(np.isnan(DISPARITY), np.inf, DISPARITY)),
                  "d/calib.txt": told.encode()},
        "cityscapes-disparity": {"a.png": photo, "d/a.png": as_integers(np.nan_to_num(DISPARITY * 256 + 1)),
                                 "d/a_camera.json": json.dumps(cityscapes).encode()},
        "diode": {"a.png": photo, "d/a.npy": npy(np.nan_to_num(STREET_M)), "d/a_depth_mask.npy": mask},
    }  # fmt: skip
    return table[name]


@pytest.mark.parametrize("name", [name for name, one in CONVENTIONS.items() if one.sky_is_hole])
def test_sky_that_a_convention_marks_as_a_hole_is_found(tmp_path, name):
    files = street_files(name)
    (tmp_path / "d").mkdir()
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
    image, depth = list(files)[:2]
    reading = Reading(tmp_path, tmp_path / "d", convention=name)
    loaded = load(SceneRef("a", image, depth.removeprefix("d/")), reading, dataclasses.replace(PLANE, max_holes=0.9))
    assert loaded.sky == pytest.approx(SKY_ROWS / HEIGHT)
    assert np.isinf(loaded.distance_m[:SKY_ROWS]).all()
    measured = ~np.isnan(STREET_M)
    np.testing.assert_allclose(loaded.distance_m[measured], STREET_M[measured], rtol=0.01)


@pytest.mark.parametrize(("values", "mark"), [("relative-inverse", 0.0), ("relative", 9.0)])
def test_sky_of_relative_depth_stays_when_its_scale_is_fitted(scene, tmp_path, values, mark):
    relative = 1.0 / DEPTH if values == "relative-inverse" else DEPTH / 10.0
    relative[:3] = mark
    (tmp_path / "sparse").mkdir()
    np.save(tmp_path / "sparse" / "scene.npy", DEPTH)
    told = {"values": values, "no_surface": mark, "not_measured": ()}
    loaded = scene(depth=relative, depth_format=told, sparse=tmp_path / "sparse")
    assert np.isinf(loaded.distance_m[:3]).all()
    assert (loaded.sky, loaded.holes) == (pytest.approx(0.3), 0.0)
    np.testing.assert_allclose(loaded.distance_m[3:], DEPTH[3:], rtol=1e-4)


# --- photos that viewers turn ---


def turned(orientation):
    exif, file = Image.Exif(), io.BytesIO()
    exif[images.EXIF_ORIENTATION] = orientation
    Image.fromarray(CLEAN).save(file, "JPEG", exif=exif)
    return file.getvalue()


IN_SPACE = dataclasses.replace(RAY, height_scale_m=Draw("values", (5.0,)))


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize(
    ("recipe", "reading"),
    [
        (IN_SPACE, {"fov_deg": 60.0}),
        (dataclasses.replace(PLANE, sky_from_image=True), {}),
        (PLANE, {"convention": "eth3d"}),
    ],
)
def test_turned_photo_is_rejected_where_it_matters_what_is_above(scene, tmp_path, orientation, recipe, reading):
    if reading.get("convention"):
        (tmp_path / "calib.txt").write_text(
            "cam0=[100 0 6; 0 100 5; 0 0 1]\ndoffs=0\nbaseline=200\nwidth=12\nheight=10\n"
        )
    code, reason = rejection(scene, recipe, clean=turned(orientation), **reading)
    assert code == "turned"
    assert reason == (
        "Image 'image.png' is stored turned. Expected EXIF orientation 1 where the haze or the search for sky depends "
        f"on what is above, received {orientation}. Turn the image and its depth map alike, and save the image "
        "without the tag."
    )
    assert scene(recipe, clean=turned(1), **reading).clean.shape == CLEAN.shape


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_turned_photo_is_used_as_it_is_stored_where_it_does_not_matter(scene, orientation):
    np.testing.assert_array_equal(scene(clean=turned(orientation)).distance_m, DEPTH)
