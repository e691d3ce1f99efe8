"""Several datasets, scenes, workers, the raw codec: what comes in which batch."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import yaml
from aodnet_fixtures import make_dataset, noise, read_records
from conftest import UNIT_M, write_photos

from aodnet import data, decoding, encoded, mixing, online, run
from aodnet.config import FitConfig, FitPaths
from aodnet.data import Source
from aodnet.recipes import check_cameras
from hazegen import config, geometry, images, manifest, records, scene_records
from hazegen.errors import RefusedError, UsageError, VerifyError
from hazegen.geometry import Camera
from hazegen.make import make
from hazegen.make_options import MakeOptions
from hazegen.recipe import Recipe

SIDE = 24


def source_of(folder: Path, weight: float | None = None) -> Source:
    return Source(folder, manifest.load(folder), weight)


@pytest.fixture(scope="module")
def squares(tmp_path_factory) -> Path:
    """22 records of 24 x 24 in several shards, PNG."""
    folder = tmp_path_factory.mktemp("squares")
    return make_dataset(folder, {"train": 11, "validation": 3}, size=(SIDE, SIDE), shard_mb=0.02)


def dark(number: int, height: int, width: int) -> np.ndarray:
    return noise(100 + number, height, width) // 8


@pytest.fixture(scope="module")
def others(tmp_path_factory) -> Path:
    """5 records of 26 x 30, raw: darker than all of the squares'."""
    folder = tmp_path_factory.mktemp("others")
    return make_dataset(
        folder, {"train": 5, "validation": 2}, size=(26, 30), variants=1, codec="raw", picture=dark, shard_mb=0.01
    )


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    """8 scenes of 64 x 96 with cameras and sky, raw; plane distances."""
    root = tmp_path_factory.mktemp("scenes")
    photos = write_photos(root / "photos", scenes=8)
    for number, key in enumerate(photos.keys):
        path = photos.depth / f"{key}.png"
        depth = images.decode(path.read_bytes(), path.name).copy()
        depth[: 3 * number] = 65535
        path.write_bytes(images.encode(depth, ".png"))
    options = MakeOptions(
        images=photos.images, depth=photos.depth, camera=photos.camera, out=root / "dataset", depth_scale=UNIT_M,
        kind="scenes", codec="raw", splits="train=0.75,validation=0.25", shard_mb=0.1, workers=1,
    )  # fmt: skip
    values = {"name": "rooms", "path": "plane", "depth_norm": "max", "beta": "uniform(0.6, 1.8)"}
    make(options, config.build(Recipe, values))
    return options.out


def scenes_of(folder: Path, split: str) -> list[dict]:
    found = []
    known = manifest.load(folder)
    for shard in known.shards_of(split):
        for record in records.read_shard(folder / shard.name):
            values = records.decode(record, "scenes")
            values["pixels"] = np.frombuffer(values["clean"], np.uint8).reshape(values["height"], values["width"], 3)
            found.append(values | {"distance_m": scene_records.distances(values)})
    return found


def arrays(batches: tf.data.Dataset) -> list[dict[str, np.ndarray]]:
    return [{name: values.numpy() for name, values in batch.items()} for batch in batches]


def training(*sources: Source, **options) -> list[dict[str, np.ndarray]]:
    return arrays(data.training_batches(sources, **{"crop": SIDE, "batch": 4, "seed": 0, "epoch": 0, **options}))


def joined(batches: list[dict[str, np.ndarray]], name: str = "hazy") -> np.ndarray:
    return np.concatenate([batch[name] for batch in batches])


def assert_same(a: list[dict[str, np.ndarray]], b: list[dict[str, np.ndarray]]) -> None:
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert set(x) == set(y)
        for name in x:
            np.testing.assert_array_equal(x[name], y[name])


def is_dark(pictures: np.ndarray) -> np.ndarray:
    return pictures.max(axis=(1, 2, 3)) < 0.2


# --- several datasets ---


def test_without_weights_each_record_comes_once(squares, others):
    sources = source_of(squares), source_of(others)
    batches = training(*sources)
    assert [len(batch["clean"]) for batch in batches] == [4] * 6 + [3]
    assert is_dark(joined(batches, "clean")).sum() == 5
    assert len({picture.tobytes() for picture in joined(batches)}) == 27
    assert data.steps_of(sources, "train", 4) == 7
    orders = [tuple(mixing.choose(sources, "train", 0, epoch)) for epoch in range(5)]
    assert len(set(orders)) == 5
    assert all(np.bincount(order).tolist() == [22, 5] for order in orders)
    assert (is_dark(joined(batches, "clean")) == np.array(orders[0])).all()


