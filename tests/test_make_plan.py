"""The plan: what its header keeps of the options, and what it costs to make one."""

import dataclasses
import json
import runpy
import tracemalloc
from pathlib import Path

import pytest
from conftest import shipped_recipe

from hazegen import planning, shards
from hazegen.depth.formats import DepthFormat
from hazegen.errors import RefusedError, UsageError
from hazegen.make_options import MakeOptions
from hazegen.pairing import SceneRef
from hazegen.recipe import parse_draw

PLANE = shipped_recipe("aod-released")
BENCHMARK = Path(__file__).parent.parent / "benchmarks" / "plan.py"

# Options of each kind of reading, with the names of the files that they need.
READINGS = {
    "metres": {"depth_scale": 0.001},
    "kitti": {"depth_kind": "kitti"},
    "not measured": {"depth_scale": 0.01, "not_measured": "0,65535", "no_surface": 65534.0},
    "no hole": {"depth_scale": 0.01, "not_measured": "nan"},
    "infinite": {"depth_scale": 0.01, "not_measured": "inf,-inf"},
    "disparity": {"depth_values": "disparity", "focal_px": 721.5377, "baseline_m": 0.54, "depth_scale": 1 / 256},
    "relative": {"depth_kind": "midas", "near": 1.5, "far": 80.0},
    "sparse": {"depth_kind": "depth-anything", "sparse": Path("sparse"), "sparse_scale": 1 / 256},
    "one camera": {"camera": Path("camera.json")},
    "cameras": {"camera": Path("camera"), "fit_depth": True},
    "field of view": {"fov_deg": 62.3, "depth_scale": 0.001},
    "calibration": {"depth_kind": "middlebury"},
    "calibration elsewhere": {"depth_kind": "cityscapes-disparity", "camera": Path("camera")},
    "mask": {"depth_kind": "diode"},
    "transmission": {"depth": None, "transmission": Path("t"), "transmission_beta": 0.08},
    "flat": {"depth": None, "flat_depth": 500.0, "fov_deg": 40.0},
}


def options_of(root: Path, given: dict) -> MakeOptions:
    """Options whose places are below `root`, which need only exist."""
    placed = {name: root / value if isinstance(value, Path) else value for name, value in given.items()}
    for name in ("images", "depth", "sparse", "camera", "t"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "camera.json").write_text("{}")
    return MakeOptions(**({"images": root / "images", "depth": root / "depth", "out": root / "out"} | placed))


@pytest.mark.parametrize("kind", READINGS)
def test_header_gives_the_settings_again_for_inputs_elsewhere(tmp_path, kind):
    given = {"codec": "png", "maps": True, "seed": 9, "variants": 4} | READINGS[kind]
    before = planning.settings_for(options_of(tmp_path / "a", given), PLANE)
    header = json.loads(json.dumps(planning.header_of(before, 3), allow_nan=False))
    moved = options_of(tmp_path / "b", given)
    depth = moved.depth or moved.transmission
    again = planning.settings_of(header, moved.images, depth, moved.camera, moved.sparse)
    after = planning.settings_for(moved, PLANE)
    if moved.flat_depth is not None:  # the depth that it does not have lies nowhere
        after = dataclasses.replace(after, reading=dataclasses.replace(after.reading, depth=moved.images))
    assert again == after
    assert planning.deciding(again) == planning.deciding(before)
    assert DepthFormat(**again.reading.depth_format) == DepthFormat(**before.reading.depth_format)


def test_header_of_estimated_depth_gives_its_settings(tmp_path):
    given = {"depth": None, "depth_model": Path("net.onnx"), "near": 2.0, "far": 80.0}
    options = options_of(tmp_path, given)
    options = dataclasses.replace(options, depth_values="relative-inverse", not_measured="nan")
    before = planning.settings_for(options, PLANE)
    header = json.loads(json.dumps(planning.header_of(before, 3, {"sha256": "0", "short_side": 256}), allow_nan=False))
    assert header["reading"]["model"] == {"sha256": "0", "short_side": 256}
    assert planning.settings_of(header, options.images, options.depth_folder) == before


