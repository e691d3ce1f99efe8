"""Options of depth maps and cameras: what each means, which contradict each other, and what they decide."""

import dataclasses
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from depth_fixtures import write, write_hdf5

from hazegen import build, fingerprints, images, make, planning
from hazegen.audit.run import AuditOptions, audit
from hazegen.config import attribute_texts
from hazegen.depth.conventions import CONVENTIONS
from hazegen.depth.formats import DepthFormat
from hazegen.depth.options import DepthOptions, check_reading, parse_numbers
from hazegen.errors import RefusedError, UsageError
from hazegen.inspect.find import InspectOptions
from hazegen.inspect.run import inspect
from hazegen.make_options import UNUSED, MakeOptions
from hazegen.pairing import SceneRef
from hazegen.reading import Reading
from hazegen.recipe import Draw, Recipe
from hazegen.variants import Settings

PLANE = Recipe(path="plane", beta=Draw("values", (0.1,)))
CLEAN = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
DEPTH = np.linspace(9.0, 2.0, 24, dtype=np.float32).repeat(32).reshape(24, 32)
SOURCES = {
    "transmission": {"transmission": Path("t"), "transmission_beta": 0.1},
    "depth_model": {"depth_model": Path("net.onnx")},
    "flat_depth": {"flat_depth": 5.0},
}
# A value of each option that is not its default.
GIVEN = {
    "depth_kind": "kitti",
    "depth_values": "ray",
    "depth_scale": 0.5,
    "not_measured": "7",
    "no_surface": 65535.0,
    "focal_px": 500.0,
    "baseline_m": 0.1,
    "near": 1.0,
    "far": 80.0,
    "sparse": Path("s"),
    "sparse_scale": 0.01,
    "camera": Path("c"),
    "fov_deg": 60.0,
    "fit_depth": True,
    "image_pattern": "a_{key}",
    "depth_pattern": "{key}_b",
    "trust_depth": True,
}


@pytest.fixture
def reading(tmp_path):
    """reading(convention='custom', format={...}, **fields): of folders that exist."""

    def build(convention="custom", **fields):
        return Reading(tmp_path, tmp_path, convention=convention, **fields)

    return build


# --- each option ---


def test_given_options_become_fields_of_the_format():
    options = DepthOptions(
        depth_values="disparity", depth_scale=0.5, not_measured="0,65535", no_surface=1.0, focal_px=500, baseline_m=0.1
    )
    assert options.format_fields() == {
        "values": "disparity",
        "unit": 0.5,
        "not_measured": (0.0, 65535.0),
        "no_surface": 1.0,
        "focal_px": 500,
        "baseline_m": 0.1,
    }
    assert DepthOptions(near=1.0, far=9.0).format_fields() == {"near_m": 1.0, "far_m": 9.0}
    assert DepthOptions().format_fields() == {}


def test_options_stand_above_the_convention():
    assert DepthOptions(depth_kind="kitti").format() == CONVENTIONS["kitti"].format
    assert DepthOptions(depth_kind="kitti", depth_scale=0.01).format() == DepthFormat(unit=0.01)
    assert DepthOptions(depth_values="relative", near=1, far=2).format().not_measured == ()


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        (None, None),
        ("0", (0.0,)),
        ("0,65535", (0.0, 65535.0)),
        (" -1 , 2e3", (-1.0, 2000.0)),
        ("nan", ()),
        ("0,nan", (0.0,)),
        ("inf", (math.inf,)),
    ],
)
def test_numbers_of_no_measurement_are_read(text, numbers):
    assert parse_numbers(text) == numbers


@pytest.mark.parametrize("text", ["", ",", "a", "0;1", "0,"])
def test_numbers_that_are_none_are_refused(text):
    with pytest.raises(
        UsageError, match=r"--not-measured cannot be read. Expected numbers with commas between, as 0,65"
    ):
        parse_numbers(text)


def test_patterns_are_the_conventions_unless_they_are_given():
    assert DepthOptions(depth_kind="middlebury").patterns() == ("{key}/im0", "{key}/disp0")
    assert DepthOptions(depth_kind="middlebury", depth_pattern="{key}/d").patterns() == ("{key}/im0", "{key}/d")
    assert DepthOptions(image_pattern="a{key}").patterns() == ("a{key}", "{key}")


