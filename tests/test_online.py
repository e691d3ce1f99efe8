"""Haze drawn on the device: its law is that of sampling, its pixels are those of synthesis, to 1 code value."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import RECIPES, shipped_recipe
from scipy import stats

from aodnet import online, threefry
from aodnet.online import Haze, Recipes
from hazegen import geometry, sampling, synthesis
from hazegen.errors import UsageError
from hazegen.geometry import Camera
from hazegen.manifest import Manifest
from hazegen.recipe import Draw, Recipe, parse_draw

SHIPPED = sorted(path.stem for path in RECIPES.glob("*.yaml"))
REFUSED = {
    "dense": "scattering_blur",
    "drone": "height_scale_m",
    "night": "glow",
    "non-homogeneous": "noise_contrast",
    "remote-sensing-veil": "noise_contrast",
    "ridcp-like": "jpeg_quality",
}
DRAWN = [name for name in SHIPPED if name not in REFUSED]
LARGEST_M = 37.5
ESTIMATED = (0.71, 0.83, 0.94)
CUSTOM = {
    "values-of-all": Recipe(
        beta=Draw("values", (0.01, 0.5, 0.02)), atmospheric_light=parse_draw("[0.2, 0.9]"), light_channels="independent"
    ),
    "biased": Recipe(
        depth_norm="max", beta=parse_draw("log-uniform(0.01, 4)"), light_color=(1.0, 0.4, 2.0),
        light_bias=parse_draw("uniform(-0.5, 0.5)"), angstrom_exponent=parse_draw("uniform(-1, 4)"),
        wavelengths_nm=(700.0, 500.0, 400.0),
    ),
    "dim": Recipe(
        visibility_m=parse_draw("log-uniform(10, 1000)"), color_space="linear",
        illumination=parse_draw("uniform(0.2, 1)"), gamma=parse_draw("uniform(0.5, 2.2)"),
    ),
    "tenths": Recipe(depth_norm="tenths", beta=parse_draw("uniform(0.4, 1.6)"), gamma=parse_draw("[1.0, 0.8]")),
}  # fmt: skip


def recipe_of(name: str) -> Recipe:
    return CUSTOM[name] if name in CUSTOM else shipped_recipe(name)


def ks_2samp(a: np.ndarray, b: np.ndarray):
    return stats.ks_2samp(a, b, method="asymp")


def known(recipe: Recipe, **changes) -> Manifest:
    """The manifest of a dataset of scenes made with `recipe`."""
    values = {
        "kind": "scenes", "recipe": recipe.as_dict(), "seed": 0, "color_space": recipe.color_space, "codec": "jpeg",
        "quality": 95, "maps": False, "variants": 1, "reading": {"camera_files": True}, "inputs": {}, "smallest": {},
        "splits": {}, "versions": {}, "shards": (),
    }  # fmt: skip
    return Manifest(**(values | changes))


def alone(recipe: Recipe) -> Recipes:
    return Recipes((recipe,), None)


def seeds_of(count: int, seed: int = 0) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).integers(-(2**31), 2**31, (count, 2)), tf.int32)


def scalars(count: int, seed: int = 0) -> dict[str, tf.Tensor]:
    """What drawing needs of a batch."""
    return {
        "draw": seeds_of(count, seed),
        "largest_m": tf.fill([count], LARGEST_M),
        "estimated_light": tf.constant([ESTIMATED] * count, tf.float32),
        "source": tf.zeros(count, tf.int32),
    }


def scene(seed: int, height: int = 40, width: int = 56) -> tuple[np.ndarray, np.ndarray]:
    """A picture with all codes, and its distances [m] up to LARGEST_M with a sky."""
    rng = np.random.default_rng(seed)
    clean = rng.integers(0, 256, (height, width, 3), np.uint8)
    distance_m = rng.uniform(0.0, LARGEST_M, (height, width)).astype(np.float32)
    distance_m[-1, -1], distance_m[:7] = LARGEST_M, np.inf
    return clean, distance_m


def batch_of(clean: np.ndarray, distance_m: np.ndarray, count: int) -> dict[str, tf.Tensor]:
    return scalars(count) | {
        "clean": tf.constant(np.stack([clean] * count) / np.float32(255.0)),
        "distance_m": tf.constant(np.stack([distance_m] * count)),
        "along_ray": tf.ones(count, tf.int32),
        "image_plane": tf.constant(np.full((count, 2, 3), np.nan, np.float32)),
    }


def as_tensors(drawn: list[sampling.HazeParams], recipe: Recipe) -> Haze:
    """Haze that was drawn offline, as the graph holds it."""
    numbers = [[getattr(haze, name) for haze in drawn] for name in Haze._fields[:6]]
    flags = [[yes] * len(drawn) for yes in (recipe.color_space == "linear", recipe.sky == "far", recipe.path == "ray")]
    return Haze(*(tf.constant(column, tf.float32) for column in numbers), *(tf.constant(column) for column in flags))


def offline(recipe: Recipe, count: int) -> list[sampling.HazeParams]:
    unit_m, light = sampling.metres_per_unit(recipe, LARGEST_M), np.float32(ESTIMATED)
    if recipe.sweep == "random":
        rng = np.random.default_rng(1)
        return [sampling.draw(recipe, rng, variant=0, unit_m=unit_m, light=light) for _ in range(count)]
    points = sampling.draw_variants(recipe, 0, "key", recipe.grid_size(), unit_m, light)
    return points * (count // len(points))


# --- random numbers ---


@pytest.mark.parametrize(
    ("key", "counter", "words"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((2**32 - 1, 2**32 - 1), (2**32 - 1, 2**32 - 1), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_words_of_its_authors(key, counter, words):
    """The known answers of Random123's threefry2x32 with 20 rounds."""
    key, counter = (tuple(tf.constant(word, tf.uint32) for word in pair) for pair in (key, counter))
    assert tuple(int(word) for word in threefry.threefry(key, counter)) == words