RECIPES = [path.stem for path in sorted((Path(__file__).parent.parent / "configs" / "recipes").glob("*.yaml"))]


@pytest.mark.parametrize("name", RECIPES)
def test_header_gives_every_shipped_recipe_again(tmp_path, name):
    recipe = shipped_recipe(name)
    before = planning.settings_for(options_of(tmp_path, {"depth_kind": "hypersim", "fov_deg": 60.0}), recipe)
    header = json.loads(json.dumps(planning.header_of(before, 3)))
    assert planning.settings_of(header, tmp_path / "images", tmp_path / "depth").recipe == recipe


def test_header_keeps_numbers_of_a_recipe_to_the_last_digit(tmp_path):
    draw = parse_draw("uniform(0.1000000000000001, 0.30000000000000004)")
    recipe = dataclasses.replace(PLANE, sweep="random", beta=draw)
    before = planning.settings_for(options_of(tmp_path, {}), recipe)
    header = json.loads(json.dumps(planning.header_of(before, 3)))
    assert planning.settings_of(header, tmp_path / "images", tmp_path / "depth").recipe == recipe


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("cameras", {"camera": None}, "was made with --camera. Expected the same again, received none. Add --camera"),
        ("metres", {"camera": Path("camera")}, "made without --camera. Expected .*camera. Leave out --camera"),
        ("sparse", {"sparse": None}, "was made with --sparse. Expected the same again, received none. Add --sparse"),
        ("metres", {"depth": None}, "made with depth maps. Expected --depth, received none"),
    ],
)
def test_other_files_than_those_of_the_plan_are_refused(tmp_path, kind, given, message):
    options = options_of(tmp_path, READINGS[kind])
    header = planning.header_of(planning.settings_for(options, PLANE), 3)
    places = {"depth": options.depth, "camera": options.camera, "sparse": options.sparse} | given
    with pytest.raises(UsageError, match=message):
        planning.settings_of(header, options.images, **places)


@pytest.mark.parametrize(
    "damage",
    [
        lambda header: header.pop("seed"),
        lambda header: header.pop("reading"),
        lambda header: header["reading"].pop("convention"),
        lambda header: header["reading"].pop("camera_files"),
        lambda header: header.update(reading=[]),
        lambda header: header["reading"].update(depth_format=[]),
        lambda header: header.update(recipe=[]),
    ],
)
def test_header_that_cannot_be_read_is_refused(tmp_path, damage):
    header = planning.header_of(planning.settings_for(options_of(tmp_path, {}), PLANE), 3)
    damage(header)
    with pytest.raises(RefusedError, match=r"plan's header cannot be read. Expected what hazegen make wrote"):
        planning.settings_of(header, tmp_path / "images", tmp_path / "depth")


def test_many_inputs_are_planned_in_little_memory(capsys):
    """The short form of benchmarks/plan.py; the libraries alone take most of it."""
    runpy.run_path(str(BENCHMARK))["main"](["--scenes", "5000"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["scenes"] == 5000
    assert 0 < told["plan_s"] <= told["first_shard_s"] < 60
    assert 50 < told["peak_mb"] < 400


def test_plan_of_many_scenes_takes_less_than_a_kilobyte_each(tmp_path):
    """Names of 22 letters, in the memory of this process: of a million, half a gigabyte."""
    tracemalloc.start()
    refs = [
        SceneRef(f"{n:04d}/frame_{n:07d}", f"{n:04d}/frame_{n:07d}.jpg", f"{n:04d}/f_{n:07d}.png")
        for n in range(20_000)
    ]
    plans = shards.plan_shards(shards.in_hash_order(refs), {ref.key: "train" for ref in refs}, 30)
    (tmp_path / "out").mkdir()
    shards.write_plan(tmp_path / "out", {"versions": {}}, plans)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak / 20_000 < 700
    assert sum(len(plan.scenes) for plan in shards.read_plan(tmp_path / "out")[1]) == 20_000
