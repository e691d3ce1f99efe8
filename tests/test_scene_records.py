"""Datasets of scenes: what a record holds, how exact it is, and what each command makes of such a dataset."""

import dataclasses
import hashlib
import json
import math
import shutil
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazegen import (
    artifacts,
    build,
    card,
    cli,
    cli_make,
    color,
    images,
    info,
    manifest,
    pair_table,
    pairing,
    physics,
    preview,
    preview_scenes,
    records,
    samples,
    scene_records,
    scenes,
    verify,
)
from hazegen.audit.run import AuditOptions, audit
from hazegen.derive_merge import MergeOptions, merge
from hazegen.derive_sample import SampleOptions, sample
from hazegen.derive_split import SplitOptions, split
from hazegen.errors import RefusedError, UsageError
from hazegen.estimate import estimate
from hazegen.export import ExportOptions, export
from hazegen.make import make
from hazegen.reading import Reading
from hazegen.rebuild import RepairOptions
from hazegen.repair import repair
from hazegen.variants import Settings

SPLITS = "train=0.5,validation=0.25,test=0.25"
SMALL = {"shard_mb": 0.05, "splits": SPLITS}
# Recipe, what is changed of it, and the haze that each scene gets.
RECIPES = [
    ("reside-its", {}),
    ("reside-ots", {}),
    ("outdoor-visibility", {}),
    ("outdoor-visibility", {"color_space": "linear"}),
    ("foggy-cityscapes-150m", {}),
    ("foggy-cityscapes-150m", {"color_space": "linear"}),
]


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    """8 procedural scenes, streets with sky and rooms, as references and how they are read."""
    root = tmp_path_factory.mktemp("streets") / "scenes"
    samples.make_samples(root, 8, 3, width=64, height=48)
    found, rejected, _ = pairing.find_scenes(root / "images", root / "depth", "{key}", "{key}", (".png",))
    assert (len(found), rejected) == (8, [])
    return found, Reading(root / "images", root / "depth", root / "camera")


@pytest.fixture(scope="module")
def stored(photos, make_options, load_recipe, tmp_path_factory):
    """A dataset of the eight photos as scenes: 4 shards, PNG, a recipe that needs cameras and estimates A."""
    out = tmp_path_factory.mktemp("stored") / "scenes"
    recipe = load_recipe("foggy-cityscapes-150m", max_holes=0.4)
    made = make(options_of(make_options, photos, out), recipe)
    assert made.manifest.kind == "scenes"
    return out


@pytest.fixture
def copy(stored, tmp_path):
    return Path(shutil.copytree(stored, tmp_path / "copy"))


def options_of(make_options, photos, out, **changes):
    given = {"camera": photos.camera, "depth_scale": None, "kind": "scenes", "variants": None, "codec": "png"}
    return make_options(photos, out, **(given | SMALL | changes))


def read(folder, kind="scenes"):
    shards = manifest.load(folder).shards
    return [records.decode(one, kind) for shard in shards for one in records.read_shard(folder / shard.name)]


def contents(folder):
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# --- the same haze as that of pairs ---


@pytest.mark.parametrize(("name", "changes"), RECIPES)
def test_haze_of_a_stored_scene_is_that_of_its_pairs(streets, load_recipe, name, changes):
    refs, reading = streets
    recipe = load_recipe(name, **changes)
    count = 1 if recipe.is_constant else 2
    of_pairs = Settings(reading, recipe, count, 7, "png", 95, maps=False)
    of_scenes = dataclasses.replace(of_pairs, variants=1, kind="scenes")
    differing = pictures = 0
    for ref in refs:
        scene = scenes.load(ref, reading, recipe)
        ((key, record),) = build.records_of(scene, of_scenes)
        values = records.decode(record, "scenes")
        assert key == values["key"] == values["scene"] == ref.key
        clean = images.decode_stored(values["clean"], "png", values["height"], values["width"], "clean")
        np.testing.assert_array_equal(clean, scene.clean)
        drawn = scene_records.draw_haze(values, recipe, 7, count)
        for haze, (_, pair) in zip(drawn, build.records_of(scene, of_pairs), strict=True):
            told = records.decode(pair)
            assert told["beta"] == pytest.approx(haze.beta, rel=1e-6)
            assert told["atmospheric_light"] == pytest.approx(haze.atmospheric_light, rel=1e-6)
            assert told["visibility_m"] == pytest.approx(haze.visibility_m, rel=1e-6)
            hazy = images.decode(told["hazy"], "hazy").astype(int)
            off = np.abs(scene_records.render_haze(values, clean, haze, recipe.color_space).hazy - hazy)
            assert off.max() <= 1
            differing += np.count_nonzero(off)
            pictures += off.size
    assert differing < 0.005 * pictures


