"""hazegen.add_haze, hazegen.open and aodnet.load: what notebooks use, and the examples in their docstrings."""

import dataclasses
import doctest
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aodnet
import hazegen
from aodnet import cli as aodnet_cli
from aodnet import predict
from hazegen import color, geometry, images, light, opened, opened_record, physics, records, render, sampling
from hazegen.errors import RefusedError, UsageError, VerifyError
from hazegen.make import make

HEIGHT, WIDTH = 24, 32


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture(scope="module")
def depth_m() -> np.ndarray:
    depth = np.random.default_rng(1).uniform(1.0, 200.0, (HEIGHT, WIDTH))
    depth[:4] = np.inf
    return depth


def test_importing_the_packages_imports_nothing_heavy() -> None:
    code = "import sys, hazegen, aodnet; print(*sorted({'numpy', 'cv2', 'tensorflow', 'keras'} & set(sys.modules)))"
    more = "; hazegen.add_haze; aodnet.load; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code + more], capture_output=True, text=True, check=True)
    assert done.stdout == "\nFalse\n"


def test_what_comes_late_is_listed_and_the_rest_is_not_there() -> None:
    assert {"add_haze", "open"} <= set(dir(hazegen))
    assert "load" in dir(aodnet)
    for module in (hazegen, aodnet):
        with pytest.raises(AttributeError, match=f"module '{module.__name__}' has no attribute 'nothing'"):
            module.nothing  # noqa: B018


