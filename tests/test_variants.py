"""The pairs of one scene: what is in their records, one at a time, and whose bytes the clean picture has."""

import dataclasses
import json
import types

import numpy as np
import pytest
from PIL import Image

from hazegen import clean_bytes, config, images, records, render, sampling, scenes, variants
from hazegen.pairing import SceneRef
from hazegen.reading import Reading
from hazegen.recipe import Recipe

PLAIN = {"beta": "uniform(0.1, 0.3)", "path": "plane"}
EFFECTS = {
    "plain": {},
    "linear light": {"color_space": "linear"},
    "coloured": {"angstrom_exponent": "[1.0]"},
    "ground fog": {"path": "ray", "height_scale_m": "[4]"},
    "camera": {"read_noise": "[0.01]", "jpeg_quality": "[80]"},
    "scattering": {"scattering_blur": "[0.01]"},
}


@pytest.fixture
def scene(make_photos):
    """scene(suffix, ...): a photo that lies on the disk as a file of that kind, and the settings it is made with."""

    photos = make_photos(scenes=1)

    def load(suffix=".png", effect="plain", **changes):
        recipe = config.build(Recipe, PLAIN | EFFECTS[effect])
        reading = Reading(photos.images, photos.depth, fov_deg=60.0, depth_format={"unit": 0.001})
        key = photos.keys[0]
        found = next(photos.images.glob(f"{key}.*"))
        pixels = images.as_rgb8(images.read_picture(found), key)
        found.unlink()
        Image.fromarray(pixels).save(found.with_suffix(suffix))
        depth = next(photos.depth.glob(f"{key}.*"))
        ref = SceneRef(key, f"{key}{suffix}", depth.name)
        asked = {"variants": 3, "seed": 5, "codec": "jpeg", "quality": 95, "maps": False}
        return scenes.load(ref, reading, recipe), variants.Settings(reading, recipe, **(asked | changes))

    return load


def made(scene, settings):
    return [(key, records.decode(record)) for key, record in variants.scene_records(scene, settings)]


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("codec", ["jpeg", "png", "raw"])
def test_record_holds_the_picture_of_its_haze(scene, effect, codec):
    loaded, settings = scene(effect=effect, codec=codec)
    drawn = variants.draw_haze(loaded, settings.recipe, settings.seed, settings.variants)
    pairs = made(loaded, settings)
    assert [key for key, _ in pairs] == [f"{loaded.key}#{number:04d}" for number in range(3)]
    for haze, (_, values) in zip(drawn, pairs, strict=True):
        color_space = settings.recipe.color_space
        expected = render.render(loaded.clean, loaded.distance_m, haze, color_space, loaded.camera)
        plain = codec == "raw"
        own = expected.hazy.tobytes() if plain else images.encode(expected.hazy, images.SUFFIXES[codec], 95)
        assert values["hazy"] == own
        assert values["clean"] == loaded.clean.tobytes() or not plain
        assert values["mean_transmission"] == pytest.approx(expected.transmission.mean(dtype=np.float64), abs=1e-7)
        assert json.loads(values["haze"]) == json.loads(json.dumps(sampling.as_json_fields(haze)))
        assert (values["height"], values["width"]) == loaded.clean.shape[:2]
        assert values["beta"] == pytest.approx(haze.beta)
        clean = images.decode_stored(values["clean"], codec, values["height"], values["width"], "clean")
        assert clean.shape == loaded.clean.shape


@pytest.mark.parametrize(("suffix", "codec"), [(".jpg", "jpeg"), (".png", "png")])
def test_photo_of_the_datasets_codec_is_kept_as_it_is(scene, suffix, codec):
    loaded, settings = scene(suffix, codec=codec)
    for _, values in made(loaded, settings):
        np.testing.assert_array_equal(images.decode(values["clean"], "clean"), loaded.clean)
        assert values["clean"] == clean_bytes.stored(loaded.photo, codec, *loaded.clean.shape[:2])
        assert values["clean"] != images.encode(loaded.clean, suffix, 95)


@pytest.mark.parametrize(("suffix", "codec"), [(".jpg", "png"), (".png", "jpeg"), (".bmp", "png")])
def test_photo_of_another_kind_is_encoded(scene, suffix, codec):
    loaded, settings = scene(suffix, codec=codec)
    expected = images.encode(loaded.clean, images.SUFFIXES[codec], 95)
    assert {values["clean"] for _, values in made(loaded, settings)} == {expected}


def test_scene_without_a_file_of_its_own_is_encoded(scene):
    loaded, settings = scene(".jpg")
    stacked = dataclasses.replace(loaded, photo=b"")
    expected = images.encode(loaded.clean, ".jpg", 95)
    assert {values["clean"] for _, values in made(stacked, settings)} == {expected}


@pytest.mark.parametrize(("effect", "channels"), [("plain", 1), ("coloured", 3), ("scattering", 1)])
def test_maps_are_stored_where_they_are_asked_for_alone(scene, effect, channels):
    loaded, settings = scene(effect=effect, maps=True)
    (haze, *_) = variants.draw_haze(loaded, settings.recipe, settings.seed, settings.variants)
    expected = render.render(loaded.clean, loaded.distance_m, haze, "srgb").transmission
    found = images.decode(made(loaded, settings)[0][1]["transmission"], "t")
    np.testing.assert_allclose(found.reshape(expected.shape) / 65535.0, expected, atol=0.5001 / 65535.0)
    assert expected.shape[2] == channels
    without = dataclasses.replace(settings, maps=False)
    assert all("transmission" not in values for _, values in made(loaded, without))
    kept = [
        {name: value for name, value in values.items() if name != "transmission"}
        for _, values in made(loaded, settings)
    ]
    assert kept == [values for _, values in made(loaded, without)]


def test_one_variant_at_a_time_is_made(scene, monkeypatch):
    loaded, settings = scene(variants=1000)
    views = []
    monkeypatch.setattr(
        variants, "render", types.SimpleNamespace(view=lambda *a, **k: views.append(1) or render.view(*a, **k))
    )
    pairs = variants.scene_records(loaded, settings)
    assert isinstance(pairs, types.GeneratorType)
    for number in range(1, 4):
        next(pairs)
        assert len(views) == number


def test_records_do_not_share_memory_with_later_ones(scene):
    loaded, settings = scene()
    pairs = variants.scene_records(loaded, settings)
    first = next(pairs)
    copied = (first[0], bytes(bytearray(first[1])))
    assert len(list(pairs)) == 2
    assert first == copied