@pytest.mark.parametrize(("name", "changes"), RECIPES)
def test_error_of_distances_is_a_small_part_of_a_code_value(streets, load_recipe, name, changes):
    """|dI| = beta t |A - J| |dd| in the equation's values: half a unit of distance, at most beta times that."""
    refs, reading = streets
    recipe = load_recipe(name, **changes)
    highest = 0.0
    for ref in refs:
        scene = scenes.load(ref, reading, recipe)
        units, unit_m = scene_records.quantise(scene.distance_m, scene.largest_m)
        stored = np.where(units == scene_records.NO_SURFACE, np.inf, units * np.float64(unit_m))
        unit_of_beta = {"metres": 1.0, "tenths": 10.0, "max": scene.largest_m}[recipe.depth_norm]
        beta = recipe.beta.high if recipe.beta else float(physics.beta_from_visibility(recipe.visibility_m.low))
        t, t_stored = (np.exp(-beta / unit_of_beta * d.astype(np.float64)) for d in (scene.distance_m, stored))
        bound = beta / unit_of_beta * unit_m / 2
        assert np.abs(t - t_stored).max() <= bound * 1.0001 + 1e-7 * beta
        code = 255.0 * np.abs(t - t_stored).max()  # of the code values themselves, for a black surface in white haze
        if recipe.color_space == "linear":
            black = color.linear_to_srgb(np.stack([1 - t, 1 - t_stored]))
            code = 255.0 * np.abs(black[0] - black[1]).max()
        highest = max(highest, code)
    assert highest < (1.0 if recipe.color_space == "linear" else 0.2)


@given(
    st.lists(st.floats(0.0, 1e4, width=32), min_size=1, max_size=40),
    st.lists(st.booleans(), min_size=40, max_size=40),
)
def test_distances_come_back_to_half_a_unit(numbers, no_surface):
    distance_m = np.array([numbers], np.float32)
    largest_m = float(distance_m.max())
    distance_m[0, 1:][no_surface[: distance_m.size - 1]] = np.inf
    units, unit_m = scene_records.quantise(distance_m, largest_m)
    assert units.dtype == np.dtype("<u2")
    assert unit_m == np.float32(unit_m) > 0.0
    values = {"distance": units.tobytes(), "distance_unit_m": unit_m, "height": 1, "width": distance_m.size}
    back = scene_records.distances(values)
    np.testing.assert_array_equal(np.isinf(back), np.isinf(distance_m))
    assert units.min() >= scene_records.NEAREST
    finite = np.isfinite(distance_m)
    error = np.abs(back[finite].astype(np.float64) - distance_m[finite])
    assert (error <= np.where(distance_m[finite] < unit_m / 2, unit_m, unit_m / 2) * 1.0001 + 1e-7 * largest_m).all()


def test_units_are_65534_of_the_largest_distance():
    distance_m = np.array([[1.0, 32767.0, 65534.0, np.inf]], np.float32)
    units, unit_m = scene_records.quantise(distance_m, 65534.0)
    assert (units.tolist(), unit_m) == ([[1, 32767, 65534, 65535]], 1.0)
    assert units.tobytes() == b"\x01\x00\xff\x7f\xfe\xff\xff\xff"


# --- what make stores ---


def test_a_scene_is_stored_once_with_all_that_its_haze_needs(stored, photos):
    found = {values["key"]: values for values in read(stored)}
    assert sorted(found) == list(photos.keys)
    camera = json.loads((photos.camera / "scene_000.json").read_text())
    for key, values in found.items():
        photo = images.read_picture(photos.images / f"{key}.png")
        np.testing.assert_array_equal(images.decode_stored(values["clean"], "png", 64, 96, "clean"), photo)
        distance_m = scene_records.distances(values)
        assert distance_m.shape == photo.shape[:2] == (values["height"], values["width"])
        assert values["largest_m"] == pytest.approx(float(distance_m.max()), rel=1e-4)
        assert values["distance_unit_m"] == pytest.approx(values["largest_m"] / 65534)
        assert values["along_ray"] == 1
        assert values["camera"] == pytest.approx([camera[name] for name in ("fx", "fy", "cx", "cy")])
        assert len(values["estimated_light"]) == 3
        assert scene_records.check(values, scene_records.recipe_of(manifest.load(stored))) is None
    known = manifest.load(stored)
    assert (known.variants, known.maps, known.inputs["used"]) == (1, False, 8)
    assert known.recipe["name"] == "foggy-cityscapes-150m"
    assert sum(known.records_of(name) for name in manifest.SPLITS) == 8