def test_each_option_has_a_sentence_for_its_help():
    assert set(attribute_texts(DepthOptions)) == {field.name for field in dataclasses.fields(DepthOptions)}


# --- options of other sources ---


def test_every_option_of_depth_is_in_the_table_of_this_test():
    assert set(GIVEN) == {field.name for field in dataclasses.fields(DepthOptions)} | {"trust_depth"}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", GIVEN)
def test_option_that_a_source_does_not_use_is_refused_and_the_others_are_taken(source, name):
    given = {"images": Path("i"), "out": Path("o"), **SOURCES[source], name: GIVEN[name]}
    if name not in UNUSED[source]:
        assert getattr(MakeOptions(**given), name) == GIVEN[name]
        return
    option = f"--{name.replace('_', '-')}"
    with pytest.raises(
        UsageError,
        match=f"no part in --{source.replace('_', '-')}. Expected only options that it uses, received {option}. Take",
    ):
        MakeOptions(**given)


# What reading a scene of each source looks at; depth_source.as_estimated refuses two of these with a better reason.
USED = {
    "transmission": {"depth_scale", "not_measured", "no_surface", "fit_depth", "depth_pattern", "trust_depth"},
    "depth_model": {"depth_scale", "not_measured", "no_surface", "depth_values", "trust_depth"}
    | {"near", "far", "sparse", "sparse_scale"},
    "flat_depth": set(),
}


@pytest.mark.parametrize("source", SOURCES)
def test_table_of_unused_options_is_all_but_the_used_ones(source):
    assert set(UNUSED[source]) == set(GIVEN) - USED[source] - {"camera", "fov_deg", "image_pattern"}


def test_several_unused_options_are_named_together():
    with pytest.raises(UsageError, match=r"no part in --flat-depth. .*received --depth-kind, --near, --far. Take them"):
        MakeOptions(images=Path("i"), out=Path("o"), flat_depth=5.0, near=1.0, far=2.0, depth_kind="kitti")


# --- options that contradict each other ---