def test_with_weights_examples_come_by_them_from_endless_passes(squares, others):
    sources = source_of(squares, 1.0), source_of(others, 3.0)
    chosen = np.array([mixing.choose(sources, "train", 0, epoch) for epoch in range(100)])
    assert chosen.shape == (100, 27)
    assert abs(chosen.mean() - 0.75) < 0.02
    clean = joined(training(*sources), "clean")
    assert (is_dark(clean) == chosen[0]).all()
    assert chosen[0].sum() > 15  # so the 5 records came three times


def test_a_pass_ends_before_the_next_one_begins(squares, tmp_path):
    """Windows as large as the picture name their record: any 5 in line are those of one pass."""
    five = make_dataset(tmp_path, {"train": 5, "validation": 1}, size=(SIDE, SIDE), variants=1)
    pictures = joined(training(source_of(squares, 0.01), source_of(five, 0.99), batch=27), "clean")
    known = {np.sort(r["clean"].reshape(-1)).tobytes() for r in read_records(five, "train")}
    codes = [np.sort(np.rint(picture * 255.0).astype(np.uint8).reshape(-1)).tobytes() for picture in pictures]
    drawn = [code for code in codes if code in known]
    assert len(drawn) >= 20
    for start in range(0, len(drawn) - 4, 5):
        assert len(set(drawn[start : start + 5])) == 5


@pytest.mark.parametrize("on_damage", ["fail", "skip"])
def test_thousands_of_passes_over_a_small_dataset_take_one_pipeline(squares, tmp_path, monkeypatch, on_damage):
    few = make_dataset(tmp_path, {"train": 5, "validation": 1}, size=(SIDE, SIDE), variants=1, picture=dark)
    known, made, real = manifest.load(squares), [], encoded._reading
    large = Source(squares, dataclasses.replace(known, shards=known.shards * 200), 0.5)
    monkeypatch.setattr(encoded, "_reading", lambda *given: made.append(given) or real(*given))
    batches = data.training_batches(
        [large, source_of(few, 0.5)], crop=SIDE, batch=5, seed=0, epoch=0, on_damage=on_damage
    )
    some = joined(arrays(batches.take(20)), "clean")
    assert len(made) == 2
    drawn = [np.sort(picture, axis=None).tobytes() for picture in some[is_dark(some)]]
    passes = [drawn[start : start + 5] for start in range(0, len(drawn) - 4, 5)]
    assert len(passes) > 5
    names = sorted(set(drawn))
    assert all(sorted(one) == names for one in passes)
    assert len({tuple(one) for one in passes}) > 5  # each in its own order


@pytest.mark.parametrize("weights", [(None, None), (0.3, 0.7)])
@pytest.mark.parametrize("skip", [3])
def test_skip_gives_the_tail_of_a_mixture(squares, others, weights, skip):
    sources = [source_of(folder, weight) for folder, weight in zip((squares, others), weights, strict=True)]
    assert_same(training(*sources, seed=4, epoch=2, skip=skip), training(*sources, seed=4, epoch=2)[skip:])


def test_without_an_epoch_a_mixture_is_drawn_afresh(squares, others):
    batches = data.training_batches([source_of(squares), source_of(others)], crop=SIDE, batch=27, seed=0)
    (first,), (second,) = arrays(batches), arrays(batches)
    assert {p.tobytes() for p in first["clean"]} != {p.tobytes() for p in second["clean"]}
    assert (first["clean"][0] != second["clean"][0]).any()


def test_validation_goes_through_all_datasets(squares, others):
    batches = arrays(data.validation_batches([source_of(squares), source_of(others)]))
    expected = [*read_raw_or(squares), *read_raw_or(others)]
    assert len(batches) == len(expected) == 8
    for batch, clean in zip(batches, expected, strict=True):
        np.testing.assert_array_equal(np.rint(batch["clean"][0] * 255.0), clean)


def read_raw_or(folder: Path) -> list[np.ndarray]:
    known = manifest.load(folder)
    found = []
    for shard in known.shards_of("validation"):
        for record in records.read_shard(folder / shard.name):
            values = records.decode(record)
            size = (values["height"], values["width"], 3)
            raw = known.codec == "raw"
            clean = values["clean"]
            found.append(np.frombuffer(clean, np.uint8).reshape(size) if raw else images.decode(clean, "clean"))
    return found