def test_plane_depth_without_a_camera_and_sky(make_photos, make_options, load_recipe, tmp_path):
    photos = make_photos(scenes=2)
    path = photos.depth / "scene_000.png"
    depth = images.read_picture(path)
    depth[:10] = 65535
    path.write_bytes(images.encode(depth, ".png"))
    asked = {"camera": None, "depth_scale": 0.001, "no_surface": 65535.0, "codec": "jpeg", "splits": "test=1"}
    make(options_of(make_options, photos, tmp_path / "out", **asked), load_recipe("reside-its"))
    with_sky, without = sorted(read(tmp_path / "out"), key=lambda values: values["key"])
    assert with_sky["camera"] == without["camera"] == (0.0, 0.0, 0.0, 0.0)
    assert with_sky["along_ray"] == 0
    assert "estimated_light" not in without
    distance_m = scene_records.distances(with_sky)
    np.testing.assert_array_equal(np.isinf(distance_m), depth == 65535)
    assert np.isfinite(scene_records.distances(without)).all()
    below = np.abs(distance_m[10:] - depth[10:] * 0.001)
    assert below.max() <= with_sky["distance_unit_m"] * 0.51
    assert scene_records.camera_of(without) is None


@pytest.mark.parametrize("codec", ["jpeg", "raw"])
def test_bytes_do_not_hang_on_workers_or_interruptions(photos, make_options, load_recipe, tmp_path, codec):
    recipe = load_recipe("aod-released")
    asked = {"codec": codec, "shard_mb": 0.03 if codec == "jpeg" else 0.08}
    make(options_of(make_options, photos, tmp_path / "one", **asked), recipe)
    two = options_of(make_options, photos, tmp_path / "two", workers=2 if codec == "raw" else 1, **asked)
    make(dataclasses.replace(two, only_shards="train-00001-of-00002.tfrecord", workers=1), recipe)
    made = make(two, recipe)
    assert (made.reused, made.built) == (1, len(made.manifest.shards) - 1)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    again = make(two, recipe)
    assert again.reused == len(again.manifest.shards)


@pytest.mark.parametrize("changes", [{"kind": "pairs", "variants": 1}, {"codec": "jpeg"}])
def test_another_kind_or_codec_is_another_dataset(copy, photos, make_options, load_recipe, changes):
    recipe = load_recipe("foggy-cityscapes-150m", max_holes=0.4)
    name = next(iter(changes))
    with pytest.raises(RefusedError, match=rf"dataset of another plan.*received a different {name}: .* before"):
        make(options_of(make_options, photos, copy, **changes), recipe)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "scenes", "variants": 2}, "--variants has no part in scenes.*received it beside --kind scenes"),
        ({"kind": "scenes", "maps": True, "variants": None}, "--maps has no part in scenes"),
        ({"codec": "raw", "quality": 90}, "--quality has no part in pictures without compression.*received 90"),
    ],
)
def test_options_that_would_do_nothing_are_refused(photos, make_options, tmp_path, changes, message):
    with pytest.raises(UsageError, match=message):
        make_options(photos, tmp_path / "out", **changes)


def test_scenes_are_rejected_as_those_of_pairs_are(make_photos, make_options, load_recipe, tmp_path):
    photos = make_photos(scenes=4)
    for number, share in enumerate((0.0, 0.2, 0.6)):
        path = photos.depth / f"scene_{number:03d}.png"
        depth = images.read_picture(path)
        depth[: int(64 * share)] = 0
        path.write_bytes(images.encode(depth, ".png"))
    path = photos.depth / "scene_003.png"
    depth = images.read_picture(path)
    depth[:5] = 65535
    path.write_bytes(images.encode(depth, ".png"))
    recipe = load_recipe("outdoor-visibility", sky="reject")
    made = {}
    for kind in ("pairs", "scenes"):
        options = options_of(make_options, photos, tmp_path / kind, kind=kind, max_rejected=1.0)
        made[kind] = make(options, recipe)
        assert made[kind].rejected == {"holes": 1, "sky": 1}
    tables = [(tmp_path / kind / "inputs.csv").read_bytes() for kind in ("pairs", "scenes")]
    assert tables[0] == tables[1]