@pytest.mark.parametrize(
    ("convention", "fields", "message"),
    [
        ("kiti", {}, "No depth convention has this name"),
        ("custom", {"fov_deg": 0.0}, r"field of view is out of range. Expected degrees in \(0, 180\), received 0"),
        ("custom", {"fov_deg": 180.0}, "field of view is out of range"),
        ("custom", {"camera": Path("nowhere")}, "--camera names nothing. Expected a JSON file or a folder of them"),
        ("custom", {"camera": Path(), "fov_deg": 60.0}, "Two sources of intrinsics. Expected --camera or --fov-deg"),
        ("middlebury", {"fov_deg": 60.0}, "Two sources.*the calibration files of 'middlebury' alone, received --fov"),
        ("cityscapes-disparity", {"fov_deg": 60.0}, "Two sources of intrinsics. Expected the calibration files"),
        ("custom", {"sparse_scale": 0.1}, "--sparse-scale is of no use alone. Expected --sparse beside it, received 0"),
        ("midas", {"sparse": Path("nowhere")}, "--sparse is no folder. Expected a folder of maps, received 'nowhere'"),
        (
            "midas",
            {"sparse": Path(), "sparse_scale": 0.0},
            "--sparse-scale is out of range. Expected metres per unit a",
        ),
        ("midas", {"sparse": Path(), "sparse_scale": math.nan}, "--sparse-scale is out of range"),
        ("midas", {"sparse": Path(), "sparse_scale": 1e15}, "--sparse-scale is out of range"),
        (
            "custom",
            {"sparse": Path()},
            "--sparse fits the scale of relative depth.*received 'plane'. Leave --sparse out",
        ),
        ("kitti", {"sparse": Path()}, "--sparse fits the scale of relative depth"),
        (
            "midas",
            {"sparse": Path(), "depth_format": {"near_m": 1.0, "far_m": 2.0}},
            "Two sources of the scale of relative depth. Expected --sparse, or --near and --far, received both",
        ),
        ("midas", {}, "Relative depth has no metres of its own.*received None m and None m. Pass --near and --far"),
        (
            "midas",
            {"depth_format": {"near_m": 1.0}},
            "Relative depth has no metres of its own.*received 1.0 m and None",
        ),
        ("midas", {"depth_format": {"far_m": 1.0}}, "Relative depth has no metres of its own"),
        ("midas", {"depth_format": {"near_m": 2.0, "far_m": 2.0}}, "'near_m' of a depth format is out of range"),
        ("midas", {"depth_format": {"near_m": 0.0, "far_m": 2.0}}, "'near_m' of a depth format is out of range"),
        (
            "kitti",
            {"depth_format": {"near_m": 1.0, "far_m": 2.0}},
            "--near has no part in plane depth. Expected it beside relative or relative-inverse values, received",
        ),
        ("custom", {"depth_format": {"far_m": 2.0}}, "--far has no part in plane depth"),
        (
            "custom",
            {"depth_format": {"focal_px": 2.0}},
            "--focal-px has no part in plane depth. Expected it beside dis",
        ),
        ("hypersim", {"depth_format": {"baseline_m": 2.0}}, "--baseline-m has no part in ray depth"),
        ("middlebury-8bit", {}, "Disparity needs a focal length and a baseline"),
        ("middlebury", {"depth_format": {"values": "relative"}}, "Relative depth has no metres of its own"),
        ("transmission", {}, "Transmission needs the extinction that it was made with"),
        ("transmission", {"depth_format": {"beta": 0.0}}, "'beta' of a depth format is out of range"),
        ("custom", {"depth_format": {"unit": 0.0}}, "unit of the depth maps is out of range"),
        # Camera files cannot mend what options say that stand above them.
        (
            "custom",
            {"camera": Path(), "depth_format": {"values": "plane", "near_m": 1.0}},
            "--near has no part in plane depth",
        ),
        ("midas", {"camera": Path(), "depth_format": {"values": "ray", "far_m": 1.0}}, "--far has no part in ray"),
        ("middlebury", {"camera": Path(), "depth_format": {"near_m": 1.0}}, "--near has no part in disparity depth"),
        ("kitti", {"camera": Path(), "depth_entries": False, "depth_format": {"focal_px": 9.0}}, "--focal-px has no"),
        ("custom", {"camera": Path(), "sparse": Path(), "depth_format": {"values": "ray"}}, "--sparse fits the scale"),
        ("nyu-mat", {}, "'nyu-mat' has photos and depth in one file. Expected that file for --images and for --depth"),
    ],
)
def test_reading_that_no_file_can_mend_is_refused(reading, convention, fields, message):
    with pytest.raises(UsageError, match=message):
        check_reading(reading(convention, **fields))


@pytest.mark.parametrize(
    ("convention", "fields"),
    [
        ("custom", {}),
        ("custom", {"fov_deg": 0.1}),
        ("custom", {"fov_deg": 179.9}),
        ("middlebury", {}),
        ("middlebury", {"camera": Path()}),
        ("middlebury", {"depth_format": {"focal_px": 500.0}}),
        ("midas", {"sparse": Path()}),
        ("midas", {"sparse": Path(), "sparse_scale": 1e-6}),
        ("midas", {"depth_format": {"near_m": 1.0, "far_m": 2.0}}),
        ("middlebury-8bit", {"depth_format": {"focal_px": 500.0, "baseline_m": 0.1}}),
        ("transmission", {"depth_format": {"beta": 0.01}}),
        # Camera files may say all that is missing.
        ("midas", {"camera": Path()}),
        ("transmission", {"camera": Path()}),
        ("custom", {"camera": Path(), "sparse": Path()}),
        ("custom", {"camera": Path(), "depth_format": {"near_m": 1.0}}),
        ("custom", {"camera": Path(), "depth_format": {"values": "relative", "near_m": 1.0}}),
        ("custom", {"camera": Path(), "depth_format": {"values": "disparity", "focal_px": 1.0}}),
    ],
)
def test_reading_that_is_sound_is_let_through(reading, convention, fields):
    check_reading(reading(convention, **fields))


