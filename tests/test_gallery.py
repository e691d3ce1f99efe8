"""The shipped recipes: listed, described, and shown on one scene."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from hazegen import gallery, images, render, synthesis
from hazegen.samples import make_sample

NAMES = [listed.recipe.name for listed in gallery.shipped()]
# Fields that a recipe of this kind cannot be without.
EFFECTS = {
    "night": ("glow", "illumination", "shot_noise"),
    "non-homogeneous": ("noise_contrast",),
    "drone": ("height_scale_m", "angstrom_exponent"),
    "remote-sensing-veil": ("noise_contrast", "angstrom_exponent"),
    "dust": ("light_color",),
    "dense": ("scattering_blur",),
    "foggy-cityscapes-300m": ("refine",),
}


@pytest.fixture(scope="module")
def sample():
    return make_sample(gallery.SEED, gallery.INDEX, 168, 112)


def test_every_shipped_recipe_is_listed_under_the_name_of_its_file():
    assert [listed.path.stem for listed in gallery.shipped()] == NAMES
    assert {"aod-released", "reside-ots", "hazerd", "foggy-cityscapes-600m", "ridcp-like", "drone"} <= set(NAMES)


@pytest.mark.parametrize("listed", gallery.shipped(), ids=NAMES)
def test_head_of_each_recipe_says_purpose_source_and_command(listed):
    told = gallery.head(listed.path)
    assert {"Purpose", "Source", "Measured", "Command"} <= set(told)
    assert "Guess" in told or "Guess: " in " ".join(told.values())
    assert all(len(text) > 10 for text in told.values())
    assert f"--recipe {listed.recipe.name}" in told["Command"]


@pytest.mark.parametrize(("name", "fields"), EFFECTS.items())
def test_recipe_has_the_effects_that_it_is_named_for(name, fields):
    recipe = next(listed.recipe for listed in gallery.shipped() if listed.recipe.name == name)
    off = {field.name: field.default for field in dataclasses.fields(recipe)}
    assert all(getattr(recipe, field) != off[field] for field in fields)


@pytest.fixture
def shown(sample, monkeypatch):
    """shown(recipe): the picture, its haze, the distances it was rendered with, their transmission, the camera."""
    calls = []

    def spy(clean, distance_m, *others):
        rendered = render.render(clean, distance_m, *others)
        calls.append((distance_m, rendered.transmission, others[-1]))
        return rendered

    monkeypatch.setattr(gallery, "render", SimpleNamespace(render=spy))
    return lambda recipe: (*gallery.under(sample, recipe), *calls[-1])


@pytest.mark.parametrize("listed", gallery.shipped(), ids=NAMES)
def test_transmission_of_each_recipe_falls_with_distance_by_its_own_law(shown, listed):
    _, haze, distance_m, transmission, _ = shown(listed.recipe)
    sky = np.isinf(distance_m)
    assert 0.2 < sky.mean() < 0.5
    depth = np.asarray(haze.beta if transmission.shape[2] == 3 else haze.beta[:1]) * distance_m[~sky][:, None]
    seen = depth < 6.0  # beyond, hardly a digit is left
    share = -np.log(transmission[~sky][seen]) / depth[seen]
    if haze.height_scale_m is not None:
        # Fog on the ground: no path is hazier than along it, and above the fog the sky is seen.
        assert ((share > 0.0) & (share <= 1.001)).all()
        assert share.std() > 0.01
        assert transmission[0].min() > transmission[sky].min() > 0.0
    elif haze.noise_contrast:
        assert share.mean() == pytest.approx(1.0, abs=0.5)
        assert share.std() > 0.02
    else:
        np.testing.assert_allclose(share, 1.0, rtol=1e-3)
    if haze.height_scale_m is None:
        assert (transmission[sky] == 0.0).all()
    near, far = (distance_m < 8.0), (distance_m > 30.0) & ~sky
    assert transmission[far].mean() < 0.95 * transmission[near].mean()


@pytest.mark.parametrize("listed", gallery.shipped(), ids=NAMES)
def test_each_recipe_puts_haze_on_the_scene_that_grows_with_distance(sample, shown, listed):
    hazy, haze, distance_m, *_ = shown(listed.recipe)
    assert hazy.shape == sample.image.shape
    light = np.array(haze.atmospheric_light)
    light = 255.0 * (light if listed.recipe.color_space == "srgb" else 1.055 * light ** (1 / 2.4) - 0.055)
    near, sky = distance_m < np.quantile(distance_m, 0.1), np.isinf(distance_m)
    if haze.shot_noise:
        # In the dark the noise is more than the veil: by means, then.
        np.testing.assert_allclose(hazy[sky].mean(axis=0), light, atol=4.0)
    else:
        off = np.abs(hazy - light).mean(axis=2)
        # Above fog on the ground some of the blue is left.
        assert off[sky].mean() < (0.2 if haze.height_scale_m is None else 0.3) * off[near].mean()
    dimmed = hazy[near].mean() / sample.image[near].mean()
    assert dimmed < 0.4 if haze.illumination < 0.2 else dimmed > 0.5


@pytest.mark.parametrize("listed", gallery.shipped(), ids=NAMES)
def test_renderer_is_the_reference_to_one_code_value_under_each_recipe(sample, shown, listed):
    _, haze, distance_m, _, camera = shown(listed.recipe)
    ideal = {"blur_px": 0.0, "shot_noise": 0.0, "read_noise": 0.0, "gamma": 1.0, "jpeg_quality": None}
    view = dataclasses.replace(haze, **ideal)
    scene = sample.image, distance_m, view, listed.recipe.color_space, camera
    fast, slow = (function(*scene).hazy.astype(int) for function in (render.render, synthesis.render))
    assert np.abs(fast - slow).max() <= 1


def test_night_is_dark_but_for_lamps_which_glow(sample):
    recipe = next(one.recipe for one in gallery.shipped() if one.recipe.name == "night")
    lamp = sample.image.copy()
    lamp[60:64, 80:84] = 255
    dark, lit = (
        gallery.under(dataclasses.replace(sample, image=image), recipe)[0].astype(int) for image in (sample.image, lamp)
    )
    assert dark.mean() < 0.3 * sample.image.mean()
    assert lit[60:64, 80:84].mean() > 230
    around = (lit - dark)[56:68, 76:88].mean(axis=2)
    around[4:8, 4:8] = 0.0
    assert around.mean() > 5.0
    assert np.abs((lit - dark)[:20]).mean() < 1.0


def test_same_scene_under_the_same_recipe_is_the_same_picture(sample):
    listed = next(one for one in gallery.shipped() if one.recipe.name == "non-homogeneous")
    first, second = (gallery.under(sample, listed.recipe)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_gallery_shows_the_clean_scene_and_every_recipe(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "SIZE", (84, 56))
    monkeypatch.setattr(gallery, "TILE_WIDTH", 84)
    monkeypatch.setattr(gallery, "LAMPS", ((64, 12, 67, 13),))
    assert gallery.write_gallery(tmp_path / "made" / "all.png") == len(NAMES)
    height, width, _ = images.read_picture(tmp_path / "made" / "all.png").shape
    rows = -(-(len(NAMES) + 1) // gallery.COLUMNS)
    assert width == gallery.COLUMNS * (84 + gallery.MARGIN) + gallery.MARGIN
    assert height == rows * (56 + 34 + gallery.MARGIN) + gallery.MARGIN
