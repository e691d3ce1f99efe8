"""The shipped recipes: listed, described, and shown on one scene."""

import dataclasses

import numpy as np
import pytest

from hazegen import gallery, images
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


@pytest.mark.parametrize("listed", gallery.shipped(), ids=NAMES)
def test_each_recipe_puts_haze_on_the_scene_that_grows_with_distance(sample, listed):
    hazy, haze = gallery.under(sample, listed.recipe)
    assert hazy.shape == sample.image.shape
    assert not np.array_equal(hazy, sample.image)
    if listed.recipe.needs_camera or listed.recipe.illumination.low < 1.0:
        return  # there, thickness and light are not of the distance alone
    light = np.array(haze.atmospheric_light)
    light = 255.0 * (light if listed.recipe.color_space == "srgb" else 1.055 * light ** (1 / 2.4) - 0.055)
    off = np.abs(hazy - light).mean(axis=2)
    near, sky = sample.depth < np.quantile(sample.depth, 0.1), sample.depth == 65535
    assert off[sky].mean() < 0.2 * off[near].mean()


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