def test_uniform_and_normal_numbers_have_their_laws():
    uniform, normal = (
        threefry.uniform(seeds_of(3000), 13).numpy(),
        threefry.normal(seeds_of(50), tf.constant([31, 7, 3])),
    )
    assert uniform.min() >= 0.0
    assert uniform.max() < 1.0
    rng = np.random.default_rng(5)
    for column in uniform.T:
        assert ks_2samp(column, rng.random(5000)).pvalue > 1e-3
    assert np.abs(np.corrcoef(uniform.T) - np.eye(13)).max() < 0.07
    assert normal.shape == (50, 31, 7, 3)
    assert ks_2samp(normal.numpy().ravel(), rng.standard_normal(30000)).pvalue > 1e-3
    assert abs(np.corrcoef(normal.numpy().reshape(50, -1))[0, 1:]).max() < 0.2


# --- the law ---


@pytest.mark.parametrize("name", [*DRAWN, *CUSTOM])
def test_haze_has_the_law_of_sampling(name):
    recipe, count = recipe_of(name), 3000
    here, there = online.draw(alone(recipe), scalars(count)), as_tensors(offline(recipe, count), recipe)
    for field in ("beta", "atmospheric_light"):
        for channel in range(3):
            a, b = getattr(here, field)[:, channel].numpy(), getattr(there, field)[:, channel].numpy()
            assert ks_2samp(rounded(a), rounded(b)).pvalue > 1e-3, (field, channel)
    visibility = [sampling.physics.visibility_from_beta(haze.beta[:, 1].numpy()) for haze in (here, there)]
    assert ks_2samp(*map(rounded, visibility)).pvalue > 1e-3
    for field in ("illumination", "shot_noise", "read_noise", "gamma"):
        assert ks_2samp(rounded(getattr(here, field).numpy()), rounded(getattr(there, field).numpy())).pvalue > 1e-3
    assert [set(flag.numpy()) for flag in here[6:]] == [set(flag.numpy()) for flag in there[6:]]