def test_camera_files_that_say_nothing_of_the_maps_mend_nothing(reading):
    with pytest.raises(UsageError, match="Relative depth has no metres"):
        check_reading(reading("midas", camera=Path(), depth_entries=False))


@pytest.mark.parametrize("convention", ["midas", "middlebury-8bit", "transmission"])
def test_what_metres_need_is_asked_only_where_metres_are_needed(reading, convention):
    with pytest.raises(UsageError, match=r"Pass --near and --far|Give --focal-px|extinction that it was made with"):
        check_reading(reading(convention))
    check_reading(reading(convention), in_metres=False)


@pytest.mark.parametrize(
    ("given", "option"),
    [({"near": 3.0, "far": 5.0}, "--near"), ({"focal_px": 9.0}, "--focal-px"), ({"baseline_m": 9.0}, "--baseline-m")],
)
def test_options_are_held_against_what_each_camera_file_says(files, tmp_path, given, option):
    """One scene's camera file makes its map metric, the other's makes it what the options are about."""
    about = {
        "near": {"values": "relative"},
        "focal_px": {"values": "disparity", "baseline_m": 1.0},
        "baseline_m": {"values": "disparity", "focal_px": 20.0},
    }
    for key, entry in (("metric", {}), ("other", about[next(iter(given))])):
        files("i", f"{key}.png", images.encode(CLEAN, ".png"))
        files("d", f"{key}.npy", DEPTH)
        files("c", f"{key}.json", json.dumps(CAMERA | {"depth": entry}))
    places = {"images": tmp_path / "i", "depth": tmp_path / "d", "camera": tmp_path / "c"}
    made = make.make(MakeOptions(**places, out=tmp_path / "out", workers=1, **given), PLANE)
    assert made.rejected == {"camera": 1}
    assert f"{option} has no part in plane depth. Expected it beside" in made.first_reason
    looked = inspect(InspectOptions(**places, **given))
    assert [file.key for file in looked.files] == ["other"]
    places = {"hazy": tmp_path / "i", "clean": tmp_path / "i", "depth": tmp_path / "d", "camera": tmp_path / "c"}
    pairs = {pair.ref.key: pair for pair in audit(AuditOptions(**places, **given)).pairs}
    assert pairs["metric"].code == "depth"
    assert f"{option} has no part in plane depth" in pairs["metric"].reason
    assert "has no part" not in pairs["other"].reason


CONTRADICTIONS = [
    ({"camera": Path("nowhere")}, "--camera names nothing"),
    ({"camera": Path(), "fov_deg": 60.0}, "Two sources of intrinsics"),
    ({"depth_kind": "kitti", "near": 3.0, "far": 5.0}, "--near has no part in plane depth"),
    ({"depth_kind": "kitti", "focal_px": 9.0}, "--focal-px has no part in plane depth"),
    ({"depth_kind": "eth3d", "fov_deg": 9.0}, "Two sources of intrinsics. Expected the calibration files of 'eth3d'"),
    ({"fov_deg": 200.0}, "The field of view is out of range"),
]


@pytest.mark.parametrize(("given", "message"), CONTRADICTIONS)
@pytest.mark.parametrize("command", ["make", "inspect", "audit"])
def test_contradictions_are_refused_by_every_command(files, tmp_path, command, given, message):
    files("i", "1.png", images.encode(CLEAN, ".png"))
    files("i", "1/im0.png", images.encode(CLEAN, ".png"))
    files("d", "1.png", (DEPTH * 256).astype(np.uint16))
    files("d", "1/disp0GT.pfm", DEPTH)
    images_, depth = tmp_path / "i", tmp_path / "d"
    calls = {
        "make": lambda: planning.plan(MakeOptions(images=images_, depth=depth, out=tmp_path / "o", **given), PLANE),
        "inspect": lambda: inspect(InspectOptions(images=images_, depth=depth, **given)),
        "audit": lambda: audit(AuditOptions(hazy=images_, clean=images_, depth=depth, **given)),
    }
    with pytest.raises(UsageError, match=message):
        calls[command]()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"image_pattern": "{key}_no_such"}, "--image-pattern"),
        ({"depth_pattern": "{key}_x", "fit_depth": True}, "--depth-pattern, --fit-depth"),
        ({"fit_depth": True}, "--fit-depth"),
    ],
)
@pytest.mark.parametrize("command", ["make", "inspect"])
def test_options_without_a_part_in_a_file_of_frames_are_refused(files, tmp_path, command, given, named):
    path = tmp_path / "nyu.mat"
    depths, photos = np.ones((2, 8, 9), np.float32), np.zeros((2, 3, 8, 9), np.uint8)
    write_hdf5(path, {"depths": depths, "images": photos})
    frames = {"images": path, "depth": path, "depth_kind": "nyu-mat", **given}
    calls = {
        "make": lambda: planning.plan(MakeOptions(**frames, out=tmp_path / "o"), PLANE),
        "inspect": lambda: inspect(InspectOptions(**frames)),
    }
    with pytest.raises(UsageError, match=f"no part in 'nyu-mat', whose .* options that it uses, received {named}. Ta"):
        calls[command]()