@pytest.mark.parametrize("weights", [(1.0, None), (0.0, 1.0), (-1.0, 1.0), (float("nan"), 1.0)])
def test_weights_that_cannot_be_used(squares, others, weights):
    sources = [source_of(folder, weight) for folder, weight in zip((squares, others), weights, strict=True)]
    with pytest.raises(
        UsageError, match=r"weights of the datasets cannot be used.*above 0 for each.*Correct --weights"
    ):
        training(*sources)


def test_pairs_and_scenes_are_not_mixed(squares, stored):
    with pytest.raises(UsageError, match=r"several kinds.*received pairs and scenes"):
        training(source_of(squares), source_of(stored))


def test_every_source_needs_the_split(squares, others):
    with pytest.raises(RefusedError, match="Split 'test' of the dataset is empty"):
        data.validation_batches([source_of(squares), source_of(others)], split="test")


# --- keys ---


@pytest.mark.parametrize("step", [0, 3, 5])
def test_keys_name_the_examples_of_a_batch(squares, step):
    batch = training(source_of(squares), seed=2, epoch=1)[step]
    keys = data.keys_of([source_of(squares)], batch=4, seed=2, epoch=1, step=step)
    pictures = {record["key"]: np.sort(record["hazy"].reshape(-1)) for record in read_records(squares, "train")}
    assert len(keys) == len(batch["hazy"])
    for key, picture in zip(keys, batch["hazy"], strict=True):
        np.testing.assert_array_equal(np.sort(np.rint(picture * 255.0).astype(np.uint8).reshape(-1)), pictures[key])


def test_keys_of_a_mixture_and_of_scenes(squares, others, stored):
    mixture = [source_of(squares, 1.0), source_of(others, 1.0)]
    assert len(data.keys_of(mixture, batch=27, seed=0, epoch=0, step=0)) == 27
    keys = data.keys_of([source_of(stored)], batch=6, seed=0, epoch=0, step=0)
    assert sorted(keys) == sorted(values["key"] for values in scenes_of(stored, "train"))


# --- workers ---


@pytest.mark.parametrize(("batch", "workers"), [(5, 3), (2, 2)])
def test_workers_together_see_each_batch_of_one(squares, batch, workers):
    whole = training(source_of(squares), seed=1, batch=batch)
    shares = [training(source_of(squares), seed=1, batch=batch, worker=(i, workers)) for i in range(workers)]
    assert {len(share) for share in shares} == {len(whole)}
    for step, one in enumerate(whole):
        for number, share in enumerate(shares):
            assert_same([share[step]], [{name: values[number::workers] for name, values in one.items()}])


def test_workers_go_on_where_they_were(squares):
    whole = training(source_of(squares), seed=1, batch=5, worker=(1, 3))
    assert_same(training(source_of(squares), seed=1, batch=5, worker=(1, 3), skip=2), whole[2:])
    batches = data.training_batches([source_of(squares)], crop=8, batch=5, seed=1, epoch=0, worker=(2, 3), skip=4)
    assert batches.cardinality() == len(list(batches)) == 1


def test_validation_is_dealt_out_too(squares):
    shares = [arrays(data.validation_batches([source_of(squares)], batch=4, worker=(i, 2))) for i in (0, 1)]
    whole = arrays(data.validation_batches([source_of(squares)], batch=4))
    assert_same(shares[0], [{name: values[::2] for name, values in one.items()} for one in whole])
    assert_same(shares[1], [{name: values[1::2] for name, values in one.items()} for one in whole])


def test_a_batch_smaller_than_the_workers(squares):
    with pytest.raises(UsageError, match=r"too small to be dealt out.*each of 3 workers, received a batch of 2"):
        training(source_of(squares), batch=2, worker=(0, 3))


# --- whole frames and codecs ---


def test_whole_frames_are_mirrored_alone(squares):
    pictures = joined(training(source_of(squares), crop=None))
    originals = [record["hazy"] for record in read_records(squares, "train")]
    versions = {p.tobytes(): 0 for p in originals} | {np.ascontiguousarray(p[:, ::-1]).tobytes(): 1 for p in originals}
    found = [versions[np.rint(picture * 255.0).astype(np.uint8).tobytes()] for picture in pictures]
    assert 4 < sum(found) < 18


def test_raw_gives_the_pixels_of_png(tmp_path):
    counts, codecs = {"train": 4, "validation": 1}, ("png", "raw")
    made = [make_dataset(tmp_path / codec, counts, size=(20, 29), codec=codec) for codec in codecs]
    for crop in (None, 13):
        png, raw = (arrays(data.validation_batches([source_of(folder)], split="train", crop=crop)) for folder in made)
        assert_same(png, raw)


