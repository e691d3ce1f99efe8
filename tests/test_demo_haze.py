"""What the demo's second tab makes: each slider, the recipe that makes the same, the preview, uploads."""

import dataclasses
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from aodnet_fixtures import read_records
from demo_fixtures import photo, write, write_turned

from aodnet import demo_haze, demo_recipe
from aodnet.demo_recipe import PRESETS, Settings
from hazegen import config
from hazegen.cli import main as hazegen
from hazegen.errors import RefusedError, UsageError
from hazegen.recipe import Recipe
from hazegen.scenes import Scene

SIZE = (64, 96)


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Scene:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_haze, "PROCEDURAL_SIZE", SIZE[::-1])
        source = demo_haze.write_procedural(14, tmp_path_factory.mktemp("scene"))
    return demo_haze.load(source)


def made(scene: Scene, settings: Settings) -> np.ndarray:
    return demo_haze.add_haze(scene, demo_recipe.recipe_of(settings), settings.seed)[0]


ALL_ON = Settings(noise_contrast=0.8, noise_scale_m=5.0, sensor_noise=0.02, height_fog=True, height_scale_m=3.0)


@pytest.mark.parametrize(
    "change",
    [
        {"visibility_m": 60.0}, {"atmospheric_light": 0.6}, {"light_color": "#ffd0a0"}, {"angstrom_exponent": 1.3},
        {"noise_contrast": 0.3}, {"noise_scale_m": 12.0}, {"sensor_noise": 0.05}, {"height_fog": False},
        {"height_scale_m": 12.0}, {"camera_height_m": 6.0}, {"camera_pitch_deg": 20.0}, {"color_space": "linear"},
        {"seed": 1},
    ],
)  # fmt: skip
def test_no_control_is_ignored(change, scene):
    assert (made(scene, ALL_ON) != made(scene, dataclasses.replace(ALL_ON, **change))).any()
    assert (made(scene, ALL_ON) == made(scene, ALL_ON)).all()


def test_every_control_has_such_a_test():
    marks = [mark for mark in test_no_control_is_ignored.pytestmark if mark.name == "parametrize"]
    assert {name for change in marks[0].args[1] for name in change} == set(Settings.__dataclass_fields__)


def test_presets_differ(scene):
    pictures = {name: made(scene, settings).tobytes() for name, settings in PRESETS.items()}
    assert len(set(pictures.values())) == len(PRESETS)


@pytest.mark.parametrize("text", ["#ffd0a0", "#FFD0A0", "rgb(255, 208, 160)", "rgba(255.0, 208.0, 160.0, 1)"])
def test_colours_are_read_as_the_page_writes_them(text):
    assert demo_recipe.light_factors(text, "srgb") == (1.0, 0.8157, 0.6275)
    assert demo_recipe.light_factors(text, "linear") == (1.0, 0.6308, 0.3515)


@pytest.mark.parametrize("text", ["red", "#fff", "rgb(256, 0, 0)", "rgb(1.2.3, 0, 0)", "", "#ggffff"])
def test_other_colours_are_refused(text):
    with pytest.raises(UsageError, match="colour of the light cannot be read"):
        demo_recipe.light_factors(text, "srgb")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"visibility_m": "thick"}, "'visibility_m' cannot be used. Expected a finite number, received 'thick'"),
        ({"visibility_m": None}, "received nothing"),
        ({"seed": True}, "'seed' cannot be used"),
        ({"noise_contrast": float("nan")}, "'noise_contrast' cannot be used"),
        ({"height_fog": 1}, "'height_fog' cannot be used. Expected bool, received 1"),
        ({"color_space": None}, "'color_space' cannot be used. Expected str"),
    ],
)
def test_settings_of_other_types_are_refused(change, message):
    with pytest.raises(UsageError, match=message):
        demo_recipe.settings_of(dataclasses.asdict(Settings()) | change)


@pytest.mark.parametrize("number", [-1, 0.5, 10**6, "14", None])
def test_procedural_scenes_beyond_the_last_are_refused(number, tmp_path):
    with pytest.raises(UsageError, match="The scene's number"):
        demo_haze.write_procedural(number, tmp_path)