def test_file_of_frames_is_given_twice_to_inspect_too(tmp_path):
    for kind in ("nyu-mat", "custom"):
        path = tmp_path / "nyu.mat"
        path.touch()
        with pytest.raises(UsageError, match=r"has photos and depth in one file. Expected that file for --images and"):
            inspect(InspectOptions(images=tmp_path, depth=path, depth_kind=kind))
    with pytest.raises(UsageError, match=r"has photos and depth in one file"):
        inspect(InspectOptions(images=tmp_path, depth=tmp_path, depth_kind="nyu-mat"))


@pytest.mark.parametrize(
    ("fields", "recipe", "message"),
    [
        ({}, {"path": "ray"}, "measures along the ray, the depth maps hold plane depth.*--recipe.path plane"),
        ({"depth_values": "ray"}, {}, "measures along the plane, the depth maps hold ray depth.*--recipe.path ray"),
        (
            {"depth_values": "ray"},
            {"path": "ray", "noise_contrast": Draw("values", (0.5,))},
            "places its haze in space. Expected intrinsics, received none. Pass --fov-deg",
        ),
    ],
)
def test_recipe_that_needs_intrinsics_is_refused_without_any(tmp_path, fields, recipe, message):
    options = MakeOptions(images=tmp_path, depth=tmp_path, out=tmp_path / "out", **fields)
    with pytest.raises(UsageError, match=message):
        planning.plan(options, dataclasses.replace(PLANE, **recipe))


def test_file_of_many_frames_is_given_twice(tmp_path):
    path = tmp_path / "nyu.mat"
    path.touch()
    for pair in ((tmp_path, path), (path, tmp_path), (tmp_path, tmp_path), (tmp_path / "no.mat", tmp_path / "no.mat")):
        options = MakeOptions(images=pair[0], depth=pair[1], out=tmp_path / "out", depth_kind="nyu-mat")
        with pytest.raises(UsageError, match=r"has photos and depth in one file. Expected that file for --images and"):
            planning.plan(options, PLANE)


# --- what they decide ---


def test_everything_in_a_reading_decides_bytes_or_is_a_place(reading):
    """Places are not kept: a dataset that moves to another machine can be gone on with there."""
    task = Settings(reading(), PLANE, 1, 0, "png", 95, False)
    kept = planning.deciding(task)["reading"]
    places = {"images", "depth", "camera", "sparse"}
    assert {field.name for field in dataclasses.fields(Reading)} - places <= set(kept)
    changes = {
        "convention": "kitti",
        "depth_format": {"unit": 0.5},
        "fov_deg": 60.0,
        "fit_depth": True,
        "sparse_scale": 0.5,
        "flat_m": 5.0,
        "depth_entries": False,
        "camera": Path("c"),
        "sparse": Path("s"),
    }
    assert set(changes) == {field.name for field in dataclasses.fields(Reading)} - {"images", "depth"}
    for name, value in changes.items():
        other = dataclasses.replace(task, reading=dataclasses.replace(task.reading, **{name: value}))
        assert planning.deciding(other)["reading"] != kept, name
    moved = dataclasses.replace(task, reading=dataclasses.replace(task.reading, images=Path("x"), depth=Path("y")))
    assert planning.deciding(moved)["reading"] == kept


