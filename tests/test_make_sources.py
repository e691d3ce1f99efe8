"""From every source of distances to finished records: conventions, transmissions, flat depth, sparse points."""

import csv
import dataclasses
import hashlib
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from conftest import shipped_recipe, smooth
from depth_fixtures import write, write_hdf5, write_matlab_73

import hazegen.cli
from hazegen import build, color, images, make, manifest, pair_table, preview, records, render, sampling, scenes, verify
from hazegen.errors import RefusedError
from hazegen.make_options import MakeOptions
from hazegen.recipe import Draw, Recipe

HEIGHT, WIDTH, SKY_ROWS = 48, 64, 12
BETA = 0.05
PLANE = Recipe(
    path="plane", beta=Draw("values", (BETA,)), atmospheric_light=Draw("values", (0.9,)), max_holes=0.9, fill="nearest"
)
RAY = dataclasses.replace(PLANE, path="ray")
SKY = np.zeros((HEIGHT, WIDTH), bool)
SKY[:SKY_ROWS] = True


def street(number):
    """Photo and plane depth [m]: a ground of 4 to 40 m that is uneven, under a sky (infinite)."""
    rng = np.random.default_rng(number)
    clean = np.rint(40 + 120 * smooth(rng, HEIGHT, WIDTH, 3) * [1.0, 0.8, 0.5]).astype(np.uint8)
    clean[SKY] = (150, 180, 220)
    rows = np.linspace(40.0, 5.0, HEIGHT - SKY_ROWS)[:, None] * (0.8 + 0.2 * smooth(rng, 36, WIDTH, 1)[..., 0])
    return clean, np.vstack([np.full((SKY_ROWS, WIDTH), np.inf), rows]).astype(np.float32)