def uploads(folder: Path, size: tuple[int, int] = SIZE) -> tuple[Path, Path]:
    """A photo, and its depth in millimetres with a hole and sky."""
    depth = np.linspace(2000, 60000, size[0] * size[1]).reshape(size).astype(np.uint16)
    depth[: size[0] // 8], depth[-8:, -8:] = 65535, 0
    return write(folder / "street.png", photo(*size)), write(folder / "depth.png", depth)


@pytest.mark.parametrize(
    ("name", "scale", "size"),
    [
        ("drifting fog, 80 m", 0.001, SIZE),
        ("ground fog, 30 m", 0.0012345678912, SIZE),  # with more digits than are shown
        ("dust, 120 m", 0.001, (SIZE[0] // 2, SIZE[1] // 2)),  # a depth map smaller than its photo
    ],
)
def test_recipe_gives_the_same_pixels_in_make(name, scale, size, tmp_path):
    for part in ("images", "depth"):
        (tmp_path / part).mkdir()
    given, depth = uploads(tmp_path, size)
    write(given, photo(*SIZE))
    source = demo_haze.uploaded(given, depth, scale, 65535.0, 60.123456789)
    settings = dataclasses.replace(PRESETS[name], seed=3, sensor_noise=0.02)
    recipe = demo_recipe.recipe_of(settings)
    hazy, _, haze = demo_haze.add_haze(demo_haze.load(source), recipe, settings.seed)
    (tmp_path / "haze.yaml").write_text(demo_haze.recipe_text(recipe, settings.seed, source), encoding="utf-8")
    command = (tmp_path / "haze.yaml").read_text().splitlines()[1].removeprefix("# hazegen ").split()
    assert command[0] == "make"
    given.rename(tmp_path / "images" / "street.png")
    depth.rename(tmp_path / "depth" / "street.png")
    places = {"PHOTOS": "images", "DEPTH": "depth", "haze.yaml": "haze.yaml", "DATASET": "dataset"}
    words = [str(tmp_path / places[word]) if word in places else word for word in command]
    assert hazegen([*words, "--codec", "png", "--splits", "train=1", "--quiet", "--workers", "1"]) == 0
    (record,) = read_records(tmp_path / "dataset", "train")
    assert (record["hazy"] == hazy).all()
    assert 'too, which is "street" here' in (tmp_path / "haze.yaml").read_text()
    assert record["visibility_m"] == pytest.approx(haze.visibility_m)


def test_recipe_text_leaves_out_what_is_off():
    source = demo_haze.Source(Path("a"), Path("b"), "a", 14, Path("c"))
    text = demo_haze.recipe_text(demo_recipe.recipe_of(Settings()), 0, source)
    assert "visibility_m: 150.0" in text
    assert "noise_scale_m" not in text
    assert "# hazegen samples --out SCENES --scenes 15 --seed 0 --width 960 --height 640\n" in text
    assert "--camera SCENES/camera" in text
    assert "--depth-scale" not in text
    assert "the photo's name" not in text


def test_scene_for_the_screen_looks_like_the_whole_one(tmp_path, monkeypatch):
    given, depth = uploads(tmp_path, (200, 1920))
    source = demo_haze.uploaded(given, depth, 0.001, 65535.0, 60.0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    whole, seen = demo_haze.load(source), demo_haze.load_for_screen(source)
    assert list((tmp_path / "temporary").iterdir()) == []  # a visitor's photo is left nowhere
    assert seen.key == source.key
    assert seen.clean.shape == (100, 960, 3)
    assert seen.sky == pytest.approx(whole.sky, abs=0.01)
    recipe = demo_recipe.recipe_of(PRESETS["ground fog, 30 m"])
    hazy, _, _ = demo_haze.add_haze(whole, recipe, 0)
    quick, _, _ = demo_haze.add_haze(seen, recipe, 0)
    expected = cv2.resize(hazy, (960, 100), interpolation=cv2.INTER_AREA).astype(float)
    assert np.abs(quick - expected).mean() < 1.0
    fits = demo_haze.uploaded(*uploads(tmp_path), 0.001, None, 60.0)
    assert demo_haze.load_for_screen(fits) is demo_haze.load(fits)


def test_uploads_without_what_they_need_are_refused(tmp_path):
    given, depth = uploads(tmp_path)
    with pytest.raises(RefusedError, match=r"unknown unit.*Fill in 'Depth scale'"):
        demo_haze.uploaded(given, depth, None, None, 60.0)
    with pytest.raises(
        UsageError, match=r"'Field of view' cannot be used\. Expected a finite number, received nothing"
    ):
        demo_haze.uploaded(given, depth, 0.001, None, None)
    cut = tmp_path / "cut.png"
    cut.write_bytes(given.read_bytes()[:2000])
    with pytest.raises(RefusedError, match=r"'cut\.png' cannot be decoded"):
        demo_haze.load(demo_haze.uploaded(cut, depth, 0.001, None, 60.0))
    write_turned(tmp_path / "turned.jpg", photo(*SIZE))
    with pytest.raises(RefusedError, match=r"'turned\.jpg' is stored turned"):
        demo_haze.uploaded(tmp_path / "turned.jpg", depth, 0.001, None, 60.0)


@pytest.mark.parametrize(("text", "number"), [("", None), (None, None), ("0.001", 0.001), (" 65535 ", 65535.0)])
def test_optional_numbers_are_read(text, number):
    assert demo_recipe.number_or_none("Depth scale", text) == number


@pytest.mark.parametrize("text", ["inf", "nan", "mm", ["1"]])
def test_optional_numbers_that_are_none_are_refused(text):
    with pytest.raises(UsageError, match=r"'Depth scale' cannot be used\. Expected a "):
        demo_recipe.number_or_none("Depth scale", text)


def test_recipe_of_the_page_is_read_as_it_was_written(tmp_path):
    recipe = demo_recipe.recipe_of(dataclasses.replace(ALL_ON, light_color="#e0f0ff"))
    path = tmp_path / "haze.yaml"
    source = demo_haze.Source(Path("a"), Path("b"), "a", fov_deg=60.0)
    path.write_text(demo_haze.recipe_text(recipe, 0, source), encoding="utf-8")
    assert config.build(Recipe, config.read_config(path, Recipe)) == recipe
