"""Datasets: what is in them, every input accounted for, the same bytes whatever happens on the way."""

import csv
import dataclasses
import hashlib
import itertools
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hazegen import build, card, color, images, make, manifest, physics, planning, records, shards
from hazegen.errors import RefusedError, UsageError, VerifyError
from hazegen.estimate import estimate
from hazegen.make_options import MakeOptions

SPLITS = "train=0.5,validation=0.25,test=0.25"
# Six shards of one or two scenes.
SMALL_SHARDS = {"shard_mb": 0.012, "splits": SPLITS}


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def pairs(folder: Path) -> list[dict]:
    return [
        records.decode(r) for shard in manifest.load(folder).shards for r in records.read_shard(folder / shard.name)
    ]


def inputs(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / manifest.INPUTS).open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return {row["key"]: row for row in csv.DictReader(file)}


def assert_accounted(made: make.Made, out: Path) -> None:
    """Found = used + rejected, in the manifest and in the table, each rejection with its reason."""
    rows = inputs(out)
    counts = made.manifest.inputs
    assert counts["found"] == counts["used"] + counts["rejected"] == len(rows)
    assert counts["used"] == sum(row["fate"] == "used" for row in rows.values())
    assert counts["rejected"] == sum(made.rejected.values())
    assert all(bool(row["code"]) == bool(row["reason"]) == (row["fate"] == "rejected") for row in rows.values())
    assert {values["scene"] for values in pairs(out)} == {key for key, row in rows.items() if row["fate"] == "used"}


@pytest.fixture(scope="module")
def reference(photos, make_options, load_recipe, tmp_path_factory):
    """The dataset of `photos` in small shards, made without interruption by one worker."""
    out = tmp_path_factory.mktemp("reference") / "pairs"
    make.make(make_options(photos, out, **SMALL_SHARDS), load_recipe("aod-released"))
    return contents(out)


# --- what is made ---


@pytest.mark.parametrize("color_space", ["srgb", "linear"])
def test_every_pair_is_the_equation_applied_to_its_own_numbers(
    photos, make_options, load_recipe, tmp_path, color_space
):
    recipe = load_recipe("aod-paper", color_space=color_space)
    make.make(make_options(photos, tmp_path / "out", codec="png", maps=True, limit=3), recipe)
    made = pairs(tmp_path / "out")
    assert len(made) == 6
    for values in made:
        clean = images.read_picture(photos.images / f"{values['scene']}.png")
        depth_m = images.read_picture(photos.depth / f"{values['scene']}.png") * 0.001
        np.testing.assert_array_equal(images.decode(values["clean"], "clean"), clean)
        transmission = np.exp(-np.array(values["beta"]) * depth_m[..., None])
        radiance, light = clean / 255.0, np.array(values["atmospheric_light"])
        if color_space == "linear":
            radiance = color.srgb_to_linear(radiance)
        hazy = radiance * transmission + light * (1.0 - transmission)
        if color_space == "linear":
            hazy = color.linear_to_srgb(hazy)
        assert np.abs(images.decode(values["hazy"], "hazy") - 255.0 * hazy).max() <= 0.5 + 1e-2
        stored = images.decode(values["transmission"], "transmission")
        assert stored.dtype == np.uint16
        assert np.abs(stored - 65535.0 * transmission[..., 0]).max() <= 0.5 + 1e-2
        assert (values["height"], values["width"]) == (64, 96)
        assert values["mean_transmission"] == pytest.approx(transmission.mean(), rel=1e-5)
        assert values["visibility_m"] == pytest.approx(physics.visibility_from_beta(values["beta"][1]), rel=1e-6)
        assert json.loads(values["haze"]) == {"metres_per_unit": 10.0}