@pytest.mark.parametrize("name", ["hazegen.single", "hazegen.opened", "aodnet.loaded"])
def test_examples_of_the_docstrings_run(
    name: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dataset").symlink_to(dataset)
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted >= 6
    assert found.failed == 0


# --- hazegen.add_haze ---


def by_hand(
    values: np.ndarray, distance_m: np.ndarray, beta: float, of: float | np.ndarray, *, linear: bool
) -> np.ndarray:
    """The equation in float64, of values in [0, 1]."""
    transmission = np.exp(-beta * distance_m)[..., None]
    radiance = color.srgb_to_linear(values) if linear else values
    hazy = radiance * transmission + of * (1.0 - transmission)
    return np.asarray(color.linear_to_srgb(hazy) if linear else hazy)


@pytest.mark.parametrize("space", ["srgb", "linear"])
@pytest.mark.parametrize("given", [0.9, (0.7, 0.8, 1.0)])
def test_pixels_are_those_of_the_equation(clean, depth_m, space, given):
    beta = float(physics.beta_from_visibility(80.0))
    expected = by_hand(clean / 255.0, depth_m, beta, np.array(given), linear=space == "linear")
    options: dict[str, Any] = {"visibility_m": 80.0, "atmospheric_light": given, "color_space": space}
    codes = hazegen.add_haze(clean, depth_m=depth_m, **options)
    assert codes.dtype == np.uint8
    assert np.abs(codes - expected * 255.0).max() <= 1.0
    for kind, close in ((np.float64, 1e-12), (np.float32, 2e-6), (np.float16, 1e-3)):
        floats = hazegen.add_haze((clean / 255.0).astype(kind), depth_m=depth_m, **options)
        assert floats.dtype == kind
        assert np.abs(floats - expected).max() <= close + np.abs((clean / 255.0).astype(kind) - clean / 255.0).max()


def test_pixels_are_those_of_make(dataset: Path) -> None:
    """Of the pairs of a dataset, from its photos and depth maps: the very bytes that are in the record."""
    photos = dataset.parent / "photos"
    found = hazegen.open(dataset)
    for pair in found["train"][:4]:
        photo = images.read_picture(photos / "images" / f"{pair.scene}.png")
        depth_m = images.read_picture(photos / "depth" / f"{pair.scene}.png") * np.float32(0.001)
        beta, *_ = pair.haze.beta
        hazy = hazegen.add_haze(photo, depth_m=depth_m, beta=beta, atmospheric_light=pair.haze.atmospheric_light)
        stored = images.encode_stored(hazy, "jpeg", found.manifest.quality)
        assert (images.decode_stored(stored, "jpeg", *hazy.shape[:2], "hazy") == pair.hazy).all()


def test_depth_with_a_camera_is_turned_into_distance(clean, depth_m):
    camera = geometry.camera_from_fov(60.0, WIDTH, HEIGHT)
    hazy = hazegen.add_haze(clean, depth_m=depth_m, camera=camera, beta=0.01)
    distance_m = depth_m * geometry.ray_length(camera)
    assert (hazy == hazegen.add_haze(clean, distance_m=distance_m.astype(np.float32), beta=0.01)).all()
    assert (hazy == hazegen.add_haze(clean, depth_m=depth_m, camera=60, beta=0.01)).all()
    assert (hazy != hazegen.add_haze(clean, depth_m=depth_m, beta=0.01)).any()


@pytest.mark.parametrize("name", ["aod-released", "reside-its", "outdoor-visibility", "night", "foggy-cityscapes-150m"])
def test_recipes_are_drawn_as_make_draws_them(clean, depth_m, name, load_recipe):
    recipe = load_recipe(name)
    hazy = hazegen.add_haze(clean, depth_m=depth_m, camera=60, recipe=name, seed=3)
    assert (hazy == hazegen.add_haze(clean, depth_m=depth_m, camera=60, recipe=recipe, seed=3)).all()
    if recipe.refine != "none":
        return
    camera = geometry.camera_from_fov(60.0, WIDTH, HEIGHT)
    far_m = depth_m.astype(np.float32) * (geometry.ray_length(camera) if recipe.path == "ray" else 1)
    unit_m = sampling.metres_per_unit(recipe, float(far_m[np.isfinite(far_m)].max()))
    (haze,) = sampling.draw_variants(recipe, 3, "", 1, unit_m)
    assert (hazy == render.render(clean, far_m.astype(np.float32), haze, recipe.color_space, camera).hazy).all()


def test_light_and_sky_of_a_recipe(clean, depth_m, load_recipe):
    far = load_recipe("aod-released", sky="far", beta="[0.01]", atmospheric_light="[1.0]")
    near = np.where(np.isinf(depth_m), depth_m[np.isfinite(depth_m)].max(), depth_m)
    hazy = hazegen.add_haze(clean, depth_m=depth_m, recipe=far, seed=0)
    assert (hazy == hazegen.add_haze(clean, depth_m=near, beta=0.01, atmospheric_light=1)).all()
    found = load_recipe("aod-released", sweep="random", beta="[0.01]", atmospheric_light="brightest-far")
    of = light.estimate(clean, depth_m.astype(np.float32), "brightest-far", "srgb")
    hazy = hazegen.add_haze(clean, depth_m=depth_m, recipe=found, seed=0)
    assert (hazy == hazegen.add_haze(clean, depth_m=depth_m, beta=0.01, atmospheric_light=of)).all()


def test_an_array_that_cannot_be_written_is_taken_and_left_as_it_is(clean, depth_m):
    given = clean[::-1, :, ::-1]
    given.flags.writeable = False
    before = given.copy()
    hazy = hazegen.add_haze(given, depth_m=depth_m, beta=0.01)
    assert (hazy == hazegen.add_haze(before, depth_m=depth_m, beta=0.01)).all()
    assert (given == before).all()
    floats = before / 255.0
    assert not np.shares_memory(floats, hazegen.add_haze(floats, depth_m=depth_m, beta=0.01))


def wrong(**changes: Any) -> dict[str, Any]:
    """Arguments of which some are wrong."""
    return {"image": np.zeros((2, 3, 3), np.uint8), "depth_m": np.ones((2, 3)), "beta": 0.1} | changes


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (wrong(image=np.zeros((2, 3), np.uint8)), RefusedError, r"another shape.*\(2, 3\).*Repeat grey"),
        (wrong(image=np.zeros((0, 3, 3), np.uint8)), RefusedError, "another shape"),
        (wrong(image=np.zeros((2, 3, 3), np.uint16)), RefusedError, r"another type.*uint16.*image / 65535"),
        (wrong(image=np.full((2, 3, 3), 200.0)), RefusedError, r"out of range.*200 to 200.*Divide code values by 255"),
        (wrong(image=np.full((2, 3, 3), np.nan)), RefusedError, "out of range"),
        (wrong(depth_m=None), UsageError, "depth of the picture.*exactly one of depth_m, distance_m, received none"),
        (wrong(distance_m=np.ones((2, 3))), UsageError, "received depth_m and distance_m.*all but one"),
        (wrong(visibility_m=10), UsageError, "received visibility_m and beta"),
        (wrong(beta=None), UsageError, "exactly one of visibility_m, beta, recipe, received none"),
        (wrong(depth_m=np.ones((2, 3), np.uint16)), RefusedError, r"depth_m has another type.*uint16.*0\.001"),
        (wrong(depth_m=np.ones((3, 2))), RefusedError, r"differ in size.*\(2, 3\).*\(3, 2\).*nearest"),
        (wrong(depth_m=np.array([[1, np.nan, 1], [0, 0, -1.0]])), RefusedError, "1 NaN, 2 zeros and 1 numbers below 0"),
        (wrong(depth_m=np.zeros((2, 3))), RefusedError, r"completion\.fill\(depth_m, image\).*np\.inf"),
        (wrong(beta=0.0), UsageError, "beta is out of range.*0 times the infinite distance"),
        (wrong(beta=[0.1, 0.2]), UsageError, r"beta is no number.*\[0\.1, 0\.2\].*recipe"),
        (wrong(beta=None, visibility_m=np.nan), UsageError, "visibility_m is out of range"),
        (wrong(atmospheric_light=255), UsageError, "atmospheric_light is out of range.*255.*Divide"),
        (wrong(atmospheric_light=(0.1, 0.2)), UsageError, "one number or three"),
        (wrong(color_space="xyz"), UsageError, "color_space is unknown.*srgb.*Correct color_space"),
        (wrong(camera=0.0), UsageError, "field of view is out of range"),
        (wrong(camera="wide"), UsageError, "camera is no number"),
        (wrong(camera=geometry.camera_from_fov(60, 4, 4)), UsageError, "another picture.*3 x 2.*4 x 4"),
        (wrong(seed=0), UsageError, "seed changes nothing here"),
        (wrong(beta=None, recipe="dense"), UsageError, "draws at random.*seed.*None"),
        (wrong(beta=None, recipe="danse", seed=0), UsageError, "no config 'danse'.*Did you mean 'dense'"),
        (wrong(beta=None, recipe="dense", seed=0, color_space="srgb"), UsageError, "The recipe says color_space"),
        (wrong(beta=None, recipe="outdoor-visibility", seed=0), UsageError, "turn plane depth into its ray path.*=60"),
        (wrong(beta=None, recipe="night", seed=0, image=np.zeros((2, 3, 3)), camera=60), RefusedError, "for 8 bits"),
    ],
)
def test_what_is_wrong_is_said(given: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        hazegen.add_haze(given.pop("image"), **given)


def test_sky_under_recipes_that_cannot_do_with_it(clean, depth_m, load_recipe):
    without_surface = np.full((HEIGHT, WIDTH), np.inf)
    with pytest.raises(RefusedError, match=r"shows sky.*16\.7% of pixels"):
        hazegen.add_haze(clean, depth_m=depth_m, recipe=load_recipe("aod-released", sky="reject"), seed=0)
    with pytest.raises(RefusedError, match=r"no surface.*sky alone"):
        hazegen.add_haze(clean, depth_m=without_surface, recipe="reside-its", seed=0)
    assert (hazegen.add_haze(clean, depth_m=without_surface, beta=1e-6, atmospheric_light=0.2) == 51).all()


# --- hazegen.open ---


def same(one: opened_record.Record, other: opened_record.Record) -> bool:
    fields = (field.name for field in dataclasses.fields(one))
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in fields)