def picture(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(images.encode(pixels, path.suffix))


def pairs(folder):
    """The records of a dataset by their keys."""
    shards = manifest.load(folder).shards
    decoded = [records.decode(record) for shard in shards for record in records.read_shard(folder / shard.name)]
    return {values["key"]: values for values in decoded}


def stored(values):
    """The stored transmission in [0, 1], float64 (height, width) or (height, width, 3)."""
    return images.decode(values["transmission"], "transmission") / 65535.0


def rows_of(folder):
    with (folder / manifest.INPUTS).open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return {row["key"]: row for row in csv.DictReader(file)}


def contents(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


def run(tmp_path, recipe=PLANE, **changes):
    """Makes tmp_path/out of tmp_path/images and tmp_path/depth."""
    given = {"images": tmp_path / "images", "depth": tmp_path / "depth", "out": tmp_path / "out"}
    given |= {"codec": "png", "maps": True, "variants": 1, "workers": 1, "splits": "train=1"}
    return make.make(MakeOptions(**(given | changes)), recipe)


@pytest.fixture
def command(capsys):
    """command(*words): exit status and what is printed to stdout and stderr."""

    def call(*words):
        status = hazegen.cli.main([str(word) for word in words])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


def assert_verified(out):
    found = verify.verify(out, workers=1)
    assert found.rows
    assert found.problems() == []


def assert_distances(out, expected, *, holes=None, rtol=1e-3):
    """Stored transmissions against exp(-beta d) of `expected` [m] by key; sky exactly 0, holes between near and far."""
    made = pairs(out)
    assert {values["scene"] for values in made.values()} == set(expected)
    for values in made.values():
        depth_m = expected[values["scene"]]
        known = np.isfinite(depth_m) if holes is None else np.isfinite(depth_m) & ~holes
        transmission = stored(values)
        beta = values["beta"][1]
        np.testing.assert_allclose(-np.log(transmission[known]) / beta, depth_m[known], rtol=rtol)
        assert (transmission[np.isinf(depth_m)] == 0).all()
        if holes is not None:
            filled_m = -np.log(transmission[holes]) / beta
            assert filled_m.min() >= 0.999 * depth_m[known].min()
            assert filled_m.max() <= 1.001 * depth_m[known].max()


# --- depth maps by convention ---


def write_kitti(root):
    """Four pixels in five and the whole sky without a measurement."""
    expected = {}
    for number in range(2):
        clean, depth_m = street(number)
        raw = np.rint(np.where(SKY, 0, depth_m) * 256)
        raw[np.random.default_rng(number).random(raw.shape) < 0.8] = 0
        picture(root / f"images/drive/{number}.png", clean)
        picture(root / f"depth/drive/{number}.png", raw.astype(np.uint16))
        expected[f"drive/{number}"] = raw / 256.0
    return expected


def test_kitti_has_its_holes_filled_and_its_sky_found(tmp_path):
    measured = write_kitti(tmp_path)
    made = run(tmp_path, dataclasses.replace(PLANE, fill="guided"), depth_kind="kitti")
    assert made.manifest.inputs == {"found": 2, "used": 2, "rejected": 0}
    for values in pairs(tmp_path / "out").values():
        depth_m, transmission = measured[values["scene"]], stored(values)
        known = depth_m > 0
        np.testing.assert_allclose(-np.log(transmission[known]) / BETA, depth_m[known], rtol=1e-3)
        assert (transmission[: SKY_ROWS - 4] == 0).all()
        ground = transmission[SKY_ROWS:]
        assert (ground > 0).all()
        filled_m = -np.log(ground[~known[SKY_ROWS:]]) / BETA
        assert depth_m[known].min() * 0.999 <= filled_m.min() < filled_m.max() <= depth_m[known].max() * 1.001
        row = rows_of(tmp_path / "out")[values["scene"]]
        assert float(row["holes"]) + float(row["sky"]) == pytest.approx((~known).mean(), abs=1e-6)
        assert float(row["sky"]) >= (SKY_ROWS - 4) / HEIGHT


def test_kitti_has_too_many_holes_for_the_usual_limit(tmp_path):
    write_kitti(tmp_path)
    with pytest.raises(RefusedError, match=r"No scene could be used.*too few measured depths. Expected at most 50.0%"):
        run(tmp_path, dataclasses.replace(PLANE, max_holes=0.5), depth_kind="kitti")


def test_sky_of_a_recipe_that_asks_for_it_is_found_without_a_convention(tmp_path):
    clean, depth_m = street(0)
    picture(tmp_path / "images/a.png", clean)
    write(tmp_path / "depth/a.npy", np.where(SKY, np.nan, depth_m))
    run(tmp_path, dataclasses.replace(PLANE, sky_from_image=True))
    transmission = stored(pairs(tmp_path / "out")["a#0000"])
    assert (transmission[: SKY_ROWS - 2] == 0).all()
    run(tmp_path, out=tmp_path / "plain")
    assert (stored(pairs(tmp_path / "plain")["a#0000"]) > 0).all()


def write_tum(root, number, clean, depth_m):
    raw = np.rint(np.where(SKY, 0, depth_m / 4) * 5000)
    raw[20:30, 10:20] = 0
    picture(root / f"images/{number}.png", clean)
    picture(root / f"depth/{number}.png", raw.astype(np.uint16))
    return str(number), np.where(raw == 0, np.nan, depth_m / 4)


def write_middlebury(root, number, clean, depth_m):
    """f = 80 px, B = 0.5 m, doffs = 3 px: disparity 80 * 0.5 / z - 3; infinity where nothing was matched."""
    disparity = 40.0 / depth_m - 3.0
    disparity[SKY] = np.inf
    picture(root / f"images/s{number}/im0.png", clean)
    picture(root / f"images/s{number}/im1.png", clean)
    write(root / f"depth/s{number}/disp0.pfm", disparity.astype(np.float32))
    (root / f"depth/s{number}/calib.txt").write_text(
        f"cam0=[80 0 30; 0 81 20; 0 0 1]\ncam1=[80 0 33; 0 81 20; 0 0 1]\ndoffs=3\nbaseline=500\n"
        f"width={WIDTH}\nheight={HEIGHT}\nndisp=50\n"
    )
    return f"s{number}", np.where(SKY, np.nan, depth_m)


def write_cityscapes(root, number, clean, depth_m):
    """f = 500 px, B = 0.2 m: (v - 1) / 256 = 100 / z; 0 unmatched, 1 infinitely far."""
    raw = np.rint(np.where(SKY, 0, 100.0 / depth_m) * 256 + 1)
    raw[20:30, 10:20] = 0
    picture(root / f"images/ulm/{number}_leftImg8bit.png", clean)
    picture(root / f"depth/ulm/{number}_disparity.png", raw.astype(np.uint16))
    camera = root / f"camera/ulm/{number}_camera.json"
    camera.parent.mkdir(parents=True, exist_ok=True)
    intrinsic = {"fx": 500, "fy": 500, "u0": 32, "v0": 24}
    camera.write_text(json.dumps({"intrinsic": intrinsic, "extrinsic": {"baseline": 0.2}}))
    return f"ulm/{number}", np.where(raw == 0, np.nan, depth_m)


def write_diode(root, number, clean, depth_m):
    mask = np.ones((HEIGHT, WIDTH), np.float32)
    mask[20:30, 10:20] = 0
    wrong = np.where(mask == 0, 999.0, depth_m).astype(np.float32)  # what the mask hides is no depth
    picture(root / f"images/a/{number}.png", clean)
    write(root / f"depth/a/{number}_depth.npy", wrong[..., None])
    write(root / f"depth/a/{number}_depth_mask.npy", mask)
    return f"a/{number}", np.where(mask == 0, np.nan, depth_m)


def write_hypersim(root, number, clean, depth_m):
    """Distances along the ray, in half precision."""
    (root / "depth").mkdir(exist_ok=True)
    picture(root / f"images/frame.{number:04d}.tonemap.png", clean)
    half = depth_m.astype(np.float16)
    half[20:30, 10:20] = np.nan
    write_hdf5(root / f"depth/frame.{number:04d}.depth_meters.hdf5", {"dataset": half}, compression="gzip")
    return f"frame.{number:04d}", half.astype(np.float32)


def write_carla(root, number, clean, depth_m):
    parts = np.rint(np.where(SKY, 1000.0, depth_m) / 1000.0 * (2**24 - 1)).astype(np.int64)
    picture(root / f"images/{number}.png", clean)
    packed = np.stack([parts % 256, parts // 256 % 256, parts // 65536], axis=2)
    picture(root / f"depth/{number}.png", packed.astype(np.uint8))
    return str(number), depth_m


def write_virtual_kitti(root, number, clean, depth_m):
    picture(root / f"images/rgb_{number}.png", clean)
    centimetres = np.rint(np.where(SKY, 655.35, depth_m) * 100)
    picture(root / f"depth/depth_{number}.png", centimetres.astype(np.uint16))
    return str(number), np.where(SKY, np.inf, centimetres / 100)


CONVENTIONS = {
    "tum": (write_tum, PLANE, {}),
    "middlebury": (write_middlebury, PLANE, {}),
    "cityscapes-disparity": (write_cityscapes, PLANE, {"camera": "camera"}),
    "diode": (write_diode, PLANE, {}),
    "hypersim": (write_hypersim, RAY, {}),
    "carla": (write_carla, PLANE, {}),
    "virtual-kitti": (write_virtual_kitti, PLANE, {}),
}


@pytest.mark.parametrize("name", CONVENTIONS)
def test_distances_of_a_convention_reach_the_records(tmp_path, name):
    writer, recipe, more = CONVENTIONS[name]
    expected = dict(writer(tmp_path, number, *street(number)) for number in range(2))
    more = {option: tmp_path / folder for option, folder in more.items()}
    made = run(tmp_path, recipe, depth_kind=name, **more)
    assert made.manifest.inputs == {"found": 2, "used": 2, "rejected": 0}
    holes = np.isnan(next(iter(expected.values())))
    assert holes.any() == (name not in ("carla", "virtual-kitti"))
    assert_distances(tmp_path / "out", expected, holes=holes if holes.any() else None)
    row = rows_of(tmp_path / "out")[next(iter(expected))]
    assert row["depth_kind"] == name
    assert float(row["holes"]) == pytest.approx(holes.mean(), abs=1e-6)


def test_calibration_gives_the_rays_that_a_ray_recipe_needs(tmp_path):
    key, depth_m = write_middlebury(tmp_path, 0, *street(0))
    run(tmp_path, RAY, depth_kind="middlebury")
    x, y = (np.arange(WIDTH) - 30) / 80, (np.arange(HEIGHT) - 20) / 81
    rays = np.sqrt(1 + x[None, :] ** 2 + y[:, None] ** 2)
    ground = ~SKY
    transmission = stored(pairs(tmp_path / "out")[f"{key}#0000"])
    np.testing.assert_allclose(-np.log(transmission[ground]) / BETA, (depth_m * rays)[ground], rtol=1e-3)


def test_frames_of_one_file_are_scenes(tmp_path):
    photos, depths = zip(*(street(number) for number in range(3)), strict=True)
    depths = [np.where(SKY, 0.0, depth_m) for depth_m in depths]
    path = tmp_path / "nyu_labeled.mat"
    write_matlab_73(
        path, {"images": np.stack(photos, 3), "depths": np.stack(depths, 2).astype(np.float32)}, compression="gzip"
    )
    made = run(tmp_path, images=path, depth=path, depth_kind="nyu-mat")
    assert made.manifest.inputs["used"] == 3
    expected = {f"nyu_labeled/{number:05d}": np.where(SKY, np.nan, depths[number]) for number in range(3)}
    assert_distances(tmp_path / "out", expected, holes=SKY)
    for number in range(3):
        values = pairs(tmp_path / "out")[f"nyu_labeled/{number:05d}#0000"]
        np.testing.assert_array_equal(images.decode(values["clean"], "clean"), photos[number])
    assert run(tmp_path, images=path, depth=path, depth_kind="nyu-mat").reused == len(made.manifest.shards)


# --- other sources ---


@pytest.mark.parametrize(("dtype", "most"), [(np.uint8, 65535 / 255), (np.uint16, 0)])
def test_transmission_maps_are_the_transmission_of_the_pairs(tmp_path, dtype, most):
    top = np.iinfo(dtype).max
    given = {}
    for number in range(2):
        clean, depth_m = street(number)
        given[str(number)] = np.rint(np.exp(-0.08 * depth_m) * top).astype(dtype)
        given[str(number)][-1] = top  # the camera itself
        picture(tmp_path / f"images/{number}.png", clean)
        picture(tmp_path / f"t/{number}.png", given[str(number)])
    recipe = dataclasses.replace(RAY, beta=Draw("values", (0.08,)))  # no camera: t has the recipe's own path
    run(tmp_path, recipe, depth=None, transmission=tmp_path / "t", transmission_beta=0.08)
    for values in pairs(tmp_path / "out").values():
        received = images.decode(values["transmission"], "transmission").astype(np.int64)
        expected = given[values["scene"]].astype(np.int64) * (65535 // top)
        assert np.abs(received - expected).max() <= most
        assert (received[SKY] == 0).all()
    kept = manifest.load(tmp_path / "out").reading
    assert (kept["convention"], kept["depth_format"]) == ("transmission", {"beta": 0.08})


def camera_file(folder, key, **entry):
    folder.mkdir(exist_ok=True)
    pinhole = {"width": WIDTH, "height": HEIGHT, "fx": 50.0, "fy": 50.0, "cx": 31.5, "cy": 23.5}
    (folder / f"{key}.json").write_text(json.dumps(pinhole | ({"depth": entry} if entry else {})))


def test_depth_entry_of_a_camera_file_is_not_about_transmissions_or_flat_depth(tmp_path):
    clean, depth_m = street(0)
    given = np.rint(np.exp(-0.08 * depth_m) * 65535).astype(np.uint16)
    picture(tmp_path / "images/a.png", clean)
    picture(tmp_path / "t/a.png", given)
    camera_file(tmp_path / "camera", "a", values="ray", unit_m=0.001, no_surface=65535)
    recipe = dataclasses.replace(PLANE, beta=Draw("values", (0.08,)))
    camera = {"depth": None, "camera": tmp_path / "camera"}
    run(tmp_path, recipe, transmission=tmp_path / "t", transmission_beta=0.08, **camera)
    np.testing.assert_array_equal(np.rint(stored(pairs(tmp_path / "out")["a#0000"]) * 65535), given)
    run(tmp_path, PLANE, out=tmp_path / "flat", flat_depth=20.0, **camera)
    assert stored(pairs(tmp_path / "flat")["a#0000"]) == pytest.approx(math.exp(-1.0), abs=1e-5)


def test_flat_depth_is_a_plane_that_rays_meet_at_an_angle(tmp_path):
    picture(tmp_path / "images/a.png", street(0)[0])
    run(tmp_path, RAY, depth=None, flat_depth=20.0, fov_deg=60.0)
    focal = WIDTH / 2 / math.tan(math.pi / 6)
    x, y = (np.arange(WIDTH) - 31.5) / focal, (np.arange(HEIGHT) - 23.5) / focal
    rays = np.sqrt(1 + x[None, :] ** 2 + y[:, None] ** 2)
    np.testing.assert_allclose(-np.log(stored(pairs(tmp_path / "out")["a#0000"])) / BETA, 20.0 * rays, rtol=1e-3)


def test_veil_over_pictures_from_above_by_the_command_line(command, tmp_path):
    for number in range(3):
        picture(tmp_path / f"images/{number}.png", street(number)[0])
    out = tmp_path / "out"
    words = ["make", "--images", tmp_path / "images", "--flat-depth", 500, "--fov-deg", 40, "--out", out, "--maps"]
    words += ["--recipe", "remote-sensing-veil", "--variants", 2, "--codec", "png"]
    status, printed, error = command(*words)
    assert (status, error) == (0, "")
    assert "6 pairs of 3 scenes" in printed
    assert_verified(out)
    for values in pairs(out).values():
        transmission = stored(values)
        assert transmission.shape == (HEIGHT, WIDTH, 3)
        assert (transmission[..., 2] <= transmission[..., 0]).all()  # haze is denser for blue
        assert transmission.std() > 0.001
        assert json.loads(values["haze"])["camera_height_m"] == 500.0
    kept = manifest.load(out).reading
    assert (kept["flat_m"], kept["depth_values"]) == (500.0, ["plane"])
    assert command("make", *words[1:])[1].startswith("Nothing to do")


# --- relative depth by sparse points ---


@pytest.fixture
def sparse_set(tmp_path):
    """Four scenes whose nearness has a scale and a shift of its own, each with 200 metric points."""
    for number in range(4):
        clean, depth_m = street(number)
        depth_m[SKY] = 45.0
        nearness = 3.0 + 70.0 * (1 + number) / depth_m
        points = np.zeros((HEIGHT, WIDTH))
        chosen = np.random.default_rng(number).choice(depth_m.size, 200, replace=False)
        points.flat[chosen] = depth_m.flat[chosen]
        picture(tmp_path / f"images/{number}.png", clean)
        write(tmp_path / f"depth/{number}.npy", nearness.astype(np.float32))
        picture(tmp_path / f"sparse/{number}.png", np.rint(points * 256).astype(np.uint16))
    return {"depth_kind": "depth-anything", "sparse": tmp_path / "sparse", "sparse_scale": 1 / 256}


def in_metres(number):
    depth_m = street(number)[1]
    return np.where(SKY, np.float32(45.0), depth_m)


def test_relative_depth_gets_its_metres_from_sparse_points(tmp_path, sparse_set):
    made = run(tmp_path, **sparse_set)
    assert made.manifest.inputs["used"] == 4
    assert_distances(tmp_path / "out", {str(number): in_metres(number) for number in range(4)}, rtol=0.01)
    assert manifest.load(tmp_path / "out").reading["sparse_files"] is True


def test_scene_whose_points_are_of_no_use_is_rejected_and_the_others_are_made(command, tmp_path, sparse_set):
    (tmp_path / "sparse/0.png").unlink()
    few = images.read_picture(tmp_path / "sparse/1.png")
    few.flat[np.flatnonzero(few)[9:]] = 0
    picture(tmp_path / "sparse/1.png", few)
    upside_down = np.load(tmp_path / "depth/2.npy")
    write(tmp_path / "depth/2.npy", upside_down.max() - upside_down)
    words = ["make", "--images", tmp_path / "images", "--depth", tmp_path / "depth", "--out", tmp_path / "out"]
    words += ["--depth-kind", "depth-anything", "--sparse", tmp_path / "sparse", "--sparse-scale", 1 / 256]
    status, printed, error = command(*words, "--recipe.max-holes", 0.9, "--variants", 1)
    assert status == 3
    assert "1 pair of 1 scene in" in printed
    assert "3 of 4 inputs were rejected" in error
    reasons = {key: row["reason"] for key, row in rows_of(tmp_path / "out").items()}
    assert "Scene '0' has no sparse depth. Expected one file of its name in" in reasons["0"]
    assert "Too few metric points to fit a scale. Expected at least 10 inside the map, received 9" in reasons["1"]
    assert "looks inverted against its points" in reasons["2"]
    assert reasons["3"] == ""
    assert {row["code"] for row in rows_of(tmp_path / "out").values()} == {"depth", ""}


def test_sparse_integers_need_a_unit_of_their_own(tmp_path, sparse_set):
    with pytest.raises(
        RefusedError, match=r"Sparse depth '.\.png' holds integers of an unknown unit.*Pass --sparse-sc"
    ):
        run(tmp_path, **(sparse_set | {"sparse_scale": None}))


def test_scene_with_metric_depth_is_not_fitted_to_sparse_points(tmp_path, sparse_set):
    for number in range(4):
        camera_file(tmp_path / "camera", str(number), **({"values": "plane"} if number == 3 else {}))
    made = run(tmp_path, **sparse_set, camera=tmp_path / "camera")
    assert made.rejected == {"depth": 1}
    assert "depth of scene '3' has a scale of its own. Expected values relative or relative-inv" in made.first_reason


# --- what the recipe does with it ---


def test_fill_and_refine_change_what_they_say_and_nothing_else(tmp_path):
    clean, depth_m = street(0)
    depth_m[SKY] = np.nan
    depth_m[20:32, 8:24] = np.nan
    picture(tmp_path / "images/a.png", clean)
    write(tmp_path / "depth/a.npy", depth_m)
    recipes = {"nearest": PLANE, "guided": dataclasses.replace(PLANE, fill="guided")}
    recipes |= {name: dataclasses.replace(PLANE, refine=name) for name in ("edges",)}
    recipes |= {"smoothed": dataclasses.replace(PLANE, refine="guided")}
    made = {}
    for name, recipe in recipes.items():
        run(tmp_path, recipe, out=tmp_path / name)
        made[name] = stored(pairs(tmp_path / name)["a#0000"])
    known = np.isfinite(depth_m)
    np.testing.assert_array_equal(made["nearest"][known], made["guided"][known])
    for name in ("guided", "edges", "smoothed"):
        assert (made[name] != made["nearest"]).any(), name
        assert (made[name] > 0).all()


@pytest.mark.parametrize("kind", ["noise_contrast", "height_scale_m"])
def test_haze_in_space_needs_a_camera(tmp_path, photos, make_options, kind):
    recipe = dataclasses.replace(RAY, **{kind: Draw("values", (0.5,))})
    with pytest.raises(ValueError, match=r"Expected intrinsics.*received none"):
        make.make(make_options(photos, tmp_path / "out", variants=1), recipe)
    made = make.make(make_options(photos, tmp_path / "with", fov_deg=60.0, limit=2, variants=1), recipe)
    assert made.manifest.inputs["used"] == 2


def test_haze_in_space_needs_a_camera_for_each_scene(tmp_path):
    for number in range(2):
        key, _ = write_hypersim(tmp_path, number, *street(number))
        camera_file(tmp_path / "camera", key)
    (tmp_path / "camera" / f"{key}.json").unlink()
    recipe = dataclasses.replace(RAY, height_scale_m=Draw("values", (30.0,)))
    made = run(tmp_path, recipe, depth_kind="hypersim", camera=tmp_path / "camera")
    assert made.rejected == {"camera": 1}
    transmission = stored(pairs(tmp_path / "out")["frame.0000#0000"])
    assert (transmission[SKY] > 0).any()  # haze that thins upwards ends


def test_coloured_haze_is_kept_in_three_channels_that_every_reader_takes(tmp_path):
    write_kitti(tmp_path)
    recipe = dataclasses.replace(PLANE, angstrom_exponent=Draw("uniform", (0.8, 1.2)))
    run(tmp_path, recipe, depth_kind="kitti", variants=3)
    out = tmp_path / "out"
    for values in pairs(out).values():
        red, green, blue = values["beta"]
        assert red < green < blue
        transmission = stored(values)
        known = transmission.min(axis=2) > 0.01
        length = -np.log(transmission[known]) / values["beta"]
        np.testing.assert_allclose(length[:, 0], length[:, 2], rtol=5e-3)
    assert_verified(out)
    assert preview.preview(out, tmp_path / "p.png", 4) == 4
    for values in preview.choose(out, 4):
        shown = dict(zip(pair_table.PICTURES, pair_table._pictures(values, manifest.load(out)), strict=True))
        assert shown["transmission"].shape == (HEIGHT, WIDTH, 3)
        assert pair_table._numbers(values)["beta_per_m"] == values["beta"][1]


def test_light_of_the_picture_itself_stands_in_its_records(tmp_path):
    for number in range(2):
        clean, _ = street(number)
        clean[SKY] = (140 + 10 * number, 180, 220)
        write_virtual_kitti(tmp_path, number, clean, street(number)[1])
    recipe = dataclasses.replace(PLANE, atmospheric_light="dark-channel")
    run(tmp_path, recipe, depth_kind="virtual-kitti", variants=1)
    for values in pairs(tmp_path / "out").values():
        sky = np.array((140 + 10 * int(values["scene"]), 180, 220)) / 255.0
        np.testing.assert_allclose(values["atmospheric_light"], sky, atol=0.5 / 255)
        assert (images.decode(values["hazy"], "hazy")[0, 0] == np.rint(255 * sky)).all()


def all_on():
    """A recipe in which every effect is on."""
    drawn = {
        "angstrom_exponent": "uniform(0.5, 1.3)",
        "light_bias": "uniform(-0.05, 0.05)",
        "noise_contrast": "uniform(0.3, 0.8)",
        "noise_scale_m": "log-uniform(5, 30)",
        "height_scale_m": "uniform(20, 60)",
        "camera_pitch_deg": "uniform(-5, 5)",
        "scattering_blur": "uniform(0.002, 0.01)",
        "illumination": "uniform(0.2, 0.6)",
        "glow": "uniform(0.5, 2)",
        "blur_px": "uniform(0.3, 1.0)",
        "shot_noise": "uniform(0.001, 0.01)",
        "read_noise": "uniform(0.001, 0.01)",
        "gamma": "uniform(0.8, 1.2)",
        "jpeg_quality": "uniform(50, 95)",
    }
    switches = {"fill": "guided", "refine": "edges", "sky_from_image": True, "lamp_threshold": 0.5}
    return shipped_recipe("outdoor-visibility", visibility_m="log-uniform(30, 300)", **drawn, **switches)


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """Options for scenes with sky, holes and lamps, and what one worker makes of them with every effect on."""
    root = tmp_path_factory.mktemp("everything")
    for number in range(6):
        clean, depth_m = street(number)
        clean[40:44, 10:14] = 255  # a lamp
        write_tum(root, number, clean, depth_m)
    options = MakeOptions(
        images=root / "images",
        depth=root / "depth",
        out=root / "one",
        depth_kind="tum",
        fov_deg=60.0,
        variants=2,
        codec="png",
        maps=True,
        shard_mb=0.02,
        workers=1,
    )
    make.make(options, all_on())
    return options, contents(options.out)


@pytest.mark.parametrize("workers", [2, 3])
def test_every_effect_gives_the_same_bytes_by_any_number_of_workers(everything, tmp_path, workers):
    options, reference = everything
    assert sum(name.endswith(".tfrecord") for name in reference) >= 4
    made = make.make(dataclasses.replace(options, out=tmp_path / "out", workers=workers), all_on())
    assert made.manifest.inputs["used"] == 6
    assert contents(tmp_path / "out") == reference


def test_every_effect_gives_the_same_bytes_when_gone_on_with(everything, tmp_path, monkeypatch):
    options, reference = everything
    options = dataclasses.replace(options, out=tmp_path / "out")
    done = []

    def stop(task, report):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(task)
        return build.build_shard(task, report)

    with monkeypatch.context() as patch:
        patch.setattr(make, "build_shard", stop)
        with pytest.raises(KeyboardInterrupt):
            make.make(options, all_on())
    assert make.make(dataclasses.replace(options, workers=2), all_on()).reused == 2
    assert contents(tmp_path / "out") == reference


def test_record_gives_its_own_hazy_picture_again(everything):
    options, _ = everything
    recipe, reading = all_on(), options.reading()
    refs = {str(number): scenes.SceneRef(str(number), f"{number}.png", f"{number}.png") for number in range(6)}
    made = pairs(options.out)
    assert len(made) == 12
    for values in made.values():
        scene = scenes.load(refs[values["scene"]], reading, recipe)
        light = values["atmospheric_light"]
        haze = sampling.from_record(values["variant"], values["beta"], light, json.loads(values["haze"]))
        again = render.render(scene.clean, scene.distance_m, haze, recipe.color_space, scene.camera)
        np.testing.assert_array_equal(again.hazy, images.decode(values["hazy"], "hazy"))
        transmission = images.decode(values["transmission"], "transmission")
        np.testing.assert_array_equal(color.to_uint16(again.transmission), transmission)


# --- hostile names and files ---

NAMES = ["a[1]", "b c", "räum-日本", "..x", "...", "%s{}", "-d", "#1", "c'd\"", "e;f", "g\nh"]


def test_any_name_of_a_file_is_a_key(command, tmp_path):
    clean, depth_m = street(0)
    for name in NAMES:
        picture(tmp_path / f"images/{name}.png", clean)
        write(tmp_path / f"depth/{name}.npy", np.where(SKY, np.nan, depth_m))
        camera_file(tmp_path / "camera", name)
    words = ["make", "--images", tmp_path / "images", "--depth", tmp_path / "depth", "--out", tmp_path / "out"]
    words += ["--camera", tmp_path / "camera", "--variants", 1, "--recipe", "outdoor-visibility"]
    assert command(*words)[0] == 0
    assert {values["scene"] for values in pairs(tmp_path / "out").values()} == set(NAMES)
    assert command(*words)[1].startswith("Nothing to do")


def test_name_that_is_no_unicode_is_told_when_it_is_rejected(tmp_path):
    name = b"\xff".decode("utf-8", "surrogateescape")
    clean, depth_m = street(0)
    picture(tmp_path / "images/ok.png", clean)
    write(tmp_path / "depth/ok.npy", np.where(SKY, np.nan, depth_m))
    picture(tmp_path / f"images/{name}.png", clean)
    words = ["make", "--images", tmp_path / "images", "--depth", tmp_path / "depth", "--out", tmp_path / "out"]
    code = "import sys; from hazegen import cli; sys.exit(cli.main(sys.argv[1:]))"
    told = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert told.returncode == 3, told.stderr
    assert "Image '\\udcff.png' has no depth map" in told.stderr
    assert rows_of(tmp_path / "out")[name]["code"] == "no-depth"


def test_linked_file_is_read_and_a_dangling_link_rejects_its_scene(tmp_path):
    clean, depth_m = street(0)
    write(tmp_path / "elsewhere.npy", np.where(SKY, np.nan, depth_m))
    (tmp_path / "depth").mkdir()
    for key, target in (("good", tmp_path / "elsewhere.npy"), ("gone", tmp_path / "nothing.npy")):
        picture(tmp_path / f"images/{key}.png", clean)
        (tmp_path / f"depth/{key}.npy").symlink_to(target)
    (tmp_path / "depth/loop.npy").symlink_to(tmp_path / "depth/loop.npy")
    picture(tmp_path / "images/loop.png", clean)
    made = run(tmp_path)
    assert made.rejected == {"depth": 2}
    assert {values["scene"] for values in pairs(tmp_path / "out").values()} == {"good"}


@pytest.mark.parametrize("name", ["mask", "two masks", "camera list", "deep camera", "huge camera"])
def test_scene_with_a_bad_helper_file_is_rejected_and_the_other_is_made(tmp_path, name):
    for number in range(2):
        write_diode(tmp_path, number, *street(number))
        (tmp_path / "camera/a").mkdir(parents=True, exist_ok=True)
        camera_file(tmp_path / "camera/a", str(number))
    mask, camera = tmp_path / "depth/a/0_depth_mask.npy", tmp_path / "camera/a/0.json"
    spoil = {
        "mask": mask.unlink,
        "two masks": lambda: picture(mask.with_suffix(".png"), np.ones((HEIGHT, WIDTH), np.uint8)),
        "camera list": lambda: camera.write_text("[1, 2, 3]"),
        "deep camera": lambda: camera.write_text("[" * 100_000),
        "huge camera": lambda: camera.write_text(camera.read_text().replace("50.0", "1" + "0" * 400)),
    }
    messages = {
        "mask": "Depth 'a/0_depth.npy' has no mask. Expected one file '0_depth_mask.npy' or '.png'",
        "two masks": "received none or both",
        "camera list": "Camera file '0.json' cannot be used. Expected JSON with width, height",
        "deep camera": "received: RecursionError",
        "huge camera": "received: OverflowError",
    }
    spoil[name]()
    made = run(tmp_path, RAY, depth_kind="diode", camera=tmp_path / "camera")
    assert made.manifest.inputs == {"found": 2, "used": 1, "rejected": 1}
    assert messages[name] in made.first_reason