def test_depth_over_its_largest_is_kept_with_the_unit(photos, make_options, load_recipe, tmp_path):
    make.make(make_options(photos, tmp_path / "out", limit=2), load_recipe("reside-its", beta="[1.5]"))
    for values in pairs(tmp_path / "out"):
        largest_m = images.read_picture(photos.depth / f"{values['scene']}.png").max() * 0.001
        assert json.loads(values["haze"])["metres_per_unit"] == pytest.approx(largest_m)
        assert values["beta"][0] == pytest.approx(1.5 / largest_m)


def test_ray_recipe_takes_intrinsics_from_camera_files_or_a_field_of_view(photos, make_options, load_recipe, tmp_path):
    recipe = load_recipe("outdoor-visibility")
    make.make(make_options(photos, tmp_path / "a", camera=photos.camera, depth_scale=None, codec="png"), recipe)
    make.make(make_options(photos, tmp_path / "b", fov_deg=60.0, codec="png"), recipe)
    make.make(make_options(photos, tmp_path / "c", codec="png"), dataclasses.replace(recipe, path="plane"))
    first, second, plane = ([values["hazy"] for values in pairs(tmp_path / name)] for name in "abc")
    assert first == second
    assert all(one != other for one, other in zip(first, plane, strict=True))


def test_keys_variants_and_order_of_records(photos, make_options, load_recipe, tmp_path):
    make.make(make_options(photos, tmp_path / "out", variants=21, limit=4), load_recipe("aod-released"))
    known = manifest.load(tmp_path / "out")
    for shard in known.shards:
        keys = [records.decode(record)["key"] for record in records.read_shard(tmp_path / "out" / shard.name)]
        assert keys == sorted(keys, key=records.hash_order)
    made = pairs(tmp_path / "out")
    assert len(made) == len({values["key"] for values in made}) == 4 * 21
    assert all(values["key"] == f"{values['scene']}#{values['variant']:04d}" for values in made)
    for scene in {values["scene"] for values in made}:
        of_scene = [values for values in made if values["scene"] == scene]
        hazes = {(round(v["beta"][0], 6), round(v["atmospheric_light"][0], 6)) for v in of_scene}
        assert hazes == set(itertools.product((0.04, 0.08, 0.12, 0.16, 0.2, 0.24, 0.28), (1.0, 0.9, 0.95)))


def test_haze_of_a_scene_does_not_hang_on_what_else_is_made(photos, make_options, load_recipe, tmp_path):
    recipe = load_recipe("outdoor-visibility", path="plane")
    make.make(make_options(photos, tmp_path / "all"), recipe)
    make.make(make_options(photos, tmp_path / "some", limit=3, shard_mb=0.001, splits="test=1"), recipe)
    of_all = {values["key"]: values for values in pairs(tmp_path / "all")}
    assert all(of_all[values["key"]] == values for values in pairs(tmp_path / "some"))


@pytest.mark.parametrize("changes", [{"codec": "jpeg"}, {"codec": "png"}, {"quality": 40}])
def test_codec_and_quality_are_as_asked(photos, make_options, load_recipe, tmp_path, changes):
    make.make(make_options(photos, tmp_path / "out", limit=1, **changes), load_recipe("aod-released"))
    (values, _) = pairs(tmp_path / "out")
    clean = images.read_picture(photos.images / f"{values['scene']}.png")
    suffix = ".png" if changes.get("codec") == "png" else ".jpg"
    assert values["clean"] == images.encode(clean, suffix, changes.get("quality", 95))
    assert manifest.load(tmp_path / "out").quality == changes.get("quality", 95)


# --- every input accounted for ---