def test_records_by_number_are_those_in_turn(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = hazegen.open(dataset)
    in_turn = list(found)
    assert len(in_turn) == len(found) == sum(found.splits.values()) == 36
    assert [pair.split for pair in in_turn] == ["test"] * 9 + ["train"] * 18 + ["validation"] * 9
    monkeypatch.delattr(records, "read_shard")  # no shard is read through for one of its records
    assert all(same(one, found[number]) for number, one in enumerate(in_turn))
    train = found["train"]
    assert len(train) == 18
    assert same(train[0], in_turn[9])
    assert same(train[-1], found[26])
    assert [pair.key for pair in train[2:8:3]] == [in_turn[11].key, in_turn[14].key]
    assert repr(train).startswith("Records(18 pairs in ")


def test_a_pair_is_what_the_manifest_says(dataset: Path) -> None:
    pair = hazegen.open(str(dataset))[0]
    assert isinstance(pair, opened_record.Pair)
    assert pair.key.startswith(f"{pair.scene}#")
    assert pair.transmission is None
    assert 0.0 < pair.mean_transmission < 1.0
    assert repr(pair) == f"Pair('{pair.key}', test, 96 x 64, visibility {pair.haze.visibility_m:.4g} m)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        pair.key = "another"  # type: ignore[misc]


def test_no_such_record_split_or_dataset(dataset: Path, tmp_path: Path) -> None:
    found = hazegen.open(dataset)
    for index in (36, -37):
        with pytest.raises(IndexError, match=f"no record {index}.*Expected -36 to 35, received {index}"):
            found[index]
    with pytest.raises(UsageError, match="Did you mean 'train'"):
        found["trian"]
    with pytest.raises(RefusedError, match="no finished dataset"):
        hazegen.open(tmp_path)


def test_transmission_and_scenes(make_photos, make_options, load_recipe, tmp_path: Path) -> None:
    photos = make_photos(scenes=3)
    recipe = load_recipe("aod-released", angstrom_exponent="[1.0]")
    make(make_options(photos, tmp_path / "pairs", variants=1, maps=True), recipe)
    for pair in hazegen.open(tmp_path / "pairs"):
        assert isinstance(pair, opened_record.Pair)
        assert pair.transmission is not None
        assert pair.transmission.shape == (64, 96, 3)
        assert pair.transmission.mean() == pytest.approx(pair.mean_transmission, abs=1e-4)
        assert 'alt="transmission"' in pair._repr_html_()
    make(make_options(photos, tmp_path / "scenes", kind="scenes", variants=None), load_recipe("aod-released"))
    found = hazegen.open(tmp_path / "scenes")
    assert len(found) == 3
    for scene in found:
        assert isinstance(scene, opened_record.SceneRecord)
        photo = images.read_picture(photos.depth / f"{scene.key}.png")
        assert np.abs(scene.distance_m - photo * 0.001).max() < 1e-3
        assert repr(scene) == f"SceneRecord('{scene.key}', {scene.split}, 96 x 64)"
        assert (scene.along_ray, scene.camera) == (False, None)
        assert "along the axis" in scene._repr_html_()


def test_notebooks_show_pictures_and_never_markup_of_a_file(dataset: Path) -> None:
    found = hazegen.open(dataset)
    text = found._repr_html_()
    assert text.count("data:image/jpeg;base64,") == 2 * opened.SHOWN
    assert "36 pairs of 12 scenes (18 train, 9 validation, 9 test), recipe aod-released" in text
    pair = dataclasses.replace(found[0], key="<script>\udcff")
    assert "&lt;script&gt;?" in pair._repr_html_()


def test_damage_is_told_as_everywhere(dataset_copy: Path) -> None:
    found = hazegen.open(dataset_copy)
    shard = next(one for one in found.manifest.shards if one.split == "train")
    data = bytearray((dataset_copy / shard.name).read_bytes())
    data[data.rindex(b"\xff\xd8") + 400] ^= 1  # in a picture of the last record
    (dataset_copy / shard.name).write_bytes(data)
    with pytest.raises(VerifyError, match=f"Shard '{shard.name}' is damaged.*hazegen repair"):
        found["train"][shard.records - 1]
    with pytest.raises(VerifyError, match=f"Shard '{shard.name}' is damaged"):
        list(found)
    (dataset_copy / shard.name).write_bytes(data[:-100])
    with pytest.raises(VerifyError, match=r"Expected .* bytes, received"):
        hazegen.open(dataset_copy)["train"][0]
    (dataset_copy / shard.name).unlink()
    with pytest.raises(VerifyError, match=rf"Shard '{shard.name}' is not what.*received no file"):
        found["train"][0]


def test_a_record_of_something_else_is_refused(dataset_copy: Path) -> None:
    found = hazegen.open(dataset_copy)
    shard = found.manifest.shards[0]
    values = records.decode(next(records.read_shard(dataset_copy / shard.name)))
    one = found["test"]
    for change, told in (({"hazy": b"\x89PNG"}, "hazy is not jpeg"), ({"haze": '{"odd": 1}'}, "odd"), ({}, "none")):
        record = records.encode(values | change) if change else b""
        with pytest.raises(VerifyError, match=f"Record 7 of shard '{shard.name}' cannot be read.*pair.*{told}"):
            one._decoded(shard, 7, record)


# --- aodnet.load ---


def test_pictures_are_those_of_predict_byte_for_byte(clean, tmp_path: Path) -> None:
    net = aodnet.load()
    kinds = {"rgb": clean, "rgba": np.dstack([clean, clean[..., :1]]), "gray": clean[..., 0]}
    kinds["deep"] = clean.astype(np.uint16) * 257
    for name, pixels in kinds.items():
        (tmp_path / f"{name}.png").write_bytes(images.encode(pixels, ".png"))
    inputs = [str(tmp_path / f"{name}.png") for name in kinds]
    assert aodnet_cli.main(["predict", *inputs, "--out", str(tmp_path / "out")]) == 0
    for name, pixels in kinds.items():
        restored = net(pixels)
        assert restored.dtype == pixels.dtype
        assert (restored == images.read_picture(tmp_path / "out" / f"{name}.png")).all(), name
    assert (predict.restore_picture(predict.restorer(net.model), clean, "clean") == net(clean)).all()


def test_weights_and_pictures_that_are_none() -> None:
    with pytest.raises(RefusedError, match=r"no weights 'room'.*Did you mean 'rooms'"):
        aodnet.load("room")
    net = aodnet.load("rooms")
    for shape in ((4, 4, 2), (1, 4, 4, 3), (0, 4, 3)):
        with pytest.raises(RefusedError, match="another shape"):
            net(np.zeros(shape, np.uint8))
    with pytest.raises(RefusedError, match=r"another type.*float64.*call `model`"):
        net(np.zeros((4, 4, 3)))