def test_beta_that_no_record_holds_is_refused_before_it_is_drawn(photos, make_options, load_recipe, tmp_path):
    recipe = load_recipe("aod-released", depth_norm="max", beta="[1.0, 1e12]")
    options = options_of(make_options, photos, tmp_path / "out", camera=None, depth_scale=1e-24)
    with pytest.raises(RefusedError, match="haze of a scene is out of range"):
        make(dataclasses.replace(options, trust_depth=True), recipe)


def test_dry_run_tells_the_size(stored, photos, make_options, load_recipe, tmp_path, capsys):
    recipe = load_recipe("foggy-cityscapes-150m", max_holes=0.4)
    told = estimate(options_of(make_options, photos, tmp_path / "out"), recipe)
    assert (told.kind, told.pairs, told.mean_transmission) == ("scenes", 8, None)
    size = sum(shard.bytes for shard in manifest.load(stored).shards)
    assert told.bytes == pytest.approx(size, rel=0.05)
    cli_make._tell_estimate(told)
    assert f"to write    8 scenes in {told.shards} shards, about" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_command_line_counts_scenes(photos, tmp_path, capsys):
    inputs = ["--images", photos.images, "--depth", photos.depth, "--camera", photos.camera, "--out", tmp_path / "out"]
    words = ["make", *map(str, inputs), "--kind", "scenes", "--recipe", "outdoor-visibility", "--workers", "1"]
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"8 scenes in '{tmp_path / 'out'}': ")
    assert "scenes/s" in printed
    assert "pairs" not in printed
    for line in ("verify", "info", "repair", "card"):
        assert cli.main([line, str(tmp_path / "out")]) == 0
        assert "8 pairs" not in capsys.readouterr().out
    assert cli.main(["preview", str(tmp_path / "out"), "--out", str(tmp_path / "p.png"), "--pairs", "2"]) == 0
    assert "2 scenes in" in capsys.readouterr().out


# --- the other commands ---


def test_sound_dataset_gives_no_false_alarm(stored):
    assert verify.verify(stored, 1).problems() == []


def _changed(values, **changes):
    return records.encode(values | changes, "scenes")


def _without_light(values):
    return records.encode({name: value for name, value in values.items() if name != "estimated_light"}, "scenes")


def _units(values, change):
    units = np.frombuffer(values["distance"], "<u2").copy()
    change(units)
    return _changed(values, distance=units.tobytes())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda v: _changed(v, distance=v["distance"][:-2]), "distance expected 64 x 96 x 2 bytes, received 12286"),
        (lambda v: _units(v, lambda u: u.__setitem__(5, 0)), "received a pixel that is not measured"),
        (lambda v: _units(v, lambda u: u.fill(65535)), "received no pixel with a surface"),
        (lambda v: _units(v, lambda u: np.minimum(u, 60000, out=u)), "largest_m expected 60000 units of"),
        (lambda v: _changed(v, largest_m=v["largest_m"] * 1.001), "largest_m expected 65534 units of"),
        (lambda v: _changed(v, distance_unit_m=math.nan), "largest_m expected 65534 units of nan"),
        (lambda v: _changed(v, distance_unit_m=-v["distance_unit_m"]), "largest_m expected 65534 units of -"),
        (lambda v: _changed(v, camera=(-1.0, 5.0, 0.0, 0.0)), "camera expected focal lengths above 0"),
        (lambda v: _changed(v, along_ray=2), "key and along_ray expected"),
        (lambda v: _changed(v, along_ray=0), "key and along_ray expected the scene's name and 1, received"),
        (lambda v: _changed(v, estimated_light=(0.5, math.nan, 0.5)), "estimated_light expected a colour in [0, 1]"),
        (lambda v: _changed(v, estimated_light=(0.5, 0.5, 1.01)), "estimated_light expected a colour in [0, 1]"),
        (_without_light, "estimated_light expected a colour in [0, 1], received none"),
        (lambda v: _changed(v, scene="other"), "key and along_ray expected the scene's name"),
        (lambda v: _changed(v, height=63), "clean expected size (63, 96), received (64, 96)"),
        (lambda v: _changed(v, clean=b"x"), "clean is not png as the manifest says"),
    ],
)
def test_scene_that_is_sealed_but_wrong_is_found(copy, change, problem):
    content = json.loads((copy / manifest.MANIFEST).read_text())
    entry = content["shards"][0]
    found = list(records.read_shard(copy / entry["name"]))
    data = b"".join(map(records.frame, [change(records.decode(found[0], "scenes")), *found[1:]]))
    (copy / entry["name"]).write_bytes(data)
    entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    content[manifest.SEAL] = manifest.seal(content)
    (copy / manifest.MANIFEST).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    problems = verify.verify(copy, 1).problems()
    assert len(problems) == 1
    assert problem in problems[0]