@pytest.fixture
def messy(make_photos):
    """Ten scenes, five of them unusable, each in its own way, and a depth map without an image."""
    photos = make_photos(scenes=10)
    (photos.depth / "scene_000.png").unlink()
    depth = images.read_picture(photos.depth / "scene_001.png")
    (photos.depth / "scene_001.png").write_bytes(images.encode(depth[:50], ".png"))
    jpeg = images.encode(images.read_picture(photos.images / "scene_002.png"), ".jpg")
    (photos.images / "scene_002.png").unlink()
    (photos.images / "scene_002.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (photos.images / "scene_003.png").write_text("this is no picture\n")
    holes = depth.copy()
    holes[:40] = 0
    (photos.depth / "scene_004.png").write_bytes(images.encode(holes, ".png"))
    (photos.depth / "orphan.png").write_bytes(images.encode(depth, ".png"))
    return photos


BAD = {"scene_000": "no-depth", "scene_001": "size", "scene_002": "image", "scene_003": "image"}
BAD |= {"scene_004": "holes", "orphan": "no-image"}


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_inputs_are_listed_with_their_reasons_and_nothing_else_is_lost(
    messy, make_options, load_recipe, tmp_path, workers
):
    made = make.make(make_options(messy, tmp_path / "out", workers=workers), load_recipe("aod-released"))
    assert_accounted(made, tmp_path / "out")
    assert made.manifest.inputs == {"found": 11, "used": 5, "rejected": 6}
    assert made.rejected == {"no-depth": 1, "size": 1, "image": 2, "holes": 1, "no-image": 1}
    assert {key: row["code"] for key, row in inputs(tmp_path / "out").items() if row["code"]} == BAD
    assert {values["scene"] for values in pairs(tmp_path / "out")} == {f"scene_00{number}" for number in range(5, 10)}


def test_bad_inputs_do_not_change_the_pairs_of_the_good_ones(messy, photos, make_options, load_recipe, tmp_path):
    recipe = load_recipe("aod-released")
    make.make(make_options(messy, tmp_path / "messy"), recipe)
    make.make(make_options(photos, tmp_path / "clean"), recipe)
    clean = {values["key"]: values for values in pairs(tmp_path / "clean")}
    shared = [values for values in pairs(tmp_path / "messy") if values["key"] in clean]
    assert len(shared) == 6  # scenes 5, 6 and 7, two variants each
    assert all(clean[values["key"]] == values for values in shared)


def test_table_of_inputs_says_what_was_seen_in_each(make_photos, make_options, load_recipe, tmp_path):
    photos = make_photos(scenes=3)
    depth = images.read_picture(photos.depth / "scene_000.png")
    depth[:16], depth[16:32] = 0, 65535
    (photos.depth / "scene_000.png").write_bytes(images.encode(depth, ".png"))
    make.make(make_options(photos, tmp_path / "out", no_surface=65535.0), load_recipe("aod-released"))
    row = inputs(tmp_path / "out")["scene_000"]
    assert (row["fate"], row["image"], row["depth"]) == ("used", "scene_000.png", "scene_000.png")
    assert (float(row["holes"]), float(row["sky"])) == (0.25, 0.25)
    assert float(row["largest_m"]) == pytest.approx(depth[32:].max() * 0.001, rel=1e-5)
    assert row["split"] in manifest.SPLITS


def test_fitted_depth_serves_an_image_of_another_size(messy, make_options, load_recipe, tmp_path):
    made = make.make(make_options(messy, tmp_path / "cut", fit_depth=True), load_recipe("aod-released"))
    assert "differ in proportions" in inputs(tmp_path / "cut")["scene_001"]["reason"]
    half = images.read_picture(messy.depth / "scene_005.png")[::2, ::2]
    (messy.depth / "scene_001.png").write_bytes(images.encode(np.ascontiguousarray(half), ".png"))
    made = make.make(make_options(messy, tmp_path / "out", fit_depth=True), load_recipe("aod-released"))
    assert "size" not in made.rejected
    assert inputs(tmp_path / "out")["scene_001"]["fate"] == "used"


def test_groups_are_never_split(make_photos, make_options, load_recipe, tmp_path):
    photos = make_photos(scenes=24, height=16, width=24)  # scene_000 to scene_023: three tens
    options = make_options(photos, tmp_path / "out", variants=1, group_by=r"scene_(\d\d)", splits=SPLITS)
    made = make.make(options, load_recipe("aod-released"))
    of_group = {(key[6:8], row["split"]) for key, row in inputs(tmp_path / "out").items()}
    assert len(of_group) == len({split for _, split in of_group}) == 3
    assert sorted(counts["scenes"] for counts in made.manifest.splits.values()) == [4, 10, 10]


def test_split_file_decides_and_none_leaves_a_scene_out(photos, make_options, load_recipe, tmp_path):
    path = tmp_path / "splits.csv"
    path.write_text("key,split\nscene_000,test\nscene_001,train\nscene_002,none\nscene_003,train\n")
    made = make.make(make_options(photos, tmp_path / "out", split_file=path), load_recipe("aod-released"))
    assert_accounted(made, tmp_path / "out")
    rows = inputs(tmp_path / "out")
    assert {key: row["split"] for key, row in rows.items() if row["fate"] == "used"} == {
        "scene_000": "test",
        "scene_001": "train",
        "scene_003": "train",
    }
    assert made.rejected == {"left-out": 5}  # 'none', and the four that the file does not name
    assert made.first_reason == ""
    assert rows["scene_002"]["reason"] == "Left out by the split file 'splits.csv'."


def test_limit_takes_the_first_scenes_and_counts_only_them(photos, make_options, load_recipe, tmp_path):
    made = make.make(make_options(photos, tmp_path / "out", limit=3), load_recipe("aod-released"))
    assert_accounted(made, tmp_path / "out")
    assert made.manifest.inputs == {"found": 3, "used": 3, "rejected": 0}
    expected = sorted(photos.keys, key=records.hash_order)[:3]
    assert {values["scene"] for values in pairs(tmp_path / "out")} == set(expected)


def test_run_in_which_no_scene_can_be_used_is_refused(photos, make_options, load_recipe, tmp_path):
    options = make_options(photos, tmp_path / "out", depth_scale=None)  # integers of an unknown unit
    with pytest.raises(RefusedError, match=r"No scene could be used. .*received 8 inputs, all rejected.*unknown unit"):
        make.make(options, load_recipe("aod-released"))
    assert not (tmp_path / "out" / manifest.MANIFEST).exists()


def test_folders_without_pairs_are_refused_before_anything_is_written(make_options, load_recipe, photos, tmp_path):
    (tmp_path / "empty").mkdir()
    options = dataclasses.replace(make_options(photos, tmp_path / "out"), images=tmp_path / "empty")
    with pytest.raises(
        RefusedError, match=r"No scene to use. .*received 8 inputs, 8 of them rejected; first reason: D"
    ):
        make.make(options, load_recipe("aod-released"))
    assert not (tmp_path / "out").exists()


def test_ray_recipe_without_intrinsics_is_refused_before_anything_is_written(
    photos, make_options, load_recipe, tmp_path
):
    with pytest.raises(UsageError, match=r"measures along the ray, the depth maps hold plane depth.*Pass --fov-deg"):
        make.make(make_options(photos, tmp_path / "out"), load_recipe("outdoor-visibility"))
    assert not (tmp_path / "out").exists()


# --- options ---


@pytest.mark.parametrize(
    ("field", "bad", "message"),
    [
        ("quality", (0, 101), "--quality is out of range. Expected 1 to 100"),
        ("shard_mb", (0.0, -1.0, math.nan, math.inf), "--shard-mb is out of range. Expected a number above 0"),
        ("limit", (0, -1), "--limit is out of range. Expected at least 1"),
        ("max_rejected", (-0.01, 1.01, math.nan), r"--max-rejected is out of range. Expected a share in \[0, 1\]"),
    ],
)
def test_option_out_of_range_is_refused(field, bad, message):
    for value in bad:
        with pytest.raises(UsageError, match=f"{message}, received {value}"):
            MakeOptions(images=Path("a"), depth=Path("b"), out=Path("c"), **{field: value})


@pytest.mark.parametrize(
    ("field", "good"), [("quality", (1, 100)), ("shard_mb", (1e-6, 1e6)), ("limit", (1,)), ("max_rejected", (0, 1))]
)
def test_option_at_the_ends_of_its_range_is_taken(field, good):
    for value in good:
        assert getattr(MakeOptions(images=Path("a"), depth=Path("b"), out=Path("c"), **{field: value}), field) == value


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workers": 0}, "number of workers is out of range"),
        ({"variants": 22}, "Expected 1 to 21, the size of the recipe's grid, received 22"),
        ({"variants": 0}, "number of variants is out of range"),
        ({"splits": "train=0.5"}, "splits cannot be read"),
        ({"depth_scale": 0.0}, "unit of the depth maps is out of range"),
        ({"depth_scale": -1.0}, "unit of the depth maps is out of range"),
        ({"fov_deg": 0.0}, "field of view is out of range"),
        ({"fov_deg": 180.0}, "field of view is out of range"),
        ({"depth_values": "disparity"}, "Disparity needs a focal length and a baseline"),
        ({"image_pattern": "{key}{key}"}, "name pattern must say where the key stands"),
        ({"group_by": "("}, "--group-by"),
    ],
)
def test_option_that_no_scene_could_be_made_with_is_refused_at_the_door(
    photos, make_options, load_recipe, tmp_path, changes, message
):
    with pytest.raises(UsageError, match=message):
        make.make(make_options(photos, tmp_path / "out", **changes), load_recipe("aod-released"))
    assert not (tmp_path / "out").exists()