def test_what_decides_is_json_to_the_letter(reading):
    told = {"not_measured": (0.0, math.inf), "no_surface": -math.inf, "unit": 0.5, "values": "plane"}
    task = Settings(reading(depth_format=told), PLANE, 1, 0, "png", 95, False)
    kept = json.loads(json.dumps(planning.deciding(task), allow_nan=False))["reading"]["depth_format"]
    assert kept == {"not_measured": [0.0, "inf"], "no_surface": "-inf", "unit": 0.5, "values": "plane"}


@pytest.fixture
def files(tmp_path):
    """files(folder, name, content): a file; a text, bytes, or an array that its suffix says how to write."""

    def create(folder, name, content):
        path = tmp_path / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, np.ndarray):
            write(path, content)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return create


def test_fingerprint_tells_all_files_of_a_scene(files, tmp_path):
    ref = SceneRef("a/1", "a/1.png", "a/1_depth.npy")
    folders = Reading(tmp_path / "i", tmp_path / "d")
    files("i", "a/1.png", b"12345")
    assert set(fingerprints.fingerprint(ref, folders)) == {"image_digest"}
    files("d", "a/1_depth.npy", b"123")
    assert set(fingerprints.fingerprint(ref, folders)) == {"image_digest", "depth_digest"}
    masked = dataclasses.replace(folders, convention="diode")
    assert set(fingerprints.fingerprint(ref, masked)) == {"image_digest", "depth_digest"}  # it is rejected later
    named = {
        "image": files("i", "a/1.png", b"12345"),
        "depth": files("d", "a/1_depth.npy", b"123"),
        "mask": files("d", "a/1_depth_mask.npy", b"1234567"),
        "sparse": files("s", "a/1.png", b"12"),
        "camera": files("c", "a/1.json", b"{}"),
    }
    whole = dataclasses.replace(masked, sparse=tmp_path / "s", camera=tmp_path / "c")
    told = fingerprints.fingerprint(ref, whole)
    assert set(told) == {f"{name}_digest" for name in named}
    single = dataclasses.replace(whole, camera=tmp_path / "c/a/1.json")
    assert fingerprints.fingerprint(ref, single) == told
    for name, path in named.items():
        before = path.read_bytes()
        path.write_bytes(bytes(byte ^ 1 for byte in before))
        now = fingerprints.fingerprint(ref, whole)
        assert [key for key in told if now[key] != told[key]] == [f"{name}_digest"]
        path.write_bytes(before)
    os.utime(named["depth"], (1.0, 1.0))
    assert fingerprints.fingerprint(ref, whole) == told
    assert set(fingerprints.fingerprint(ref, dataclasses.replace(folders, flat_m=5.0))) == {"image_digest"}


def test_fingerprint_of_a_frame_is_that_of_its_file(files, tmp_path):
    path = files("", "nyu.mat", b"1234")
    ref = SceneRef("nyu/00001", "nyu.mat", "nyu.mat", 1)
    told = fingerprints.fingerprint(ref, Reading(path, path, convention="nyu-mat"))
    assert set(told) == {"image_digest", "depth_digest"}
    assert len(set(told.values())) == 1