# --- scenes ---


def test_scenes_are_stored_scenes(stored):
    batches = arrays(data.validation_batches([source_of(stored)]))
    expected = scenes_of(stored, "validation")
    assert len(batches) == len(expected) == 2
    for batch, values in zip(batches, expected, strict=True):
        np.testing.assert_array_equal(np.rint(batch["clean"][0] * 255.0), values["pixels"])
        np.testing.assert_array_equal(batch["distance_m"][0], values["distance_m"])
        assert batch["largest_m"][0] == np.float32(values["largest_m"])
        assert batch["along_ray"][0] == 0
        assert batch["source"][0] == 0
    assert any(np.isinf(batch["distance_m"]).any() for batch in batches)


def test_windows_of_picture_distance_and_camera_fit(stored):
    """Distance, picture and ray length of each window are those of one place of one scene, all turned alike."""
    expected, turns = scenes_of(stored, "train"), set()
    maps = []
    for values in expected:
        camera = Camera(values["width"], values["height"], *values["camera"])
        lengths = geometry.ray_length(camera)
        maps.append(np.dstack([values["pixels"] / 255.0, values["distance_m"], lengths]))
    batches = data.training_batches([source_of(stored)], crop=16, batch=6, seed=1)
    for batch in arrays(batches.repeat(8)):
        lengths = online._ray_length(tf.constant(batch["image_plane"]), tf.shape(batch["distance_m"])).numpy()
        windows = np.concatenate([batch["clean"], batch["distance_m"][..., None], lengths[..., None]], 3)
        turns |= {find(window, maps) for window in windows}
    assert len(turns) == 8


def find(window: np.ndarray, maps: list[np.ndarray]) -> int:
    """How a window is turned, of which the maps have exactly one."""
    side = window.shape[0]
    for turn in range(8):
        version = np.rot90(window[:, ::-1] if turn > 3 else window, turn % 4)
        for whole in maps:
            for top, left in np.argwhere(np.isclose(whole[..., 4], version[0, 0, 4], rtol=1e-6)):
                part = whole[top : top + side, left : left + side]
                if part.shape == version.shape and np.allclose(part, version, rtol=1e-5, atol=1e-6):
                    return turn
    raise AssertionError("the window is in none of the scenes")