def test_dry_run_estimates_without_writing(messy, make_options, load_recipe, tmp_path):
    options = make_options(messy, tmp_path / "out", variants=7)
    told = estimate(options, load_recipe("aod-released"))
    assert (told.found, told.rejected) == (11, {"no-depth": 1, "no-image": 1})
    assert sum(told.scenes.values()) == 9
    assert told.pairs == 63
    assert not (tmp_path / "out").exists()


def test_estimated_size_and_shards_are_those_of_the_real_run(photos, make_options, load_recipe, tmp_path):
    options = make_options(photos, tmp_path / "out", **SMALL_SHARDS)
    told = estimate(options, load_recipe("aod-released"))
    made = make.make(options, load_recipe("aod-released")).manifest
    assert (told.pairs, told.shards) == (16, len(made.shards))
    assert {split: counts["scenes"] for split, counts in made.splits.items()} == told.scenes
    assert told.bytes == pytest.approx(sum(shard.bytes for shard in made.shards), rel=0.2)
    assert told.seconds > 0


# --- the same bytes ---


@pytest.mark.parametrize("workers", [2, 3])
def test_number_of_workers_changes_no_byte(photos, make_options, load_recipe, tmp_path, reference, workers):
    make.make(make_options(photos, tmp_path / "out", workers=workers, **SMALL_SHARDS), load_recipe("aod-released"))
    assert contents(tmp_path / "out") == reference
    assert sum(name.endswith(".tfrecord") for name in reference) >= 5


