"""One scene from file to distance."""

import dataclasses
import json

import numpy as np
import pytest

from hazegen import geometry, images
from hazegen.errors import RefusedError
from hazegen.pairing import SceneRef
from hazegen.recipe import Draw, Recipe
from hazegen.scenes import Reading, SceneRejected, load, load_camera

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
    depth = np.where(np.arange(7)[None, :] < 3, 1.0, 100.0).astype(np.float32).repeat(9, axis=0)
    assert set(np.unique(scene(depth=depth, fit_depth=True).distance_m)) == {1.0, 100.0}


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