@pytest.mark.parametrize(
    "size", [0, 1, fingerprints.PART, fingerprints.PART + 1, 2 * fingerprints.PART + 1, 3 * fingerprints.PART]
)
def test_every_byte_of_a_small_file_is_told(files, tmp_path, size):
    ref, folders = SceneRef("1", "1.png", "1.npy"), Reading(tmp_path / "i", tmp_path / "d")
    content = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)

    def told(array):
        files("d", "1.npy", array.tobytes())
        return fingerprints.fingerprint(ref, folders)["depth_digest"]

    seen = {told(content), told(np.append(content, np.uint8(0)))}
    at = sorted({0, size // 3, size // 2, size - 1} & set(range(size)))
    for index in at:
        changed = content.copy()
        changed[index] ^= 1
        seen.add(told(changed))
    assert len(seen) == 2 + len(at)


@pytest.mark.parametrize("place", ["begin", "middle", "end"])
def test_three_places_of_a_large_file_are_told(files, tmp_path, place):
    """What is not told: a change between them that keeps the size."""
    ref, folders = SceneRef("1", "1.png", "1.npy"), Reading(tmp_path / "i", tmp_path / "d")
    content = bytearray(10 * fingerprints.PART)
    path = files("d", "1.npy", bytes(content))
    before = fingerprints.fingerprint(ref, folders)
    content[{"begin": 0, "middle": len(content) // 2, "end": -1}[place]] = 1
    path.write_bytes(content)
    assert fingerprints.fingerprint(ref, folders) != before


def test_file_whose_name_grows_too_long_stops_no_run(files, tmp_path):
    key = "x" * 251  # KEY.png has the 255 bytes that a name may have, KEY.json one more
    for name in (key, "ok"):
        files("i", f"{name}.png", images.encode(CLEAN, ".png"))
        files("d", f"{name}.npy", DEPTH)
    files("c", "ok.json", json.dumps(CAMERA))
    places = {"images": tmp_path / "i", "depth": tmp_path / "d", "camera": tmp_path / "c", "out": tmp_path / "out"}
    made = make.make(MakeOptions(**places, workers=1), PLANE)
    assert made.rejected == {"camera": 1}
    assert "File name too long" in made.first_reason


def sparse_points(content):
    points = np.zeros((24, 32), np.float32)
    points[::3, ::3] = content[::3, ::3]
    return points


CHANGED = {
    # Files without compression keep their size, whatever their numbers are: all but the last two here.
    "depth": ("diode", {}, "d", "1_depth.npy", lambda: DEPTH + np.float32(1.0)),
    "image": ("diode", {}, "i", "1.bmp", lambda: 255 - CLEAN),
    "mask": ("diode", {}, "d", "1_depth_mask.npy", lambda: np.pad(np.ones((23, 32), np.float32), ((1, 0), (0, 0)))),
    "sparse": ("midas", {"sparse": "s"}, "s", "1.npy", lambda: sparse_points(DEPTH + np.float32(1.0))),
    "calibration": ("middlebury", {}, "d", "1/calib.txt", lambda: CALIBRATION.replace("=100", "=200")),
    "camera": ("diode", {"camera": "c"}, "c", "1.json", lambda: json.dumps(CAMERA | {"fx": 31.0})),
}
CALIBRATION = "cam0=[80 0 15; 0 80 12; 0 0 1]\ndoffs=0\nbaseline=100\nwidth=32\nheight=24\n"
CAMERA = {"width": 32, "height": 24, "fx": 30.0, "fy": 30.0, "cx": 15.5, "cy": 11.5}


def interrupt(task, report):
    build.build_shard(task, report)
    raise KeyboardInterrupt


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("name", CHANGED)
def test_changed_helper_file_is_another_plan(files, tmp_path, monkeypatch, name, finished):
    kind, more, folder, file, content = CHANGED[name]
    files("i", "1.bmp", CLEAN)
    files("i", "1/im0.bmp", CLEAN)
    files("d", "1_depth.npy", DEPTH)
    files("d", "1_depth_mask.npy", np.ones((24, 32), np.float32))
    files("d", "1.pfm", (3.0 + 1.0 / DEPTH).astype(np.float32))
    files("d", "1/disp0.pfm", (8.0 / DEPTH).astype(np.float32))
    files("d", "1/calib.txt", CALIBRATION)
    files("s", "1.npy", sparse_points(DEPTH))
    files("c", "1.json", json.dumps(CAMERA))
    places = {option: tmp_path / place for option, place in more.items()}
    options = MakeOptions(
        images=tmp_path / "i",
        depth=tmp_path / "d",
        out=tmp_path / "out",
        depth_kind=kind,
        variants=1,
        workers=1,
        **places,
    )
    if finished:
        made = make.make(options, PLANE)
        assert make.make(options, PLANE).reused == len(made.manifest.shards)
    else:
        with monkeypatch.context() as patch:
            patch.setattr(make, "build_shard", interrupt)
            with pytest.raises(KeyboardInterrupt):
                make.make(options, PLANE)
    files(folder, file, content())
    with pytest.raises(RefusedError, match=r"another plan.*content of inputs"):
        make.make(options, PLANE)