def rounded(values: np.ndarray) -> np.ndarray:
    """To 16 bits: constants that two ways of computing leave a rounding apart are one constant."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.round(mantissa * 65536.0), exponent - 16)


def test_channels_depend_on_each_other_as_offline():
    """Gray light is one number, independent light three; bias is drawn for each channel."""
    gray = online.draw(alone(shipped_recipe("reside-its")), scalars(200)).atmospheric_light.numpy()
    assert (gray == gray[:, :1]).all()
    free = online.draw(alone(shipped_recipe("aod-paper")), scalars(2000)).atmospheric_light.numpy()
    assert np.abs(np.corrcoef(free.T) - np.eye(3)).max() < 0.08


def test_every_point_of_a_grid_is_drawn_equally_often():
    recipe = shipped_recipe("reside-ots-beta")
    haze = online.draw(alone(recipe), scalars(7000))
    points = np.stack([haze.beta[:, 0].numpy(), haze.atmospheric_light[:, 0].numpy()], 1)
    found, counts = np.unique(points, axis=0, return_counts=True)
    assert len(found) == recipe.grid_size() == 35
    assert 140 < counts.min() <= counts.max() < 260


def test_unit_of_depth_is_each_examples_own():
    largest_m = np.float32([2.0, 5.0, 80.0])
    batch = scalars(3) | {"largest_m": tf.constant(largest_m)}
    in_units = online.draw(alone(dataclasses.replace(shipped_recipe("reside-its"), beta=parse_draw("1.3"))), batch).beta
    np.testing.assert_allclose(in_units.numpy(), np.stack([1.3 / largest_m] * 3, 1), rtol=1e-6)


def test_recipes_are_drawn_by_weight_each_with_its_own_settings():
    recipes = (shipped_recipe("reside-its"), shipped_recipe("dust"), shipped_recipe("aod-paper"))
    haze = online.draw(Recipes(recipes, (3.0, 1.0, 1.0)), scalars(5000))
    linear, ray = haze.linear.numpy(), haze.along_ray.numpy()
    assert abs(linear.mean() - 0.2) < 0.02
    assert (linear == ray).all()
    its, dust = haze.beta.numpy()[~linear], haze.beta.numpy()[linear]
    assert (its[:, 0] == its[:, 2]).all()
    assert (dust[:, 0] < dust[:, 2]).mean() > 0.95
    expected = as_tensors(offline(recipes[1], 3000), recipes[1]).beta[:, 0].numpy()
    assert ks_2samp(dust[:, 0], expected).pvalue > 1e-3


def test_without_weights_each_source_has_its_own_recipe():
    recipes = Recipes((shipped_recipe("aod-released"), shipped_recipe("dust")), None)
    source = np.int32([0, 1, 1, 0])
    haze = online.draw(recipes, scalars(4) | {"source": tf.constant(source)})
    assert list(haze.linear.numpy()) == [False, True, True, False]


# --- the pixels ---


# Traced once for all recipes of the same effects.
RENDER = [tf.function(online.add_haze, jit_compile=jit) for jit in (False, True)]


@pytest.mark.parametrize("name", [*DRAWN, *CUSTOM])
def test_pixels_are_those_of_synthesis(name):
    recipe, count = recipe_of(name), 6
    clean, distance_m = scene(3)
    drawn = offline(recipe, 70)[::12]
    batch = batch_of(clean, distance_m, count)
    haze = as_tensors(drawn, recipe)
    effects = alone(recipe).effects
    for render in RENDER:
        hazy = render(batch["clean"], batch["distance_m"], haze, effects, batch["draw"]).numpy()
        assert hazy.dtype == np.float32
        for picture, params in zip(hazy, drawn, strict=True):
            expected = synthesis.render(clean, distance_m, params, recipe.color_space).hazy
            # A gamma below 1 widens a step of 1 code in the dark.
            steps = 1 if params.gamma >= 1.0 else 8
            assert np.abs(picture * 255.0 - expected).max() < steps + 1e-3
            assert np.abs(picture * 255.0 - expected).mean() < 0.01
            assert np.abs(np.rint(picture * 255.0) - picture * 255.0).max() < 1e-4


def test_noise_of_the_sensor_has_the_cameras_law():
    """One gray picture, many pixels: mean and deviation of what camera.take makes of it."""
    recipe = Recipe(beta=Draw("values", (1e-9,)), shot_noise=parse_draw("0.002"), read_noise=parse_draw("0.01"))
    clean, near = np.full((96, 96, 3), 120, np.uint8), np.zeros((96, 96), np.float32)
    drawn = offline(recipe, 1)
    expected = synthesis.render(clean, near, drawn[0], "srgb").hazy
    batch = batch_of(clean, near, 2)
    haze = as_tensors(drawn * 2, recipe)
    hazy = online.add_haze(batch["clean"], batch["distance_m"], haze, alone(recipe).effects, batch["draw"]).numpy()
    for picture in np.rint(hazy * 255.0):
        assert ks_2samp(picture.ravel(), expected.ravel()).pvalue > 1e-3
        assert picture.std() == pytest.approx(expected.std(), rel=0.03)
    assert np.corrcoef(hazy[0].ravel(), hazy[1].ravel())[0, 1] < 0.05


def test_several_recipes_give_each_example_its_own_space_and_effects():
    recipes = Recipes((shipped_recipe("aod-released"), CUSTOM["dim"]), None)
    clean, distance_m = scene(4)
    batch = batch_of(clean, distance_m, 2) | {"source": tf.constant([0, 1])}
    both = online.hazy_and_clean(batch, recipes)[0].numpy()
    for number, recipe in enumerate(recipes.recipes):
        single = online.hazy_and_clean(batch | {"source": tf.zeros(2, tf.int32)}, alone(recipe))[0].numpy()
        np.testing.assert_allclose(both[number], single[number], atol=1.01 / 255.0)
        assert np.abs(both[number] - single[number]).mean() < 1e-4


def test_the_same_numbers_compiled_and_not():
    recipes = alone(shipped_recipe("reside-its"))
    batch = batch_of(*scene(5), 4)

    def step(given):
        return online.hazy_and_clean(given, recipes)[0], online.draw(recipes, given).beta

    (plain, beta), (compiled, beta_compiled) = (tf.function(step, jit_compile=jit)(batch) for jit in (False, True))
    np.testing.assert_allclose(plain, compiled, atol=1.01 / 255.0)
    np.testing.assert_allclose(beta, beta_compiled, rtol=1e-6)


def test_seeds_decide():
    recipes, batch = alone(CUSTOM["biased"]), batch_of(*scene(6), 3)
    first, again = (online.hazy_and_clean(batch, recipes)[0].numpy() for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = online.hazy_and_clean(batch | {"draw": seeds_of(3, 9)}, recipes)[0].numpy()
    assert all((a != b).any() for a, b in zip(first, other, strict=True))
    turned = online.hazy_and_clean(batch | {"draw": batch["draw"][::-1]}, recipes)[0].numpy()
    np.testing.assert_array_equal(turned, first[::-1])


def test_sky_is_the_atmospheric_light_and_never_nan():
    clean, distance_m = scene(7)
    distance_m[:] = np.inf
    distance_m[0, 0] = 0.0
    for name in [*DRAWN, *CUSTOM]:
        recipe = recipe_of(name)
        batch = batch_of(clean, distance_m, 3)
        haze = online.draw(alone(recipe), batch)
        hazy = online.hazy_and_clean(batch, alone(recipe))[0].numpy()
        assert np.isfinite(hazy).all()
        if recipe.color_space == "srgb" and recipe.gamma.values == (1.0,):
            light = np.rint(haze.atmospheric_light.numpy()[:, None] * 255.0)
            assert np.abs(hazy[:, -1] * 255.0 - light).max() < 1e-3


def test_pairs_pass_through():
    pair = {"hazy": tf.zeros([1, 4, 4, 3]), "clean": tf.ones([1, 4, 4, 3])}
    hazy, clean = online.hazy_and_clean(pair, None)
    assert hazy is pair["hazy"]
    assert clean is pair["clean"]


def test_float32_whatever_the_policy():
    batch = batch_of(*scene(8), 2)
    half = batch | {"clean": tf.cast(batch["clean"], tf.float16)}
    hazy, clean = online.hazy_and_clean(half, alone(shipped_recipe("reside-its")))
    assert hazy.dtype == clean.dtype == tf.float32


# --- distances ---

CAMERA = Camera(56, 40, 45.0, 47.0, 26.0, 21.0)


def image_plane(camera: Camera, top: int = 0, left: int = 0) -> np.ndarray:
    """Of a window that is neither mirrored nor turned."""
    across = [(left - camera.cx) / camera.fx, 0.0, 1.0 / camera.fx]
    down = [(top - camera.cy) / camera.fy, 1.0 / camera.fy, 0.0]
    return np.float32([across, down])


@pytest.mark.parametrize(("path", "convert"), [("ray", geometry.plane_to_ray), ("plane", geometry.ray_to_plane)])
def test_distances_are_turned_by_the_records_camera(path, convert):
    recipe = Recipe(path=path, beta=parse_draw("0.1"))
    clean, stored_m = scene(9)
    expected = convert(stored_m, CAMERA)[10:30, 4:50]
    batch = batch_of(clean[10:30, 4:50], stored_m[10:30, 4:50], 2)
    batch |= {"along_ray": tf.constant([path == "plane", path == "ray"], tf.int32)}
    batch |= {"image_plane": tf.constant(np.stack([image_plane(CAMERA, 10, 4)] * 2))}
    turned = online.distances(batch, online.draw(alone(recipe), batch), Recipes((recipe,), None, turns=True)).numpy()
    np.testing.assert_allclose(turned[0], expected, rtol=1e-5)
    np.testing.assert_array_equal(turned[1], stored_m[10:30, 4:50])


def test_sky_can_be_as_far_as_the_farthest_surface():
    recipe = Recipe(sky="far", beta=parse_draw("0.1"))
    clean, distance_m = scene(10)
    batch = batch_of(clean, distance_m, 1)
    found = online.distances(batch, online.draw(alone(recipe), batch), alone(recipe)).numpy()[0]
    np.testing.assert_array_equal(found, np.where(np.isinf(distance_m), np.float32(LARGEST_M), distance_m))


# --- which recipes ---


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_is_drawn_or_refused_by_name(name):
    recipe = shipped_recipe(name)
    if name in REFUSED:
        with pytest.raises(UsageError, match=f"'{name}' cannot be drawn.*received .*{REFUSED[name]}.*hazegen make"):
            online.read_recipes(None, [known(recipe)])
        return
    found = online.read_recipes(None, [known(recipe)])
    assert found == Recipes((recipe,), None, turns=False)
    assert online.read_recipes(name, [known(recipe)]) == Recipes((recipe,), (1.0,), turns=False)


def test_effects_name_what_is_drawn():
    assert alone(shipped_recipe("reside-its")).effects == {"srgb"}
    assert alone(CUSTOM["dim"]).effects == {"linear", "illumination", "gamma"}
    assert alone(Recipe(beta=parse_draw("1"), sky="far", read_noise=parse_draw("0.1"))).effects == {
        "srgb", "far", "noise"
    }  # fmt: skip


def test_names_with_weights(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text("beta: 0.3\npath: plane\n")
    found = online.read_recipes(f"reside-its=0.6, {file}=2", [known(shipped_recipe("reside-its"))])
    assert [recipe.name for recipe in found.recipes] == ["reside-its", "mine"]
    assert found.weights == (0.6, 2.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "reside-its=0",
        "reside-its=-1",
        "=0.5",
        "reside-its=x",
        "reside-its,",
        "a=inf",
        "reside-its=0.6 reside-ots=0.4",
    ],
)
def test_text_that_cannot_be_read(text):
    with pytest.raises(UsageError, match=r"Recipes cannot be read.*reside-its=0.6.*Correct --recipe"):
        online.read_recipes(text, [known(shipped_recipe("reside-its"))])


def test_unknown_recipe_is_named():
    with pytest.raises(UsageError, match=r"no config 'reside-itz'.*Did you mean 'reside-its'"):
        online.read_recipes("reside-itz", [known(shipped_recipe("reside-its"))])


def test_pairs_have_no_recipe():
    pairs = known(shipped_recipe("reside-its"), kind="pairs")
    assert online.read_recipes(None, [pairs]) is None
    with pytest.raises(UsageError, match=r"The haze of pairs is in them already.*received 'dust'.*--kind scenes"):
        online.read_recipes("dust", [pairs])


def test_pairs_and_scenes_are_not_mixed():
    recipe = shipped_recipe("reside-its")
    with pytest.raises(UsageError, match=r"several kinds.*received pairs and scenes.*Leave one kind out"):
        online.read_recipes(None, [known(recipe, kind="pairs"), known(recipe)])


@pytest.mark.parametrize(
    ("recipe", "stored", "what"),
    [
        ({"sky": "infinite"}, {"sky": "far"}, "sky infinite.*sky far"),
        ({"sky": "reject"}, {}, "sky reject.*sky infinite"),
        ({"fill": "nearest"}, {}, "fill nearest.*fill guided"),
        ({"refine": "guided"}, {}, "refine guided.*refine none"),
        ({"max_holes": 0.1}, {"max_holes": 0.3}, "max_holes 0.1.*max_holes 0.3"),
        ({"sky_from_image": True}, {}, "sky_from_image True.*sky_from_image False"),
        ({"atmospheric_light": "dark-channel"}, {}, "atmospheric_light dark-channel.*atmospheric_light uniform"),
        (
            {"atmospheric_light": "dark-channel", "color_space": "linear"},
            {"atmospheric_light": "dark-channel"},
            "atmospheric_light dark-channel",
        ),
        ({"path": "plane", "depth_norm": "max"}, {}, "path plane.*path ray.*depth_norm max or sky far"),
        ({"path": "plane", "sky": "far"}, {}, "path plane.*path ray"),
    ],
)
def test_other_distances_than_the_stored_are_refused(tmp_path, recipe, stored, what):
    draws = {"beta": parse_draw("0.1")}
    file = tmp_path / "mine.yaml"
    file.write_text("\n".join(f"{name}: {value}" for name, value in (draws | recipe).items()))
    with pytest.raises(UsageError, match=f"'mine' needs scenes that were made otherwise. Expected .*{what}"):
        online.read_recipes(str(file), [known(Recipe(**(draws | stored)))])


def test_stored_distances_that_serve_another_recipe(tmp_path):
    """Plane to ray with a camera; sky far of infinite; and either of scenes that have none."""
    plane, outdoor = shipped_recipe("reside-its"), "reside-its=0.6, outdoor-visibility=0.4"
    assert online.read_recipes(outdoor, [known(plane)]).turns
    with pytest.raises(UsageError, match=r"path ray.*path plane.*scenes without a camera"):
        online.read_recipes(outdoor, [known(plane, reading={"camera_files": False, "fov_deg": None})])
    far = tmp_path / "far.yaml"
    far.write_text("beta: 0.1\nsky: far\n")
    for sky in ("infinite", "reject", "far"):
        found = online.read_recipes(str(far), [known(Recipe(beta=parse_draw("1"), sky=sky))])
        assert found.effects == {"srgb", "far"}


def test_a_dataset_of_several_recipes_needs_one_named():
    recipes = [Recipe(name="a", beta=parse_draw("0.1")), Recipe(name="b", beta=parse_draw("0.2"))]
    merged = known(recipes[0], sources=tuple({"recipe": recipe.as_dict()} for recipe in recipes))
    with pytest.raises(UsageError, match=r"made with several recipes.*received a, b.*--recipe"):
        online.read_recipes(None, [merged])
    assert online.read_recipes("outdoor-visibility", [merged]).weights == (1.0,)