def test_damaged_shards_and_a_lost_manifest_are_told_again(copy, stored, photos):
    name = manifest.load(copy).shards[0].name
    (copy / name).write_bytes(b"damaged")
    options = RepairOptions(images=photos.images, depth=photos.depth, camera=photos.camera, workers=1)
    assert [step.what for step in repair(copy, options)] == ["built again"]
    assert contents(copy) == contents(stored)
    (copy / manifest.MANIFEST).unlink()
    (copy / name).unlink()
    steps = repair(copy, options)
    assert all(step.done for step in steps)
    assert contents(copy) == contents(stored)


def test_repair_tells_plan_and_table_again(copy, stored, photos):
    options = RepairOptions(images=photos.images, depth=photos.depth, camera=photos.camera, workers=1)
    (copy / manifest.PLAN).unlink()
    assert all(step.done for step in repair(copy, options))
    (copy / manifest.INPUTS).write_text("damaged")
    assert all(step.done for step in repair(copy, options))
    assert contents(copy) == contents(stored)


def test_info_tells_distances(stored):
    told = info.look(stored)
    assert told.read == (8, len(manifest.load(stored).shards))
    shown = info.as_dict(told)["histograms"]
    assert list(shown) == ["distance_m", "largest_m", "no_surface"]
    assert sum(shown["largest_m"]["counts"]) == sum(shown["no_surface"]["counts"]) == 8
    assert sum(shown["distance_m"]["counts"]) == 8 * 4 * 6
    numbers = np.concatenate([scene_records.distances(v)[8::16, 8::16].ravel() for v in read(stored)])
    assert shown["distance_m"]["median"] == pytest.approx(float(np.median(numbers)))
    text = "\n".join(info.lines(told))
    assert text.startswith("scenes      8, 4 shards")
    assert "PNG, distances in 16 bits; kind scenes" in text
    assert "pairs" not in text


def test_preview_shows_clean_distances_and_the_recipes_haze(stored, tmp_path):
    assert preview.preview(stored, tmp_path / "sheet.png", 2) == 2
    sheet = images.read_picture(tmp_path / "sheet.png")
    assert sheet.shape[1] == 3 * preview.TILE + 2 * preview.MARGIN  # a constant recipe has one haze
    (values, *_) = preview.choose(stored, 2)
    known = manifest.load(stored)
    (haze,) = scene_records.draw_haze(values, scene_records.recipe_of(known), known.seed, 1)
    clean = images.decode_stored(values["clean"], "png", 64, 96, "clean")
    hazy = scene_records.render_haze(values, clean, haze, "srgb").hazy
    shown = sheet[preview.MARGIN : preview.MARGIN + 160, preview.MARGIN + 2 * preview.TILE :][:, : preview.TILE]
    assert np.abs(shown.mean((0, 1)) - hazy.mean((0, 1))).max() < 2.0


def test_caption_says_that_haze_is_drawn_afresh(stored):
    values = preview.choose(stored, 1)[0]
    text = preview_scenes.describe(values, preview_scenes.haze_of(values, manifest.load(stored)))
    assert text.startswith(f"{values['key']}  ")
    assert text.endswith(
        "along the ray, 0% without surface\nan example of haze, visibility 149.8 m; in training it is drawn afresh"
    )


def test_card_describes_scenes(stored):
    text = (stored / card.README).read_text()
    assert "# Scenes for haze that is drawn in training, recipe foggy-cityscapes-150m" in text
    assert "8 scenes, each a clean photo J and the distance d of its pixels" in text
    assert "| distance | 1 x bytes |" in text
    assert "| estimated_light | 3 x float |" in text
    assert "Distances are rounded to 1/65534" in text
    assert "pairs of a scene" not in text
    metadata = json.loads((stored / "croissant.json").read_text())
    assert "Haze is added in training" in metadata["rai:dataPreprocessingProtocol"][0]