def run_hazegen(photos, out: Path, before: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """The reference dataset by the command line of another process, after the statements `before`."""
    argv = ["make", "--images", str(photos.images), "--depth", str(photos.depth), "--out", str(out)]
    argv += ["--depth-scale", "0.001", "--variants", "2", "--shard-mb", "0.012", "--splits", SPLITS, "--workers", "1"]
    code = f"import sys\nfrom hazegen import cli\n{before}\nsys.exit(cli.main({argv!r}))"
    env = os.environ | environment
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_processes_with_other_hash_seeds_write_the_same_bytes(photos, tmp_path, reference, hash_seed):
    run = run_hazegen(photos, tmp_path / "out", PYTHONHASHSEED=hash_seed)
    assert run.returncode == 0, run.stderr
    assert contents(tmp_path / "out") == reference


def test_folder_listing_order_changes_no_byte(photos, make_options, load_recipe, tmp_path, reference, monkeypatch):
    walk = os.walk
    monkeypatch.setattr(
        os, "walk", lambda root, **how: ((a, b, sorted(c, reverse=True)) for a, b, c in walk(root, **how))
    )
    make.make(make_options(photos, tmp_path / "out", **SMALL_SHARDS), load_recipe("aod-released"))
    assert contents(tmp_path / "out") == reference


@pytest.mark.parametrize("changes", [{"seed": 1}, {"quality": 94}, {"maps": True}])
def test_other_settings_give_other_bytes(photos, make_options, load_recipe, tmp_path, reference, changes):
    make.make(make_options(photos, tmp_path / "out", **SMALL_SHARDS, **changes), load_recipe("aod-released"))
    other = {name: digest for name, digest in contents(tmp_path / "out").items() if name.endswith(".tfrecord")}
    assert not set(other.values()) & set(reference.values())


# --- interrupted, and gone on with ---

# SIGKILL in place of the n-th rename: shard and result in turn, at last the table and the manifest. The plan comes
# before, by a link.
KILL = """
import os, signal
from hazegen import stores
publish, calls = stores.publish, []
def killing(temporary, final):
    calls.append(final)
    if len(calls) == {n}:
        os.kill(os.getpid(), signal.SIGKILL)
    publish(temporary, final)
stores.publish = killing
"""
KILL_AT_PLAN = "import os, signal\nos.link = lambda *names: os.kill(os.getpid(), signal.SIGKILL)"


@pytest.mark.parametrize("rename", [0, 1, 2, 3, 6, "table", "manifest"])
def test_killed_run_ends_with_the_same_bytes(photos, make_options, load_recipe, tmp_path, reference, rename):
    count = sum(name.endswith(".tfrecord") for name in reference)
    number = {"table": 2 * count + 1, "manifest": 2 * count + 2}.get(rename, rename)
    run = run_hazegen(photos, tmp_path / "out", KILL.format(n=number) if number else KILL_AT_PLAN)
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert not (tmp_path / "out" / manifest.MANIFEST).exists()
    made = make.make(make_options(photos, tmp_path / "out", **SMALL_SHARDS), load_recipe("aod-released"))
    assert made.reused == min(count, max(0, (number - 1) // 2))
    assert contents(tmp_path / "out") == reference


def test_run_killed_after_its_manifest_leaves_a_finished_dataset(
    photos, make_options, load_recipe, tmp_path, reference
):
    before = "import os, signal\nfrom hazegen import collect\ncollect.remove_work = lambda *a: os.kill(os.getpid(), 9)"
    assert run_hazegen(photos, tmp_path / "out", before).returncode == -signal.SIGKILL
    make.make(make_options(photos, tmp_path / "out", **SMALL_SHARDS), load_recipe("aod-released"))
    assert contents(tmp_path / "out") == reference


@pytest.mark.parametrize("rename", [3, 4, 5])  # after the table and the manifest: the files of the card
def test_run_killed_in_its_card_writes_it_the_next_time(photos, make_options, load_recipe, tmp_path, reference, rename):
    count = sum(name.endswith(".tfrecord") for name in reference)
    run = run_hazegen(photos, tmp_path / "out", KILL.format(n=2 * count + rename))
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert (tmp_path / "out" / manifest.MANIFEST).exists()
    made = make.make(make_options(photos, tmp_path / "out", **SMALL_SHARDS), load_recipe("aod-released"))
    assert made.changed == ("card",)
    assert contents(tmp_path / "out") == reference


def test_shards_built_in_any_order_and_by_other_workers_are_gone_on_with(
    photos, make_options, load_recipe, tmp_path, reference
):
    recipe, options = load_recipe("aod-released"), make_options(photos, tmp_path / "out", workers=2, **SMALL_SHARDS)
    plan = planning.plan(options, recipe)
    options.out.mkdir()
    shards.write_plan(options.out, planning.header_of(plan.settings, plan.found), plan.shards)
    task = build.ShardTask(plan.shards[-1], options.out, plan.settings, shards.plan_digest(options.out))
    build.build_shard(task, lambda number: None)
    made = make.make(options, recipe)
    assert made.reused == 1
    assert contents(tmp_path / "out") == reference


def interrupted(options, recipe, monkeypatch):
    """Leaves a run with its plan and one finished shard."""
    built = []

    def stop_after_one(task, report):
        if built:
            raise KeyboardInterrupt
        built.append(task)
        return build.build_shard(task, report)

    with monkeypatch.context() as patch:
        patch.setattr(make, "build_shard", stop_after_one)
        with pytest.raises(KeyboardInterrupt):
            make.make(options, recipe)


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize(
    ("changes", "recipe_changes", "named"),
    [
        ({"seed": 1}, {}, "seed: 0 before, 1 now"),
        ({"variants": 3}, {}, "variants: 2 before, 3 now"),
        ({"codec": "png"}, {}, "codec: jpeg before, png now"),
        ({"depth_scale": 0.002}, {}, "reading.depth_format.unit: 0.001 before, 0.002 now"),
        ({}, {"beta": "[0.1, 0.2]"}, "recipe.beta: .* before, .* now"),
        ({"limit": 7}, {}, "list of inputs, found: 8 before, 7 now; gone: 'scene_00.'"),
    ],
)
def test_other_recipe_seed_or_inputs_are_refused_and_named(
    photos, make_options, load_recipe, tmp_path, monkeypatch, finished, changes, recipe_changes, named
):
    options = make_options(photos, tmp_path / "out", **SMALL_SHARDS)
    if finished:
        make.make(options, load_recipe("aod-released"))
    else:
        interrupted(options, load_recipe("aod-released"), monkeypatch)
    before = contents(tmp_path / "out")
    other = load_recipe("aod-released", **recipe_changes)
    with pytest.raises(RefusedError, match=f"dataset of another plan.*received a different {named}"):
        make.make(dataclasses.replace(options, **changes), other)
    assert contents(tmp_path / "out") == before


def test_interrupted_run_keeps_what_is_finished(photos, make_options, load_recipe, tmp_path, monkeypatch, reference):
    options = make_options(photos, tmp_path / "out", **SMALL_SHARDS)
    interrupted(options, load_recipe("aod-released"), monkeypatch)
    assert make.make(options, load_recipe("aod-released")).reused == 1
    assert contents(tmp_path / "out") == reference


def test_finished_dataset_is_left_as_it_is(photos, make_options, load_recipe, tmp_path):
    options = make_options(photos, tmp_path / "out", **SMALL_SHARDS)
    first = make.make(options, load_recipe("aod-released"))
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    again = make.make(options, load_recipe("aod-released"))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == times
    assert again.reused == len(first.manifest.shards)
    assert (again.manifest, again.rejected) == (first.manifest, first.rejected)


def test_licence_is_no_part_of_the_plan_or_the_shards(photos, make_options, load_recipe, tmp_path, reference):
    options = make_options(photos, tmp_path / "out", **SMALL_SHARDS)
    made = make.make(options, load_recipe("aod-released"), {"license": "CC0-1.0", "source": "here"})
    assert made.changed == ()
    assert manifest.load(options.out) == made.manifest
    assert vars(made.manifest.about) == {"license": "CC0-1.0", "citation": "", "source": "here"}
    different = {name for name, digest in contents(options.out).items() if reference[name] != digest}
    assert different == {manifest.MANIFEST, "README.md", "croissant.json", "card.html"}


def test_finished_dataset_takes_over_a_new_licence_and_keeps_what_is_not_given(
    photos, make_options, load_recipe, tmp_path
):
    options, recipe = make_options(photos, tmp_path / "out", limit=2), load_recipe("aod-released")
    make.make(options, recipe, {"license": "CC0-1.0", "source": "here"})
    again = make.make(options, recipe, {"license": "MIT"})
    assert again.changed == ("license",)
    assert vars(again.manifest.about) == {"license": "MIT", "citation": "", "source": "here"}
    assert manifest.load(options.out) == again.manifest
    assert "[MIT](https://spdx.org/licenses/MIT.html)" in (options.out / card.README).read_text()
    before = {path: path.stat().st_mtime_ns for path in options.out.iterdir()}
    for about in ({}, None, {"license": "MIT"}):
        assert make.make(options, recipe, about).changed == ()
    assert {path: path.stat().st_mtime_ns for path in options.out.iterdir()} == before
    assert make.make(options, recipe, {"license": ""}).manifest.about.license == ""


@pytest.mark.parametrize("name", card.FILES)
def test_finished_dataset_that_lost_its_card_gets_it_again(photos, make_options, load_recipe, tmp_path, name):
    options = make_options(photos, tmp_path / "out", limit=2)
    make.make(options, load_recipe("aod-released"))
    before = contents(options.out)
    (options.out / name).unlink()
    assert make.make(options, load_recipe("aod-released")).changed == ("card",)
    assert contents(options.out) == before


def test_url_with_a_secret_is_refused_before_anything_is_written(photos, make_options, load_recipe, tmp_path):
    with pytest.raises(UsageError, match="A URL in --source names a user"):
        make.make(make_options(photos, tmp_path / "out"), load_recipe("aod-released"), {"source": "ftp://a:b@c"})
    assert not (tmp_path / "out").exists()


def test_changed_content_of_an_input_or_of_its_camera_is_another_plan(make_photos, make_options, load_recipe, tmp_path):
    photos = make_photos(scenes=3)
    options = dataclasses.replace(make_options(photos, tmp_path / "out"), depth_scale=None, camera=photos.camera)
    make.make(options, load_recipe("aod-released"))
    camera = photos.camera / f"{photos.keys[0]}.json"
    camera.write_text(camera.read_text().replace("0.001", "0.005"))
    with pytest.raises(RefusedError, match=r"another plan.*content of inputs"):
        make.make(options, load_recipe("aod-released"))


def test_camera_files_decide_and_the_manifest_keeps_what_depth_meant(make_photos, make_options, load_recipe, tmp_path):
    photos = make_photos(scenes=3)
    camera = photos.camera / f"{photos.keys[0]}.json"
    camera.write_text(camera.read_text().replace("0.001", "0.002"))
    options = dataclasses.replace(make_options(photos, tmp_path / "out"), depth_scale=None, camera=photos.camera)
    made = make.make(options, load_recipe("aod-released"))
    assert made.manifest.reading["depth_values"] == ["plane"]
    assert made.manifest.reading["depth_units"] == [0.001, 0.002]


def test_files_of_another_pattern_or_format_are_counted(make_photos, make_options, load_recipe, tmp_path):
    photos = make_photos(scenes=3)
    (photos.images / "SOURCE.txt").write_text("where from")
    (photos.depth / "notes.csv").write_text("a,b")
    made = make.make(make_options(photos, tmp_path / "out"), load_recipe("aod-released"))
    assert (made.others, made.manifest.inputs["found"]) == (2, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"camera": Path("nowhere")}, "--camera names nothing"),
        ({"fov_deg": 60.0, "camera": Path()}, "Two sources of intrinsics"),
    ],
)
def test_contradictions_are_refused_before_anything_is_read(
    photos, make_options, load_recipe, tmp_path, changes, message
):
    with pytest.raises(UsageError, match=message):
        make.make(make_options(photos, tmp_path / "out", **changes), load_recipe("aod-released"))
    assert not (tmp_path / "out").exists()


def test_finished_dataset_that_lost_a_shard_is_not_called_finished(photos, make_options, load_recipe, tmp_path):
    options = make_options(photos, tmp_path / "out")
    made = make.make(options, load_recipe("aod-released"))
    (options.out / made.manifest.shards[0].name).unlink()
    with pytest.raises(VerifyError, match="is not what the manifest says"):
        make.make(options, load_recipe("aod-released"))