def test_seeds_of_haze_belong_to_seed_epoch_and_place(stored):
    seen = [
        joined(training(source_of(stored), seed=seed, epoch=epoch), "draw") for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    assert len({tuple(row) for rows in seen for row in rows}) == 18
    tail = training(source_of(stored), batch=2, shuffle_mb=1e-6, skip=1)
    np.testing.assert_array_equal(seen[0][2:], joined(tail, "draw"))
    again = [joined(arrays(data.validation_batches([source_of(stored)])), "draw") for _ in range(2)]
    np.testing.assert_array_equal(*again)


def test_a_camera_that_is_not_known_is_not_a_number(stored, tmp_path):
    photos = write_photos(tmp_path / "photos", scenes=4)
    options = MakeOptions(
        images=photos.images, depth=photos.depth, out=tmp_path / "out", depth_scale=UNIT_M, kind="scenes", workers=1,
        splits="train=0.5,validation=0.5",
    )  # fmt: skip
    known = make(options, config.build(Recipe, {"path": "plane", "beta": "0.1"})).manifest
    assert np.isnan(joined(training(source_of(options.out)), "image_plane")).all()
    assert not np.isnan(joined(training(source_of(stored)), "image_plane")).any()
    manifest.write(options.out, dataclasses.replace(known, reading=known.reading | {"camera_files": True}))
    paths, settings = FitPaths(data=(options.out,)), {"crop": 32, "validation_crop": 32}
    with pytest.raises(RefusedError, match=r"Scene '.+' of '.*out' needs intrinsics\. Expected a camera to turn"):
        run.prepare(paths, FitConfig(**settings, recipe="outdoor-visibility"), (0, 1), print)
    run.prepare(paths, FitConfig(**settings), (0, 1), print)
    ray = online.Recipes((config.build(Recipe, {"beta": "0.1"}),), None, turns=True)
    check_cameras(ray, stored, manifest.load(stored))
    shard = options.out / known.shards[0].name
    shard.write_bytes(shard.read_bytes()[:5])
    with pytest.raises(VerifyError, match=rf"Record 0 of shard '{shard.name}' cannot be read"):
        check_cameras(ray, options.out, known)
    for one in known.shards:
        (options.out / one.name).unlink()
    check_cameras(ray, options.out, known, "skip")


def test_a_run_tells_its_recipes_and_not_where_they_lie(stored, tmp_path):
    (tmp_path / "own.yaml").write_text("path: plane\ndepth_norm: max\nbeta: 0.25\n")
    text = f"{tmp_path}/own.yaml=2, {tmp_path}/own.yaml"
    paths = FitPaths(data=(stored,), out=tmp_path / "run")
    paths.out.mkdir()
    run.write_start(run.prepare(paths, FitConfig(crop=32, validation_crop=32, recipe=text), (0, 1), print))
    written = (tmp_path / "run" / "config.yaml").read_text()
    assert yaml.safe_load(written)["recipe"] == "own=2, own=1"
    lines = [line for line in written.splitlines() if line.startswith("# recipe ")]
    assert [json.loads(line.removeprefix("# recipe "))["beta"] for line in lines] == ["[0.25]"] * 2
    assert str(tmp_path) not in written


def test_scenes_become_pairs(stored):
    recipes = online.read_recipes(None, [manifest.load(stored)])
    batches = data.training_batches([source_of(stored)], crop=32, batch=3, seed=0, epoch=0)
    step = tf.function(lambda batch: online.hazy_and_clean(batch, recipes))
    for batch in batches:
        hazy, clean = (pictures.numpy() for pictures in step(batch))
        assert hazy.shape == clean.shape == (3, 32, 32, 3)
        np.testing.assert_array_equal(clean, batch["clean"])
        assert np.isfinite(hazy).all()
        assert 0.02 < np.abs(hazy - clean).mean() < 0.6


@pytest.mark.parametrize(("crop", "on_damage"), [(None, "skip"), (16, "fail")])
def test_a_device_makes_the_same_numbers_of_bytes(squares, stored, crop, on_damage):
    for folder, names in ((squares, {"hazy", "clean"}), (stored, {"clean", "distance"})):
        options = {"crop": crop, "batch": 5, "seed": 3, "epoch": 1, "on_damage": on_damage}
        numbers = arrays(data.training_batches([source_of(folder)], **options))
        for one, expected in zip(
            data.training_batches([source_of(folder)], **options, as_bytes=True), numbers, strict=True
        ):
            assert {one[name].dtype for name in names} <= {tf.uint8, tf.uint16}
            assert ("turn" in one, "mirrored" in one) == (crop is not None, crop is None)
            assert_same([{name: values.numpy() for name, values in decoding.to_numbers(one).items()}], [expected])
        whole = data.validation_batches([source_of(folder)], as_bytes=True).map(decoding.to_numbers)
        assert_same(arrays(whole), arrays(data.validation_batches([source_of(folder)])))


def test_a_step_takes_bytes_or_numbers(stored):
    recipes = online.read_recipes(None, [manifest.load(stored)])
    step = tf.function(lambda batch: online.hazy_and_clean(batch, recipes), jit_compile=True)
    options = {"crop": 16, "batch": 6, "seed": 0, "epoch": 0}
    one, other = (next(iter(data.training_batches([source_of(stored)], **options, as_bytes=b))) for b in (True, False))
    for found, expected in zip(step(one), step(other), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0.0, atol=1.01 / 255.0)


def test_offline_and_online_pixels_are_the_same(stored):
    """What hazegen renders of a stored scene, and what the device draws of it, of the same haze."""
    from hazegen import sampling, synthesis

    recipe = online.read_recipes(None, [manifest.load(stored)]).recipes[0]
    (batch, *_), values = arrays(data.validation_batches([source_of(stored)])), scenes_of(stored, "validation")[0]
    params = scene_records.draw_haze(values, recipe, 0, 3)[2]
    expected = synthesis.render(values["pixels"], values["distance_m"], params, recipe.color_space).hazy
    numbers = [tf.constant([getattr(params, name)], tf.float32) for name in online.Haze._fields[:6]]
    haze = online.Haze(*numbers, *(tf.constant([False]) for _ in range(3)))
    hazy = online.add_haze(batch["clean"], batch["distance_m"], haze, frozenset({"srgb"}), batch["draw"]).numpy()[0]
    assert np.abs(hazy * 255.0 - expected).max() < 1.001
    assert sampling.metres_per_unit(recipe, float(batch["largest_m"][0])) == pytest.approx(params.metres_per_unit)