def test_split_merge_and_sample_copy_scenes(stored, tmp_path):
    split(stored, tmp_path / "halves", SplitOptions(splits="train=0.5,test=0.5", workers=1))
    sample(stored, tmp_path / "few", SampleOptions(scenes=3, workers=1))
    merge([tmp_path / "halves", tmp_path / "few"], tmp_path / "both", MergeOptions(prefix="a,b", workers=1))
    for name, count in (("halves", 8), ("few", 3), ("both", 11)):
        known = manifest.load(tmp_path / name)
        assert (known.kind, sum(shard.records for shard in known.shards)) == ("scenes", count)
        assert verify.verify(tmp_path / name, 1).problems() == []
    own = {values["key"]: values for values in read(stored)}
    for values in read(tmp_path / "both"):
        key = values["key"].partition("/")[2]
        assert values == own[key] | {"key": values["key"], "scene": values["key"]}
    assert [v for v in read(tmp_path / "few") if v != own[v["key"]]] == []


def test_kinds_and_recipes_may_not_mix(dataset, stored, photos, make_options, load_recipe, tmp_path):
    with pytest.raises(RefusedError, match="Expected the same kind in all, received pairs and scenes"):
        merge([dataset, stored], tmp_path / "out", MergeOptions(prefix="a,b"))
    other = load_recipe("foggy-cityscapes-150m", max_holes=0.4, beta="[0.03]")
    make(options_of(make_options, photos, tmp_path / "other", limit=2), other)
    with pytest.raises(RefusedError, match=r"Scenes of different recipes.*Expected the same beta in all, received"):
        merge([stored, tmp_path / "other"], tmp_path / "out", MergeOptions(prefix="a,b"))


def test_the_same_dataset_twice_is_refused(stored, copy, tmp_path):
    known = manifest.load(copy)
    manifest.write(copy, dataclasses.replace(known, about=manifest.About(source="elsewhere")))
    with pytest.raises(UsageError, match=rf"same dataset is given twice.*'{stored}' and '{copy}'"):
        merge([stored, copy], tmp_path / "out", MergeOptions(prefix="a,b"))


@pytest.mark.parametrize("asked", [{"pairs": 2}, {"visibility_m": (0.0, 9.0)}, {"mean_transmission": (0.0, 1.0)}])
def test_pairs_of_scenes_cannot_be_chosen(stored, tmp_path, asked):
    with pytest.raises(UsageError, match=r"--.* chooses among pairs.*Choose by --scenes, --share or --split"):
        sample(stored, tmp_path / "out", SampleOptions(**asked))


@pytest.mark.parametrize("kind", ["pairs", "scenes"])
def test_audit_says_what_to_do_with_a_dataset(stored, dataset, tmp_path, kind):
    folder = {"pairs": dataset, "scenes": stored}[kind]
    with pytest.raises(RefusedError, match=rf"is a dataset of {kind}.*hazegen export --format folder-its") as caught:
        audit(AuditOptions(hazy=folder, clean=tmp_path))
    assert ("--kind pairs" in str(caught.value)) == (kind == "scenes")


def test_table_of_scenes_shows_distances_and_an_example_of_haze(stored, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    logged, sent = {}, []
    monkeypatch.setattr(artifacts, "log_artifact", lambda _, artifact, aliases: sent.append((artifact, aliases)))
    session = types.SimpleNamespace(run=types.SimpleNamespace(log=logged.update))
    pair_table.log_pairs(session, stored, "rooms")
    assert set(logged) == {f"scenes/{name}" for name in ("preview", "largest_m", "median_m", "no_surface")}
    ((artifact, aliases),) = sent
    assert (artifact.name, artifact.type, aliases) == ("rooms-scenes", "scenes", ["latest"])
    table = json.loads(Path(artifact.manifest.entries["scenes.table.json"].local_path).read_text())
    assert table["columns"] == pair_table.SCENE_COLUMNS
    assert [row[3]["_type"] for row in table["data"]] == ["image-file"] * 8
    largest = {values["key"]: values["largest_m"] for values in read(stored)}
    assert {row[0]: row[4] for row in table["data"]} == pytest.approx(largest)


def test_export_says_what_to_do(stored, tmp_path):
    with pytest.raises(RefusedError, match=r"scenes without haze.*hazegen make --kind pairs"):
        export(stored, tmp_path / "out", ExportOptions("folder-its"))
    assert not (tmp_path / "out").exists()
